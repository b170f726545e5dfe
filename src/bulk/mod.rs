//! An import: many rows, in batches, at the pace that the server accepts, and exactly one outcome for each.
//!
//! | file | |
//! |---|---|
//! | `rows` | what is known of each row, in one byte; the counts that always add up; the bits of the journal |
//! | `line` | what came back goes before what is new |
//! | `batch` | how many rows go at once |
//! | `meter` | how fast rows end, and how long the rest takes |
//!
//! The shell asks [`Job::next`], does what it says, and tells what became of each batch: [`Job::answered`] and then
//! [`Job::settle`] for each of its rows, or one of the endings for the whole. The pacer hears of everything. A batch that
//! comes back keeps its rows together, and with them its idempotency key, unless it is halved.
//!
//! ```text
//! add ──► open ──next──► in flight ──answered, settle──► imported, duplicate, failed, skipped, unknown
//!          ▲                │  │ lost, perhaps applied, not idempotent
//!          ├──throttled─────┘  └──────► to verify ──next──► in flight ──settle, or missing: open again
//!          └──lost, failed, refused (halves), too large (halves)
//! ```
//!
//! No clock: every call that needs the time takes `now`. Row data stays with the shell; here a row is its number.

mod batch;
mod line;
mod meter;
mod rows;

use std::collections::VecDeque;

use crate::pacer::{self, Advertised, Decision, Known, Pacer, PacerConfig, Permit};
use crate::random::Random;
use crate::time::{Instant, Span};

use batch::Size;
use line::{Kind, Line, Part};
use meter::Meter;
use rows::{Rows, State};

pub use batch::BatchSize;
pub use rows::{Counts, SEGMENT_BYTES, SEGMENT_ROWS};

/// How an import goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobConfig {
    /// Sending a row twice is the same as sending it once. Otherwise a row whose answer was lost is never sent again
    /// before somebody has looked it up.
    pub idempotent: bool,
    /// Whether somebody can look up rows. Where nobody can, those whose answer was lost end as unknown.
    pub verifies: bool,
    /// How many rows go at once.
    pub batch: BatchSize,
    /// Requests in flight that are never exceeded, at least 1.
    pub max_in_flight: u32,
    /// Requests a second that are never exceeded; `None`: what the server accepts.
    pub max_rate: Option<f64>,
    /// When to give up; `None`: never.
    pub stop_when: Option<StopWhen>,
    /// What an earlier import learned about the server.
    pub known: Option<Known>,
}

/// Gives up when too many of the rows that were answered have failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopWhen {
    /// From 0 to 1: this part of them, or more.
    pub failed_ratio: f64,
    /// Rows that have to be answered before.
    pub after: u32,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it through this job.
    Imported,
    /// The server, or an earlier row, had the same.
    Duplicate,
    /// The server has it already: imported if this job sent it before, else duplicate.
    Ignored,
    /// Refused for its content.
    Failed,
    /// Never sent.
    Skipped,
    /// Sent, and nobody can tell.
    Unknown,
}

/// The name of what is in flight: small, dense, and used again once it has ended.
pub type BatchName = u32;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the rows of [`Job::rows`].
    Send {
        /// It ends with one of the endings.
        batch: BatchName,
    },
    /// Look up one row whose answer was lost.
    Verify {
        /// It ends as other batches do; or with [`Job::answered`] and [`Job::missing`].
        batch: BatchName,
        /// The row.
        row: u32,
    },
    /// Nothing.
    Wait {
        /// Ask again then; `None`: after something else has been told.
        until: Option<Instant>,
        /// Why.
        reason: Reason,
    },
    /// All rows that are known are sent: [`Job::add`] more, or [`Job::close`].
    Hungry {
        /// When to ask again all the same, as some go again then; `None`: after something else has been told.
        until: Option<Instant>,
    },
    /// Every row has its outcome.
    Done,
}

/// Why the import waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its turn has not come.
    Pace,
    /// After a refusal, or a failure of the server.
    Cooldown,
    /// For answers.
    InFlight,
    /// Somebody paused it.
    Paused,
    /// A circuit is open, or there is no connection.
    Held,
}

/// Why the import ended before its rows did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled it.
    Cancelled,
    /// No row would fare better, as without a permission.
    Refused,
    /// Too many rows failed: [`StopWhen`].
    FailedRatio,
    /// Nothing but failures of the server or the network for about ten minutes.
    Trouble,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Rows that ended in a second, of late.
    pub rows_per_second: f64,
    /// How long the rest takes, from and to; `None`: nobody can tell yet, or not all rows are known.
    pub eta: Option<[Span; 2]>,
    /// Why it waits, and until when that is certain; `None`: it does not.
    pub waiting: Option<(Reason, Option<Instant>)>,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests sent.
    pub requests: u32,
    /// Those that were refused because of a limit.
    pub throttled: u32,
    /// Those that had to be sent again for another reason, or in halves.
    pub retries: u32,
}

/// The state of one import.
#[derive(Debug)]
pub struct Job {
    idempotent: bool,
    verifies: bool,
    stop_when: Option<StopWhen>,
    rows: Rows,
    pacer: Pacer,
    random: Random,
    size: Size,
    meter: Meter,
    line: Line,
    flights: Vec<Option<Flight>>,
    /// All rows before are in the line, in flight or decided.
    fresh: u32,
    /// Rows to be verified, and from when on.
    doubts: VecDeque<(u32, Instant)>,
    closed: bool,
    paused: bool,
    held: Option<Option<Instant>>,
    stopped: Option<Stop>,
    waiting: Option<(Reason, Option<Instant>)>,
    stats: Stats,
    /// Rows that were answered, and those of them that failed.
    judged: u32,
    failed: u32,
    /// Failures in a row, each of a request that went after the one before.
    troubles: u32,
    /// When the first of them came.
    troubled_since: Instant,
    reacted: u32,
}

#[derive(Debug)]
struct Flight {
    part: Part,
    permit: Permit,
    sent: Instant,
    number: u32,
}

impl Job {
    /// Without rows. The seed makes the few random choices repeatable.
    pub fn new(config: JobConfig, seed: u64) -> Self {
        let JobConfig { idempotent, verifies, batch, max_in_flight, max_rate, stop_when, known } = config;
        Self {
            idempotent,
            verifies,
            stop_when,
            rows: Rows::default(),
            pacer: Pacer::new(PacerConfig { max_rate, max_in_flight, known }, seed),
            random: Random::seeded(!seed),
            size: Size::new(batch),
            meter: Meter::new(),
            line: Line::default(),
            flights: Vec::new(),
            fresh: 0,
            doubts: VecDeque::new(),
            closed: false,
            paused: false,
            held: None,
            stopped: None,
            waiting: None,
            stats: Stats::default(),
            judged: 0,
            failed: 0,
            troubles: 0,
            troubled_since: Instant::ZERO,
            reacted: 0,
        }
    }

    // ---- rows come

    /// Appends rows. Once the import has stopped they are skipped.
    pub fn add(&mut self, count: u32) {
        self.rows.add(count);
        if self.stopped.is_some() {
            self.skip_open();
        }
    }

    /// No more rows come.
    pub const fn close(&mut self) {
        self.closed = true;
    }

    /// Decides a row that is not on its way; one that has an outcome gets another, as when more is remembered of it than
    /// the journal's bits. `false`: it is on its way, or there is none.
    pub fn decide(&mut self, row: u32, outcome: Outcome) -> bool {
        let is_free = !matches!(self.rows.state(row), None | Some(State::InFlight | State::ToVerify));
        if is_free {
            self.rows.enter(row, outcome.state(self.rows.was_sent(row)));
        }
        is_free
    }

    /// Takes up what the journal remembers of a segment: before the first [`Job::next`], after its rows were added and those
    /// of which more is known were decided. Done well becomes imported, done otherwise failed. A row whose answer was due
    /// is sent again where that is harmless, and else looked up.
    pub fn restore(&mut self, segment: u32, bits: &[u8]) {
        let first = segment.saturating_mul(SEGMENT_ROWS);
        let last = first.saturating_add(SEGMENT_ROWS).min(self.rows.len());
        let pairs = bits.iter().flat_map(|four| [0, 2, 4, 6].map(|at| four >> at & 3));
        for (row, bits) in (first..last).zip(pairs) {
            if !self.rows.is(row, State::Open) {
                continue;
            }
            match bits {
                0 => {}
                1 => {
                    self.rows.set_sent(row, true);
                    if !self.idempotent {
                        self.doubt(row, Instant::ZERO);
                    }
                }
                2 => self.rows.enter(row, State::Imported),
                _ => self.rows.enter(row, State::Failed),
            }
        }
    }

    /// How many rows to read ahead: so many that two requests can follow at once. What is not sent yet counts.
    pub fn wants(&self) -> u32 {
        if self.closed || self.stopped.is_some() {
            return 0;
        }
        self.size.get().saturating_mul(2).saturating_sub(self.rows.counts().open)
    }

    // ---- what to do

    /// What to do now. Each [`Next::Send`] and [`Next::Verify`] is to be done, and ended exactly once.
    pub fn next(&mut self, now: Instant) -> Next {
        let next = self.decided(now);
        self.waiting = match next {
            Next::Wait { until, reason } => Some((reason, until)),
            _ => None,
        };
        next
    }

    fn decided(&mut self, now: Instant) -> Next {
        loop {
            if let Some(next) = self.nothing_to_do(now) {
                return next;
            }
            if let Decision::Wait { until, reason } = self.pacer.check(now) {
                return wait(until, reason.into());
            }
            // What is in the line may have been decided meanwhile: then there is less to do than it seemed.
            let Some(part) = self.take(now) else { continue };
            let lookup = part.rows.first().copied().filter(|_| part.kind == Kind::Lookup);
            let batch = self.depart(now, part);
            return lookup.map_or(Next::Send { batch }, |row| Next::Verify { batch, row });
        }
    }

    /// Anything but a request.
    fn nothing_to_do(&mut self, now: Instant) -> Option<Next> {
        let counts = self.rows.counts();
        if counts.undecided() == 0 && (self.closed || self.stopped.is_some()) {
            return Some(Next::Done);
        }
        if self.paused {
            return Some(wait(None, Reason::Paused));
        }
        if let Some(until) = self.held {
            if until.is_none_or(|until| until > now) {
                return Some(wait(until, Reason::Held));
            }
            self.held = None;
        }
        let until = self.first_at();
        if until.is_some_and(|at| at <= now) {
            return None;
        }
        if !self.line.is_long() {
            if self.has_fresh() {
                return None;
            }
            if !self.closed && self.stopped.is_none() {
                return Some(Next::Hungry { until });
            }
        }
        Some(wait(until, if until.is_some() { Reason::Cooldown } else { Reason::InFlight }))
    }

    /// When something is to be done again.
    fn first_at(&self) -> Option<Instant> {
        let doubt = self.doubts.front().map(|(_, at)| *at);
        match (doubt, self.line.first_at()) {
            (Some(doubt), Some(line)) => Some(doubt.min(line)),
            (doubt, line) => doubt.or(line),
        }
    }

    fn next_lost(&mut self, now: Instant) -> Option<u32> {
        let (row, at) = *self.doubts.front()?;
        if at > now {
            return None;
        }
        self.doubts.pop_front();
        Some(row)
    }

    fn has_fresh(&mut self) -> bool {
        self.fresh = self.rows.find(self.fresh, State::Open).unwrap_or_else(|| self.rows.len());
        self.fresh < self.rows.len()
    }

    /// The rows of the next request. Those whose answer was lost come first: somebody may still remember them.
    fn take(&mut self, now: Instant) -> Option<Part> {
        if let Some(row) = self.next_lost(now) {
            return Some(Part::now(Vec::from([row]), Kind::Lookup));
        }
        let size = self.size.get();
        if let Some(mut part) = self.line.take(now, size) {
            part.rows.retain(|row| self.rows.is(*row, State::Open));
            return (!part.rows.is_empty()).then_some(part);
        }
        let mut rows = Vec::with_capacity(size.min(self.rows.counts().open) as usize);
        while rows.len() < size as usize && self.has_fresh() {
            rows.push(self.fresh);
            self.fresh = self.fresh.wrapping_add(1);
        }
        (!rows.is_empty()).then_some(Part::now(rows, Kind::Whole))
    }

    fn depart(&mut self, now: Instant, part: Part) -> BatchName {
        for row in &part.rows {
            self.rows.enter(*row, State::InFlight);
        }
        self.meter.begin(now);
        self.stats.requests = self.stats.requests.wrapping_add(1);
        let permit = self.pacer.take(now, length(&part.rows));
        let flight = Flight { part, permit, sent: now, number: self.stats.requests };
        let free = (0..).zip(&mut self.flights).find(|(_, flight)| flight.is_none());
        if let Some((batch, place)) = free {
            *place = Some(flight);
            return batch;
        }
        self.flights.push(Some(flight));
        length(&self.flights).wrapping_sub(1)
    }

    /// The rows of a batch that is in flight, ascending; none once it has ended.
    pub fn rows(&self, batch: BatchName) -> &[u32] {
        let flight = self.flights.get(batch as usize).and_then(Option::as_ref);
        flight.map_or(&[], |flight| &flight.part.rows)
    }

    /// How often the row came to be judged, the present time included: 1 for the first. Refusals because of a limit, or
    /// because of other rows, and outages do not count; at most 16.
    pub fn attempt(&self, row: u32) -> u32 {
        u32::from(self.rows.setbacks(row)).wrapping_add(1)
    }

    // ---- how a batch ends

    /// The server answered, for each row or for all. Each row is to be settled.
    pub fn answered(
        &mut self,
        now: Instant,
        batch: BatchName,
        latency: Span,
        advertised: Option<Advertised>,
    ) {
        let outcome = pacer::Outcome::Accepted;
        let Some((part, _)) = self.land(now, batch, outcome, Some(latency), advertised) else { return };
        if part.kind == Kind::Whole {
            self.size.answered(length(&part.rows), latency);
        }
    }

    /// Gives a row of a batch that was answered its outcome. A row that is not in flight keeps what it has.
    pub fn settle(&mut self, now: Instant, row: u32, outcome: Outcome) {
        if !self.rows.is(row, State::InFlight) {
            return;
        }
        let state = outcome.state(self.rows.was_sent(row));
        self.rows.enter(row, state);
        self.meter.end(now);
        self.judged = self.judged.wrapping_add(1);
        self.failed = self.failed.wrapping_add(u32::from(state == State::Failed));
        let too_many = self.stop_when.is_some_and(|when| {
            self.judged >= when.after && f64::from(self.failed) >= when.failed_ratio * f64::from(self.judged)
        });
        if too_many && self.failed > 0 {
            self.stop(Stop::FailedRatio);
        }
    }

    /// A row that was looked up is certainly not there: it is sent again, after as many times as any other, it has failed.
    pub fn missing(&mut self, now: Instant, row: u32) {
        if !self.rows.is(row, State::InFlight) {
            return;
        }
        self.rows.set_sent(row, false);
        if self.rows.setbacks(row) >= MOST_SETBACKS {
            return self.settle(now, row, Outcome::Failed);
        }
        if row < self.fresh {
            self.put_back(Vec::from([row]), Instant::ZERO, Kind::Single);
        } else {
            // Remembered from before a crash: its turn among the new ones comes. In the line too it would go twice.
            self.reopen(row);
        }
    }

    /// Refused because of a limit, and not processed: it goes first, when the pacer lets it. Never counts as a failure.
    pub fn throttled(
        &mut self,
        now: Instant,
        batch: BatchName,
        hint: Option<Span>,
        advertised: Option<Advertised>,
    ) {
        let outcome = pacer::Outcome::Throttled { hint };
        let Some((part, _)) = self.land(now, batch, outcome, None, advertised) else { return };
        self.stats.throttled = self.stats.throttled.wrapping_add(1);
        self.put_back(part.rows, Instant::ZERO, part.kind);
    }

    /// No answer. `was_sent`: it may have reached the server.
    pub fn lost(&mut self, now: Instant, batch: BatchName, was_sent: bool) {
        self.troubled(now, batch, was_sent, pacer::Outcome::Lost);
    }

    /// The server failed, as with a status 5xx. `maybe_applied`: perhaps after it had written something, as behind a gateway
    /// that did not wait.
    pub fn failed(&mut self, now: Instant, batch: BatchName, maybe_applied: bool) {
        self.troubled(now, batch, maybe_applied, pacer::Outcome::Other);
    }

    /// Refused for the content of a row, and nothing of it was written: that row is found by halving. A row that is alone
    /// has failed; one that cannot be looked up is unknown.
    pub fn refused(&mut self, now: Instant, batch: BatchName) {
        let Some((part, _)) = self.land(now, batch, pacer::Outcome::Accepted, None, None) else { return };
        self.halve(now, part);
    }

    /// Too much at once, and nothing of it was written. A row that is too much alone has failed.
    pub fn too_large(&mut self, now: Instant, batch: BatchName) {
        let Some((part, _)) = self.land(now, batch, pacer::Outcome::Accepted, None, None) else { return };
        if part.kind == Kind::Whole {
            self.size.too_large(length(&part.rows));
        }
        self.halve(now, part);
    }

    /// Takes a batch out of the air.
    fn land(
        &mut self,
        now: Instant,
        batch: BatchName,
        outcome: pacer::Outcome,
        latency: Option<Span>,
        advertised: Option<Advertised>,
    ) -> Option<(Part, Instant)> {
        let Flight { part, permit, sent, number } = self.flights.get_mut(batch as usize)?.take()?;
        let latency = latency.unwrap_or_else(|| now.since(sent));
        self.pacer.record(now, permit, outcome, latency, advertised);
        if !matches!(outcome, pacer::Outcome::Lost | pacer::Outcome::Other) {
            self.troubles = 0;
        } else if number > self.reacted {
            // What left before belongs to the same event.
            self.reacted = self.stats.requests;
            if self.troubles == 0 {
                self.troubled_since = now;
            }
            self.troubles = self.troubles.wrapping_add(1);
        }
        Some((part, sent))
    }

    fn troubled(&mut self, now: Instant, batch: BatchName, maybe_applied: bool, outcome: pacer::Outcome) {
        let Some((part, sent)) = self.land(now, batch, outcome, None, None) else { return };
        self.stats.retries = self.stats.retries.wrapping_add(1);
        if part.kind == Kind::Whole {
            self.size.slow(length(&part.rows), now.since(sent));
        }
        // In an outage it is nobody's own fault: rows are given up for what happens to them while others get through.
        let is_own = self.troubles <= 1 || self.rows.counts().undecided() <= length(&part.rows);
        for row in &part.rows {
            if is_own {
                self.rows.set_back(*row);
            }
            if maybe_applied && part.kind != Kind::Lookup {
                self.rows.set_sent(*row, true);
            }
        }
        if maybe_applied && !self.idempotent && part.kind != Kind::Lookup {
            let settled = now.plus(SETTLING);
            part.rows.iter().for_each(|row| self.doubt(*row, settled));
        } else {
            self.again(now, part);
        }
        if self.troubles >= MOST_TROUBLES && now.since(self.troubled_since) >= LONGEST_TROUBLE {
            self.stop(Stop::Trouble);
        }
    }

    /// Once more, later and later; not for ever.
    fn again(&mut self, now: Instant, part: Part) {
        let Part { mut rows, kind, .. } = part;
        let mut setbacks = 0;
        rows.retain(|row| {
            let goes_on = self.rows.setbacks(*row) < MOST_SETBACKS;
            if goes_on {
                setbacks = self.rows.setbacks(*row).max(setbacks);
            } else {
                let was_sent = self.rows.was_sent(*row);
                self.settle(now, *row, if was_sent { Outcome::Unknown } else { Outcome::Failed });
            }
            goes_on
        });
        let doubled = f64::from(1_u32.wrapping_shl(u32::from(setbacks.saturating_sub(1))));
        let pause = (FIRST_PAUSE_MS * doubled).min(LONGEST_PAUSE_MS) * (0.8 + 0.4 * self.random.draw());
        self.put_back(rows, now.plus(Span::from_ms_ceil(pause)), kind);
    }

    fn halve(&mut self, now: Instant, part: Part) {
        let Part { mut rows, kind, .. } = part;
        if rows.len() < 2 {
            let outcome = if kind == Kind::Lookup { Outcome::Unknown } else { Outcome::Failed };
            return rows.iter().for_each(|row| self.settle(now, *row, outcome));
        }
        self.stats.retries = self.stats.retries.wrapping_add(1);
        let half = rows.split_off(rows.len().div_ceil(2));
        self.put_back(rows, Instant::ZERO, Kind::Half);
        self.put_back(half, Instant::ZERO, Kind::Half);
    }

    /// Into the line, if anything is sent any more.
    fn put_back(&mut self, mut rows: Vec<u32>, after: Instant, kind: Kind) {
        if kind == Kind::Lookup {
            return rows.iter().for_each(|row| self.doubt(*row, after));
        }
        rows.retain(|row| self.reopen(*row));
        self.line.put(Part { rows, after, kind });
    }

    /// Whether it is sent again, as long as anything is.
    fn reopen(&mut self, row: u32) -> bool {
        self.rows.enter(row, State::Open);
        if self.stopped.is_some() {
            self.skip(row);
        }
        self.stopped.is_none()
    }

    /// Its answer was lost, and to send it again might double it: it is looked up, then or later.
    fn doubt(&mut self, row: u32, at: Instant) {
        if !self.verifies || self.stopped.is_some() {
            return self.rows.enter(row, State::Unknown);
        }
        self.rows.enter(row, State::ToVerify);
        self.doubts.push_back((row, at));
    }

    // ---- its life

    /// Nothing is sent until [`Job::resume`]; answers are taken.
    pub const fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on.
    pub const fn resume(&mut self) {
        self.paused = false;
        self.meter.forget();
    }

    /// Nothing is sent until then, or until [`Job::release`].
    pub const fn hold(&mut self, until: Option<Instant>) {
        self.held = Some(until);
    }

    /// Ends a hold.
    pub const fn release(&mut self) {
        self.held = None;
        self.meter.forget();
    }

    /// Nothing new is sent, for good. What is in flight settles; what is open is skipped, or unknown where the server may
    /// have it, as is what was to be verified. The first reason counts. A batch that was itself the reason ends with
    /// `lost(…, false)`.
    pub fn stop(&mut self, reason: Stop) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(reason);
        self.paused = false;
        self.held = None;
        self.line = Line::default();
        while let Some((row, _)) = self.doubts.pop_front() {
            self.rows.enter(row, State::Unknown);
        }
        self.fresh = 0;
        self.skip_open();
    }

    /// The same because somebody wants it.
    pub fn cancel(&mut self) {
        self.stop(Stop::Cancelled);
    }

    fn skip_open(&mut self) {
        while self.has_fresh() {
            self.skip(self.fresh);
        }
    }

    fn skip(&mut self, row: u32) {
        self.rows.enter(row, if self.rows.was_sent(row) { State::Unknown } else { State::Skipped });
    }

    // ---- what there is to know

    /// Why it stopped, if it did.
    pub const fn stopped(&self) -> Option<Stop> {
        self.stopped
    }

    /// How many rows stand where.
    pub const fn counts(&self) -> Counts {
        self.rows.counts()
    }

    /// What it took.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The outcome of a row; `None`: it has none yet.
    pub fn outcome(&self, row: u32) -> Option<Outcome> {
        match self.rows.state(row)? {
            State::Open | State::InFlight | State::ToVerify => None,
            State::Imported => Some(Outcome::Imported),
            State::Duplicate => Some(Outcome::Duplicate),
            State::Failed => Some(Outcome::Failed),
            State::Skipped => Some(Outcome::Skipped),
            State::Unknown => Some(Outcome::Unknown),
        }
    }

    /// The first row from here on that ended so; with it the rows of a report, or those of a job that tries again.
    /// [`Outcome::Ignored`] is the outcome of none.
    pub fn find(&self, from: u32, outcome: Outcome) -> Option<u32> {
        if outcome == Outcome::Ignored { None } else { self.rows.find(from, outcome.state(false)) }
    }

    /// A segment of [`SEGMENT_ROWS`] rows that the journal should write, as it has changed since it was given here last.
    pub fn next_changed(&mut self) -> Option<u32> {
        self.rows.next_changed()
    }

    /// The segment, as the journal keeps it.
    pub fn bits(&self, segment: u32) -> [u8; SEGMENT_BYTES] {
        self.rows.bits(segment)
    }

    /// How far it is.
    pub fn progress(&mut self, now: Instant) -> Progress {
        let (rows_per_second, _) = self.meter.rates(now);
        let until = self.waiting.and_then(|(_, until)| until);
        let wait = until.map_or(Span::ZERO, |until| until.since(now));
        let is_known = self.closed && !self.paused && self.held != Some(None);
        let left = self.rows.counts().undecided();
        let eta = if is_known { self.meter.left(now, left, wait) } else { None };
        Progress { rows_per_second, eta, waiting: self.waiting }
    }

    /// How the pace stands.
    pub fn pace(&self) -> pacer::Snapshot {
        self.pacer.snapshot()
    }

    /// What is worth keeping for the next import; `None`: the limit was not met.
    pub fn learned(&self) -> Option<Known> {
        self.pacer.learned()
    }

    /// Rows that go at once, at present.
    pub fn batch_size(&self) -> u32 {
        self.size.get()
    }
}

impl From<pacer::Hold> for Reason {
    fn from(hold: pacer::Hold) -> Self {
        match hold {
            pacer::Hold::Pace => Self::Pace,
            pacer::Hold::Cooldown => Self::Cooldown,
            pacer::Hold::InFlight => Self::InFlight,
        }
    }
}

const fn wait(until: Option<Instant>, reason: Reason) -> Next {
    Next::Wait { until, reason }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no more than there are rows, and those have numbers of 32 bits"
)]
const fn length<T>(items: &[T]) -> u32 {
    items.len() as u32
}

/// How often a row may come back without an outcome while others get through, or when it is the last one. With the pauses below,
/// that takes more than a minute: a server that is started anew takes less.
const MOST_SETBACKS: u8 = 8;

/// Milliseconds before a batch that failed goes again; twice as long each time, give or take a fifth.
const FIRST_PAUSE_MS: f64 = 500.0;

/// Milliseconds. Nobody waits longer than half a minute for a server that is back.
const LONGEST_PAUSE_MS: f64 = 30_000.0;

/// Before a row whose answer was lost is looked up: a statement that nobody waits for any more may still write. Supabase ends
/// them after 8 s.
const SETTLING: Span = Span::from_ms(10_000);

/// Failures in a row, and nothing else, for ten minutes: the pacer's pauses grow up to half a minute. Both, because a machine
/// that slept has heard nothing for hours.
const MOST_TROUBLES: u32 = 24;
const LONGEST_TROUBLE: Span = Span::from_ms(600_000);
