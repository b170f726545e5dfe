//! The configuration, read number by number.
//!
//! The shell has checked it and filled in what was not configured (`js/config.ts`): a mistake is to be found on devices
//! without a core too, so the ranges, the defaults and the words are there. `js/config.ts` writes the numbers in the
//! order in which they are read here: names would have to cross one by one, and take 3 kB.

use std::slice::Iter;

use crate::backoff::{Backoff, Jitter};
use crate::budget::BudgetConfig;
use crate::circuit::Trip;
use crate::limits::LimitsConfig;
use crate::quota::{Policy, Window};
use crate::service::{Config, RetryTransient};
use crate::slots::SlotsConfig;
use crate::time::Span;

/// The numbers that are not read yet. NaN is none, and so is what stands behind the last one.
pub(super) struct Numbers<'a>(Iter<'a, f64>);

impl<'a> Numbers<'a> {
    pub(super) fn of(numbers: &'a [f64]) -> Self {
        Self(numbers.iter())
    }

    /// How a service behaves: it stands before its limits.
    #[inline(never)]
    pub(super) fn config(&mut self) -> Config {
        Config {
            max_retries: self.count(),
            backoff: Backoff { initial: self.span(), max: self.span(), jitter: self.jitter() },
            respect_retry_after: self.truth(),
            max_retry_after: self.span(),
            circuit_threshold: self.count(),
            circuit_reset: self.span(),
            half_open_probes: self.count(),
            probe_timeout: self.span(),
            retry_transient: self.retry_transient(),
            retry_budget: self.retry_budget(),
            shared_cooldown: self.truth(),
            trip: self.trip(),
        }
    }

    /// The limits, which the shell has made of what was configured.
    pub(super) fn limits(&mut self) -> LimitsConfig {
        LimitsConfig {
            slots: SlotsConfig {
                global: self.cap(),
                per_key: self.cap(),
                lease: self.some().map(Span::from_ms_ceil),
                per_operation: self.list(Self::cap),
            },
            max_queue: self.count(),
            reject: self.truth(),
            max_keys: self.count(),
            policies: self.list(Self::policy),
        }
    }

    fn policy(&mut self) -> Policy {
        Policy { interval: self.span(), smooth: self.truth(), windows: self.list(Self::window) }
    }

    fn window(&mut self) -> Window {
        Window { limit: self.count(), length: self.span() }
    }

    fn jitter(&mut self) -> Jitter {
        let (kind, factor) = (self.count(), self.number());
        match kind {
            0 => Jitter::Proportional { factor },
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Decorrelated,
            _ => Jitter::None,
        }
    }

    fn retry_transient(&mut self) -> RetryTransient {
        match self.count() {
            0 => RetryTransient::Never,
            1 => RetryTransient::Idempotent,
            _ => RetryTransient::Always,
        }
    }

    fn retry_budget(&mut self) -> Option<BudgetConfig> {
        let (ratio, min_per_second, window) = (self.some(), self.number(), self.span());
        ratio.map(|ratio| BudgetConfig { ratio, min_per_second, window })
    }

    fn trip(&mut self) -> Trip {
        let (kind, ratio, minimum, length) = (self.count(), self.number(), self.count(), self.number());
        match kind {
            0 => Trip::Events,
            1 => Trip::InARow,
            2 => Trip::LastCalls { ratio, calls: whole(length), minimum },
            _ => Trip::Window { ratio, length: Span::from_ms_ceil(length), minimum },
        }
    }

    /// So many of them as the next number says.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.count()).map(|_| item(self)).collect()
    }

    /// A number of slots, or no limit.
    fn cap(&mut self) -> Option<u32> {
        self.some().map(whole)
    }

    fn truth(&mut self) -> bool {
        self.count() > 0
    }

    #[inline(never)]
    fn count(&mut self) -> u32 {
        whole(self.number())
    }

    #[inline(never)]
    fn span(&mut self) -> Span {
        Span::from_ms_ceil(self.number())
    }

    fn some(&mut self) -> Option<f64> {
        Some(self.number()).filter(|number| !number.is_nan())
    }

    #[inline(never)]
    fn number(&mut self) -> f64 {
        self.0.next().copied().unwrap_or(f64::NAN)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn whole(number: f64) -> u32 {
    number as u32
}
