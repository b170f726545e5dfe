//! What people do without a pacer, row by row: each strategy in the fewest lines that keep its idea, with the defaults of
//! the package that it stands for. Some are told the limit, which nobody is told in earnest.

#![allow(unreachable_pub, reason = "a module of a bench, whose root is no library")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tidegate::random::Random;
use tidegate::time::{Instant, Span};

use crate::pacing::clients::{Client, Next, Seen};
use crate::pacing::server::{Rule, Server};

/// What a strategy says of a row that wants to be sent.
pub enum Admission {
    Go,
    Later(Instant),
    /// When another row is settled.
    Behind,
    /// Rejected by a breaker, without being sent.
    TurnedAway,
}

/// `refused` is how often the row was refused or turned away so far, the present time included.
pub trait Strategy {
    /// Rows that are under way at the same time, those that wait for their retry included.
    fn workers(&self) -> usize {
        usize::MAX
    }

    fn admit(&mut self, now: Instant, refused: u32) -> Admission;

    fn accepted(&mut self, _now: Instant, _refused: u32) {}

    /// The pause before the row is tried once more; none when it is given up.
    fn refused(&mut self, now: Instant, refused: u32, hint: Option<Span>) -> Option<Span>;

    /// The same for a row that was not even sent.
    fn turned_away(&mut self, _refused: u32) -> Option<Span> {
        None
    }
}

/// All rows, each with a retry of its own, as promises are: through as many streams as a browser has to one host.
pub struct RowByRow<S> {
    strategy: S,
    refused: Vec<u32>,
    unstarted: usize,
    under_way: usize,
    in_flight: usize,
    /// Rows that wait for their time, for leave, for a stream.
    resting: BinaryHeap<Reverse<(Instant, usize)>>,
    line: VecDeque<usize>,
    admitted: VecDeque<usize>,
}

const STREAMS: usize = 100;

impl<S: Strategy + 'static> RowByRow<S> {
    pub fn boxed(strategy: S, rows: usize) -> Box<dyn Client> {
        Box::new(Self {
            strategy,
            refused: vec![0; rows],
            unstarted: rows,
            under_way: 0,
            in_flight: 0,
            resting: BinaryHeap::new(),
            line: VecDeque::new(),
            admitted: VecDeque::new(),
        })
    }

    fn start(&mut self) {
        while self.unstarted > 0 && self.under_way < self.strategy.workers() {
            self.line.push_back(self.refused.len() - self.unstarted);
            self.unstarted -= 1;
            self.under_way += 1;
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some(Reverse((due, row))) = self.resting.peek().copied() {
            if due > now {
                return;
            }
            self.resting.pop();
            self.line.push_back(row);
        }
    }

    /// Lets rows in, and answers when to ask for the next one.
    fn admit(&mut self, now: Instant) -> Option<Instant> {
        loop {
            self.start();
            let row = *self.line.front()?;
            match self.strategy.admit(now, self.refused[row]) {
                Admission::Later(until) => return Some(until),
                Admission::Behind => return None,
                Admission::Go => self.admitted.push_back(row),
                Admission::TurnedAway => {
                    self.refused[row] += 1;
                    let pause = self.strategy.turned_away(self.refused[row]);
                    self.rest(now, row, pause);
                }
            }
            self.line.pop_front();
        }
    }

    fn rest(&mut self, now: Instant, row: usize, pause: Option<Span>) {
        match pause {
            Some(pause) => self.resting.push(Reverse((now.plus(pause), row))),
            None => self.under_way -= 1,
        }
    }
}

impl<S: Strategy + 'static> Client for RowByRow<S> {
    fn next(&mut self, now: Instant) -> Next {
        self.wake(now);
        let later = self.admit(now);
        if self.in_flight < STREAMS
            && let Some(row) = self.admitted.pop_front()
        {
            self.in_flight += 1;
            return Next::Send(row);
        }
        Next::Wait(Instant::earlier(later, self.resting.peek().map(|Reverse((due, _))| *due)))
    }

    fn answered(&mut self, now: Instant, row: usize, seen: Seen, _latency: Span) {
        self.in_flight -= 1;
        if let Seen::Accepted(_) = seen {
            self.under_way -= 1;
            self.strategy.accepted(now, self.refused[row]);
            return;
        }
        let hint = if let Seen::Refused(hint, _) = seen { hint } else { None };
        self.refused[row] += 1;
        let pause = self.strategy.refused(now, self.refused[row], hint);
        self.rest(now, row, pause);
    }
}

/// What a CRM had: everything at once, three retries after 100, 200 and 400 ms, and a breaker that after five failures in a
/// row rejects for a minute. It stands either around each attempt or around the whole retry loop.
pub struct Crm {
    breaker: Breaker,
    is_around_attempts: bool,
}

impl Crm {
    pub fn with_breaker_inside(rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self { breaker: Breaker::default(), is_around_attempts: true }, rows)
    }

    pub fn with_breaker_outside(rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self { breaker: Breaker::default(), is_around_attempts: false }, rows)
    }

    fn pause(refused: u32) -> Option<Span> {
        (refused <= 3).then(|| Span::from_ms(50 << refused))
    }
}

impl Strategy for Crm {
    fn admit(&mut self, now: Instant, refused: u32) -> Admission {
        let asks = self.is_around_attempts || refused == 0;
        if asks && self.breaker.is_open(now) { Admission::TurnedAway } else { Admission::Go }
    }

    fn accepted(&mut self, _now: Instant, _refused: u32) {
        self.breaker.failures = 0;
        self.breaker.until = None;
    }

    fn refused(&mut self, now: Instant, refused: u32, _hint: Option<Span>) -> Option<Span> {
        let pause = Self::pause(refused);
        if self.is_around_attempts || pause.is_none() {
            self.breaker.fail(now);
        }
        pause
    }

    fn turned_away(&mut self, refused: u32) -> Option<Span> {
        // Around the loop, its rejection is the row's end.
        if self.is_around_attempts { Self::pause(refused) } else { None }
    }
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    until: Option<Instant>,
}

impl Breaker {
    fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn fail(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= 5 {
            self.until = Some(now.plus(Span::from_ms(60_000)));
        }
    }
}

/// The limit as somebody who knows it writes it into a configuration.
#[derive(Clone, Copy)]
pub struct Known {
    /// Requests in each window.
    cap: u32,
    window_ms: f64,
    /// Where the limit is on what is in flight.
    places: Option<u32>,
}

impl Known {
    pub fn of(rule: Rule, rate: f64) -> Self {
        let window = match rule {
            Rule::Fixed { window } | Rule::Sliding { window, .. } | Rule::Block { window, .. } => window,
            Rule::Bucket { .. } | Rule::Burst { .. } | Rule::Concurrent => 1.0,
        };
        let places = (rule == Rule::Concurrent).then(|| Server::places(rate) as u32);
        Self { cap: (rate * window) as u32, window_ms: window * 1e3, places }
    }
}

/// p-queue with the known limit as `intervalCap` and `interval`, inside of p-retry with its defaults: ten retries, after
/// 1, 2, 4 … s. A refused row goes to the end of the queue.
pub struct Queue {
    known: Known,
    window: f64,
    started: u32,
    running: u32,
}

impl Queue {
    pub fn told(known: Known, rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self { known, window: 0.0, started: 0, running: 0 }, rows)
    }
}

impl Strategy for Queue {
    fn admit(&mut self, now: Instant, _refused: u32) -> Admission {
        if let Some(places) = self.known.places {
            if self.running >= places {
                return Admission::Behind;
            }
        } else {
            let window = (now.as_ms() / self.known.window_ms).floor();
            if window > self.window {
                self.window = window;
                self.started = 0;
            }
            if self.started >= self.known.cap {
                return Admission::Later(Instant::from_ms((self.window + 1.0) * self.known.window_ms));
            }
            self.started += 1;
        }
        self.running += 1;
        Admission::Go
    }

    fn accepted(&mut self, _now: Instant, _refused: u32) {
        self.running -= 1;
    }

    fn refused(&mut self, _now: Instant, refused: u32, _hint: Option<Span>) -> Option<Span> {
        self.running -= 1;
        (refused <= 10).then(|| Span::from_ms(500 << refused))
    }
}

/// Bottleneck with the known limit as its reservoir and as `minTime`. Its `failed` handler asks for ten retries, after a
/// second each, which pass the limiter by and keep their place.
pub struct Reservoir {
    known: Known,
    left: u32,
    window: f64,
    next: f64,
    running: u32,
}

impl Reservoir {
    pub fn told(known: Known, rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self { known, left: known.cap, window: 0.0, next: 0.0, running: 0 }, rows)
    }

    fn min_time(&self) -> f64 {
        (self.known.window_ms / f64::from(self.known.cap)).ceil()
    }
}

impl Strategy for Reservoir {
    fn admit(&mut self, now: Instant, refused: u32) -> Admission {
        if refused > 0 {
            return Admission::Go;
        }
        if let Some(places) = self.known.places {
            if self.running >= places {
                return Admission::Behind;
            }
        } else {
            let window = (now.as_ms() / self.known.window_ms).floor();
            if window > self.window {
                self.window = window;
                self.left = self.known.cap;
            }
            if self.left == 0 {
                return Admission::Later(Instant::from_ms((self.window + 1.0) * self.known.window_ms));
            }
            if now.as_ms() < self.next {
                return Admission::Later(Instant::from_ms(self.next));
            }
            self.left -= 1;
            self.next = now.as_ms() + self.min_time();
        }
        self.running += 1;
        Admission::Go
    }

    fn accepted(&mut self, _now: Instant, _refused: u32) {
        self.running -= 1;
    }

    fn refused(&mut self, _now: Instant, refused: u32, _hint: Option<Span>) -> Option<Span> {
        if refused > 10 {
            self.running -= 1;
            return None;
        }
        Some(Span::from_ms(1_000))
    }
}

/// The AWS SDK's adaptive mode on its fifty sockets: a token bucket whose rate follows a cubic, below the standard mode's
/// attempts, backoff and retry quota. After `DefaultRateLimiter` and `StandardRetryStrategy` of Smithy for TypeScript.
pub struct Adaptive {
    random: Random,
    max_attempts: u32,
    /// For retries: 500 tokens, of which one costs five. Infinite where attempts are.
    quota: f64,
    is_enabled: bool,
    tokens: f64,
    filled: Option<f64>,
    fill_rate: f64,
    capacity: f64,
    last_max: f64,
    last_throttle: f64,
    sent_rate: f64,
    counted: f64,
    bucket: f64,
}

impl Adaptive {
    pub fn three_attempts(seed: u64, rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self::new(seed, 3, QUOTA), rows)
    }

    pub fn without_end(seed: u64, rows: usize) -> Box<dyn Client> {
        RowByRow::boxed(Self::new(seed, u32::MAX, f64::INFINITY), rows)
    }

    fn new(seed: u64, max_attempts: u32, quota: f64) -> Self {
        Self {
            random: Random::seeded(seed),
            max_attempts,
            quota,
            is_enabled: false,
            tokens: 0.0,
            filled: None,
            fill_rate: MIN_FILL_RATE,
            capacity: 1.0,
            last_max: 0.0,
            last_throttle: 0.0,
            sent_rate: 0.0,
            counted: 0.0,
            bucket: 0.0,
        }
    }

    fn refill(&mut self, now: f64) {
        let since = self.filled.map_or(0.0, |filled| now - filled);
        self.tokens = self.capacity.min(self.tokens + since * self.fill_rate);
        self.filled = Some(now);
    }

    fn update(&mut self, now: f64, is_throttled: bool) {
        self.measure(now);
        let rate = if is_throttled {
            self.last_max = if self.is_enabled { self.sent_rate.min(self.fill_rate) } else { self.sent_rate };
            self.last_throttle = now;
            self.is_enabled = true;
            self.last_max * BETA
        } else {
            let window = (self.last_max * (1.0 - BETA) / SCALE).cbrt();
            SCALE * (now - self.last_throttle - window).powi(3) + self.last_max
        };
        let rate = rate.min(2.0 * self.sent_rate);
        self.refill(now);
        self.fill_rate = rate.max(MIN_FILL_RATE);
        self.capacity = rate.max(1.0);
        self.tokens = self.tokens.min(self.capacity);
    }

    fn measure(&mut self, now: f64) {
        self.counted += 1.0;
        let bucket = (now * 2.0).floor() / 2.0;
        if bucket > self.bucket {
            let rate = self.counted / (bucket - self.bucket);
            self.sent_rate = rate * SMOOTH + self.sent_rate * (1.0 - SMOOTH);
            self.counted = 0.0;
            self.bucket = bucket;
        }
    }
}

const BETA: f64 = 0.7;
const SCALE: f64 = 0.4;
const SMOOTH: f64 = 0.8;
const MIN_FILL_RATE: f64 = 0.5;
const QUOTA: f64 = 500.0;
const RETRY_COST: f64 = 5.0;

impl Strategy for Adaptive {
    fn workers(&self) -> usize {
        50
    }

    fn admit(&mut self, now: Instant, _refused: u32) -> Admission {
        let now = now.as_ms() / 1e3;
        if self.is_enabled {
            self.refill(now);
            if self.tokens < 1.0 {
                let until = now + (1.0 - self.tokens) / self.fill_rate;
                return Admission::Later(Instant::from_ms((until * 1e3).ceil()));
            }
            self.tokens -= 1.0;
        }
        Admission::Go
    }

    fn accepted(&mut self, now: Instant, refused: u32) {
        self.update(now.as_ms() / 1e3, false);
        let back = if refused > 0 { RETRY_COST } else { 1.0 };
        // The quota of who has no end stays without one.
        self.quota = if self.quota.is_finite() { QUOTA.min(self.quota + back) } else { self.quota };
    }

    fn refused(&mut self, now: Instant, refused: u32, hint: Option<Span>) -> Option<Span> {
        self.update(now.as_ms() / 1e3, true);
        if refused >= self.max_attempts || self.quota < RETRY_COST {
            return None;
        }
        self.quota -= RETRY_COST;
        let most = (500.0 * 2_f64.powi(refused.min(20) as i32 - 1)).min(20_000.0);
        let backoff = (self.random.draw() * most).floor();
        let asked = hint.map_or(0.0, |hint| (hint.as_ms() as f64).min(backoff + 5_000.0));
        Some(Span::from_ms(backoff.max(asked) as u64))
    }
}

/// AIMD of the cautious kind: from two at once, one more after each full round, half after a refusal, 25 at most.
pub struct Halving {
    limit: f64,
    in_flight: u32,
}

impl Halving {
    pub fn from_two() -> Box<dyn Client> {
        Box::new(Self { limit: 2.0, in_flight: 0 })
    }
}

impl Client for Halving {
    fn next(&mut self, _now: Instant) -> Next {
        if f64::from(self.in_flight) >= self.limit {
            return Next::Wait(None);
        }
        self.in_flight += 1;
        Next::Send(0)
    }

    fn answered(&mut self, _now: Instant, _ticket: usize, seen: Seen, _latency: Span) {
        match seen {
            Seen::Accepted(_) if f64::from(self.in_flight) * 2.0 >= self.limit => {
                self.limit = (self.limit + 1.0).min(25.0);
            }
            Seen::Refused(..) => self.limit = (self.limit / 2.0).floor().max(1.0),
            _ => {}
        }
        self.in_flight -= 1;
    }
}
