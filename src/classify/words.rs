//! Prose for people. It is the only trace of the status when a client throws a bare message: a `PostgrestError`
//! without a code, an `AuthUnknownError` around `error code: 1015`, the `Error` of realtime's `httpSend`.

use super::text::{around, contains, is_part_of_word};
use crate::outcome::Place;

/// Whether `text` says that a limit was exceeded.
pub(super) fn refuse(text: &str) -> bool {
    RATE_LIMIT.iter().any(|phrase| around(text, phrase).any(|[before, found, _]| begins_word(before, found)))
        || contains(text, "too many requests")
        || around(text, "error code: 1015").any(|[_, _, after]| !after.first().is_some_and(is_part_of_word))
        || around(text, "429").any(|[before, _, after]| stands_alone(before, after))
}

/// Whether the limit is one of mail or messages, as versions of Supabase auth without codes say it.
pub(super) fn are_personal(place: &Place) -> bool {
    let mut texts = place.words.iter().chain(&place.notes);
    texts.any(|text| PERSONAL.iter().any(|phrase| contains(text, phrase)))
}

/// Whether `found` begins a word after `before`: not in "corporate limit", but in `ChannelRateLimitReached`.
fn begins_word(before: &[u8], found: &[u8]) -> bool {
    let capital = found.first().is_some_and(u8::is_ascii_uppercase);
    match before.last() {
        Some(last) if is_part_of_word(last) => *last == b'_' || (capital && last.is_ascii_lowercase()),
        _ => true,
    }
}

/// Whether a number between `before` and `after` is a word of its own: not part of another word or number (1429,
/// 429ms, 4.429, 429,000), and not the port of an address (127.0.0.1:429).
fn stands_alone(before: &[u8], after: &[u8]) -> bool {
    let joined_before = match before {
        [.., digit, b'.' | b',' | b':'] => digit.is_ascii_digit(),
        [.., last] => is_part_of_word(last),
        [] => false,
    };
    let joined_after = match after {
        [b'.' | b',', digit, ..] => digit.is_ascii_digit(),
        [first, ..] => is_part_of_word(first),
        [] => false,
    };
    !joined_before && !joined_after
}

/// "rate limited", "rate-limiting" and "ratelimiter" begin with one of these.
const RATE_LIMIT: [&str; 4] = ["rate limit", "rate-limit", "rate_limit", "ratelimit"];

/// For every address once a minute; for all mail, or all messages, of a project.
const PERSONAL: [&str; 3] = ["you can only request this", "email rate limit", "sms rate limit"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses() {
        for text in [
            "Rate limit exceeded, try again after a while",
            "API rate limit exceeded",
            "You are being rate-limited",
            "request was RATELIMITED",
            "rate limiting in effect",
            "over_request_rate_limit",
            "ChannelRateLimitReached",
            "Too Many Requests",
            "Unexpected token 'e', \"error code: 1015\" is not valid JSON",
            "429",
            "HTTP 429: slow down",
            "status=429",
            "code:429",
            "(429)",
            "Request failed with status code 429.",
            "429, please wait",
            "é 429 é",
        ] {
            assert!(refuse(text), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it() {
        for text in [
            "",
            "the corporate limit is exceeded",
            "an accurate limit",
            "interest rate: limited",
            "1429 rows",
            "4291",
            "429ms",
            "id429",
            "x_429",
            "4.429",
            "429.50",
            "1,429",
            "429,000 rows",
            "connect ECONNREFUSED 127.0.0.1:429",
            "error code: 10151",
            "too many connections",
            "too many retries",
            "é429é",
        ] {
            assert!(!refuse(text), "{text}");
        }
    }
}
