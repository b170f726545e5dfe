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
//! | `hints` | how long to stay away: `retry_after`, `http_date`, `rate_limit` in headers, `prose` |

mod codes;
mod hints;
mod http_date;
mod prose;
mod rate_limit;
mod retry_after;
mod status;
mod text;
mod transport;
mod words;

use crate::decision::{Scope, Verdict};
use crate::outcome::{Outcome, Place};
use crate::time::{Span, WallTime};

pub use hints::hint;

/// Judges one attempt. `wall` is the time at which its answer came, by the wall clock: dates and epoch times that
/// a server wrote are counted from it, unless its own `Date` header stands beside them.
pub fn classify(outcome: &Outcome, wall: WallTime) -> Verdict {
    let places = &outcome.places;
    if places.iter().any(codes::is_ours) {
        return Verdict::Ignored;
    }
    if places.iter().any(is_refusal) {
        return throttled(outcome, wall);
    }
    // A server that answered, or a lost connection: the nearest sign decides, since what lies deeper may be the
    // story of another request.
    if let Some(verdict) = places.iter().find_map(|place| near(place, outcome.failed)) {
        return verdict;
    }
    if outcome.failed && places.iter().any(status::is_unanswered) {
        return LOST;
    }
    if outcome.failed { Verdict::Permanent } else { Verdict::Success }
}

/// Whether this place says that a limit was exceeded.
fn is_refusal(place: &Place) -> bool {
    status::is_refusal(place) || codes::is_refusal(place) || place.over_limit || words_refuse(place)
}

/// Whether its words say so, and nothing more exact stands beside them that explains them otherwise.
fn words_refuse(place: &Place) -> bool {
    let explained = place.answered
        || codes::is_about_data(place)
        || transport::is_aborted(place)
        || transport::is_lost(place);
    !explained && place.words.iter().any(|text| words::refuse(text))
}

/// A refusal, with the delay that the server asks for.
fn throttled(outcome: &Outcome, wall: WallTime) -> Verdict {
    let flagged = outcome.places.iter().any(|place| place.over_limit);
    let fallback = flagged.then_some(FLAGGED);
    let personal = outcome.places.iter().any(|place| codes::is_personal(place) || words::are_personal(place));
    Verdict::Throttled {
        hint: hint(outcome, wall).or(fallback),
        scope: if personal { Scope::Call } else { Scope::Service },
    }
}

/// What this place says about an attempt that was not throttled; `None` when it says nothing.
fn near(place: &Place, failed: bool) -> Option<Verdict> {
    if transport::is_aborted(place) {
        return Some(Verdict::Ignored);
    }
    if status::is_transient(place) {
        return Some(Verdict::Transient { answered: true });
    }
    if place.answered {
        return failed.then_some(Verdict::Permanent);
    }
    transport::is_lost(place).then_some(LOST)
}

/// Nobody answered.
const LOST: Verdict = Verdict::Transient { answered: false };

/// The delay of a `rateLimitExceeded` that names none: the window of most limiters.
const FLAGGED: Span = Span::from_ms(60_000);
