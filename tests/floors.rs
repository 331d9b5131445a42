//! Holds the floor plan of `src/lib.rs`: a module uses only what lies below it, and its own folder.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&[&str]; 8] = [
    &["types", "backoff"],
    &["clock", "checkpoint", "direct", "record", "config"],
    &["progress", "lease", "stream", "child", "host", "poison"],
    &["retrieval", "coordinator"],
    &["consumer"],
    &["worker"],
    &["app"],
    &["local", "cli", "main"],
];

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("`{module}` has no floor"))
}

/// What `module` names that is neither its own nor from below.
fn climbs(module: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let name =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
    let names = code.split("crate::").skip(1).map(name).filter(|name| !name.is_empty() && name != module);
    names.filter(|name| floor(name) > floor(module) || (floor(name) == floor(module) && module != "cli")).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn no_module_uses_what_lies_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let inside = file.strip_prefix(&root).unwrap();
        let module =
            inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module != "lib" {
            let climbed = climbs(&module, &fs::read_to_string(file).unwrap());
            complaints.extend(climbed.into_iter().map(|name| format!("{} uses `{name}`", inside.display())));
        }
    }
    assert!(files.len() > 30, "the sources were not found");
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn climbing_is_noticed() {
    assert_eq!(climbs("lease", "use crate::types::X;\nuse crate::worker::Y;"), ["worker"]);
    assert_eq!(climbs("lease", "use crate::stream::X;"), ["stream"]);
    assert_eq!(climbs("lease", "//! see crate::worker\nuse crate::lease::row;"), Vec::<String>::new());
}
