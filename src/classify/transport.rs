//! Nobody answered: the connection was lost, or the call was cancelled.
//!
//! `fetch` throws a `TypeError` for a lost connection, as every bug does, so only the texts tell them apart.

use super::codes::{self, Meaning};
use super::text::listed;
use crate::outcome::Place;

/// Whether the attempt was cancelled by whoever made it.
pub(super) fn is_aborted(place: &Place) -> bool {
    !place.answered && says(place, Meaning::Aborted)
}

/// Whether the connection was lost, or nothing came in time.
pub(super) fn is_lost(place: &Place) -> bool {
    !place.answered
        && (says(place, Meaning::Lost) || place.words.iter().any(|text| is_failed_fetch(place, text)))
}

/// Whether a code, the name, or the name at the start of the message says so. In the last form postgrest-js hands
/// out what fetch threw: `{ message: "AbortError: This operation was aborted" }`.
fn says(place: &Place, meaning: Meaning) -> bool {
    let told =
        |text: &String| split_name(text).is_some_and(|(name, _)| codes::of_name(name) == Some(meaning));
    codes::has(place, meaning) || codes::is_named(place, meaning) || place.words.iter().any(told)
}

/// Whether `text` is the message of a `TypeError` that tells of the network.
fn is_failed_fetch(place: &Place, text: &str) -> bool {
    let name = place.name.as_deref().unwrap_or_default();
    let (name, message) = split_name(text).unwrap_or((name.as_bytes(), text.as_bytes()));
    name == b"TypeError" && listed(MESSAGES).any(|known| is_message(message, known))
}

/// Whether `message` is the `known` one, with a full stop or not, or with the host, which Chromium and Safari add:
/// "Failed to fetch (example.com)".
fn is_message(message: &[u8], known: &[u8]) -> bool {
    matches!(message.strip_prefix(known), Some([] | [b'.', ..] | [b' ', b'(', ..]))
}

/// "TypeError: Failed to fetch" in two.
fn split_name(text: &str) -> Option<(&[u8], &[u8])> {
    let text = text.as_bytes();
    let (name, rest) = text.split_at_checked(text.iter().position(|byte| *byte == b':')?)?;
    Some((name, rest.strip_prefix(b": ")?))
}

/// With what `fetch`, or reading a body, fails.
const MESSAGES: &str = concat!(
    // Chromium.
    "Failed to fetch,network error,",
    // Firefox.
    "NetworkError when attempting to fetch resource,Error in input stream,",
    // Safari.
    "Load failed,The network connection was lost,The Internet connection appears to be offline,",
    "The request timed out,Could not connect to the server,",
    // Node.
    "fetch failed,terminated,",
    // React Native and the fetch polyfills.
    "Network request failed,Network request timed out",
);
