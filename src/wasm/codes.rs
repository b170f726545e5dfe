//! The numbers in which the core answers: `js/codes.ts` has the same list.

use crate::decision::{Phase, Reason, Scope, Verdict};
use crate::time::Span;

/// Flag: there are transitions to fetch.
pub(super) const NEWS: u32 = 1;

/// Flag: somebody waits, so `poll` may have something to say.
pub(super) const WAITERS: u32 = 2;

/// Flag: attempts may begin with the same permit without asking, see `calm`.
pub(super) const CALM: u32 = 4;

/// Where a number is expected and there is none.
pub(super) const NONE: u32 = u32::MAX;

pub(super) const fn reason_code(reason: Reason) -> u32 {
    match reason {
        Reason::Backoff => 1,
        Reason::Cooldown => 2,
        Reason::CircuitOpen => 3,
        Reason::CircuitOpened => 4,
        Reason::MaxRetries => 5,
        Reason::RetryAfterTooLong => 6,
        Reason::Deadline => 7,
        Reason::Budget => 8,
        Reason::Quota => 9,
        Reason::Slots => 10,
        Reason::QueueFull => 11,
        Reason::Keys => 12,
        Reason::Queue => 13,
    }
}

pub(super) const fn reason_of(code: u32) -> Option<Reason> {
    Some(match code {
        3 => Reason::CircuitOpen,
        5 => Reason::MaxRetries,
        6 => Reason::RetryAfterTooLong,
        7 => Reason::Deadline,
        8 => Reason::Budget,
        9 => Reason::Quota,
        10 => Reason::Slots,
        11 => Reason::QueueFull,
        12 => Reason::Keys,
        _ => return None,
    })
}

pub(super) const fn phase_code(phase: Phase) -> u32 {
    match phase {
        Phase::Closed => 0,
        Phase::Open => 1,
        Phase::HalfOpen => 2,
        Phase::Isolated => 3,
    }
}

pub(super) const fn verdict_code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Success => 0,
        Verdict::Throttled { scope: Scope::Service, .. } => 1,
        Verdict::Throttled { scope: Scope::Call, .. } => 2,
        Verdict::Transient { answered: true } => 3,
        Verdict::Transient { answered: false } => 4,
        Verdict::Permanent => 5,
        Verdict::Ignored => 6,
    }
}

#[inline(never)]
pub(super) const fn verdict_of(code: u32, hint: Option<Span>) -> Verdict {
    match code {
        0 => Verdict::Success,
        1 => Verdict::Throttled { hint, scope: Scope::Service },
        2 => Verdict::Throttled { hint, scope: Scope::Call },
        3 => Verdict::Transient { answered: true },
        4 => Verdict::Transient { answered: false },
        5 => Verdict::Permanent,
        _ => Verdict::Ignored,
    }
}
