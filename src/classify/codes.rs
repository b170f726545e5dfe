//! Codes that vendors made up for programs to read.

use crate::outcome::{Code, Place};

/// Whether the judgement was made already, by a service of ours further in.
pub(super) fn is_ours(place: &Place) -> bool {
    has(place, |code| is_one_of(code, &OURS))
}

/// Whether a code says that a limit was exceeded. Numbers count only in the error itself: in a body they may be
/// somebody's data.
pub(super) fn is_refusal(place: &Place) -> bool {
    place.codes.iter().any(|code| matches!(code, Code::Number(429 | 420 | 1015 | 20429)))
        || has(place, |code| is_one_of(code, &REFUSALS) || is_one_of(code, &PERSONAL))
}

/// Whether the limit concerns this call only: one address that gets mail, one telephone.
pub(super) fn is_personal(place: &Place) -> bool {
    has(place, |code| is_one_of(code, &PERSONAL))
}

/// Whether the database refused what the request says, or PostgREST its address: a message beside such a code
/// quotes data and names of columns, and `invalid input syntax for type integer: "429"` is no refusal. These are
/// the classes 22, 23 and 42 of SQLSTATE, and `PGRST…`.
pub(super) fn is_about_data(place: &Place) -> bool {
    place.codes.iter().any(|code| match code {
        Code::Number(number) => matches!(number, 22_000..=23_999 | 42_000..=42_999),
        Code::Name(name) => {
            let class = ["22", "23", "42"].iter().any(|class| name.starts_with(class));
            (class && name.len() == 5) || name.starts_with("PGRST")
        }
    })
}

fn has(place: &Place, test: impl Fn(&Code) -> bool) -> bool {
    place.codes.iter().chain(&place.body_codes).any(test)
}

fn is_one_of(code: &Code, names: &[&str]) -> bool {
    matches!(code, Code::Name(name) if names.contains(&name.as_str()))
}

/// The codes of `RateLimitError`. The list is exact, since `RATE_LIMIT_EXCEEDED` is what other vendors say.
const OURS: [&str; 10] = [
    "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
    "RATE_LIMIT_CIRCUIT_OPEN",
    "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
    "RATE_LIMIT_DEADLINE_EXCEEDED",
    "RATE_LIMIT_BUDGET_EXHAUSTED",
    "RATE_LIMIT_QUOTA_EXHAUSTED",
    "RATE_LIMIT_CONCURRENCY_EXCEEDED",
    "RATE_LIMIT_QUEUE_FULL",
    "RATE_LIMIT_POOL_CLOSED",
    "RATE_LIMIT_CORE_UNAVAILABLE",
];

/// Supabase auth; PostgREST's way for a database function to answer with a status; Supabase storage (as S3);
/// storage without a free connection.
const REFUSALS: [&str; 5] = ["over_request_rate_limit", "PT429", "PT420", "SlowDown", "too_many_connections"];

/// Supabase auth, when one address or telephone asks too often.
const PERSONAL: [&str; 2] = ["over_email_send_rate_limit", "over_sms_send_rate_limit"];
