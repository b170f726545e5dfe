//! The cooldown: one refusal holds every caller of a service, and lets them go one, two, four … afterwards.

use crate::decision::{Decision, Permit, Reason, Transition, Verdict};
use crate::time::{Instant, Span};

/// Holds callers after a refusal.
///
/// When the time is over, the one that waited longest goes alone; each answer lets two more go. The crowd that
/// gathered meanwhile would otherwise meet the limit together and be refused together.
#[derive(Debug)]
pub struct Cooldown {
    probe_timeout: Span,
    state: State,
    /// The latest permit that had been issued when the last cooldown began.
    begun: u64,
}

#[derive(Debug)]
enum State {
    Off,
    /// Nobody goes before `until`.
    Holding {
        until: Instant,
    },
    /// So many may go now; without an answer one more goes at `next`. Permits above `since` were let go here.
    Releasing {
        leave: u32,
        next: Instant,
        since: u64,
    },
    /// The server asked for more time than anybody wants to wait: nobody is held, everybody is rejected.
    Barred {
        until: Instant,
    },
}

impl Cooldown {
    /// No cooldown. `probe_timeout`: how long the one that went may take before the next one goes.
    pub const fn new(probe_timeout: Span) -> Self {
        Self { probe_timeout, state: State::Off, begun: 0 }
    }

    /// Another probe timeout; a cooldown that has begun goes on.
    pub const fn reconfigure(&mut self, probe_timeout: Span) {
        self.probe_timeout = probe_timeout;
    }

    /// May an attempt start? No effect.
    pub fn check(&self, now: Instant) -> Decision {
        match self.state {
            State::Holding { until } if now < until => {
                Decision::Wait { until: Some(until), reason: Reason::Cooldown }
            }
            State::Releasing { leave: 0, next, .. } if now < next => {
                Decision::Wait { until: None, reason: Reason::Cooldown }
            }
            State::Barred { until } if now < until => {
                Decision::Reject { reason: Reason::RetryAfterTooLong, retry_after: Some(until.since(now)) }
            }
            _ => Decision::Proceed,
        }
    }

    /// Notes that an attempt starts. Call it only after [`Cooldown::check`] said "go".
    pub fn take(&mut self, now: Instant, permit: &Permit) -> Option<Transition> {
        match self.state {
            State::Off => {}
            State::Barred { .. } => return self.end(),
            State::Holding { .. } => {
                let next = now.plus(self.probe_timeout);
                self.state = State::Releasing { leave: 0, next, since: permit.sequence().wrapping_sub(1) };
            }
            State::Releasing { leave, since, .. } => {
                let next = now.plus(self.probe_timeout);
                self.state = State::Releasing { leave: leave.saturating_sub(1), next, since };
            }
        }
        None
    }

    /// A refusal: everybody is held until then. `hinted`: the server said so itself. `issued` is the number of the
    /// latest permit issued so far.
    ///
    /// A refusal of an attempt that was sent before the last cooldown began belongs to the same event: it may
    /// prolong the cooldown while that holds, and begins a new one only with a hint.
    pub fn hold(&mut self, permit: &Permit, until: Instant, hinted: bool, issued: u64) -> Option<Transition> {
        let same_event = permit.sequence() <= self.begun;
        let until = match self.state {
            State::Holding { until: held } if same_event => until.max(held),
            State::Barred { until: barred } if same_event && until <= barred => return None,
            _ if same_event && !hinted => return None,
            _ => until,
        };
        self.enter(State::Holding { until }, issued)
    }

    /// Holds everybody without a refusal of this core, as after a restart that must not lose a cooldown.
    pub fn restore(&mut self, until: Instant, issued: u64) -> Option<Transition> {
        self.enter(State::Holding { until }, issued)
    }

    /// Rejects everybody until then.
    pub fn bar(&mut self, now: Instant, retry_after: Span, issued: u64) -> Option<Transition> {
        let until = now.plus(retry_after.min(MAX_BAR));
        // Whoever is refused while everybody is barred was sent before.
        let until = if let State::Barred { until: barred } = self.state { until.max(barred) } else { until };
        self.enter(State::Barred { until }, issued)
    }

    /// Takes in how an attempt ended that was no refusal.
    pub fn record(&mut self, permit: &Permit, verdict: Verdict) {
        if let State::Releasing { leave, since, .. } = &mut self.state {
            if permit.sequence() <= *since {
                return;
            }
            let more = match verdict {
                Verdict::Success | Verdict::Permanent | Verdict::Transient { answered: true, .. } => 2,
                // Without an answer the place is given back: the next one finds out.
                Verdict::Transient { .. } | Verdict::Ignored | Verdict::Throttled { .. } => 1,
            };
            *leave = leave.saturating_add(more);
        }
    }

    /// Ends the cooldown once somebody may go and nobody waits.
    pub fn settle(&mut self) -> Option<Transition> {
        match self.state {
            State::Releasing { leave: 1.., .. } => self.end(),
            _ => None,
        }
    }

    /// Ends it at once.
    pub fn end(&mut self) -> Option<Transition> {
        let was_on = !matches!(self.state, State::Off);
        self.state = State::Off;
        was_on.then_some(Transition::CooldownEnded)
    }

    /// Whether there is none, and a refusal of an attempt with this permit would begin one.
    pub fn is_calm(&self, permit: &Permit) -> bool {
        matches!(self.state, State::Off) && permit.sequence() > self.begun
    }

    /// Whether everybody is rejected.
    pub fn is_barred(&self, now: Instant) -> bool {
        matches!(self.state, State::Barred { until } if now < until)
    }

    /// When the answer of [`Cooldown::check`] changes by the passing of time alone.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Holding { until } | State::Barred { until } if now < until => Some(until),
            State::Releasing { leave: 0, next, .. } if now < next => Some(next),
            _ => None,
        }
    }

    fn enter(&mut self, state: State, issued: u64) -> Option<Transition> {
        let before = self.until();
        self.begun = issued;
        self.state = state;
        // The other refusals of one event say nothing new.
        let until = self.until().filter(|_| self.until() != before)?;
        Some(Transition::CooldownBegan { until })
    }

    const fn until(&self) -> Option<Instant> {
        match self.state {
            State::Holding { until } | State::Barred { until } => Some(until),
            State::Off | State::Releasing { .. } => None,
        }
    }
}

/// A hint of a day is more often a mistake than a fact: after an hour somebody may look.
const MAX_BAR: Span = Span::from_ms(3_600_000);

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that has only this room, with callers that all want to go.
    struct World {
        cooldown: Cooldown,
        issued: u64,
    }

    impl World {
        fn new() -> Self {
            Self { cooldown: Cooldown::new(Span::from_ms(30_000)), issued: 0 }
        }

        fn go(&mut self, ms: u64) -> Option<Permit> {
            (self.cooldown.check(at(ms)) == Decision::Proceed).then(|| {
                self.issued += 1;
                let permit = Permit::new(self.issued);
                self.cooldown.take(at(ms), &permit);
                permit
            })
        }

        /// As many as may go at once, 100 at most.
        fn go_all(&mut self, ms: u64) -> Vec<Permit> {
            (0..100).map_while(|_| self.go(ms)).collect()
        }

        fn hold(&mut self, permit: &Permit, until: u64, hinted: bool) -> Option<Transition> {
            self.cooldown.hold(permit, at(until), hinted, self.issued)
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    #[test]
    fn held_callers_leave_one_two_four() {
        let mut world = World::new();
        let refused = world.go(0).unwrap();
        world.hold(&refused, 1_000, true);
        assert_eq!(
            world.cooldown.check(at(999)),
            Decision::Wait { until: Some(at(1_000)), reason: Reason::Cooldown }
        );
        let mut out = world.go_all(1_000);
        let mut left = vec![out.len()];
        for round in 1..5 {
            for permit in out {
                world.cooldown.record(&permit, Verdict::Success);
            }
            out = world.go_all(1_000 + round);
            left.push(out.len());
        }
        assert_eq!(left, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn without_an_answer_the_next_one_goes_after_the_probe_timeout() {
        let mut world = World::new();
        let refused = world.go(0).unwrap();
        world.hold(&refused, 1_000, false);
        assert_eq!(world.go_all(1_000).len(), 1);
        assert_eq!(world.go_all(30_999).len(), 0);
        assert_eq!(world.cooldown.poll_timeout(at(2_000)), Some(at(31_000)));
        assert_eq!(world.go_all(31_000).len(), 1);
    }

    #[test]
    fn one_that_was_cancelled_gives_its_place_to_one_other() {
        let mut world = World::new();
        let refused = world.go(0).unwrap();
        world.hold(&refused, 1_000, false);
        let probe = world.go(1_000).unwrap();
        world.cooldown.record(&probe, Verdict::Ignored);
        assert_eq!(world.go_all(1_001).len(), 1);
    }

    #[test]
    fn a_refusal_while_they_leave_begins_a_new_cooldown() {
        let mut world = World::new();
        let refused = world.go(0).unwrap();
        world.hold(&refused, 1_000, false);
        let probe = world.go(1_000).unwrap();
        assert_eq!(world.hold(&probe, 1_200, false), Some(Transition::CooldownBegan { until: at(1_200) }));
        assert_eq!(world.go_all(1_199).len(), 0);
        assert_eq!(world.go_all(1_200).len(), 1);
    }

    #[test]
    fn refusals_of_the_same_event_prolong_it_while_it_holds_and_do_not_begin_another() {
        let mut world = World::new();
        let [first, second, third, fourth] = [0; 4].map(|_| world.go(0).unwrap());
        world.hold(&first, 1_000, false);
        world.hold(&second, 1_300, false);
        assert!(world.go(1_299).is_none());
        let probe = world.go(1_300).unwrap();
        world.cooldown.record(&probe, Verdict::Success);
        assert_eq!(world.hold(&third, 9_000, false), None, "slow news of the same event");
        assert!(world.go(1_301).is_some());
        assert!(world.hold(&fourth, 9_000, true).is_some(), "but what the server says counts");
    }

    #[test]
    fn it_ends_when_somebody_may_go_and_nobody_waits() {
        let mut world = World::new();
        let refused = world.go(0).unwrap();
        world.hold(&refused, 1_000, false);
        let probe = world.go(1_000).unwrap();
        assert_eq!(world.cooldown.settle(), None);
        world.cooldown.record(&probe, Verdict::Permanent);
        assert_eq!(world.cooldown.settle(), Some(Transition::CooldownEnded));
        assert_eq!(world.go_all(1_001).len(), 100);
    }

    #[test]
    fn a_bar_rejects_everybody_for_an_hour_at_most() {
        let mut world = World::new();
        world.cooldown.bar(at(0), Span::from_ms(86_400_000), 0);
        assert!(world.cooldown.is_barred(at(3_599_999)));
        let rejected =
            Decision::Reject { reason: Reason::RetryAfterTooLong, retry_after: Some(Span::from_ms(1)) };
        assert_eq!(world.cooldown.check(at(3_599_999)), rejected);
        assert_eq!(world.go_all(3_600_000).len(), 100);
    }
}
