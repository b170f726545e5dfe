//! The parsers of headers: no text makes one panic, and what is understood is within its bounds.
//!
//! The input reads as text, so that words of a dictionary can be put into it: eight bytes are the time by the wall clock,
//! and each line after them is a field, its first byte the name.

use std::time::SystemTime;

use tidegate::classify::{Advertised, advertised, classify, hint};
use tidegate::decision::Verdict;
use tidegate::outcome::{Figure, Outcome, Place, Source};
use tidegate::time::{Span, WallTime};

/// One history of this target.
pub fn run(data: &[u8]) {
    let Some((wall, lines)) = data.split_first_chunk() else { return };
    // Until the year 3084: httpdate knows dates up to 9999, and no answer comes later than that.
    let wall = WallTime::from_ms((u64::from_le_bytes(*wall) >> 19) as f64);
    let fields: Vec<(u8, String)> = lines.split(|byte| *byte == b'\n').filter_map(field).collect();
    check_hints(&fields, wall);
    check_advertised(&fields, wall);
    for (_, text) in &fields {
        check_retry_after(text, wall);
    }
}

fn field(line: &[u8]) -> Option<(u8, String)> {
    let (name, text) = line.split_first()?;
    Some((*name, String::from_utf8_lossy(text).into_owned()))
}

/// The delay of all fields together.
fn check_hints(fields: &[(u8, String)], wall: WallTime) {
    let place = |pad: &str| Place {
        status: Some(429),
        figures: fields.iter().map(|(name, text)| figure(*name, format!("{pad}{text}{pad}"))).collect(),
        words: fields.iter().map(|(_, text)| text.clone()).collect(),
        ..Place::default()
    };
    let outcome = Outcome { places: vec![place("")], failed: true };
    let found = hint(&outcome, wall);
    assert!(found.is_none_or(|hint| hint <= LONGEST), "{found:?}");
    let verdict = classify(&outcome, wall);
    assert!(matches!(verdict, Verdict::Throttled { hint, .. } if hint == found), "{verdict:?}");
    // White space around a value has no meaning.
    let padded = Outcome { places: vec![place(" ")], failed: true };
    assert_eq!(hint(&padded, wall), found);
    // What stands in a place farther away counts only where nearer ones say nothing by a header or a property.
    let nearer = Outcome { places: vec![Place::default(), place("")], failed: true };
    assert_eq!(hint(&nearer, wall), found);
}

fn figure(name: u8, text: String) -> (Source, Figure) {
    let source = SOURCES[usize::from(name) % SOURCES.len()];
    let number = if name & 128 != 0 { text.trim().parse().ok() } else { None };
    (source, number.map_or(Figure::Text(text), Figure::Number))
}

/// What the same fields say about a limit.
fn check_advertised(fields: &[(u8, String)], wall: WallTime) {
    let field = |wanted: &str| {
        let mut named = fields.iter().filter(|(name, _)| NAMES[usize::from(*name) % NAMES.len()] == wanted);
        named.next().map(|(_, text)| text.clone())
    };
    let Some(found) = advertised(&field, wall) else { return };
    let Advertised { quota, window, reset, .. } = found;
    assert!(quota > 0, "{found:?}");
    assert!((Span::from_ms(1_000)..=LONGEST_WINDOW).contains(&window) && reset <= window, "{found:?}");
}

/// `Retry-After` alone, by two other readers: digits are seconds, and dates are what httpdate takes them for.
fn check_retry_after(text: &str, wall: WallTime) {
    let figures = vec![(Source::RetryAfter, Figure::Text(text.to_owned()))];
    let place = Place { figures, ..Place::default() };
    let found = hint(&Outcome { places: vec![place], failed: true }, wall);
    let text = text.trim_ascii();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u64>().unwrap_or(u64::MAX);
        assert_eq!(found, Some(Span::from_ms(seconds.saturating_mul(1_000)).min(LONGEST)), "{text}");
    } else if let (Some(found), Ok(date)) = (found, httpdate::parse_http_date(text))
        && let Ok(since) = date.duration_since(SystemTime::UNIX_EPOCH)
        && !text.contains('-')
    {
        // But for years of two digits, which are relative to the answer for us, and to 1970 for httpdate.
        let date = WallTime::from_ms(since.as_millis() as f64);
        assert_eq!(found, date.since(wall), "{text}");
    }
}

/// 2^53 ms: the longest that can be told.
const LONGEST: Span = Span::from_ms(1 << 53);

/// Advertised windows that are longer say nothing about a pace.
const LONGEST_WINDOW: Span = Span::from_ms(600_000);

const SOURCES: [Source; 7] = [
    Source::RetryAfter,
    Source::RetryAfterMs,
    Source::RateLimit,
    Source::Reset,
    Source::BodyMs,
    Source::BodySeconds,
    Source::Date,
];

const NAMES: [&str; 16] = [
    "ratelimit-policy",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "x-ratelimit-limit-second",
    "x-ratelimit-remaining-second",
    "x-ratelimit-limit-minute",
    "x-ratelimit-remaining-minute",
    "date",
];
