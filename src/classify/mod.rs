//! From facts to a judgement: [`classify`] reads an [`Outcome`] and answers with a [`Verdict`].
//!
//! What counts as throttled, where, and in which order delays are looked for is a promise to applications
//! (`docs/`, "What counts as throttled"). Each file here knows one kind of sign:
//!
//! | file | sign |
//! |---|---|
//! | `status` | numbers of HTTP |
//! | `codes` | words that vendors made up for programs |
//! | `words` | prose for people |
//! | `transport` | nobody answered, or nobody wanted to know |
//! | `hints` | how long to stay away: in headers (`http_date`, `rate_limit`), in properties, in `prose` |
//!
//! [`advertised`] judges nothing: it reads what headers say about a limit that was not exceeded yet.

mod advertised;
mod codes;
mod hints;
mod http_date;
mod prose;
mod rate_limit;
mod status;
mod text;
mod transport;
mod words;

use codes::Meaning;

use crate::decision::{Scope, Verdict};
use crate::outcome::{Outcome, Place};
use crate::time::{Span, WallTime};

pub use advertised::{Advertised, Fields, advertised};
pub use hints::hint;

/// Judges one attempt. `wall` is the time at which its answer came, by the wall clock: dates and epoch times that
/// a server wrote are counted from it, unless its own `Date` header stands beside them.
pub fn classify(outcome: &Outcome, wall: WallTime) -> Verdict {
    let places = &outcome.places;
    if places.iter().any(|place| codes::has(place, Meaning::Ours)) {
        return Verdict::Ignored;
    }
    if places.iter().any(is_refusal) {
        return throttled(outcome, wall);
    }
    // The nearest sign decides, since what lies deeper may be the story of another request.
    if let Some(verdict) = places.iter().find_map(|place| sign(place, outcome.failed)) {
        return verdict;
    }
    if !outcome.failed {
        return Verdict::Success;
    }
    if places.iter().any(status::is_zero) { LOST } else { Verdict::Permanent }
}

/// Whether this place says that a limit was exceeded.
fn is_refusal(place: &Place) -> bool {
    status::is_refusal(place)
        || place.over_limit
        || codes::has(place, Meaning::Refusal)
        || codes::has(place, Meaning::Personal)
        || (place.words.iter().any(|text| words::refuses(text)) && !is_explained(place))
}

/// Whether something more exact stands beside the words and says what they mean.
fn is_explained(place: &Place) -> bool {
    place.answered
        || codes::has(place, Meaning::AboutData)
        || transport::is_aborted(place)
        || transport::is_lost(place)
}

/// A refusal, with the delay that the server asks for.
fn throttled(outcome: &Outcome, wall: WallTime) -> Verdict {
    let flagged = outcome.places.iter().any(|place| place.over_limit).then_some(FLAGGED);
    let personal = outcome.places.iter().any(is_personal);
    Verdict::Throttled {
        hint: hint(outcome, wall).or(flagged),
        scope: if personal { Scope::Call } else { Scope::Service },
    }
}

/// Whether the limit concerns this call only.
fn is_personal(place: &Place) -> bool {
    let mut texts = place.words.iter().chain(&place.notes);
    codes::has(place, Meaning::Personal) || texts.any(|text| words::is_personal(text))
}

/// What this place says about an attempt that was not throttled; `None` when it says nothing.
fn sign(place: &Place, failed: bool) -> Option<Verdict> {
    if status::is_transient(place) {
        Some(Verdict::Transient { answered: true })
    } else if place.answered {
        failed.then_some(Verdict::Permanent)
    } else if transport::is_aborted(place) {
        Some(Verdict::Ignored)
    } else {
        transport::is_lost(place).then_some(LOST)
    }
}

/// Nobody answered.
const LOST: Verdict = Verdict::Transient { answered: false };

/// The delay of a `rateLimitExceeded` that names none: the window of most limiters.
const FLAGGED: Span = Span::from_ms(60_000);
