//! The core of tidegate. It decides; the TypeScript shell in `js/` acts.
//!
//! ```text
//! outcome ──► classify ──► verdict ──► decide ──► decision ──► the shell waits or acts ──► next outcome
//!                                        │
//!                                        └──► record (state, counters, events: plain data)
//! ```
//!
//! Pure and deterministic: every room takes `now` and randomness as arguments. A room uses only rooms above it
//! in the list below; `tests/layering.rs` reads the `use` lines and fails when one looks down.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a test that overflows fails, and that is what it is for"
    )
)]

pub mod time;

pub mod random;

pub mod decision;

pub mod outcome;

pub mod classify;

pub mod backoff;

pub mod budget;

pub mod circuit;

pub mod cooldown;

pub mod quota;

pub mod slots;

pub mod queue;

pub mod pool;

pub mod limits;

pub mod pacer;

pub mod record;

pub mod service;

pub mod bulk;

#[cfg(target_arch = "wasm32")]
pub mod wasm;
