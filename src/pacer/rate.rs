//! What it believes about the rate: the limit, and the curve by which the pace approaches it.
//!
//! After a refusal the pace falls a little below the limit that the refusal revealed, climbs back to just below it
//! (concave), stays near it for a while, and then probes beyond it, faster and faster (convex): a cubic, as TCP CUBIC
//! (RFC 9438) and AWS' adaptive retry mode have it. What differs is that the limit is measured by what was accepted,
//! that the fall is small, and that the time until the next probe grows with what a refusal costs.

use super::meter::{Mark, Meter};
use super::penalty::{Penalty, Reopened};

#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// Requests a second.
    rate: f64,
    /// The believed limit; infinite before the first refusal.
    limit: f64,
    /// The limit that the last refusals agreed on; 0: none.
    remembered: f64,
    /// How often in a row they agreed.
    agreed: u32,
    curve: Curve,
    /// When the first request went.
    began: f64,
    moved_at: f64,
    /// The latest refusal, and the rate at which it came.
    loss: Mark,
    loss_rate: f64,
    /// Seconds since then during which a hint held us.
    held: f64,
    /// Refusals per accepted request, smoothed over 60 requests.
    frequency: f64,
    frequency_mark: Mark,
    cluster: Option<Cluster>,
}

/// Where the rate goes with time.
#[derive(Clone, Copy, Debug)]
enum Curve {
    /// Nothing has been refused yet: faster with every accept.
    Start,
    /// From `low` to the limit within `climb` seconds from `from`; then `reach` of the limit beyond it within
    /// `stretch` more.
    Cubic { from: f64, low: f64, climb: f64, stretch: f64, reach: f64 },
}

/// Refusals that follow upon each other: the limit is far below the rate.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    began: Mark,
    /// Requests above this number went after the first refusal.
    after: u64,
    held: f64,
    /// Outcomes of those, fading.
    accepted: f64,
    refused: f64,
}

/// A refusal, seen from here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) now: f64,
    /// The request made up for a pause.
    pub(super) burst: bool,
    /// And such requests still come in bursts.
    pub(super) uneven: bool,
    /// The number of the latest request that went before we reacted to the last refusal.
    pub(super) reacted: u64,
}

impl Rate {
    pub(super) const fn start(ceiling: f64) -> Self {
        Self {
            rate: FIRST.min(ceiling),
            limit: f64::INFINITY,
            remembered: 0.0,
            agreed: 0,
            curve: Curve::Start,
            began: 0.0,
            moved_at: 0.0,
            loss: Mark { at: 0.0, accepted: 0.0 },
            loss_rate: 0.0,
            held: 0.0,
            frequency: 0.0,
            frequency_mark: Mark { at: 0.0, accepted: 0.0 },
            cluster: None,
        }
    }

    /// A limit that an earlier import learned, perhaps in a storm: it is soon put to the test.
    pub(super) fn known(limit: f64, ceiling: f64) -> Self {
        let rate = (0.95 * limit).min(ceiling);
        let curve = Curve::Cubic { from: 0.0, low: rate, climb: TEST, stretch: TEST, reach: REACH };
        Self { rate, limit, remembered: limit, agreed: 1, curve, ..Self::start(ceiling) }
    }

    /// Requests a second, now.
    pub(super) const fn get(&self) -> f64 {
        self.rate
    }

    /// The limit, once one is known.
    pub(super) fn limit(&self) -> Option<f64> {
        self.limit.is_finite().then_some(self.limit)
    }

    pub(super) const fn is_start(&self) -> bool {
        matches!(self.curve, Curve::Start)
    }

    pub(super) const fn last_loss(&self) -> (f64, f64) {
        (self.loss.at, self.loss_rate)
    }

    /// The first request goes: time counts from here.
    pub(super) fn begin(&mut self, mark: Mark) {
        self.loss = mark;
        self.began = mark.at;
        self.moved_at = mark.at;
        self.frequency_mark = mark;
        self.shift(mark.at);
    }

    /// The machine slept: half as fast as before, and up again within a few seconds.
    pub(super) fn wake(&mut self, mark: Mark) {
        self.loss = mark;
        self.moved_at = mark.at;
        self.held = 0.0;
        self.cluster = None;
        self.rate = (self.rate / 2.0).max(SLOWEST);
        if let Curve::Cubic { from, low, climb, .. } = &mut self.curve {
            *from = mark.at;
            *low = self.rate;
            *climb = climb.max(CLIMB);
        }
    }

    /// A hint holds us.
    pub(super) fn hold(&mut self, seconds: f64) {
        self.held += seconds;
    }

    /// Follows the curve to `now`.
    pub(super) fn advance(&mut self, now: f64, ceiling: f64, meter: &Meter, penalty: &Penalty) {
        let step = (now - self.moved_at).min(1.0);
        self.moved_at = now;
        let Curve::Cubic { from, low, climb, stretch, reach } = self.curve else { return };
        let time = now - from;
        if time <= 0.0 || step <= 0.0 {
            return;
        }
        let top = self.limit * (1.0 - MARGIN);
        let (target, growth) = if time < climb {
            (top - (top - low) * cube(1.0 - time / climb), 1.0)
        } else {
            let beyond = top + self.limit * reach * cube((time - climb) / stretch);
            let moved =
                self.remembered > 0.0 && self.rate > MOVED * self.remembered && penalty.cost() < VERY_DEAR;
            let target = if moved { f64::INFINITY } else { beyond };
            // What the application does not use says nothing about the limit.
            let used = 1.5 * meter.goodput(now, (20.0 / self.rate).clamp(0.5, 2.0)) + 2.0;
            (target.min(used.max(self.limit)), self.growth(time - climb, moved, penalty))
        };
        let target = target.min(ceiling);
        if target > self.rate {
            self.rate = target.min(self.rate * (1.0 + growth * step));
        }
    }

    /// How fast it may grow beyond the limit, as a share a second, `time` seconds after reaching it.
    fn growth(&self, time: f64, moved: bool, penalty: &Penalty) -> f64 {
        let cost = penalty.cost();
        let growth = if cost > VERY_DEAR {
            if penalty.walls() <= 1 && !penalty.bans() { 0.5 / (cost + 5.0) } else { 0.12 / cost }
        } else if moved {
            if cost < DEAR { PAST } else { 0.4 * PAST }
        } else {
            let near = self.remembered > 0.0 && (self.rate / self.remembered - 1.0).abs() <= 0.1;
            (if near { NEAR } else { FAR }) * (1.0 + time / (8.0 * cost.max(1.0)))
        };
        growth.min(0.5)
    }

    /// A request that met no refusal was accepted.
    pub(super) fn accepted(&mut self, now: f64, ceiling: f64, meter: &Meter) {
        if self.is_start() {
            let used = 1.6 * meter.goodput(now, 0.5).max(FIRST) + FIRST;
            self.rate = (self.rate + START_STEP).min(used).min(ceiling);
        }
    }

    /// The outcome of a request, for the share that is refused during a cluster.
    pub(super) fn outcome(&mut self, number: u64, accepted: bool) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| number > cluster.after) {
            cluster.accepted = 0.88 * cluster.accepted + f64::from(u8::from(accepted));
            cluster.refused = 0.88 * cluster.refused + f64::from(u8::from(!accepted));
        }
    }

    /// A refusal that a cap on concurrency explains: the rate stays, the limit is unknown again.
    pub(super) fn excuse(&mut self, mark: Mark) {
        self.limit = if self.limit.is_finite() { self.limit.max(self.rate) } else { self.rate };
        self.remembered = 0.0;
        self.agreed = 0;
        self.cluster = None;
        self.curve =
            Curve::Cubic { from: mark.at, low: self.rate, climb: 1.0, stretch: 2.0, reach: REACH_UNSURE };
        self.lost(mark);
    }

    /// A policy says what the limit is. Goes by it at once.
    pub(super) fn adopt(&mut self, limit: f64, ceiling: f64, mark: Mark) {
        self.limit = limit;
        self.rate = ceiling;
        self.remembered = 0.0;
        self.agreed = 0;
        self.cluster = None;
        self.curve =
            Curve::Cubic { from: mark.at, low: ceiling, climb: 2.0, stretch: 2.0, reach: REACH_UNSURE };
        self.lost(mark);
    }

    /// The advertised ceiling has risen a little: up to it, unless we are far below it for a reason. What is above it stays
    /// until a refusal.
    pub(super) fn follow(&mut self, ceiling: f64) {
        if self.rate < ceiling && self.rate > 0.9 * ceiling {
            self.rate = ceiling;
            if let Curve::Cubic { low, .. } = &mut self.curve {
                *low = ceiling;
            }
        }
    }

    /// A refusal below an advertised ceiling: it has told the policy its margin, and nothing else.
    pub(super) fn forgive(&mut self, ceiling: f64, mark: Mark, reopens: f64) {
        self.rate = self.rate.min(ceiling);
        self.lost(mark);
        if let Curve::Cubic { low, .. } = &mut self.curve {
            *low = self.rate;
        }
        self.shift(reopens);
    }

    /// Others share what a policy advertises: learn below it.
    pub(super) fn contest(&mut self, ceiling: f64) {
        self.limit = self.rate.min(ceiling);
        self.remembered = 0.0;
    }

    /// A refusal: learns the limit and slows down. False: it told nothing new.
    pub(super) fn refused(&mut self, loss: Loss, meter: &Meter, penalty: &Penalty) -> bool {
        let held = self.held;
        let fall = self.fall(loss.now, meter);
        let before = self.rate;
        let mut agrees = false;
        let elapsed = loss.now - self.loss.at;
        if self.is_start() {
            self.first_refusal(loss.now, meter, penalty);
        } else if penalty.is_grace(loss.now) || loss.burst && loss.uneven && elapsed - held >= AGAIN {
            self.lost(meter.mark(loss.now));
            return false;
        } else if elapsed - held < (15.0 / before).max(1.5) {
            self.refused_again(loss, held, meter, penalty);
        } else {
            self.cluster = None;
            let limit = self.measure(loss.now, held, fall, meter, penalty);
            agrees = (limit / self.remembered - 1.0).abs() < 0.05;
            self.limit = limit;
            self.remembered = limit;
            let extra = if penalty.bans() { 0.03 } else { 0.0 };
            self.rate = before.min(limit) * (1.0 - fall - extra);
        }
        self.limit = self.limit.max(SLOWEST);
        self.rate = self.rate.max(SLOWEST);
        self.agreed = if agrees { self.agreed.saturating_add(1) } else { self.agreed.saturating_sub(1) };
        self.plan(penalty);
        self.lost(meter.mark(loss.now));
        self.loss_rate = before;
        true
    }

    /// The first one ends the start: the limit is about what was accepted lately.
    fn first_refusal(&mut self, now: f64, meter: &Meter, penalty: &Penalty) {
        let before = self.rate;
        let accepted = meter.since(self.loss);
        if accepted < 8.0 {
            self.limit = before;
            self.rate = 0.7 * before;
        } else {
            let recent = self.recent(now, meter, penalty);
            self.limit = recent.max(1.0);
            let overall = accepted / (now - self.loss.at + 1.0);
            self.rate = overall.max(0.8 * recent).min(recent).max(0.5 * recent);
        }
    }

    /// Refused again right away: the limit is what was accepted since the first of them, or the share that was.
    fn refused_again(&mut self, loss: Loss, held: f64, meter: &Meter, penalty: &Penalty) {
        let began = Cluster { began: self.loss, after: loss.reacted, held: 0.0, accepted: 0.0, refused: 1.0 };
        let cluster = self.cluster.get_or_insert(began);
        cluster.held += held;
        let elapsed = loss.now - cluster.began.at;
        let open = elapsed - 0.8 * cluster.held;
        let accepted = meter.since(cluster.began);
        let least = if penalty.cost() > 1.0 { 0.6 * penalty.cost() } else { 0.6 };
        let by_share = if cluster.accepted + cluster.refused >= 4.0 {
            self.rate * upper_share(cluster.accepted, cluster.refused).max(0.75)
        } else {
            0.94 * self.rate
        };
        let estimate =
            if open >= least && accepted >= 4.0 { (accepted + 1.0) / open.max(0.3) } else { by_share };
        if self.remembered > 0.0 {
            self.remembered = self.remembered.min(self.rate);
        }
        self.limit = estimate.min(0.97 * self.rate);
        self.rate = 0.97 * self.limit;
    }

    /// The limit after a run without refusals.
    fn measure(&self, now: f64, held: f64, fall: f64, meter: &Meter, penalty: &Penalty) -> f64 {
        let ramped = matches!(self.curve, Curve::Cubic { low, .. } if low < 0.85 * self.rate);
        if ramped || penalty.bans() {
            return self.recent(now, meter, penalty) * if penalty.bans() { 0.97 } else { 1.0 };
        }
        let elapsed = now - self.loss.at;
        let accepted = meter.since(self.loss);
        let goodput = if elapsed >= 0.6 && accepted >= 6.0 {
            (accepted + 0.5) / (elapsed - 0.8 * held).max(0.5)
        } else {
            0.0
        };
        // Right after the fall less was accepted than the limit allows: a quarter of the fall, for a cubic.
        let measured = goodput.max(0.5 * self.rate) * (1.0 + fall / 4.0 + 0.005);
        let kept = if held > 0.3 && self.remembered > 0.0 { 0.985 * self.rate } else { 0.0 };
        measured.max(kept).min(self.rate)
    }

    /// What was accepted within the last second: exact where that is the window, and long enough for slow rates.
    fn recent(&self, now: f64, meter: &Meter, penalty: &Penalty) -> f64 {
        let span = (12.0 / self.rate).max(1.0).max(penalty.cost().min(12.0));
        let known = (now - self.began).max(0.15);
        meter.goodput(now, span.min(known)).min(self.rate)
    }

    /// How far to fall, and one more refusal to remember: more when refusals are frequent.
    fn fall(&mut self, now: f64, meter: &Meter) -> f64 {
        let accepted = meter.since(self.frequency_mark);
        self.frequency = self.frequency * (60.0 / (60.0 + accepted)) + 1.0 / 60.0;
        self.frequency_mark = meter.mark(now);
        (FALL + 2.0 * (self.frequency - 0.03)).clamp(FALL, 0.25)
    }

    /// The curve after a refusal: the dearer one is, the later the next.
    fn plan(&mut self, penalty: &Penalty) {
        let cost = penalty.cost();
        let stable = self.agreed > 0;
        let costs = if cost <= 0.3 {
            0.0
        } else if !stable && !penalty.bans() {
            6.0 * cost
        } else if cost < VERY_DEAR {
            25.0 * cost
        } else {
            20.0 * cost
        };
        let rows = if stable { ROWS_PER_LOSS } else { 0.4 * ROWS_PER_LOSS };
        let usual = if stable { CLIMB * patience(self.agreed) } else { CLIMB / 2.0 };
        let climb = usual.max(costs).max(0.7 * rows / self.limit).min(900.0);
        let stretch = if cost <= 1.0 { climb.min(8.0) } else { climb };
        let reach = if stable { REACH } else { REACH_UNSURE };
        self.curve = Curve::Cubic { from: self.loss.at, low: self.rate, climb, stretch, reach };
    }

    /// A door has opened: a quota of so many in so long.
    pub(super) fn reopened(&mut self, mark: Mark, wall: Reopened, penalty: &Penalty) {
        let mut curve = self.curve;
        if !penalty.bans() {
            let top = if wall.first {
                wall.rate.min(wall.goodput.max(wall.quota / wall.shut_for))
            } else {
                1.02 * wall.goodput
            };
            self.limit = top.max(SLOWEST);
            self.rate = top.min(wall.goodput).max(SLOWEST);
            self.remembered = self.limit;
            self.agreed = 0;
            let (climb, stretch) = if wall.first {
                (wall.shut_for.clamp(2.0, 10.0), wall.shut_for.clamp(2.0, 15.0))
            } else {
                (20.0 * wall.shut_for, 4.0 * wall.shut_for.clamp(2.0, 15.0))
            };
            curve = Curve::Cubic { from: mark.at, low: self.rate, climb, stretch, reach: 0.1 };
        }
        self.curve = curve;
        self.cluster = None;
        self.lost(mark);
        if let Curve::Cubic { low, .. } = &mut self.curve {
            *low = self.rate;
        }
    }

    /// The curve begins then.
    pub(super) const fn shift(&mut self, at: f64) {
        if let Curve::Cubic { from, .. } = &mut self.curve {
            *from = at;
        }
    }

    fn lost(&mut self, mark: Mark) {
        self.loss = mark;
        self.loss_rate = self.rate;
        self.held = 0.0;
    }
}

fn cube(x: f64) -> f64 {
    x * x * x
}

/// The more refusals agree, the longer until the next probe. Three times as long was measured too: then what others give
/// back is found too late.
const fn patience(agreed: u32) -> f64 {
    match agreed {
        0 => 1.0,
        1 => 1.2,
        _ => 1.7,
    }
}

/// The upper end of what the true share of accepted requests may be (Wilson's score interval, one standard deviation).
fn upper_share(accepted: f64, refused: f64) -> f64 {
    let count = accepted + refused;
    let share = accepted / count;
    let spread = (share * (1.0 - share) / count + 0.25 / (count * count)).sqrt();
    (share + 0.5 / count + spread) / (1.0 + 1.0 / count)
}

/// Requests a second at the start: slow enough for most limits, quick enough that the limit is found within seconds.
const FIRST: f64 = 10.0;

/// Each accept adds so much at the start, so the rate doubles every third of a second: a limit of 200 is met after two.
const START_STEP: f64 = 2.0;

/// One request in twenty seconds. Where even that is refused the door takes over.
const SLOWEST: f64 = 0.05;

/// How far to fall on an expected refusal. A cubic loses a quarter of it on the way back: one per cent.
const FALL: f64 = 0.04;

/// The plateau below the limit, as BBR has it.
const MARGIN: f64 = 0.01;

/// Seconds. A burst that is refused so soon after the last refusal has no excuse: the rate is wrong too.
const AGAIN: f64 = 0.5;

/// Seconds per refusal.
const DEAR: f64 = 0.5;
const VERY_DEAR: f64 = 1.5;

/// Seconds from a refusal to the next probe at least, once the limit is known.
const CLIMB: f64 = 4.0;

/// The same for a limit that was learned earlier.
const TEST: f64 = 1.0;

/// One refusal in eighty rows at most, once the limit is known.
const ROWS_PER_LOSS: f64 = 80.0;

/// How far the probe goes beyond the limit within its stretch, once the limit is known and before.
const REACH: f64 = 0.04;
const REACH_UNSURE: f64 = 0.2;

/// Growth beyond the limit, as a share a second: slow near a limit that is remembered, fast away from it, faster once the
/// limit has clearly moved ("precautionary probing", BBR).
const NEAR: f64 = 0.02;
const FAR: f64 = 0.15;
const PAST: f64 = 0.35;

/// So far beyond the remembered limit it has moved.
const MOVED: f64 = 1.08;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_stays_below_the_limit_and_probes_beyond_it_later() {
        let mut meter = Meter::new();
        let penalty = Penalty::new(false, 0.0);
        let mut rate = Rate::known(50.0, f64::INFINITY);
        rate.begin(meter.mark(0.0));
        let mut at = |tick: u32| {
            let now = f64::from(tick) / 50.0;
            meter.accept(now, 0.1);
            rate.advance(now, f64::INFINITY, &meter, &penalty);
            rate.get()
        };
        let rates: Vec<f64> = (1..=600).map(&mut at).collect();
        assert!(rates.is_sorted());
        assert!(
            (47.5..50.0).contains(&rates[0]) && (49.0..50.0).contains(&rates[45]),
            "{} {}",
            rates[0],
            rates[45]
        );
        assert!(rates[599] > 50.0, "{}", rates[599]);
    }

    #[test]
    fn what_is_not_used_is_not_probed() {
        let meter = Meter::new();
        let penalty = Penalty::new(false, 0.0);
        let mut rate = Rate::known(50.0, f64::INFINITY);
        rate.begin(meter.mark(0.0));
        for second in 1..600 {
            rate.advance(f64::from(second), f64::INFINITY, &meter, &penalty);
        }
        assert!(rate.get() <= 50.0, "{}", rate.get());
    }

    /// What went before the first of several refusals was noticed is none of their share.
    #[test]
    fn only_what_went_after_the_first_refusal_counts_for_the_next() {
        let (meter, penalty) = (Meter::new(), Penalty::new(false, 0.0));
        for (number, expected) in [(7, 0.94), (8, 0.75)] {
            let mut rate = Rate::known(50.0, f64::INFINITY);
            rate.begin(meter.mark(0.0));
            let loss = Loss { now: 0.1, burst: false, uneven: false, reacted: 7 };
            rate.refused(loss, &meter, &penalty);
            let before = rate.get();
            (0..10).for_each(|_| rate.outcome(number, false));
            rate.refused(Loss { now: 0.2, ..loss }, &meter, &penalty);
            let share = rate.limit().map(|limit| limit / before);
            assert!(share.is_some_and(|share| (share - expected).abs() < 1e-9), "{number}: {share:?}");
        }
    }

    /// A pause that a hint asked for says little about the limit, where one is remembered.
    #[test]
    fn after_a_hint_the_rate_is_kept_where_a_limit_is_remembered() {
        let (meter, penalty) = (Meter::new(), Penalty::new(false, 0.0));
        let fallen = 0.5 * (1.0 + 0.1 / 4.0 + 0.005);
        for (held, remembered, share) in
            [(1.0, 50.0, 0.985), (0.3, 50.0, fallen), (1.0, 0.0, fallen), (0.0, 0.0, fallen)]
        {
            let rate = Rate { remembered, ..Rate::known(50.0, f64::INFINITY) };
            let measured = rate.measure(1.0, held, 0.1, &meter, &penalty);
            assert!((measured - share * rate.get()).abs() < 1e-9, "{held} {remembered}: {measured}");
        }
    }

    #[test]
    fn the_dearer_a_refusal_the_later_the_next() {
        for (agreed, cost, expected) in
            [(1, 1.4, 35.0), (1, 30.0, 600.0), (1, 60.0, 900.0), (0, 1.4, 8.4), (0, 30.0, 180.0)]
        {
            let mut rate = Rate::known(50.0, f64::INFINITY);
            rate.agreed = agreed;
            rate.plan(&Penalty::new(false, cost));
            let Curve::Cubic { climb, .. } = rate.curve else { panic!("{:?}", rate.curve) };
            assert!((climb - expected).abs() < 1e-9, "{agreed} {cost}: {climb}");
        }
    }

    #[test]
    fn the_upper_share_is_wilsons() {
        // Ten of twenty, one standard deviation: 0.5 and 0.109 above.
        assert!((upper_share(10.0, 10.0) - 0.609).abs() < 0.001);
        assert!(upper_share(0.0, 100.0) < 0.011);
        assert!(upper_share(100.0, 0.0) <= 1.0);
    }
}
