//! How fast rows end, lately and on the whole, and how long the rest will take.

use crate::time::{Instant, Span};

/// Counts rows that ended, by the second.
#[derive(Debug)]
pub(super) struct Meter {
    /// The last seconds, in turns.
    seconds: [u32; SECONDS],
    /// The second that was counted last.
    second: u64,
    began: Option<Instant>,
    ended: u32,
}

impl Meter {
    pub(super) const fn new() -> Self {
        Self { seconds: [0; SECONDS], second: 0, began: None, ended: 0 }
    }

    /// Something is sent: from the first time on it counts.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.began.is_none() {
            self.began = Some(now);
            self.second = second(now);
        }
    }

    /// Somebody stopped the work: what was before says nothing about what comes after.
    pub(super) const fn forget(&mut self) {
        *self = Self::new();
    }

    /// A row has ended.
    pub(super) fn end(&mut self, now: Instant) {
        self.turn(now);
        self.ended = self.ended.saturating_add(1);
        if let Some(count) = self.seconds.get_mut(place(self.second)) {
            *count = count.saturating_add(1);
        }
    }

    /// Rows a second: of late and on the whole. Zero until there is something to measure.
    pub(super) fn rates(&mut self, now: Instant) -> (f64, f64) {
        self.turn(now);
        let Some(began) = self.began else { return (0.0, 0.0) };
        let ran = (now.since(began).as_f64() / 1e3).max(SHORTEST);
        let lately: u32 = self.seconds.iter().fold(0, |sum, count| sum.saturating_add(*count));
        let part = now.as_ms() / 1e3 - self.second as f64;
        let window = (SECONDS as f64 - 1.0 + part).min(ran);
        (f64::from(lately) / window, f64::from(self.ended) / ran)
    }

    /// How long so many more rows take, from and to; `None`: it is too early to tell.
    pub(super) fn left(&mut self, now: Instant, rows: u32, wait: Span) -> Option<[Span; 2]> {
        let (lately, whole) = self.rates(now);
        let began = self.began?;
        if self.ended == 0 || now.since(began) < EARLY {
            return None;
        }
        let fast = lately.max(whole);
        // Nothing ended lately: a wait, of which the whole knows more.
        let slow = if lately > 0.0 { lately.min(whole) } else { whole };
        let rows = f64::from(rows) * 1e3;
        Some([rows / fast, MARGIN * rows / slow].map(|ms| Span::from_ms_ceil(wait.as_f64() + ms)))
    }

    /// Seconds that have passed are empty.
    fn turn(&mut self, now: Instant) {
        let second = second(now).max(self.second);
        for passed in (self.second.wrapping_add(1)..=second).take(SECONDS) {
            if let Some(count) = self.seconds.get_mut(place(passed)) {
                *count = 0;
            }
        }
        self.second = second;
    }
}

const fn second(now: Instant) -> u64 {
    now.ticks() / 1000
}

#[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
const fn place(second: u64) -> usize {
    second as usize & SECONDS.wrapping_sub(1)
}

/// The last 15 full seconds and this one: long enough for windows of 10 s.
const SECONDS: usize = 16;

/// Seconds. What ended at once ended in a second.
const SHORTEST: f64 = 1.0;

/// The pacer starts gently: before that the pace says nothing.
const EARLY: Span = Span::from_ms(3000);

/// The slower of two rates is not the slowest.
const MARGIN: f64 = 1.2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_the_last_seconds_and_the_whole() {
        let mut meter = Meter::new();
        let at = |ms: u32| Instant::from_ms(f64::from(ms));
        meter.begin(at(500));
        assert_eq!(meter.left(at(600), 10, Span::ZERO), None);
        // 10 a second for 20 s, then 40 a second for 20 s.
        for ms in (500..20_500).step_by(100).chain((20_500..40_900).step_by(25)) {
            meter.end(at(ms));
        }
        let (lately, whole) = meter.rates(at(40_900));
        assert!((lately - 40.0).abs() < 0.1 && (whole - 25.1).abs() < 0.1, "{lately} {whole}");
        let [low, high] = meter.left(at(40_900), 1000, Span::from_ms(500)).expect("enough was seen");
        assert!(
            (24_000..27_000).contains(&low.as_ms()) && (48_000..49_000).contains(&high.as_ms()),
            "{low:?} {high:?}"
        );
        // An hour without anything.
        assert!(meter.rates(at(3_640_500)).0 < f64::EPSILON);
        assert!(meter.left(at(3_640_500), 1000, Span::ZERO).is_some());
    }
}
