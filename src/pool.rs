//! A pool of workers and the jobs that wait for one.

use crate::queue::{Entry, Heap, rank};
use crate::time::Instant;

/// So many jobs run at once, so many may wait; by priority, then arrival. Ten seconds of waiting are worth one step of
/// priority. Entering, leaving and going are O(log n).
#[derive(Debug)]
pub struct Pool {
    workers: u32,
    bound: u32,
    running: u32,
    waiting: Heap,
    places: Vec<u32>,
    /// Names that were given out and are free again.
    free: Vec<u32>,
    /// Names given out so far.
    names: u32,
    comings: u32,
}

/// What becomes of a job that enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It runs.
    Runs,
    /// It waits, under this name; names are small numbers and used again.
    Waits(u32),
    /// As many wait as may wait.
    Full,
}

impl Pool {
    /// Nobody works.
    pub fn new(workers: u32, bound: u32) -> Self {
        Self {
            workers,
            bound,
            running: 0,
            waiting: Heap::default(),
            places: Vec::new(),
            free: Vec::new(),
            names: 0,
            comings: 0,
        }
    }

    /// Other numbers. Whoever runs runs on, whoever waits stays.
    pub const fn reconfigure(&mut self, workers: u32, bound: u32) {
        self.workers = workers;
        self.bound = bound;
    }

    /// A job comes.
    pub fn enter(&mut self, now: Instant, priority: i32) -> Entered {
        if self.running < self.workers && self.waiting.is_empty() {
            self.running = self.running.wrapping_add(1);
            return Entered::Runs;
        }
        if self.waiting.len() >= self.bound as usize {
            return Entered::Full;
        }
        self.comings = self.comings.wrapping_add(1);
        let name = self.free.pop().unwrap_or_else(|| {
            let name = self.names;
            self.names = self.names.wrapping_add(1);
            name
        });
        self.waiting.put(Entry { rank: rank(now, priority), coming: self.comings, name }, &mut self.places);
        Entered::Waits(name)
    }

    /// Who runs next, where a worker is free; `ended`: a job has ended, and its worker is.
    pub fn next(&mut self, ended: bool) -> Option<u32> {
        self.running = self.running.saturating_sub(u32::from(ended));
        if self.running >= self.workers {
            return None;
        }
        let name = self.waiting.first()?.name;
        self.leave(name);
        self.running = self.running.wrapping_add(1);
        Some(name)
    }

    /// A job that waits goes. False when nobody of that name waits.
    pub fn leave(&mut self, name: u32) -> bool {
        let before = self.waiting.len();
        self.waiting.take(name, &mut self.places);
        let left = self.waiting.len() < before;
        if left {
            self.free.push(name);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    #[test]
    fn with_five_at_work_and_a_hundred_waiting_the_next_one_is_refused() {
        let mut pool = Pool::new(5, 100);
        let entered: Vec<Entered> = (0..106).map(|ms| pool.enter(at(ms), 0)).collect();
        assert_eq!(entered[4], Entered::Runs);
        assert_eq!(entered[5], Entered::Waits(0));
        assert_eq!(entered[104], Entered::Waits(99));
        assert_eq!(entered[105], Entered::Full);
        assert_eq!(pool.next(true), Some(0));
        assert_eq!(pool.enter(at(200), 0), Entered::Waits(0), "there is room, and the name is free again");
    }

    #[test]
    fn priority_then_arrival_and_ten_seconds_of_waiting_are_a_step() {
        let mut pool = Pool::new(1, 10);
        assert_eq!(pool.enter(at(0), 0), Entered::Runs);
        for (ms, priority) in [(0, 0), (1, 1), (2, 1), (10_001, 1)] {
            pool.enter(at(ms), priority);
        }
        let order: Vec<u32> = std::iter::from_fn(|| pool.next(true)).collect();
        assert_eq!(order, [1, 2, 0, 3]);
    }

    #[test]
    fn nobody_overtakes_where_a_worker_came_free_and_was_not_handed_on_yet() {
        let mut pool = Pool::new(1, 10);
        pool.enter(at(0), 0);
        pool.enter(at(1), 0);
        pool.reconfigure(2, 10);
        assert_eq!(pool.enter(at(2), 0), Entered::Waits(1));
        assert_eq!(pool.next(false), Some(0));
        assert_eq!(pool.next(false), None);
    }

    #[test]
    fn fewer_workers_disturb_nobody_who_runs() {
        let mut pool = Pool::new(3, 10);
        (0..5).for_each(|ms| assert_ne!(pool.enter(at(ms), 0), Entered::Full));
        pool.reconfigure(1, 10);
        assert_eq!(pool.next(true), None);
        assert_eq!(pool.next(true), None);
        assert_eq!(pool.next(true), Some(0));
    }

    #[test]
    fn one_that_waits_leaves_once() {
        let mut pool = Pool::new(1, 10);
        pool.enter(at(0), 0);
        pool.enter(at(0), 0);
        assert!(pool.leave(0));
        assert!(!pool.leave(0));
        assert!(!pool.leave(99));
        assert_eq!(pool.next(true), None);
    }
}
