//! Numbers of HTTP, in `status` or `statusCode`, whatever the other says: storage answers 400 and wraps the real
//! status in the body.

use crate::outcome::Place;

/// 429 (RFC 6585), or 420, which Supabase's documented limiter answers, as Twitter once did.
pub(super) fn is_refusal(place: &Place) -> bool {
    any(place, |status| matches!(status, 429 | 420))
}

/// What may heal by itself: a timeout, an overloaded or restarting server, Cloudflare without its origin (52x),
/// Supabase's database timeout (544) and worker limit (546).
pub(super) fn is_transient(place: &Place) -> bool {
    any(place, |status| matches!(status, 408 | 500 | 502..=504 | 520..=529 | 544 | 546))
}

/// What clients put there when nobody answered.
pub(super) fn is_zero(place: &Place) -> bool {
    any(place, |status| status == 0)
}

fn any(place: &Place, test: fn(u32) -> bool) -> bool {
    place.status.is_some_and(test) || place.status_code.is_some_and(test)
}
