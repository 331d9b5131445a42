//! Any words are a command line, of ours or of Java's, and any text is a variable or a file of words: there is a plan.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use multilangd::cli::plan::{Surroundings, plan};

fuzz_target!(|input: (bool, Vec<Vec<u8>>, Vec<u8>)| {
    let (as_java, words, text) = input;
    let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
    let around = Surroundings { variable: &|_| Some(OsString::from_vec(text.clone())), read: &|_| Ok(text.clone()) };
    let program = if as_java { "java" } else { "multilangd" };
    let _plan = plan(program.as_ref(), &words, &around);
});
