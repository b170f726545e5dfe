//! The nouns that every room answers with: [`Verdict`], [`Decision`], [`Permit`], [`Transition`].

use crate::time::{Instant, Span};

/// Our judgement of one attempt's outcome. Made by `classify`, or by the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server did what was asked.
    Success,
    /// The server refused because of its limits and did not process the request.
    Throttled {
        /// How long the server asks to stay away, counted from the receipt of its answer.
        hint: Option<Span>,
        /// Whom the refusal concerns.
        scope: Scope,
    },
    /// It may heal by itself: 408, 5xx of an overloaded server, a lost connection.
    Transient {
        /// Whether a server answered at all. Without an answer nothing is known about the server.
        answered: bool,
    },
    /// It will not heal: the request itself is refused.
    Permanent,
    /// Says nothing about the server: cancelled, never sent, or judged already by another layer of ours.
    Ignored,
}

/// Whom a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every caller of the service.
    Service,
    /// This call only, as with a limit per e-mail address.
    Call,
}

/// The answer to "may this attempt start?". Everything that is not "go" says why and when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go.
    Proceed,
    /// Not now.
    Wait {
        /// When to ask again; `None`: when something else happens, such as a probe that ends.
        until: Option<Instant>,
        /// Why.
        reason: Reason,
    },
    /// Never, for this attempt.
    Reject {
        /// Why.
        reason: Reason,
        /// How long until another call may be worth it; `None` when nobody knows, as while isolated.
        retry_after: Option<Span>,
    },
}

impl Decision {
    /// What two rooms say together: reject beats wait, wait beats go, and of two waits the later one holds.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Reject { .. }, _) => self,
            (_, Self::Reject { .. }) | (Self::Proceed, _) => other,
            (_, Self::Proceed) => self,
            (Self::Wait { until: mine, .. }, Self::Wait { until: theirs, .. }) => {
                // Nobody knows when: that is later than any time.
                if mine.is_none() || (theirs.is_some() && mine >= theirs) { self } else { other }
            }
        }
    }
}

/// Why an attempt waits or is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pause before a retry.
    Backoff,
    /// A refusal of another call holds every caller of the service.
    Cooldown,
    /// The circuit is open, half-open with all probes out, or isolated.
    CircuitOpen,
    /// This very refusal opened the circuit.
    CircuitOpened,
    /// Still throttled after the last retry.
    MaxRetries,
    /// The server asks for a longer wait than the configuration allows.
    RetryAfterTooLong,
    /// The deadline has passed, or the wait would not fit in it.
    Deadline,
    /// The retry budget is spent.
    Budget,
    /// A window of a quota is full, or its minimum interval has not passed.
    Quota,
    /// All slots are taken.
    Slots,
    /// As many wait as may wait.
    QueueFull,
    /// So many keys are in use that there is no room for another.
    Keys,
    /// Others came first: it stands in line behind them.
    Queue,
}

/// Leave to make one attempt. Consumed by `record`, so that it ends exactly once:
///
/// ```compile_fail
/// # use tidegate::decision::Permit;
/// fn twice(permit: Permit) {
///     drop(permit);
///     drop(permit); // moved: does not compile
/// }
/// ```
#[must_use = "a permit is handed back with the verdict"]
#[derive(Debug, PartialEq, Eq)]
pub struct Permit(u64);

impl Permit {
    /// The permit number `sequence`: permits of a service are numbered in the order they were issued.
    pub const fn new(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Its place in the order of issue; later permits have higher numbers.
    pub const fn sequence(&self) -> u64 {
        self.0
    }
}

/// A change of state that a room reports to `service`, which hands it to `record`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The circuit entered another state.
    Circuit {
        /// The state that was left.
        from: Phase,
        /// The state that was entered.
        to: Phase,
    },
    /// Every caller of the service is held until then.
    CooldownBegan {
        /// When the first one may go.
        until: Instant,
    },
    /// Nobody is held any more.
    CooldownEnded,
    /// So much of a quota's window is used that the next ones will soon wait.
    Warned {
        /// The number of the quota.
        quota: u32,
        /// The limit of the window.
        limit: u32,
        /// The length of the window.
        length: Span,
        /// What is used of it.
        used: u32,
    },
}

/// The circuit's states as the outside sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Attempts pass.
    #[default]
    Closed,
    /// Attempts are rejected until the reset time has passed.
    Open,
    /// A few probes pass, the others are rejected.
    HalfOpen,
    /// Held open by hand.
    Isolated,
}
