use super::*;
use crate::coordinator::testing::{beside, fleet, lease, load_row, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::{LockRow, StateStore};

use ClientVersionConfig::{CompatibleWith2x, CompatibleWith2xPhase1, ThreeX};

async fn joined(table: &MemoryStore, config: ClientVersionConfig) -> (ClientVersion, Option<ClientVersion>) {
    let mut fleet = fleet(table, "me");
    fleet.config.client_version = config;
    let version = join(&fleet).await.unwrap();
    (version, beside(table).client_version().await.unwrap().map(|row| row.version))
}

#[tokio::test(start_paused = true)]
async fn a_new_application_begins_as_configured() {
    let table = [
        (ThreeX, ClientVersion::ThreeX, Some(ClientVersion::ThreeX)),
        (CompatibleWith2x, ClientVersion::UpgradeFrom2x, Some(ClientVersion::UpgradeFrom2x)),
        (CompatibleWith2xPhase1, ClientVersion::Init, None),
    ];
    for (config, version, item) in table {
        assert_eq!(joined(&MemoryStore::new(), config).await, (version, item), "{config:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lease_owners_that_may_be_of_2x_are_spared_unless_the_file_says_3x() {
    let upgrade = Some(ClientVersion::UpgradeFrom2x);
    let table = [
        (CompatibleWith2x, ClientVersion::Init, None),
        (CompatibleWith2xPhase1, ClientVersion::Init, None),
        (ThreeX, ClientVersion::ThreeX, Some(ClientVersion::ThreeX)),
    ];
    for (config, version, item) in table {
        let table = MemoryStore::new();
        table.put_lease(&lease(0, Some("old")));
        assert_eq!(joined(&table, config).await, (version, item), "{config:?}");
    }
    let (free, ours, proven, strict) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
    free.put_lease(&lease(0, None));
    ours.put_lease(&lease(0, Some("me")));
    proven.put_lease(&lease(0, Some("new")));
    proven.put_worker(&load_row("new")).await.unwrap();
    for table in [free, ours, proven] {
        assert_eq!(joined(&table, CompatibleWith2x).await, (ClientVersion::UpgradeFrom2x, upgrade));
    }
    strict.put_lease(&lease(0, Some("old")));
    let mut fleet = fleet(&strict, "me");
    (fleet.config.client_version, fleet.config.spare_2x_workers) = (CompatibleWith2x, false);
    assert_eq!(join(&fleet).await.unwrap(), ClientVersion::UpgradeFrom2x);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_spared_who_cannot_read_the_table_anyway() {
    let (with_lock, with_row) = (MemoryStore::new(), MemoryStore::new());
    let lock =
        LockRow { owner: worker("new"), lease_duration: std::time::Duration::from_secs(120), version: "1".into() };
    assert!(with_lock.take_lock(&lock, None).await.unwrap());
    with_row.put_foreign_row("something", &[("entityType", "OF_KCL_4")]);
    for table in [with_lock, with_row] {
        table.put_lease(&lease(0, Some("old")));
        assert_eq!(joined(&table, CompatibleWith2x).await.0, ClientVersion::UpgradeFrom2x);
    }
}
