//! The real `java`, for everything that is not the daemon.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the real `java` when it is not on `PATH`.
pub const VARIABLE: &str = "KCL_REAL_JAVA";
/// Set before the real one takes our place, so that a script of that name that leads back to us is noticed.
const GUARD: &str = "MULTILANGD_REAL_JAVA_PID";

/// Lets the real `java` take the place of this process; comes back only with a sentence why it cannot.
#[must_use]
pub fn exec(what: &str, words: &[OsString]) -> String {
    let begin = format!("multilangd runs only the MultiLangDaemon, and was asked for {what}");
    let me = std::process::id().to_string();
    if std::env::var(GUARD).is_ok_and(|pid| pid == me) {
        return format!("{begin}; the java it found leads back to itself, set {VARIABLE} to the real java");
    }
    let ourselves = std::env::current_exe().ok();
    let Some(java) = find(std::env::var_os(VARIABLE), std::env::var_os("PATH").as_deref(), ourselves.as_deref()) else {
        return format!("{begin}; there is no real java: set {VARIABLE} to one, or put one on PATH");
    };
    let error = Command::new(&java).args(words).env(GUARD, me).exec();
    format!("{begin}; {} could not be run: {error}; set {VARIABLE} to the real java", java.display())
}

/// What the variable names, else the first `java` on `PATH` that is not ourselves under another name.
fn find(named: Option<OsString>, path: Option<&OsStr>, ourselves: Option<&Path>) -> Option<PathBuf> {
    if let Some(java) = named.filter(|java| !java.is_empty()) {
        return Some(java.into());
    }
    let ours = ourselves.and_then(identity);
    let candidates = std::env::split_paths(path?).map(|folder| folder.join("java"));
    candidates.into_iter().find(|java| is_program(java) && identity(java) != ours)
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The file behind all links, hard ones too.
fn identity(file: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn the_next_java_on_the_path_is_not_ourselves() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for folder in ["link", "hard", "plain", "real"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("multilangd"), "us").unwrap();
        std::fs::set_permissions(at("multilangd"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink(at("multilangd"), at("link/java")).unwrap();
        std::fs::hard_link(at("multilangd"), at("hard/java")).unwrap();
        std::fs::write(at("plain/java"), "may not be run").unwrap();
        std::fs::write(at("real/java"), "#!/bin/sh").unwrap();
        std::fs::set_permissions(at("real/java"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = |names: &[&str]| std::env::join_paths(names.iter().map(|name| at(name))).unwrap();
        let ourselves = at("multilangd");
        let found = |names: &[&str]| find(None, Some(&path(names)), Some(&ourselves));
        assert_eq!(found(&["link", "hard", "gone", "plain", "real"]), Some(at("real/java")));
        assert_eq!(found(&["link", "hard"]), None);
        assert_eq!(find(Some("/x/java".into()), None, None), Some(PathBuf::from("/x/java")));
    }
}
