//! Letters into an SQS queue.

use serde_json::{Value as Json, json};

use super::signed::{Answer, Ask, Service, Signed, configured_endpoint};
use super::{Look, Means, unknown};
use crate::config::dead_letters;
use crate::poison::letter::Letter;

const SQS: Service = Service { id: "SQS", signing_name: "sqs", operation: "SendMessage" };
/// Every queue takes messages of this size, unless somebody made its `MaximumMessageSize` less. Larger ones, since 2025 up to
/// 1 MiB, go only where somebody made it more (Source: SQS API, `SetQueueAttributes`).
const MOST: usize = 256 << 10;

/// One queue.
#[derive(Debug)]
pub struct Queue {
    to: dead_letters::Queue,
    service: Signed,
}

impl Queue {
    /// The URL tells endpoint and region, unless the environment tells another endpoint.
    pub(super) fn new(to: &dead_letters::Queue, means: &Means) -> Self {
        let endpoint = configured_endpoint(SQS, means).unwrap_or_else(|| to.endpoint.clone());
        let region = to.region.as_deref().unwrap_or(&means.region);
        let service = Signed::new(SQS, &endpoint, region, means);
        Self { to: to.clone(), service }
    }

    /// # Errors
    /// One sentence.
    pub(super) async fn store(&self, letter: &Letter<'_>) -> Result<(), String> {
        for (index, part) in letter.parts(MOST).iter().enumerate() {
            let answer = self.ask("SendMessage", &message(&self.to, letter, (index, part))).await?;
            validate(&answer, part)?;
        }
        Ok(())
    }

    /// Whether the queue is there. A policy that lets letters in need not let this through.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn look(&self) -> Result<Look, String> {
        let question = json!({ "QueueUrl": self.to.url, "AttributeNames": ["QueueArn"] });
        let answer = self.ask("GetQueueAttributes", &question).await?;
        match error_in(&answer).0.as_str() {
            _ if answer.is_success() && names_queue(&answer) => Ok(Look::There),
            "AccessDenied" | "AccessDeniedException" => Ok(Look::Untold),
            _ => Err(refusal(&answer)),
        }
    }

    async fn ask(&self, operation: &str, message: &Json) -> Result<Answer, String> {
        let headers = vec![
            ("content-type", "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target", format!("AmazonSQS.{operation}")),
        ];
        self.service.send(Ask { method: "POST", path: "/".to_owned(), headers, body: message.to_string().into() }).await
    }
}

/// One part of a letter. Only a FIFO queue takes an identity, and it takes nothing without a group.
fn message(to: &dead_letters::Queue, letter: &Letter<'_>, (index, part): (usize, &str)) -> Json {
    let mut message = json!({ "QueueUrl": to.url, "MessageBody": part });
    if to.is_fifo() {
        message["MessageGroupId"] = json!(letter.shard.as_str());
        message["MessageDeduplicationId"] = json!(identity(letter, index));
    }
    message
}

/// What a FIFO queue knows a repeat by: at most 128 letters and digits.
fn identity(letter: &Letter<'_>, part: usize) -> String {
    md5_of(&format!("{}/{}/{part}", letter.application, letter.name()))
}

fn md5_of(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the queue has this part. A proxy's page comes with 200, too.
///
/// # Errors
/// It has not, or it is not known.
fn validate(answer: &Answer, part: &str) -> Result<(), String> {
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (body["MessageId"].as_str(), body["MD5OfMessageBody"].as_str()) {
        (Some(_), Some(digest)) if answer.is_success() && digest != md5_of(part) => {
            Err("SQS has another message than what was sent, by its MD5; look for what changes it on the way"
                .to_owned())
        }
        (Some(_), Some(_) | None) if answer.is_success() => Ok(()),
        _ => Err(refusal(answer)),
    }
}

/// Whether it is the answer of a queue.
fn names_queue(answer: &Answer) -> bool {
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["Attributes"]["QueueArn"].is_string()
}

/// Code and message; empty where it is not the answer of SQS. Source: AWS JSON 1.0: `__type` is the error's name, behind that of its namespace.
fn error_in(answer: &Answer) -> (String, String) {
    let body: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["__type"].as_str().and_then(|name| name.rsplit('#').next()).unwrap_or_default();
    let said = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    (code.to_owned(), said.to_owned())
}

fn refusal(answer: &Answer) -> String {
    let (code, said) = error_in(answer);
    if code.is_empty() {
        return unknown("SQS", answer.status, "the queue's URL, AWS_ENDPOINT_URL_SQS");
    }
    let cure = match code.as_str() {
        "AccessDeniedException" | "AccessDenied" => "; allow sqs:SendMessage in the policy",
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => "; check the queue's URL",
        "InvalidParameterValue" | "InvalidParameterValueException" if said.contains("shorter than") => {
            "; let its MaximumMessageSize be 262144"
        }
        "KmsAccessDenied" | "KMS.AccessDeniedException" => "; allow kms:GenerateDataKey and kms:Decrypt on its key",
        _ => "",
    };
    format!("SQS answered {} {code}: {said}{cure}", answer.status)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::record::{Record, Text};
    use crate::types::{EpochMillis, ShardId};

    fn queue(name: &str) -> dead_letters::Queue {
        let endpoint = "https://sqs.us-east-1.amazonaws.com".to_owned();
        dead_letters::Queue { url: format!("{endpoint}/1/{name}"), endpoint, region: Some("us-east-1".to_owned()) }
    }

    #[test]
    fn only_a_fifo_queue_is_told_group_and_identity() {
        let shard = ShardId::new("shardId-000000000007");
        let record = |number: &'static str| Record {
            data: "aGk=".into(),
            partition_key: Text::from("k"),
            sequence: Text::from(number),
            arrival_millis: None,
            sub: 0,
            aggregated: false,
            explicit_hash_key: None,
        };
        let (one, other) = (record("4968"), record("4969"));
        let letter = |record| Letter {
            time: EpochMillis(99),
            application: "app",
            stream: "orders",
            shard: &shard,
            record,
            attempts: NonZeroU32::MIN,
            error: "",
        };
        let plain = message(&queue("dead"), &letter(&one), (0, "{}"));
        assert_eq!(plain, json!({ "QueueUrl": "https://sqs.us-east-1.amazonaws.com/1/dead", "MessageBody": "{}" }));
        let fifo = |record, index| message(&queue("dead.fifo"), &letter(record), (index, "{}"));
        assert_eq!(fifo(&one, 0)["MessageGroupId"], "shardId-000000000007");
        let identity = |record, index| fifo(record, index)["MessageDeduplicationId"].as_str().unwrap().to_owned();
        assert_eq!(identity(&one, 0), identity(&one, 0));
        assert_eq!(identity(&one, 0).len(), 32);
        assert_ne!(identity(&one, 0), identity(&one, 1));
        assert_ne!(identity(&one, 0), identity(&other, 0));
        let elsewhere = message(&queue("dead.fifo"), &Letter { application: "other", ..letter(&one) }, (0, "{}"));
        assert_ne!(elsewhere["MessageDeduplicationId"], identity(&one, 0), "another application's letter is no repeat");
    }

    #[test]
    fn a_refusal_names_the_cure() {
        let refused = |status, body: &'static str| {
            refusal(&Answer { status, bucket_region: None, has_etag: false, body: body.as_bytes().to_vec() })
        };
        let denied = r#"{"__type":"com.amazonaws.sqs#AccessDeniedException","Message":"User x may not"}"#;
        let told = "SQS answered 403 AccessDeniedException: User x may not; allow sqs:SendMessage in the policy";
        assert_eq!(refused(403, denied), told);
        let gone =
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#;
        assert!(refused(400, gone).ends_with("does not exist.; check the queue's URL"));
        let long = r#"{"__type":"com.amazonaws.sqs#InvalidParameterValue","message":"Message must be shorter than 1024 bytes."}"#;
        assert!(refused(400, long).ends_with("1024 bytes.; let its MaximumMessageSize be 262144"));
        assert_eq!(refused(502, "<html>"), "SQS, or what stands before it, answered 502 without a reason");
        let told = "the answer 302 is not SQS's; check the queue's URL, AWS_ENDPOINT_URL_SQS and what stands between";
        assert_eq!(refused(302, ""), told);
    }

    #[test]
    fn only_a_queue_that_tells_of_the_message_has_it() {
        let told = |status, body: &str| {
            let answer = Answer { status, bucket_region: None, has_etag: false, body: body.as_bytes().to_vec() };
            validate(&answer, "{}").err().unwrap_or_default()
        };
        let digest = r#"{"MessageId":"m","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#;
        assert_eq!((told(200, digest).as_str(), told(200, r#"{"MessageId":"m"}"#).as_str()), ("", ""));
        for (status, body, why) in [
            (500, digest, "answered 500 without a reason"),
            (200, r#"{"MessageId":"m","MD5OfMessageBody":"0"}"#, "another message than what was sent"),
            (200, "<html>login</html>", "the answer 200 is not SQS's"),
            (200, "", "the answer 200 is not SQS's"),
            (302, "", "the answer 302 is not SQS's"),
        ] {
            assert!(told(status, body).contains(why), "{status} {body}: {}", told(status, body));
        }
    }
}
