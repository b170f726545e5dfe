//! The shell in virtual time: it begins calls, ends their attempts, keeps the waits, and writes down what happened.
//!
//! It does what the TypeScript shell does: after everything that happens it asks [`Service::poll`] until nobody is
//! left to be called, it sets its alarm by [`Service::poll_timeout`], and it ends attempts whose deadline comes. On the
//! way it checks what must hold at any time, whatever the test is about.

use std::collections::BTreeMap;
use std::fmt;

use tidegate::decision::{Permit, Phase, Reason, Transition, Verdict};
use tidegate::limits::LimitsConfig;
use tidegate::queue::{Name, Terms};
use tidegate::service::{Admission, Call, Config, Ending, Next, Rejection, Service};
use tidegate::time::{Instant, Span};

use super::at;

pub(crate) struct World {
    pub(crate) service: Service,
    /// What every draw gives; 0 means no jitter for those kinds that only add. `None`: the core's own randomness.
    pub(crate) draw: Option<f64>,
    /// What the host believes about its connection.
    pub(crate) online: bool,
    now: u64,
    under_way: BTreeMap<String, (UnderWay, Place)>,
    names: BTreeMap<Name, String>,
    events: Vec<Event>,
}

/// What one call may be given besides its name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Milliseconds from its beginning.
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) priority: i32,
    pub(crate) max_retries: Option<u32>,
    pub(crate) idempotent: bool,
    pub(crate) group: u32,
    pub(crate) terms: Terms,
}

/// Something happened. Its text is the story that tests and golden cases tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An attempt starts; the first is 1.
    Attempt {
        who: String,
        attempt: u32,
    },
    Waits {
        who: String,
        reason: Reason,
        until: Option<u64>,
    },
    /// The call ended with what the server gave.
    Done {
        who: String,
    },
    /// The call ended with the error of its last attempt, unchanged.
    PassedOn {
        who: String,
    },
    Cancelled {
        who: String,
    },
    Rejected {
        who: String,
        rejection: Rejection,
    },
    Changed(Transition),
}

/// What the shell remembers of a call between its attempts.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    call: Call,
    max_retries: u32,
    idempotent: bool,
    retries: u32,
    previous_delay: Option<Span>,
}

#[derive(Debug)]
enum Place {
    Waiting(Name),
    Attempting { permit: Permit, started: Instant },
}

impl World {
    /// Without jitter, so that every time in a test can be told by heart.
    pub(crate) fn new(config: Config) -> Self {
        Self { draw: Some(0.0), ..Self::seeded(config, 0) }
    }

    pub(crate) fn seeded(config: Config, seed: u64) -> Self {
        Self {
            service: Service::new(config, seed),
            draw: None,
            online: true,
            now: 0,
            under_way: BTreeMap::new(),
            names: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// With limits, without jitter.
    pub(crate) fn limited(limits: LimitsConfig) -> Self {
        let service = Service::limited(Config::default(), limits, 0);
        Self { service, ..Self::new(Config::default()) }
    }

    /// A lane that needs these quotas, new ones of these policies.
    pub(crate) fn lane(&mut self, operation: u32, policies: &[u32]) -> u32 {
        let now = self.instant();
        let lane = self.service.lane(now, operation).expect("room for a lane");
        for &policy in policies {
            let quota = self.service.limits_mut().quota(policy);
            self.service.limits_mut().need(lane, quota);
        }
        lane
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Lets the time pass until then; alarms go off when they are due.
    pub(crate) fn until(&mut self, ms: u64) -> &mut Self {
        assert!(ms >= self.now, "time passes forward here; see `jump`");
        while let Some(alarm) = self.next_alarm().filter(|alarm| *alarm <= ms) {
            self.now = alarm.max(self.now);
            self.look_around();
        }
        self.now = ms;
        self.look_around();
        self
    }

    /// Sets the clock, back too, without waking anybody: alarms are late, a laptop slept.
    pub(crate) fn jump(&mut self, ms: u64) -> &mut Self {
        self.now = ms;
        self
    }

    pub(crate) fn begin(&mut self, who: &str) -> &mut Self {
        self.begin_with(who, Options::default())
    }

    pub(crate) fn begin_with(&mut self, who: &str, options: Options) -> &mut Self {
        assert!(!self.under_way.contains_key(who), "{who} is under way");
        let now = self.instant();
        let call = Call {
            arrival: now,
            deadline: options.deadline_ms.map(|length| at(self.now + length)),
            priority: options.priority,
            group: options.group,
            terms: options.terms,
        };
        let shut = self.is_shut();
        let admission = self.service.begin(now, &call);
        self.note_transitions();
        let begun = UnderWay {
            call,
            max_retries: options.max_retries.unwrap_or(self.service.config().max_retries),
            idempotent: options.idempotent,
            retries: 0,
            previous_delay: None,
        };
        self.admitted(who.to_owned(), begun, admission, shut);
        self.look_around();
        self
    }

    /// The attempt of this call ends.
    pub(crate) fn end(&mut self, who: &str, verdict: Verdict) -> &mut Self {
        let (mut ended, place) =
            self.under_way.remove(who).unwrap_or_else(|| panic!("{who} is not under way"));
        let Place::Attempting { permit, started } = place else { panic!("{who} makes no attempt") };
        let now = self.instant();
        if verdict == Verdict::Success {
            self.service.succeed(now, &permit, started, ended.call.group, ended.call.terms.lane);
            self.note_transitions();
            self.note(What::Done { who: who.to_owned() });
            self.look_around();
            return self;
        }
        let ending = self.ending(&ended, permit, started, verdict);
        let next = self.service.end(now, &ending, &ended.call, self.draw);
        self.note_transitions();
        let who = who.to_owned();
        match next {
            Next::PassThrough => self.note(What::PassedOn { who }),
            Next::Reject(rejection) => self.note(What::Rejected { who, rejection }),
            Next::Retry { name, until, delay } => {
                assert_eq!(until, now.plus(delay));
                ended.retries += 1;
                ended.previous_delay = Some(delay);
                self.waits(who, ended, name, Some(until), Reason::Backoff);
            }
        }
        self.look_around();
        self
    }

    /// The caller gives up, wherever the call is.
    pub(crate) fn cancel(&mut self, who: &str) -> &mut Self {
        self.drop_call(who, None);
        self.note(What::Cancelled { who: who.to_owned() });
        self.look_around();
        self
    }

    pub(crate) fn reset(&mut self) -> &mut Self {
        self.service.reset();
        self.note_transitions();
        self.look_around();
        self
    }

    pub(crate) fn isolate(&mut self) -> &mut Self {
        self.service.isolate();
        self.note_transitions();
        self.look_around();
        self
    }

    pub(crate) fn reconfigure(&mut self, config: Config) -> &mut Self {
        self.service.reconfigure(config);
        self.note_transitions();
        self.look_around();
        self
    }

    /// Asks the core who is called, and ends what is past its deadline.
    pub(crate) fn look_around(&mut self) {
        self.poll();
        while let Some(who) = self.overdue() {
            self.drop_call(&who, Some(Reason::Deadline));
            self.note(What::Rejected {
                who,
                rejection: Rejection { reason: Reason::Deadline, retry_after: None, window: None },
            });
            self.poll();
        }
        self.check_alarm();
    }

    pub(crate) fn attempting(&self) -> Vec<String> {
        self.who_is(|place| matches!(place, Place::Attempting { .. }))
    }

    pub(crate) fn waiting(&self) -> Vec<String> {
        self.who_is(|place| matches!(place, Place::Waiting(_)))
    }

    pub(crate) fn call_of(&self, who: &str) -> Option<Call> {
        self.under_way.get(who).map(|(under_way, _)| under_way.call)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.service.circuit(self.instant()).phase
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// What happened since the last time somebody asked.
    pub(crate) fn news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The same as text.
    pub(crate) fn story(&mut self) -> Vec<String> {
        self.news().iter().map(Event::to_string).collect()
    }

    /// Forgets what happened so far: the test is about what comes now.
    pub(crate) fn so_far_so_good(&mut self) -> &mut Self {
        self.events.clear();
        self
    }

    /// The rejection that ended this call.
    pub(crate) fn rejection(&self, who: &str) -> Option<Rejection> {
        self.events.iter().rev().find_map(|event| match &event.what {
            What::Rejected { who: rejected, rejection } if rejected == who => Some(*rejection),
            _ => None,
        })
    }

    fn admitted(&mut self, who: String, begun: UnderWay, admission: Admission, shut: bool) {
        match admission {
            Admission::Go(permit) => {
                assert!(!shut, "{who} starts an attempt at {} although the circuit is open", self.now);
                self.note(What::Attempt { who: who.clone(), attempt: begun.retries + 1 });
                let started = self.instant();
                self.under_way.insert(who, (begun, Place::Attempting { permit, started }));
            }
            Admission::Wait { name, until, reason } => self.waits(who, begun, name, until, reason),
            Admission::Reject(rejection) => self.note(What::Rejected { who, rejection }),
        }
    }

    fn waits(&mut self, who: String, waiter: UnderWay, name: Name, until: Option<Instant>, reason: Reason) {
        self.note(What::Waits { who: who.clone(), reason, until: until.map(Instant::ticks) });
        assert!(self.names.insert(name, who.clone()).is_none(), "two are called {name}");
        self.under_way.insert(who, (waiter, Place::Waiting(name)));
    }

    fn poll(&mut self) {
        let mut shut = self.is_shut();
        while let Some((name, admission)) = self.service.poll(self.instant()) {
            self.note_transitions();
            let who =
                self.names.remove(&name).unwrap_or_else(|| panic!("poll called {name}, who does not wait"));
            let (called, _) = self.under_way.remove(&who).expect("whoever waits is under way");
            self.admitted(who, called, admission, shut);
            shut = self.is_shut();
        }
        self.note_transitions();
    }

    /// Ends a call without asking the core what it thinks of it.
    fn drop_call(&mut self, who: &str, reason: Option<Reason>) {
        let (dropped, place) = self.under_way.remove(who).unwrap_or_else(|| panic!("{who} is not under way"));
        let now = self.instant();
        match place {
            Place::Waiting(name) => {
                self.names.remove(&name);
                self.service.leave(now, name, reason);
            }
            Place::Attempting { permit, started } => {
                let ending = self.ending(&dropped, permit, started, Verdict::Ignored);
                assert_eq!(self.service.end(now, &ending, &dropped.call, self.draw), Next::PassThrough);
                if let Some(reason) = reason {
                    self.service.rejected(dropped.call.group, reason);
                }
            }
        }
        self.note_transitions();
    }

    /// When the host has to look around by itself.
    pub(crate) fn next_alarm(&self) -> Option<u64> {
        let deadlines = self.under_way.values().filter_map(|(under_way, _)| under_way.call.deadline);
        deadlines.chain(self.service.poll_timeout(self.instant())).min().map(Instant::ticks)
    }

    /// Whoever waits is called one day, and nobody is promised anything that does not come.
    fn check_alarm(&self) {
        let alarm = self.service.poll_timeout(self.instant());
        assert!(alarm.is_none_or(|alarm| alarm > self.instant()), "an alarm that is due, and nobody to call");
        assert!(alarm.is_none() || self.service.has_waiters(), "an alarm, and nobody waits");
        let somebody_holds_a_slot = self.service.limits().slots().in_flight() > 0;
        assert!(
            alarm.is_some() || !self.service.has_waiters() || somebody_holds_a_slot,
            "somebody waits for nothing"
        );
        assert_eq!(self.service.has_waiters(), !self.names.is_empty());
    }

    const fn ending(&self, so_far: &UnderWay, permit: Permit, started: Instant, verdict: Verdict) -> Ending {
        Ending {
            permit,
            started,
            verdict,
            online: self.online,
            retries: so_far.retries,
            max_retries: so_far.max_retries,
            previous_delay: so_far.previous_delay,
            idempotent: so_far.idempotent,
            initial_delay: None,
            keeps_slot: false,
        }
    }

    fn overdue(&self) -> Option<String> {
        let now = self.instant();
        let mut under_way = self.under_way.iter();
        let is_overdue = |one: &UnderWay| one.call.deadline.is_some_and(|deadline| deadline <= now);
        under_way.find(|(_, (one, _))| is_overdue(one)).map(|(who, _)| who.clone())
    }

    fn who_is(&self, wanted: impl Fn(&Place) -> bool) -> Vec<String> {
        self.under_way.iter().filter(|(_, (_, place))| wanted(place)).map(|(who, _)| who.clone()).collect()
    }

    fn is_shut(&self) -> bool {
        matches!(self.phase(), Phase::Open | Phase::Isolated)
    }

    fn note_transitions(&mut self) {
        while let Some(transition) = self.service.next_transition() {
            self.note(What::Changed(transition));
        }
    }

    fn note(&mut self, what: What) {
        self.events.push(Event { at: self.now, what });
    }

    fn instant(&self) -> Instant {
        at(self.now)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            What::Attempt { who, attempt } => write!(f, "{who} attempt {attempt}"),
            What::Waits { who, reason, until: Some(until) } => {
                write!(f, "{who} waits for {} until {until}", word_for(*reason))
            }
            What::Waits { who, reason, until: None } => write!(f, "{who} waits for {}", word_for(*reason)),
            What::Done { who } => write!(f, "{who} done"),
            What::PassedOn { who } => write!(f, "{who} passed on"),
            What::Cancelled { who } => write!(f, "{who} cancelled"),
            What::Rejected { who, rejection: Rejection { reason, retry_after: Some(again), .. } } => {
                write!(f, "{who} rejected {}, again in {}", word_for(*reason), again.as_ms())
            }
            What::Rejected { who, rejection } => write!(f, "{who} rejected {}", word_for(rejection.reason)),
            What::Changed(Transition::Circuit { from, to }) => {
                write!(f, "circuit {} > {}", phase_word(*from), phase_word(*to))
            }
            What::Changed(Transition::CooldownBegan { until }) => {
                write!(f, "cooldown until {}", until.ticks())
            }
            What::Changed(Transition::CooldownEnded) => write!(f, "cooldown over"),
            What::Changed(Transition::Warned { limit, length, used, .. }) => {
                write!(f, "{used} of {limit} in {} used", length.as_ms())
            }
        }
    }
}

/// The code that the public interface gives to a rejection, the word it gives to a wait.
pub(crate) const fn word_for(reason: Reason) -> &'static str {
    match reason {
        Reason::Backoff => "backoff",
        Reason::Cooldown => "cooldown",
        Reason::CircuitOpen | Reason::CircuitOpened => "RATE_LIMIT_CIRCUIT_OPEN",
        Reason::MaxRetries => "RATE_LIMIT_MAX_RETRIES_EXCEEDED",
        Reason::RetryAfterTooLong => "RATE_LIMIT_RETRY_AFTER_TOO_LONG",
        Reason::Deadline => "RATE_LIMIT_DEADLINE_EXCEEDED",
        Reason::Budget => "RATE_LIMIT_BUDGET_EXHAUSTED",
        Reason::Quota | Reason::Keys => "RATE_LIMIT_QUOTA_EXHAUSTED",
        Reason::Slots => "RATE_LIMIT_CONCURRENCY_EXCEEDED",
        Reason::QueueFull => "RATE_LIMIT_QUEUE_FULL",
        Reason::Queue => "queue",
    }
}

pub(crate) const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Closed => "closed",
        Phase::Open => "open",
        Phase::HalfOpen => "half-open",
        Phase::Isolated => "isolated",
    }
}
