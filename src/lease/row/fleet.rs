//! The rows that are not leases: a worker's load, the leader lock, the client version (LEASES.md 1.4).

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::{Reader, finite, number_text, text, whole};
use super::history::States;
use super::{CLIENT_VERSION, CLIENT_VERSION_KEY, ENTITY_TYPE, KEY, LEADER, LOCK_KEY, Row, Unreadable, WORKER_METRICS};
use crate::lease::{ClientVersion, ClientVersionRow, LockRow, WorkerRow};
use crate::types::WorkerId;

/// When a worker's load was written, in seconds.
pub const LAST_UPDATE: &str = "lut";
/// The values of each metric.
pub const STATS: &str = "sts";
/// The operating range of each metric.
pub const OPERATING_RANGES: &str = "opr";
/// 1 = understands the single-table layout.
pub const SUPPORT_CODE: &str = "sup";
/// When `sup` was written, in seconds.
pub const SUPPORT_UPDATE: &str = "slu";

/// Who leads.
pub const LOCK_OWNER: &str = "ownerName";
/// Milliseconds, as text.
pub const LOCK_DURATION: &str = "leaseDuration";
/// Changes with each heartbeat.
pub const LOCK_VERSION: &str = "recordVersionNumber";

/// State of the client version row.
pub const VERSION: &str = "cv";
/// Reads a worker's load. Absent maps count as empty.
///
/// # Errors
/// Names the key, the attribute, its value and what was expected.
pub fn worker(row: &Row) -> Result<WorkerRow, Unreadable> {
    let reader = Reader::new(row)?;
    Ok(WorkerRow {
        worker: WorkerId::new(reader.key()),
        last_update_seconds: reader.whole(LAST_UPDATE)?,
        stats: metrics(&reader, STATS)?,
        operating_ranges: metrics(&reader, OPERATING_RANGES)?,
        support_code: reader.whole(SUPPORT_CODE)?,
        support_update_seconds: reader.whole(SUPPORT_UPDATE)?,
    })
}

/// When a worker's load was written, in seconds, if the row says so.
#[must_use]
pub fn last_update(row: &Row) -> Option<i64> {
    row.get(LAST_UPDATE)?.as_n().ok()?.parse().ok()
}

fn metrics(reader: &Reader<'_>, name: &'static str) -> Result<BTreeMap<String, Vec<f64>>, Unreadable> {
    let wrong = || reader.wrong(name, "a map from metric name to a list of numbers");
    let Some(value) = reader.raw(name) else { return Ok(BTreeMap::new()) };
    let map = value.as_m().map_err(|_| wrong())?;
    let list = |value: &AttributeValue| -> Option<Vec<f64>> {
        value.as_l().ok()?.iter().map(|number| finite(number.as_n().ok()?)).collect()
    };
    map.iter().map(|(metric, values)| Ok((metric.clone(), list(values).ok_or_else(wrong)?))).collect()
}

/// The attributes of a worker's load without its key, in the order in which Java names them.
///
/// `sts` and `opr` are there even when empty: they must be, or the row counts for nothing.
/// Source: LEASES.md 4, step 2. Values that are not finite are left out.
#[must_use]
pub fn worker_attributes(row: &WorkerRow) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = vec![
        (OPERATING_RANGES, metrics_value(&row.operating_ranges)),
        (STATS, metrics_value(&row.stats)),
        (ENTITY_TYPE, text(WORKER_METRICS)),
    ];
    let seconds = [
        (LAST_UPDATE, row.last_update_seconds),
        (SUPPORT_UPDATE, row.support_update_seconds),
        (SUPPORT_CODE, row.support_code),
    ];
    attributes.extend(seconds.into_iter().filter_map(|(name, value)| Some((name, whole(value?)))));
    attributes
}

fn metrics_value(metrics: &BTreeMap<String, Vec<f64>>) -> AttributeValue {
    let list = |values: &[f64]| values.iter().filter_map(|value| number_text(*value)).map(AttributeValue::N).collect();
    AttributeValue::M(metrics.iter().map(|(name, values)| (name.clone(), AttributeValue::L(list(values)))).collect())
}

/// Reads the leader lock.
///
/// # Errors
/// Names the key, the attribute, its value and what was expected.
pub fn lock(row: &Row) -> Result<LockRow, Unreadable> {
    let reader = Reader::new(row)?;
    let millis = "a text of milliseconds";
    let duration = reader.need(LOCK_DURATION, reader.text(LOCK_DURATION)?, millis)?;
    let duration = duration.parse().map_err(|_| reader.wrong(LOCK_DURATION, millis))?;
    Ok(LockRow {
        owner: WorkerId::new(reader.need(LOCK_OWNER, reader.text(LOCK_OWNER)?, "a text")?),
        lease_duration: Duration::from_millis(duration),
        version: reader.need(LOCK_VERSION, reader.text(LOCK_VERSION)?, "a text")?.to_owned(),
    })
}

/// The whole row of the leader lock.
#[must_use]
pub fn lock_row(lock: &LockRow) -> Row {
    Row::from([
        (KEY.to_owned(), text(LOCK_KEY)),
        (ENTITY_TYPE.to_owned(), text(LEADER)),
        (LOCK_OWNER.to_owned(), text(lock.owner.as_str())),
        (LOCK_DURATION.to_owned(), lock_duration_value(lock)),
        (LOCK_VERSION.to_owned(), text(lock.version.as_str())),
    ])
}

/// Attribute `leaseDuration`: a text, not a number. Source: LEASES.md 1.4.
#[must_use]
pub fn lock_duration_value(lock: &LockRow) -> AttributeValue {
    text(lock.lease_duration.as_millis().to_string())
}

/// Text of a client version. Source: KCL 3.x `ClientVersion`.
#[must_use]
pub fn version_text(version: ClientVersion) -> &'static str {
    match version {
        ClientVersion::Init => "CLIENT_VERSION_INIT",
        ClientVersion::UpgradeFrom2x => "CLIENT_VERSION_UPGRADE_FROM_2X",
        ClientVersion::ThreeXWithRollback => "CLIENT_VERSION_3X_WITH_ROLLBACK",
        ClientVersion::ThreeX => "CLIENT_VERSION_3X",
        ClientVersion::TwoX => "CLIENT_VERSION_2X",
    }
}

fn parse_version(word: &str) -> Option<ClientVersion> {
    use ClientVersion::{Init, ThreeX, ThreeXWithRollback, TwoX, UpgradeFrom2x};
    [Init, UpgradeFrom2x, ThreeXWithRollback, ThreeX, TwoX].into_iter().find(|version| version_text(*version) == word)
}

const VERSIONS: States<ClientVersion> = States {
    name: VERSION,
    expected: "one of the five client versions, as `CLIENT_VERSION_3X`",
    text: version_text,
    parse: parse_version,
};

/// Reads item `Migration3.0`. An absent history counts as empty.
///
/// # Errors
/// Names the key, the attribute, its value and what was expected.
pub fn client_version(row: &Row) -> Result<ClientVersionRow, Unreadable> {
    let ((version, modified_by, modified_at), history) = VERSIONS.read(&Reader::new(row)?)?;
    Ok(ClientVersionRow { version, modified_by, modified_at, history })
}

/// What a change of item `Migration3.0` writes: state, author, time, history.
#[must_use]
pub fn client_version_attributes(row: &ClientVersionRow) -> [(&'static str, AttributeValue); 4] {
    let [version, by, at] = VERSIONS.attributes(row.version, &row.modified_by, row.modified_at);
    [version, by, at, VERSIONS.history(&row.history)]
}

/// The whole item `Migration3.0`.
#[must_use]
pub fn client_version_row(row: &ClientVersionRow) -> Row {
    let mut item =
        Row::from([(KEY.to_owned(), text(CLIENT_VERSION_KEY)), (ENTITY_TYPE.to_owned(), text(CLIENT_VERSION))]);
    item.extend(client_version_attributes(row).map(|(name, value)| (name.to_owned(), value)));
    item
}
