//! How long a server asks to stay away, wherever it says so.

use super::{http_date, prose, rate_limit, retry_after};
use crate::outcome::{Figure, Outcome, Place, Source, decimal};
use crate::time::{Span, WallTime};

/// The delay that the outcome tells, counted from `wall`, the receipt of the answer. Looked for in three passes over
/// all places: header fields, then properties, both in the order of [`Source::ALL`], then prose. What is malformed
/// is no hint, and the search goes on. A time that has passed is a hint of zero; one that is too long to count is
/// 2^53 ms.
///
/// Dates and epoch times are counted from the `Date` header that stands beside them, if there is a valid one,
/// instead of from `wall`: a user's clock may be wrong by hours, and both dates are the server's.
pub fn hint(outcome: &Outcome, wall: WallTime) -> Option<Span> {
    let places = &outcome.places;
    let under = |source| places.iter().find_map(|place| figure_under(place, source, wall));
    let figure = Source::ALL.into_iter().find_map(under);
    let delay = figure.or_else(|| places.iter().find_map(prose_of));
    delay.map(|delay| delay.min(LONGEST))
}

/// The first valid figure that stands under `source` in this place.
fn figure_under(place: &Place, source: Source, wall: WallTime) -> Option<Span> {
    let now = place
        .date
        .as_deref()
        .and_then(|date| http_date::parse(date.trim_ascii().as_bytes(), wall))
        .unwrap_or(wall);
    let mut figures = place.figures.iter().filter(|(under, _)| *under == source);
    figures.find_map(|(_, figure)| match figure {
        Figure::Text(text) => read(source, text, now),
        Figure::Number(number) => read_number(source, *number, now),
    })
}

fn prose_of(place: &Place) -> Option<Span> {
    place.words.iter().chain(&place.notes).find_map(|text| prose::delay(text))
}

/// A text as `source` writes it.
fn read(source: Source, text: &str, now: WallTime) -> Option<Span> {
    let text = text.trim_ascii().as_bytes();
    match source {
        Source::RetryAfterMs => retry_after::milliseconds(text),
        Source::RetryAfter => retry_after::seconds_or_date(text, now),
        Source::RateLimit => rate_limit::delay(text),
        Source::Reset => decimal(text).map(|number| reset(number, now)),
        Source::BodyMs => decimal(text).map(Span::from_ms),
        Source::BodySeconds => decimal(text).map(seconds),
    }
}

/// A number as `source` means it: finite and not below zero.
fn read_number(source: Source, number: f64, now: WallTime) -> Option<Span> {
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    match source {
        Source::RetryAfterMs | Source::BodyMs => Some(Span::from_ms_ceil(number)),
        Source::RetryAfter | Source::BodySeconds => Some(Span::from_ms_ceil(number * 1000.0)),
        Source::Reset => Some(reset(Span::from_ms_ceil(number).as_ms(), now)),
        Source::RateLimit => None,
    }
}

/// `RateLimit-Reset` and `X-RateLimit-Reset` are seconds from now with some, and a time with others: in seconds
/// as GitHub's, or in milliseconds. The size tells them apart.
fn reset(number: u64, now: WallTime) -> Span {
    match number {
        0..1_000_000 => seconds(number),
        1_000_000..100_000_000_000 => WallTime::from_seconds(number).since(now),
        _ => WallTime::from_ms(number as f64).since(now),
    }
}

fn seconds(number: u64) -> Span {
    Span::from_ms(number.saturating_mul(1000))
}

/// 2^53 ms, the longest that crosses to JavaScript as a whole number.
const LONGEST: Span = Span::from_ms(1 << 53);
