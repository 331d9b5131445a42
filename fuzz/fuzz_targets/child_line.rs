//! Any bytes are a line of a child: every action and level has a step for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multilangd::child::exchange::step_at;
use multilangd::child::message::Action;
use multilangd::config::ProtocolLevel;

fuzz_target!(|line: &[u8]| {
    for level in [ProtocolLevel::One, ProtocolLevel::Two, ProtocolLevel::Three] {
        for action in [Action::Initialize, Action::ProcessRecords, Action::ShardEnded, Action::ShutdownRequested] {
            let _step = step_at(level, action, line);
        }
    }
});
