//! What a refusal costs, and the door that a server shuts.
//!
//! A refusal may cost nothing (a token bucket), the rest of a window (a wall), or a ban. A door is shut when a request is
//! refused that went after the pacer had already slowed down. Then single requests find out when it opens, each after
//! a quarter of the time that it has been shut: so it is found open at most a quarter late.

use super::meter::{Mark, Meter};

#[derive(Debug)]
pub(super) struct Penalty {
    door: Door,
    /// Seconds lost per refusal, smoothed.
    cost: f64,
    /// Of the doors so far: the longest, and how many.
    longest: f64,
    walls: u32,
    /// Accepts between the last two doors.
    quota: f64,
    bans: bool,
    /// The latest pause between single requests, and the one after which the door was found open.
    pause: f64,
    opened_after: f64,
    /// When it was found open, or when everything began.
    opened: Mark,
    grace_until: f64,
}

#[derive(Clone, Copy, Debug)]
enum Door {
    Open,
    Shut { since: f64, rate: f64 },
}

/// A door that was found open again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reopened {
    /// How long it was shut.
    pub(super) shut_for: f64,
    /// The rate at which it was shut.
    pub(super) rate: f64,
    /// What was accepted from one opening to the next.
    pub(super) quota: f64,
    /// The same by the time from one opening to the next.
    pub(super) goodput: f64,
    /// Nothing like it was seen before.
    pub(super) first: bool,
}

impl Penalty {
    pub(super) const fn new(bans: bool, cost: f64) -> Self {
        Self {
            door: Door::Open,
            cost,
            longest: 0.0,
            walls: 0,
            quota: 0.0,
            bans,
            pause: 0.0,
            opened_after: 0.0,
            opened: Mark { at: 0.0, accepted: 0.0 },
            grace_until: f64::NEG_INFINITY,
        }
    }

    /// Whether only one request at a time may go, to find out.
    pub(super) const fn is_shut(&self) -> bool {
        matches!(self.door, Door::Shut { .. })
    }

    pub(super) const fn cost(&self) -> f64 {
        self.cost
    }

    /// The server punishes: it shuts for a time of its own, however little was sent since the last one ended.
    pub(super) const fn bans(&self) -> bool {
        self.bans
    }

    /// A refusal costs more than a window of a second.
    pub(super) fn is_dear(&self) -> bool {
        self.bans || self.cost > SHORT
    }

    /// One request after the other was refused, in the time that a window of a second takes.
    pub(super) fn asked_in_vain(&mut self) {
        self.cost = self.cost.max(2.0 * SHORT);
    }

    pub(super) const fn walls(&self) -> u32 {
        self.walls
    }

    /// Right after a door opened the server may still count what came before it was shut.
    pub(super) fn is_grace(&self, now: f64) -> bool {
        now < self.grace_until
    }

    /// Everything begins here: at the start, and after a sleep.
    pub(super) const fn begin(&mut self, mark: Mark) {
        self.opened = mark;
    }

    /// The pause after a single refusal.
    pub(super) fn paused(&mut self, seconds: f64, hinted: bool) {
        if seconds > 0.5 || self.cost < 1.0 {
            let weight = if hinted && seconds > self.cost { 0.7 } else { 0.3 };
            self.cost += weight * (seconds - self.cost);
        }
    }

    /// A timer was late: so long nobody asked whether the door is open.
    pub(super) fn overslept(&mut self, seconds: f64) {
        if let Door::Shut { since, .. } = &mut self.door {
            *since += seconds;
        }
    }

    /// Shuts the door; it stays as it is when it was shut already.
    pub(super) const fn shut(&mut self, since: f64, rate: f64) {
        if matches!(self.door, Door::Open) {
            self.door = Door::Shut { since, rate };
        }
    }

    /// Seconds until the next single request. `draw` spreads those of several clients.
    pub(super) fn pause(&mut self, now: f64, gap: f64, draw: f64) -> f64 {
        let Door::Shut { since, .. } = self.door else { return 0.0 };
        let pause = (PATIENCE * (now - since)).max(gap.clamp(0.05, 1.0)).min(MOST_PAUSE);
        let spread = pause * (0.9 + 0.2 * draw);
        self.pause = if self.bans { spread.max(self.opened_after) } else { spread };
        self.pause
    }

    /// A single request was accepted. Says so when the door was shut for long enough to learn from it.
    pub(super) fn open(&mut self, now: f64, meter: &Meter) -> Option<Reopened> {
        let Door::Shut { since, rate } = self.door else { return None };
        self.door = Door::Open;
        self.opened_after = self.pause;
        let shut_for = now - since;
        if shut_for <= SHORT {
            self.cost = (self.cost + 0.3 * (shut_for - self.cost)).max(self.longest / 2.0);
            return None;
        }
        let quota = meter.since(self.opened);
        let goodput = quota / (now - self.opened.at).max(SHORT);
        self.walls = self.walls.saturating_add(1);
        // Shut again although much more was accepted than the last time: no quota that ran out.
        self.bans = self.bans || self.walls > 1 && quota > 1.25 * self.quota;
        self.quota = quota;
        self.opened = meter.mark(now);
        self.grace_until = now + (GRACE * shut_for).max(1.0);
        self.cost = self.cost.max(shut_for);
        self.longest = self.longest.max(shut_for);
        Some(Reopened { shut_for, rate, quota, goodput, first: self.walls == 1 })
    }
}

/// Single requests come after a quarter of the time that the door has been shut: at most a quarter late, four to five
/// refusals each time that time grows threefold.
const PATIENCE: f64 = 0.25;

/// Two minutes, so that a limit by the day is not asked every minute, nor found open hours late.
const MOST_PAUSE: f64 = 120.0;

/// A door that was shut for less is noise: a round trip or two, or a window of one second.
const SHORT: f64 = 1.5;

/// For so much of the time that it was shut, the server may still count what came before.
const GRACE: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Shut for `wall` seconds after each of these numbers of accepts.
    fn after(quotas: &[u32], wall: f64) -> Penalty {
        let mut meter = Meter::new();
        let mut penalty = Penalty::new(false, 0.0);
        let mut now = 0.0;
        penalty.begin(meter.mark(now));
        for quota in quotas {
            for _ in 0..*quota {
                now += 0.1;
                meter.accept(now, 0.1);
            }
            penalty.shut(now, 10.0);
            now += wall;
            assert!(penalty.open(now, &meter).is_some());
        }
        penalty
    }

    #[test]
    fn a_quota_that_runs_out_is_no_ban_and_a_wall_after_far_more_is_one() {
        assert!(!after(&[100, 100, 110, 95], 8.0).bans());
        assert!(after(&[100, 300], 8.0).bans());
    }

    #[test]
    fn the_cost_is_the_longest_wall() {
        let penalty = after(&[10, 10], 12.0);
        assert!((penalty.cost() - 12.0).abs() < 1e-9);
        assert!(penalty.is_dear());
        assert_eq!(penalty.walls(), 2);
    }

    /// A short one only where next to nothing is known; one that the server told moves the cost further up.
    #[test]
    fn the_cost_follows_the_pauses() {
        for (cost, seconds, hinted, expected) in [
            (2.0, 4.0, false, 2.6),
            (2.0, 4.0, true, 3.4),
            (2.0, 1.0, true, 1.7),
            (2.0, 0.5, false, 2.0),
            (1.0, 0.5, false, 1.0),
            (0.5, 0.1, false, 0.38),
        ] {
            let mut penalty = Penalty::new(false, cost);
            penalty.paused(seconds, hinted);
            let found = penalty.cost();
            assert!((found - expected).abs() < 1e-9, "{seconds} after {cost}, hinted {hinted}: {found}");
        }
    }

    #[test]
    fn a_door_that_is_shut_shortly_teaches_nothing() {
        let meter = Meter::new();
        let mut penalty = Penalty::new(false, 0.0);
        penalty.shut(0.0, 10.0);
        assert!(penalty.is_shut());
        assert!(penalty.open(1.0, &meter).is_none());
        assert!(!penalty.is_shut() && !penalty.is_dear());
    }

    #[test]
    fn a_door_is_asked_after_a_quarter_of_the_time_and_every_two_minutes_at_least() {
        let mut penalty = Penalty::new(false, 0.0);
        assert!(penalty.pause(5.0, 0.1, 0.5).abs() < f64::EPSILON, "open");
        penalty.shut(0.0, 10.0);
        for (now, expected) in [(0.0, 0.1), (40.0, 10.0), (10_000.0, 120.0)] {
            let pause = penalty.pause(now, 0.1, 0.5);
            assert!((pause - expected).abs() < 1e-9, "{now}: {pause}");
        }
        penalty.overslept(30.0);
        assert!((penalty.pause(40.0, 0.1, 0.5) - 2.5).abs() < 1e-9, "a late timer is no wall");
    }
}
