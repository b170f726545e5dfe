//! The limits against a reference that looks at everybody who waits, one by one, after everything that happens.
//!
//! The reference knows who stands in line in which order, who has a slot and until when, and what was taken of each
//! quota when. Of the core it uses only what a single quota answers. Checked are:
//!
//! - no cap and no window is ever exceeded;
//! - whoever starts overtakes nobody who waits for a room that both need;
//! - nobody is left waiting who could go, also between two alarms, with no more polling than the shell does.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use support::{REFUSED, UNWELL, at, ms, refused_for};
use tidegate::decision::{Decision, Permit, Reason, Verdict};
use tidegate::limits::LimitsConfig;
use tidegate::queue::{Name, Terms};
use tidegate::quota::{Policy, Window};
use tidegate::service::{Admission, Call, Config, Ending, Next, RetryTransient, Service};
use tidegate::slots::SlotsConfig;
use tidegate::time::Instant;

// ---- What is configured ---------------------------------------------------------------------------------------------

/// Limits in numbers that a test case can draw.
#[derive(Clone, Copy, Debug)]
struct Plan {
    limit: u32,
    interval_ms: u64,
    global: Option<u32>,
    per_key: Option<u32>,
    per_operation: Option<u32>,
    lease_ms: Option<u64>,
    max_queue: u32,
    reject: bool,
    /// So many of the policies; those that are missing count nothing.
    policies: usize,
}

impl Plan {
    fn limits(self) -> LimitsConfig {
        let window = |limit, length| Window { limit, length: ms(length) };
        let windows = |windows: &[Window]| Policy { windows: windows.to_vec(), ..Policy::default() };
        let mut policies = vec![
            windows(&[window(self.limit, SHORT), window(2 * self.limit, LONG)]),
            windows(&[window(self.limit + 1, SHORT)]),
            Policy { interval: ms(self.interval_ms), ..Policy::default() },
        ];
        policies.truncate(self.policies);
        LimitsConfig {
            policies,
            slots: SlotsConfig {
                global: self.global,
                per_key: self.per_key,
                per_operation: vec![None, self.per_operation],
                lease: self.lease_ms.map(ms),
            },
            max_queue: self.max_queue,
            reject: self.reject,
            ..LimitsConfig::default()
        }
    }
}

const SHORT: u64 = 1_000;
const LONG: u64 = 5_000;

/// Operation and quotas of each lane: some quotas are for one lane alone, some for several, the last for nearly all.
const LANES: [(u32, &[u32]); 7] =
    [(0, &[0, 4]), (0, &[1, 3, 4]), (1, &[0]), (1, &[1, 4]), (1, &[2, 3]), (0, &[]), (1, &[3, 2, 4])];
/// The policy of each quota.
const QUOTAS: [u32; 5] = [0, 0, 0, 1, 2];

// ---- What happens ---------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Op {
    Begin {
        wish: Wish,
        deadline_ms: Option<u64>,
    },
    Try {
        wish: Wish,
    },
    End {
        which: Index,
        verdict: Verdict,
        keeps_slot: bool,
    },
    Release {
        which: Index,
    },
    Renew {
        which: Index,
    },
    Cancel {
        which: Index,
    },
    Pass {
        ms: u64,
    },
    /// The clock is set, and no alarm has gone off yet.
    Jump {
        forward: bool,
        ms: u64,
    },
    Limit {
        plan: Plan,
    },
    Isolate,
    Reset,
    GiveBack {
        lane: Index,
        units: u32,
    },
    Clear {
        lane: Option<Index>,
    },
}

#[derive(Clone, Debug)]
struct Wish {
    lane: Index,
    priority: i32,
    weight: u32,
    concurrency: u32,
    limit: u32,
}

fn wish() -> impl Strategy<Value = Wish> {
    let weight = prop_oneof![1 => Just(0_u32), 6 => Just(1), 2 => 2..4_u32];
    let concurrency = prop_oneof![6 => Just(0_u32), 1 => 1..4_u32];
    let limit = prop_oneof![8 => Just(0_u32), 1 => 1..4_u32];
    (any::<Index>(), -1..2_i32, weight, concurrency, limit).prop_map(
        |(lane, priority, weight, concurrency, limit)| Wish { lane, priority, weight, concurrency, limit },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let cap = |most| proptest::option::weighted(0.7, 1..most);
    let policies = prop_oneof![8 => Just(3_usize), 1 => 0..3_usize];
    let rare = prop_oneof![9 => Just(false), 1 => Just(true)];
    let lease = proptest::option::of(200..4_000_u64);
    let max_queue = prop_oneof![5 => Just(u32::MAX), 1 => 0..4_u32];
    let interval = prop_oneof![1 => Just(0_u64), 3 => 1..400_u64];
    (1..5_u32, interval, cap(6_u32), cap(3), cap(4), lease, max_queue, rare, policies).prop_map(
        |(limit, interval_ms, global, per_key, per_operation, lease_ms, max_queue, reject, policies)| Plan {
            limit,
            interval_ms,
            global,
            per_key,
            per_operation,
            lease_ms,
            max_queue,
            reject,
            policies,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let verdict = prop_oneof![
        8 => Just(Verdict::Success),
        2 => Just(REFUSED),
        1 => (1..2_000_u64).prop_map(refused_for),
        1 => Just(UNWELL),
        1 => Just(Verdict::Ignored),
    ];
    let keeps = prop_oneof![7 => Just(false), 1 => Just(true)];
    prop_oneof![
        14 => (wish(), proptest::option::weighted(0.2, 1..5_000_u64))
            .prop_map(|(wish, deadline_ms)| Op::Begin { wish, deadline_ms }),
        3 => wish().prop_map(|wish| Op::Try { wish }),
        10 => (any::<Index>(), verdict, keeps)
            .prop_map(|(which, verdict, keeps_slot)| Op::End { which, verdict, keeps_slot }),
        2 => any::<Index>().prop_map(|which| Op::Release { which }),
        1 => any::<Index>().prop_map(|which| Op::Renew { which }),
        2 => any::<Index>().prop_map(|which| Op::Cancel { which }),
        8 => (0..1_500_u64).prop_map(|ms| Op::Pass { ms }),
        1 => (any::<bool>(), 0..3_000_u64).prop_map(|(forward, ms)| Op::Jump { forward, ms }),
        2 => plan().prop_map(|plan| Op::Limit { plan }),
        1 => prop_oneof![1 => Just(Op::Isolate), 3 => Just(Op::Reset)],
        1 => (any::<Index>(), 1..3_u32).prop_map(|(lane, units)| Op::GiveBack { lane, units }),
        1 => proptest::option::of(any::<Index>()).prop_map(|lane| Op::Clear { lane }),
    ]
}

// ---- Who is where ---------------------------------------------------------------------------------------------------

struct Model {
    service: Service,
    plan: Plan,
    now: u64,
    /// When the shell asks next by itself.
    bell: Option<Instant>,
    lanes: Vec<u32>,
    waiting: BTreeMap<Name, Waiting>,
    running: Vec<Running>,
    /// Slots of attempts that are over and of operations that are not.
    kept: Vec<Slot>,
    /// Quota by quota: when, and how many units.
    taken: Vec<Vec<(u64, u32)>>,
    comings: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    call: Call,
    retries: u32,
    coming: u64,
    /// It sleeps until then.
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    permit: u64,
    lane: u32,
    ends: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    slot: Slot,
    call: Call,
    retries: u32,
    started: u64,
}

/// What keeps one waiting.
#[derive(Clone, Debug, Default, PartialEq)]
struct Refusals {
    key: bool,
    operation: bool,
    global: bool,
    quotas: Vec<u32>,
}

impl Refusals {
    fn any(&self) -> bool {
        self.key || self.operation || self.global || !self.quotas.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Seen {
    name: Name,
    one: Waiting,
    refusals: Refusals,
}

/// Everybody who stood in line at some moment, the first first.
struct Look(Vec<Seen>);

impl Look {
    /// The fronts of all lanes that go before this one, its own lane's too. Who is behind another in a lane waits for him.
    fn before(&self, seen: &Seen) -> impl Iterator<Item = &Seen> {
        let lane = |seen: &Seen| seen.one.call.terms.lane;
        let is_front = move |(index, one): &(usize, &Seen)| {
            self.0.iter().take(*index).all(|other| lane(other) != lane(one))
        };
        let fronts = self.0.iter().enumerate().filter(is_front).map(|(_, front)| front);
        fronts.take_while(|first| first.one.order() < seen.one.order())
    }

    /// Whether one could go: nothing refuses it, and nobody who goes first waits for what it needs.
    fn could_go(&self, seen: &Seen) -> bool {
        !seen.refusals.any() && !self.is_behind(seen)
    }

    /// Whether somebody who goes first may wait for what it needs.
    fn is_behind(&self, seen: &Seen) -> bool {
        let call = &seen.one.call;
        self.before(seen).any(|first| {
            first.one.call.terms.lane == call.terms.lane
                || (first.refusals.operation && operation_of(&first.one.call) == operation_of(call))
                || first.refusals.quotas.iter().any(|quota| needs_of(call).contains(quota))
        })
    }

    /// It has started: it was allowed to, and overtook nobody.
    fn check_start(&self, seen: &Seen) {
        assert!(!seen.refusals.any(), "{seen:?} starts");
        let call = &seen.one.call;
        for first in self.before(seen) {
            let Seen { one, refusals, .. } = first;
            assert_ne!(one.call.terms.lane, call.terms.lane, "{seen:?} overtakes {first:?} in its lane");
            assert!(!self.could_go(first), "{seen:?} overtakes {first:?}, who could go");
            // One that waits for something else as well lets the others pass; so does one that is behind a third.
            let waits_for_others = refusals.key
                || self.is_behind(first)
                || (refusals.operation && operation_of(&one.call) != operation_of(call))
                || refusals.quotas.iter().any(|quota| !needs_of(call).contains(quota));
            assert!(waits_for_others || !refusals.any(), "{seen:?} overtakes {first:?}");
        }
    }
}

impl Waiting {
    /// By priority and arrival; equals by the order they came.
    fn order(&self) -> (i64, u64) {
        let Call { arrival, priority, .. } = self.call;
        (arrival.ticks().cast_signed() - i64::from(priority) * 10_000, self.coming)
    }
}

fn operation_of(call: &Call) -> u32 {
    LANES[call.terms.lane as usize - 1].0
}

/// The quotas that it takes units of.
fn needs_of(call: &Call) -> &'static [u32] {
    if call.terms.weight == 0 { &[] } else { LANES[call.terms.lane as usize - 1].1 }
}

impl Model {
    fn new(plan: Plan) -> Self {
        let config = Config {
            circuit_reset: ms(2_000),
            probe_timeout: ms(1_500),
            retry_transient: RetryTransient::Always,
            ..Config::default()
        };
        let mut service = Service::limited(config, plan.limits(), 1);
        for policy in QUOTAS {
            service.limits_mut().quota(policy);
        }
        let lane = |(operation, needs): (u32, &[u32])| {
            let lane = service.lane(at(0), operation).expect("room");
            needs.iter().for_each(|&quota| service.limits_mut().need(lane, quota));
            lane
        };
        let lanes = LANES.into_iter().map(lane).collect();
        Self {
            service,
            plan,
            now: 10_000,
            bell: None,
            lanes,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            kept: Vec::new(),
            taken: vec![Vec::new(); QUOTAS.len()],
            comings: 0,
        }
    }

    fn now(&self) -> Instant {
        at(self.now)
    }

    fn call(&self, wish: &Wish, deadline_ms: Option<u64>) -> Call {
        let lane = *wish.lane.get(&self.lanes);
        let (weight, concurrency, limit) = (wish.weight, wish.concurrency, wish.limit);
        Call {
            arrival: self.now(),
            deadline: deadline_ms.map(|length| at(self.now + length)),
            priority: wish.priority,
            group: 0,
            terms: Terms {
                lane,
                weight,
                concurrency,
                limit,
                length: ms(if limit > 0 { SHORT / 2 } else { 0 }),
            },
        }
    }

    // ---- The rules, one by one

    fn refusals(&self, call: &Call) -> Refusals {
        let Terms { lane, concurrency, weight, limit, length } = call.terms;
        let held = |counts: &dyn Fn(&Slot) -> bool| {
            let slots = self.running.iter().map(|running| &running.slot).chain(&self.kept);
            let held = slots.filter(|slot| slot.ends.is_none_or(|end| end > self.now) && counts(slot));
            held.count() as u32
        };
        let operation = operation_of(call);
        let configured = if operation == 1 { self.plan.per_operation } else { None };
        let cap = if concurrency > 0 { Some(concurrency) } else { configured };
        let of_operation = |slot: &Slot| LANES[slot.lane as usize - 1].0 == operation;
        let mut quotas = Vec::new();
        for (index, &number) in LANES[lane as usize - 1].1.iter().enumerate() {
            let other = (limit > 0 && index == 0).then_some(Window { limit, length });
            let Some((quota, policy)) = self.service.limits().quota_of(number) else { continue };
            if quota.check(self.now(), policy, weight, other) != Decision::Proceed {
                quotas.push(number);
            }
        }
        Refusals {
            key: self.plan.per_key.is_some_and(|cap| held(&|slot| slot.lane == lane) >= cap),
            operation: cap.is_some_and(|cap| held(&of_operation) >= cap),
            global: self.plan.global.is_some_and(|cap| held(&|_| true) >= cap),
            quotas,
        }
    }

    /// Those who stand in line and are in time, the first first.
    fn line(&self) -> Vec<(Name, Waiting)> {
        let in_time = |call: &Call| call.deadline.is_none_or(|deadline| deadline > self.now());
        let standing = self.waiting.iter().filter(|(_, one)| one.until <= self.now && in_time(&one.call));
        let mut line: Vec<(Name, Waiting)> = standing.map(|(name, one)| (*name, *one)).collect();
        line.sort_by_key(|(_, one)| one.order());
        line
    }

    /// The same with what refuses each of them.
    fn look(&self) -> Look {
        let seen = |(name, one): (Name, Waiting)| Seen { name, one, refusals: self.refusals(&one.call) };
        Look(self.line().into_iter().map(seen).collect())
    }

    /// How it would be for one who comes now.
    fn newcomer(&self, call: Call) -> Seen {
        let one = Waiting { call, retries: 0, coming: u64::MAX, until: 0 };
        Seen { name: Name::MAX, one, refusals: self.refusals(&call) }
    }

    /// By what is written down: no more than the limit in any window.
    fn check_windows(&self, call: &Call) {
        let Terms { weight, limit, .. } = call.terms;
        for (index, &number) in needs_of(call).iter().enumerate() {
            let Some(policy) = self.plan.limits().policies.get(QUOTAS[number as usize] as usize).cloned()
            else {
                continue;
            };
            if limit > 0 && index == 0 {
                continue;
            }
            let latest =
                self.taken[number as usize].iter().map(|(time, _)| *time).max().unwrap_or(0).max(self.now);
            for window in policy.windows {
                let since = latest.saturating_sub(window.length.as_ms());
                let recent = self.taken[number as usize].iter().filter(|(time, _)| *time > since);
                let used: u32 = recent.map(|(_, units)| units).sum();
                assert!(used + weight <= window.limit, "{used} and {weight} in {window:?} of {number}");
            }
        }
    }

    /// Whether neither circuit nor cooldown keeps anybody.
    fn is_door_open(&self) -> bool {
        self.service.next_leave(self.now(), 0) == Some(self.now())
    }

    /// Nobody waits who could go, and whoever waits has something to wait for.
    fn check_nobody_is_forgotten(&self) {
        let now = self.now();
        assert_eq!(self.service.has_waiters(), !self.waiting.is_empty());
        let out = !self.running.is_empty() || !self.kept.is_empty();
        assert!(
            self.waiting.is_empty() || self.bell.is_some() || out,
            "at {now:?} somebody waits for nothing"
        );
        assert!(self.bell.is_none_or(|bell| bell > now), "an alarm that is due, and nobody to call");
        if !self.is_door_open() {
            return;
        }
        let look = self.look();
        for seen in &look.0 {
            assert!(!look.could_go(seen), "at {now:?} {seen:?} is forgotten");
            assert!(!self.plan.reject, "at {now:?} {seen:?} waits although it should be told no");
        }
    }

    /// Whoever has woken stays awake, and a slot that was taken back stays so, wherever the clock goes.
    fn wake(&mut self) {
        let now = self.now;
        let slots = self.running.iter_mut().map(|running| &mut running.slot).chain(&mut self.kept);
        slots.filter(|slot| slot.ends.is_some_and(|end| end <= now)).for_each(|slot| slot.ends = Some(0));
        self.waiting.values_mut().filter(|one| one.until <= now).for_each(|one| one.until = 0);
    }

    // ---- What the shell does

    fn starts(&mut self, permit: &Permit, call: Call, retries: u32) {
        self.check_windows(&call);
        let ends = self.plan.lease_ms.map(|lease| self.now + lease);
        let slot = Slot { permit: permit.sequence(), lane: call.terms.lane, ends };
        self.running.push(Running { slot, call, retries, started: self.now });
        for &number in needs_of(&call) {
            let log = &mut self.taken[number as usize];
            let latest = log.iter().map(|(time, _)| *time).max().unwrap_or(0);
            if self.plan.policies > QUOTAS[number as usize] as usize {
                log.push((latest.max(self.now), call.terms.weight));
            }
        }
    }

    fn waits(&mut self, name: Name, call: Call, retries: u32, until: u64) {
        self.comings += 1;
        let before = self.waiting.insert(name, Waiting { call, retries, coming: self.comings, until });
        assert!(before.is_none(), "two are called {name}");
    }

    fn begin(&mut self, call: Call) {
        self.wake();
        let (look, seen) = (self.look(), self.newcomer(call));
        let (is_open, is_settled) = (self.is_door_open(), self.is_settled());
        match self.service.begin(self.now(), &call) {
            Admission::Go(permit) => {
                look.check_start(&seen);
                self.starts(&permit, call, 0);
                return;
            }
            Admission::Wait { name, .. } => self.waits(name, call, 0, 0),
            Admission::Reject(rejection) => {
                let is_full = look.0.len() >= self.plan.max_queue as usize;
                let legal = match rejection.reason {
                    Reason::QueueFull if is_settled => is_full && !(is_open && look.could_go(&seen)),
                    Reason::QueueFull => true,
                    Reason::Slots => self.plan.reject,
                    Reason::Quota => self.plan.reject || rejection.retry_after.is_none(),
                    Reason::Deadline => call.deadline.is_some(),
                    _ => !is_open,
                };
                assert!(legal, "at {} {call:?} is told {rejection:?}", self.now);
            }
        }
        self.poll();
    }

    fn attempt(&mut self, call: Call) {
        self.wake();
        let (look, seen) = (self.look(), self.newcomer(call));
        let is_ready = self.is_door_open() && self.is_settled();
        match self.service.attempt(self.now(), &call) {
            Admission::Go(permit) => {
                look.check_start(&seen);
                self.starts(&permit, call, 0);
            }
            Admission::Reject(rejection) => {
                // In its own lane it goes before nobody, not even before one of lower priority.
                let is_alone = look.0.iter().all(|one| one.one.call.terms.lane != call.terms.lane);
                assert!(!(is_ready && is_alone && look.could_go(&seen)), "{call:?} is told {rejection:?}");
            }
            Admission::Wait { .. } => panic!("an attempt waits"),
        }
    }

    /// Whether nobody is to be called whom the shell has not been told of.
    fn is_settled(&self) -> bool {
        self.bell.is_none_or(|bell| bell > self.now())
    }

    fn poll(&mut self) {
        self.wake();
        loop {
            let look = self.look();
            let Some((name, admission)) = self.service.poll(self.now()) else { break };
            let one = self.waiting.remove(&name).expect("whoever is called waits");
            if let Admission::Go(permit) = admission {
                let seen = look.0.iter().find(|seen| seen.name == name);
                look.check_start(seen.expect("whoever goes stood in line"));
                self.starts(&permit, one.call, one.retries);
            }
        }
        while self.service.next_transition().is_some() {}
        self.bell = self.service.poll_timeout(self.now());
    }

    fn end(&mut self, which: &Index, verdict: Verdict, keeps_slot: bool) {
        if self.running.is_empty() {
            return;
        }
        let index = which.index(self.running.len());
        let Running { slot, call, retries, started } = self.running.swap_remove(index);
        let (permit, started) = (Permit::new(slot.permit), at(started));
        if keeps_slot {
            self.kept.push(slot);
        }
        if verdict == Verdict::Success && !keeps_slot {
            self.service.succeed(self.now(), &permit, started, 0, call.terms.lane);
            return self.poll();
        }
        let ending = Ending {
            permit,
            started,
            verdict,
            online: true,
            retries,
            max_retries: 2,
            previous_delay: None,
            idempotent: true,
            initial_delay: None,
            keeps_slot,
        };
        if let Next::Retry { name, until, .. } = self.service.end(self.now(), &ending, &call, Some(0.5)) {
            self.waits(name, call, retries + 1, until.ticks());
        }
        self.poll();
    }

    fn release(&mut self, which: &Index) {
        if !self.kept.is_empty() {
            let slot = self.kept.swap_remove(which.index(self.kept.len()));
            self.service.release(&Permit::new(slot.permit), slot.lane);
            self.poll();
        }
    }

    fn renew(&mut self, which: &Index) {
        if !self.running.is_empty() {
            self.wake();
            let index = which.index(self.running.len());
            let renewed = self.service.renew(self.now(), &Permit::new(self.running[index].slot.permit));
            let slot = &mut self.running[index].slot;
            assert_eq!(renewed.is_some(), slot.ends.is_some_and(|end| end > self.now));
            slot.ends = renewed.map(Instant::ticks).or(slot.ends);
        }
    }

    fn pass(&mut self, until: u64) {
        while let Some(bell) = self.bell.filter(|bell| bell.ticks() <= until) {
            self.now = bell.ticks().max(self.now);
            self.poll();
            self.check_nobody_is_forgotten();
        }
        self.now = until.max(self.now);
    }

    fn limit(&mut self, plan: Plan) {
        for (number, policy) in QUOTAS.into_iter().enumerate() {
            if plan.policies <= policy as usize {
                self.taken[number].clear();
            }
        }
        self.plan = plan;
        self.service.limit(plan.limits());
        self.poll();
    }

    fn clear(&mut self, lane: Option<u32>) {
        let cleared = lane.map_or(&[0, 1, 2, 3, 4][..], |lane| LANES[lane as usize - 1].1);
        cleared.iter().for_each(|&number| self.taken[number as usize].clear());
        self.service.clear(lane);
        self.poll();
    }

    /// What is given back is forgotten here altogether: this checks no windows that it may have made wider.
    fn give_back(&mut self, lane: u32, units: u32) {
        let needs = LANES[lane as usize - 1].1;
        needs.iter().for_each(|&number| self.taken[number as usize].clear());
        self.service.give_back(lane, self.now(), units);
        self.poll();
    }

    fn happens(&mut self, op: Op) {
        match op {
            Op::Begin { wish, deadline_ms } => self.begin(self.call(&wish, deadline_ms)),
            Op::Try { wish } => self.attempt(Call { priority: 0, ..self.call(&wish, None) }),
            Op::End { which, verdict, keeps_slot } => self.end(&which, verdict, keeps_slot),
            Op::Release { which } => self.release(&which),
            Op::Renew { which } => self.renew(&which),
            Op::Cancel { which } => {
                let names: Vec<Name> = self.waiting.keys().copied().collect();
                if !names.is_empty() {
                    let name = which.get(&names);
                    self.waiting.remove(name);
                    self.service.leave(self.now(), *name, None);
                    self.poll();
                }
            }
            Op::Pass { ms } => self.pass(self.now + ms),
            Op::Jump { forward, ms } => {
                self.now = if forward { self.now + ms } else { self.now.saturating_sub(ms) };
                return;
            }
            Op::Limit { plan } => self.limit(plan),
            Op::Isolate => {
                self.service.isolate();
                self.poll();
                assert!(self.waiting.is_empty(), "nobody waits before a closed door");
            }
            Op::Reset => {
                self.service.reset();
                self.poll();
            }
            Op::GiveBack { lane, units } => self.give_back(*lane.get(&self.lanes), units),
            Op::Clear { lane } => self.clear(lane.map(|lane| *lane.get(&self.lanes))),
        }
        if self.is_settled() {
            self.check_nobody_is_forgotten();
        }
    }

    /// From here on everybody succeeds: nobody may be left.
    fn comes_to_an_end(&mut self, any: &Index) {
        self.service.reset();
        self.poll();
        for _ in 0..2_000 {
            self.pass(self.now + 250);
            while !self.running.is_empty() {
                self.end(any, Verdict::Success, false);
            }
            while !self.kept.is_empty() {
                self.release(any);
            }
            if self.waiting.is_empty() && self.running.is_empty() {
                break;
            }
        }
        assert!(self.waiting.is_empty(), "{:?} are left", self.waiting);
        self.pass(self.now + 10_000);
        self.service.lane(self.now(), 0).expect("room");
        let slots = self.service.limits().slots();
        assert_eq!(slots.in_flight(), 0);
        assert!(self.lanes.iter().all(|lane| slots.in_flight_of_lane(*lane) == 0));
        assert_eq!(self.service.line().standing(), 0);
    }
}

/// As many as `PROPTEST_CASES` says.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_forgotten_overtaken_or_let_go_too_early(
        plan in plan(),
        ops in prop::collection::vec(op(), 1..100),
        any in any::<Index>(),
    ) {
        let mut model = Model::new(plan);
        for op in ops {
            model.happens(op);
        }
        model.comes_to_an_end(&any);
    }
}
