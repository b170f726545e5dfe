//! Nobody answered: the connection was lost, or the call was cancelled.
//!
//! `fetch` throws a `TypeError` for a lost connection, as every bug does, so only the texts tell them apart.

use super::text::{contains, starts_with};
use crate::outcome::{Code, Place};

/// Whether the attempt was cancelled by whoever made it.
pub(super) fn is_aborted(place: &Place) -> bool {
    !place.answered
        && (is_called(place, &ABORTS) || has_code(place, &ABORT_CODES) || has_number(place, ABORT_ERR))
}

/// Whether the connection was lost, or nothing came in time.
pub(super) fn is_lost(place: &Place) -> bool {
    let lost = || {
        let failed_fetch = is_called(place, &FETCH_ERRORS) && place.words.iter().any(|text| says_lost(text));
        failed_fetch || is_called(place, &LOSSES) || has_code(place, &LOSS_CODES)
    };
    !place.answered && lost()
}

/// Whether the error has one of `names`, or tells it at the start of its message, which is what is left of it in
/// the plain `error` of postgrest-js: "TypeError: Failed to fetch".
fn is_called(place: &Place, names: &[&str]) -> bool {
    let named = place.name.as_deref().is_some_and(|name| names.contains(&name));
    named || place.words.iter().any(|text| names.iter().any(|name| after_name(text, name).is_some()))
}

/// Whether the message of a `TypeError` is one of a network.
fn says_lost(text: &str) -> bool {
    let message = FETCH_ERRORS.iter().find_map(|name| after_name(text, name)).unwrap_or(text);
    LOSS_TEXTS.iter().any(|known| {
        let rest = message.as_bytes().get(known.len()..).filter(|_| starts_with(message.as_bytes(), known));
        // Chrome and Safari add the host: "Failed to fetch (example.com)".
        rest.is_some_and(|rest| matches!(rest, [] | [b'.', ..] | [b' ', b'(', ..]))
    }) || (contains(message, "request to ") && contains(message, " failed, reason:"))
}

fn after_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix(": ")
}

fn has_code(place: &Place, names: &[&str]) -> bool {
    place.codes.iter().any(|code| matches!(code, Code::Name(name) if names.contains(&name.as_str())))
}

fn has_number(place: &Place, number: u32) -> bool {
    place.codes.contains(&Code::Number(number))
}

/// A `DOMException` of an abort; the one of axios.
const ABORTS: [&str; 2] = ["AbortError", "CanceledError"];

/// Node, undici, axios.
const ABORT_CODES: [&str; 3] = ["ABORT_ERR", "UND_ERR_ABORTED", "ERR_CANCELED"];

/// The `code` of a `DOMException` named `AbortError`.
const ABORT_ERR: u32 = 20;

/// What fetch and node-fetch call a failure that may be one of the network.
const FETCH_ERRORS: [&str; 2] = ["TypeError", "FetchError"];

/// Names that say it all: of `DOMException`s, and of Supabase's clients when their fetch threw.
const LOSSES: [&str; 3] = ["TimeoutError", "NetworkError", "FunctionsFetchError"];

/// Node's sockets, undici, axios, Bun.
const LOSS_CODES: [&str; 18] = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ECONNABORTED",
    "EPIPE",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENETDOWN",
    "UND_ERR_SOCKET",
    "UND_ERR_CONNECT_TIMEOUT",
    "UND_ERR_HEADERS_TIMEOUT",
    "UND_ERR_BODY_TIMEOUT",
    "ERR_NETWORK",
    "ConnectionRefused",
    "ConnectionClosed",
    "FailedToOpenSocket",
];

/// Messages of the `TypeError` with which `fetch`, or reading a body, fails.
const LOSS_TEXTS: [&str; 13] = [
    // Chromium.
    "Failed to fetch",
    "network error",
    // Firefox.
    "NetworkError when attempting to fetch resource",
    "Error in input stream",
    // Safari.
    "Load failed",
    "The network connection was lost",
    "The Internet connection appears to be offline",
    "The request timed out",
    "Could not connect to the server",
    // Node.
    "fetch failed",
    "terminated",
    // React Native and the fetch polyfills.
    "Network request failed",
    "Network request timed out",
];
