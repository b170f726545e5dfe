//! What is fuzzed: each module makes something out of arbitrary bytes, does it, and panics when what has to hold does not.
//!
//! `tests/fuzz.rs` of the core takes these modules in too, and replays what was kept.

pub mod bulk;
pub mod classify;
pub mod config;
pub mod headers;
pub mod pacer;
pub mod service;

use std::env;
use std::sync::LazyLock;

/// With `FUZZ_TELL` in the environment, prints what a history is made of: how a finding is looked into.
fn tell(line: impl FnOnce() -> String) {
    static IS_ASKED: LazyLock<bool> = LazyLock::new(|| env::var_os("FUZZ_TELL").is_some());
    if *IS_ASKED {
        println!("{}", line());
    }
}
