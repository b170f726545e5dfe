//! What the headers of an answer advertise about a limit, before it is exceeded.
//!
//! | fields | who sends them |
//! |---|---|
//! | `RateLimit-Policy: "burst";q=100;w=60` and `RateLimit: "burst";r=50;t=30` | the IETF draft from version 8 on |
//! | `RateLimit-Policy: 100;w=60` and `RateLimit: limit=100, remaining=50, reset=30` | version 7 |
//! | `RateLimit-Limit: 100, 100;w=60`, `RateLimit-Remaining`, `RateLimit-Reset`; also with `X-`, also `X-Rate-Limit-…` | versions up to 6, and who follows them |
//! | `X-RateLimit-Limit-Minute` and `X-RateLimit-Remaining-Minute`; also `Second` | gateways |
//!
//! A limit whose window is told nowhere says nothing about a rate, and is passed over.

use super::hints;
use super::rate_limit::{Quota, dictionary, list};
use crate::outcome::decimal;
use crate::time::{Span, WallTime};

/// What an answer's headers say about the limit: the policy that binds first, when there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Requests per window. Zero: the whole is ignored, as with a window of zero.
    pub quota: u32,
    /// The window.
    pub window: Span,
    /// How many are left.
    pub remaining: u32,
    /// When there are more again, from now.
    pub reset: Span,
}

/// A field of an answer's headers, by its name in small letters.
pub type Fields<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the headers of an answer say. `now` is when it came, by the clock of its server where that is known. `None`: nothing
/// that could be understood.
pub fn advertised(field: Fields<'_>, now: WallTime) -> Option<Advertised> {
    let (policy, left, told) = (field("ratelimit-policy"), field("ratelimit"), classic(field));
    let mut all = Policies(Vec::new());
    all.add_from(policy.as_deref());
    all.tell_from(left.as_deref());
    if let Some(told) = &told {
        all.add_classic(told);
    }
    for (limit, remaining, window) in BY_WINDOW {
        if let Some(limit) = number(field, limit) {
            let remaining = number(field, remaining);
            all.add(Quota { limit: Some(limit), window: Some(*window), remaining, ..Quota::default() });
        }
    }
    all.first_to_bind(now)
}

/// The three fields of a limit that is told in numbers.
struct Classic {
    limit: String,
    remaining: Option<u64>,
    reset: Option<u64>,
}

fn classic(field: Fields<'_>) -> Option<Classic> {
    CLASSIC.iter().find_map(|[limit, remaining, reset]| {
        Some(Classic {
            limit: field(limit)?,
            remaining: number(field, remaining),
            reset: number(field, reset),
        })
    })
}

#[inline(never)]
fn number(field: Fields<'_>, name: &str) -> Option<u64> {
    decimal(field(name)?.trim_ascii().as_bytes())
}

/// Those that count requests and whose window is known.
struct Policies<'a>(Vec<Quota<'a>>);

impl<'a> Policies<'a> {
    fn add(&mut self, quota: Quota<'a>) {
        let is_one = quota.limit.is_some_and(|limit| limit > 0)
            && quota.window.is_some_and(|window| (1..=LONGEST).contains(&window))
            && !quota.is_other;
        if is_one {
            self.0.push(quota);
        }
    }

    /// `"burst";q=100;w=60, "daily";q=1000;w=86400` or `100;w=60, 1000;w=86400`. Nothing of a field that is malformed.
    fn add_from(&mut self, field: Option<&'a str>) {
        let before = self.0.len();
        let Some(field) = field else { return };
        if list(field.trim_ascii().as_bytes(), &mut |quota| self.add(*quota)).is_none() {
            self.0.truncate(before);
        }
    }

    /// `"burst";r=50;t=30, "daily";r=900;t=3600` or `limit=100, remaining=50, reset=30`: what is left of which.
    fn tell_from(&mut self, field: Option<&str>) {
        let Some(field) = field.map(|field| field.trim_ascii().as_bytes()) else { return };
        let mut told = Vec::new();
        if list(field, &mut |quota| told.push(*quota)).is_some() {
            for quota in &told {
                let named = self.0.iter_mut().find(|policy| policy.name == quota.name);
                named.into_iter().for_each(|policy| policy.left(quota));
            }
        } else if let Some(quota) = dictionary(field) {
            self.tell(&quota);
        }
    }

    /// Of the numbers without a name the limit says which policy is meant. Where none has it, they may bring their window.
    fn tell(&mut self, quota: &Quota<'_>) {
        let meant = self.0.iter_mut().find(|policy| policy.limit == quota.limit);
        match meant {
            Some(policy) => policy.left(quota),
            None => self.add(Quota { name: b"", ..*quota }),
        }
    }

    fn add_classic(&mut self, told: &'a Classic) {
        let mut first = None;
        if self.0.is_empty() {
            self.add_from(Some(&told.limit));
        }
        let field = told.limit.trim_ascii().as_bytes();
        if list(field, &mut |quota| first = first.or(quota.limit)).is_some() {
            let Classic { remaining, reset, .. } = *told;
            self.tell(&Quota { limit: first, remaining, reset, ..Quota::default() });
        }
    }

    /// The one of which least is left.
    fn first_to_bind(&self, now: WallTime) -> Option<Advertised> {
        let rank = |policy: &&Quota<'_>| {
            let left = policy.remaining.or(policy.limit).unwrap_or(0);
            (left, u64::MAX.wrapping_sub(policy.reset.unwrap_or(0)))
        };
        let first = self.0.iter().min_by_key(rank)?;
        let window = Span::from_ms(first.window?.wrapping_mul(1000));
        let reset = first.reset.map_or(Span::ZERO, |reset| hints::reset(reset as f64, now));
        Some(Advertised {
            quota: small(first.limit?),
            window,
            remaining: small(first.remaining.or(first.limit)?),
            reset: reset.min(window),
        })
    }
}

impl Quota<'_> {
    fn left(&mut self, told: &Quota<'_>) {
        self.remaining = told.remaining;
        self.reset = told.reset;
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Limit, what is left of it, and when there is more.
const CLASSIC: &[[&str; 3]] = &[
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    ["x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-reset"],
];

/// Limit, what is left of it, and its window in seconds.
const BY_WINDOW: &[(&str, &str, u64)] = &[
    ("x-ratelimit-limit-second", "x-ratelimit-remaining-second", 1),
    ("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute", 60),
];

/// Seconds. Spread evenly, the requests of a longer window would be a crawl while there is plenty left of it: it is used as it
/// comes, and whoever has used it up is told by a refusal.
const LONGEST: u64 = 600;
