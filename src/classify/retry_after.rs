//! `Retry-After` (RFC 9110, 10.2.3) and its kin in milliseconds. Texts come without white space around them.

use super::http_date;
use crate::outcome::decimal;
use crate::time::{Span, WallTime};

/// `Retry-After`: whole seconds, or the time until a date; zero when that has passed. Nothing else: no sign, no
/// fraction, no exponent, no ISO date. `now` is when the answer was made.
pub(super) fn seconds_or_date(text: &[u8], now: WallTime) -> Option<Span> {
    match decimal(text) {
        Some(seconds) => Some(Span::from_ms(seconds.saturating_mul(1000))),
        None => Some(http_date::parse(text, now)?.since(now)),
    }
}

/// `retry-after-ms`, which Azure and OpenAI send: digits, with a fraction or without; rounded up.
pub(super) fn milliseconds(text: &[u8]) -> Option<Span> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    let fraction = parts.next().map_or(Some(0), decimal)?;
    Some(Span::from_ms(whole.saturating_add(fraction.min(1))))
}
