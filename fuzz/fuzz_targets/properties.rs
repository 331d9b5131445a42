//! Any bytes are a properties file: a configuration or faults, never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use multilangd::config::{Environment, load_bytes};

fuzz_target!(|input: (bool, &[u8])| {
    let environment = Environment { strict: input.0, ..Environment::default() };
    let _either_way = load_bytes(input.1, Path::new("fuzz.properties"), &environment);
});
