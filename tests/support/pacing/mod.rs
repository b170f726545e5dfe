//! Clients of the pacer against model servers in virtual time: the yardstick of `benches/pacing.rs` and of
//! `tests/pacer.rs`. Everything random comes from one seed, so every run can be repeated.

#![allow(dead_code, unreachable_pub, reason = "the bench and the tests use their own parts of it")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a simulation that overflows or panics fails, and that is what it is for"
)]

pub mod clients;
pub mod network;
pub mod server;
