//! What happened: counters, histograms and transitions, as plain data for the outside.

mod histogram;

use std::collections::VecDeque;

pub use histogram::Histogram;

use crate::decision::{Reason, Transition, Verdict};
use crate::time::Span;

/// Counts for the service as a whole and for each group of calls (a resource name and an operation).
#[derive(Debug)]
pub struct Recorder {
    total: Stats,
    /// By number; the last one takes in every group beyond [`GROUPS`].
    groups: Vec<Stats>,
    transitions: VecDeque<Transition>,
}

/// The number of a group of calls; 0 is "no group". The shell gives the numbers out, one after the other.
pub type Group = u32;

/// The counters of a service or of one group of its calls.
#[derive(Debug, Default)]
pub struct Stats {
    /// Calls begun.
    pub calls: u64,
    /// Attempts that ended, retries included.
    pub attempts: u64,
    /// Attempts after which the server had done what was asked.
    pub successes: u64,
    /// Attempts that the server refused because of its limits.
    pub throttled: u64,
    /// Attempts after the first of their call, counted when they were decided on.
    pub retries: u64,
    /// Attempts that failed in another way: an error of the server or of the request, or no answer.
    pub failures: u64,
    /// Calls that ended with one of our errors, by [`rejection_index`].
    pub rejected: [u64; REJECTIONS],
    /// How long calls waited, each wait by itself.
    pub waits: Histogram,
    /// How long attempts took.
    pub durations: Histogram,
}

impl Recorder {
    /// Nothing happened yet.
    pub fn new() -> Self {
        Self { total: Stats::default(), groups: Vec::new(), transitions: VecDeque::new() }
    }

    /// So many calls begin.
    pub fn calls(&mut self, group: Group, times: u32) {
        self.each(group, |stats| stats.calls = stats.calls.wrapping_add(times.into()));
    }

    /// So many attempts ended like this.
    pub fn attempts(&mut self, group: Group, duration: Span, verdict: Verdict, times: u32) {
        self.each(group, |stats| {
            stats.attempts = stats.attempts.wrapping_add(times.into());
            stats.durations.note(duration, times);
            let counter = match verdict {
                Verdict::Success => &mut stats.successes,
                Verdict::Throttled { .. } => &mut stats.throttled,
                Verdict::Transient { .. } | Verdict::Permanent => &mut stats.failures,
                Verdict::Ignored => return,
            };
            *counter = counter.wrapping_add(times.into());
        });
    }

    /// A retry was decided on.
    pub fn retry(&mut self, group: Group) {
        self.each(group, |stats| stats.retries = stats.retries.wrapping_add(1));
    }

    /// A wait ended.
    pub fn wait(&mut self, group: Group, length: Span) {
        self.each(group, |stats| stats.waits.note(length, 1));
    }

    /// A call ended with one of our errors.
    pub fn rejection(&mut self, group: Group, reason: Reason) {
        let Some(index) = rejection_index(reason) else { return };
        self.each(group, |stats| {
            if let Some(count) = stats.rejected.get_mut(index) {
                *count = count.wrapping_add(1);
            }
        });
    }

    /// Keeps a transition until the shell fetches it.
    #[inline]
    pub fn transition(&mut self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.keep(transition);
        }
    }

    /// Not inlined: a call that succeeds has none.
    #[inline(never)]
    fn keep(&mut self, transition: Transition) {
        if self.transitions.len() >= TRANSITIONS_KEPT {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition);
    }

    /// The oldest transition that was not fetched yet.
    pub fn next_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// Whether there is a transition to fetch.
    pub fn has_transitions(&self) -> bool {
        !self.transitions.is_empty()
    }

    /// The counters of the whole service.
    pub const fn total(&self) -> &Stats {
        &self.total
    }

    /// The counters of a group, of the whole service for group 0; `None` for one that nothing was counted under.
    pub fn of(&self, group: Group) -> Option<&Stats> {
        match group.checked_sub(1) {
            None => Some(&self.total),
            Some(index) => self.groups.get(index as usize),
        }
    }

    /// The counters of each group, group 1 first.
    pub fn groups(&self) -> &[Stats] {
        &self.groups
    }

    fn each(&mut self, group: Group, change: impl Fn(&mut Stats)) {
        change(&mut self.total);
        if group == 0 {
            return;
        }
        let index = group.min(GROUPS).saturating_sub(1) as usize;
        if index >= self.groups.len() {
            self.make_room(index);
        }
        if let Some(stats) = self.groups.get_mut(index) {
            change(stats);
        }
    }

    #[cold]
    fn make_room(&mut self, index: usize) {
        while self.groups.len() <= index {
            self.groups.push(Stats::default());
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// Where in [`Stats::rejected`] a reason is counted; `None` for reasons to wait.
pub const fn rejection_index(reason: Reason) -> Option<usize> {
    match reason {
        Reason::MaxRetries => Some(0),
        Reason::CircuitOpen | Reason::CircuitOpened => Some(1),
        Reason::RetryAfterTooLong => Some(2),
        Reason::Deadline => Some(3),
        Reason::Budget => Some(4),
        Reason::Quota | Reason::Keys => Some(5),
        Reason::Slots => Some(6),
        Reason::QueueFull => Some(7),
        Reason::Backoff | Reason::Cooldown | Reason::Queue => None,
    }
}

/// The kinds of rejection that are counted apart.
pub const REJECTIONS: usize = 8;

/// Groups counted apart. A data provider has some ten resources with nine operations each; whoever names resources
/// after records must not fill the memory.
pub const GROUPS: u32 = 100;

/// The shell fetches after every call; more than a few means that it stopped listening.
const TRANSITIONS_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn a_group_counts_beside_the_whole() {
        let mut recorder = Recorder::new();
        recorder.calls(0, 1);
        recorder.calls(2, 1);
        recorder.attempts(2, Span::from_ms(5), Verdict::Permanent, 1);
        recorder.rejection(2, Reason::CircuitOpened);
        assert_eq!(recorder.total().calls, 2);
        let [first, second] = recorder.groups() else { panic!("two groups") };
        assert_eq!((first.calls, second.calls, second.failures), (0, 1, 1));
        assert_eq!(second.rejected, [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(second.durations.longest(), Span::from_ms(5));
    }

    #[test]
    fn groups_beyond_the_bound_share_the_last_one() {
        let mut recorder = Recorder::new();
        (1..=1_000).for_each(|group| recorder.calls(group, 1));
        assert_eq!(recorder.groups().len(), GROUPS as usize);
        assert_eq!(recorder.groups().last().map(|stats| stats.calls), Some(901));
    }

    #[test]
    fn transitions_come_out_in_order_and_do_not_pile_up() {
        let mut recorder = Recorder::new();
        for ms in 0..100 {
            recorder.transition(Some(Transition::CooldownBegan { until: Instant::from_ms(f64::from(ms)) }));
        }
        let first = Transition::CooldownBegan { until: Instant::from_ms(36.0) };
        assert_eq!(recorder.next_transition(), Some(first));
        assert_eq!(std::iter::from_fn(|| recorder.next_transition()).count(), 63);
        assert!(!recorder.has_transitions());
    }
}
