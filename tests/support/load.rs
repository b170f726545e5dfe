//! Clients, each with a service of its own, in front of one server: a seeded simulation in virtual time.

use std::collections::BTreeMap;

use tidegate::decision::Verdict;
use tidegate::random::Random;
use tidegate::service::{Config, Rejection};

use super::server::Server;
use super::world::{Event, What, World};

pub(crate) struct Load<S> {
    clients: Vec<World>,
    /// The alarm that each client has set.
    alarms: Vec<Option<u64>>,
    server: S,
    plan: Plan,
    requests: Vec<Request>,
    /// There and back, evenly between the two.
    round_trip_ms: (u64, u64),
    random: Random,
}

/// One request as the server saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) at: u64,
    pub(crate) accepted: bool,
}

/// A call is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) at: u64,
    pub(crate) client: usize,
    pub(crate) who: String,
    /// `None`: done. Nothing is passed on here, because these servers only accept or refuse.
    pub(crate) rejection: Option<Rejection>,
}

/// What is going to happen; at the same millisecond in the order in which it was planned.
#[derive(Default)]
pub(crate) struct Plan {
    steps: BTreeMap<(u64, u64), Step>,
    planned: u64,
}

enum Step {
    Begin { client: usize, who: String },
    Reach { client: usize, who: String },
    Answer { client: usize, who: String, verdict: Verdict },
    Alarm { client: usize },
}

impl<S: Server> Load<S> {
    pub(crate) fn new(
        config: Config,
        clients: usize,
        server: S,
        round_trip_ms: (u64, u64),
        seed: u64,
    ) -> Self {
        let world = |n| World::seeded(config, seed.wrapping_mul(1_000) + n as u64);
        Self {
            clients: (0..clients).map(world).collect(),
            alarms: vec![None; clients],
            server,
            plan: Plan::default(),
            requests: Vec::new(),
            round_trip_ms,
            random: Random::seeded(seed),
        }
    }

    pub(crate) fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    pub(crate) fn client(&self, client: usize) -> &World {
        &self.clients[client]
    }

    /// Every request so far, in the order in which they reached the server.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Lets everything happen that is planned before `horizon`. `ended` may plan more.
    pub(crate) fn run(&mut self, horizon: u64, mut ended: impl FnMut(&mut Plan, Ended)) {
        while let Some((now, step)) = self.plan.next_before(horizon) {
            let client = match step {
                Step::Begin { client, who } => {
                    self.clients[client].until(now).begin(&who);
                    client
                }
                Step::Reach { client, who } => {
                    let verdict = self.server.ask(now);
                    self.requests.push(Request { at: now, accepted: verdict == Verdict::Success });
                    let back = self.way();
                    self.plan.add(now + back, Step::Answer { client, who, verdict });
                    continue;
                }
                Step::Answer { client, who, verdict } => {
                    self.clients[client].until(now).end(&who, verdict);
                    client
                }
                Step::Alarm { client } => {
                    self.alarms[client] = None;
                    self.clients[client].until(now);
                    client
                }
            };
            self.follow(client, &mut ended);
        }
    }

    fn follow(&mut self, client: usize, ended: &mut impl FnMut(&mut Plan, Ended)) {
        for Event { at, what } in self.clients[client].news() {
            match what {
                What::Attempt { who, .. } => {
                    let there = self.way();
                    self.plan.add(at + there, Step::Reach { client, who });
                }
                What::Done { who } => ended(&mut self.plan, Ended { at, client, who, rejection: None }),
                What::Rejected { who, rejection } => {
                    ended(&mut self.plan, Ended { at, client, who, rejection: Some(rejection) });
                }
                What::PassedOn { .. } | What::Cancelled { .. } | What::Waits { .. } | What::Changed(_) => {}
            }
        }
        let due = self.clients[client].next_alarm();
        if let Some(alarm) = due.filter(|alarm| self.alarms[client].is_none_or(|set| *alarm < set)) {
            self.alarms[client] = Some(alarm);
            self.plan.add(alarm, Step::Alarm { client });
        }
    }

    fn way(&mut self) -> u64 {
        let (least, most) = self.round_trip_ms;
        (least + (self.random.draw() * (most - least) as f64) as u64) / 2
    }
}

impl Plan {
    pub(crate) fn begin(&mut self, at: u64, client: usize, who: String) {
        self.add(at, Step::Begin { client, who });
    }

    fn add(&mut self, at: u64, step: Step) {
        self.planned += 1;
        self.steps.insert((at, self.planned), step);
    }

    fn next_before(&mut self, horizon: u64) -> Option<(u64, Step)> {
        let first = self.steps.first_entry().filter(|first| first.key().0 < horizon)?;
        let ((at, _), step) = first.remove_entry();
        Some((at, step))
    }
}
