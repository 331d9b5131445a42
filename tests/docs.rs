//! A promise in `docs/differences.md` names the test that holds it, and that test exists.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_difference_has_the_test_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "compat-tests/tests"] {
        read_all(&root.join(folder), &mut code);
    }
    let differences = fs::read_to_string(root.join("docs/differences.md")).unwrap();
    let rows: Vec<&str> = differences.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    let mut missing = Vec::new();
    let strict = rows.iter().filter_map(|row| row.split_once("(`")?.1.split_once("`)"));
    let strict: Vec<&str> = strict.map(|(name, _)| name).collect();
    assert!(strict.len() > 10, "strict's side has tests too");
    let held = rows.iter().map(|row| row.trim_end_matches("` |").rsplit('`').next().unwrap());
    for name in held.chain(strict) {
        if !code.contains(&format!("fn {name}(")) && !code.contains(&format!("@test(\"{name}\"")) {
            missing.push(name);
        }
    }
    assert!(rows.len() > 20, "the table was not found");
    assert_eq!(missing, Vec::<&str>::new());
}
