//! Which names a worker must not have: its metric row shares the keys of the lease table with everything else there.
//!
//! Source: LEASES.md section 1.4, COEXISTENCE.md point 15. Java takes any name, and overwrites that row.

use super::report::{Report, Stage};

/// Keys of the rows of which there is one each.
const ROWS: [&str; 3] = ["Leader", "Migration3.0", "TableMigration3.5"];
/// How the names of shards begin, and how the last part of a lease's key begins when there are several streams.
const SHARD: &str = "shardId-";
/// DynamoDB takes no longer key, in bytes.
const LONGEST: usize = 2048;
/// Digits of an AWS account.
const ACCOUNT_DIGITS: usize = 12;

/// Refuses a name that could be mistaken for another row of the table, or that logs and consoles garble.
pub(super) fn check(worker: &str, report: &mut Report) {
    if let Some(why) = refusal(worker) {
        let message = format!("`workerId = {worker}`: {why}; choose another name, or remove the line for a random one");
        report.fault(Stage::Scheduler, "workerId", message);
    }
}

fn refusal(worker: &str) -> Option<&'static str> {
    if ROWS.contains(&worker) {
        return Some("the lease table has a row of its own under this name");
    }
    if worker.split(':').any(|part| part.starts_with(SHARD)) {
        return Some("it looks like the lease of a shard");
    }
    if is_stream_identifier(worker) {
        return Some("the lease table may have a row of the stream under this name");
    }
    if !worker.is_ascii() || worker.contains(|c: char| c.is_ascii_control()) {
        return Some("only printable ASCII is safe in every row, log and metric");
    }
    (worker.len() > LONGEST).then_some("it is longer than the 2048 bytes of a key in DynamoDB")
}

/// `account:stream:epoch`. Source: KCL 3.x `StreamIdentifier.serialize`.
fn is_stream_identifier(worker: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = worker.split(':').collect();
    matches!(parts[..], [account, _, epoch] if account.len() == ACCOUNT_DIGITS && is_number(account) && is_number(epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_another_row_is_refused() {
        let long = "w".repeat(2049);
        let table = [
            // name, refused for
            ("Leader", Some("row of its own")),
            ("Migration3.0", Some("row of its own")),
            ("TableMigration3.5", Some("row of its own")),
            ("shardId-000000000001", Some("lease of a shard")),
            ("shardId-x", Some("lease of a shard")),
            ("123456789012:orders:1700000000:shardId-000000000001", Some("lease of a shard")),
            ("123456789012:orders:1700000000", Some("row of the stream")),
            ("caf\u{e9}", Some("printable ASCII")),
            ("a\nb", Some("printable ASCII")),
            (&long, Some("2048 bytes")),
            // what is in use out there
            ("leader", None),
            ("orders", None), // a stream's own name: no daemon writes a row under it (LEASES.md section 1.4)
            ("w1", None),
            ("ip-10-0-0-1.ec2.internal:5f2f8fbe-8cb5-4d1b-a6d2-1e3b1b0b5a53", None),
            ("i-0123456789abcdef0", None),
            ("12345:orders:1700000000", None),
            ("123456789012:orders:blue", None),
            ("orders-consumer", None),
            ("my-shardId-1", None),
        ];
        for (worker, wanted) in table {
            let why = refusal(worker);
            let as_wanted = match (why, wanted) {
                (Some(why), Some(wanted)) => why.contains(wanted),
                (why, wanted) => why == wanted,
            };
            assert!(as_wanted, "{worker}: {why:?}");
        }
    }
}
