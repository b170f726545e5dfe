//! The limits of a service: slots and quotas, looked at together and taken together.
//!
//! A call stands in a lane. The lane says what it needs: quotas by number, slots by its operation. Quotas that several
//! lanes need, such as an agent's in all his sessions, are the same in all of them.

use std::mem;

use crate::decision::{Decision, Permit, Transition};
use crate::queue::{Entry, Heap, LaneNumber, Terms};
use crate::quota::{Policy, Quota, Window};
use crate::slots::{Full, Slots, SlotsConfig};
use crate::time::{Instant, Span};

/// What can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// How quotas count, by number.
    pub policies: Vec<Policy>,
    /// How many at once.
    pub slots: SlotsConfig,
    /// How many may stand in line.
    pub max_queue: u32,
    /// Whoever would have to wait for a limit is rejected.
    pub reject: bool,
    /// How many lanes, lane 0 apart, before idle ones have to go.
    pub max_keys: u32,
}

/// Slots, quotas, and who needs which.
#[derive(Debug)]
pub struct Limits {
    /// Without its slots, which are in `slots`.
    config: LimitsConfig,
    slots: Slots,
    /// By number.
    accounts: Vec<Account>,
    free_accounts: Vec<u32>,
    /// By number; lane 0 needs nothing.
    lanes: Vec<Lane>,
    /// Every lane but lane 0, by a time before which it is not idle.
    idle: Heap,
    idle_places: Vec<u32>,
    /// The numbers of quotas that went with their lanes, for the shell to forget their names.
    freed: Vec<u32>,
    /// The windows of up to a minute count as full since then: what was taken before is not known.
    filled: Option<Instant>,
}

#[derive(Debug)]
struct Account {
    /// [`NOBODYS`] where the number is free.
    policy: u32,
    quota: Quota,
    /// How many lanes need it.
    users: u32,
    /// Who waits for it first.
    claim: Option<Claim>,
}

/// Somebody waits for a quota: whoever comes after and needs it too does not overtake, even where he needs less of it.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// The lane, and the place of its front in line.
    front: Entry,
    until: Instant,
}

#[derive(Debug, Default)]
struct Lane {
    operation: u32,
    needs: Vec<u32>,
}

/// May an attempt start, as far as the limits go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Yes.
    Go,
    /// Not before a slot comes free.
    Slots(Full),
    /// Not before then, because of a quota. [`Instant::MAX`]: never, it takes more than a window holds.
    Until(Instant),
    /// Not before one that waits for this quota has gone, which is not before then.
    Behind(u32, Instant),
}

impl Limits {
    /// Nothing is taken yet.
    pub fn new(mut config: LimitsConfig) -> Self {
        Self {
            slots: Slots::new(mem::take(&mut config.slots)),
            config,
            accounts: Vec::new(),
            free_accounts: Vec::new(),
            lanes: vec![Lane::default()],
            idle: Heap::default(),
            idle_places: Vec::new(),
            freed: Vec::new(),
            filled: None,
        }
    }

    /// Other limits from the next decision on. What is counted stays, who runs is not disturbed.
    pub fn reconfigure(&mut self, mut config: LimitsConfig) {
        let none = Policy::default();
        for account in &mut self.accounts {
            let [from, to] = [&self.config, &config]
                .map(|config| config.policies.get(account.policy as usize).unwrap_or(&none));
            account.quota.reshape(from, to);
            account.claim = None;
        }
        self.slots.reconfigure(mem::take(&mut config.slots));
        self.config = config;
    }

    /// A lane of an operation, or how long until there may be one. Where there are too many, it is an idle one that
    /// loses its former needs. `waits`: whether somebody stands in a lane, or sleeps and will.
    pub fn lane(
        &mut self,
        now: Instant,
        operation: u32,
        waits: impl Fn(LaneNumber) -> bool,
    ) -> Result<LaneNumber, Span> {
        let number = if self.idle.len() < self.config.max_keys as usize {
            self.lanes.push(Lane::default());
            LaneNumber::try_from(self.lanes.len().wrapping_sub(1)).unwrap_or(LaneNumber::MAX)
        } else {
            self.idle_lane(now, waits)?
        };
        if let Some(lane) = self.lanes.get_mut(number as usize) {
            lane.operation = operation;
        }
        self.idle.put(Entry::at(now, number), &mut self.idle_places);
        Ok(number)
    }

    /// The number of a quota that went with its lane and was not told yet.
    pub fn freed(&mut self) -> Option<u32> {
        self.freed.pop()
    }

    /// A new quota, counted by this policy.
    pub fn quota(&mut self, policy: u32) -> u32 {
        let number = self.free_accounts.pop().unwrap_or_else(|| {
            self.accounts.push(Account::new(NOBODYS));
            u32::try_from(self.accounts.len().wrapping_sub(1)).unwrap_or(u32::MAX)
        });
        if let Some(account) = self.accounts.get_mut(number as usize) {
            account.policy = policy;
            if let (Some(since), Some(policy)) = (self.filled, self.config.policies.get(policy as usize)) {
                account.quota.fill(since, policy, LONGEST_FILLED);
            }
        }
        number
    }

    /// The lane needs this quota too.
    pub fn need(&mut self, lane: LaneNumber, quota: u32) {
        if let Some(account) = self.accounts.get_mut(quota as usize)
            && let Some(lane) = self.lanes.get_mut(lane as usize)
        {
            account.users = account.users.wrapping_add(1);
            lane.needs.push(quota);
        }
    }

    /// May an attempt start? No effect. `place`: where it stands in line.
    pub fn check(&self, now: Instant, terms: &Terms, place: &Entry) -> Leave {
        let Some(lane) = self.lanes.get(terms.lane as usize).filter(|_| terms.lane != 0) else {
            return Leave::Go;
        };
        let cap = (terms.concurrency > 0).then_some(terms.concurrency);
        if let Some(full) = self.slots.check(now, terms.lane, lane.operation, cap) {
            return Leave::Slots(full);
        }
        let until = self.longest(now, terms).0;
        match self.claim_before(terms, place) {
            Some((number, claim)) if until < Instant::MAX => Leave::Behind(number, until.max(claim.until)),
            _ if until > now => Leave::Until(until),
            _ => Leave::Go,
        }
    }

    /// The claim of another that goes first, of several the one that lasts longest. Who takes no units is behind nobody.
    fn claim_before(&self, terms: &Terms, place: &Entry) -> Option<(u32, Claim)> {
        let needs = self.needs(terms.lane).iter().filter(|_| terms.weight > 0);
        let claims = needs.filter_map(|&number| Some((number, self.account(number)?.0.claim?)));
        let before =
            claims.filter(|(_, claim)| claim.front.name != terms.lane && claim.front.is_before(place));
        before.max_by_key(|(_, claim)| claim.until)
    }

    /// The window that keeps an attempt waiting longest.
    pub fn obstacle(&self, now: Instant, terms: &Terms) -> Option<Window> {
        self.longest(now, terms).1
    }

    /// Until when quotas keep an attempt waiting, [`Instant::MAX`] for ever, and the window that does; `now` when none
    /// does.
    fn longest(&self, now: Instant, terms: &Terms) -> (Instant, Option<Window>) {
        let mut longest = (now, None);
        for index in 0..self.needs(terms.lane).len() {
            let until = self.until(now, terms, index);
            if until > now && until >= longest.0 {
                longest = (until, self.window(now, terms, index));
            }
        }
        longest
    }

    /// Until when the quota that the lane needs at this index keeps an attempt waiting.
    fn until(&self, now: Instant, terms: &Terms, index: usize) -> Instant {
        let Some((quota, policy)) = self.needed(terms.lane, index) else { return now };
        match quota.check(now, policy, terms.weight, other(terms, index)) {
            Decision::Proceed => now,
            Decision::Wait { until, .. } => until.unwrap_or(now),
            Decision::Reject { .. } => Instant::MAX,
        }
    }

    /// The window of that quota that does.
    fn window(&self, now: Instant, terms: &Terms, index: usize) -> Option<Window> {
        let (quota, policy) = self.needed(terms.lane, index)?;
        quota.obstacle(now, policy, terms.weight, other(terms, index))
    }

    fn needed(&self, lane: LaneNumber, index: usize) -> Option<(&Quota, &Policy)> {
        self.quota_of(*self.needs(lane).get(index)?)
    }

    /// The front of a lane waits until then, as [`Limits::check`] has said: who comes after does not overtake where
    /// both need the quota that it waits for. Of the others that it needs it has no claim: who waits for his own
    /// quota must not keep everybody from one that he shares. `replaced` is told of lanes whose claims it took over.
    pub fn claim(
        &mut self,
        now: Instant,
        terms: &Terms,
        front: Entry,
        until: Instant,
        mut replaced: impl FnMut(LaneNumber),
    ) {
        for index in 0..self.needs(terms.lane).len() {
            if self.until(now, terms, index) < until {
                continue;
            }
            let number = self.needs(terms.lane).get(index).copied();
            if let Some(account) = number.and_then(|number| self.accounts.get_mut(number as usize))
                && let Some(former) = account.claim.replace(Claim { front, until })
            {
                replaced(former.front.name);
            }
        }
    }

    /// The front of the lane waits no longer for what it waited for.
    pub fn unclaim(&mut self, lane: LaneNumber) {
        self.each_account(lane, &|account, _| {
            account.claim = account.claim.filter(|claim| claim.front.name != lane);
        });
    }

    /// The lane's quotas that nobody waits for first.
    pub fn unclaimed(&self, lane: LaneNumber) -> impl Iterator<Item = u32> {
        let is_unclaimed =
            |number: &u32| self.account(*number).is_none_or(|(account, _)| account.claim.is_none());
        self.needs(lane).iter().copied().filter(is_unclaimed)
    }

    /// The lanes that wait first for a quota of this lane.
    pub fn claimers(&self, lane: LaneNumber) -> impl Iterator<Item = LaneNumber> {
        let claims = self.needs(lane).iter().filter_map(|&number| self.account(number)?.0.claim);
        claims.map(|claim| claim.front.name)
    }

    /// Takes a slot and every quota. Only after [`Limits::check`] said "go" at the same `now`. `warn` is told of windows
    /// that are nearly used up.
    pub fn take(&mut self, now: Instant, permit: &Permit, terms: &Terms, mut warn: impl FnMut(Transition)) {
        let Self { config, slots, accounts, lanes, .. } = self;
        let Some(lane) = lanes.get(terms.lane as usize) else { return };
        slots.take(now, permit, terms.lane, lane.operation);
        for &number in &lane.needs {
            let Some(account) = accounts.get_mut(number as usize) else { continue };
            let Some(policy) = config.policies.get(account.policy as usize) else { continue };
            if let Some(warning) = account.quota.take(now, policy, terms.weight) {
                let Window { limit, length } = warning.window;
                warn(Transition::Warned { quota: number, limit, length, used: warning.used });
            }
        }
    }

    /// Gives the slot back. True when it was still held.
    pub fn release(&mut self, permit: &Permit, lane: LaneNumber) -> bool {
        let operation = self.operation_of(lane);
        self.slots.release(permit, lane, operation)
    }

    /// A new end of the permit's lease; `None` when it is gone.
    pub fn renew(&mut self, now: Instant, permit: &Permit) -> Option<Instant> {
        self.slots.renew(now, permit)
    }

    /// A slot whose lease has run out, by lane and operation. Ask until there is none.
    pub fn reclaim(&mut self, now: Instant) -> Option<(LaneNumber, u32)> {
        self.slots.reclaim(now)
    }

    /// When the next lease runs out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.slots.poll_timeout()
    }

    /// Units that were taken at `taken` and not used.
    pub fn give_back(&mut self, lane: LaneNumber, taken: Instant, weight: u32) {
        self.each_account(lane, &|account, policy| account.quota.give_back(policy, taken, weight));
    }

    /// Forgets what a lane has used of its quotas; also for the others that share them.
    pub fn clear(&mut self, lane: LaneNumber) {
        self.each_account(lane, &|account, _| account.quota.clear());
    }

    /// Forgets what was used of all quotas.
    pub fn clear_all(&mut self) {
        self.accounts.iter_mut().for_each(|account| account.quota.clear());
    }

    /// What was taken before `now` is not known: windows of up to a minute count as full.
    pub const fn fill(&mut self, now: Instant) {
        self.filled = Some(now);
    }

    /// The quota of this number, and how it counts.
    pub fn quota_of(&self, number: u32) -> Option<(&Quota, &Policy)> {
        self.account(number).map(|(account, policy)| (&account.quota, policy))
    }

    /// The same, to be changed.
    pub fn quota_of_mut(&mut self, number: u32) -> Option<(&mut Quota, &Policy)> {
        let account = self.accounts.get_mut(number as usize)?;
        Some((&mut account.quota, self.config.policies.get(account.policy as usize)?))
    }

    /// The quotas that a lane needs, with how they count.
    pub fn quotas_of(&self, lane: LaneNumber) -> impl Iterator<Item = (&Quota, &Policy)> {
        self.needs(lane).iter().filter_map(|&number| self.quota_of(number))
    }

    /// The operation of a lane.
    pub fn operation_of(&self, lane: LaneNumber) -> u32 {
        self.lanes.get(lane as usize).map_or(0, |lane| lane.operation)
    }

    /// Who holds slots.
    pub const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Whether whoever would have to wait for a limit is rejected.
    pub const fn rejects(&self) -> bool {
        self.config.reject
    }

    /// How many may stand in line.
    pub const fn max_queue(&self) -> u32 {
        self.config.max_queue
    }

    fn needs(&self, lane: LaneNumber) -> &[u32] {
        self.lanes.get(lane as usize).map_or(&[], |lane| &lane.needs)
    }

    fn account(&self, number: u32) -> Option<(&Account, &Policy)> {
        let account = self.accounts.get(number as usize)?;
        Some((account, self.config.policies.get(account.policy as usize)?))
    }

    #[inline(never)]
    fn each_account(&mut self, lane: LaneNumber, change: &dyn Fn(&mut Account, &Policy)) {
        let Self { config, accounts, lanes, .. } = self;
        for &number in lanes.get(lane as usize).map_or(&[][..], |lane| &lane.needs) {
            if let Some(account) = accounts.get_mut(number as usize)
                && let Some(policy) = config.policies.get(account.policy as usize)
            {
                change(account, policy);
            }
        }
    }

    /// Takes the needs from a lane that is idle: nobody stands or runs in it, and nothing that only it counts is
    /// remembered. An old key is never forgotten for a new one.
    fn idle_lane(&mut self, now: Instant, waits: impl Fn(LaneNumber) -> bool) -> Result<LaneNumber, Span> {
        loop {
            let Some(first) = self.idle.first() else { return Err(BUSY) };
            let due = first.time();
            if due > now {
                return Err(due.since(now));
            }
            self.idle.take(first.name, &mut self.idle_places);
            let busy = waits(first.name) || self.slots.in_flight_of_lane(first.name) > 0;
            let idle_at = if busy { now.plus(BUSY) } else { self.idle_at(first.name) };
            if idle_at <= now {
                self.strip(first.name);
                return Ok(first.name);
            }
            self.idle.put(Entry::at(idle_at, first.name), &mut self.idle_places);
        }
    }

    fn idle_at(&self, lane: LaneNumber) -> Instant {
        let accounts = self.needs(lane).iter().filter_map(|&number| self.accounts.get(number as usize));
        let own = accounts.filter(|account| account.users <= 1);
        own.fold(Instant::ZERO, |latest, account| latest.max(account.quota.idle_at()))
    }

    fn strip(&mut self, lane: LaneNumber) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        for number in lane.needs.drain(..) {
            let Some(account) = self.accounts.get_mut(number as usize) else { continue };
            account.users = account.users.wrapping_sub(1);
            if account.users == 0 {
                *account = Account::new(NOBODYS);
                self.free_accounts.push(number);
                self.freed.push(number);
            }
        }
    }
}

impl Account {
    fn new(policy: u32) -> Self {
        Self { policy, quota: Quota::default(), users: 0, claim: None }
    }
}

/// What stands in for the windows: the override is for the first quota of a lane, its operation's own.
fn other(terms: &Terms, index: usize) -> Option<Window> {
    (terms.limit > 0 && index == 0).then_some(Window { limit: terms.limit, length: terms.length })
}

/// The policy of an account that nobody has: there is none of this number.
const NOBODYS: u32 = u32::MAX;

/// When a lane in which somebody waits or runs is looked at again.
const BUSY: Span = Span::from_ms(1_000);

/// After a restart, a longer window would keep everybody out for hours; its counts come back from where they were saved,
/// or begin anew as after loading the page again.
const LONGEST_FILLED: Span = Span::from_ms(60_000);

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            slots: SlotsConfig::default(),
            max_queue: u32::MAX,
            reject: false,
            max_keys: 10_000,
        }
    }
}
