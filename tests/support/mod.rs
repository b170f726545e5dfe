//! What the tests of the whole core share.

#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

pub(crate) mod load;
pub(crate) mod server;
pub(crate) mod vectors;
pub(crate) mod world;

use tidegate::decision::{Scope, Verdict};
use tidegate::time::{Instant, Span};

/// Refused, without a hint.
pub(crate) const REFUSED: Verdict = Verdict::Throttled { hint: None, scope: Scope::Service };

/// Refused for reasons that concern this call only.
pub(crate) const REFUSED_ALONE: Verdict = Verdict::Throttled { hint: None, scope: Scope::Call };

/// The server answered that it cannot at the moment.
pub(crate) const UNWELL: Verdict = Verdict::Transient { answered: true };

/// No answer at all.
pub(crate) const LOST: Verdict = Verdict::Transient { answered: false };

/// Refused, with a hint.
pub(crate) const fn refused_for(ms: u64) -> Verdict {
    Verdict::Throttled { hint: Some(Span::from_ms(ms)), scope: Scope::Service }
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

pub(crate) const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}
