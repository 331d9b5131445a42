//! ListShards with filters, pages and ARNs; answered here alone.

use axum::http::StatusCode;
use axum::response::Response;
use ferrokinesis::types::Shard;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::family::{Filter, select};
use super::times;
use super::wire::Wire;
use super::{Repair, now};

/// Shards of a page when the request does not say, and the most it may say.
const PAGE: u64 = 1_000;
const LARGEST_PAGE: u64 = 10_000;
const MILLIS_PER_HOUR: u64 = 3_600_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    shards: &'a [&'a Shard],
}

/// What a request asks for; as base64 of JSON it is also the token of the next page.
#[derive(Serialize, Deserialize)]
struct Wanted {
    stream: String,
    after: Option<String>,
    filter: Value,
}

/// Error type and message.
type Refusal = (&'static str, String);

const INVALID: &str = "InvalidArgumentException";

/// Answers ListShards.
pub(super) async fn answer(repair: &Repair, wire: Wire, question: &Value) -> Response {
    match list(repair, wire, question).await {
        Ok(answer) => answer,
        Err((kind, message)) => wire.refuse(StatusCode::BAD_REQUEST, kind, &message),
    }
}

async fn list(repair: &Repair, wire: Wire, question: &Value) -> Result<Response, Refusal> {
    let wanted = wanted(repair, question)?;
    let filter = filter(&wanted.filter)?;
    let page = question["MaxResults"].as_u64().unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&page) {
        return Err(("ValidationException", format!("MaxResults {page} is not between 1 and {LARGEST_PAGE}")));
    }
    let stream = repair.store.get_stream(&wanted.stream).await;
    let stream = stream.map_err(|_| {
        let account = &repair.store.aws_account_id;
        ("ResourceNotFoundException", format!("Stream {} under account {account} not found.", wanted.stream))
    })?;
    let horizon = now().saturating_sub(u64::from(stream.retention_period_hours) * MILLIS_PER_HOUR);
    let mut shards = select(&stream.shards, &filter, horizon);
    shards.retain(|shard| wanted.after.as_ref().is_none_or(|after| shard.shard_id > *after));
    let shown = shards.len().min(usize::try_from(page).unwrap_or(usize::MAX));
    let (shown, left) = shards.split_at(shown);
    let next_token = shown.last().filter(|_| !left.is_empty()).map(|last| {
        let rest = Wanted { after: Some(last.shard_id.clone()), ..wanted };
        base64_simd::STANDARD.encode_to_string(serde_json::to_vec(&rest).expect("text into memory cannot fail"))
    });
    Ok(wire.answer(&Answer { next_token, shards: shown }))
}

fn wanted(repair: &Repair, question: &Value) -> Result<Wanted, Refusal> {
    let Some(token) = question["NextToken"].as_str() else {
        let stream = repair
            .store
            .resolve_stream_name(question)
            .map_err(|_| (INVALID, "exactly one of StreamName, StreamARN and NextToken must be given".to_owned()))?;
        let after = question["ExclusiveStartShardId"].as_str().map(str::to_owned);
        return Ok(Wanted { stream, after, filter: question["ShardFilter"].clone() });
    };
    if ["StreamName", "ShardFilter", "ExclusiveStartShardId"].iter().any(|member| !question[*member].is_null()) {
        return Err((
            INVALID,
            "NextToken goes with neither StreamName, ShardFilter nor ExclusiveStartShardId".to_owned(),
        ));
    }
    let bytes = base64_simd::STANDARD.decode_to_vec(token).unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|_| (INVALID, "NextToken is not one of this stream".to_owned()))
}

fn filter(asked: &Value) -> Result<Filter, Refusal> {
    let Some(kind) = asked["Type"].as_str() else { return Ok(Filter::All) };
    match kind {
        "FROM_TRIM_HORIZON" => Ok(Filter::All),
        "AT_TRIM_HORIZON" => Ok(Filter::AtTrimHorizon),
        "AT_LATEST" => Ok(Filter::AtLatest),
        "AFTER_SHARD_ID" => match asked["ShardId"].as_str() {
            Some(shard) => Ok(Filter::AfterShardId(shard.to_owned())),
            None => Err((INVALID, "ShardFilter AFTER_SHARD_ID needs a ShardId".to_owned())),
        },
        "AT_TIMESTAMP" => Ok(Filter::AtTimestamp(time(asked)?)),
        "FROM_TIMESTAMP" => Ok(Filter::FromTimestamp(time(asked)?)),
        _ => Err(("ValidationException", format!("ShardFilter type {kind} is not known"))),
    }
}

/// In milliseconds since 1970.
fn time(asked: &Value) -> Result<u64, Refusal> {
    let Some(time) = asked["Timestamp"].as_f64() else {
        return Err((INVALID, "ShardFilter AT_TIMESTAMP and FROM_TIMESTAMP need a Timestamp".to_owned()));
    };
    let millis = times::seconds(time) * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    Ok(millis as u64)
}
