use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::clock::PausedClock;

/// A service that says this date and takes two seconds.
#[derive(Clone, Debug)]
struct Service {
    date: &'static str,
    by_itself: bool,
}

impl HttpConnector for Service {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let Self { date, by_itself } = self.clone();
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let status = 200.try_into().expect("a status");
            let mut response = HttpResponse::new(status, SdkBody::from("{\"TableNames\": []}"));
            response.headers_mut().insert("date", date);
            if by_itself {
                response.headers_mut().insert("x-amzn-requestid", "1");
            }
            Ok(response)
        })
    }
}

impl HttpClient for Service {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// 2024-01-01 00:00:00, as in the answers.
const NEW_YEAR: i64 = 1_704_067_200;

/// Whether our clock was found to differ after one answer, when it was `seconds` after the new year at the request.
async fn differs(seconds: i64, service: Service) -> bool {
    let clock = Arc::new(PausedClock::new(EpochMillis((NEW_YEAR + seconds) * 1000)));
    let watch = ClockWatch::new(clock, Duration::from_secs(30));
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("x", "y", None, None, "test"))
        .http_client(service)
        .interceptor(watch.clone())
        .build();
    Client::from_conf(config).list_tables().send().await.unwrap();
    // an episode that has begun is over at a difference of nothing
    watch.watch.lock().unwrap().look(0).is_some()
}

#[tokio::test(start_paused = true)]
async fn the_date_of_an_answer_is_held_against_our_clock() {
    let service = |date| Service { date, by_itself: true };
    let new_year = "Mon, 01 Jan 2024 00:00:00 GMT";
    let table = [
        (0, false),
        (10, false),
        (12, true),   // ahead
        (-12, false), // behind, but the answer took two seconds of it
        (-13, true),
    ];
    for (seconds, wanted) in table {
        assert_eq!(differs(seconds, service(new_year)).await, wanted, "{seconds}");
    }
    assert!(!differs(3600, service("yesterday")).await, "no date");
    assert!(!differs(3600, Service { date: new_year, by_itself: false }).await, "not DynamoDB's answer");
}
