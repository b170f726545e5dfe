//! An import under every kind of answer, beside a model that knows where each row is: a row is in one request at a time, ends
//! in exactly one outcome, and is never sent again where that might double it.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use tidegate::bulk::{
    BatchName, BatchSize, Job, JobConfig, Next, Outcome, SEGMENT_BYTES, SEGMENT_ROWS, Stop, StopWhen,
};
use tidegate::pacer::Known;
use tidegate::time::{Instant, Span};

use super::tell;

/// One history of this target.
pub fn run(data: &[u8]) {
    let Ok(history) = History::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut model = Model::new(&history);
    tell(|| format!("{:?}", model.config));
    for op in history.ops.iter().take(MOST_OPS) {
        tell(|| format!("{} {op:?}", model.now));
        model.happens(op);
        model.check_counts();
    }
    model.comes_to_an_end();
}

#[derive(Arbitrary, Debug)]
struct History {
    seed: u64,
    idempotent: bool,
    verifies: bool,
    adaptive: bool,
    batch: u8,
    max_in_flight: u8,
    max_rate: Option<u16>,
    stop_when: Option<(u8, u8)>,
    known: Option<(u16, Option<u8>, bool, u8)>,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Add(u8),
    Close,
    Next,
    /// Does what it is told, so many times, and waits as long as it is told to.
    Go(u8),
    /// How the oldest requests end, or one of the others.
    End {
        which: u8,
        ending: Ending,
    },
    Decide {
        row: u8,
        outcome: u8,
    },
    Pause,
    Resume,
    Hold(Option<u16>),
    Release,
    Stop(u8),
    Pass(u16),
    Jump {
        back: bool,
        ms: u32,
    },
    /// The process ends: another one takes up what the journal has, as it was written last.
    Crash,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ending {
    /// Each row gets the outcome of a bit pattern.
    Answered {
        latency: u16,
        outcomes: u16,
    },
    Throttled(Option<u16>),
    Lost {
        maybe: bool,
    },
    Failed {
        maybe: bool,
    },
    Refused,
    TooLarge,
}

struct Model {
    job: Job,
    config: JobConfig,
    seed: u64,
    now: u64,
    latest: u64,
    rows: Vec<Row>,
    out: BTreeMap<BatchName, Request>,
    journal: BTreeMap<u32, [u8; SEGMENT_BYTES]>,
    is_closed: bool,
}

/// What the world knows of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The request that it is in.
    batch: Option<BatchName>,
    /// The server may have written it, and nobody has said that it has not.
    maybe_there: bool,
    ended: Option<Outcome>,
}

#[derive(Debug)]
struct Request {
    rows: Vec<u32>,
    is_lookup: bool,
}

impl Model {
    fn new(history: &History) -> Self {
        let size = u32::from(history.batch % 64) + 1;
        let config = JobConfig {
            idempotent: history.idempotent,
            verifies: history.verifies,
            batch: if history.adaptive { BatchSize::Adaptive { max: size } } else { BatchSize::Fixed(size) },
            max_in_flight: u32::from(history.max_in_flight % 16) + 1,
            max_rate: history.max_rate.map(|rate| f64::from(rate) + 0.5),
            stop_when: history.stop_when.map(|(ratio, after)| StopWhen {
                failed_ratio: f64::from(ratio) / 255.0,
                after: u32::from(after),
            }),
            known: history.known.map(|(rate, cap, bans, cost)| Known {
                rate: f64::from(rate) / 100.0,
                cap: cap.filter(|cap| *cap > 0).map(u32::from),
                bans,
                cost: f64::from(cost),
            }),
        };
        Self {
            job: Job::new(config, history.seed),
            config,
            seed: history.seed,
            now: BEGINNING,
            latest: BEGINNING,
            rows: Vec::new(),
            out: BTreeMap::new(),
            journal: BTreeMap::new(),
            is_closed: false,
        }
    }

    fn happens(&mut self, op: &Op) {
        match op {
            Op::Add(count) => self.add(u32::from(*count)),
            Op::Close => self.close(),
            Op::Next => {
                self.next();
            }
            Op::Go(times) => self.go(*times),
            Op::End { which, ending } => self.end(*which, *ending),
            Op::Decide { row, outcome } => self.decide(u32::from(*row), *outcome),
            Op::Pause => self.job.pause(),
            Op::Resume => self.job.resume(),
            Op::Hold(ms) => self.job.hold(ms.map(|ms| at(self.now + u64::from(ms)))),
            Op::Release => self.job.release(),
            Op::Stop(reason) => self.job.stop(stop_of(*reason)),
            Op::Pass(ms) => self.set(self.now + u64::from(*ms)),
            Op::Jump { back: true, ms } => self.set(self.now.saturating_sub(u64::from(*ms))),
            Op::Jump { back: false, ms } => self.set(self.now + u64::from(*ms)),
            Op::Crash => self.crash(),
        }
        self.note_outcomes();
    }

    fn set(&mut self, now: u64) {
        self.now = now;
        self.latest = self.latest.max(now);
    }

    fn add(&mut self, count: u32) {
        if self.is_closed || self.rows.len() > MOST_ROWS {
            return;
        }
        let wanted = self.job.wants();
        assert!(wanted <= 2 * self.size(), "it reads {wanted} rows ahead");
        self.rows.extend((0..count).map(|_| Row::default()));
        self.job.add(count);
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.job.close();
    }

    fn next(&mut self) -> Next {
        let next = self.job.next(at(self.now));
        match next {
            Next::Send { batch } => self.departs(batch, false),
            Next::Verify { batch, row } => {
                self.departs(batch, true);
                assert_eq!(self.job.rows(batch), [row], "one row is looked up");
            }
            Next::Wait { until, .. } => {
                assert!(
                    until.is_none_or(|until| until > at(self.now)),
                    "it is told to ask at once, for ever"
                );
            }
            Next::Hungry { until } => {
                assert!(!self.is_closed && self.job.stopped().is_none(), "nothing comes any more");
                assert!(
                    until.is_none_or(|until| until > at(self.now)),
                    "it is told to ask at once, for ever"
                );
            }
            Next::Done => {
                assert!(self.is_closed || self.job.stopped().is_some());
                assert_eq!(self.job.counts().undecided(), 0);
            }
        }
        next
    }

    fn go(&mut self, times: u8) {
        for _ in 0..times {
            if let Next::Wait { until: Some(until), .. } = self.next() {
                self.set(until.ticks().max(self.now));
            }
        }
    }

    fn departs(&mut self, batch: BatchName, is_lookup: bool) {
        let rows = self.job.rows(batch).to_vec();
        assert!(!rows.is_empty() && rows.len() <= self.size() as usize, "{} rows at once", rows.len());
        assert!(rows.is_sorted_by(|one, other| one < other), "rows go in their order: {rows:?}");
        assert!(self.job.stopped().is_none(), "it goes although the import has stopped");
        for &number in &rows {
            let row = &mut self.rows[number as usize];
            assert_eq!(row.batch.replace(batch), None, "row {number} is in two requests");
            assert_eq!(row.ended, None, "row {number} has its outcome and goes");
            let harmless = self.config.idempotent || is_lookup || !row.maybe_there;
            assert!(harmless, "row {number} may be there, and is sent again");
        }
        assert!(self.out.len() < self.config.max_in_flight as usize, "more in flight than there may be");
        let request = Request { rows, is_lookup };
        assert!(self.out.insert(batch, request).is_none(), "two requests are called {batch}");
    }

    fn end(&mut self, which: u8, ending: Ending) {
        let name = self.out.keys().nth(usize::from(which) % self.out.len().max(1)).copied();
        let Some((batch, request)) = name.and_then(|name| self.out.remove_entry(&name)) else { return };
        let now = at(self.now);
        // Nobody answers with "too large" or "refused" who may have written it.
        for &row in &request.rows {
            let row = &mut self.rows[row as usize];
            row.batch = None;
            row.maybe_there |= !request.is_lookup
                && matches!(ending, Ending::Lost { maybe: true } | Ending::Failed { maybe: true });
        }
        match ending {
            Ending::Answered { latency, outcomes } => {
                self.job.answered(now, batch, Span::from_ms(latency.into()), None);
                for (index, row) in request.rows.iter().enumerate() {
                    self.settle(*row, request.is_lookup, outcomes.rotate_left(index as u32 * 3) % 8);
                }
            }
            Ending::Throttled(hint) => {
                self.job.throttled(now, batch, hint.map(|ms| Span::from_ms(ms.into())), None);
            }
            Ending::Lost { maybe } => self.job.lost(now, batch, maybe),
            Ending::Failed { maybe } => self.job.failed(now, batch, maybe),
            Ending::Refused => self.job.refused(now, batch),
            Ending::TooLarge => self.job.too_large(now, batch),
        }
    }

    fn settle(&mut self, row: u32, is_lookup: bool, outcome: u16) {
        let now = at(self.now);
        match outcome {
            0..=3 => self.job.settle(now, row, Outcome::Imported),
            4 => self.job.settle(now, row, Outcome::Duplicate),
            5 => self.job.settle(now, row, Outcome::Ignored),
            6 if is_lookup => {
                self.rows[row as usize].maybe_there = false;
                self.job.missing(now, row);
            }
            _ => self.job.settle(now, row, Outcome::Failed),
        }
    }

    fn decide(&mut self, row: u32, outcome: u8) {
        let outcomes = [Outcome::Imported, Outcome::Duplicate, Outcome::Failed, Outcome::Skipped];
        let outcome = outcomes[usize::from(outcome) % outcomes.len()];
        let before = self.job.outcome(row);
        let is_free = self.job.decide(row, outcome);
        let is_out = self.rows.get(row as usize).is_none_or(|row| row.batch.is_some());
        assert!(!(is_out && is_free), "row {row} is decided on its way");
        if is_free {
            assert_eq!(self.job.outcome(row), Some(outcome));
            self.rows[row as usize].ended = Some(outcome);
        } else {
            assert_eq!(self.job.outcome(row), before, "row {row} keeps what it has");
        }
    }

    /// The shell writes the journal after each step, so that what is lost is what was in flight.
    fn crash(&mut self) {
        self.write();
        let mut job = Job::new(self.config, self.seed.wrapping_add(1));
        job.add(self.rows.len() as u32);
        self.journal.iter().for_each(|(segment, bits)| job.restore(*segment, bits));
        if self.is_closed {
            job.close();
        }
        for request in std::mem::take(&mut self.out).into_values() {
            for row in request.rows {
                let row = &mut self.rows[row as usize];
                row.batch = None;
                row.maybe_there |= !request.is_lookup;
            }
        }
        self.job = job;
        // Two bits remember that a row is done, well or otherwise, and not how.
        for (number, row) in (0..).zip(&mut self.rows) {
            row.ended = self.job.outcome(number);
        }
    }

    fn write(&mut self) {
        while let Some(segment) = self.job.next_changed() {
            assert!(segment <= self.rows.len() as u32 / SEGMENT_ROWS, "there is no segment {segment}");
            self.journal.insert(segment, self.job.bits(segment));
        }
    }

    // ---- The rules

    /// Whoever has an outcome keeps it.
    fn note_outcomes(&mut self) {
        for (number, row) in (0..).zip(&mut self.rows) {
            let outcome = self.job.outcome(number);
            assert!(
                row.ended.is_none() || row.ended == outcome,
                "row {number}: {:?}, {outcome:?}",
                row.ended
            );
            assert!(outcome.is_none() || row.batch.is_none(), "row {number} has its outcome on its way");
            row.ended = outcome;
        }
    }

    fn check_counts(&self) {
        let counts = self.job.counts();
        let of = |wanted| self.rows.iter().filter(|row| row.ended == Some(wanted)).count() as u32;
        assert_eq!(counts.imported, of(Outcome::Imported));
        assert_eq!(counts.duplicate, of(Outcome::Duplicate));
        assert_eq!(counts.failed, of(Outcome::Failed));
        assert_eq!(counts.skipped, of(Outcome::Skipped));
        assert_eq!(counts.unknown, of(Outcome::Unknown));
        assert_eq!(counts.in_flight, self.rows.iter().filter(|row| row.batch.is_some()).count() as u32);
        let undecided = self.rows.iter().filter(|row| row.ended.is_none()).count() as u32;
        assert_eq!(counts.undecided(), undecided);
        assert!((1..=self.size()).contains(&self.job.batch_size()));
    }

    /// From here on everything succeeds: each row has its outcome, and what the server may have is no failure.
    fn comes_to_an_end(&mut self) {
        self.set(self.latest);
        self.close();
        self.job.resume();
        self.job.release();
        for _ in 0..MOST_STEPS {
            let next = self.next();
            if next == Next::Done {
                break;
            }
            if let Next::Wait { until: Some(until), .. } = next {
                self.set(until.ticks().max(self.now));
            }
            while !self.out.is_empty() {
                self.end(0, Ending::Answered { latency: 100, outcomes: 0 });
            }
            self.note_outcomes();
        }
        assert_eq!(self.job.next(at(self.now)), Next::Done, "{:?}", self.job.counts());
        self.check_counts();
        assert!(self.rows.iter().all(|row| row.ended.is_some()));
        self.check_journal();
    }

    /// What is written down says the same as the outcomes, as far as two bits can.
    fn check_journal(&mut self) {
        self.write();
        for (number, row) in (0_u32..).zip(&self.rows) {
            let bits = self.journal.get(&(number / SEGMENT_ROWS)).map_or(0, |bits| {
                let place = number % SEGMENT_ROWS;
                bits[place as usize / 4] >> (2 * (place % 4)) & 3
            });
            let is_well = matches!(row.ended, Some(Outcome::Imported | Outcome::Duplicate));
            assert_eq!(bits, if is_well { 2 } else { 3 }, "row {number}: {:?}", row.ended);
        }
    }

    fn size(&self) -> u32 {
        match self.config.batch {
            BatchSize::Fixed(size) | BatchSize::Adaptive { max: size } => size,
        }
    }
}

fn stop_of(reason: u8) -> Stop {
    match reason % 4 {
        0 => Stop::Cancelled,
        1 => Stop::Refused,
        2 => Stop::FailedRatio,
        _ => Stop::Trouble,
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

/// Milliseconds: so that there is room before it for a clock that goes back.
const BEGINNING: u64 = 10_000_000_000;

/// A longer history says nothing that two shorter ones do not.
const MOST_OPS: usize = 400;

const MOST_ROWS: usize = 500;

/// Steps after which an import is done in which all goes well.
const MOST_STEPS: usize = 20_000;
