//! Numbers from JavaScript.

use crate::time::Instant;

/// A time. Not inlined: 35 bytes in each of four dozen exports. What a call that succeeds goes through has `Instant::from_ms`.
#[inline(never)]
pub(super) fn instant(ms: f64) -> Instant {
    Instant::from_ms(ms)
}

/// NaN is how "none" crosses.
pub(super) fn number(number: f64) -> Option<f64> {
    (!number.is_nan()).then_some(number)
}
