//! How much memory this process may use: the least of the control groups' limits and of what the machine has.

use std::fs::read_to_string;
use std::path::Path;

const OWN_GROUPS: &str = "proc/self/cgroup";
const MACHINE: &str = "proc/meminfo";
const GROUPS_V2: &str = "sys/fs/cgroup";
const GROUPS_V1: &str = "sys/fs/cgroup/memory";

/// The limit in bytes, from the files under `root`; `None` where the system tells nothing (other systems than Linux).
#[must_use]
pub fn limit(root: &Path) -> Option<u64> {
    let own = read_to_string(root.join(OWN_GROUPS)).unwrap_or_default();
    let machine = read_to_string(root.join(MACHINE)).unwrap_or_default();
    let files = limit_files(&own).into_iter();
    let limits = files.filter_map(|file| read_to_string(root.join(file)).ok()?.trim().parse().ok()); // `max` is no number
    limits.chain(mem_total(&machine)).min()
}

/// Files of the groups that `/proc/self/cgroup` names and of all groups around them, both versions. A container sees
/// its own group as the root, whatever is named there.
fn limit_files(own: &str) -> Vec<String> {
    let mut files = vec![format!("{GROUPS_V2}/memory.max"), format!("{GROUPS_V1}/memory.limit_in_bytes")];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (folder, file) = match controllers {
            "" => (GROUPS_V2, "memory.max"),
            several if several.split(',').any(|one| one == "memory") => (GROUPS_V1, "memory.limit_in_bytes"),
            _ => continue,
        };
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        files.extend(ends.map(|end| format!("{folder}{}/{file}", path[..end].trim_end_matches('/'))));
    }
    files
}

/// `MemTotal` in bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        limit(root.path())
    }

    #[test]
    fn the_least_limit_counts() {
        let machine = ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
        let total = Some(8_000_000 * 1024);
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u64>);
        let table: &[Case<'_>] = &[
            ("nothing is known", &[], None),
            ("no limit", &[machine, ("sys/fs/cgroup/memory.max", "max\n")], total),
            ("a container, version 2", &[machine, ("sys/fs/cgroup/memory.max", "67108864\n")], Some(67_108_864)),
            (
                "a container, version 1",
                &[machine, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n")],
                Some(67_108_864),
            ),
            (
                "version 1 without limit",
                &[machine, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
                total,
            ),
            (
                "a service, limited by the slice around it",
                &[
                    machine,
                    ("proc/self/cgroup", "0::/our.slice/app.service\n"),
                    ("sys/fs/cgroup/our.slice/memory.max", "1000"),
                    ("sys/fs/cgroup/our.slice/app.service/memory.max", "2000"),
                ],
                Some(1000),
            ),
            (
                "a group of version 1",
                &[
                    machine,
                    ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n"),
                    ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "3000"),
                ],
                Some(3000),
            ),
        ];
        for (what, files, expected) in table {
            assert_eq!(limit_of(files), *expected, "{what}");
        }
    }
}
