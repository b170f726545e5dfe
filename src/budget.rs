//! The retry budget: however many calls fail, retries stay a bounded share of the load.

use crate::time::{Instant, Span};

/// How many retries a service may make. In any window: `min_per_second * window + ratio * calls begun in it`.
/// The shape is that of finagle's `RetryBudget`, with a window instead of a leaking bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Retries allowed for each call, 0..=1.
    pub ratio: f64,
    /// Retries a second that are always allowed, 0..=1000, so that a quiet service can retry at all.
    pub min_per_second: f64,
    /// The length of the window, at least 1 ms.
    pub window: Span,
}

/// Calls and retries of the last window, counted in slices.
///
/// A slice counts its calls as if all of them had come at its beginning and its retries as if all of them had
/// come at its end, so the promise holds for every window, not only for those that begin with a slice.
#[derive(Debug)]
pub struct Budget {
    config: BudgetConfig,
    slice: Span,
    slices: Vec<Slice>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    number: u64,
    calls: u32,
    retries: u32,
}

impl Budget {
    /// A budget that nobody has used yet; all of it may be spent at once.
    pub fn new(config: BudgetConfig) -> Self {
        let slice = Span::from_ms(config.window.as_ms().div_ceil(SLICES).max(1));
        Self { config, slice, slices: (0..RING).map(|_| Slice::default()).collect() }
    }

    /// The same counts under other limits; a window of another length begins anew.
    pub fn reconfigure(&mut self, config: BudgetConfig) {
        if config.window == self.config.window {
            self.config = config;
        } else {
            *self = Self::new(config);
        }
    }

    /// So many calls begin.
    pub fn deposit(&mut self, now: Instant, calls: u32) {
        if let Some(slice) = self.slice_at(now) {
            slice.calls = slice.calls.saturating_add(calls);
        }
    }

    /// Whether one more retry is within the budget at `now`. No effect.
    pub fn check(&self, now: Instant) -> bool {
        f64::from(self.retries_spent(now)) + 1.0 <= self.allowance(now)
    }

    /// Takes one retry out, if it is there.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        if !self.check(now) {
            return false;
        }
        if let Some(slice) = self.slice_at(now) {
            slice.retries = slice.retries.saturating_add(1);
        }
        true
    }

    fn allowance(&self, now: Instant) -> f64 {
        let seconds = self.config.window.as_f64() / 1_000.0;
        self.config.min_per_second * seconds + self.config.ratio * f64::from(self.calls_begun(now))
    }

    /// The product is no later than the `now` from which the number was made.
    fn calls_begun(&self, now: Instant) -> u32 {
        let window = self.config.window.as_ms();
        let started = |slice: &Slice| slice.number.wrapping_mul(self.slice.as_ms());
        self.sum(|slice| started(slice).saturating_add(window) > now.ticks(), |slice| slice.calls)
    }

    fn retries_spent(&self, now: Instant) -> u32 {
        let window = self.config.window.as_ms();
        let ended = |slice: &Slice| slice.number.wrapping_add(1).wrapping_mul(self.slice.as_ms());
        self.sum(|slice| ended(slice).saturating_add(window) > now.ticks(), |slice| slice.retries)
    }

    fn sum(&self, counts: impl Fn(&Slice) -> bool, what: impl Fn(&Slice) -> u32) -> u32 {
        self.slices.iter().filter(|slice| counts(slice)).fold(0, |sum, slice| sum.saturating_add(what(slice)))
    }

    /// The slice that `now` falls into, emptied when the ring came round to it.
    #[inline(never)]
    fn slice_at(&mut self, now: Instant) -> Option<&mut Slice> {
        let number = now.ticks().checked_div(self.slice.as_ms())?;
        let slice = self.slices.get_mut(usize::try_from(number.checked_rem(RING)?).ok()?)?;
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        Some(slice)
    }
}

/// Slices in a window: retries come back at most 1/64 of the window late.
const SLICES: u64 = 64;

/// The window, the slice that began before it, and the one that goes on after it.
const RING: u64 = SLICES + 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn budget(ratio: f64, min_per_second: f64, window_ms: u64) -> Budget {
        Budget::new(BudgetConfig { ratio, min_per_second, window: Span::from_ms(window_ms) })
    }

    fn spend_all(budget: &mut Budget, now: Instant) -> usize {
        (0..100_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn a_new_budget_may_be_spent_at_once_and_comes_back_after_the_window() {
        let mut budget = budget(0.2, 5.0, 10_000);
        assert_eq!(spend_all(&mut budget, at(1_000_000)), 50);
        assert!(!budget.withdraw(at(1_009_999)));
        assert_eq!(spend_all(&mut budget, at(1_010_000 + 10_000 / 64 + 1)), 50);
    }

    #[test]
    fn calls_earn_their_share() {
        let mut budget = budget(0.2, 0.0, 10_000);
        assert!(!budget.withdraw(at(0)));
        for _ in 0..10 {
            budget.deposit(at(0), 1);
        }
        assert_eq!(spend_all(&mut budget, at(500)), 2);
        assert_eq!(spend_all(&mut budget, at(20_000)), 0);
    }

    #[test]
    fn zero_and_zero_is_no_retry_at_all() {
        assert_eq!(spend_all(&mut budget(0.0, 0.0, 1), at(5)), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut budget = budget(0.0, 1.0, 1_000);
        assert!(budget.withdraw(at(10_000)));
        assert!(!budget.withdraw(at(9_900)));
    }
}
