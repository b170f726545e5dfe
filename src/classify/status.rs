//! Numbers of HTTP, in `status` or `statusCode`, whatever the other says: storage answers 400 and wraps the real
//! status in the body.

use crate::outcome::Place;

/// 429 (RFC 6585), or 420, which Twitter began with and Supabase's documented limiter answers.
pub(super) fn is_refusal(place: &Place) -> bool {
    statuses(place).any(|status| matches!(status, 429 | 420))
}

/// What may heal by itself: a timeout, an overloaded or restarting server, Cloudflare without its origin (52x),
/// Supabase's database timeout (544) and worker limit (546).
pub(super) fn is_transient(place: &Place) -> bool {
    statuses(place).any(|status| matches!(status, 408 | 500 | 502..=504 | 520..=529 | 544 | 546))
}

/// Whether it says that nobody answered.
pub(super) fn is_unanswered(place: &Place) -> bool {
    !place.answered && statuses(place).any(|status| status == 0)
}

fn statuses(place: &Place) -> impl Iterator<Item = u32> {
    [place.status, place.status_code].into_iter().flatten()
}
