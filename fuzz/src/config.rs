//! Arbitrary numbers in every configuration: never a panic nor an endless loop, and with legal ones a service that works.
//!
//! The shell checks what is configured (`js/config.ts`, `js/plan.ts`) and the core takes what it is given, as `wasm/config.rs`
//! reads it. So the core is given everything here, also what the shell never lets pass.

use arbitrary::{Arbitrary, Unstructured};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::budget::BudgetConfig;
use tidegate::bulk::{BatchSize, Job, JobConfig, Next as Work, Outcome, StopWhen};
use tidegate::circuit::Trip;
use tidegate::decision::{Permit, Phase, Scope, Verdict};
use tidegate::limits::LimitsConfig;
use tidegate::pacer::Known;
use tidegate::queue::{LaneNumber, Name, Terms};
use tidegate::quota::{Kept, Policy, Window};
use tidegate::service::{Admission, Call, Config, Ending, Next, RetryTransient, Service};
use tidegate::slots::SlotsConfig;
use tidegate::time::{Instant, Span};

use super::tell;

/// One history of this target.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut shell = Shell::new(&case);
    tell(|| format!("{:?} {:?}", case.first.config(), case.limits.config()));
    for step in case.steps.iter().take(MOST_STEPS) {
        tell(|| format!("{:?} {step:?}", shell.now));
        shell.does(step);
    }
    shell.gives_up();
    if case.first.is_legal() {
        first_call_goes(case.first.config());
    }
    imports(&case);
}

#[derive(Arbitrary, Debug)]
struct Case {
    now: Number,
    seed: f64,
    first: Numbers,
    other: Numbers,
    limits: Limits,
    import: Import,
    steps: Vec<Step>,
}

/// What JavaScript may pass, with a liking for edges.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Any(f64),
    Small(u8),
    Edge(u8),
}

impl Number {
    fn get(self) -> f64 {
        match self {
            Self::Any(number) => number,
            Self::Small(number) => f64::from(number),
            Self::Edge(index) => EDGES[usize::from(index) % EDGES.len()],
        }
    }

    /// As `wasm/config.rs` reads a number of things.
    fn count(self) -> u32 {
        self.get() as u32
    }

    fn span(self) -> Span {
        Span::from_ms_ceil(self.get())
    }

    fn is_in(self, least: f64, most: f64) -> bool {
        (least..=most).contains(&self.get())
    }
}

#[derive(Arbitrary, Debug)]
struct Numbers {
    max_retries: Number,
    initial: Number,
    max: Number,
    jitter: u8,
    factor: Number,
    respect_hints: bool,
    max_retry_after: Number,
    threshold: Number,
    reset: Number,
    probes: Number,
    probe_timeout: Number,
    retry_transient: u8,
    budget: Option<[Number; 3]>,
    shared_cooldown: bool,
    trip: u8,
    ratio: Number,
    calls: Number,
    minimum: Number,
}

impl Numbers {
    fn config(&self) -> Config {
        Config {
            max_retries: self.max_retries.count(),
            backoff: Backoff {
                initial: self.initial.span(),
                max: self.max.span(),
                jitter: match self.jitter % 5 {
                    0 => Jitter::Full,
                    1 => Jitter::Equal,
                    2 => Jitter::Decorrelated,
                    3 => Jitter::None,
                    _ => Jitter::Proportional { factor: self.factor.get() },
                },
            },
            respect_retry_after: self.respect_hints,
            max_retry_after: self.max_retry_after.span(),
            circuit_threshold: self.threshold.count(),
            circuit_reset: self.reset.span(),
            half_open_probes: self.probes.count(),
            probe_timeout: self.probe_timeout.span(),
            retry_transient: match self.retry_transient % 3 {
                0 => RetryTransient::Never,
                1 => RetryTransient::Idempotent,
                _ => RetryTransient::Always,
            },
            retry_budget: self.budget.map(|[ratio, per_second, window]| BudgetConfig {
                ratio: ratio.get(),
                min_per_second: per_second.get(),
                window: window.span(),
            }),
            shared_cooldown: self.shared_cooldown,
            trip: self.trip(),
        }
    }

    fn trip(&self) -> Trip {
        let (ratio, minimum) = (self.ratio.get(), self.minimum.count());
        match self.trip % 4 {
            0 => Trip::Events,
            1 => Trip::InARow,
            2 => Trip::LastCalls { ratio, calls: self.calls.count(), minimum },
            _ => Trip::Window { ratio, length: self.calls.span(), minimum },
        }
    }

    /// Whether the shell lets it pass.
    fn is_legal(&self) -> bool {
        self.max_retries.is_in(0.0, 1_000.0)
            && self.initial.is_in(0.0, DAY_MS)
            && self.max.is_in(0.0, YEAR_MS)
            && self.max_retry_after.is_in(0.0, YEAR_MS)
            && self.threshold.is_in(1.0, 1e6)
            && self.reset.is_in(0.0, YEAR_MS)
            && self.probes.is_in(1.0, 1e6)
            && self.probe_timeout.is_in(1.0, YEAR_MS)
            && self.ratio.is_in(0.001, 1.0)
            && self.calls.is_in(1.0, 10_000.0)
    }
}

#[derive(Arbitrary, Debug)]
struct Limits {
    policies: Vec<PolicyOf>,
    global: Option<Number>,
    per_key: Option<Number>,
    per_operation: Vec<Option<Number>>,
    lease: Option<Number>,
    max_queue: Number,
    max_keys: Number,
    reject: bool,
}

#[derive(Arbitrary, Debug)]
struct PolicyOf {
    windows: Vec<[Number; 2]>,
    interval: Number,
    smooth: bool,
}

impl Limits {
    fn config(&self) -> LimitsConfig {
        let cap = |cap: Option<Number>| cap.map(Number::count);
        let window = |[limit, length]: &[Number; 2]| Window { limit: limit.count(), length: length.span() };
        let policy = |policy: &PolicyOf| Policy {
            windows: policy.windows.iter().take(8).map(window).collect(),
            interval: policy.interval.span(),
            smooth: policy.smooth,
        };
        LimitsConfig {
            policies: self.policies.iter().take(8).map(policy).collect(),
            slots: SlotsConfig {
                global: cap(self.global),
                per_key: cap(self.per_key),
                per_operation: self.per_operation.iter().take(8).map(|each| cap(*each)).collect(),
                lease: self.lease.map(Number::span),
            },
            max_queue: self.max_queue.count(),
            reject: self.reject,
            max_keys: self.max_keys.count(),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Begin { terms: [Number; 4], lane: u8, deadline: Option<Number>, priority: i32 },
    End { which: u8, hint: Option<Number>, verdict: u8, initial: Option<Number>, draw: Number },
    Leave(u8),
    Pass(Number),
    Alarm,
    Configure { other: bool },
    Limit,
    Cooldown(Number),
    GiveBack { lane: u8, taken: Number, weight: Number },
    Load { quota: u8, length: Number, age: Number, count: Number },
    Fill(Number),
    Lane { operation: u8, quota: u8 },
}

/// A shell that does whatever it is asked to.
struct Shell<'a> {
    case: &'a Case,
    service: Service,
    now: Instant,
    lanes: Vec<LaneNumber>,
    waiting: Vec<(Name, Call, u32)>,
    running: Vec<(Permit, Call, u32)>,
}

impl<'a> Shell<'a> {
    fn new(case: &'a Case) -> Self {
        let service = Service::limited(case.first.config(), case.limits.config(), case.seed.to_bits());
        let now = Instant::from_ms(case.now.get());
        Self { case, service, now, lanes: vec![0], waiting: Vec::new(), running: Vec::new() }
    }

    fn does(&mut self, step: &Step) {
        match step {
            Step::Begin { terms, lane, deadline, priority } => {
                self.begin(*terms, *lane, *deadline, *priority)
            }
            Step::End { which, hint, verdict, initial, draw } => {
                let hint = hint.map(Number::span);
                self.end(*which, verdict_of(*verdict, hint), initial.map(Number::span), draw.get());
            }
            Step::Leave(which) => {
                let count = self.waiting.len();
                if count > 0 {
                    let (name, ..) = self.waiting.swap_remove(usize::from(*which) % count);
                    self.service.leave(self.now, name, None);
                }
            }
            Step::Pass(ms) => self.now = self.now.plus(ms.span()),
            Step::Alarm => self.now = self.service.poll_timeout(self.now).unwrap_or(self.now).max(self.now),
            Step::Configure { other } => {
                let numbers = if *other { &self.case.other } else { &self.case.first };
                self.service.reconfigure(numbers.config());
            }
            Step::Limit => self.service.limit(self.case.limits.config()),
            Step::Cooldown(ms) => self.service.restore_cooldown(Instant::from_ms(ms.get())),
            Step::GiveBack { lane, taken, weight } => {
                let taken = Instant::from_ms(taken.get());
                self.service.give_back(self.lane(*lane), taken, weight.count());
            }
            Step::Load { quota, length, age, count } => self.load(*quota, *length, *age, *count),
            Step::Fill(ms) => self.service.limits_mut().fill(Instant::from_ms(ms.get())),
            Step::Lane { operation, quota } => self.add_lane(*operation, *quota),
        }
        self.poll();
    }

    fn lane(&self, which: u8) -> LaneNumber {
        self.lanes[usize::from(which) % self.lanes.len()]
    }

    fn add_lane(&mut self, operation: u8, quota: u8) {
        let Ok(lane) = self.service.lane(self.now, u32::from(operation % 8)) else { return };
        let limits = self.service.limits_mut();
        let quota = if quota < 128 { limits.quota(u32::from(quota % 8)) } else { u32::from(quota % 8) };
        limits.need(lane, quota);
        self.lanes.push(lane);
    }

    fn load(&mut self, quota: u8, length: Number, age: Number, count: Number) {
        let now = self.now;
        let Some((quota, policy)) = self.service.limits_mut().quota_of_mut(u32::from(quota % 8)) else {
            return;
        };
        let policy = policy.clone();
        quota.load(now, &policy, length.span(), age.span(), count.count());
        quota.load_interval(now, age.span());
        let dump = quota.dump(now, &policy);
        let counts = |kept: &Kept| kept.count > 0 && (kept.age < kept.length || kept.length == Span::ZERO);
        assert!(dump.entries.iter().all(counts), "{dump:?}");
    }

    fn begin(&mut self, terms: [Number; 4], lane: u8, deadline: Option<Number>, priority: i32) {
        let [weight, concurrency, limit, length] = terms;
        let terms = Terms {
            lane: self.lane(lane),
            weight: weight.count(),
            concurrency: concurrency.count(),
            limit: limit.count(),
            length: length.span(),
        };
        let deadline = deadline.map(|ms| Instant::from_ms(ms.get()));
        let call = Call { arrival: self.now, deadline, priority, group: 0, terms };
        let admission = self.service.begin(self.now, &call);
        self.admitted(admission, call, 0);
    }

    fn admitted(&mut self, admission: Admission, call: Call, retries: u32) {
        match admission {
            Admission::Go(permit) => self.running.push((permit, call, retries)),
            Admission::Wait { name, .. } => self.waiting.push((name, call, retries)),
            Admission::Reject(_) => {}
        }
    }

    fn end(&mut self, which: u8, verdict: Verdict, initial_delay: Option<Span>, draw: f64) {
        let count = self.running.len();
        if count == 0 {
            return;
        }
        let (permit, call, retries) = self.running.swap_remove(usize::from(which) % count);
        let ending = Ending {
            permit,
            started: self.now,
            verdict,
            online: true,
            retries,
            max_retries: self.service.config().max_retries,
            previous_delay: initial_delay,
            idempotent: true,
            initial_delay,
            keeps_slot: false,
        };
        if let Next::Retry { name, .. } = self.service.end(self.now, &ending, &call, Some(draw)) {
            self.waiting.push((name, call, retries.saturating_add(1)));
        }
    }

    /// As often as it is asked to, and no oftener than there are some who wait.
    fn poll(&mut self) {
        while let Some((name, admission)) = self.service.poll(self.now) {
            let index =
                self.waiting.iter().position(|(other, ..)| *other == name).expect("whoever is called waits");
            let (_, call, retries) = self.waiting.swap_remove(index);
            self.admitted(admission, call, retries);
        }
        while self.service.next_transition().is_some() {}
        let alarm = self.service.poll_timeout(self.now);
        assert!(
            alarm.is_none_or(|alarm| alarm > self.now || self.now == Instant::MAX),
            "asked at once, for ever"
        );
        assert_eq!(self.service.has_waiters(), !self.waiting.is_empty());
        for lane in &self.lanes {
            self.service.next_leave(self.now, *lane);
        }
    }

    /// Whoever gives up leaves nothing behind.
    fn gives_up(&mut self) {
        for (name, ..) in std::mem::take(&mut self.waiting) {
            self.service.leave(self.now, name, None);
        }
        for (permit, call, _) in std::mem::take(&mut self.running) {
            self.service.succeed(self.now, &permit, self.now, call.group, call.terms.lane);
        }
        assert!(!self.service.has_waiters());
        assert_eq!(self.service.line().standing(), 0);
        assert_eq!(self.service.limits().slots().in_flight(), 0);
    }
}

fn verdict_of(code: u8, hint: Option<Span>) -> Verdict {
    match code % 6 {
        0 => Verdict::Throttled { hint, scope: Scope::Service },
        1 => Verdict::Throttled { hint, scope: Scope::Call },
        2 => Verdict::Transient { answered: true },
        3 => Verdict::Transient { answered: false },
        4 => Verdict::Permanent,
        _ => Verdict::Ignored,
    }
}

/// With what the shell lets pass, the first call goes and its success is one.
fn first_call_goes(config: Config) {
    let mut service = Service::new(config, 0);
    let now = Instant::from_ms(1e12);
    let call = Call { arrival: now, deadline: None, priority: 0, group: 0, terms: Terms::NONE };
    let Admission::Go(permit) = service.begin(now, &call) else { panic!("the first call waits") };
    service.succeed(now, &permit, now, 0, 0);
    assert_eq!(service.circuit(now).phase, Phase::Closed);
    assert!(!service.has_waiters());
}

#[derive(Arbitrary, Debug)]
struct Import {
    idempotent: bool,
    verifies: bool,
    adaptive: bool,
    batch: Number,
    max_in_flight: Number,
    max_rate: Option<Number>,
    stop_when: Option<[Number; 2]>,
    known: Option<[Number; 3]>,
    bans: bool,
    latency: Number,
}

impl Import {
    fn config(&self) -> JobConfig {
        let batch = self.batch.count();
        JobConfig {
            idempotent: self.idempotent,
            verifies: self.verifies,
            batch: if self.adaptive { BatchSize::Adaptive { max: batch } } else { BatchSize::Fixed(batch) },
            max_in_flight: self.max_in_flight.count(),
            // NaN is how "none" crosses.
            max_rate: self.max_rate.map(Number::get).filter(|rate| !rate.is_nan()),
            stop_when: self
                .stop_when
                .filter(|[ratio, _]| !ratio.get().is_nan())
                .map(|[ratio, after]| StopWhen { failed_ratio: ratio.get(), after: after.count() }),
            known: self.known.map(|[rate, cap, cost]| Known {
                rate: rate.get(),
                cap: Some(cap.count()).filter(|cap| *cap > 0),
                bans: self.bans,
                cost: cost.get(),
            }),
        }
    }
}

/// A few rows, whatever is configured: each ends.
fn imports(case: &Case) {
    let mut job = Job::new(case.import.config(), case.seed.to_bits());
    job.add(ROWS);
    job.close();
    let mut now = Instant::from_ms(1e12);
    for _ in 0..MOST_STEPS {
        match job.next(now) {
            Work::Send { batch } | Work::Verify { batch, .. } => {
                let rows = job.rows(batch).to_vec();
                job.answered(now, batch, case.import.latency.span(), None);
                rows.iter().for_each(|row| job.settle(now, *row, Outcome::Imported));
            }
            // The end of all time: as good as never, and asked for.
            Work::Wait { until: Some(Instant::MAX), .. } => break,
            Work::Wait { until: Some(until), .. } => {
                assert!(until > now, "asked at once, for ever");
                now = until;
            }
            Work::Wait { until: None, reason } => panic!("nothing is out, and it waits: {reason:?}"),
            Work::Hungry { .. } => panic!("no more rows come"),
            Work::Done => break,
        }
        let progress = job.progress(now);
        assert!(progress.rows_per_second.is_finite() && progress.rows_per_second >= 0.0, "{progress:?}");
    }
    // A pace of one row in an age is legal, and waits.
    let is_slow = case.import.max_rate.is_some() || case.import.known.is_some();
    assert!(is_slow || job.counts().imported == ROWS, "{:?}", job.counts());
}

/// Rows of an import here.
const ROWS: u32 = 12;

/// A longer history says nothing that two shorter ones do not.
const MOST_STEPS: usize = 200;

const DAY_MS: f64 = 86_400_000.0;
const YEAR_MS: f64 = 365.0 * DAY_MS;

const EDGES: [f64; 24] = [
    0.0,
    -0.0,
    -1.0,
    0.5,
    1e-300,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN_POSITIVE,
    2_147_483_647.0,
    2_147_483_648.0,
    4_294_967_295.0,
    4_294_967_296.0,
    9_007_199_254_740_991.0,
    9_007_199_254_740_992.0,
    18_446_744_073_709_551_615.0,
    1e12,
    1e15,
    1e6,
    1e3,
    DAY_MS,
    YEAR_MS,
    YEAR_MS + 1.0,
];
