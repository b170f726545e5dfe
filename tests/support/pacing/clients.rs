//! Who sends: the pacer, and what people do without one.

use tidegate::cooldown::Cooldown;
use tidegate::decision::{Decision, Permit, Scope, Verdict};
use tidegate::pacer::{self, Advertised, Outcome, Pacer, PacerConfig};
use tidegate::time::{Instant, Span};

/// What a client wants to do next.
pub enum Next {
    /// Send the next row; the number comes back with the answer.
    Send(usize),
    /// Ask again then, or after the next answer.
    Wait(Option<Instant>),
}

/// What a client sees of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    Accepted(Option<Told>),
    Refused(Option<Span>, Option<Told>),
    Lost,
}

/// The fields `RateLimit` and `RateLimit-Policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub quota: u32,
    pub window_ms: u64,
    pub remaining: u32,
    pub reset_ms: u64,
}

pub trait Client {
    fn next(&mut self, now: Instant) -> Next;
    fn answered(&mut self, now: Instant, ticket: usize, seen: Seen, latency: Span);
}

/// The pacer.
pub struct Paced {
    pacer: Pacer,
    permits: Tickets<pacer::Permit>,
}

impl Paced {
    pub fn cold(seed: u64) -> Box<dyn Client> {
        Self::boxed(PacerConfig::default(), seed)
    }

    pub fn boxed(config: PacerConfig, seed: u64) -> Box<dyn Client> {
        Box::new(Self { pacer: Pacer::new(config, seed), permits: Tickets::default() })
    }
}

impl Client for Paced {
    fn next(&mut self, now: Instant) -> Next {
        match self.pacer.check(now) {
            pacer::Decision::Proceed => Next::Send(self.permits.put(self.pacer.take(now, 1))),
            pacer::Decision::Wait { until, .. } => Next::Wait(until),
        }
    }

    fn answered(&mut self, now: Instant, ticket: usize, seen: Seen, latency: Span) {
        let permit = self.permits.out(ticket);
        let (outcome, told) = match seen {
            Seen::Accepted(told) => (Outcome::Accepted, told),
            Seen::Refused(hint, told) => (Outcome::Throttled { hint }, told),
            Seen::Lost => (Outcome::Lost, None),
        };
        let advertised = told.map(|told| Advertised {
            quota: told.quota,
            window: Span::from_ms(told.window_ms),
            remaining: told.remaining,
            reset: Span::from_ms(told.reset_ms),
        });
        self.pacer.record(now, permit, outcome, latency, advertised);
    }
}

/// Ten workers without a pace, behind the cooldown that `RateLimitService` uses: everybody is held after a refusal,
/// for the hint or for 0.5, 1, 2 … 10 s.
pub struct Workers {
    cooldown: Cooldown,
    issued: u64,
    refused_in_a_row: u32,
    reacted: u64,
    free: u32,
    permits: Tickets<Permit>,
}

impl Workers {
    pub fn ten(_seed: u64) -> Box<dyn Client> {
        Box::new(Self {
            cooldown: Cooldown::new(Span::from_ms(30_000)),
            issued: 0,
            refused_in_a_row: 0,
            reacted: 0,
            free: 10,
            permits: Tickets::default(),
        })
    }
}

impl Client for Workers {
    fn next(&mut self, now: Instant) -> Next {
        if self.free == 0 {
            return Next::Wait(None);
        }
        match self.cooldown.check(now) {
            Decision::Proceed => {
                self.issued += 1;
                self.free -= 1;
                let permit = Permit::new(self.issued);
                self.cooldown.take(now, &permit);
                Next::Send(self.permits.put(permit))
            }
            Decision::Wait { until, .. } => Next::Wait(until),
            Decision::Reject { .. } => Next::Wait(Some(now.plus(Span::from_ms(1_000)))),
        }
    }

    fn answered(&mut self, now: Instant, ticket: usize, seen: Seen, _latency: Span) {
        self.free += 1;
        let permit = self.permits.out(ticket);
        match seen {
            Seen::Refused(hint, _) => {
                if permit.sequence() > self.reacted {
                    self.reacted = self.issued;
                    self.refused_in_a_row += 1;
                }
                let doubled = 500_u64.saturating_mul(1 << self.refused_in_a_row.saturating_sub(1).min(10));
                let pause = hint.unwrap_or(Span::from_ms(doubled.min(10_000)));
                let verdict = Verdict::Throttled { hint, scope: Scope::Service };
                self.cooldown.record(&permit, verdict);
                self.cooldown.hold(&permit, now.plus(pause), hint.is_some(), self.issued);
            }
            Seen::Accepted(_) => {
                self.refused_in_a_row = 0;
                self.cooldown.record(&permit, Verdict::Success);
            }
            Seen::Lost => self.cooldown.record(&permit, Verdict::Ignored),
        }
        self.cooldown.settle();
    }
}

/// As many at once as Netflix' AIMD limit allows: one more after each full round, a tenth fewer after a refusal.
pub struct Aimd {
    limit: f64,
    in_flight: u32,
}

impl Aimd {
    pub fn netflix(_seed: u64) -> Box<dyn Client> {
        Box::new(Self { limit: 20.0, in_flight: 0 })
    }
}

impl Client for Aimd {
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
                self.limit = (self.limit + 1.0).min(200.0);
            }
            Seen::Refused(..) => self.limit = (self.limit * 0.9).floor().max(1.0),
            _ => {}
        }
        self.in_flight -= 1;
    }
}

/// Five workers, each of which repeats its own row after 1, 2, 4 … s: a concurrency limit around a retry helper.
pub struct Retrying {
    workers: Vec<Worker>,
}

#[derive(Clone, Copy, Default)]
struct Worker {
    busy: bool,
    refused: u32,
    from: Instant,
}

impl Retrying {
    pub fn five(_seed: u64) -> Box<dyn Client> {
        Box::new(Self { workers: vec![Worker::default(); 5] })
    }
}

impl Client for Retrying {
    fn next(&mut self, now: Instant) -> Next {
        if let Some(index) = self.workers.iter().position(|worker| !worker.busy && worker.from <= now) {
            self.workers[index].busy = true;
            return Next::Send(index);
        }
        Next::Wait(self.workers.iter().filter(|worker| !worker.busy).map(|worker| worker.from).min())
    }

    fn answered(&mut self, now: Instant, ticket: usize, seen: Seen, _latency: Span) {
        let worker = &mut self.workers[ticket];
        worker.busy = false;
        if let Seen::Accepted(_) = seen {
            worker.refused = 0;
        } else {
            worker.from = now.plus(Span::from_ms(1_000 << worker.refused.min(10)));
            worker.refused += 1;
        }
    }
}

/// An even pace at a rate that somebody knows: what the network itself costs.
pub struct Even {
    gap: f64,
    next: f64,
}

impl Even {
    pub fn at(rate: f64) -> Box<dyn Client> {
        Box::new(Self { gap: 1e3 / rate, next: 0.0 })
    }
}

impl Client for Even {
    fn next(&mut self, now: Instant) -> Next {
        if now.as_ms() < self.next {
            return Next::Wait(Some(Instant::from_ms(self.next.ceil())));
        }
        self.next = self.next.max(now.as_ms() - 1.0) + self.gap;
        Next::Send(0)
    }

    fn answered(&mut self, _now: Instant, _ticket: usize, _seen: Seen, _latency: Span) {}
}

/// Tickets that are out, by number.
struct Tickets<T>(Vec<Option<T>>);

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Tickets<T> {
    fn put(&mut self, ticket: T) -> usize {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(ticket);
        free
    }

    fn out(&mut self, number: usize) -> T {
        self.0[number].take().expect("a ticket comes back once")
    }
}
