//! A service under whatever the shell may ask and tell, beside a model that only remembers who is where and since when.
//!
//! Of the core the model uses nothing but what a shell is told. Checked are: no cap on slots and no window is exceeded, nor
//! an interval or a cooldown cut short; nobody starts while the circuit is open, and no more probes than configured while it
//! is half-open; what comes from before the circuit changed its state changes nothing there; retries keep to their number,
//! to the budget, to hints and to deadlines; nobody waits for nothing, and in the end nobody waits at all.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::budget::BudgetConfig;
use tidegate::circuit::Trip;
use tidegate::decision::{Permit, Phase, Reason, Scope, Transition, Verdict};
use tidegate::limits::LimitsConfig;
use tidegate::queue::{Name, Terms};
use tidegate::quota::{Policy, Window};
use tidegate::service::{Admission, Call, Config, Ending, Next, RetryTransient, Service};
use tidegate::slots::SlotsConfig;
use tidegate::time::{Instant, Span};

use super::tell;

/// One history of this target.
pub fn run(data: &[u8]) {
    let Ok(history) = History::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut model = Model::new(&history);
    tell(|| format!("{:?} {:?}", history.rules.config(), history.caps.limits()));
    for op in history.ops.iter().take(MOST_OPS) {
        tell(|| format!("{} {op:?}", model.now));
        model.happens(op);
    }
    model.comes_to_an_end();
}

#[derive(Arbitrary, Debug)]
struct History {
    seed: u64,
    rules: Rules,
    caps: Caps,
    ops: Vec<Op>,
}

// ---- What is configured: small numbers, so that every limit is met ---------------------------------------------------

#[derive(Arbitrary, Clone, Debug)]
struct Rules {
    max_retries: u8,
    initial: u8,
    max: u16,
    jitter: u8,
    respect_hints: bool,
    max_retry_after: u16,
    threshold: u8,
    reset: u16,
    probes: u8,
    probe_timeout: u16,
    retry_transient: u8,
    budget: Option<(u8, u8, u16)>,
    shared_cooldown: bool,
    trip: (u8, u8, u8, u16),
}

impl Rules {
    fn config(&self) -> Config {
        let share = |part: u8| f64::from(part) / 255.0;
        let span = |ms: u16, least: u64| Span::from_ms(u64::from(ms) % 4_000 + least);
        let (kind, ratio, calls, length) = self.trip;
        let ratio = share(ratio).max(0.01);
        Config {
            max_retries: u32::from(self.max_retries % 5),
            backoff: Backoff {
                initial: Span::from_ms(u64::from(self.initial)),
                max: span(self.max, 255),
                jitter: match self.jitter % 5 {
                    0 => Jitter::Full,
                    1 => Jitter::Equal,
                    2 => Jitter::Decorrelated,
                    3 => Jitter::None,
                    _ => Jitter::Proportional { factor: share(self.jitter) },
                },
            },
            respect_retry_after: self.respect_hints,
            max_retry_after: span(self.max_retry_after, 1),
            circuit_threshold: u32::from(self.threshold % 4) + 1,
            circuit_reset: span(self.reset, 1),
            half_open_probes: u32::from(self.probes % 3) + 1,
            probe_timeout: span(self.probe_timeout, 1),
            retry_transient: match self.retry_transient % 3 {
                0 => RetryTransient::Never,
                1 => RetryTransient::Idempotent,
                _ => RetryTransient::Always,
            },
            retry_budget: self.budget.map(|(ratio, per_second, window)| BudgetConfig {
                ratio: share(ratio),
                min_per_second: f64::from(per_second % 8) / 2.0,
                window: span(window, 1),
            }),
            shared_cooldown: self.shared_cooldown,
            trip: match kind % 4 {
                0 => Trip::Events,
                1 => Trip::InARow,
                2 => Trip::LastCalls { ratio, calls: u32::from(calls % 8) + 1, minimum: u32::from(kind % 5) },
                _ => Trip::Window { ratio, length: span(length, 10), minimum: u32::from(kind % 5) },
            },
        }
    }
}

#[derive(Arbitrary, Clone, Debug)]
struct Caps {
    limit: u8,
    interval: u8,
    smooth: bool,
    global: Option<u8>,
    per_key: Option<u8>,
    per_operation: Option<u8>,
    lease: Option<u16>,
    max_queue: Option<u8>,
    reject: bool,
    /// Those that are missing count nothing.
    policies: u8,
}

impl Caps {
    fn policies(&self) -> Vec<Policy> {
        let limit = u32::from(self.limit % 4) + 1;
        let window = |limit, length| Window { limit, length: Span::from_ms(length) };
        let mut policies = vec![
            Policy { windows: vec![window(limit, 1_000), window(2 * limit, 5_000)], ..Policy::default() },
            Policy { windows: vec![window(limit + 1, 1_000)], smooth: self.smooth, ..Policy::default() },
            Policy { interval: Span::from_ms(u64::from(self.interval)), ..Policy::default() },
        ];
        policies.truncate(3_usize.saturating_sub(usize::from(self.policies / 64)));
        policies
    }

    fn limits(&self) -> LimitsConfig {
        let cap = |cap: Option<u8>| cap.map(|cap| u32::from(cap % 4) + 1);
        LimitsConfig {
            policies: self.policies(),
            slots: SlotsConfig {
                global: cap(self.global),
                per_key: cap(self.per_key),
                per_operation: vec![None, cap(self.per_operation)],
                lease: self.lease.map(|lease| Span::from_ms(u64::from(lease) % 4_000 + 1)),
            },
            max_queue: self.max_queue.map_or(u32::MAX, |most| u32::from(most % 6)),
            reject: self.reject,
            ..LimitsConfig::default()
        }
    }
}

/// Operation and quotas of each lane after lane 0, which needs nothing.
const LANES: [(u32, &[usize]); 6] =
    [(0, &[0, 4]), (0, &[1, 3]), (1, &[0]), (1, &[1, 4]), (1, &[2, 3]), (0, &[])];

/// The policy of each quota.
const QUOTAS: [usize; 5] = [0, 0, 1, 1, 2];

// ---- What happens ----------------------------------------------------------------------------------------------------

#[derive(Arbitrary, Debug)]
enum Op {
    Begin(Wish),
    /// Once more for a call that has begun: nothing is put into the budget.
    Admit(Wish),
    Attempt(Wish),
    Succeed(u8),
    End {
        which: u8,
        verdict: Told,
        keeps_slot: bool,
        is_offline: bool,
        draw: Option<f64>,
    },
    /// The attempt is over, and what follows is decided elsewhere.
    Ended {
        which: u8,
        verdict: Told,
    },
    Release(u8),
    Renew(u8),
    /// Given up while it waits.
    Leave(u8),
    GiveBack(u8),
    Clear(Option<u8>),
    Configure(Rules),
    Limit(Caps),
    Reset,
    Isolate,
    RestoreCooldown(u16),
    /// Time passes, and alarms go off.
    Pass(u16),
    /// The clock is set, and no alarm has gone off yet.
    Jump {
        back: bool,
        ms: u32,
    },
}

#[derive(Arbitrary, Clone, Debug)]
struct Wish {
    lane: u8,
    priority: i8,
    weight: u8,
    concurrency: u8,
    limit: u8,
    deadline: Option<u16>,
    idempotent: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Told {
    Success,
    Throttled(Option<u16>),
    Personal(Option<u16>),
    Unwell,
    Lost,
    Permanent,
    Ignored,
}

impl Told {
    fn verdict(self) -> Verdict {
        let hint = |ms: Option<u16>| ms.map(|ms| Span::from_ms(u64::from(ms)));
        match self {
            Self::Success => Verdict::Success,
            Self::Throttled(ms) => Verdict::Throttled { hint: hint(ms), scope: Scope::Service },
            Self::Personal(ms) => Verdict::Throttled { hint: hint(ms), scope: Scope::Call },
            Self::Unwell => Verdict::Transient { answered: true },
            Self::Lost => Verdict::Transient { answered: false },
            Self::Permanent => Verdict::Permanent,
            Self::Ignored => Verdict::Ignored,
        }
    }
}

// ---- Who is where ----------------------------------------------------------------------------------------------------

struct Model {
    service: Service,
    config: Config,
    caps: Caps,
    lanes: Vec<u32>,
    now: u64,
    /// The latest time that was ever told.
    latest: u64,
    /// When the shell asks next by itself.
    bell: Option<Instant>,
    waiting: BTreeMap<Name, Waiting>,
    running: Vec<Running>,
    /// Slots of attempts that are over and of operations that are not.
    kept: Vec<Slot>,
    issued: u64,
    /// How often the circuit has changed its state.
    epoch: u64,
    probes: Vec<Probe>,
    held_until: Option<Instant>,
    /// Quota by quota: when, and how many units.
    taken: Vec<Vec<(u64, u32)>>,
    /// When a call began, and when a retry was granted. Not known after a clock went back, until then.
    calls: Vec<u64>,
    retries: Vec<u64>,
    budget_known_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: Call,
    idempotent: bool,
    retries: u32,
    previous_delay: Option<Span>,
}

#[derive(Debug)]
struct Running {
    slot: Slot,
    who: Waiting,
    permit: Permit,
    started: u64,
    epoch: u64,
    gave_back: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    permit: u64,
    lane: u32,
    /// When it is taken back; 0 once it was.
    ends: Option<u64>,
}

#[derive(Debug)]
struct Probe {
    permit: u64,
    expires: u64,
}

impl Model {
    fn new(history: &History) -> Self {
        let config = history.rules.config();
        let mut service = Service::limited(config, history.caps.limits(), history.seed);
        for policy in QUOTAS {
            service.limits_mut().quota(number(policy));
        }
        let lane = |(operation, needs): (u32, &[usize])| {
            let lane = service.lane(Instant::ZERO, operation).expect("there is room for a few lanes");
            needs.iter().for_each(|quota| service.limits_mut().need(lane, number(*quota)));
            lane
        };
        Self {
            lanes: std::iter::once(0).chain(LANES.map(lane)).collect(),
            service,
            config,
            caps: history.caps.clone(),
            now: BEGINNING,
            latest: BEGINNING,
            bell: None,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            kept: Vec::new(),
            issued: 0,
            epoch: 0,
            probes: Vec::new(),
            held_until: None,
            taken: vec![Vec::new(); QUOTAS.len()],
            calls: Vec::new(),
            retries: Vec::new(),
            budget_known_from: 0,
        }
    }

    fn happens(&mut self, op: &Op) {
        match op {
            Op::Begin(wish) => self.begin(wish, true),
            Op::Admit(wish) => self.begin(wish, false),
            Op::Attempt(wish) => self.attempt(wish),
            Op::Succeed(which) => self.succeed(*which),
            Op::End { which, verdict, keeps_slot, is_offline, draw } => {
                self.end(*which, verdict.verdict(), *keeps_slot, !is_offline, *draw);
            }
            Op::Ended { which, verdict } => self.ended(*which, verdict.verdict()),
            Op::Release(which) => self.release(*which),
            Op::Renew(which) => self.renew(*which),
            Op::Leave(which) => self.leave(*which),
            Op::GiveBack(which) => self.give_back(*which),
            Op::Clear(lane) => self.clear(*lane),
            Op::Configure(rules) => self.configure(rules.config()),
            Op::Limit(caps) => self.limit(caps),
            Op::Reset => self.service.reset(),
            Op::Isolate => self.service.isolate(),
            Op::RestoreCooldown(ms) => self.service.restore_cooldown(at(self.now + u64::from(*ms))),
            Op::Pass(ms) => self.pass(self.now + u64::from(*ms)),
            Op::Jump { back, ms } => return self.jump(*back, u64::from(*ms)),
        }
        self.poll();
        self.check_nobody_is_forgotten();
    }

    // ---- What the shell does

    fn begin(&mut self, wish: &Wish, is_new: bool) {
        let who = self.who(wish);
        if is_new {
            self.calls.push(self.now);
        }
        self.reclaim();
        let phase = self.phase();
        let now = self.now();
        let asked = |service: &mut Service| match is_new {
            true => service.begin(now, &who.call),
            false => service.admit(now, &who.call),
        };
        match asked(&mut self.service) {
            Admission::Go(permit) => self.starts(permit, who, phase),
            Admission::Wait { name, .. } => self.waits(name, who),
            Admission::Reject(rejection) => self.check_rejection(rejection.reason, &who),
        }
    }

    /// Waits for nothing, so that a deadline has no meaning.
    fn attempt(&mut self, wish: &Wish) {
        let who = self.who(&Wish { deadline: None, ..wish.clone() });
        self.reclaim();
        let phase = self.phase();
        match self.service.attempt(self.now(), &who.call) {
            Admission::Go(permit) => self.starts(permit, who, phase),
            Admission::Wait { .. } => panic!("an attempt waits for nothing"),
            Admission::Reject(_) => {}
        }
    }

    fn succeed(&mut self, which: u8) {
        let Some(Running { slot, who, permit, started, epoch, .. }) = self.stops(which) else { return };
        let before = self.service.circuit(self.now());
        self.service.succeed(self.now(), &permit, at(started), who.call.group, slot.lane);
        self.check_late(epoch, before);
    }

    fn end(&mut self, which: u8, verdict: Verdict, keeps_slot: bool, online: bool, draw: Option<f64>) {
        let Some(Running { slot, mut who, permit, started, epoch, .. }) = self.stops(which) else { return };
        if keeps_slot {
            self.kept.push(slot);
        }
        let ending = Ending {
            permit,
            started: at(started),
            verdict,
            online,
            retries: who.retries,
            max_retries: self.config.max_retries,
            previous_delay: who.previous_delay,
            idempotent: who.idempotent,
            initial_delay: None,
            keeps_slot,
        };
        let before = self.service.circuit(self.now());
        let next = self.service.end(self.now(), &ending, &who.call, draw.filter(|draw| !draw.is_nan()));
        self.check_late(epoch, before);
        if let Next::Retry { name, until, delay } = next {
            self.check_retry(&who, verdict, until, delay);
            who.retries += 1;
            who.previous_delay = Some(delay);
            self.retries.push(self.now);
            self.waits(name, who);
        }
    }

    fn ended(&mut self, which: u8, verdict: Verdict) {
        let Some(Running { slot, who, permit, started, epoch, .. }) = self.stops(which) else { return };
        let before = self.service.circuit(self.now());
        self.service.ended(self.now(), &permit, at(started), who.call.group, verdict);
        self.check_late(epoch, before);
        self.service.release(&permit, slot.lane);
    }

    fn release(&mut self, which: u8) {
        if !self.kept.is_empty() {
            let slot = self.kept.swap_remove(usize::from(which) % self.kept.len());
            self.service.release(&Permit::new(slot.permit), slot.lane);
        }
    }

    fn renew(&mut self, which: u8) {
        self.reclaim();
        if self.running.is_empty() {
            return;
        }
        let index = usize::from(which) % self.running.len();
        let running = &mut self.running[index];
        let renewed = self.service.renew(at(self.now), &running.permit);
        let ends = running.slot.ends.filter(|_| running.slot.lane != 0);
        assert_eq!(
            renewed.is_some(),
            ends.is_some_and(|end| end > self.now),
            "a lease is renewed while it runs"
        );
        running.slot.ends = renewed.map(Instant::ticks).or(running.slot.ends);
    }

    fn leave(&mut self, which: u8) {
        let name = self.waiting.keys().nth(usize::from(which) % self.waiting.len().max(1)).copied();
        if let Some(name) = name {
            self.waiting.remove(&name);
            self.service.leave(self.now(), name, None);
        }
    }

    fn give_back(&mut self, which: u8) {
        let count = self.running.len().max(1);
        let Some(running) = self.running.get_mut(usize::from(which) % count) else { return };
        if running.gave_back {
            return;
        }
        running.gave_back = true;
        let Terms { lane, weight, .. } = running.who.call.terms;
        let started = running.started;
        // What the model knows of these quotas is no longer exact: it forgets them.
        needs(lane).iter().for_each(|quota| self.taken[*quota].clear());
        self.service.give_back(lane, at(started), weight);
    }

    fn clear(&mut self, lane: Option<u8>) {
        let lane = lane.map(|lane| self.lanes[usize::from(lane) % self.lanes.len()]);
        for quota in lane.map_or(&[0, 1, 2, 3, 4][..], needs) {
            self.taken[*quota].clear();
        }
        self.service.clear(lane);
    }

    fn configure(&mut self, config: Config) {
        let window = |config: &Config| config.retry_budget.map(|budget| budget.window);
        if window(&config) != window(&self.config) {
            self.calls.clear();
            self.retries.clear();
        }
        self.config = config;
        self.service.reconfigure(config);
    }

    fn limit(&mut self, caps: &Caps) {
        for (quota, policy) in QUOTAS.into_iter().enumerate() {
            if caps.policies().len() <= policy {
                self.taken[quota].clear();
            }
        }
        self.caps = caps.clone();
        self.service.limit(caps.limits());
    }

    fn jump(&mut self, back: bool, ms: u64) {
        let ms = ms % 3_600_000;
        self.now = if back { self.now.saturating_sub(ms) } else { self.now + ms };
        if back {
            // Its slices are a ring: what lies ahead may be overwritten.
            self.budget_known_from = self.latest + 10_000;
        }
        self.latest = self.latest.max(self.now);
    }

    fn pass(&mut self, until: u64) {
        for _ in 0..MOST_ALARMS {
            let deadlines = self.waiting.values().filter_map(|one| one.call.deadline);
            let Some(alarm) = deadlines.chain(self.bell).min().filter(|alarm| alarm.ticks() <= until) else {
                break;
            };
            self.now = alarm.ticks().max(self.now);
            self.latest = self.latest.max(self.now);
            self.poll();
            self.check_nobody_is_forgotten();
        }
        self.now = until.max(self.now);
        self.latest = self.latest.max(self.now);
    }

    fn poll(&mut self) {
        self.note_transitions();
        loop {
            self.reclaim();
            let phase = self.phase();
            let Some((name, admission)) = self.service.poll(self.now()) else { break };
            let who = self.waiting.remove(&name).expect("whoever is called waits");
            match admission {
                Admission::Go(permit) => self.starts(permit, who, phase),
                Admission::Reject(rejection) => self.check_rejection(rejection.reason, &who),
                Admission::Wait { .. } => panic!("whoever is called does not wait again"),
            }
        }
        self.note_transitions();
        self.bell = self.service.poll_timeout(self.now());
    }

    // ---- What follows

    fn who(&self, wish: &Wish) -> Waiting {
        let limit = u32::from(wish.limit.saturating_sub(240) % 4);
        let terms = Terms {
            lane: self.lanes[usize::from(wish.lane) % self.lanes.len()],
            weight: if wish.weight < 200 { 1 } else { u32::from(wish.weight % 4) },
            concurrency: u32::from(wish.concurrency.saturating_sub(240) % 4),
            limit,
            length: Span::from_ms(if limit > 0 { 500 } else { 0 }),
        };
        let deadline = wish.deadline.map(|ms| at(self.now + u64::from(ms) % 8_000));
        let call =
            Call { arrival: self.now(), deadline, priority: i32::from(wish.priority % 3), group: 0, terms };
        Waiting { call, idempotent: wish.idempotent, retries: 0, previous_delay: None }
    }

    fn waits(&mut self, name: Name, who: Waiting) {
        assert!(self.waiting.insert(name, who).is_none(), "two are called {name}");
    }

    /// An attempt starts: it has to be allowed by everything that the model remembers.
    fn starts(&mut self, permit: Permit, who: Waiting, phase: Phase) {
        let sequence = permit.sequence();
        assert_eq!(sequence, self.issued + 1, "permits are numbered in the order of their issue");
        self.issued = sequence;
        assert!(
            !matches!(phase, Phase::Open | Phase::Isolated),
            "an attempt starts while the circuit is {phase:?}"
        );
        assert!(self.held_until.is_none_or(|until| until <= self.now()), "it starts during a cooldown");
        // It has begun to let them go, and does not hold again where the clock goes back.
        self.held_until = None;
        assert!(
            who.call.deadline.is_none_or(|deadline| deadline > self.now()),
            "it starts after its deadline"
        );
        self.note_transitions();
        self.check_probe(sequence, phase);
        let slot = self.slot(sequence, &who.call);
        self.check_slots(&who.call);
        self.check_windows(&who.call);
        let policies = self.caps.policies().len();
        for quota in taking(&who.call).iter().filter(|quota| QUOTAS[**quota] < policies) {
            let latest = self.latest_of(*quota).max(self.now);
            self.taken[*quota].push((latest, who.call.terms.weight));
        }
        let (started, epoch) = (self.now, self.epoch);
        self.running.push(Running { slot, who, permit, started, epoch, gave_back: false });
    }

    fn slot(&self, permit: u64, call: &Call) -> Slot {
        let lease = self.caps.limits().slots.lease;
        Slot { permit, lane: call.terms.lane, ends: lease.map(|lease| self.now + lease.as_ms()) }
    }

    fn stops(&mut self, which: u8) -> Option<Running> {
        self.reclaim();
        let count = self.running.len();
        let stopped = (count > 0).then(|| self.running.swap_remove(usize::from(which) % count))?;
        self.probes.retain(|probe| probe.permit != stopped.slot.permit);
        Some(stopped)
    }

    /// A slot that was taken back stays so, wherever the clock goes; a probe that was given up too.
    fn reclaim(&mut self) {
        let now = self.now;
        let slots = self.running.iter_mut().map(|running| &mut running.slot).chain(&mut self.kept);
        slots.filter(|slot| slot.ends.is_some_and(|end| end <= now)).for_each(|slot| slot.ends = Some(0));
        self.probes.retain(|probe| probe.expires > now);
    }

    fn note_transitions(&mut self) {
        while let Some(transition) = self.service.next_transition() {
            match transition {
                Transition::Circuit { from, to } => {
                    assert_ne!(from, to);
                    self.epoch += 1;
                    self.probes.clear();
                }
                Transition::CooldownBegan { until } => self.held_until = Some(until),
                Transition::CooldownEnded => self.held_until = None,
                Transition::Warned { .. } => {}
            }
        }
    }

    // ---- The rules, one by one

    fn check_probe(&mut self, permit: u64, phase: Phase) {
        if phase == Phase::HalfOpen {
            let (out, most) = (self.probes.len(), self.config.half_open_probes);
            assert!(number(out) < most, "{out} probes are out, and {most} may be");
            self.probes.push(Probe { permit, expires: self.now + self.config.probe_timeout.as_ms() });
        }
    }

    fn check_late(&self, epoch: u64, before: tidegate::circuit::CircuitSnapshot) {
        if epoch != self.epoch {
            assert_eq!(self.service.circuit(self.now()), before, "what is late changes nothing");
        }
    }

    fn check_slots(&self, call: &Call) {
        let Terms { lane, concurrency, .. } = call.terms;
        if lane == 0 {
            return;
        }
        let slots = || self.running.iter().map(|running| &running.slot).chain(&self.kept);
        let held = |counts: &dyn Fn(&Slot) -> bool| {
            let held = slots().filter(|slot| slot.lane != 0 && slot.ends.is_none_or(|end| end > self.now));
            number(held.filter(|slot| counts(slot)).count())
        };
        let SlotsConfig { global, per_key, per_operation, .. } = self.caps.limits().slots;
        let operation = operation_of(lane);
        let configured = per_operation.get(operation as usize).copied().flatten();
        let cap = if concurrency > 0 { Some(concurrency) } else { configured };
        assert!(global.is_none_or(|cap| held(&|_| true) < cap), "more slots than there are");
        assert!(
            per_key.is_none_or(|cap| held(&|slot| slot.lane == lane) < cap),
            "more than one key may have"
        );
        let same = |slot: &Slot| operation_of(slot.lane) == operation;
        assert!(cap.is_none_or(|cap| held(&same) < cap), "more than an operation may have");
    }

    fn check_windows(&self, call: &Call) {
        let Terms { weight, limit, .. } = call.terms;
        let policies = self.caps.policies();
        for (index, &quota) in taking(call).iter().enumerate() {
            let Some(policy) = policies.get(QUOTAS[quota]) else { continue };
            let now = self.latest_of(quota).max(self.now);
            let last = self.taken[quota].last();
            let rested = last.is_none_or(|(time, _)| now >= time + policy.interval.as_ms());
            assert!(rested, "an interval is cut short");
            // Its own limit stands in for the windows of the first.
            for window in policy.windows.iter().filter(|_| limit == 0 || index > 0) {
                let since = now.saturating_sub(window.length.as_ms());
                let recent = self.taken[quota].iter().filter(|(time, _)| *time > since);
                let used: u32 = recent.map(|(_, units)| units).sum();
                assert!(used + weight <= window.limit, "{used} and {weight} in {window:?} of {quota}");
            }
        }
    }

    fn latest_of(&self, quota: usize) -> u64 {
        self.taken[quota].iter().map(|(time, _)| *time).max().unwrap_or(0)
    }

    fn check_retry(&self, who: &Waiting, verdict: Verdict, until: Instant, delay: Span) {
        assert_eq!(until, self.now().plus(delay));
        assert!(who.retries < self.config.max_retries, "one retry too many");
        assert!(who.call.deadline.is_none_or(|deadline| until < deadline), "a retry after the deadline");
        match verdict {
            Verdict::Throttled { hint, .. } => {
                let hint = hint.filter(|_| self.config.respect_retry_after).unwrap_or(Span::ZERO);
                assert!(delay >= hint && hint <= self.config.max_retry_after, "{delay:?} for {hint:?}");
            }
            Verdict::Transient { .. } => match self.config.retry_transient {
                RetryTransient::Never => panic!("nobody asked for this retry"),
                RetryTransient::Idempotent => assert!(who.idempotent, "it may happen twice"),
                RetryTransient::Always => {}
            },
            Verdict::Success | Verdict::Permanent | Verdict::Ignored => panic!("{verdict:?} is retried"),
        }
        self.check_budget();
    }

    /// One more retry at this moment.
    fn check_budget(&self) {
        let Some(budget) = self.config.retry_budget.filter(|_| self.now >= self.budget_known_from) else {
            return;
        };
        let window = budget.window.as_ms();
        let recent = |times: &[u64]| times.iter().filter(|time| **time + window > self.now).count() as f64;
        let allowed =
            budget.min_per_second * budget.window.as_f64() / 1_000.0 + budget.ratio * recent(&self.calls);
        let spent = recent(&self.retries) + 1.0;
        assert!(spent <= allowed + 1e-9, "{spent} retries, and {allowed} are allowed");
    }

    fn check_rejection(&self, reason: Reason, who: &Waiting) {
        match reason {
            Reason::Deadline => assert!(who.call.deadline.is_some()),
            Reason::QueueFull => assert!(self.caps.max_queue.is_some()),
            Reason::Slots => assert!(self.caps.reject),
            _ => {}
        }
    }

    /// Whoever waits has something to wait for.
    fn check_nobody_is_forgotten(&self) {
        assert_eq!(self.service.has_waiters(), !self.waiting.is_empty());
        assert!(self.bell.is_none_or(|bell| bell > self.now()), "an alarm that is due, and nobody to call");
        let out = !self.running.is_empty() || !self.kept.is_empty();
        assert!(self.waiting.is_empty() || self.bell.is_some() || out, "somebody waits for nothing");
        let late = self.waiting.values().filter(|one| one.call.deadline.is_some_and(|end| end <= self.now()));
        assert_eq!(late.count(), 0, "somebody waits past the deadline");
    }

    /// From here on everybody succeeds: nobody is left.
    fn comes_to_an_end(&mut self) {
        self.now = self.latest;
        self.service.reset();
        self.poll();
        for _ in 0..2_000 {
            if self.waiting.is_empty() && self.running.is_empty() && self.kept.is_empty() {
                break;
            }
            self.pass(self.now + 500);
            while !self.running.is_empty() {
                self.succeed(0);
                self.poll();
            }
            while !self.kept.is_empty() {
                self.release(0);
                self.poll();
            }
        }
        assert!(self.waiting.is_empty(), "{:?} are left", self.waiting);
        // Asking for a lane takes back what was not given back.
        self.service.lane(at(self.now + 10_000), 0).expect("there is room for one more lane");
        assert_eq!(self.service.limits().slots().in_flight(), 0);
        assert_eq!(self.service.line().standing(), 0);
        assert_eq!(self.service.poll_timeout(self.now()), None);
    }

    fn phase(&self) -> Phase {
        self.service.circuit(self.now()).phase
    }

    fn now(&self) -> Instant {
        at(self.now)
    }
}

fn operation_of(lane: u32) -> u32 {
    if lane == 0 { 0 } else { LANES[lane as usize - 1].0 }
}

fn needs(lane: u32) -> &'static [usize] {
    if lane == 0 { &[] } else { LANES[lane as usize - 1].1 }
}

/// The quotas that it takes units of.
fn taking(call: &Call) -> &'static [usize] {
    if call.terms.weight == 0 { &[] } else { needs(call.terms.lane) }
}

fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("there are few of them")
}

/// Milliseconds: so that there is room before it for a clock that goes back.
const BEGINNING: u64 = 10_000_000;

/// A longer history says nothing that two shorter ones do not.
const MOST_OPS: usize = 400;

/// Alarms that go off while time passes; many more would be a loop.
const MOST_ALARMS: usize = 10_000;
