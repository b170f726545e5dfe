//! How long a server asks to stay away, wherever it says so.

use super::{http_date, prose, rate_limit};
use crate::outcome::{Figure, Outcome, Place, Source, decimal};
use crate::time::{Span, WallTime};

/// The delay that the outcome tells, counted from `wall`, the receipt of the answer. Looked for in three passes over
/// all places: header fields, then properties, both in the order of the promise to applications, then prose. What is
/// malformed is no hint, and the search goes on. A time that has passed is a hint of zero; one that is too long to
/// count is 2^53 ms.
///
/// Dates and epoch times are counted from the `Date` header that stands beside them, if there is a valid one,
/// instead of from `wall`: a user's clock may be wrong by hours, and both dates are the server's.
pub fn hint(outcome: &Outcome, wall: WallTime) -> Option<Span> {
    let places = &outcome.places;
    let figure = ORDER.iter().find_map(|source| places.iter().find_map(|place| delay(place, *source, wall)));
    let hint = figure.or_else(|| places.iter().find_map(prose))?;
    Some(hint.min(LONGEST))
}

/// The first valid figure of this place under `source`.
fn delay(place: &Place, source: Source, wall: WallTime) -> Option<Span> {
    let mut figures = place.figures.iter().filter(|(under, _)| *under == source);
    figures.find_map(|(_, figure)| match figure {
        Figure::Text(text) => in_text(source, text.trim_ascii().as_bytes(), answered_at(place, wall)),
        Figure::Number(number) => in_number(source, *number, answered_at(place, wall)),
    })
}

/// When the server answered, by its own clock if it says so.
fn answered_at(place: &Place, wall: WallTime) -> WallTime {
    let date = place.figures.iter().find_map(|figure| match figure {
        (Source::Date, Figure::Text(date)) => http_date::parse(date.trim_ascii().as_bytes(), wall),
        _ => None,
    });
    date.unwrap_or(wall)
}

/// The first delay in the prose of this place.
fn prose(place: &Place) -> Option<Span> {
    place.words.iter().chain(&place.notes).find_map(|text| prose::delay(text))
}

/// A text as `source` writes it. `Retry-After` is strict (RFC 9110, 10.2.3): whole seconds or an HTTP date, without
/// a sign, a fraction or an exponent, and no ISO date.
fn in_text(source: Source, text: &[u8], now: WallTime) -> Option<Span> {
    match source {
        Source::RetryAfterMs => milliseconds(text),
        Source::RateLimit => rate_limit::delay(text),
        _ => match decimal(text) {
            Some(number) => in_number(source, number as f64, now),
            None if source == Source::RetryAfter => Some(http_date::parse(text, now)?.since(now)),
            None => None,
        },
    }
}

/// `retry-after-ms`, which Azure and OpenAI send: digits, with a fraction or without; rounded up.
fn milliseconds(text: &[u8]) -> Option<Span> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    let fraction = parts.next().map_or(Some(0), decimal)?;
    Some(Span::from_ms(whole.saturating_add(fraction.min(1))))
}

/// A number as `source` means it: finite and not below zero.
fn in_number(source: Source, number: f64, now: WallTime) -> Option<Span> {
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    match source {
        Source::RetryAfterMs | Source::BodyMs => Some(Span::from_ms_ceil(number)),
        Source::RetryAfter | Source::BodySeconds => Some(Span::from_ms_ceil(number * 1000.0)),
        Source::Reset => Some(reset(number, now)),
        Source::RateLimit | Source::Date => None,
    }
}

/// `RateLimit-Reset` and `X-RateLimit-Reset` are seconds from now with some, and a time with others: in seconds
/// as GitHub's, or in milliseconds. The size tells them apart.
pub(super) fn reset(number: f64, now: WallTime) -> Span {
    if number < 1e6 {
        Span::from_ms_ceil(number * 1000.0)
    } else if number < 1e11 {
        WallTime::from_ms(number * 1000.0).since(now)
    } else {
        WallTime::from_ms(number).since(now)
    }
}

/// Which source is believed first.
const ORDER: &[Source] = &[
    Source::RetryAfterMs,
    Source::RetryAfter,
    Source::RateLimit,
    Source::Reset,
    Source::BodyMs,
    Source::BodySeconds,
];

/// 2^53 ms, the longest that crosses to JavaScript as a whole number.
const LONGEST: Span = Span::from_ms(1 << 53);
