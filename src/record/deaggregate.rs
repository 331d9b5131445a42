//! stub
use super::Record;
use crate::types::{Checkpoint, HashKeyRange};
/// stub
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Fault;
/// stub
pub fn deaggregate(records: Vec<Record>, _: Option<HashKeyRange>, _: &mut Vec<Fault>) -> Vec<Record> {
    records
}
/// stub
pub fn drop_done(records: &mut Vec<Record>, checkpoint: &Checkpoint) {
    records.retain(|r| r.place().map(|p| Checkpoint::At(p) > *checkpoint).unwrap_or(true));
}
