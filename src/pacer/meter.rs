//! What was measured: when answers came, how many, and how long they took.

/// Counts accepted requests. Times are seconds on the pacer's clock.
#[derive(Debug)]
pub(super) struct Meter {
    accepted: f64,
    /// The latest accepts, a ring: `next` is the oldest once it is full.
    times: Vec<f64>,
    next: usize,
    round_trip: f64,
    jitter: f64,
}

/// A point from which accepts are counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) accepted: f64,
}

impl Meter {
    pub(super) const fn new() -> Self {
        Self { accepted: 0.0, times: Vec::new(), next: 0, round_trip: ROUND_TRIP, jitter: ROUND_TRIP / 2.0 }
    }

    pub(super) fn accept(&mut self, now: f64, latency: f64) {
        self.accepted += 1.0;
        match self.times.get_mut(self.next) {
            Some(oldest) => *oldest = now,
            None => self.times.push(now),
        }
        self.next = if self.next >= REMEMBERED { 0 } else { self.next.saturating_add(1) };
        self.round_trip += SMOOTHING * (latency - self.round_trip);
        self.jitter += SMOOTHING * ((latency - self.round_trip).abs() - self.jitter);
    }

    /// Requests a second that were accepted within the last `span` seconds; of a busier span only the latest part is
    /// known, and its rate is told.
    pub(super) fn goodput(&self, now: f64, span: f64) -> f64 {
        let (newer, older) = self.times.split_at(self.next.min(self.times.len()));
        let mut count = 0.0;
        let mut reach = span;
        for time in newer.iter().rev().chain(older.iter().rev()) {
            if *time <= now - span {
                return count / span;
            }
            count += 1.0;
            reach = now - *time;
        }
        if self.times.len() > REMEMBERED { count / reach.max(f64::EPSILON) } else { count / span }
    }

    /// How many have been accepted.
    pub(super) const fn accepted(&self) -> f64 {
        self.accepted
    }

    /// From here on.
    pub(super) const fn mark(&self, now: f64) -> Mark {
        Mark { at: now, accepted: self.accepted }
    }

    /// How many have been accepted since.
    pub(super) fn since(&self, mark: Mark) -> f64 {
        self.accepted - mark.accepted
    }

    /// The usual time from a request to its answer.
    pub(super) const fn round_trip(&self) -> f64 {
        self.round_trip
    }

    /// How far it usually is off.
    pub(super) const fn jitter(&self) -> f64 {
        self.jitter
    }
}

/// Before the first answer: what a far server on a good line takes.
const ROUND_TRIP: f64 = 0.1;

/// The weight of a new latency: ten answers make up an average.
const SMOOTHING: f64 = 0.1;

/// The last index of the ring. 512 accepts are 10 s at 50 a second, the longest span that is ever asked for there, and
/// still 2.5 s at 200.
const REMEMBERED: usize = 511;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_counts_the_span_and_no_more() {
        let mut meter = Meter::new();
        for tenth in 1..=50 {
            meter.accept(f64::from(tenth) / 10.0, 0.1);
        }
        for (now, span, expected) in [(5.0, 1.0, 10.0), (5.0, 10.0, 5.0), (5.55, 1.0, 5.0), (9.0, 1.0, 0.0)] {
            let goodput = meter.goodput(now, span);
            assert!((goodput - expected).abs() < 1e-9, "{now} {span}: {goodput}");
        }
    }

    #[test]
    fn more_than_it_remembers_is_told_as_a_rate() {
        let mut meter = Meter::new();
        for ms in 0..2_000 {
            meter.accept(f64::from(ms) / 1e3, 0.1);
        }
        assert!((meter.goodput(2.0, 2.0) / 1_000.0 - 1.0).abs() < 0.01);
        assert!((meter.accepted() - 2_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn latency_is_learned_within_ten_answers_or_so() {
        let mut meter = Meter::new();
        for _ in 0..40 {
            meter.accept(0.0, 0.4);
        }
        assert!((meter.round_trip() - 0.4).abs() < 0.01);
        assert!(meter.jitter() < 0.02);
    }
}
