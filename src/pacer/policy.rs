//! What the server advertises about its limit: a ceiling for the rate, and what is left of the quota.

use super::Advertised;
use super::gate::Gate;
use super::meter::Meter;

/// The advertised limit, as `RateLimit-Policy: "x";q=100;w=60` and `RateLimit: "x";r=50;t=30` (draft-ietf-httpapi-
/// ratelimit-headers) or one of the older dialects told it.
#[derive(Debug)]
pub(super) struct Policy {
    quota: f64,
    window: f64,
    /// What the latest request left, when that was told, and which one it was.
    remaining: f64,
    reset: f64,
    told_at: f64,
    told_by: u64,
    /// How far below the limit we stay beyond what jitter asks for, as a share; how far up again it may go.
    margin: f64,
    floor: f64,
    /// The least that was left since the last review, and how many reviews in a row ended with nothing.
    least: f64,
    reviewed_at: f64,
    empty: u32,
    /// The share of accepted requests that left nothing.
    spent: f64,
    refused_at: f64,
    /// Others use the same quota; the rate has to be learned below the ceiling.
    contested: bool,
}

/// What a look at the headers means for the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// Another limit than before: go by it at once.
    Limit,
    /// The ceiling rose a little.
    Ceiling,
}

impl Policy {
    /// Not yet told anything: the first [`Policy::told`] is always news.
    pub(super) const fn new(now: f64) -> Self {
        Self {
            quota: 0.0,
            window: 1.0,
            remaining: 0.0,
            reset: 0.0,
            told_at: now,
            told_by: 0,
            margin: 0.0,
            floor: -0.2,
            least: f64::INFINITY,
            reviewed_at: now,
            empty: 0,
            spent: 0.0,
            refused_at: f64::NEG_INFINITY,
            contested: false,
        }
    }

    /// The limit in requests a second.
    pub(super) fn rate(&self) -> f64 {
        self.quota / self.window
    }

    /// The rate that keeps to it when latency varies: two requests that left a window apart may arrive closer.
    pub(super) fn ceiling(&self, meter: &Meter) -> f64 {
        let jitter = (2.2 * meter.jitter() / self.window).max(LEAST_MARGIN);
        let boundary = if self.window >= LONG { 1.5 / self.quota.max(50.0) } else { 0.0 };
        self.rate() * (1.0 - (jitter + boundary + self.margin).clamp(LEAST_MARGIN, MOST_MARGIN))
    }

    pub(super) const fn is_contested(&self) -> bool {
        self.contested
    }

    /// Takes in what the answer to request number `number` said.
    pub(super) fn told(
        &mut self,
        now: f64,
        said: Advertised,
        number: u64,
        accepted: bool,
        meter: &Meter,
    ) -> News {
        let before = self.rate();
        self.quota = f64::from(said.quota);
        self.window = said.window.as_f64() / 1e3;
        let remaining = f64::from(said.remaining);
        if accepted {
            self.spent += SPENT_SMOOTHING * (f64::from(u8::from(said.remaining == 0)) - self.spent);
        }
        if number >= self.told_by {
            self.remaining = remaining;
            self.reset = said.reset.as_f64() / 1e3;
            self.told_by = number;
            self.told_at = now;
        }
        self.least = self.least.min(remaining);
        let reviewed = now - self.reviewed_at >= self.window.clamp(1.0, 10.0) && self.review(now);
        if (self.rate() / before - 1.0).abs() > OTHER_LIMIT {
            News::Limit
        } else if reviewed && now - self.refused_at > 3.0 && meter.accepted() > 0.0 {
            News::Ceiling
        } else {
            News::Nothing
        }
    }

    /// Once per window: much was left, so the margin is too wide; nothing was left twice, so it is too narrow.
    fn review(&mut self, now: f64) -> bool {
        self.empty = if self.least <= 0.0 { self.empty.saturating_add(1) } else { 0 };
        if self.least >= (0.03 * self.quota).max(2.0) {
            let step = if self.least >= 0.3 * self.quota { 0.012 } else { 0.004 };
            self.margin = (self.margin - step).max(self.floor);
        } else if self.empty >= 2 {
            self.margin = (self.margin + 0.003).min(0.05);
        }
        self.reviewed_at = now;
        self.least = f64::INFINITY;
        true
    }

    /// A request was refused all the same. Twice in a short time, and while we take much less than the limit: others
    /// share it.
    pub(super) fn refused(&mut self, now: f64, meter: &Meter) {
        let again = now - self.refused_at < CONTEST;
        let ours = meter.goodput(now, self.window.clamp(1.0, 10.0));
        self.refused_at = now;
        if again && ours < OURS * self.rate() {
            self.contested = true;
        }
        if !self.contested {
            self.floor = self.margin + 0.008;
            self.margin = (self.margin + 0.012).min(0.08);
        }
    }

    /// How much faster than the ceiling may be gone because more is left than the rest of the window needs: from 1 to 2.
    pub(super) fn surplus(&self, now: f64, rate: f64, gate: &Gate, meter: &Meter) -> f64 {
        let left = self.remaining - self.since(gate);
        let calm = !self.contested && now - self.refused_at > 5.0 && rate >= 0.95 * self.ceiling(meter);
        if calm && left > (0.25 * self.quota).max(3.0) && self.reset > 0.0 {
            (left / self.reset / rate).clamp(1.0, 2.0)
        } else {
            1.0
        }
    }

    /// Until when nothing is left, if so.
    pub(super) fn wait(&mut self, now: f64, rate: f64, gate: &Gate, meter: &Meter) -> Option<f64> {
        if self.spent > UNINFORMATIVE {
            return None;
        }
        if self.contested && now - self.refused_at > CONTEST_LASTS {
            self.contested = false;
        }
        let renewed = self.told_at + self.reset - 1.0;
        if self.window >= LONG && self.remaining <= 0.0 && self.reset >= 2.0 && now < renewed {
            return Some(renewed);
        }
        // All of it has come back since, however much was sent before anybody knew.
        if now - self.told_at >= self.window {
            return None;
        }
        let until = if self.contested {
            let soon = self.told_at.max(gate.last_sent()) + (2.0 / rate).min(0.2);
            if self.remaining - self.since(gate) < 1.0 { soon } else { now }
        } else {
            let arrives = now + meter.round_trip();
            let left = self.remaining + self.rate() * (arrives - self.told_at) - self.since(gate);
            now + ((LEFT - left) / self.rate()).min(1.0)
        };
        (until > now).then_some(until)
    }

    /// Requests sent after the one that told us last.
    fn since(&self, gate: &Gate) -> f64 {
        gate.sent().saturating_sub(self.told_by) as f64
    }
}

/// Clocks and rounding alone take as much.
const LEAST_MARGIN: f64 = 0.004;

/// Beyond a quarter the latency is no longer what is wrong.
const MOST_MARGIN: f64 = 0.25;

/// Seconds. In windows this long a boundary costs a request or two, and an empty one is worth waiting for.
const LONG: f64 = 5.0;

/// A limit that differs by less is a rounding.
const OTHER_LIMIT: f64 = 0.02;

/// The share of requests that leave nothing is learned over about 30 of them.
const SPENT_SMOOTHING: f64 = 0.03;

/// Where so many leave nothing and are accepted all the same, "remaining" says nothing: a limiter without a burst, or
/// an answer from a cache.
const UNINFORMATIVE: f64 = 0.3;

/// Two refusals within so many seconds, below so much of the limit, mean that others share it; for how long we assume it.
const CONTEST: f64 = 15.0;
const OURS: f64 = 0.85;
const CONTEST_LASTS: f64 = 60.0;

/// Requests. A fifth of one has to be left, since the refill is not continuous everywhere.
const LEFT: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const fn said(quota: u32, window_ms: u64, remaining: u32, reset_ms: u64) -> Advertised {
        Advertised { quota, window: Span::from_ms(window_ms), remaining, reset: Span::from_ms(reset_ms) }
    }

    #[test]
    fn the_ceiling_is_a_little_below_the_limit_and_further_in_short_windows() {
        let meter = Meter::new();
        for (quota, window, least, most) in
            [(600, 60_000, 0.98, 1.0), (50, 1_000, 0.85, 0.95), (1, 1, 0.74, 0.76)]
        {
            let mut policy = Policy::new(0.0);
            policy.told(0.0, said(quota, window, quota, 0), 1, true, &meter);
            let share = policy.ceiling(&meter) / policy.rate();
            assert!((least..=most).contains(&share), "{quota} in {window}: {share}");
        }
    }

    #[test]
    fn only_another_limit_is_news() {
        let meter = Meter::new();
        let mut policy = Policy::new(0.0);
        let news = [
            said(100, 10_000, 99, 0),
            said(100, 10_000, 98, 0),
            said(101, 10_000, 97, 0),
            said(50, 10_000, 9, 0),
        ]
        .map(|said| policy.told(0.1, said, 1, true, &meter));
        assert_eq!(news, [News::Limit, News::Nothing, News::Nothing, News::Limit]);
    }

    #[test]
    fn the_ceiling_is_news_once_a_window_after_an_accept_and_without_a_refusal() {
        for (accepted, refused, expected) in
            [(true, None, News::Ceiling), (false, None, News::Nothing), (true, Some(8.0), News::Nothing)]
        {
            let (mut meter, mut policy) = (Meter::new(), Policy::new(0.0));
            let told = |meter: &Meter, policy: &mut Policy, now| {
                policy.told(now, said(100, 10_000, 99, 0), 1, true, meter)
            };
            told(&meter, &mut policy, 0.0);
            if accepted {
                meter.accept(0.0, 0.1);
            }
            if let Some(now) = refused {
                policy.refused(now, &meter);
            }
            let news = [9.0, 10.0, 11.0].map(|now| told(&meter, &mut policy, now));
            assert_eq!(news, [News::Nothing, expected, News::Nothing], "{accepted} {refused:?}");
        }
    }

    #[test]
    fn after_a_refusal_calm_windows_give_only_a_part_of_the_margin_back() {
        let meter = Meter::new();
        let mut policy = Policy::new(0.0);
        let mut share_after = |windows: std::ops::Range<u32>| {
            for window in windows {
                policy.told(f64::from(10 * window), said(100, 10_000, 99, 0), 1, true, &meter);
            }
            let share = policy.ceiling(&meter) / policy.rate();
            policy.refused(0.0, &meter);
            share
        };
        let lost = share_after(0..1) - share_after(1..9);
        assert!((lost - 0.008).abs() < 1e-9, "{lost}");
    }

    #[test]
    fn nothing_left_of_a_long_window_waits_for_the_next_one() {
        let (meter, gate) = (Meter::new(), Gate::new());
        let mut policy = Policy::new(0.0);
        policy.told(100.0, said(600, 60_000, 0, 30_000), 1, true, &meter);
        assert_eq!(policy.wait(100.0, 10.0, &gate, &meter), Some(129.0));
        assert_eq!(policy.wait(130.0, 10.0, &gate, &meter), None);
    }

    #[test]
    fn what_was_told_a_window_ago_holds_nobody() {
        let (meter, mut gate) = (Meter::new(), Gate::new());
        for _ in 0..100 {
            gate.pass(0.0, 10.0);
        }
        let mut policy = Policy::new(0.0);
        policy.told(0.0, said(1, 600_000, 0, 0), 1, true, &meter);
        assert_eq!(policy.wait(599.0, 10.0, &gate, &meter), Some(600.0));
        assert_eq!(policy.wait(600.0, 10.0, &gate, &meter), None);
    }

    #[test]
    fn zero_left_and_accepted_all_the_same_says_nothing() {
        let (meter, gate) = (Meter::new(), Gate::new());
        let mut policy = Policy::new(0.0);
        for number in 1..50 {
            policy.told(0.0, said(1, 100, 0, 1_000), number, true, &meter);
        }
        assert_eq!(policy.wait(0.0, 10.0, &gate, &meter), None);
    }

    #[test]
    fn two_refusals_far_below_the_limit_mean_that_others_share_it() {
        let mut meter = Meter::new();
        let mut policy = Policy::new(0.0);
        policy.told(0.0, said(50, 1_000, 0, 1_000), 1, true, &meter);
        for number in 0..10 {
            meter.accept(f64::from(number) / 10.0, 0.1);
        }
        policy.refused(1.0, &meter);
        assert!(!policy.is_contested());
        policy.refused(1.0, &meter);
        assert!(policy.is_contested());
    }
}
