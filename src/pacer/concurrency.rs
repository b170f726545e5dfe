//! Tells a cap on concurrency from a limit on rate, and looks for the cap.
//!
//! Under a cap on concurrency the requests that are refused are those that met many others in flight, and those that
//! met few never are. Under a rate limit it does not matter how many they met. So accepts and refusals are counted for
//! each level: the number in flight when the request went, itself included.

/// What a refusal was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// A request that went above the known cap to see whether it still holds.
    Probe,
    /// The level at which it went: the cap has been found by it.
    Level,
    /// Something else: the rate.
    Rate,
}

#[derive(Debug)]
pub(super) struct Concurrency {
    /// By level; the first is unused.
    levels: Vec<Level>,
    cap: Option<Cap>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    accepted: f32,
    refused: f32,
}

/// A known cap and how it is doubted.
#[derive(Debug)]
struct Cap {
    cap: u32,
    /// Refusals within the cap.
    contradicted: u32,
    /// Accepts right at the cap since the last probe, and how many there have to be before the next one.
    calm: u32,
    patience: u32,
    /// How many more may go above the cap, and how many of those were accepted.
    probes: u32,
    confirmed: u32,
}

impl Concurrency {
    pub(super) fn new(cap: Option<u32>) -> Self {
        Self { levels: Vec::new(), cap: cap.map(|cap| Cap::new(cap, PATIENCE)) }
    }

    /// The known cap.
    pub(super) fn cap(&self) -> Option<u32> {
        self.cap.as_ref().map(|cap| cap.cap)
    }

    /// How many may be in flight: one above the cap while it is being probed.
    pub(super) fn bound(&self) -> u32 {
        self.cap.as_ref().map_or(u32::MAX, |cap| cap.cap.saturating_add(u32::from(cap.probes > 0)))
    }

    /// A request went as the `level`th in flight.
    pub(super) fn sent(&mut self, level: u32) {
        if let Some(cap) = self.cap.as_mut().filter(|cap| level > cap.cap) {
            cap.probes = cap.probes.saturating_sub(1);
        }
    }

    /// It was accepted.
    pub(super) fn accepted(&mut self, level: u32) {
        if let Some(at) = self.level(level) {
            at.accepted += 1.0;
        }
        if let Some(cap) = &mut self.cap {
            cap.accepted(level);
        }
    }

    /// It was refused, as the first of its event. `dear`: a refusal costs the server's patience, so probe rarely.
    pub(super) fn refused(&mut self, level: u32, dear: bool) -> Blame {
        if let Some(cap) = self.cap.as_mut().filter(|cap| level > cap.cap) {
            cap.probe_refused();
            return Blame::Probe;
        }
        for at in &mut self.levels {
            at.accepted *= MEMORY;
            at.refused *= MEMORY;
        }
        if let Some(at) = self.level(level) {
            at.refused += 1.0;
        }
        if let Some(cap) = &mut self.cap {
            cap.contradicted = cap.contradicted.saturating_add(1);
            if cap.contradicted >= CONTRADICTIONS {
                self.cap = None;
            }
            return Blame::Rate;
        }
        self.cap = self.find().map(|cap| Cap::new(cap, if dear { PATIENCE_IF_DEAR } else { PATIENCE }));
        if self.cap.is_some() { Blame::Level } else { Blame::Rate }
    }

    /// The highest level below the first that is refused often, if those below it are as good as never refused.
    fn find(&self) -> Option<u32> {
        let mut below = Level::default();
        for (number, at) in (0_u32..).zip(&self.levels) {
            let often = at.refused >= REFUSALS && at.refused >= REFUSED_SHARE * (at.accepted + at.refused);
            if often
                && below.accepted >= ACCEPTS_BELOW
                && below.refused <= 0.2 + REFUSED_BELOW * below.accepted
            {
                return Some(number.saturating_sub(1));
            }
            below.accepted += at.accepted;
            below.refused += at.refused;
        }
        None
    }

    fn level(&mut self, level: u32) -> Option<&mut Level> {
        let index = usize::try_from(level).unwrap_or(usize::MAX).min(MOST_LEVELS);
        if self.levels.len() <= index {
            self.levels.resize(index.saturating_add(1), Level::default());
        }
        self.levels.get_mut(index)
    }
}

impl Cap {
    const fn new(cap: u32, patience: u32) -> Self {
        Self { cap, contradicted: 0, calm: 0, patience, probes: 0, confirmed: 0 }
    }

    fn accepted(&mut self, level: u32) {
        if level > self.cap {
            self.confirmed = self.confirmed.saturating_add(1);
            if self.confirmed >= PROBES {
                self.cap = self.cap.saturating_add(1);
                self.patience = PATIENCE / 2;
                self.rest();
            }
        } else if level == self.cap && self.probes == 0 {
            self.calm = self.calm.saturating_add(1);
            if self.calm >= self.patience {
                self.rest();
                self.probes = PROBES;
            }
        }
    }

    fn probe_refused(&mut self) {
        self.patience = self.patience.saturating_mul(2).min(MOST_PATIENCE);
        self.rest();
    }

    const fn rest(&mut self) {
        self.calm = 0;
        self.probes = 0;
        self.confirmed = 0;
    }
}

/// Levels are forgotten by a tenth per event of refusals, not by time: without refusals nothing is learned.
const MEMORY: f32 = 0.9;

/// Two events, the older one slightly faded: one may be chance.
const REFUSALS: f32 = 1.7;

/// One event stands for several refusals, so an eighth of the requests at a level is often.
const REFUSED_SHARE: f32 = 0.12;

/// Fewer accepts below say nothing.
const ACCEPTS_BELOW: f32 = 8.0;

/// Below a true cap next to nothing is refused; under a rate limit the levels below get their share.
const REFUSED_BELOW: f32 = 0.004;

/// Two refusals within the cap: it was no cap, or it has moved.
const CONTRADICTIONS: u32 = 2;

/// So many of a probe have to be accepted: others come and go, and a place is free by chance about half of the time.
const PROBES: u32 = 16;

/// Accepts at the cap before the first probe above it, twice as many after each that was refused.
const PATIENCE: u32 = 20;

/// The same where a refusal costs half a second or more.
const PATIENCE_IF_DEAR: u32 = 150;

/// So that a cap that was raised is noticed some day.
const MOST_PATIENCE: u32 = 5_000;

/// No browser has more streams to one server.
const MOST_LEVELS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn under_cap(cap: u32, rounds: u32) -> (Concurrency, u32) {
        let mut concurrency = Concurrency::new(None);
        for round in 1..=rounds {
            for level in 1..=cap {
                concurrency.accepted(level);
                concurrency.accepted(level);
            }
            if concurrency.refused(cap + 1, false) == Blame::Level {
                return (concurrency, round);
            }
        }
        (concurrency, 0)
    }

    #[test]
    fn refusals_at_one_level_only_are_a_cap() {
        let (concurrency, found_in) = under_cap(5, 10);
        assert_eq!(concurrency.cap(), Some(5));
        assert!((2..=3).contains(&found_in), "{found_in}");
        assert_eq!(concurrency.bound(), 5);
    }

    #[test]
    fn refusals_at_every_level_are_a_rate_limit() {
        let mut concurrency = Concurrency::new(None);
        for _ in 0..20 {
            for level in 1..=6 {
                for _ in 0..10 {
                    concurrency.accepted(level);
                }
                assert_eq!(concurrency.refused(level, false), Blame::Rate);
            }
        }
        assert_eq!(concurrency.cap(), None);
    }

    /// Of the fourteen accepts eleven are left: enough to refuse often.
    #[test]
    fn accepts_at_a_level_fade_with_each_refusal() {
        let mut concurrency = Concurrency::new(None);
        for level in 1..=5 {
            (0..20).for_each(|_| concurrency.accepted(level));
        }
        (0..14).for_each(|_| concurrency.accepted(6));
        assert_eq!([(); 2].map(|()| concurrency.refused(6, false)), [Blame::Rate, Blame::Level]);
        assert_eq!(concurrency.cap(), Some(5));
    }

    #[test]
    fn a_cap_is_probed_after_a_calm_and_less_often_after_each_refusal() {
        let mut concurrency = Concurrency::new(Some(5));
        let mut calm = |until: u32| {
            (1..).find(|_| {
                concurrency.accepted(5);
                if concurrency.bound() < until {
                    return false;
                }
                concurrency.sent(6);
                assert_eq!(concurrency.refused(6, false), Blame::Probe);
                true
            })
        };
        assert_eq!([calm(6), calm(6), calm(6)], [Some(20), Some(40), Some(80)]);
    }

    #[test]
    fn a_probe_that_is_accepted_raises_the_cap_and_two_refusals_within_it_end_it() {
        let mut concurrency = Concurrency::new(Some(5));
        for _ in 0..PATIENCE {
            concurrency.accepted(5);
        }
        for _ in 0..PROBES {
            concurrency.sent(6);
            concurrency.accepted(6);
        }
        assert_eq!(concurrency.cap(), Some(6));
        concurrency.refused(3, false);
        concurrency.refused(3, false);
        assert_eq!((concurrency.cap(), concurrency.bound()), (None, u32::MAX));
    }
}
