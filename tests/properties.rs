//! What holds whatever happens: each test's name is the promise. A seed that once broke one is kept in
//! `properties.proptest-regressions` and tried first.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use support::world::{Event, Options, What, World};
use support::{LOST, REFUSED, REFUSED_ALONE, UNWELL, at, ms, refused_for};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::budget::{Budget, BudgetConfig};
use tidegate::circuit::{Circuit, CircuitConfig, Trip};
use tidegate::cooldown::Cooldown;
use tidegate::decision::{Decision, Permit, Phase, Reason, Scope, Transition, Verdict};
use tidegate::queue::{Line, Name, Terms, Waiter};
use tidegate::record::Histogram;
use tidegate::service::{Config, RetryTransient};
use tidegate::time::{Instant, Span, WallTime};

fn runs(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

// ---- A service under a random sequence of operations --------------------------------------------------------------

/// One thing that happens to a service.
#[derive(Clone, Debug)]
enum Op {
    Begin {
        priority: i32,
        deadline_ms: Option<u64>,
        max_retries: Option<u32>,
        idempotent: bool,
    },
    /// One of the attempts under way ends.
    End {
        which: Index,
        verdict: Verdict,
        draw: f64,
    },
    /// One of the calls under way is given up.
    Cancel {
        which: Index,
    },
    /// Time passes, alarms go off.
    Pass {
        ms: u64,
    },
    /// Time passes and every alarm is late.
    Late {
        ms: u64,
    },
    /// The clock is set back.
    Back {
        ms: u64,
    },
    Online(bool),
    Reset,
    Isolate,
    Reconfigure(Config),
}

/// A world, and what the log of it does not say.
struct Run {
    world: World,
    /// In the order in which they began.
    callers: Vec<Caller>,
    refusals: Vec<Refusal>,
}

#[derive(Clone, Copy)]
struct Caller {
    began: u64,
    priority: i32,
    max_retries: u32,
    deadline: Option<u64>,
}

/// An attempt that was refused for reasons that concern everybody.
#[derive(Clone, Copy)]
struct Refusal {
    at: u64,
    hint: Option<Span>,
}

impl Run {
    fn new(config: Config) -> Self {
        Self { world: World::seeded(config, 7), callers: Vec::new(), refusals: Vec::new() }
    }

    fn of(config: Config, ops: &[Op]) -> Self {
        let mut run = Self::new(config);
        ops.iter().for_each(|op| run.apply(op));
        run
    }

    fn apply(&mut self, op: &Op) {
        let now = self.world.now();
        match op {
            Op::Begin { priority, deadline_ms, max_retries, idempotent } => {
                let who = self.callers.len().to_string();
                self.callers.push(Caller {
                    began: now,
                    priority: *priority,
                    max_retries: max_retries.unwrap_or(self.world.service.config().max_retries),
                    deadline: deadline_ms.map(|length| now + length),
                });
                let options = Options {
                    terms: Terms::NONE,
                    deadline_ms: *deadline_ms,
                    priority: *priority,
                    max_retries: *max_retries,
                    idempotent: *idempotent,
                    group: 0,
                };
                self.world.begin_with(&who, options);
            }
            Op::End { which, verdict, draw } => {
                let attempting = self.world.attempting();
                if attempting.is_empty() {
                    return;
                }
                if let Verdict::Throttled { hint, scope: Scope::Service } = *verdict {
                    self.refusals.push(Refusal { at: now, hint });
                }
                self.world.draw = Some(*draw);
                self.world.end(&attempting[which.index(attempting.len())], *verdict);
            }
            Op::Cancel { which } => {
                let under_way = [self.world.attempting(), self.world.waiting()].concat();
                if !under_way.is_empty() {
                    self.world.cancel(&under_way[which.index(under_way.len())]);
                }
            }
            Op::Pass { ms } => {
                self.world.until(now + ms);
            }
            Op::Late { ms } => {
                self.world.jump(now + ms);
            }
            Op::Back { ms } => {
                self.world.jump(now.saturating_sub(*ms));
            }
            Op::Online(online) => self.world.online = *online,
            Op::Reset => {
                self.world.reset();
            }
            Op::Isolate => {
                self.world.isolate();
            }
            Op::Reconfigure(config) => {
                self.world.reconfigure(*config);
            }
        }
    }

    fn caller(&self, who: &str) -> Caller {
        self.callers[who.parse::<usize>().expect("callers are numbered")]
    }

    /// Every attempt that is made from here on succeeds, and time goes on as far as the alarms say.
    fn finish(&mut self) {
        for _ in 0..10 * self.callers.len() + 100 {
            self.world.look_around();
            for who in self.world.attempting() {
                self.world.end(&who, Verdict::Success);
            }
            match self.world.next_alarm() {
                Some(alarm) => self.world.until(alarm.max(self.world.now())),
                None if self.world.attempting().is_empty() => return,
                None => &mut self.world,
            };
        }
        panic!(
            "they go round in circles: {:?} wait, {:?} attempt",
            self.world.waiting(),
            self.world.attempting()
        );
    }
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Success),
        3 => Just(REFUSED),
        2 => (0..3_000_u64).prop_map(refused_for),
        1 => (0..200_000_u64).prop_map(refused_for),
        1 => Just(refused_for(86_400_000)),
        1 => Just(REFUSED_ALONE),
        1 => Just(UNWELL),
        1 => Just(LOST),
        1 => Just(Verdict::Permanent),
        1 => Just(Verdict::Ignored),
    ]
}

fn begins() -> impl Strategy<Value = Op> {
    let deadline = prop_oneof![6 => Just(None), 1 => (0..20_000_u64).prop_map(Some)];
    let retries = prop_oneof![6 => Just(None), 1 => (0..5_u32).prop_map(Some)];
    (prop_oneof![3 => Just(0), 1 => -2..=2_i32], deadline, retries, any::<bool>()).prop_map(
        |(priority, deadline_ms, max_retries, idempotent)| Op::Begin {
            priority,
            deadline_ms,
            max_retries,
            idempotent,
        },
    )
}

fn ends() -> impl Strategy<Value = Op> {
    (any::<Index>(), verdicts(), 0.0..1.0).prop_map(|(which, verdict, draw)| Op::End { which, verdict, draw })
}

/// From nothing to more than any configured time.
fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..300_u64, 3 => 0..5_000_u64, 2 => 0..70_000_u64, 1 => 0..4_000_000_u64]
}

/// Callers come, go and are answered; time passes, sometimes without anybody noticing.
fn traffic() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => begins(),
        8 => ends(),
        1 => any::<Index>().prop_map(|which| Op::Cancel { which }),
        5 => lengths().prop_map(|ms| Op::Pass { ms }),
        1 => lengths().prop_map(|ms| Op::Late { ms }),
        1 => any::<bool>().prop_map(Op::Online),
    ];
    prop::collection::vec(op, 1..120)
}

/// Traffic, and the owner of the service turns every knob.
fn turmoil() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => begins(),
        8 => ends(),
        1 => any::<Index>().prop_map(|which| Op::Cancel { which }),
        5 => lengths().prop_map(|ms| Op::Pass { ms }),
        1 => lengths().prop_map(|ms| Op::Late { ms }),
        1 => lengths().prop_map(|ms| Op::Back { ms }),
        1 => any::<bool>().prop_map(Op::Online),
        1 => Just(Op::Reset),
        1 => Just(Op::Isolate),
        1 => configs().prop_map(Op::Reconfigure),
    ];
    prop::collection::vec(op, 1..120)
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        (0.0..=1.0).prop_map(|factor| Jitter::Proportional { factor }),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        Just(Jitter::None),
    ]
}

fn backoffs() -> impl Strategy<Value = Backoff> {
    (0..500_u64, 0..20_000_u64, jitters()).prop_map(|(initial, more, jitter)| Backoff {
        initial: ms(initial),
        max: ms(initial + more),
        jitter,
    })
}

fn budgets() -> impl Strategy<Value = Option<BudgetConfig>> {
    let budget = (0.0..=1.0, 0.0..5.0, 1..20_000_u64).prop_map(|(ratio, min_per_second, window)| {
        BudgetConfig { ratio, min_per_second, window: ms(window) }
    });
    prop_oneof![Just(None), budget.prop_map(Some)]
}

fn configs() -> impl Strategy<Value = Config> {
    let retries = (
        0..5_u32,
        backoffs(),
        budgets(),
        prop_oneof![
            Just(RetryTransient::Never),
            Just(RetryTransient::Idempotent),
            Just(RetryTransient::Always)
        ],
    );
    let circuit = (1..6_u32, 0..90_000_u64, 1..4_u32, 1..40_000_u64);
    let hints = (prop::bool::weighted(0.8), 0..90_000_u64, prop::bool::weighted(0.7));
    (retries, circuit, hints).prop_map(|(retries, circuit, hints)| Config {
        trip: Trip::Events,
        max_retries: retries.0,
        backoff: retries.1,
        retry_budget: retries.2,
        retry_transient: retries.3,
        circuit_threshold: circuit.0,
        circuit_reset: ms(circuit.1),
        half_open_probes: circuit.2,
        probe_timeout: ms(circuit.3),
        respect_retry_after: hints.0,
        max_retry_after: ms(hints.1),
        shared_cooldown: hints.2,
    })
}

proptest! {
    #![proptest_config(runs(256))]

    #[test]
    fn a_call_never_makes_more_than_max_retries_plus_one_attempts(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        run.finish();
        let mut made: BTreeMap<&str, u32> = BTreeMap::new();
        for event in run.world.events() {
            if let What::Attempt { who, attempt } = &event.what {
                let so_far = made.entry(who).or_default();
                *so_far += 1;
                prop_assert_eq!(*so_far, *attempt, "attempts are counted from 1, one by one");
                prop_assert!(*so_far <= run.caller(who).max_retries + 1, "{}", event);
            }
        }
    }

    /// However late the alarm is: what is sent after the deadline is sent for nobody.
    #[test]
    fn nobody_starts_after_its_deadline(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        run.finish();
        for event in run.world.events() {
            if let What::Attempt { who, .. } = &event.what {
                prop_assert!(run.caller(who).deadline.is_none_or(|deadline| event.at < deadline), "{}", event);
            }
        }
    }

    #[test]
    fn every_call_ends_exactly_once(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        run.finish();
        let mut ended = BTreeSet::new();
        for event in run.world.events() {
            match &event.what {
                What::Done { who } | What::PassedOn { who } | What::Cancelled { who } | What::Rejected { who, .. } => {
                    prop_assert!(ended.insert(who.clone()), "{} ended twice", who);
                }
                What::Attempt { who, .. } | What::Waits { who, .. } => {
                    prop_assert!(!ended.contains(who), "{} goes on after its end: {}", who, event);
                }
                What::Changed(_) => {}
            }
        }
        prop_assert_eq!(ended.len(), run.callers.len());
        prop_assert_eq!(run.world.service.record().total().calls, run.callers.len() as u64);
    }

    /// Attempts that never end, alarms that are late, a clock that was set back, an owner who turns every knob: as soon
    /// as attempts end and alarms go off, everybody gets an answer. (The world checks after every operation that
    /// there is an alarm as long as anybody waits, and that no alarm is due for nothing.)
    #[test]
    fn nobody_waits_for_ever(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        run.finish();
        prop_assert!(!run.world.service.has_waiters());
        prop_assert_eq!(run.world.waiting(), Vec::<String>::new());
    }

    #[test]
    fn nobody_waits_for_ever_even_if_no_attempt_ends(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        for _ in 0..10 * run.callers.len() + 100 {
            run.world.look_around();
            let Some(alarm) = run.world.next_alarm() else { break };
            run.world.until(alarm.max(run.world.now()));
        }
        prop_assert_eq!(run.world.waiting(), Vec::<String>::new());
    }

    /// Nobody at all, when the cooldown is shared: not the refused call, nor the others, nor the circuit's probes.
    #[test]
    fn nobody_starts_before_a_hint_is_over(config in configs(), ops in traffic()) {
        let run = Run::of(Config { respect_retry_after: true, shared_cooldown: true, ..config }, &ops);
        for (refusal, hint) in run.refusals.iter().filter_map(|refusal| Some((refusal, refusal.hint?))) {
            let kept = if hint > config.max_retry_after { hint.min(ms(3_600_000)) } else { hint };
            for event in run.world.events().iter().filter(|event| matches!(event.what, What::Attempt { .. })) {
                let too_early = event.at > refusal.at && event.at < refusal.at + kept.as_ms();
                prop_assert!(!too_early, "{event}, but at {} a server asked for {kept:?}", refusal.at);
            }
        }
    }

    #[test]
    fn a_refused_call_never_comes_back_before_its_hint_is_over(config in configs(), ops in traffic()) {
        let mut run = Run::new(Config { respect_retry_after: true, shared_cooldown: false, ..config });
        let mut not_before: BTreeMap<String, u64> = BTreeMap::new();
        for op in &ops {
            if let Op::End { which, verdict: Verdict::Throttled { hint: Some(hint), .. }, .. } = op {
                let attempting = run.world.attempting();
                if !attempting.is_empty() {
                    not_before.insert(which.get(&attempting).clone(), run.world.now() + hint.as_ms());
                }
            }
            let seen = run.world.events().len();
            run.apply(op);
            for event in &run.world.events()[seen..] {
                if let What::Attempt { who, .. } = &event.what {
                    prop_assert!(not_before.get(who).is_none_or(|time| event.at >= *time), "{}", event);
                }
            }
        }
    }

    #[test]
    fn without_a_hint_no_wait_is_longer_than_the_cap_and_its_jitter(config in configs(), ops in traffic()) {
        let run = Run::of(Config { respect_retry_after: false, ..config }, &ops);
        let cap = config.backoff.max.as_f64();
        let longest = match config.backoff.jitter {
            Jitter::Proportional { factor } => (cap * (1.0 + factor)).ceil(),
            Jitter::Full | Jitter::Equal | Jitter::Decorrelated | Jitter::None => cap,
        };
        for Event { at, what } in run.world.events() {
            if let What::Waits { reason: Reason::Backoff, until: Some(until), .. } = what {
                prop_assert!((until - at) as f64 <= longest, "{} ms at {at}, longest {longest}", until - at);
            }
        }
    }

    /// A model of the circuit that knows only what was told: it opened, so nobody goes until the reset time is over
    /// or somebody resets it. (The world looks at the circuit's own word before every attempt too.)
    #[test]
    fn open_means_no_attempt(config in configs(), ops in turmoil()) {
        let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Reconfigure(_) | Op::Back { .. })).collect();
        let run = Run::of(config, &ops);
        let mut closed_until = 0;
        for event in run.world.events() {
            match &event.what {
                What::Changed(Transition::Circuit { to: Phase::Open, .. }) => {
                    closed_until = event.at + config.circuit_reset.as_ms();
                }
                What::Changed(Transition::Circuit { to: Phase::Isolated, .. }) => closed_until = u64::MAX,
                What::Changed(Transition::Circuit { to: Phase::Closed, .. }) => closed_until = 0,
                What::Attempt { .. } => prop_assert!(event.at >= closed_until, "{}", event),
                _ => {}
            }
        }
    }

    #[test]
    fn never_more_probes_are_out_than_configured(config in configs(), ops in turmoil()) {
        let ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Reconfigure(_) | Op::Back { .. })).collect();
        let run = Run::of(config, &ops);
        let mut half_open = false;
        let mut out: BTreeMap<&str, u64> = BTreeMap::new();
        for Event { at, what } in run.world.events() {
            match what {
                What::Changed(Transition::Circuit { to, .. }) => {
                    half_open = *to == Phase::HalfOpen;
                    out.clear();
                }
                What::Attempt { who, .. } if half_open => {
                    out.retain(|_, began| *began + config.probe_timeout.as_ms() > *at);
                    out.insert(who, *at);
                    prop_assert!(out.len() <= config.half_open_probes as usize, "{:?} are out at {}", out, at);
                }
                What::Waits { who, .. } | What::Done { who } | What::PassedOn { who }
                | What::Cancelled { who } | What::Rejected { who, .. } => {
                    out.remove(who.as_str());
                }
                What::Attempt { .. } | What::Changed(_) => {}
            }
        }
    }

    /// Also when the alarm is late and somebody new comes first. Ready are those in line and those whose backoff is over.
    #[test]
    fn nobody_starts_before_one_who_is_ready_and_has_the_earlier_place(config in configs(), ops in traffic()) {
        let run = Run::of(config, &ops);
        let place = |who: &str| {
            let caller = run.caller(who);
            caller.began as i64 - i64::from(caller.priority) * 10_000
        };
        let mut ready_at: BTreeMap<&str, u64> = BTreeMap::new();
        for event in run.world.events() {
            match &event.what {
                What::Waits { who, reason, until } => {
                    let ready = until.filter(|_| *reason == Reason::Backoff).unwrap_or(event.at);
                    ready_at.insert(who, ready);
                }
                What::Attempt { who, .. } => {
                    ready_at.remove(who.as_str());
                    let overtaken = ready_at.iter().find(|(one, ready)| **ready <= event.at && place(one) < place(who));
                    prop_assert!(overtaken.is_none(), "{event}, but {overtaken:?} was ready and came before");
                }
                What::Done { who } | What::PassedOn { who } | What::Cancelled { who } | What::Rejected { who, .. } => {
                    ready_at.remove(who.as_str());
                }
                What::Changed(_) => {}
            }
        }
    }

    #[test]
    fn a_service_never_exceeds_its_retry_budget(config in configs(), ops in traffic()) {
        let run = Run::of(config, &ops);
        let is_retry = |event: &&Event| matches!(event.what, What::Waits { reason: Reason::Backoff, .. });
        let retries: Vec<u64> = run.world.events().iter().filter(is_retry).map(|event| event.at).collect();
        let calls: Vec<u64> = run.callers.iter().map(|caller| caller.began).collect();
        if let Some(budget) = config.retry_budget {
            within_budget(&budget, &calls, &retries)?;
        }
    }

    #[test]
    fn what_is_counted_is_what_happened(config in configs(), ops in turmoil()) {
        let mut run = Run::of(config, &ops);
        run.finish();
        let count = |wanted: fn(&What) -> bool| run.world.events().iter().filter(|event| wanted(&event.what)).count() as u64;
        let total = run.world.service.record().total();
        prop_assert_eq!(total.attempts, count(|what| matches!(what, What::Attempt { .. })));
        prop_assert_eq!(total.successes, count(|what| matches!(what, What::Done { .. })));
        prop_assert_eq!(total.rejected.iter().sum::<u64>(), count(|what| matches!(what, What::Rejected { .. })));
        prop_assert_eq!(total.waits.count(), count(|what| matches!(what, What::Waits { .. })));
        prop_assert_eq!(
            total.retries,
            count(|what| matches!(what, What::Waits { reason: Reason::Backoff, .. })),
        );
    }
}

/// Exactly, for every window that ends with a retry.
fn within_budget(budget: &BudgetConfig, calls: &[u64], retries: &[u64]) -> Result<(), TestCaseError> {
    let window = budget.window.as_ms();
    for &end in retries {
        let inside = |time: &&u64| **time <= end && **time + window > end;
        let made = retries.iter().filter(inside).count() as f64;
        let begun = calls.iter().filter(inside).count() as f64;
        let allowed = budget.min_per_second * window as f64 / 1_000.0 + budget.ratio * begun;
        prop_assert!(
            made <= allowed + 1e-9,
            "{made} retries in the window that ends at {end}, allowed {allowed}"
        );
    }
    Ok(())
}

// ---- The rooms ----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum CircuitOp {
    Start,
    End { which: Index, verdict: Verdict },
    Pass { ms: u64 },
    Reset,
    Isolate,
}

fn circuit_ops() -> impl Strategy<Value = Vec<CircuitOp>> {
    let op = prop_oneof![
        4 => Just(CircuitOp::Start),
        4 => (any::<Index>(), verdicts()).prop_map(|(which, verdict)| CircuitOp::End { which, verdict }),
        4 => prop_oneof![0..2_000_u64, 0..70_000_u64].prop_map(|ms| CircuitOp::Pass { ms }),
        1 => prop_oneof![Just(CircuitOp::Reset), Just(CircuitOp::Isolate)],
    ];
    prop::collection::vec(op, 1..80)
}

fn circuits() -> impl Strategy<Value = Circuit> {
    (1..3_u32, 0..60_000_u64, 0..90_000_u64, 1..4_u32, 1..40_000_u64).prop_map(
        |(threshold, reset, max_reset, probes, probe_timeout)| {
            Circuit::new(CircuitConfig {
                trip: Trip::Events,
                threshold,
                reset: ms(reset),
                max_reset: ms(max_reset),
                probes,
                probe_timeout: ms(probe_timeout),
            })
        },
    )
}

/// One circuit with permits of its own.
struct Attempts {
    circuit: Circuit,
    now: u64,
    issued: u64,
    /// Under way: the permit's number, whether it is a probe, since when.
    under_way: Vec<(u64, bool, u64)>,
    /// Numbers of probes that have ended.
    ended_probes: Vec<u64>,
    /// The number of the last permit before the state last changed.
    epoch: u64,
}

impl Attempts {
    fn new(circuit: Circuit) -> Self {
        Self { circuit, now: 0, issued: 0, under_way: Vec::new(), ended_probes: Vec::new(), epoch: 0 }
    }

    fn apply(&mut self, op: &CircuitOp) {
        let now = at(self.now);
        let changed = match op {
            CircuitOp::Start if self.circuit.check(now) == Decision::Proceed => {
                self.issued += 1;
                let changed = self.circuit.take(now, &Permit::new(self.issued));
                let probe = self.circuit.snapshot(now).phase == Phase::HalfOpen;
                self.under_way.push((self.issued, probe, self.now));
                // The permit that made it half-open is the first of the new epoch.
                if changed.is_some() {
                    self.epoch = self.issued - 1;
                }
                return;
            }
            CircuitOp::End { which, verdict } if !self.under_way.is_empty() => {
                let (number, probe, _) = self.under_way.remove(which.index(self.under_way.len()));
                if probe {
                    self.ended_probes.push(number);
                }
                self.circuit.record(now, &Permit::new(number), *verdict, self.issued)
            }
            CircuitOp::Start | CircuitOp::End { .. } => None,
            CircuitOp::Pass { ms } => {
                self.now += ms;
                None
            }
            CircuitOp::Reset => self.circuit.reset(self.issued),
            CircuitOp::Isolate => self.circuit.isolate(self.issued),
        };
        if changed.is_some() {
            self.epoch = self.issued;
        }
    }
}

proptest! {
    #![proptest_config(runs(512))]

    /// In Rust a permit ends once because it is consumed. Across the boundary it is a number, and the shell may come
    /// with it again.
    #[test]
    fn a_second_ending_of_a_probe_changes_nothing(
        circuit in circuits(), ops in circuit_ops(), again in any::<Index>(), verdict in verdicts(),
    ) {
        let mut attempts = Attempts::new(circuit);
        for op in &ops {
            attempts.apply(op);
            if attempts.ended_probes.is_empty() {
                continue;
            }
            let number = *again.get(&attempts.ended_probes);
            let before = format!("{:?}", attempts.circuit.snapshot(at(attempts.now)));
            let told = attempts.circuit.record(at(attempts.now), &Permit::new(number), verdict, attempts.issued);
            prop_assert_eq!(told, None, "probe {} ended before", number);
            prop_assert_eq!(format!("{:?}", attempts.circuit.snapshot(at(attempts.now))), before);
        }
    }

    #[test]
    fn late_results_of_an_older_epoch_change_nothing(
        circuit in circuits(), ops in circuit_ops(), which in any::<Index>(), verdict in verdicts(),
    ) {
        let mut attempts = Attempts::new(circuit);
        for op in &ops {
            attempts.apply(op);
            let epoch = attempts.epoch;
            let late: Vec<u64> =
                attempts.under_way.iter().map(|(number, ..)| *number).filter(|number| *number <= epoch).collect();
            if late.is_empty() {
                continue;
            }
            let before = format!("{:?}", attempts.circuit);
            let permit = Permit::new(*which.get(&late));
            prop_assert_eq!(attempts.circuit.record(at(attempts.now), &permit, verdict, attempts.issued), None);
            prop_assert_eq!(format!("{:?}", attempts.circuit), before);
        }
    }

    #[test]
    fn the_late_result_of_a_probe_whose_lease_ran_out_changes_nothing(
        ops in circuit_ops(), probes in 1..4_u32, which in any::<Index>(), verdict in verdicts(),
    ) {
        let lease = 5_000;
        let config = CircuitConfig {
            trip: Trip::Events,
            threshold: 1,
            reset: ms(1_000),
            max_reset: ms(1_000),
            probes,
            probe_timeout: ms(lease),
        };
        let mut attempts = Attempts::new(Circuit::new(config));
        for op in &ops {
            attempts.apply(op);
            let now = attempts.now;
            let hung = |(_, probe, since): &&(u64, bool, u64)| *probe && since + lease <= now;
            let hung: Vec<u64> = attempts.under_way.iter().filter(hung).map(|(number, ..)| *number).collect();
            if hung.is_empty() {
                continue;
            }
            let before = format!("{:?}", attempts.circuit.snapshot(at(now)));
            let permit = Permit::new(*which.get(&hung));
            prop_assert_eq!(attempts.circuit.record(at(now), &permit, verdict, attempts.issued), None);
            prop_assert_eq!(format!("{:?}", attempts.circuit.snapshot(at(now))), before);
        }
    }

    #[test]
    fn looking_at_a_circuit_says_what_the_next_call_meets(circuit in circuits(), ops in circuit_ops()) {
        let mut attempts = Attempts::new(circuit);
        for op in &ops {
            attempts.apply(op);
            let now = at(attempts.now);
            let snapshot = attempts.circuit.snapshot(now);
            let expected = match snapshot.retry_after {
                Some(Span::ZERO) => Decision::Proceed,
                retry_after => Decision::Reject { reason: Reason::CircuitOpen, retry_after },
            };
            prop_assert_eq!(attempts.circuit.check(now), expected);
            // "When the answer changes by the passing of time alone": then, and not a millisecond before.
            if let Some(then) = attempts.circuit.poll_timeout(now) {
                prop_assert!(attempts.circuit.check(at(then.ticks() - 1)) != Decision::Proceed);
                prop_assert_eq!(attempts.circuit.check(then), Decision::Proceed);
            }
        }
    }

    /// After the cooldown one goes; two more for each answer, one more for each place that was given back, and one
    /// whenever nothing was heard for as long as a probe may take.
    #[test]
    fn a_cooldown_lets_go_no_more_than_its_answers_allow(
        until in 0..5_000_u64, lease in 1..5_000_u64,
        ops in prop::collection::vec((0..4_u8, 0..3_000_u64, any::<Index>()), 1..100),
    ) {
        let mut cooldown = Cooldown::new(ms(lease));
        let refused = Permit::new(1);
        cooldown.hold(&refused, at(until), true, 1);
        let (mut now, mut issued, mut gone, mut allowed, mut last) = (0, 1, 0, 1, 0);
        let mut out: Vec<u64> = Vec::new();
        for (what, pause, which) in ops {
            now += pause;
            match what {
                0 | 1 => while cooldown.check(at(now)) == Decision::Proceed && out.len() < 50 {
                    prop_assert!(now >= until, "nobody goes at {now} while everybody is held until {until}");
                    if gone >= allowed {
                        prop_assert!(now >= last + lease, "at {now} more go than were answered");
                        allowed += 1;
                    }
                    issued += 1;
                    gone += 1;
                    last = now;
                    let permit = Permit::new(issued);
                    cooldown.take(at(now), &permit);
                    out.push(issued);
                },
                _ if out.is_empty() => {}
                answer => {
                    let permit = Permit::new(out.remove(which.index(out.len())));
                    let verdict = if answer == 2 { Verdict::Success } else { Verdict::Ignored };
                    cooldown.record(&permit, verdict);
                    allowed += if answer == 2 { 2 } else { 1 };
                }
            }
        }
    }

    /// Somebody takes whatever there is, again and again.
    #[test]
    fn a_budget_is_never_exceeded_and_never_withheld(
        ratio in 0.0..=1.0, min_per_second in 0.0..8.0, window in 1..10_000_u64,
        steps in prop::collection::vec((0..100_u64, 0..3_usize), 1..120),
    ) {
        let config = BudgetConfig { ratio, min_per_second, window: ms(window) };
        let mut budget = Budget::new(config);
        let (mut now, mut calls, mut retries) = (0, Vec::new(), Vec::new());
        for (share, begun) in steps {
            now += window * share / 1_000;
            for _ in 0..begun {
                budget.deposit(at(now), 1);
                calls.push(now);
            }
            while budget.withdraw(at(now)) {
                retries.push(now);
            }
            // It counts in slices of a 64th of the window, so it may be so much too strict and no more.
            let slice = window.div_ceil(64);
            let made = retries.iter().filter(|time| **time + window + slice > now).count() as f64;
            let begun = calls.iter().filter(|time| **time + window > now + slice).count() as f64;
            let allowed = min_per_second * window as f64 / 1_000.0 + ratio * begun;
            prop_assert!(made + 1.0 > allowed - 1e-9, "withheld at {now}: {made} made, {allowed} allowed");
        }
        within_budget(&config, &calls, &retries)?;
    }

    #[test]
    fn a_backoff_stays_between_its_bounds_for_every_legal_configuration(
        initial in prop_oneof![1 => Just(0), 9 => 0..=86_400_000_u64], more in 0..=31_536_000_000_u64, jitter in jitters(),
        retry in any::<u32>(), previous in prop::option::of(prop_oneof![0..1_000_u64, 0..=31_536_000_000_u64]), draw in 0.0..1.0,
    ) {
        let max = (initial + more).min(31_536_000_000);
        let backoff = Backoff { initial: ms(initial), max: ms(max), jitter };
        let delay = backoff.delay(retry, previous.map(ms), draw).as_ms();
        let doubled = (initial as f64 * 2_f64.powi(retry.min(60) as i32)).min(max as f64);
        let (least, most) = match jitter {
            Jitter::None => (doubled, doubled),
            Jitter::Proportional { factor } => (doubled, doubled + doubled * factor),
            Jitter::Full => (0.0, doubled),
            Jitter::Equal => (doubled / 2.0, doubled),
            Jitter::Decorrelated => (initial as f64, max as f64),
        };
        prop_assert!(delay as f64 >= least && delay as f64 <= most.ceil(), "{delay} is not in {least}..={most}");
    }

    #[test]
    fn a_hint_is_never_shortened_and_never_stretched_by_more_than_its_jitter(
        hint in 0..=31_536_000_000_u64, backoff in 0..=31_536_000_000_u64, jitter in jitters(), draw in 0.0..1.0,
    ) {
        let kinds = Backoff { initial: ms(0), max: ms(0), jitter };
        let delay = kinds.delay_after_hint(ms(hint), ms(backoff), draw).as_ms();
        prop_assert!(delay >= hint && delay >= backoff);
        let stretched = hint as f64 + (hint as f64 * 0.2).min(5_000.0);
        prop_assert!(delay <= (stretched.ceil() as u64).max(backoff));
    }
}

// ---- The line against a naive one ---------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum LineOp {
    Stand { arrival: u64, priority: i32 },
    Sleep { arrival: u64, priority: i32, due: u64 },
    Wake { now: u64 },
    Leave { which: Index },
    FrontLeaves,
}

fn line_ops() -> impl Strategy<Value = Vec<LineOp>> {
    let priorities = || prop_oneof![4 => -3..=3_i32, 1 => any::<i32>()];
    let op = prop_oneof![
        3 => (0..50_000_u64, priorities()).prop_map(|(arrival, priority)| LineOp::Stand { arrival, priority }),
        3 => (0..50_000_u64, priorities(), 0..2_000_u64)
            .prop_map(|(arrival, priority, due)| LineOp::Sleep { arrival, priority, due }),
        2 => (0..2_500_u64).prop_map(|now| LineOp::Wake { now }),
        2 => any::<Index>().prop_map(|which| LineOp::Leave { which }),
        2 => Just(LineOp::FrontLeaves),
    ];
    prop::collection::vec(op, 1..200)
}

/// Everybody in the order in which they came, searched from one end to the other.
#[derive(Default)]
struct NaiveLine(Vec<(Name, Waiter, Option<u64>)>);

impl NaiveLine {
    fn front(&self) -> Option<Name> {
        let place =
            |waiter: &Waiter| i128::from(waiter.arrival.ticks()) - i128::from(waiter.priority) * 10_000;
        let standing = self.0.iter().filter(|(.., due)| due.is_none());
        // Of equals the first one is found.
        standing.min_by_key(|(_, waiter, _)| place(waiter)).map(|(name, ..)| *name)
    }

    fn first_sleeper(&self) -> Option<(Name, u64)> {
        self.0.iter().filter_map(|(name, _, due)| Some((*name, (*due)?))).min_by_key(|(_, due)| *due)
    }

    fn leave(&mut self, name: Name) -> Option<Waiter> {
        let place = self.0.iter().position(|(other, ..)| *other == name)?;
        Some(self.0.remove(place).1)
    }
}

fn waiter(arrival: u64, priority: i32) -> Waiter {
    Waiter {
        arrival: at(arrival),
        priority,
        since: at(arrival),
        deadline: None,
        group: 1,
        terms: Terms::NONE,
    }
}

proptest! {
    #![proptest_config(runs(512))]

    #[test]
    fn the_line_is_as_good_as_a_naive_one(ops in line_ops()) {
        let mut line = Line::default();
        let mut naive = NaiveLine::default();
        for op in ops {
            match op {
                LineOp::Stand { arrival, priority } => {
                    let waiter = waiter(arrival, priority);
                    let name = line.stand(waiter);
                    prop_assert!(naive.0.iter().all(|(other, ..)| *other != name), "the name {} is taken", name);
                    naive.0.push((name, waiter, None));
                }
                LineOp::Sleep { arrival, priority, due } => {
                    let waiter = waiter(arrival, priority);
                    let name = line.sleep(waiter, at(due));
                    prop_assert!(naive.0.iter().all(|(other, ..)| *other != name), "the name {} is taken", name);
                    naive.0.push((name, waiter, Some(due)));
                }
                LineOp::Wake { now } => {
                    line.wake(at(now));
                    for (.., due) in &mut naive.0 {
                        *due = due.filter(|due| *due > now);
                    }
                }
                LineOp::Leave { which } => {
                    let name = which.index(naive.0.len() + 2) as Name;
                    prop_assert_eq!(line.leave(name), naive.leave(name));
                }
                LineOp::FrontLeaves => {
                    if let Some(name) = line.front() {
                        prop_assert_eq!(line.leave(name), naive.leave(name));
                    }
                }
            }
            prop_assert_eq!(line.front(), naive.front());
            prop_assert_eq!(line.anybody(), naive.front().or(naive.first_sleeper().map(|(name, _)| name)));
            prop_assert_eq!(line.poll_timeout(), naive.first_sleeper().map(|(_, due)| at(due)));
            prop_assert_eq!(line.is_empty(), naive.0.is_empty());
        }
    }

    #[test]
    fn percentiles_are_never_below_the_exact_ones_and_at_most_an_eighth_above(
        mut lengths in prop::collection::vec(prop_oneof![0..20_u64, 0..100_000_u64, 0..=1_u64 << 53], 1..200),
        percent in 1..=100_u64,
    ) {
        let mut histogram = Histogram::default();
        lengths.iter().for_each(|length| histogram.note(ms(*length), 1));
        lengths.sort_unstable();
        let longest = lengths[lengths.len() - 1];
        let rank = (lengths.len() as u64 * percent).div_ceil(100) as usize;
        let exact = lengths[rank - 1];
        let found = histogram.percentile(percent).as_ms();
        prop_assert!(found >= exact && found <= exact.saturating_add(exact / 8).min(longest), "{found} for {exact}");
        prop_assert_eq!(histogram.count(), lengths.len() as u64);
        prop_assert_eq!(histogram.longest().as_ms(), longest);
    }

    #[test]
    fn arithmetic_of_time_saturates_and_never_gives_time_away(a in any::<u64>(), b in any::<u64>(), length in any::<u64>()) {
        let limit = 1_u64 << 53;
        let (a, b) = (a % (2 * limit), b % (2 * limit));
        let (first, second) = (Instant::from_ms(a as f64), Instant::from_ms(b as f64));
        prop_assert!(first <= Instant::MAX);
        prop_assert_eq!(Instant::from_ms(first.as_ms()), first, "what crosses the boundary comes back");
        let later = first.plus(ms(length));
        prop_assert!(later >= first && later <= Instant::MAX);
        prop_assert!(later.since(first) <= ms(length));
        prop_assert_eq!(later.since(first) == ms(length), u128::from(first.ticks()) + u128::from(length) <= u128::from(limit));
        prop_assert!(first.since(second) == Span::ZERO || second.since(first) == Span::ZERO);
        prop_assert_eq!(first.since(second).as_ms(), first.ticks().saturating_sub(second.ticks()));
        prop_assert_eq!(first < second, second.since(first) > Span::ZERO);
    }

    #[test]
    fn foreign_numbers_become_times_without_surprise(ms in any::<f64>()) {
        let instant = Instant::from_ms(ms);
        let span = Span::from_ms_ceil(ms);
        prop_assert!(instant <= Instant::MAX && span.as_ms() <= 1 << 53);
        if ms.is_nan() || ms <= 0.0 {
            prop_assert_eq!((instant, span), (Instant::ZERO, Span::ZERO));
        } else if ms < (1_u64 << 53) as f64 {
            prop_assert!(instant.as_ms() <= ms && ms < instant.as_ms() + 1.0, "a point rounds down");
            prop_assert!(span.as_f64() >= ms && ms > span.as_f64() - 1.0, "a length rounds up");
        }
        prop_assert_eq!(WallTime::from_ms(ms).as_ms(), instant.ticks());
    }

    #[test]
    fn reject_beats_wait_wait_beats_go_and_the_later_wait_holds(a in decisions(), b in decisions()) {
        let rank = |decision: &Decision| match decision {
            Decision::Proceed => (0, Instant::ZERO),
            Decision::Wait { until: Some(until), .. } => (1, *until),
            Decision::Wait { until: None, .. } => (2, Instant::ZERO),
            Decision::Reject { .. } => (3, Instant::ZERO),
        };
        prop_assert_eq!(rank(&a.and(b)), rank(&a).max(rank(&b)));
        prop_assert!(a.and(b) == a || a.and(b) == b);
    }
}

fn decisions() -> impl Strategy<Value = Decision> {
    prop_oneof![
        Just(Decision::Proceed),
        prop::option::of(0..5_u64)
            .prop_map(|until| Decision::Wait { until: until.map(at), reason: Reason::Cooldown }),
        prop::option::of(0..5_u64)
            .prop_map(|after| Decision::Reject { reason: Reason::CircuitOpen, retry_after: after.map(ms) }),
    ]
}
