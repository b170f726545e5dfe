//! Prose for people. It is the only trace of the status when a client throws a bare message: a `PostgrestError`
//! without a code, an `AuthUnknownError` around `error code: 1015`, the `Error` of realtime's `httpSend`.

use super::text::{around, is_part_of_word};

/// Whether `text` says that a limit was exceeded.
pub(super) fn refuses(text: &str) -> bool {
    says(text, REFUSALS)
}

/// Whether `text` speaks of the limits of mail and messages, as versions of Supabase auth do that have no codes.
pub(super) fn is_personal(text: &str) -> bool {
    says(text, PERSONAL)
}

fn says(text: &str, phrases: &[(&str, Bounds)]) -> bool {
    phrases.iter().any(|(phrase, bounds)| {
        around(text.as_bytes(), phrase).any(|[before, found, after]| match bounds {
            Bounds::Any => true,
            Bounds::Word => begins_word(before, found),
            Bounds::Number => stands_alone(before, after),
        })
    })
}

/// What may stand around a phrase.
enum Bounds {
    Any,
    /// It is the beginning of a word: not in "corporate limit", but in `ChannelRateLimitReached`.
    Word,
    /// It is a number of its own: not in 1429, 429ms, 4.429 or 429,000, nor the port of an address.
    Number,
}

fn begins_word(before: &[u8], found: &[u8]) -> bool {
    let capital = found.first().is_some_and(u8::is_ascii_uppercase);
    match before.last() {
        Some(last) if is_part_of_word(last) => *last == b'_' || (capital && last.is_ascii_lowercase()),
        _ => true,
    }
}

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

/// "rate limited", "rate-limiting" and "ratelimiter" begin with one of the first four.
const REFUSALS: &[(&str, Bounds)] = &[
    ("rate limit", Bounds::Word),
    ("rate-limit", Bounds::Word),
    ("rate_limit", Bounds::Word),
    ("ratelimit", Bounds::Word),
    ("too many requests", Bounds::Any),
    ("error code: 1015", Bounds::Number),
    ("429", Bounds::Number),
];

/// Once a minute to an address; all mail of a project; all its messages.
const PERSONAL: &[(&str, Bounds)] = &[
    ("you can only request this", Bounds::Any),
    ("email rate limit", Bounds::Any),
    ("sms rate limit", Bounds::Any),
];

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
            assert!(refuses(text), "{text}");
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
            assert!(!refuses(text), "{text}");
        }
    }
}
