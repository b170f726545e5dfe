//! The line of a service: who waits, in which order they go, and until when those sleep who wait for a retry.

mod heap;

pub use heap::{Entry, Heap};

use std::mem;

use crate::time::{Instant, Span};

/// Everybody who waits for leave to make an attempt.
///
/// Some sleep until a time (a backoff), the others stand in lanes, by priority, then arrival. Ten seconds of waiting
/// are worth one step of priority, so that nobody starves. A lane holds those who need the same: what keeps its front
/// from going keeps all of it. The lanes that may be asked are ordered by their fronts; the others rest until a time
/// or an event. Joining, leaving and going are O(log n).
#[derive(Debug)]
pub struct Line {
    /// By name; `None` where the name is free.
    seats: Vec<Option<Seat>>,
    free: Vec<Name>,
    places: Vec<u32>,
    sleeping: Heap,
    /// Whose call has to be over by a time, by that time.
    hurried: Heap,
    hurried_places: Vec<u32>,
    lanes: Vec<Lane>,
    lane_places: Vec<u32>,
    /// Lanes whose front may be asked.
    ready: Heap,
    /// Lanes that wait for a time.
    asleep: Heap,
    /// Lanes that wait until something of their own comes free.
    parked: Heap,
    /// Lanes that wait until something of their operation comes free, by operation.
    held: Vec<Heap>,
    /// Lanes that wait behind the first who waits for a quota, by quota.
    behind: Vec<Heap>,
    standing: u32,
    /// How many have come so far: equals go in the order they came.
    comings: u32,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// When its call began.
    pub arrival: Instant,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// When this wait began.
    pub since: Instant,
    /// When its call has to be over.
    pub deadline: Option<Instant>,
    /// What it is counted under.
    pub group: u32,
    /// What it needs.
    pub terms: Terms,
}

/// What an attempt needs of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Where it stands; lane 0 needs nothing.
    pub lane: LaneNumber,
    /// How many units of a quota it takes; 0 takes none.
    pub weight: u32,
    /// Fewer than so many of its operation may run; 0: as configured.
    pub concurrency: u32,
    /// So many in `length` instead of the configured windows; 0: as configured.
    pub limit: u32,
    /// See `limit`.
    pub length: Span,
}

/// What a waiter is called while it waits. A name is used again after its bearer left.
pub type Name = u32;

/// What a lane is called.
pub type LaneNumber = u32;

#[derive(Debug)]
struct Seat {
    waiter: Waiter,
    sleeps: bool,
}

#[derive(Debug, Default)]
struct Lane {
    standing: Heap,
    rest: Rest,
    /// How many stand in it, or sleep and will.
    members: u32,
}

/// Where a lane is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// Nobody stands in it.
    #[default]
    Empty,
    /// Its front may be asked.
    Ready,
    /// Until then its front cannot go.
    Asleep(Instant),
    /// Until something of its own comes free.
    Parked,
    /// Until something of this operation comes free.
    Held(u32),
    /// Until the first who waits for this quota has gone.
    Behind(u32),
}

impl Line {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            seats: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            sleeping: Heap::default(),
            hurried: Heap::default(),
            hurried_places: Vec::new(),
            lanes: Vec::new(),
            lane_places: Vec::new(),
            ready: Heap::default(),
            asleep: Heap::default(),
            parked: Heap::default(),
            held: Vec::new(),
            behind: Vec::new(),
            standing: 0,
            comings: 0,
        }
    }

    /// Joins its lane.
    pub fn stand(&mut self, waiter: Waiter) -> Name {
        let (name, coming) = self.take_a_seat(&waiter, false);
        self.enter_lane(name, coming, &waiter);
        name
    }

    /// Sleeps until `due`, then joins its lane.
    pub fn sleep(&mut self, waiter: Waiter, due: Instant) -> Name {
        let (name, coming) = self.take_a_seat(&waiter, true);
        self.sleeping.put(Entry { coming, ..Entry::at(due, name) }, &mut self.places);
        name
    }

    /// Moves everybody whose time has come from sleep into the lanes, and lanes back among those that may be asked.
    pub fn wake(&mut self, now: Instant) {
        while let Some(sleeper) = self.sleeping.first().filter(|sleeper| sleeper.time() <= now) {
            self.sleeping.take(sleeper.name, &mut self.places);
            let Some(Some(seat)) = self.seats.get_mut(sleeper.name as usize) else { return };
            seat.sleeps = false;
            let waiter = seat.waiter;
            self.enter_lane(sleeper.name, sleeper.coming, &waiter);
        }
        while let Some(lane) = self.asleep.first().filter(|lane| lane.time() <= now) {
            self.rest(lane.name, Rest::Ready);
        }
    }

    /// Takes one out, wherever it waits; `None` when nobody of that name waits.
    pub fn leave(&mut self, name: Name) -> Option<Waiter> {
        let Seat { waiter, sleeps } = self.seats.get_mut(name as usize)?.take()?;
        self.free.push(name);
        if waiter.deadline.is_some() {
            self.hurried.take(name, &mut self.hurried_places);
        }
        let lane = self.lanes.get_mut(waiter.terms.lane as usize)?;
        lane.members = lane.members.wrapping_sub(1);
        if sleeps {
            self.sleeping.take(name, &mut self.places);
            return Some(waiter);
        }
        self.standing = self.standing.wrapping_sub(1);
        let was_front = lane.standing.first().is_some_and(|front| front.name == name);
        lane.standing.take(name, &mut self.places);
        let rest = if lane.standing.is_empty() { Rest::Empty } else { Rest::Ready };
        if was_front {
            self.rest(waiter.terms.lane, rest);
        }
        Some(waiter)
    }

    /// Who goes next: the front of the first lane that may be asked.
    pub fn front(&self) -> Option<Name> {
        self.front_of(self.first()?.name)
    }

    /// The first lane that may be asked, and the place of its front in line.
    pub fn first(&self) -> Option<Entry> {
        self.ready.first()
    }

    /// The one that goes first of a lane.
    pub fn front_of(&self, lane: LaneNumber) -> Option<Name> {
        self.lanes.get(lane as usize)?.standing.first().map(|entry| entry.name)
    }

    /// What is known of one that waits.
    pub fn waiter(&self, name: Name) -> Option<&Waiter> {
        Some(&self.seats.get(name as usize)?.as_ref()?.waiter)
    }

    /// Where a lane is.
    pub fn rest_of(&self, lane: LaneNumber) -> Rest {
        self.lanes.get(lane as usize).map_or(Rest::Empty, |lane| lane.rest)
    }

    /// Puts a lane, in which somebody stands, where it waits for something else than its turn; or back.
    pub fn rest(&mut self, lane: LaneNumber, rest: Rest) {
        let Some(place) = self.lanes.get_mut(lane as usize) else { return };
        let before = mem::replace(&mut place.rest, rest);
        let front = place.standing.first();
        if let Some((heap, places)) = self.heap_of(before) {
            heap.take(lane, places);
        }
        let Some(front) = front else { return };
        let entry = match rest {
            Rest::Asleep(until) => Entry::at(until, lane),
            _ => Entry { name: lane, ..front },
        };
        if let Some((heap, places)) = self.heap_of(rest) {
            heap.put(entry, places);
        }
    }

    /// Something that only this lane needs came free.
    pub fn rouse(&mut self, lane: LaneNumber) {
        if self.rest_of(lane) == Rest::Parked {
            self.rest(lane, Rest::Ready);
        }
    }

    /// Something of this operation came free: the first of those who wait for it may be asked. The others stay: nobody
    /// overtakes.
    pub fn rouse_held(&mut self, operation: u32) {
        if let Some(first) = self.held.get(operation as usize).and_then(Heap::first) {
            self.rest(first.name, Rest::Ready);
        }
    }

    /// Nobody goes first any more of those who wait for this quota: the next one of them may be asked. The others stay.
    pub fn rouse_behind(&mut self, quota: u32) {
        if let Some(first) = self.behind.get(quota as usize).and_then(Heap::first) {
            self.rest(first.name, Rest::Ready);
        }
    }

    /// Everything may have changed: every lane may be asked again.
    pub fn rouse_all(&mut self) {
        for lane in 0..u32::try_from(self.lanes.len()).unwrap_or(u32::MAX) {
            if self.front_of(lane).is_some() {
                self.rest(lane, Rest::Ready);
            }
        }
    }

    /// Whether a lane waits for something of this operation whose front goes before this place in line.
    pub fn is_held_before(&self, operation: u32, place: &Entry) -> bool {
        let first = self.held.get(operation as usize).and_then(Heap::first);
        first.is_some_and(|first| first.is_before(place))
    }

    /// Anybody who waits, those in line first.
    pub fn anybody(&self) -> Option<Name> {
        let lane = self.ready.first().or_else(|| self.asleep.first()).or_else(|| self.parked.first());
        let lane = lane.or_else(|| self.held.iter().chain(&self.behind).find_map(Heap::first));
        match lane {
            Some(lane) => self.front_of(lane.name),
            None => self.sleeping.first().map(|sleeper| sleeper.name),
        }
    }

    /// Somebody whose call has to be over by `time`, wherever it waits.
    pub fn out_of_time(&self, time: Instant) -> Option<Name> {
        self.hurried.first().filter(|first| first.time() <= time).map(|first| first.name)
    }

    /// Whether nobody waits, neither in line nor asleep.
    pub fn is_empty(&self) -> bool {
        self.standing == 0 && self.sleeping.is_empty()
    }

    /// How many stand in line.
    pub const fn standing(&self) -> u32 {
        self.standing
    }

    /// How many stand in a lane.
    pub fn standing_in(&self, lane: LaneNumber) -> usize {
        self.lanes.get(lane as usize).map_or(0, |lane| lane.standing.len())
    }

    /// Whether somebody stands in a lane, or sleeps and will.
    pub fn is_used(&self, lane: LaneNumber) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| lane.members > 0)
    }

    /// When the next sleeper or lane wakes, or a deadline comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let time = |heap: &Heap| heap.first().map(|first| first.time());
        Instant::earlier(Instant::earlier(time(&self.sleeping), time(&self.asleep)), time(&self.hurried))
    }

    fn take_a_seat(&mut self, waiter: &Waiter, sleeps: bool) -> (Name, u32) {
        self.comings = self.comings.wrapping_add(1);
        let name = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            Name::try_from(self.seats.len().wrapping_sub(1)).unwrap_or(Name::MAX)
        });
        if let Some(free) = self.seats.get_mut(name as usize) {
            *free = Some(Seat { waiter: *waiter, sleeps });
        }
        if let Some(lane) = self.lane_of(waiter) {
            lane.members = lane.members.wrapping_add(1);
        }
        if let Some(deadline) = waiter.deadline {
            let entry = Entry { coming: self.comings, ..Entry::at(deadline, name) };
            self.hurried.put(entry, &mut self.hurried_places);
        }
        (name, self.comings)
    }

    fn lane_of(&mut self, waiter: &Waiter) -> Option<&mut Lane> {
        let index = waiter.terms.lane as usize;
        while self.lanes.len() <= index {
            self.lanes.push(Lane::default());
        }
        self.lanes.get_mut(index)
    }

    fn enter_lane(&mut self, name: Name, coming: u32, waiter: &Waiter) {
        let number = waiter.terms.lane;
        let Some(lane) = self.lanes.get_mut(number as usize) else { return };
        lane.standing.put(Entry { rank: rank_in_line(waiter), coming, name }, &mut self.places);
        self.standing = self.standing.wrapping_add(1);
        // Another front may need less than the one that rests.
        if lane.standing.first().is_some_and(|front| front.name == name) {
            self.rest(number, Rest::Ready);
        }
    }

    fn heap_of(&mut self, rest: Rest) -> Option<(&mut Heap, &mut Vec<u32>)> {
        let heap = match rest {
            Rest::Empty => return None,
            Rest::Ready => &mut self.ready,
            Rest::Asleep(_) => &mut self.asleep,
            Rest::Parked => &mut self.parked,
            Rest::Held(operation) => of_number(&mut self.held, operation)?,
            Rest::Behind(quota) => of_number(&mut self.behind, quota)?,
        };
        Some((heap, &mut self.lane_places))
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Terms {
    /// Needs nothing.
    pub const NONE: Self = Self { lane: 0, weight: 0, concurrency: 0, limit: 0, length: Span::ZERO };
}

fn of_number(heaps: &mut Vec<Heap>, number: u32) -> Option<&mut Heap> {
    let index = number as usize;
    while heaps.len() <= index {
        heaps.push(Heap::default());
    }
    heaps.get_mut(index)
}

/// Ageing is the same for all, so the order of two waiters never changes: a step of priority is ten seconds of
/// head start, and the rank is settled when they join.
pub fn rank_in_line(waiter: &Waiter) -> i64 {
    rank(waiter.arrival, waiter.priority)
}

/// The rank of one that came at `arrival`.
pub fn rank(arrival: Instant, priority: i32) -> i64 {
    arrival.ticks().cast_signed().wrapping_sub(i64::from(priority).wrapping_mul(MS_PER_STEP))
}

/// Ten seconds of waiting add one to the priority.
const MS_PER_STEP: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn waiter(arrival: u64, priority: i32) -> Waiter {
        in_lane(0, arrival, priority)
    }

    fn in_lane(lane: LaneNumber, arrival: u64, priority: i32) -> Waiter {
        let terms = Terms { lane, ..Terms::NONE };
        Waiter { arrival: at(arrival), priority, since: at(arrival), deadline: None, group: 0, terms }
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

    #[test]
    fn of_the_lanes_that_may_be_asked_the_one_with_the_first_front_goes() {
        let mut line = Line::default();
        let second = line.stand(in_lane(1, 20, 0));
        let first = line.stand(in_lane(2, 10, 0));
        let third = line.stand(in_lane(2, 30, 0));
        assert_eq!(everybody_goes(&mut line), [first, second, third]);
    }

    #[test]
    fn a_lane_that_rests_lets_the_others_pass_and_comes_back() {
        let mut line = Line::default();
        let asleep = line.stand(in_lane(1, 1, 0));
        let parked = line.stand(in_lane(2, 2, 0));
        let held = line.stand(in_lane(3, 3, 0));
        let behind = line.stand(in_lane(4, 4, 0));
        let free = line.stand(in_lane(5, 9, 0));
        line.rest(1, Rest::Asleep(at(100)));
        line.rest(2, Rest::Parked);
        line.rest(3, Rest::Held(7));
        line.rest(4, Rest::Held(7));
        let place = |ms, coming| Entry { rank: ms, coming, name: 0 };
        assert!(line.is_held_before(7, &place(4, 0)) && line.is_held_before(7, &place(3, 4)));
        assert!(!line.is_held_before(7, &place(3, 3)) && !line.is_held_before(8, &place(4, 0)));
        assert_eq!(line.front(), Some(free));
        assert_eq!(line.poll_timeout(), Some(at(100)));
        line.wake(at(100));
        assert_eq!(line.front(), Some(asleep));
        line.rouse_held(7);
        line.rouse(2);
        assert_eq!(everybody_goes(&mut line), [asleep, parked, held, free]);
        assert_eq!(line.anybody(), Some(behind), "nobody overtakes the first of an operation");
        line.rouse_all();
        assert_eq!(everybody_goes(&mut line), [behind]);
    }

    #[test]
    fn a_new_front_is_asked_though_its_lane_rests() {
        let mut line = Line::default();
        line.stand(in_lane(1, 10, 0));
        line.rest(1, Rest::Parked);
        line.stand(in_lane(1, 11, 0));
        assert_eq!(line.rest_of(1), Rest::Parked, "behind the front nothing changes");
        let urgent = line.stand(in_lane(1, 12, 1));
        assert_eq!(line.front(), Some(urgent));
        line.rest(1, Rest::Parked);
        line.leave(urgent);
        assert_eq!(line.rest_of(1), Rest::Ready);
        assert_eq!(line.standing_in(1), 2);
    }

    #[test]
    fn deadlines_come_in_their_order_wherever_one_waits() {
        let mut line = Line::default();
        let hurried = |ms| Waiter { deadline: Some(at(ms)), ..waiter(0, 0) };
        let late = line.stand(hurried(300));
        let early = line.sleep(hurried(200), at(1_000));
        assert_eq!(line.out_of_time(at(199)), None);
        assert_eq!(line.poll_timeout(), Some(at(200)));
        assert_eq!(line.out_of_time(at(500)), Some(early));
        line.leave(early);
        assert_eq!(line.out_of_time(at(500)), Some(late));
        line.leave(late);
        assert_eq!(line.out_of_time(at(500)), None);
        assert_eq!(line.poll_timeout(), None);
    }
}
