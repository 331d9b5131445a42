//! How a write of a lease goes to DynamoDB: the short way if there is one, else through the SDK.

use std::sync::Arc;

use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use tokio::time::sleep;
use tracing::debug;

use crate::direct::{Direct, Failed};

/// Sends `call`, and again as often as the SDK would. A write whose answer was lost may have taken effect, whoever sends it
/// again: then its condition fails, and the row tells (`coordinator::renew::keeper`).
pub(super) async fn sent(
    direct: &Arc<Direct>,
    call: UpdateItemFluentBuilder,
) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let Some(way) = direct.way().await else { return Box::pin(through_sdk(direct, call, None)).await };
    let input = call.as_input().clone().build().map_err(SdkError::construction_failure)?;
    let Failed { error, again } = match way.ask(input).await {
        Ok(answer) => return Ok(answer),
        Err(failed) => failed,
    };
    let Some(wait) = again else { return Err(error) };
    debug!(%error, ?wait, "an update must be sent again");
    sleep(wait).await;
    let retries = way.retries().clone();
    let left = retries.max_attempts().saturating_sub(1).max(1);
    let fewer = Config::builder().retry_config(retries.with_max_attempts(left));
    Box::pin(through_sdk(direct, call, Some(fewer))).await
}

async fn through_sdk(
    direct: &Arc<Direct>,
    call: UpdateItemFluentBuilder,
    other: Option<aws_sdk_dynamodb::config::Builder>,
) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let call = call.customize().interceptor(direct.learn());
    match other {
        Some(other) => call.config_override(other).send().await,
        None => call.send().await,
    }
}
