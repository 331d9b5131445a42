//! Watches a request of the SDK, and knows its route once it was answered well.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use super::{Direct, Route};

/// Interceptor of one request.
#[derive(Clone)]
pub struct Learn(Arc<Direct>);

impl fmt::Debug for Learn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Learn")
    }
}

impl Learn {
    pub(super) fn of(direct: Arc<Direct>) -> Self {
        Self(direct)
    }
}

/// The route of a request that is under way.
#[derive(Clone, Debug)]
struct UnderWay(Option<Arc<Route>>);

impl Storable for UnderWay {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Learn {
    fn name(&self) -> &'static str {
        "Learn"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let route = Route::of(self.0.operation.clone(), context.request(), components, bag).map(Arc::new);
        bag.interceptor_state().store_put(UnderWay(route));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().as_u16() == 200
            && let Some(UnderWay(Some(route))) = bag.load::<UnderWay>()
        {
            self.0.know(Arc::clone(route));
        }
        Ok(())
    }
}
