//! Any bytes are the message of an aggregate: user records or a reason why it is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multilangd::record::proto::parse;

fuzz_target!(|message: &[u8]| {
    let _either_way = parse(message);
});
