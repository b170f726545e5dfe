//! What enforces: one gate for the whole server. It spaces requests (GCRA), stays shut until a time, and counts what is
//! in flight. It believes nothing by itself.

/// Seconds on the pacer's clock throughout.
#[derive(Debug)]
pub(super) struct Gate {
    /// Nothing passes before; before the second one because the server said so.
    shut_until: f64,
    told_until: f64,
    /// When the next request is due if all keep their distance: GCRA's theoretical arrival time.
    due: f64,
    /// When the latest request should have gone, which a late timer may have missed by far.
    last_due: f64,
    last_sent: f64,
    /// A time that was given as "ask again then", until somebody asks.
    promised: Option<f64>,
    /// How late wake-ups come.
    late: f64,
    /// How many seconds of the pace a pause may leave to be made up for.
    credit: f64,
    /// The least distance while making up, in usual distances.
    least_gap: f64,
    in_flight: u32,
    sent: u64,
}

impl Gate {
    pub(super) const fn new() -> Self {
        Self {
            shut_until: f64::NEG_INFINITY,
            told_until: f64::NEG_INFINITY,
            due: f64::NEG_INFINITY,
            last_due: f64::NEG_INFINITY,
            last_sent: f64::NEG_INFINITY,
            promised: None,
            late: 0.0,
            credit: CREDIT,
            least_gap: LEAST_GAP,
            in_flight: 0,
            sent: 0,
        }
    }

    /// Until when it is shut, if it is. `sooner`: what the server said itself counts, and nothing else.
    pub(super) fn shut(&self, now: f64, sooner: bool) -> Option<f64> {
        let until = if sooner { self.told_until } else { self.shut_until };
        (until > now + INSTANT).then_some(until)
    }

    /// Only a timer would wake us, and timers come so late that no pace can be kept with them.
    pub(super) fn is_stranded(&self) -> bool {
        self.in_flight == 0 && self.late >= COARSE
    }

    /// When the next request may go at this rate; a time that has come means at once.
    pub(super) fn next(&self, now: f64, rate: f64) -> f64 {
        let next = self.due.max(self.last_due + self.least_gap / rate);
        // Early is a smaller error than as late as that timer would be; `due` remembers it.
        if next <= now + INSTANT || self.is_stranded() && next - now <= MOST_EARLY { now } else { next }
    }

    /// Remembers what was answered to "may I?": the time to ask again, if there is one.
    pub(super) const fn promise(&mut self, until: Option<f64>) {
        self.promised = until;
    }

    /// The time that was given.
    pub(super) const fn promised(&self) -> Option<f64> {
        self.promised
    }

    /// Somebody asks. When the time that we gave has passed, the difference is how late timers are. After an answer it
    /// is only known that they are at least that late. Returns how many seconds were lost by it.
    pub(super) fn asked(&mut self, now: f64, by_timer: bool) -> f64 {
        let Some(promised) = self.promised.filter(|promised| now >= *promised) else { return 0.0 };
        self.promised = None;
        let faded = if by_timer { self.late * LATE_FADES } else { self.late };
        self.late = faded.max(now - promised).min(LATEST);
        now - promised
    }

    /// The machine slept: what was promised before says nothing about timers, and nothing is to be made up for.
    pub(super) fn forget_pace(&mut self, now: f64) {
        self.promised = None;
        self.due = self.due.max(now);
    }

    /// A request goes. Returns its number; numbers ascend.
    pub(super) fn pass(&mut self, now: f64, rate: f64) -> u64 {
        let most = if self.late < COARSE { MOST_MADE_UP } else { MADE_UP_IF_COARSE };
        let slack = (MAKE_UP * self.late).min(most);
        self.last_due = self.due.max(self.last_due + self.least_gap / rate).min(now).max(now - slack - TICK);
        self.due = self.due.max(now - self.credit.max(slack)) + 1.0 / rate;
        self.last_sent = now;
        self.in_flight = self.in_flight.saturating_add(1);
        self.sent = self.sent.saturating_add(1);
        self.sent
    }

    /// Its answer came, or will not come.
    pub(super) const fn back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Shuts for so long, if it is not shut for longer.
    pub(super) fn shut_for(&mut self, now: f64, seconds: f64) {
        self.shut_until = self.shut_until.max(now + seconds);
    }

    /// The same because the server said so. Returns by how much that prolongs it.
    pub(super) fn told_for(&mut self, now: f64, seconds: f64) -> f64 {
        let before = self.shut_until.max(now);
        self.told_until = self.told_until.max(now + seconds);
        self.shut_until = before.max(self.told_until);
        self.shut_until - before
    }

    /// The time that has passed shut is not made up for.
    pub(super) fn no_credit(&mut self) {
        self.due = self.due.max(self.shut_until);
    }

    /// A request that made up for a pause was refused: less of that from now on.
    pub(super) fn burst_refused(&mut self) {
        self.credit = (self.credit * 0.7).max(0.01);
        self.least_gap = (self.least_gap + 0.1).min(MOST_GAP);
    }

    /// Whether a request that goes now would make up for a pause. With timers so coarse that everything comes in
    /// bursts nothing could be learned from that.
    pub(super) fn makes_up(&self, now: f64, rate: f64) -> bool {
        now - self.last_sent < 0.8 / rate && self.late < 0.3 / rate
    }

    /// Whether bursts are already as small as they get.
    pub(super) fn is_even(&self) -> bool {
        self.least_gap >= 0.9
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The number of the latest request.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) const fn last_sent(&self) -> f64 {
        self.last_sent
    }

    pub(super) const fn shut_until(&self) -> f64 {
        self.shut_until
    }
}

/// A microsecond: what is due within it is due.
pub(super) const INSTANT: f64 = 1e-6;

/// Seconds. A page that was busy for so long catches up, and most limiters allow that much of a burst.
const CREDIT: f64 = 0.15;

/// Making up goes 1.4 times as fast as the pace: a queue of refused rows would otherwise leave as one burst.
const LEAST_GAP: f64 = 0.7;

/// Where a limiter allows no burst at all, nearly even is the most that is asked: exactly even could never make up.
const MOST_GAP: f64 = 0.95;

/// Timers are late by a little more than the last ones were.
const MAKE_UP: f64 = 1.2;

/// Seconds. Timers of a hidden page fire once a second; a limit by the second forgives about that much at once.
const MOST_MADE_UP: f64 = 1.2;

/// Two milliseconds: the least that timers are late.
const TICK: f64 = 0.002;

/// The same where timers are later than that: what leaves at once after a minute is refused. As much as answers that come
/// together need.
const MADE_UP_IF_COARSE: f64 = 0.05;

/// Lateness is forgotten by half in 35 wake-ups.
const LATE_FADES: f64 = 0.98;

/// A page hidden for long wakes once a minute. What is later was asleep.
const LATEST: f64 = 60.0;

/// Timers that are this late cannot keep a pace by themselves, as those of a hidden page that fire once a second just
/// can: answers have to.
const COARSE: f64 = 2.0;

/// Seconds ahead of the pace, half a minute of sleep at most: one request after the other is a pace of its own, and only
/// where latency is short is it faster than the limit. Refusals end it sooner.
const MOST_EARLY: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as soon as it may, with timers of that grain in seconds. Returns the times.
    fn times(gate: &mut Gate, rate: f64, grain: f64, count: usize) -> Vec<f64> {
        let mut now = 0.0;
        let mut times = Vec::new();
        while times.len() < count {
            gate.asked(now, true);
            let next = gate.next(now, rate);
            if next <= now + INSTANT {
                gate.pass(now, rate);
                gate.back();
                times.push(now);
            } else {
                gate.promise(Some(next));
                now = ((next / grain).ceil() * grain).max(now + grain);
            }
        }
        times
    }

    #[test]
    fn late_timers_cost_no_throughput_and_no_burst() {
        for (grain, rate, most_at_once) in
            [(0.001, 50.0, 1), (0.016, 50.0, 2), (0.004, 200.0, 2), (1.0, 10.0, 13)]
        {
            let times = times(&mut Gate::new(), rate, grain, 1_000);
            let measured = 899.0 / (times[999] - times[100]);
            assert!((measured / rate - 1.0).abs() < 0.02, "{grain}: {measured} of {rate}");
            let burst = times[100..].chunk_by(|one, other| one == other).map(<[f64]>::len).max();
            assert!(burst <= Some(most_at_once), "{grain}: {burst:?}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_at_the_least_distance_until_bursts_are_refused() {
        let mut gate = Gate::new();
        gate.pass(0.0, 10.0);
        gate.pass(1.0, 10.0);
        let next = gate.next(1.0, 10.0);
        gate.pass(next, 10.0);
        assert!((gate.next(next, 10.0) - next - 0.07).abs() < 1e-9, "{next}");
        assert!(!gate.is_even());
        (0..3).for_each(|_| gate.burst_refused());
        assert!(gate.is_even());
        assert!((gate.next(next, 10.0) - next - 0.095).abs() < 1e-9, "{next}");
    }

    #[test]
    fn with_timers_of_a_minute_an_answer_lets_the_next_one_go() {
        let mut gate = Gate::new();
        gate.pass(0.0, 10.0);
        gate.back();
        gate.promise(Some(0.1));
        gate.asked(60.0, true);
        gate.pass(60.0, 10.0);
        assert!(!gate.is_stranded(), "its answer will come");
        gate.back();
        assert!(gate.is_stranded());
        assert!(gate.next(60.05, 10.0) <= 60.05, "early, but the next timer comes in a minute");
    }

    #[test]
    fn what_the_server_said_holds_even_the_stranded() {
        let mut gate = Gate::new();
        gate.shut_for(0.0, 1.0);
        assert_eq!(gate.shut(0.5, false), Some(1.0));
        assert_eq!(gate.shut(0.5, true), None);
        assert!((gate.told_for(0.0, 3.0) - 2.0).abs() < 1e-9, "a second of it was shut already");
        assert_eq!(gate.shut(2.0, true), Some(3.0));
        assert_eq!(gate.shut(3.0, false), None);
    }
}
