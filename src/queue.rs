//! The line of a service: who waits, in which order they go, and until when those sleep who wait for a retry.

use std::collections::BTreeSet;

use crate::time::Instant;

/// Everybody who waits for leave to make an attempt.
///
/// Some sleep until a time (a backoff), the others stand in line by priority, then arrival. Ten seconds of waiting
/// are worth one step of priority, so that nobody starves. Joining, leaving and going are O(log n).
#[derive(Debug, Default)]
pub struct Line {
    order: BTreeSet<Place>,
    /// The place of each waiter, by name; `None` where the name is free.
    places: Vec<Option<Place>>,
    free: Vec<Name>,
    /// How many have come so far: equals go in the order they came.
    comings: u64,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter {
    /// When its call began.
    pub arrival: Instant,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// When this wait began.
    pub since: Instant,
    /// What it is counted under.
    pub group: u32,
}

/// What a waiter is called while it waits. A name is used again after its bearer left.
pub type Name = u32;

/// Compared from the top down, so those in line come before the sleepers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    row: Row,
    rank: i64,
    coming: u64,
    waiter: Waiter,
    name: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Standing,
    Sleeping,
}

impl Line {
    /// Joins the line.
    pub fn stand(&mut self, waiter: Waiter) -> Name {
        self.enter(Row::Standing, rank_in_line(&waiter), waiter)
    }

    /// Sleeps until `due`, then joins the line.
    pub fn sleep(&mut self, waiter: Waiter, due: Instant) -> Name {
        self.enter(Row::Sleeping, milliseconds(due), waiter)
    }

    /// Moves everybody whose time has come from sleep into the line.
    pub fn wake(&mut self, now: Instant) {
        while let Some(sleeper) = self.first_sleeper() {
            if sleeper.rank > milliseconds(now) {
                return;
            }
            self.order.remove(&sleeper);
            self.put(Place { row: Row::Standing, rank: rank_in_line(&sleeper.waiter), ..sleeper });
        }
    }

    /// Takes one out, wherever it waits; `None` when nobody of that name waits.
    pub fn leave(&mut self, name: Name) -> Option<Waiter> {
        let place = self.places.get_mut(name as usize)?.take()?;
        self.order.remove(&place);
        self.free.push(name);
        Some(place.waiter)
    }

    /// Who goes next; `None` when nobody stands in line.
    pub fn front(&self) -> Option<Name> {
        self.order.first().filter(|place| place.row == Row::Standing).map(|place| place.name)
    }

    /// Anybody who waits, those in line first.
    pub fn anybody(&self) -> Option<Name> {
        self.order.first().map(|place| place.name)
    }

    /// Whether nobody waits, neither in line nor asleep.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// When the next sleeper wakes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.first_sleeper().map(|place| Instant::from_ms(place.rank as f64))
    }

    fn first_sleeper(&self) -> Option<Place> {
        // With nobody in line the first one is it, else the first behind the last one in line.
        let behind_the_line = Place { row: Row::Sleeping, rank: i64::MIN, coming: 0, waiter: FIRST_WAITER, name: 0 };
        self.order.range(behind_the_line..).next().copied()
    }

    fn enter(&mut self, row: Row, rank: i64, waiter: Waiter) -> Name {
        let name = self.christen();
        self.comings = self.comings.saturating_add(1);
        self.put(Place { row, rank, coming: self.comings, waiter, name });
        name
    }

    fn put(&mut self, place: Place) {
        if let Some(slot) = self.places.get_mut(place.name as usize) {
            *slot = Some(place);
            self.order.insert(place);
        }
    }

    fn christen(&mut self) -> Name {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            Name::try_from(self.places.len().saturating_sub(1)).unwrap_or(Name::MAX)
        })
    }
}

/// Ageing is the same for all, so the order of two waiters never changes: a step of priority is ten seconds of
/// head start, and the rank is settled when they join.
fn rank_in_line(waiter: &Waiter) -> i64 {
    milliseconds(waiter.arrival).saturating_sub(i64::from(waiter.priority).saturating_mul(MS_PER_STEP))
}

fn milliseconds(instant: Instant) -> i64 {
    i64::try_from(instant.ticks()).unwrap_or(i64::MAX)
}

/// Ten seconds of waiting add one to the priority.
const MS_PER_STEP: i64 = 10_000;

const FIRST_WAITER: Waiter = Waiter { arrival: Instant::ZERO, priority: i32::MIN, since: Instant::ZERO, group: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn waiter(arrival: u64, priority: i32) -> Waiter {
        Waiter { arrival: at(arrival), priority, since: at(arrival), group: 0 }
    }

    fn everybody_goes(line: &mut Line) -> Vec<Name> {
        std::iter::from_fn(|| line.front().inspect(|name| assert!(line.leave(*name).is_some()))).collect()
    }

    #[test]
    fn priority_then_arrival_and_waiting_counts() {
        let mut line = Line::default();
        let late = line.stand(waiter(2_000, 0));
        let early = line.stand(waiter(1_000, 0));
        let urgent = line.stand(waiter(3_000, 1));
        let patient = line.stand(waiter(0, 0));
        let urgent_but_much_later = line.stand(waiter(13_001, 1));
        assert_eq!(everybody_goes(&mut line), [urgent, patient, early, late, urgent_but_much_later]);
        assert!(line.is_empty());
    }

    #[test]
    fn equals_go_in_the_order_they_came() {
        let mut line = Line::default();
        let names: Vec<Name> = (0..5).map(|_| line.stand(waiter(7, 0))).collect();
        assert_eq!(everybody_goes(&mut line), names);
    }

    #[test]
    fn sleepers_stand_up_when_it_is_time() {
        let mut line = Line::default();
        let sleeper = line.sleep(waiter(0, 0), at(500));
        let other = line.sleep(waiter(0, 0), at(900));
        let standing = line.stand(waiter(100, 0));
        line.wake(at(499));
        assert_eq!(line.front(), Some(standing));
        assert_eq!(line.poll_timeout(), Some(at(500)));
        line.wake(at(500));
        assert_eq!(everybody_goes(&mut line), [sleeper, standing]);
        assert_eq!(line.anybody(), Some(other));
    }

    #[test]
    fn one_may_leave_from_anywhere_once() {
        let mut line = Line::default();
        let standing = line.stand(waiter(0, 0));
        let asleep = line.sleep(waiter(0, 0), at(10));
        assert!(line.leave(asleep).is_some());
        assert!(line.leave(asleep).is_none());
        assert!(line.leave(standing).is_some());
        assert!(line.leave(99).is_none());
        assert!(line.is_empty());
        assert_eq!(line.poll_timeout(), None);
    }
}
