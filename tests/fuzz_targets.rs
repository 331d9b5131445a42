//! The fuzz targets compile on a stable toolchain, and hold for a thousand drawn inputs each.
//!
//! Their own crate needs nightly and a second build of everything; here this crate stands in for `libfuzzer_sys`, so
//! that no change of a signature leaves a target behind unseen.

extern crate self as libfuzzer_sys;

use proptest::prelude::*;

#[allow(unused_attributes, reason = "`no_main` is for the crate that a target is elsewhere")]
#[path = "../fuzz/fuzz_targets/aggregate.rs"]
mod aggregate;
#[allow(unused_attributes, reason = "`no_main` is for the crate that a target is elsewhere")]
#[path = "../fuzz/fuzz_targets/child_line.rs"]
mod child_line;
#[allow(unused_attributes, reason = "`no_main` is for the crate that a target is elsewhere")]
#[path = "../fuzz/fuzz_targets/command_line.rs"]
mod command_line;
#[allow(unused_attributes, reason = "`no_main` is for the crate that a target is elsewhere")]
#[path = "../fuzz/fuzz_targets/properties.rs"]
mod properties;

/// The targets above, by the names of their files.
const TARGETS: [&str; 4] = ["aggregate", "child_line", "command_line", "properties"];

/// What `libfuzzer_sys` makes of a target: a function of its input. Below the targets, so that they have to ask for it.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:block) => {
        pub(crate) fn target($input: $kind) {
            $body
        }
    };
}

#[test]
fn every_target_is_built_here_and_named_in_the_manifest_of_its_crate() {
    let crate_of_targets = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
    let manifest = std::fs::read_to_string(format!("{crate_of_targets}/Cargo.toml")).unwrap();
    let files = std::fs::read_dir(format!("{crate_of_targets}/fuzz_targets")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, TARGETS);
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}

/// Bytes that are mostly what the readers know: their marks, digits, words of the protocol.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "{\"action\":",
        "\"checkpoint\"",
        "\"status\"",
        "\"sequenceNumber\":",
        "12",
        "}",
        "\n",
        "=",
        "\\u00",
        "-p",
        "@a",
        "-cp",
        "-Dx=",
        "multilangd.",
        "streamName",
        "[0]",
        ".",
        ":",
        " ",
        "\u{e9}",
        "\n\n",
    ]);
    let piece = prop_oneof![known.prop_map(|text| text.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..6)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn drawn_bytes_harm_no_reader(text in bytes(), words in prop::collection::vec(bytes(), 0..6), flag: bool) {
        aggregate::target(&text);
        child_line::target(&text);
        properties::target((flag, &text));
        command_line::target((flag, words, text));
    }
}
