//! Where the properties file and logback.xml are: class path folders first, then the path as it is.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// Finds a relative `name` in the folders of the class path, in their order; else `name` itself, there or not.
///
/// An absolute name is never on the class path, jars are not looked into, `FOLDER/*` means jars only, entries that
/// are not there are skipped, and a name cannot lead out of a folder.
///
/// Source: CLI.md sections 1 and 3; JDK 17 `URLClassPath.FileLoader`.
#[must_use]
pub fn properties_file(name: &OsStr, class_path: &[PathBuf]) -> PathBuf {
    on_class_path(Path::new(name), class_path).unwrap_or_else(|| PathBuf::from(name))
}

/// The first `logback.xml` in the folders that stand before the first jar: the daemon's own jar has one, which hides
/// those behind it, like one beside the properties file that the Python launcher puts last.
///
/// Source: LOGGING.md, selecting a configuration.
#[must_use]
pub fn logback(class_path: &[PathBuf]) -> Option<PathBuf> {
    let jars = class_path.iter().position(|entry| is_jars(entry)).unwrap_or(class_path.len());
    on_class_path(Path::new("logback.xml"), class_path.get(..jars)?)
}

fn on_class_path(name: &Path, class_path: &[PathBuf]) -> Option<PathBuf> {
    if name.is_absolute() {
        return None;
    }
    let climbs = name.components().any(|part| part == Component::ParentDir);
    class_path.iter().filter(|entry| !is_jars(entry)).find_map(|entry| {
        // an empty entry is the working directory
        let folder = if entry.as_os_str().is_empty() { Path::new(".") } else { entry };
        let file = folder.join(name);
        let inside = || Some(file.canonicalize().ok()?.starts_with(folder.canonicalize().ok()?));
        (file.is_file() && (!climbs || inside() == Some(true))).then_some(file)
    })
}

fn is_jars(entry: &Path) -> bool {
    let ends = entry.extension().is_some_and(|end| end.eq_ignore_ascii_case("jar") || end.eq_ignore_ascii_case("zip"));
    entry.file_name() == Some(OsStr::new("*")) || (ends && !entry.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logback_behind_the_jars_is_hidden() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("logback.xml"), "").unwrap();
        let (own, jar) = (home.path().to_owned(), home.path().join("kcl.jar"));
        assert_eq!(logback(&[own.clone(), jar.clone()]), Some(own.join("logback.xml")));
        assert_eq!(logback(std::slice::from_ref(&own)), Some(own.join("logback.xml")));
        assert_eq!(logback(&[jar, own.clone()]), None);
        assert_eq!(logback(&[home.path().join("*"), own]), None);
    }

    #[test]
    fn a_folder_on_the_class_path_is_no_properties_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("sub")).unwrap();
        let found = properties_file(OsStr::new("sub"), &[home.path().to_owned()]);
        assert_eq!(found, PathBuf::from("sub"), "it is looked for as a file, and not found");
    }

    #[test]
    fn folders_of_the_class_path_come_before_the_working_directory() {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        for folder in [&a, &b] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(b.join("app.properties"), "").unwrap();
        std::fs::write(home.path().join("out.properties"), "").unwrap();
        let class_path = [home.path().join("gone"), home.path().join("x.jar"), a.join("*"), a.clone(), b.clone()];
        let found = |name: &str| properties_file(OsStr::new(name), &class_path);
        assert_eq!(found("app.properties"), b.join("app.properties"));
        assert_eq!(found("./app.properties"), b.join("./app.properties"));
        assert_eq!(found("nowhere.properties"), PathBuf::from("nowhere.properties"));
        assert_eq!(found("../out.properties"), PathBuf::from("../out.properties"), "cannot climb out");
        let absolute = home.path().join("out.properties");
        assert_eq!(properties_file(absolute.as_os_str(), &class_path), absolute);
        assert_eq!(properties_file(OsStr::new("app.properties"), &[]), PathBuf::from("app.properties"));
    }
}
