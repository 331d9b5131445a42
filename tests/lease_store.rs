//! The lease table against what was recorded from the Java KCL, and both stores against one list of claims.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic, too")]

#[path = "lease_store/claims.rs"]
mod claims;
#[path = "lease_store/direct.rs"]
mod direct;
#[cfg(feature = "local")]
#[path = "lease_store/dynamodb.rs"]
mod dynamodb;
#[path = "lease_store/faults.rs"]
mod faults;
#[path = "lease_store/old_claims.rs"]
mod old_claims;
#[path = "lease_store/old_tables.rs"]
mod old_tables;
#[path = "lease_store/requests.rs"]
mod requests;
#[path = "lease_store/rows.rs"]
mod rows;
#[path = "lease_store/support.rs"]
mod support;
#[path = "lease_store/troubles.rs"]
mod troubles;
