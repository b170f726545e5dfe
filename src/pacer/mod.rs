//! The pacer: learns the rate that a server accepts, and spaces requests by it.
//!
//! Made for many requests by one client, as of an import, against a limit that nobody has told: it starts gently, finds
//! the limit from refusals alone, stays just below it, and probes now and then whether it has moved. What it *believes*
//! is kept apart from what it *enforces*:
//!
//! | file | |
//! |---|---|
//! | `rate` | believes: the limit, and a cubic curve that approaches it |
//! | `concurrency` | believes: a cap on requests in flight, told from a rate limit by the level at which refusals occur |
//! | `penalty` | believes: what a refusal costs; a door that is shut, and whether the server bans |
//! | `policy` | what the server advertises: a ceiling |
//! | `meter` | measures: accepts over time, latency |
//! | `gate` | enforces: even spacing (GCRA) that late timers cannot disturb, one closing time for everybody, in flight |
//!
//! The unit is the request. A batch of rows is one request and costs the limiter one; the pace in rows is the rate times
//! the rows per request, which [`Snapshot::rows_per_second`] tells. A refused request is sent again by whoever owns it;
//! here it is forgotten.
//!
//! No clock and no timer: every call takes `now`; times given back are when to ask again. Asking late costs no
//! throughput until timers are later than a second or two, and from then on answers keep the pace.

mod concurrency;
mod gate;
mod meter;
mod penalty;
mod policy;
mod rate;

use crate::random::Random;
use crate::time::{Instant, Span};

pub use crate::classify::Advertised;

use concurrency::{Blame, Concurrency};
use gate::{Gate, INSTANT};
use meter::{Mark, Meter};
use penalty::Penalty;
use policy::{News, Policy};
use rate::{Loss, Rate};

/// How to begin, and what never to exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PacerConfig {
    /// Requests a second that are never exceeded; `None`: whatever the server accepts. Above zero; what is not counts as
    /// `None`.
    pub max_rate: Option<f64>,
    /// Requests in flight that are never exceeded. At least 1. Default 100, the streams of an HTTP/2 connection.
    pub max_in_flight: u32,
    /// What an earlier import learned about the same server.
    pub known: Option<Known>,
}

impl Default for PacerConfig {
    fn default() -> Self {
        Self { max_rate: None, max_in_flight: 100, known: None }
    }
}

/// What was learned about a server, for the next time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The limit, in requests a second.
    pub rate: f64,
    /// The cap on requests in flight.
    pub cap: Option<u32>,
    /// Whether the server shuts clients out when they exceed its limit.
    pub bans: bool,
    /// Seconds that a refusal cost.
    pub cost: f64,
}

/// The answer to "may a request go?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Proceed,
    /// Not now.
    Wait {
        /// When to ask again; `None`: after the next answer.
        until: Option<Instant>,
        /// Why.
        reason: Hold,
    },
}

/// Why a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its turn has not come.
    Pace,
    /// A refusal holds everybody, or a single request is out to see whether the server accepts again.
    Cooldown,
    /// As many are in flight as the rate needs or the server's cap allows.
    InFlight,
}

/// Leave to send one request. Handed back with its outcome, exactly once; also when the answer is lost.
#[must_use = "a permit is handed back with the outcome"]
#[derive(Debug, PartialEq)]
pub struct Permit {
    number: u64,
    /// How many were in flight, this one included.
    level: u32,
    /// It made up for a pause.
    burst: bool,
    /// It went alone, to see whether the server accepts again.
    single: bool,
}

/// What came of a request, as far as the server's limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The limiter let it pass, whatever became of it: also a row refused for its content.
    Accepted,
    /// Refused because of a limit, and not processed.
    Throttled {
        /// How long the server asks to stay away, from now.
        hint: Option<Span>,
    },
    /// No answer.
    Lost,
    /// An answer that says nothing about the limit, as from a server that is in trouble.
    Other,
}

/// What the pacer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No refusal yet: ever faster.
    Starting,
    /// Just below the limit that refusals revealed.
    Pacing,
    /// Just below the limit that the server advertises.
    Following,
    /// The server refuses everything: one request at a time finds out when that ends.
    Shut,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// What it is about.
    pub state: State,
    /// Requests a second, the current pace.
    pub rate: f64,
    /// The same in rows, by the rows per request of late.
    pub rows_per_second: f64,
    /// The server's cap on requests in flight, if it has one.
    pub cap: Option<u32>,
    /// Whether the server shuts clients out when they exceed its limit.
    pub bans: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Why the last one that asked waits, if it does.
    pub hold: Option<Hold>,
    /// Until when; `None` when an answer ends it.
    pub until: Option<Instant>,
}

/// Learns the rate that one server accepts. One for all that is sent there under the same limit.
#[derive(Debug)]
pub struct Pacer {
    max_rate: f64,
    max_in_flight: u32,
    random: Random,
    meter: Meter,
    rate: Rate,
    concurrency: Concurrency,
    penalty: Penalty,
    policy: Option<Policy>,
    /// How much faster than the rate, because the policy says that much is left.
    surplus: f64,
    gate: Gate,
    /// Refusals of requests up to this number are no news.
    reacted: u64,
    /// Refusals in a row, each of a request that went after the reaction to the one before.
    streak: u32,
    /// The same for requests that nobody answered.
    silences: u32,
    silent: u64,
    /// The latest answers, the last one lowest: whether they were lost.
    losses: u32,
    /// Until when a lost answer counts as a refusal, unless refusals can be seen.
    suspicious_until: f64,
    shows_refusals: bool,
    had_outage: bool,
    /// What was believed before the first refusals, where they may teach nothing.
    unsuspecting: Option<Rate>,
    /// The latest time anybody told, and that of the latest answer. `None` before the first request.
    seen: Option<f64>,
    answered: f64,
    began: f64,
    hold: Option<Hold>,
    rows: f64,
}

impl Pacer {
    /// Nothing sent yet. The seed makes the few random choices repeatable: they keep clients apart.
    pub fn new(config: PacerConfig, seed: u64) -> Self {
        let max_rate = config.max_rate.filter(|rate| *rate > 0.0).unwrap_or(f64::INFINITY);
        let known = config.known.filter(|known| known.rate > 0.0 && known.rate.is_finite());
        Self {
            max_rate,
            max_in_flight: config.max_in_flight.max(1),
            random: Random::seeded(seed),
            meter: Meter::new(),
            rate: known.map_or_else(|| Rate::start(max_rate), |known| Rate::known(known.rate, max_rate)),
            concurrency: Concurrency::new(known.and_then(|known| known.cap)),
            penalty: known.map_or(Penalty::new(false, 0.0), |known| Penalty::new(known.bans, known.cost)),
            policy: None,
            surplus: 1.0,
            gate: Gate::new(),
            reacted: 0,
            streak: 0,
            silences: 0,
            silent: 0,
            losses: 0,
            suspicious_until: f64::NEG_INFINITY,
            shows_refusals: false,
            had_outage: false,
            unsuspecting: None,
            seen: None,
            answered: f64::NEG_INFINITY,
            began: 0.0,
            hold: None,
            rows: 1.0,
        }
    }

    /// May a request go? Follows the curve to `now`; asking again at the same `now` gives the same answer.
    pub fn check(&mut self, asked: Instant) -> Decision {
        let now = self.arrive(asked);
        let late = self.gate.asked(now, now > self.answered);
        if late >= OVERSLEPT {
            self.rate.hold(late);
            self.penalty.overslept(late);
        }
        let held = self.held(now);
        self.gate.promise(held.and_then(|(until, _)| until));
        self.hold = held.map(|(_, reason)| reason);
        // Never for a time that has come: whoever asked again then would ask for ever.
        let later = |until| instant(until).max(asked.plus(Span::from_ms(1)));
        held.map_or(Decision::Proceed, |(until, reason)| Decision::Wait { until: until.map(later), reason })
    }

    /// Notes that a request goes, with so many rows. Call it only after [`Pacer::check`] said "proceed".
    pub fn take(&mut self, now: Instant, rows: u32) -> Permit {
        let now = self.arrive(now);
        let rate = self.pace();
        let burst = !self.rate.is_start() && self.gate.makes_up(now, self.rate.get());
        let number = self.gate.pass(now, rate);
        let level = self.gate.in_flight();
        self.concurrency.sent(level);
        self.rows += 0.1 * (f64::from(rows) - self.rows);
        Permit { number, level, burst, single: self.penalty.is_shut() }
    }

    /// Takes the permit back with what came of it.
    pub fn record(
        &mut self,
        now: Instant,
        permit: Permit,
        outcome: Outcome,
        latency: Span,
        advertised: Option<Advertised>,
    ) {
        let now = self.arrive(now);
        self.answered = now;
        self.gate.back();
        self.losses = self.losses << 1 | u32::from(outcome == Outcome::Lost);
        match outcome {
            Outcome::Accepted => self.accepted(now, &permit, latency, advertised),
            Outcome::Throttled { hint } => {
                if !self.shows_refusals {
                    self.shows_refusals = true;
                    // The limit was used up before we came: how long that lasts is no measure of it.
                    let came_late = self.meter.since(Mark::default()) < 1.0;
                    self.unsuspecting = came_late.then(|| self.rate.clone());
                }
                self.throttled(now, &permit, hint, advertised);
            }
            Outcome::Lost if self.hides_a_refusal(now) => self.throttled(now, &permit, None, None),
            Outcome::Lost | Outcome::Other => self.silence(now, &permit),
        }
    }

    /// When to ask again, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.gate.promised().map(instant)
    }

    /// How things stand since the last call.
    pub fn snapshot(&self) -> Snapshot {
        let state = if self.penalty.is_shut() {
            State::Shut
        } else if self.policy.as_ref().is_some_and(|policy| !policy.is_contested()) {
            State::Following
        } else if self.rate.is_start() {
            State::Starting
        } else {
            State::Pacing
        };
        Snapshot {
            state,
            rate: self.rate.get(),
            rows_per_second: self.rate.get() * self.rows,
            cap: self.concurrency.cap(),
            bans: self.penalty.bans(),
            in_flight: self.gate.in_flight(),
            hold: self.hold,
            until: self.poll_timeout(),
        }
    }

    /// What is worth keeping for the next import; `None` before the limit was met.
    pub fn learned(&self) -> Option<Known> {
        self.rate.limit().map(|rate| Known {
            rate,
            cap: self.concurrency.cap(),
            bans: self.penalty.bans(),
            cost: self.penalty.cost(),
        })
    }

    /// The time in seconds; never before the one that was told last. Notices the first call, and a sleep.
    fn arrive(&mut self, now: Instant) -> f64 {
        let now = now.as_ms() / 1e3;
        let Some(seen) = self.seen else {
            self.seen = Some(now);
            self.began = now;
            let mark = self.meter.mark(now);
            self.rate.begin(mark);
            self.penalty.begin(mark);
            self.gate.forget_pace(now);
            return now;
        };
        let expected = self.gate.promised().unwrap_or(seen).max(seen);
        if now - expected > ASLEEP {
            let mark = self.meter.mark(now);
            self.rate.wake(mark);
            self.penalty.begin(mark);
            self.gate.forget_pace(now);
        }
        let now = now.max(seen);
        self.seen = Some(now);
        now
    }

    /// Until when and why nothing may go; `None`: it may.
    fn held(&mut self, now: f64) -> Option<(Option<f64>, Hold)> {
        // Where timers come a minute late the answer to a single request is the better clock, for a few times.
        let clocked = self.gate.is_stranded() && !self.penalty.is_dear();
        if let Some(until) = self.gate.shut(now, clocked) {
            return Some((Some(until), Hold::Cooldown));
        }
        let in_flight = self.gate.in_flight();
        if in_flight > 0 && (self.penalty.is_shut() || self.silences >= SILENCES) {
            return Some((None, Hold::Cooldown));
        }
        if in_flight >= self.bound() {
            return Some((None, Hold::InFlight));
        }
        if !self.penalty.is_shut() {
            let ceiling = self.ceiling();
            self.rate.advance(now, ceiling, &self.meter, &self.penalty);
        }
        let rate = self.pace();
        let empty = self.policy.as_mut().and_then(|policy| policy.wait(now, rate, &self.gate, &self.meter));
        let next = empty.unwrap_or(now).max(self.gate.next(now, rate));
        (next > now + INSTANT).then_some((Some(next), Hold::Pace))
    }

    /// How many may be in flight. By Little's law the rate times the latency are, and somewhat more when it varies.
    fn bound(&self) -> u32 {
        let needed = if self.rate.is_start() {
            let growth = 1.0 + (self.gate.last_sent() - self.began).max(0.0) / START_GROWTH;
            (START_RATE * growth * growth * self.meter.round_trip()).max(4.0)
        } else {
            1.25 * self.rate.get() * (self.meter.round_trip() + 2.0 * self.meter.jitter()) + 2.0
        };
        whole(needed.ceil()).min(self.concurrency.bound()).min(self.max_in_flight).max(1)
    }

    fn ceiling(&self) -> f64 {
        self.policy.as_ref().map_or(self.max_rate, |policy| policy.ceiling(&self.meter).min(self.max_rate))
    }

    fn pace(&self) -> f64 {
        (self.rate.get() * self.surplus).min(self.max_rate)
    }

    fn accepted(&mut self, now: f64, permit: &Permit, latency: Span, advertised: Option<Advertised>) {
        self.meter.accept(now, latency.as_f64() / 1e3);
        self.concurrency.accepted(permit.level);
        self.silences = 0;
        self.told(now, permit, advertised, true);
        self.rate.outcome(permit.number, true);
        if permit.number > self.reacted {
            self.streak = 0;
            self.open(now);
        }
        if self.policy.is_none() {
            self.rate.accepted(now, self.max_rate, &self.meter);
        }
    }

    /// An accept of a request that went after the last refusal opens a shut door.
    fn open(&mut self, now: f64) {
        if !self.penalty.is_shut() {
            return;
        }
        let mark = self.meter.mark(now);
        match (self.penalty.open(now, &self.meter), self.unsuspecting.take()) {
            (Some(_), Some(rate)) => {
                // Nothing but lost answers for the first time, so most likely there was no connection; or we came late.
                self.had_outage = true;
                self.rate = rate;
                self.penalty = Penalty::new(false, 0.0);
                self.penalty.begin(mark);
                self.gate.forget_pace(now);
                self.rate.shift(now);
            }
            (Some(wall), None) => {
                self.rate.reopened(mark, wall, &self.penalty);
                self.gate.forget_pace(now);
            }
            (None, _) => self.rate.shift(now),
        }
    }

    fn throttled(&mut self, now: f64, permit: &Permit, hint: Option<Span>, advertised: Option<Advertised>) {
        self.silences = 0;
        let hint = hint.map(|hint| (hint.as_f64() / 1e3).min(LONGEST_HINT));
        let held = hint.map_or(0.0, |hint| {
            let later = hint * (1.0 + 0.02 * self.random.draw()) + 0.005;
            self.gate.told_for(now, later)
        });
        self.told(now, permit, advertised, false);
        if !permit.single {
            self.rate.outcome(permit.number, false);
        }
        // What went before we reacted to the last refusal belongs to the same event.
        if permit.number > self.reacted {
            self.streak = self.streak.saturating_add(1);
            if self.streak == 1 {
                self.slow_down(now, permit, hint);
            } else {
                self.shut(now, hint);
                if self.streak > STRANDED_ASKS && self.gate.is_stranded() {
                    self.penalty.asked_in_vain();
                }
            }
            self.reacted = self.gate.sent();
        }
        self.rate.hold(held);
    }

    /// A refusal: what was it about, and what does it teach?
    fn slow_down(&mut self, now: f64, permit: &Permit, hint: Option<f64>) {
        let mark = self.meter.mark(now);
        match self.concurrency.refused(permit.level, self.penalty.cost() > 0.5) {
            Blame::Probe => {
                self.gate.shut_for(now, 0.02);
                self.streak = 0;
                return;
            }
            Blame::Level => {
                self.rate.excuse(mark);
                self.gate.shut_for(now, 0.03);
                return self.rate.shift(self.gate.shut_until());
            }
            Blame::Rate => {}
        }
        if self.forgiven(now, mark, hint) {
            return;
        }
        if permit.burst {
            self.gate.burst_refused();
        }
        let before = self.rate.get();
        let uneven = !self.gate.is_even();
        let loss = Loss { now, burst: permit.burst, uneven, reacted: self.reacted };
        let learned = self.rate.refused(loss, &self.meter, &self.penalty);
        let pause = (PAUSE / self.rate.get()).clamp(0.02, 1.0);
        self.penalty.paused(hint.unwrap_or(pause), hint.is_some());
        match hint {
            None => self.gate.shut_for(now, pause),
            Some(hint) => {
                self.gate.no_credit();
                if hint >= LONG_HINT {
                    self.penalty.shut(now, before);
                }
            }
        }
        if learned {
            self.rate.shift(self.gate.shut_until());
        }
    }

    /// Below an advertised limit a refusal is a matter of margins, unless others share it.
    fn forgiven(&mut self, now: f64, mark: Mark, hint: Option<f64>) -> bool {
        let Some(policy) = &mut self.policy else { return false };
        let was_contested = policy.is_contested();
        policy.refused(now, &self.meter);
        let contested = policy.is_contested();
        let ceiling = self.ceiling();
        self.surplus = 1.0;
        if contested {
            if !was_contested {
                self.rate.contest(ceiling);
            }
            return false;
        }
        if hint.is_none() {
            self.gate.shut_for(now, 1.2 / self.rate.get());
        }
        self.gate.no_credit();
        self.rate.forgive(ceiling, mark, self.gate.shut_until());
        true
    }

    /// Refused although it went after we had slowed down: nothing is accepted for now.
    fn shut(&mut self, now: f64, hint: Option<f64>) {
        let (since, rate) = self.rate.last_loss();
        self.penalty.shut(since, rate);
        self.ask_alone(now, hint);
    }

    fn ask_alone(&mut self, now: f64, hint: Option<f64>) {
        let draw = self.random.draw();
        let mut pause = self.penalty.pause(now, 1.2 / self.rate.get(), draw);
        if !self.shows_refusals {
            // It may as well be an outage.
            pause = pause.min(LONGEST_SILENCE);
        }
        if hint.is_none() {
            self.gate.shut_for(now, pause);
        }
    }

    /// Takes in what the headers say.
    fn told(&mut self, now: f64, permit: &Permit, advertised: Option<Advertised>, accepted: bool) {
        let Some(said) = advertised.filter(|said| said.quota > 0 && said.window > Span::ZERO) else { return };
        let policy = self.policy.get_or_insert_with(|| Policy::new(now));
        let news = policy.told(now, said, permit.number, accepted, &self.meter);
        let limit = policy.rate();
        let ceiling = self.ceiling();
        match news {
            News::Limit => self.rate.adopt(limit, ceiling, self.meter.mark(now)),
            News::Ceiling => self.rate.follow(ceiling),
            News::Nothing => {}
        }
        if let Some(policy) = &self.policy {
            self.surplus =
                if accepted { policy.surplus(now, self.rate.get(), &self.gate, &self.meter) } else { 1.0 };
        }
    }

    /// Whether a lost answer is taken for a refusal: a browser does not show those without CORS headers. A few of the latest
    /// answers lost together give rise to that suspicion, and for a while each loss confirms it.
    fn hides_a_refusal(&mut self, now: f64) -> bool {
        if self.shows_refusals {
            return false;
        }
        let together = (self.losses & LATEST).count_ones() >= SILENCES;
        if together {
            if now >= self.suspicious_until && !self.had_outage {
                self.unsuspecting = Some(self.rate.clone());
            }
            self.suspicious_until = now + SUSPICIOUS;
        }
        now < self.suspicious_until
    }

    /// Nobody answered. One lost connection is chance; when one after the other is lost, single requests find out when
    /// that ends, each after twice the time.
    fn silence(&mut self, now: f64, permit: &Permit) {
        if permit.single {
            return self.ask_alone(now, None);
        }
        if permit.number > self.silent {
            self.silent = self.gate.sent();
            self.silences = self.silences.saturating_add(1);
        }
        if let Some(beyond) = self.silences.checked_sub(SILENCES) {
            let doubled = f64::from(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
            self.gate.shut_for(now, (0.5 * doubled).min(LONGEST_SILENCE));
        }
    }
}

/// The first whole millisecond that is not before that time.
fn instant(seconds: f64) -> Instant {
    Instant::from_ms((seconds * 1e3 - 1e-3).ceil())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

/// Seconds. A page hidden for long still wakes once a minute; when nothing was heard for longer, the machine slept or
/// somebody paused.
const ASLEEP: f64 = 90.0;

/// At the start, as many in flight as this rate needs, so that the first refusals are about a dozen; it grows with the
/// square of the time, to four times as much after so many seconds.
const START_RATE: f64 = 120.0;
const START_GROWTH: f64 = 20.0;

/// Distances between requests. After a refusal the next request waits for half a turn: whole turns were measured to cost
/// four per cent on logs of one second, where what was refused would have fitted a moment later.
const PAUSE: f64 = 0.6;

/// Seconds. A timer that is later than this has cost time that says nothing about the server.
const OVERSLEPT: f64 = 1.0;

/// A window of one second is over after as many round trips of 150 ms.
const STRANDED_ASKS: u32 = 7;

/// Seconds. A hint of two is more than a window of one second that was rounded up: only one request asks afterwards.
const LONG_HINT: f64 = 2.0;

/// Ten minutes. What asks for more is a mistake, or the circuit's business.
const LONGEST_HINT: f64 = 600.0;

/// One lost connection happens, two may be chance, three in a row are an outage.
const SILENCES: u32 = 3;

/// Of the last six answers three: with one in fifty lost by chance that happens once in some thousands.
const LATEST: u32 = 0x3f;

/// Seconds.
const SUSPICIOUS: f64 = 60.0;

/// Seconds between single requests during an outage, at most.
const LONGEST_SILENCE: f64 = 30.0;
