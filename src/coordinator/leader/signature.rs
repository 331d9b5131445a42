//! Versions of the lock row by which a process knows its own writes.
//!
//! A version is a random UUID to everybody else (Source: LEASES.md section 1.4), and the first half of all versions of a
//! process is the same. The name in the row does not tell processes apart: two may have been started with one `workerId`.

use uuid::{Builder, Uuid};

/// Bytes that are the same in each version; 60 bits of them are random.
const SIGNED: usize = 8;

/// What the versions of one process have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature([u8; SIGNED]);

impl Signature {
    /// Like no other process's.
    pub(super) fn new() -> Self {
        Self(first_half(Uuid::new_v4()))
    }

    /// A version that was never there before.
    pub(super) fn version(self) -> String {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[..SIGNED].copy_from_slice(&self.0);
        Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Whether the version is one of this process.
    pub(super) fn is_on(self, version: &str) -> bool {
        Uuid::try_parse(version).is_ok_and(|version| first_half(version) == self.0)
    }
}

fn first_half(version: Uuid) -> [u8; SIGNED] {
    let mut half = [0; SIGNED];
    half.copy_from_slice(&version.as_bytes()[..SIGNED]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_versions_which_are_random_uuids_all_the_same() {
        let (ours, other) = (Signature::new(), Signature::new());
        let versions = [ours.version(), ours.version()];
        assert_ne!(versions[0], versions[1]);
        for version in &versions {
            assert!(ours.is_on(version) && !other.is_on(version), "{version}");
            let read = Uuid::try_parse(version).unwrap();
            assert_eq!((read.get_version_num(), read.to_string()), (4, version.clone()));
        }
        for foreign in [Uuid::new_v4().to_string(), "1".to_owned(), String::new()] {
            assert!(!ours.is_on(&foreign), "{foreign:?}");
        }
    }
}
