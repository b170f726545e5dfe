//! Time as integers: [`Instant`] and [`Span`] for waiting, [`WallTime`] for dates that a server wrote.
//!
//! Nothing in this crate reads a clock; every room takes `now` as an argument. The three types cannot be mixed
//! up, and none of them overflows or goes below zero: arithmetic saturates.

/// A point on the clock that waiting is measured with, in whole milliseconds since an origin that the host chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// A date: milliseconds since 1970-01-01T00:00:00Z by the wall clock. Only ever subtracted from another date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The latest point that can be told: 2^53 ms, the largest integer that JavaScript counts exactly.
    pub const MAX: Self = Self(MAX_MS);

    /// From the host's milliseconds. Rounds down; NaN and what lies before the origin become the origin.
    pub fn from_ms(ms: f64) -> Self {
        Self(whole(ms))
    }

    /// Milliseconds since the origin, for the host.
    pub fn as_ms(self) -> f64 {
        self.0 as f64
    }

    /// Whole milliseconds since the origin.
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero when `earlier` lies later, as after a clock that was set back.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The earlier of two that may be missing; `None` when both are.
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            _ => one.or(other),
        }
    }

    /// The point `span` later, at most [`Instant::MAX`].
    ///
    /// Not inlined, as [`Span::from_ms_ceil`].
    #[inline(never)]
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0).min(MAX_MS))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// A span from a number that came from outside, rounded up so that nobody returns early. NaN and what is
    /// below zero become zero; what is too long becomes 2^53 ms.
    ///
    /// Not inlined: in the core 35 bytes at each of two dozen places, none of them on the path of a call that succeeds.
    #[inline(never)]
    pub fn from_ms_ceil(ms: f64) -> Self {
        Self(whole(ms.ceil()))
    }

    /// Whole milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Milliseconds as a float, for formulas.
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

impl WallTime {
    /// From milliseconds since 1970; NaN and earlier dates become 1970.
    pub fn from_ms(ms: f64) -> Self {
        Self(whole(ms))
    }

    /// From whole seconds since 1970; what is too late becomes 2^53 ms.
    pub const fn from_seconds(seconds: u64) -> Self {
        if seconds > MAX_MS / 1000 { Self(MAX_MS) } else { Self(seconds.wrapping_mul(1000)) }
    }

    /// Milliseconds since 1970.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero when `earlier` lies later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// The integer part of `ms` within 0..=2^53; NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, and the range is cut right after"
)]
fn whole(ms: f64) -> u64 {
    (ms as u64).min(MAX_MS)
}

/// 2^53: above it a JavaScript number no longer counts single milliseconds. 285,000 years.
const MAX_MS: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_backwards_is_no_time_at_all() {
        let later = Instant::from_ms(500.0);
        let earlier = Instant::from_ms(200.0);
        assert_eq!(later.since(earlier), Span::from_ms(300));
        assert_eq!(earlier.since(later), Span::ZERO);
    }

    #[test]
    fn foreign_numbers_never_overflow() {
        for (ms, expected) in [
            (f64::NAN, 0),
            (-1.0, 0),
            (f64::NEG_INFINITY, 0),
            (1.9, 1),
            (f64::INFINITY, MAX_MS),
            (1e300, MAX_MS),
        ] {
            assert_eq!(Instant::from_ms(ms).ticks(), expected, "{ms}");
        }
        assert_eq!(Instant::MAX.plus(Span::from_ms(u64::MAX)), Instant::MAX);
    }

    #[test]
    fn spans_round_up() {
        assert_eq!(Span::from_ms_ceil(0.1).as_ms(), 1);
        assert_eq!(Span::from_ms_ceil(100.0).as_ms(), 100);
        assert_eq!(Span::from_ms_ceil(-0.1).as_ms(), 0);
    }
}
