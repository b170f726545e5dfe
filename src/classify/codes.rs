//! Codes and names that were made up for programs to read.

use super::text::listed;
use crate::outcome::{Code, Place};

/// What a code says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    /// A service of ours, further in, has judged already.
    Ours,
    /// A limit was exceeded.
    Refusal,
    /// A limit was exceeded that concerns this call only: one address that gets mail, one telephone.
    Personal,
    /// The call was cancelled by whoever made it.
    Aborted,
    /// The connection was lost, or nothing came in time.
    Lost,
    /// The database refused what the request says, or PostgREST its address. A message beside such a code quotes
    /// data and names of columns: `invalid input syntax for type integer: "429"` is no refusal.
    AboutData,
}

/// Whether a code of `place` has this meaning.
pub(super) fn has(place: &Place, meaning: Meaning) -> bool {
    place.codes.iter().any(|code| of(code) == Some(meaning))
}

/// Whether the name of the error has this meaning.
pub(super) fn is_named(place: &Place, meaning: Meaning) -> bool {
    place.name.as_ref().is_some_and(|name| of_name(name.as_bytes()) == Some(meaning))
}

fn of(code: &Code) -> Option<Meaning> {
    match code {
        // HTTP, Cloudflare's page 1015, Twilio.
        Code::Number(429 | 420 | 1015 | 20429) => Some(Meaning::Refusal),
        // `ABORT_ERR` of a `DOMException`.
        Code::Number(20) => Some(Meaning::Aborted),
        // Classes 22, 23 and 42 of SQLSTATE: data, constraints, names.
        Code::Number(22_000..=23_999 | 42_000..=42_999) => Some(Meaning::AboutData),
        Code::Number(_) => None,
        Code::Name(name) => {
            let name = name.as_bytes();
            of_name(name).or_else(|| is_about_data(name).then_some(Meaning::AboutData))
        }
    }
}

/// What the name of an error or a code means.
pub(super) fn of_name(name: &[u8]) -> Option<Meaning> {
    NAMES.iter().find(|(_, names)| listed(names).any(|known| known == name)).map(|(meaning, _)| *meaning)
}

/// The same classes with letters in them, and PostgREST's own.
fn is_about_data(name: &[u8]) -> bool {
    match name {
        [b'2', b'2' | b'3', ..] | [b'4', b'2', ..] => name.len() == 5,
        _ => name.starts_with(b"PGRST"),
    }
}

/// The list of ours is exact, since `RATE_LIMIT_EXCEEDED` is what other vendors say.
const NAMES: &[(Meaning, &str)] = &[
    (
        Meaning::Ours,
        concat!(
            "RATE_LIMIT_MAX_RETRIES_EXCEEDED,RATE_LIMIT_CIRCUIT_OPEN,RATE_LIMIT_RETRY_AFTER_TOO_LONG,",
            "RATE_LIMIT_DEADLINE_EXCEEDED,RATE_LIMIT_BUDGET_EXHAUSTED,RATE_LIMIT_QUOTA_EXHAUSTED,",
            "RATE_LIMIT_CONCURRENCY_EXCEEDED,RATE_LIMIT_QUEUE_FULL,RATE_LIMIT_POOL_CLOSED,",
            "RATE_LIMIT_CORE_UNAVAILABLE",
        ),
    ),
    // Supabase auth; a database function behind PostgREST; Supabase storage, as S3; storage without a connection.
    (Meaning::Refusal, "over_request_rate_limit,PT429,PT420,SlowDown,too_many_connections"),
    // Supabase auth.
    (Meaning::Personal, "over_email_send_rate_limit,over_sms_send_rate_limit"),
    // `DOMException` and Node, undici, axios.
    (Meaning::Aborted, "AbortError,ABORT_ERR,UND_ERR_ABORTED,CanceledError,ERR_CANCELED"),
    (
        Meaning::Lost,
        concat!(
            // `DOMException`s; Supabase's functions client when its fetch threw.
            "TimeoutError,NetworkError,FunctionsFetchError,",
            // Node's sockets.
            "ECONNREFUSED,ECONNRESET,ECONNABORTED,EPIPE,ENOTFOUND,EAI_AGAIN,ETIMEDOUT,EHOSTUNREACH,ENETUNREACH,ENETDOWN,",
            // undici, axios, Bun.
            "UND_ERR_SOCKET,UND_ERR_CONNECT_TIMEOUT,UND_ERR_HEADERS_TIMEOUT,UND_ERR_BODY_TIMEOUT,",
            "ERR_NETWORK,ConnectionRefused,ConnectionClosed,FailedToOpenSocket",
        ),
    ),
];
