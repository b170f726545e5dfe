//! The pause before a retry: exponential, capped, spread by jitter, and never shorter than the server asked for.

use crate::time::Span;

/// How the pause grows and how it is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The pause before the first retry.
    pub initial: Span,
    /// The cap of the exponential part.
    pub max: Span,
    /// How it is spread.
    pub jitter: Jitter,
}

/// How callers that were refused together are kept from coming back together. `v` is `min(max, initial * 2^n)`
/// before retry `n` (0 for the first), `r` a draw from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// `v + v * factor * r`. Only adds, so the order of magnitude stays what the configuration says.
    Proportional {
        /// 0..=1
        factor: f64,
    },
    /// `v * r`. "Full jitter" of the AWS Architecture Blog, "Exponential Backoff And Jitter" (Brooker, 2015).
    Full,
    /// `v / 2 + v / 2 * r`. "Equal jitter", same source.
    Equal,
    /// `min(max, initial + (3 * previous - initial) * r)`. "Decorrelated jitter", same source: it grows with the
    /// pause before, not with the number of the retry.
    Decorrelated,
    /// `v`.
    None,
}

impl Backoff {
    /// The pause before retry number `retry` (0 for the first). `previous` is the pause before the last one,
    /// `draw` a random number from 0 to 1. Rounded up to whole milliseconds.
    pub fn delay(&self, retry: u32, previous: Option<Span>, draw: f64) -> Span {
        let exponential = self.exponential(retry);
        Span::from_ms_ceil(match self.jitter {
            Jitter::Proportional { factor } => exponential + exponential * factor * draw,
            Jitter::Full => exponential * draw,
            Jitter::Equal => exponential / 2.0 + exponential / 2.0 * draw,
            Jitter::Decorrelated => self.decorrelated(previous, draw),
            Jitter::None => exponential,
        })
    }

    /// The pause when the server gave a hint: the backoff where that is longer, else the hint and on top of it
    /// jitter of up to 20 % or 5 s, whichever is less. Clients that were told the same second would otherwise
    /// come back in the same second.
    pub fn delay_after_hint(&self, hint: Span, backoff: Span, draw: f64) -> Span {
        if backoff > hint {
            return backoff;
        }
        let share = match self.jitter {
            Jitter::None => 0.0,
            Jitter::Proportional { factor } => factor.min(HINT_JITTER_SHARE),
            Jitter::Full | Jitter::Equal | Jitter::Decorrelated => HINT_JITTER_SHARE,
        };
        let jitter = (hint.as_f64() * share).min(HINT_JITTER_MAX_MS) * draw;
        Span::from_ms_ceil(hint.as_f64() + jitter)
    }

    fn exponential(&self, retry: u32) -> f64 {
        // Beyond 2^1023 lies infinity, and nothing times infinity is no number.
        let doublings = i32::try_from(retry).unwrap_or(i32::MAX).min(f64::MAX_EXP - 1);
        let doubled = self.initial.as_f64() * 2_f64.powi(doublings);
        doubled.min(self.max.as_f64())
    }

    fn decorrelated(&self, previous: Option<Span>, draw: f64) -> f64 {
        let initial = self.initial.as_f64();
        let reach = 3.0 * previous.map_or(initial, Span::as_f64).max(initial);
        (initial + (reach - initial) * draw).min(self.max.as_f64())
    }
}

/// Jitter on a hint: enough to spread a crowd, little enough that nobody notices the wait.
const HINT_JITTER_SHARE: f64 = 0.2;

/// A hint of an hour needs no twelve minutes on top.
const HINT_JITTER_MAX_MS: f64 = 5_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff { initial: Span::from_ms(100), max: Span::from_ms(1_000), jitter }
    }

    #[test]
    fn each_kind_follows_its_formula() {
        let previous = Some(Span::from_ms(300));
        for (jitter, retry, draw, expected) in [
            (Jitter::None, 0, 0.5, 100),
            (Jitter::None, 3, 0.5, 800),
            (Jitter::None, 4, 0.5, 1_000),
            (Jitter::None, u32::MAX, 0.5, 1_000),
            (Jitter::Proportional { factor: 0.2 }, 1, 0.0, 200),
            (Jitter::Proportional { factor: 0.2 }, 1, 0.5, 220),
            (Jitter::Proportional { factor: 1.0 }, 9, 0.999, 1_999),
            (Jitter::Full, 2, 0.0, 0),
            (Jitter::Full, 2, 0.25, 100),
            (Jitter::Equal, 2, 0.0, 200),
            (Jitter::Equal, 2, 0.5, 300),
            (Jitter::Decorrelated, 5, 0.0, 100),
            (Jitter::Decorrelated, 5, 0.5, 500),
            (Jitter::Decorrelated, 5, 1.0, 900),
        ] {
            let delay = backoff(jitter).delay(retry, previous, draw);
            assert_eq!(delay.as_ms(), expected, "{jitter:?}, retry {retry}, draw {draw}");
        }
    }

    #[test]
    fn decorrelated_starts_from_the_initial_pause_and_keeps_the_cap() {
        let backoff = backoff(Jitter::Decorrelated);
        assert_eq!(backoff.delay(0, None, 1.0).as_ms(), 300);
        assert_eq!(backoff.delay(0, Some(Span::from_ms(900)), 1.0).as_ms(), 1_000);
    }

    #[test]
    fn jitter_on_a_hint_only_adds_and_is_capped() {
        let short = Span::from_ms(100);
        for (jitter, hint, draw, expected) in [
            (Jitter::Proportional { factor: 0.2 }, 2_000, 0.0, 2_000),
            (Jitter::Proportional { factor: 0.2 }, 2_000, 0.5, 2_200),
            (Jitter::Proportional { factor: 0.0 }, 2_000, 0.5, 2_000),
            (Jitter::Proportional { factor: 1.0 }, 2_000, 0.5, 2_200),
            (Jitter::Full, 60_000, 0.999_999_9, 65_000),
            (Jitter::None, 2_000, 0.9, 2_000),
            (Jitter::Full, 50, 0.9, 100),
        ] {
            let delay = backoff(jitter).delay_after_hint(Span::from_ms(hint), short, draw);
            assert_eq!(delay.as_ms(), expected, "{jitter:?}, hint {hint}, draw {draw}");
        }
    }
}
