//! The way to the server and back, clients that send their rows over it, and what came of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidegate::random::Random;
use tidegate::time::{Instant, Span};

use super::clients::{Client, Next, Seen, Told};
use super::server::{Answer, Limit, Rule, Server};

/// Which headers a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Not even the status: a refusal without CORS headers looks to a browser as if the connection had been lost.
    Hidden,
    /// The status only: a browser and a server that exposes nothing.
    None,
    /// `Retry-After` in whole seconds on refusals.
    RetryAfter,
    /// `RateLimit` and `RateLimit-Policy` on every answer, `Retry-After` on refusals.
    Policy,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Trial {
    pub rule: Rule,
    pub limit: Limit,
    pub headers: Headers,
    /// Rows of each client.
    pub rows: usize,
    /// When each client starts, in seconds.
    pub starts: Vec<f64>,
    /// From request to answer, in milliseconds, evenly between the two.
    pub latency: (f64, f64),
    /// How coarse the timers are, in milliseconds.
    pub timer: u64,
    /// The share of requests that never arrive, and of answers that are lost after the row was written.
    pub dropped: f64,
    pub lost: f64,
    /// Requests a second of somebody else under the same limit, at random times.
    pub foreign: f64,
    /// Nothing happens between these two times, in seconds: the machine sleeps. Answers are lost.
    pub asleep: Option<(f64, f64)>,
    pub seed: u64,
}

impl Trial {
    pub fn new(rule: Rule, rate: f64, rows: usize) -> Self {
        Self {
            rule,
            limit: Limit::steady(rate),
            headers: Headers::None,
            rows,
            starts: vec![0.0],
            latency: (50.0, 150.0),
            timer: 1,
            dropped: 0.0,
            lost: 0.0,
            foreign: 0.0,
            asleep: None,
            seed: 1,
        }
    }

    /// How long all rows take when nothing is ever refused and nothing comes early, in seconds.
    pub fn optimum(&self) -> f64 {
        let rows = (self.rows * self.starts.len()) as f64;
        if self.rule == Rule::Concurrent {
            // One takes 100 ms in service and 20 ms on the way, during which its place is empty.
            return rows * 0.12 / Server::places(self.limit.at(0.0));
        }
        self.limit.seconds_for(rows)
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every row of every client was reported as accepted before the cut-off.
    pub finished: bool,
    /// From the start to the last row, in seconds; the cut-off when not all were finished.
    pub makespan: f64,
    /// The same, divided by the optimum.
    pub ratio: f64,
    pub accepted: usize,
    pub refused: usize,
    /// Refused per row.
    pub refusals: f64,
    /// Rows of which the server has none, or more than one when it forgets its keys.
    pub missing: usize,
    /// The most refusals within one second.
    pub storm: usize,
    /// Jain's index over what each client got while all of them were at it: 1 is perfectly fair.
    pub jain: f64,
    /// Accepts: time and client.
    pub accepts: Vec<(f64, usize)>,
    /// Times of the refusals.
    pub refusal_times: Vec<f64>,
    pub max_in_flight: usize,
}

impl Report {
    /// Accepted a second within the time.
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        self.accepts.iter().filter(|(time, _)| *time >= from && *time < to).count() as f64 / (to - from)
    }
}

/// Runs a trial; `client` makes the clients from a seed.
pub fn run(trial: &Trial, client: &dyn Fn(u64) -> Box<dyn Client>) -> Report {
    let mut world = World::new(trial, client);
    world.run();
    world.report()
}

struct World<'a> {
    trial: &'a Trial,
    random: Random,
    server: Server,
    events: BinaryHeap<Reverse<Event>>,
    numbered: u64,
    now: u64,
    seats: Vec<Seat>,
    report: Report,
    written: Vec<u32>,
}

/// A client and its rows.
struct Seat {
    client: Box<dyn Client>,
    started: bool,
    /// The next row is the last of the list: refused rows come first again.
    rows: Vec<usize>,
    left: usize,
    in_flight: usize,
    /// Only the latest timer counts.
    timer: u64,
    ended: f64,
}

/// In microseconds; of two at the same time the one that was planned first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    time: u64,
    number: u64,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Start(usize),
    Timer(usize, u64),
    Arrival(Request),
    Release,
    Return(Request, Returned),
    Foreign,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    client: usize,
    row: usize,
    ticket: usize,
    sent: u64,
    /// Microseconds of the way back.
    back: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Returned {
    Accepted(Option<Told>),
    Refused(Option<u32>, Option<Told>),
    Lost,
}

impl<'a> World<'a> {
    fn new(trial: &'a Trial, client: &dyn Fn(u64) -> Box<dyn Client>) -> Self {
        let mut random = Random::seeded(trial.seed.wrapping_mul(7919).wrapping_add(13));
        let server = Server::new(trial.rule, trial.limit.clone(), random.draw());
        let mut world = Self {
            trial,
            random,
            server,
            events: BinaryHeap::new(),
            numbered: 0,
            now: 0,
            seats: Vec::new(),
            report: Report::default(),
            written: vec![0; trial.rows * trial.starts.len()],
        };
        for (index, start) in trial.starts.iter().enumerate() {
            let first = index * trial.rows;
            world.seats.push(Seat {
                client: client(trial.seed.wrapping_mul(31).wrapping_add(5 + index as u64)),
                started: false,
                rows: (first..first + trial.rows).rev().collect(),
                left: trial.rows,
                in_flight: 0,
                timer: 0,
                ended: 0.0,
            });
            world.plan(micros(*start), What::Start(index));
        }
        if trial.foreign > 0.0 {
            world.plan(1_000, What::Foreign);
        }
        world
    }

    fn run(&mut self) {
        let asleep = self.trial.asleep.map_or(0.0, |(from, to)| to - from);
        // Timers of a minute cannot be fast; whether everything arrives is the question.
        let patience = 1.0 + self.trial.timer as f64 / 5e3;
        let cut_off = micros((20.0 * self.trial.optimum()).max(3_600.0) * patience + asleep);
        while let Some(Reverse(event)) = self.events.pop() {
            let time = self.awake(event.time);
            if time > cut_off {
                break;
            }
            self.now = time;
            self.happen(event.what);
            if self.seats.iter().all(|seat| seat.left == 0) {
                self.report.finished = true;
                break;
            }
        }
        if !self.report.finished {
            self.now = cut_off;
        }
    }

    /// What would happen during the sleep happens right after it.
    fn awake(&self, time: u64) -> u64 {
        self.trial.asleep.map_or(time, |(from, to)| {
            if time >= micros(from) && time < micros(to) { micros(to) } else { time }
        })
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Start(client) => {
                self.seats[client].started = true;
                self.pump(client);
            }
            What::Timer(client, number) => {
                if self.seats[client].timer == number {
                    self.pump(client);
                }
            }
            What::Arrival(request) => self.arrive(request),
            What::Release => self.server.release(),
            What::Return(request, returned) => self.hand_back(request, returned),
            What::Foreign => {
                let _ = self.server.take(seconds(self.now));
                let gap = -(1.0 - self.random.draw()).ln() / self.trial.foreign;
                self.plan(self.now + micros(gap), What::Foreign);
            }
        }
    }

    /// Lets a client send until it wants to wait.
    fn pump(&mut self, client: usize) {
        let now = self.instant();
        self.seats[client].timer += 1;
        while self.seats[client].started && !self.seats[client].rows.is_empty() {
            match self.seats[client].client.next(now) {
                Next::Send(ticket) => self.send(client, ticket),
                Next::Wait(until) => {
                    if let Some(until) = until {
                        let grain = self.trial.timer;
                        let due = until.ticks().max(now.ticks() + 1).div_ceil(grain) * grain;
                        let number = self.seats[client].timer;
                        self.plan(due * 1_000, What::Timer(client, number));
                    }
                    return;
                }
            }
        }
    }

    fn send(&mut self, client: usize, ticket: usize) {
        let seat = &mut self.seats[client];
        let row = seat.rows.pop().expect("a row is left");
        seat.in_flight += 1;
        self.report.max_in_flight = self.report.max_in_flight.max(seat.in_flight);
        let (low, high) = self.trial.latency;
        let (there, back) = if self.server.is_concurrent() {
            (5.0 + 10.0 * self.random.draw(), 5.0 + 10.0 * self.random.draw())
        } else {
            let way = (low + (high - low) * self.random.draw()) / 2.0;
            (way, way)
        };
        let request = Request { client, row, ticket, sent: self.now, back: (back * 1e3) as u64 };
        let arrival = self.now + (there * 1e3) as u64;
        if self.random.draw() < self.trial.dropped {
            self.plan(arrival + request.back, What::Return(request, Returned::Lost));
        } else {
            self.plan(arrival, What::Arrival(request));
        }
    }

    fn arrive(&mut self, request: Request) {
        let now = seconds(self.now);
        let answer = self.server.take(now);
        let told = self.told(&answer);
        let mut leaves = self.now;
        let returned = if answer.accepted {
            self.report.accepts.push((now, request.client));
            self.written[request.row] += 1;
            if self.server.is_concurrent() {
                leaves += ((50.0 + 100.0 * self.random.draw()) * 1e3) as u64;
                self.plan(leaves, What::Release);
            }
            if self.random.draw() < self.trial.lost { Returned::Lost } else { Returned::Accepted(told) }
        } else {
            self.report.refusal_times.push(now);
            let hint = matches!(self.trial.headers, Headers::RetryAfter | Headers::Policy)
                && !self.server.is_concurrent();
            Returned::Refused(hint.then(|| (answer.wait.ceil() as u32).max(1)), told)
        };
        self.plan(leaves + request.back, What::Return(request, returned));
    }

    fn told(&self, answer: &Answer) -> Option<Told> {
        (self.trial.headers == Headers::Policy && answer.quota > 0).then(|| Told {
            quota: answer.quota,
            window_ms: (answer.window * 1e3) as u64,
            remaining: answer.remaining,
            reset_ms: (answer.wait.ceil() * 1e3) as u64,
        })
    }

    fn hand_back(&mut self, request: Request, returned: Returned) {
        let seat = &mut self.seats[request.client];
        seat.in_flight -= 1;
        let slept =
            self.trial.asleep.is_some_and(|(from, to)| request.sent < micros(from) && self.now >= micros(to));
        let seen = match returned {
            _ if slept => Seen::Lost,
            Returned::Refused(..) if self.trial.headers == Headers::Hidden => Seen::Lost,
            Returned::Accepted(told) => Seen::Accepted(told),
            Returned::Refused(hint, told) => {
                Seen::Refused(hint.map(|seconds| Span::from_ms(u64::from(seconds) * 1_000)), told)
            }
            Returned::Lost => Seen::Lost,
        };
        if let Seen::Accepted(_) = seen {
            seat.left -= 1;
            if seat.left == 0 {
                seat.ended = seconds(self.now);
            }
        } else {
            seat.rows.push(request.row);
        }
        let latency = Span::from_ms((self.now - request.sent) / 1_000);
        let now = Instant::from_ms((self.now / 1_000) as f64);
        seat.client.answered(now, request.ticket, seen, latency);
        self.pump(request.client);
    }

    fn plan(&mut self, time: u64, what: What) {
        self.numbered += 1;
        self.events.push(Reverse(Event { time, number: self.numbered, what }));
    }

    fn instant(&self) -> Instant {
        Instant::from_ms((self.now / 1_000) as f64)
    }

    fn report(mut self) -> Report {
        let mut report = std::mem::take(&mut self.report);
        let rows = self.written.len();
        report.makespan = seconds(self.now);
        report.ratio = report.makespan / self.trial.optimum();
        report.accepted = rows - self.seats.iter().map(|seat| seat.left).sum::<usize>();
        report.refused = report.refusal_times.len();
        report.refusals = report.refused as f64 / report.accepted.max(1) as f64;
        report.missing = self.written.iter().filter(|times| **times == 0).count();
        report.storm = busiest_second(&report.refusal_times);
        report.jain = self.jain(&report);
        report
    }

    fn jain(&self, report: &Report) -> f64 {
        let from = self.trial.starts.iter().copied().fold(0.0, f64::max) + 10.0;
        let to = self.seats.iter().map(|seat| seat.ended).fold(f64::INFINITY, f64::min);
        let mut shares = vec![0.0; self.seats.len()];
        for (time, client) in &report.accepts {
            if *time >= from && *time < to {
                shares[*client] += 1.0;
            }
        }
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
    }
}

fn busiest_second(times: &[f64]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (index, time) in times.iter().enumerate() {
        while times[first] <= time - 1.0 {
            first += 1;
        }
        most = most.max(index + 1 - first);
    }
    most
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
