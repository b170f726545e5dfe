//! Delays in words: "For security purposes, you can only request this after 13 seconds."

use super::text::{is_part_of_word, listed, strip_last_word};
use crate::time::Span;

/// The first delay that `text` tells: a number with a unit after such words as "after" or "try again in", or
/// after a name such as `"retry_after":` in JSON, where seconds need no unit.
pub(super) fn delay(text: &str) -> Option<Span> {
    let text = text.as_bytes();
    let digits = text.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
    digits.map(|(at, _)| at).find_map(|at| {
        let (lead, number) = text.split_at_checked(at)?;
        read(trim(lead), number)
    })
}

/// The delay that `number` begins with, if `lead` announces one.
fn read(lead: &[u8], number: &[u8]) -> Option<Span> {
    if without_last(lead, NAMES_MS).is_some() {
        return bare(number, 1.0);
    }
    if without_last(lead, NAMES).is_some() {
        return duration(number).or_else(|| bare(number, SECOND));
    }
    let lead = without_fillers(lead);
    without_last(lead, CUES).and_then(|_| duration(number))
}

/// A number that stands alone: not the beginning of a date, a time, an exponent or a word.
fn bare(text: &[u8], unit: f64) -> Option<Span> {
    let (number, rest) = amount(text);
    let alone = match rest {
        [b'.' | b',', digit, ..] => !digit.is_ascii_digit(),
        [b'-' | b':' | b'/', ..] => false,
        [next, ..] => !is_part_of_word(next),
        [] => true,
    };
    alone.then(|| Span::from_ms_ceil(number * unit))
}

/// Numbers with units, added up: "20s", "1.5 seconds", "6m0s", "1 minute 30 seconds".
fn duration(text: &[u8]) -> Option<Span> {
    let mut total = None;
    let mut rest = text;
    while rest.first().is_some_and(u8::is_ascii_digit) {
        let (number, after) = amount(rest);
        let Some((unit, after)) = unit(skip_space(after)) else {
            break;
        };
        total = Some(total.unwrap_or(0.0) + number * unit);
        rest = skip_space(after);
    }
    total.map(Span::from_ms_ceil)
}

/// The digits at the start, with a fraction if there is one.
fn amount(text: &[u8]) -> (f64, &[u8]) {
    let (whole, _, rest) = digits(text);
    if let [b'.', fraction @ ..] = rest {
        let (fraction, scale, rest) = digits(fraction);
        if scale > 1.0 {
            return (whole + fraction / scale, rest);
        }
    }
    (whole, rest)
}

/// The digits at the start as a number, ten to the power of their count, and the rest. What is too large becomes
/// infinite.
fn digits(text: &[u8]) -> (f64, f64, &[u8]) {
    let (mut number, mut scale, mut rest) = (0.0, 1.0, text);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        number = number * 10.0 + f64::from(digit & 15);
        scale *= 10.0;
        rest = after;
    }
    (number, scale, rest)
}

/// The unit at the start, in milliseconds, and the rest.
fn unit(text: &[u8]) -> Option<(f64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at_checked(length)?;
    let known = |names: &str| listed(names).any(|name| word.eq_ignore_ascii_case(name));
    let (_, ms) = UNITS.iter().find(|(names, _)| known(names))?;
    Some((*ms, rest))
}

/// `lead` without words that say nothing about whether a delay follows: "wait for at least".
fn without_fillers(mut lead: &[u8]) -> &[u8] {
    while let Some(shorter) = without_last(lead, FILLERS) {
        lead = trim(shorter);
    }
    lead
}

/// `text` without the one of these that it ends with.
#[inline(never)]
fn without_last<'a>(text: &'a [u8], words: &str) -> Option<&'a [u8]> {
    listed(words).find_map(|word| strip_last_word(text, word))
}

/// `text` without what may stand between a name and its value at the end.
fn trim(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [before @ .., b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b':' | b'=' | b'~' | b'('] = rest {
        rest = before;
    }
    rest
}

/// `text` without one space at the start.
fn skip_space(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" ").unwrap_or(text)
}

/// Names of a property in milliseconds.
const NAMES_MS: &str = "retryafterms,retry_after_ms,retry-after-ms";

/// Names of a property in seconds; the last is also Telegram's "Too Many Requests: retry after 35".
const NAMES: &str = "retryafter,retry_after,retry-after,retry after";

/// Words after which a number with a unit is a delay. "in" alone is none: "100 requests in 60 seconds".
const CUES: &str = "after,wait,again in,retry in,retrying in,available in,reset in,resets in,once every";

const FILLERS: &str = "for,about,approximately,another,at least,up to";

const SECOND: f64 = 1000.0;

const UNITS: [(&str, f64); 5] = [
    ("ms,msec,msecs,millisecond,milliseconds", 1.0),
    ("s,sec,secs,second,seconds", SECOND),
    ("m,min,mins,minute,minutes", 60_000.0),
    ("h,hr,hrs,hour,hours", 3_600_000.0),
    ("d,day,days", 86_400_000.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, ms) in [
            ("For security purposes, you can only request this after 13 seconds.", Some(13_000)),
            ("you can only request this once every 60 seconds", Some(60_000)),
            ("Try again in 5 minutes", Some(300_000)),
            ("please TRY AGAIN IN about 1 hour.", Some(3_600_000)),
            ("retry in 20s", Some(20_000)),
            ("Please wait 2 min", Some(120_000)),
            ("Wait for at least 30 seconds, then retry", Some(30_000)),
            ("Please try again in 6m0s. Visit …", Some(360_000)),
            ("try again in 1 minute 30 seconds", Some(90_000)),
            ("try again in 1.5s", Some(1500)),
            ("try again in 432ms", Some(432)),
            ("Too Many Requests: retry after 35", Some(35_000)),
            ("Retry-After: 7", Some(7000)),
            ("Retry-After: 2 minutes", Some(120_000)),
            (r#"{"message":"slow","retry_after":30}"#, Some(30_000)),
            (r#"{"retryAfter": "12", "x": 1}"#, Some(12_000)),
            (r#"{"retry_after":0.5}"#, Some(500)),
            (r#"{"retryAfterMs":1500}"#, Some(1500)),
            ("limited to 100 requests in 60 seconds, retry in 3 seconds", Some(3000)),
            ("after 0 seconds", Some(0)),
            ("retry after 5. Then go on", Some(5000)),
            ("retry after 5.", Some(5000)),
            // Nothing of the kind.
            ("", None),
            ("429", None),
            ("Rate limit exceeded, try again after a while", None),
            ("limit 100/min", None),
            ("100 requests in 60 seconds", None),
            ("after 100 requests", None),
            ("after -5 seconds", None),
            ("hereafter 5 seconds", None),
            ("await 5 seconds", None),
            ("retry_after: 1e3", None),
            ("retry_after: 0x10", None),
            ("retry_after: Infinity", None),
            ("retry after 2026-11-22T08:00:00Z", None),
            ("retry after 08:30", None),
            ("after 5 smiles", None),
            ("retry after 5,000", None),
            ("retry after 1.2.3", None),
            ("wait 5.seconds", None),
            ("wait x5 seconds", None),
        ] {
            assert_eq!(delay(text), ms.map(Span::from_ms), "{text}");
        }
    }

    #[test]
    fn what_is_too_long_is_the_longest() {
        let text = ["retry after ", &"9".repeat(500), " days"].concat();
        assert_eq!(delay(&text), Some(Span::from_ms(1 << 53)));
    }
}
