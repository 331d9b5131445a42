//! In which table each kind of row lives. Pure; the decision for a layout is the coordinator's.
//!
//! Source: LEASES.md sections 1 and 10, COEXISTENCE.md section 1.

/// Where an application keeps the rows that are not leases, as far as this process is concerned.
///
/// Writes go to one place for the life of the process; only COMPLETE moves them, and the lock with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everything in the lease table: new applications, and moved ones (COMPLETE).
    OneTable,
    /// The tables of KCL 3.0-3.4; rows of workers that have begun to move are read, too (INIT, DEPLOYED).
    ThreeTables,
    /// Writes go to the lease table already, the lock stays in the old one (PENDING).
    Moving,
}

/// One table of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The lease table.
    Leases,
    /// `APP-CoordinatorState` of KCL 3.0-3.4: lock, client version, table migration.
    OldCoordinator,
    /// `APP-WorkerMetricStats` of KCL 3.0-3.4: workers' load.
    OldMetrics,
}

impl Table {
    /// Name of the hash key (Source: LEASES.md 1.1).
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Leases => super::row::KEY,
            Self::OldCoordinator => "key",
            Self::OldMetrics => "wid",
        }
    }
}

impl Layout {
    /// The table of the leader lock: the old one until COMPLETE.
    #[must_use]
    pub const fn lock(self) -> Table {
        match self {
            Self::OneTable => Table::Leases,
            Self::ThreeTables | Self::Moving => Table::OldCoordinator,
        }
    }

    /// Tables in which a coordinator item is looked for; the first that has it counts.
    ///
    /// Source: KCL 3.5 `CoordinatorStateDAO.getCoordinatorState`.
    #[must_use]
    pub const fn items_read(self) -> &'static [Table] {
        match self {
            Self::OneTable => &[Table::Leases],
            Self::ThreeTables | Self::Moving => &[Table::OldCoordinator, Table::Leases],
        }
    }

    /// The table in which a coordinator item is created.
    #[must_use]
    pub const fn items_written(self) -> Table {
        match self {
            Self::OneTable | Self::Moving => Table::Leases,
            Self::ThreeTables => Table::OldCoordinator,
        }
    }

    /// Tables in which workers' load is read, the one that is written first.
    #[must_use]
    pub const fn loads(self) -> &'static [Table] {
        match self {
            Self::OneTable => &[Table::Leases],
            Self::ThreeTables => &[Table::OldMetrics, Table::Leases],
            Self::Moving => &[Table::Leases, Table::OldMetrics],
        }
    }

    /// The table to which a worker's load is written.
    #[must_use]
    pub const fn loads_written(self) -> Table {
        self.loads()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_has_its_table() {
        use Table::{Leases, OldCoordinator, OldMetrics};
        let old_first: &[Table] = &[OldCoordinator, Leases];
        #[rustfmt::skip]
        let table = [
            // layout             lock            item written    item read     load written  load read
            (Layout::OneTable,    Leases,         Leases,         &[Leases][..], Leases,      &[Leases][..]),
            (Layout::ThreeTables, OldCoordinator, OldCoordinator, old_first,     OldMetrics,  &[OldMetrics, Leases]),
            (Layout::Moving,      OldCoordinator, Leases,         old_first,     Leases,      &[Leases, OldMetrics]),
        ];
        for (layout, lock, written, read, load, loads) in table {
            let found = (layout.lock(), layout.items_written(), layout.items_read());
            assert_eq!(found, (lock, written, read), "{layout:?}");
            assert_eq!((layout.loads_written(), layout.loads()), (load, loads), "{layout:?}");
        }
        assert_eq!([Leases, OldCoordinator, OldMetrics].map(Table::key), ["leaseKey", "key", "wid"]);
    }
}
