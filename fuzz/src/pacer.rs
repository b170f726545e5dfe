//! The pacer under any sequence of asking, sending and answers, with clocks that jump: it keeps to what it was told never to
//! exceed, never makes anybody ask for ever, and lets requests go again in the end.

use arbitrary::{Arbitrary, Unstructured};
use tidegate::classify::Advertised;
use tidegate::pacer::{Decision, Known, Outcome, Pacer, PacerConfig, Permit};
use tidegate::time::{Instant, Span};

use super::tell;

/// One history of this target.
pub fn run(data: &[u8]) {
    let Ok(history) = History::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut model = Model::new(&history);
    tell(|| format!("{:?} {:?} {:?}", history.max_rate, history.max_in_flight, history.known));
    for op in history.ops.iter().take(MOST_OPS) {
        tell(|| format!("{} {op:?}", model.now));
        model.happens(op);
        model.check_snapshot();
    }
    model.comes_to_an_end();
}

#[derive(Arbitrary, Debug)]
struct History {
    seed: u64,
    max_rate: Option<u16>,
    max_in_flight: u8,
    known: Option<(u16, Option<u8>, bool, u8)>,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    /// Asks, and sends if it may.
    Ask {
        rows: u8,
    },
    /// The same, so many times, always when it was told to; nothing is answered meanwhile.
    AskAsTold {
        times: u8,
        late: u8,
    },
    Answer {
        which: u8,
        outcome: Told,
        latency: u16,
        said: Option<Said>,
    },
    Pass(u16),
    Jump {
        back: bool,
        ms: u32,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Told {
    Accepted,
    Throttled(Option<u32>),
    Lost,
    Other,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Said {
    quota: u32,
    window: u16,
    remaining: u32,
    reset: u32,
}

impl Said {
    /// Within what the parser of headers tells, which the target `headers` checks.
    fn advertised(self) -> Advertised {
        let window = Span::from_ms((u64::from(self.window) % 600 + 1) * 1_000);
        Advertised {
            quota: self.quota.max(1),
            window,
            remaining: self.remaining,
            reset: Span::from_ms(self.reset.into()).min(window),
        }
    }
}

struct Model {
    pacer: Pacer,
    now: u64,
    /// The latest time that the pacer was told: its own clock.
    told: u64,
    max_in_flight: u32,
    max_rate: f64,
    out: Vec<Permit>,
    /// Whether somebody asked so late that a timer was no help.
    was_stranded: bool,
    /// When requests went, by a clock that never goes back.
    sent: Vec<u64>,
}

impl Model {
    fn new(history: &History) -> Self {
        let max_rate = history.max_rate.map(|rate| f64::from(rate) / 100.0 + 0.01);
        let known = history.known.map(|(rate, cap, bans, cost)| Known {
            rate: f64::from(rate) / 100.0,
            cap: cap.filter(|cap| *cap > 0).map(u32::from),
            bans,
            cost: f64::from(cost),
        });
        let max_in_flight = u32::from(history.max_in_flight % 16);
        Self {
            pacer: Pacer::new(PacerConfig { max_rate, max_in_flight, known }, history.seed),
            now: BEGINNING,
            told: 0,
            max_in_flight: max_in_flight.max(1),
            max_rate: max_rate.unwrap_or(f64::INFINITY),
            out: Vec::new(),
            was_stranded: false,
            sent: Vec::new(),
        }
    }

    fn happens(&mut self, op: &Op) {
        match op {
            Op::Ask { rows } => {
                self.ask(u32::from(*rows));
            }
            Op::AskAsTold { times, late } => self.ask_as_told(*times, u64::from(*late)),
            Op::Answer { which, outcome, latency, said } => self.answer(*which, *outcome, *latency, *said),
            Op::Pass(ms) => self.now += u64::from(*ms),
            Op::Jump { back: true, ms } => self.now = self.now.saturating_sub(u64::from(*ms)),
            Op::Jump { back: false, ms } => self.now += u64::from(*ms),
        }
    }

    /// Sends a request if one may go.
    fn ask(&mut self, rows: u32) -> Decision {
        self.told = self.told.max(self.now);
        let promised = self.pacer.poll_timeout().map_or(u64::MAX, Instant::ticks);
        self.was_stranded |= self.told.saturating_sub(promised) >= COARSE_MS;
        let decision = self.pacer.check(self.now());
        assert_eq!(self.pacer.check(self.now()), decision, "the same question has the same answer");
        tell(|| format!("  {} {decision:?} {:?}", self.now, self.pacer.snapshot()));
        if let Decision::Wait { until, .. } = decision {
            assert!(until.is_none_or(|until| until > self.now()), "it is told to ask at once, for ever");
            assert!(until.is_some() || !self.out.is_empty(), "it waits for an answer that nobody owes");
            return decision;
        }
        self.out.push(self.pacer.take(self.now(), rows));
        assert!(self.out.len() <= self.max_in_flight as usize, "more in flight than there may be");
        self.sent.push(self.told);
        self.check_rate();
        decision
    }

    fn ask_as_told(&mut self, times: u8, late: u64) {
        for _ in 0..times {
            match self.ask(1) {
                Decision::Proceed => {}
                Decision::Wait { until: Some(until), .. } => self.now = until.ticks() + late,
                Decision::Wait { until: None, .. } => return,
            }
        }
    }

    fn answer(&mut self, which: u8, outcome: Told, latency: u16, said: Option<Said>) {
        if self.out.is_empty() {
            return;
        }
        let permit = self.out.swap_remove(usize::from(which) % self.out.len());
        self.told = self.told.max(self.now);
        let outcome = match outcome {
            Told::Accepted => Outcome::Accepted,
            Told::Throttled(hint) => Outcome::Throttled { hint: hint.map(|ms| Span::from_ms(ms.into())) },
            Told::Lost => Outcome::Lost,
            Told::Other => Outcome::Other,
        };
        let said = said.map(Said::advertised);
        self.pacer.record(self.now(), permit, outcome, Span::from_ms(latency.into()), said);
    }

    // ---- The rules

    /// What was never to be exceeded, over the last requests. A pause may be made up for; and where timers come so late that
    /// only answers keep a pace, requests go one after the other, ahead of it by half a minute at most.
    fn check_rate(&self) {
        let ahead = if self.was_stranded { MOST_EARLY_S } else { MADE_UP_S };
        for count in [5, 20, 100, 400] {
            let Some(first) = self.sent.len().checked_sub(count) else { continue };
            let seconds = (self.told - self.sent[first]) as f64 / 1_000.0;
            let allowed = self.max_rate * (seconds + ahead) + 2.0;
            assert!(
                count as f64 <= allowed,
                "{count} requests in {seconds} s, at most {} a second",
                self.max_rate
            );
        }
    }

    fn check_snapshot(&self) {
        let snapshot = self.pacer.snapshot();
        assert!(snapshot.rate > 0.0 && snapshot.rate.is_finite(), "a rate of {}", snapshot.rate);
        assert!(snapshot.rows_per_second.is_finite() && snapshot.rows_per_second >= 0.0);
        assert_eq!(snapshot.in_flight as usize, self.out.len());
        assert!(snapshot.cap.is_none_or(|cap| cap > 0), "a cap of nothing");
        if let Some(Known { rate, cost, cap, .. }) = self.pacer.learned() {
            assert!(rate > 0.0 && rate.is_finite() && cost.is_finite() && cost >= 0.0, "{rate} at {cost}");
            assert!(cap.is_none_or(|cap| cap > 0));
        }
    }

    /// All that is out is answered and everything is accepted from here on: requests go again.
    fn comes_to_an_end(&mut self) {
        self.now = self.now.max(self.told);
        for went in 0..5 {
            while !self.out.is_empty() {
                self.answer(0, Told::Accepted, 100, None);
            }
            let asked = (0..MOST_ASKED).find(|_| match self.ask(1) {
                Decision::Wait { until: Some(until), .. } => {
                    self.now = until.ticks();
                    false
                }
                Decision::Wait { until: None, .. } => false,
                Decision::Proceed => true,
            });
            assert!(asked.is_some(), "after {went} requests nothing goes any more");
        }
        self.check_snapshot();
    }

    fn now(&self) -> Instant {
        Instant::from_ms(self.now as f64)
    }
}

/// Milliseconds: so that there is room before it for a clock that goes back.
const BEGINNING: u64 = 10_000_000_000;

/// A longer history says nothing that two shorter ones do not.
const MOST_OPS: usize = 600;

/// How often one may be told to wait before a single request: it asks once a second where a server has told of one in ten
/// minutes, and then doubts that.
const MOST_ASKED: usize = 2_000;

/// Seconds of the pace that late timers may leave to be made up for.
const MADE_UP_S: f64 = 1.5;

/// Milliseconds: timers that are this late are no help.
const COARSE_MS: u64 = 2_000;

/// Seconds ahead of the pace, and what may be made up for.
const MOST_EARLY_S: f64 = 32.0;
