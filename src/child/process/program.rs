//! Finds the program that `executableName` names, before anything is started.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::child::LaunchError;

/// Where programs are looked for when there is no PATH at all.
const PATH_WITHOUT_PATH: &str = "/bin:/usr/bin"; // Source: OpenJDK 17 `childproc.c` defaultPath

/// Finds the file to run for `command`, the words of `executableName`.
///
/// A name without `/` is looked for in `path`, never in the working directory.
/// Source: PROTOCOL.md section 7.
///
/// # Errors
/// No such file, or one that cannot be run.
pub(super) fn find(command: &[String], path: Option<&OsStr>) -> Result<PathBuf, LaunchError> {
    let program = command.first().map_or("", String::as_str);
    if program.is_empty() {
        return Err(not_found(command, "because the property is empty".to_owned()));
    }
    if program.contains('/') {
        return match runnable(Path::new(program)) {
            Ok(()) => Ok(PathBuf::from(program)),
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied => Err(not_executable(command, fault)),
            Err(_) => Err(not_found(command, looked_at(program))),
        };
    }
    let path = path.unwrap_or(OsStr::new(PATH_WITHOUT_PATH));
    let mut denied = None;
    for folder in std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty()) {
        let file = folder.join(program);
        match runnable(&file) {
            Ok(()) => return Ok(file),
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied => denied = denied.or(Some(fault)),
            Err(_) => {}
        }
    }
    match denied {
        Some(fault) => Err(not_executable(command, fault)),
        None => Err(not_found(command, format!("in PATH (`{}`)", path.to_string_lossy()))),
    }
}

fn looked_at(program: &str) -> String {
    match std::env::current_dir() {
        Ok(folder) if !program.starts_with('/') => format!("from the working directory `{}`", folder.display()),
        Ok(_) | Err(_) => "at that path".to_owned(),
    }
}

/// What the system would say to running `file`, as far as it can be known without running it.
fn runnable(file: &Path) -> Result<(), Error> {
    let facts = std::fs::metadata(file)?;
    if facts.is_file() && facts.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(ErrorKind::PermissionDenied.into())
}

fn not_found(command: &[String], looked: String) -> LaunchError {
    LaunchError::NotFound { command: command.join(" "), program: command.first().cloned().unwrap_or_default(), looked }
}

/// The program is there and the system refused it.
pub(super) fn not_executable(command: &[String], source: Error) -> LaunchError {
    LaunchError::NotExecutable {
        command: command.join(" "),
        program: command.first().cloned().unwrap_or_default(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) {
        let path = folder.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn find_in(program: &str, folders: &[&Path]) -> Result<PathBuf, String> {
        let path = std::env::join_paths(folders).unwrap();
        find(&[program.to_owned(), "-u".to_owned()], Some(&path)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_first_executable_file_in_path_is_taken() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        file(first.path(), "app", 0o644);
        file(second.path(), "app", 0o755);
        std::fs::create_dir(first.path().join("folder")).unwrap();
        let folders = [first.path(), second.path()];
        assert_eq!(find_in("app", &folders), Ok(second.path().join("app")));
        assert!(find_in("folder", &folders).unwrap_err().contains("program `folder` cannot be run"));
        assert!(find_in("app", &folders[..1]).unwrap_err().contains("make it executable"));
    }

    #[test]
    fn a_name_without_slash_is_not_looked_for_in_the_working_directory() {
        let told = find_in("Cargo.toml", &[Path::new("")]).unwrap_err();
        assert!(told.contains("executableName `Cargo.toml -u`: program `Cargo.toml` was not found in PATH"), "{told}");
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(find_in("/bin/sh", &[]), Ok(PathBuf::from("/bin/sh")));
        let told = find_in("/bin/none", &[]).unwrap_err();
        assert!(told.contains("program `/bin/none` was not found at that path"), "{told}");
        let told = find_in("./none", &[]).unwrap_err();
        assert!(told.contains("was not found from the working directory `/"), "{told}");
    }

    #[test]
    fn an_empty_property_is_told() {
        let told = find(&[], None).unwrap_err().to_string();
        assert!(told.contains("because the property is empty"), "{told}");
    }
}
