//! Quotas: so many units in any window of some length, several windows at once, and a minimum interval between starts.

use std::mem;
use std::ptr;
use std::slice;

use crate::decision::{Decision, Reason};
use crate::time::{Instant, Span};

/// How one kind of quota counts: shared by the quotas of all its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// All of them hold at once. Two of the same length are allowed and of no use.
    pub windows: Vec<Window>,
    /// The shortest time between two starts; zero: none.
    pub interval: Span,
    /// Starts are spread evenly, by the tightest of the windows: never a burst, not even after a timer that was late.
    pub smooth: bool,
}

/// At most `limit` units from any moment on until `length` later; the moment itself counts, the end no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Units, at least 1.
    pub limit: u32,
    /// From 1 ms to a year.
    pub length: Span,
}

/// What was taken under one key.
///
/// Each window has a log in slices of a 64th of its length, and a slice counts as if all of it had been taken at its
/// last take. So the limit holds in every window, wherever it begins, and units come back at most a 64th of the window
/// later than by an exact log. A clock that was set back counts as standing still since the latest take.
#[derive(Debug, Default)]
pub struct Quota {
    /// In the order of the policy's windows; none before something is taken.
    logs: Vec<Log>,
    /// Milliseconds: the latest take, or when a dump was loaded.
    latest: u64,
    /// Milliseconds: what was taken before then was cleared.
    cleared: u64,
    /// Microseconds, so that 60 in a second are 60: the next start is not due before.
    next_us: u64,
    /// Of the latest take; 0 where `next_us` comes from elsewhere.
    weight: u32,
}

/// A window of which 80 % are used now, and were not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which one.
    pub window: Window,
    /// Units.
    pub used: u32,
}

/// All that is remembered of a key, in ages, so that it can be told to a core with another clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// How long until the next start is due by the interval, or by the even spacing.
    pub rest: Span,
    /// Window after window, the oldest first.
    pub entries: Vec<Kept>,
}

/// Units that still count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The length of the window that counts them.
    pub length: Span,
    /// How long ago they were taken; always less than `length`.
    pub age: Span,
    /// Units, at least 1.
    pub count: u32,
}

impl Quota {
    /// May so many units be taken? No effect. Weight 0 spends nothing and waits for nothing; more than a window holds
    /// is rejected.
    ///
    /// `other` replaces the policy's windows for this call: the same counters with another limit, over a window no
    /// longer than the longest of the policy's. The interval stays.
    pub fn check(&self, now: Instant, policy: &Policy, weight: u32, other: Option<Window>) -> Decision {
        let now = self.ticks(now);
        let until = match self.fullest(now, policy, weight, other) {
            Some((NEVER, _)) => return Decision::Reject { reason: Reason::Quota, retry_after: None },
            Some((until, _)) => until,
            None => now,
        };
        let until = if weight > 0 { until.max(self.due(policy, other)) } else { now };
        if until <= now {
            return Decision::Proceed;
        }
        Decision::Wait { until: Some(instant(until)), reason: Reason::Quota }
    }

    /// The window that makes so many units wait longest; `None` when no window does, though the interval or the even
    /// spacing may.
    pub fn obstacle(
        &self,
        now: Instant,
        policy: &Policy,
        weight: u32,
        other: Option<Window>,
    ) -> Option<Window> {
        self.fullest(self.ticks(now), policy, weight, other).map(|(_, window)| window)
    }

    /// Takes so many units. Only after [`Quota::check`] said "go" at the same `now`. Tells the first window of which
    /// this made it 80 %.
    pub fn take(&mut self, now: Instant, policy: &Policy, weight: u32) -> Option<Warning> {
        if weight == 0 {
            return None;
        }
        let now = self.ticks(now);
        self.latest = now;
        self.start(now, policy, weight);
        self.open(policy);
        let mut warning = None;
        for (log, window) in self.logs.iter_mut().zip(&policy.windows) {
            let before = log.used(now);
            log.add(now, later(now, window.length), weight, slice_of(*window));
            if warning.is_none() && !is_nearly_full(before, *window) && is_nearly_full(log.total, *window) {
                warning = Some(Warning { window: *window, used: whole(log.total) });
            }
        }
        warning
    }

    /// Puts units back that were taken at `taken` and not used. Harmless when they count no longer. The pause after them
    /// goes too when they were all of the latest take.
    pub fn give_back(&mut self, policy: &Policy, taken: Instant, weight: u32) {
        let taken = taken.ticks();
        if taken < self.cleared {
            return;
        }
        for (log, window) in self.logs.iter_mut().zip(&policy.windows) {
            log.remove(later(taken, window.length), weight, slice_of(*window));
        }
        if taken == self.latest && self.weight > 0 && weight >= self.weight {
            self.next_us = self.next_us.saturating_sub(pause_us(policy, &policy.windows, self.weight));
            self.weight = 0;
        }
    }

    /// Units that count in the policy's window of this index; 0 where there is none.
    pub fn used(&self, now: Instant, index: usize, policy: &Policy) -> u32 {
        let Some(window) = policy.windows.get(index) else { return 0 };
        let log = best(&policy.windows, &self.logs, window.length);
        log.map_or(0, |(log, _)| whole(log.used(self.ticks(now))))
    }

    /// From then on nothing counts any more and the quota may be forgotten.
    pub fn idle_at(&self) -> Instant {
        let last = |log: &Log| log.slices.last().map_or(0, |slice| slice.until);
        instant(self.logs.iter().map(last).fold(self.next_us.div_ceil(US), u64::max))
    }

    /// Forgets everything that was taken.
    pub fn clear(&mut self) {
        *self = Self { latest: self.latest, cleared: self.latest.wrapping_add(1), ..Self::default() };
    }

    /// Takes for granted that all was taken by `now` that might have been: what is left in every window that is not
    /// longer than `up_to`, and a start, where the next one is due by then.
    pub fn fill(&mut self, now: Instant, policy: &Policy, up_to: Span) {
        let now = self.ticks(now);
        self.open(policy);
        for (log, window) in self.logs.iter_mut().zip(&policy.windows) {
            let unknown = window.limit.saturating_sub(whole(log.used(now)));
            if window.length <= up_to && unknown > 0 {
                log.add(now, later(now, window.length), unknown, slice_of(*window));
            }
        }
        let pause = pause_us(policy, &policy.windows, 1);
        if pause <= micros(up_to.as_ms()) {
            self.hold(micros(now).saturating_add(pause));
        }
    }

    /// Goes on under another policy. The log of each new window is made of the old one that knows best: the shortest
    /// that is at least as long, else the longest. What that one forgot is not known any more.
    pub fn reshape(&mut self, from: &Policy, to: &Policy) {
        self.next_us = self.due_us(from, to, &to.windows);
        if self.logs.is_empty() {
            return;
        }
        let old = mem::take(&mut self.logs);
        self.open(to);
        for (log, window) in self.logs.iter_mut().zip(&to.windows) {
            let Some((known, length)) = best(&from.windows, &old, window.length) else { continue };
            for slice in &known.slices {
                let until = later(slice.until, window.length).saturating_sub(length.as_ms());
                log.add(self.latest, until, slice.count, slice_of(*window));
            }
        }
    }

    /// All that still counts at `now`.
    pub fn dump(&self, now: Instant, policy: &Policy) -> Dump {
        let now = self.ticks(now);
        let mut entries = Vec::new();
        for (log, window) in self.logs.iter().zip(&policy.windows) {
            // Of two windows of the same length one is enough.
            if !best(&policy.windows, &self.logs, window.length).is_some_and(|(best, _)| ptr::eq(best, log)) {
                continue;
            }
            let fresh = later(now, window.length);
            for slice in log.slices.iter().filter(|slice| slice.until > now && slice.count > 0) {
                let age = Span::from_ms(fresh.saturating_sub(slice.until));
                entries.push(Kept { length: window.length, age, count: slice.count });
            }
        }
        Dump { rest: Span::from_ms(self.next_us.div_ceil(US).saturating_sub(now)), entries }
    }

    /// Counts units of a dump, the oldest first, as if they had been taken `age` ago in the window of that length. Those
    /// that are as old as the window or of a window that is not the policy's are ignored.
    pub fn load(&mut self, now: Instant, policy: &Policy, length: Span, age: Span, count: u32) {
        let now = self.ticks(now);
        self.latest = now;
        let until = later(now, length).saturating_sub(age.as_ms());
        let Some(index) = policy.windows.iter().position(|window| window.length == length) else { return };
        if until <= now || count == 0 {
            return;
        }
        self.open(policy);
        if let Some(log) = self.logs.get_mut(index) {
            // A dump is in slices already. Cut anew, by a grid that lies elsewhere, they would grow together a little
            // more after each reload.
            log.add(now, until, count, 1);
        }
    }

    /// Holds the next start for the rest of an interval, as told by a dump.
    pub fn load_interval(&mut self, now: Instant, rest: Span) {
        self.latest = self.ticks(now);
        self.hold(micros(later(self.latest, rest)));
    }

    /// Nobody goes back behind the latest take.
    fn ticks(&self, now: Instant) -> u64 {
        now.ticks().max(self.latest)
    }

    /// The window that has room last, and when; [`NEVER`] when it is too small. `None` when all have room.
    fn fullest(
        &self,
        now: u64,
        policy: &Policy,
        weight: u32,
        other: Option<Window>,
    ) -> Option<(u64, Window)> {
        if weight == 0 {
            return None;
        }
        let mut fullest = None;
        let mut latest = now;
        for window in windows(policy, other.as_ref()) {
            let until = self.room_at(policy, weight, *window);
            if until > latest {
                latest = until;
                fullest = Some((until, *window));
            }
        }
        fullest
    }

    fn room_at(&self, policy: &Policy, weight: u32, window: Window) -> u64 {
        let Some(room) = window.limit.checked_sub(weight) else { return NEVER };
        let Some((log, length)) = best(&policy.windows, &self.logs, window.length) else { return 0 };
        // So much longer than in this window a unit counts in that log.
        let longer = length.as_ms().saturating_sub(window.length.as_ms());
        log.room_at(room).saturating_sub(longer)
    }

    /// Milliseconds: when the next start is due.
    fn due(&self, policy: &Policy, other: Option<Window>) -> u64 {
        self.due_us(policy, policy, windows(policy, other.as_ref())).div_ceil(US)
    }

    /// When the next start is due if the latest take is followed by a pause for other windows.
    fn due_us(&self, from: &Policy, to: &Policy, windows: &[Window]) -> u64 {
        // A take at the clock's origin that no pause followed is one too.
        if self.next_us == 0 && self.weight == 0 {
            return 0;
        }
        let pause = pause_us(from, &from.windows, self.weight);
        self.next_us.saturating_add(pause_us(to, windows, self.weight)).saturating_sub(pause)
    }

    /// A start at `now`, and the pause after it.
    fn start(&mut self, now: u64, policy: &Policy, weight: u32) {
        let now_us = micros(now);
        // Who comes in the first millisecond that he may is on time, and what is left of it is not lost. Who comes
        // later than that catches nothing up.
        let on_time = now_us.checked_sub(self.next_us).is_some_and(|late| late < US);
        let start = if on_time { self.next_us } else { now_us };
        self.next_us = start.saturating_add(pause_us(policy, &policy.windows, weight));
        self.weight = weight;
    }

    #[inline(never)]
    fn hold(&mut self, until_us: u64) {
        if until_us > self.next_us {
            self.next_us = until_us;
            self.weight = 0;
        }
    }

    fn open(&mut self, policy: &Policy) {
        while self.logs.len() < policy.windows.len() {
            self.logs.push(Log::default());
        }
    }
}

/// What was taken in one window.
#[derive(Debug, Default)]
struct Log {
    /// The oldest first, never more than [`MOST`].
    slices: Vec<Slice>,
    /// Of all slices, also of those that count no longer and were not dropped yet.
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    /// Milliseconds: from then on it does not count. An end and no beginning, because what a dump tells may have begun
    /// before the clock's origin.
    until: u64,
    count: u32,
}

impl Log {
    /// Units that count at `now`.
    fn used(&self, now: u64) -> u64 {
        let old = self.slices.iter().take_while(|slice| slice.until <= now);
        old.fold(self.total, |used, slice| used.wrapping_sub(u64::from(slice.count)))
    }

    /// The first time from which on no more than `room` units count; in the past when that is so already.
    fn room_at(&self, room: u32) -> u64 {
        let mut used = self.total;
        let mut since = 0;
        for slice in &self.slices {
            if used <= u64::from(room) {
                break;
            }
            used = used.wrapping_sub(u64::from(slice.count));
            since = slice.until;
        }
        since
    }

    /// Counts units up to `until`, or a little longer: up to the end of the last that is in the same slice. Drops what
    /// does not count at `now`.
    fn add(&mut self, now: u64, until: u64, count: u32, width: u64) {
        if self.slices.first().is_some_and(|slice| slice.until <= now) {
            self.total = self.used(now);
            self.slices.retain(|slice| slice.until > now);
        }
        let (begin, end) = bounds(until, width);
        let place =
            self.slices.iter().rposition(|slice| slice.until < end).map_or(0, |at| at.wrapping_add(1));
        let crowded = self.slices.len() >= MOST;
        let added = match self.slices.get_mut(place.saturating_sub(1)) {
            Some(slice) if crowded || (begin..end).contains(&slice.until) => {
                let before = slice.count;
                slice.count = before.saturating_add(count);
                slice.until = slice.until.max(until);
                slice.count.wrapping_sub(before)
            }
            _ => {
                // Nearly always at the end: only a dump that is loaded late has older ones.
                let mut carried = Slice { until, count };
                self.slices.iter_mut().skip(place).for_each(|slice| mem::swap(slice, &mut carried));
                self.slices.push(carried);
                count
            }
        };
        self.total = self.total.wrapping_add(u64::from(added));
    }

    /// Takes units out of the slice that they were added to. Where several may be meant it is the oldest, so that what
    /// is left never counts too short.
    fn remove(&mut self, until: u64, count: u32, width: u64) {
        if let Some(slice) = self.slices.iter_mut().find(|slice| slice.until >= until)
            && slice.until < bounds(until, width).1
        {
            let removed = slice.count.min(count);
            slice.count = slice.count.wrapping_sub(removed);
            self.total = self.total.wrapping_sub(u64::from(removed));
        }
    }
}

/// Where the slice begins and ends that `time` falls into.
fn bounds(time: u64, width: u64) -> (u64, u64) {
    let begin = time.wrapping_sub(time.checked_rem(width).unwrap_or(0));
    (begin, begin.wrapping_add(width))
}

/// The log that knows best what was taken in a time of this length, and the length of its own window: the shortest that
/// is at least as long, else the longest.
fn best<'a>(windows: &[Window], logs: &'a [Log], length: Span) -> Option<(&'a Log, Span)> {
    let known = logs.iter().zip(windows).map(|(log, window)| (log, window.length));
    known.min_by_key(|(_, known)| (*known < length, known.as_ms().abs_diff(length.as_ms())))
}

fn windows<'a>(policy: &'a Policy, other: Option<&'a Window>) -> &'a [Window] {
    other.map_or(&policy.windows, slice::from_ref)
}

/// Microseconds from a start of this weight to the next.
fn pause_us(policy: &Policy, windows: &[Window], weight: u32) -> u64 {
    let interval = micros(policy.interval.as_ms());
    if !policy.smooth {
        return interval;
    }
    windows.iter().map(|window| spacing_us(*window, weight)).fold(interval, u64::max)
}

/// `weight * length / limit`, rounded up: a unit never takes less than 1 µs.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, and nothing here is below zero"
)]
fn spacing_us(window: Window, weight: u32) -> u64 {
    let length = micros(window.length.as_ms()) as f64;
    (length * f64::from(weight) / f64::from(window.limit)).ceil() as u64
}

/// Exact up to the latest time that there is.
/// The sum of a time and a few lengths is below 2^56: none of them is longer than 2^53 ms.
fn later(time: u64, length: Span) -> u64 {
    time.wrapping_add(length.as_ms())
}

fn micros(ms: u64) -> u64 {
    ms.min(Instant::MAX.ticks()).wrapping_mul(US)
}

fn slice_of(window: Window) -> u64 {
    (window.length.as_ms() / SLICES).max(1)
}

fn is_nearly_full(used: u64, window: Window) -> bool {
    used >= u64::from(window.limit.wrapping_sub(window.limit / 5))
}

fn instant(ticks: u64) -> Instant {
    Instant::ZERO.plus(Span::from_ms(ticks))
}

fn whole(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Units come back at most 1/64 of the window late.
const SLICES: u64 = 64;

/// A window of 127 ms has 127 slices of 1 ms, which is as many as there can be. Only a dump that makes no sense has more.
const MOST: usize = 128;

/// Microseconds in a millisecond.
const US: u64 = 1_000;

/// The time at which more units fit in than the window holds.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn policy(limit: u32, length: u64) -> Policy {
        Policy { windows: vec![Window { limit, length: Span::from_ms(length) }], ..Policy::default() }
    }

    fn slices(quota: &Quota) -> usize {
        quota.logs.iter().map(|log| log.slices.len()).max().unwrap_or(0)
    }

    #[test]
    fn nothing_is_allocated_before_something_is_taken() {
        let policy = policy(5, 1_000);
        let mut quota = Quota::default();
        assert_eq!(quota.check(at(0), &policy, 1, None), Decision::Proceed);
        quota.give_back(&policy, at(0), 1);
        quota.reshape(&policy, &policy);
        quota.take(at(0), &policy, 0);
        assert_eq!(quota.logs.capacity(), 0);
        quota.take(at(0), &policy, 1);
        quota.clear();
        assert_eq!(quota.logs.capacity(), 0);
    }

    #[test]
    fn a_log_stays_short_however_often_and_long_it_is_used() {
        for (length, most) in [(1, 1), (63, 63), (64, 64), (127, 127), (128, 65), (191, 96), (60_000, 66)] {
            let policy = policy(u32::MAX, length);
            let mut quota = Quota::default();
            let mut longest = 0;
            for ms in 0..length * 4 {
                quota.take(at(ms), &policy, 1);
                longest = longest.max(slices(&quota));
            }
            assert!(longest <= most, "{longest} slices of {length} ms");
        }
    }

    #[test]
    fn a_dump_that_makes_no_sense_does_not_make_it_longer() {
        let policy = policy(u32::MAX, 3_600_000);
        for step in [1, 7, 60_000] {
            for oldest_first in [true, false] {
                let mut quota = Quota::default();
                for number in 0..3_000 {
                    let age = if oldest_first {
                        3_599_999 - number * step % 3_600_000
                    } else {
                        number * step % 3_600_000
                    };
                    quota.load(at(0), &policy, Span::from_ms(3_600_000), Span::from_ms(age), u32::MAX);
                    quota.take(at(number), &policy, u32::MAX);
                }
                assert!(slices(&quota) <= MOST);
                let log = &quota.logs[0];
                assert!(log.slices.is_sorted_by_key(|slice| slice.until));
                assert_eq!(log.total, log.slices.iter().map(|slice| u64::from(slice.count)).sum::<u64>());
                assert_eq!(quota.used(quota.idle_at(), 0, &policy), 0, "nothing stays for ever");
            }
        }
    }

    #[test]
    fn spacing_is_rounded_up_and_saturates() {
        let year = 31_536_000_000;
        for (limit, length, weight, expected) in [
            (60, 1_000, 1, 16_667),
            (60, 1_000, 3, 50_000),
            (3, 1, 1, 334),
            (1_000_000_000, 1_000, 1, 1),
            (1_000_000_000, year, 1_000_000_000, year * US),
            (999_999_999, year, 999_999_999, year * US),
            (1, year, u32::MAX, u64::MAX),
            (0, 1_000, 1, u64::MAX),
        ] {
            let spacing = spacing_us(Window { limit, length: Span::from_ms(length) }, weight);
            assert_eq!(spacing, expected, "{weight} of {limit} in {length} ms");
        }
    }

    #[test]
    fn numbers_at_the_end_of_their_range_do_not_panic() {
        let window = Window { limit: u32::MAX, length: Span::from_ms(u64::MAX) };
        let policy = Policy { windows: vec![window; 2], interval: Span::from_ms(u64::MAX), smooth: true };
        let none = Policy { windows: vec![Window { limit: 0, length: Span::ZERO }], ..Policy::default() };
        let mut quota = Quota::default();
        for now in [Instant::MAX, Instant::ZERO] {
            for policy in [&policy, &none] {
                quota.take(now, policy, u32::MAX);
                quota.load(now, policy, window.length, Span::ZERO, u32::MAX);
                quota.load_interval(now, Span::from_ms(u64::MAX));
                quota.check(now, policy, u32::MAX, Some(window));
                quota.fill(now, policy, window.length);
                quota.dump(now, policy);
                quota.give_back(policy, now, u32::MAX);
                quota.used(now, 7, policy);
            }
            quota.reshape(&policy, &none);
            quota.reshape(&none, &policy);
        }
        assert_eq!(quota.latest, Instant::MAX.ticks());
    }
}
