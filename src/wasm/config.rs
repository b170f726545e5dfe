//! The configuration, read field by field.
//!
//! The shell has checked it (`js/config.ts`): a mistake is to be found on devices without a core too, so the ranges and
//! the words for them are there. Here, what is absent or of another type has its default.
//! Not through serde: deserialising numbers brings 35 kB of float formatting and error text with it.

use js_sys::Reflect;
use wasm_bindgen::JsValue;

use crate::backoff::{Backoff, Jitter};
use crate::budget::BudgetConfig;
use crate::circuit::Trip;
use crate::limits::LimitsConfig;
use crate::quota::{Policy, Window};
use crate::service::{Config, RetryTransient};
use crate::slots::SlotsConfig;
use crate::time::Span;

/// Reads a configuration object. It belongs to the shell: nobody's getters are run.
pub(super) fn read(given: &JsValue) -> Config {
    let fields = Fields(given);
    let default = Config::default();
    Config {
        max_retries: fields.count("maxRetries", default.max_retries),
        backoff: Backoff {
            initial: fields.span("initialDelayMs", default.backoff.initial),
            max: fields.span("maxDelayMs", default.backoff.max),
            jitter: jitter(&fields),
        },
        respect_retry_after: fields.truth("respectRetryAfter", default.respect_retry_after),
        max_retry_after: fields.span("maxRetryAfterMs", default.max_retry_after),
        circuit_threshold: fields.count("circuitBreakerThreshold", default.circuit_threshold),
        circuit_reset: fields.span("circuitResetMs", default.circuit_reset),
        half_open_probes: fields.count("halfOpenProbes", default.half_open_probes),
        probe_timeout: fields.span("probeTimeoutMs", default.probe_timeout),
        retry_transient: retry_transient(&fields),
        retry_budget: retry_budget(&fields, default.retry_budget),
        shared_cooldown: fields.truth("sharedCooldown", default.shared_cooldown),
        trip: trip(&fields),
    }
}

/// Reads the limits of a service, which the shell has made of what was configured; without any, there are none.
pub(super) fn limits(given: &JsValue) -> LimitsConfig {
    let default = LimitsConfig::default();
    let Some(limits) = Fields(given).object("limits") else { return default };
    let fields = Fields(&limits);
    LimitsConfig {
        policies: fields.list("policies").iter().map(|policy| policy_of(&Fields(policy))).collect(),
        slots: SlotsConfig {
            global: fields.cap("concurrency"),
            per_key: fields.cap("concurrencyPerKey"),
            per_operation: fields.list("concurrencyPerOperation").iter().map(cap_of).collect(),
            lease: fields.value("leaseMs").as_f64().map(Span::from_ms_ceil),
        },
        max_queue: fields.count("maxQueue", default.max_queue),
        reject: fields.truth("reject", default.reject),
        max_keys: fields.count("maxKeys", default.max_keys),
    }
}

fn policy_of(fields: &Fields<'_>) -> Policy {
    Policy {
        windows: fields.list("windows").iter().map(|window| window_of(&Fields(window))).collect(),
        interval: fields.span("intervalMs", Span::ZERO),
        smooth: fields.truth("smooth", false),
    }
}

fn window_of(fields: &Fields<'_>) -> Window {
    Window { limit: fields.count("limit", 1), length: fields.span("lengthMs", Span::ZERO) }
}

/// When the circuit opens, where it is used alone: without `circuit`, after refusals in a row as for a service.
fn trip(fields: &Fields<'_>) -> Trip {
    let Some(given) = fields.object("circuit") else { return Trip::Events };
    let fields = Fields(&given);
    let Some(ratio) = fields.value("ratio").as_f64() else { return Trip::InARow };
    let minimum = fields.count("minimumCalls", 1);
    match fields.value("lastCalls").as_f64() {
        Some(_) => Trip::LastCalls { ratio, calls: fields.count("lastCalls", 1), minimum },
        None => Trip::Window { ratio, length: fields.span("windowMs", Span::ZERO), minimum },
    }
}

fn jitter(fields: &Fields<'_>) -> Jitter {
    match fields.text("jitter").as_deref() {
        Some("full") => Jitter::Full,
        Some("equal") => Jitter::Equal,
        Some("decorrelated") => Jitter::Decorrelated,
        Some("none") => Jitter::None,
        _ => Jitter::Proportional { factor: fields.number("jitterFactor", 0.2) },
    }
}

fn retry_transient(fields: &Fields<'_>) -> RetryTransient {
    match fields.text("retryTransient").as_deref() {
        Some("idempotent") => RetryTransient::Idempotent,
        Some("always") => RetryTransient::Always,
        _ => RetryTransient::Never,
    }
}

/// `null` is no budget.
fn retry_budget(fields: &Fields<'_>, default: Option<BudgetConfig>) -> Option<BudgetConfig> {
    let given = fields.value("retryBudget");
    if !given.is_object() {
        return default.filter(|_| !given.is_null());
    }
    let fields = Fields(&given);
    let default = default?;
    Some(BudgetConfig {
        ratio: fields.number("ratio", default.ratio),
        min_per_second: fields.number("minPerSecond", default.min_per_second),
        window: fields.span("windowMs", default.window),
    })
}

/// An object whose fields are read one by one.
struct Fields<'a>(&'a JsValue);

impl Fields<'_> {
    fn value(&self, name: &str) -> JsValue {
        Reflect::get(self.0, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.value(name).as_f64().unwrap_or(default)
    }

    #[inline(never)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    fn count(&self, name: &str, default: u32) -> u32 {
        self.number(name, f64::from(default)) as u32
    }

    #[inline(never)]
    fn span(&self, name: &str, default: Span) -> Span {
        Span::from_ms_ceil(self.number(name, default.as_f64()))
    }

    fn truth(&self, name: &str, default: bool) -> bool {
        self.value(name).as_bool().unwrap_or(default)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).as_string()
    }

    /// A number of slots; `null` and nothing at all are no limit.
    fn cap(&self, name: &str) -> Option<u32> {
        cap_of(&self.value(name))
    }

    fn object(&self, name: &str) -> Option<JsValue> {
        Some(self.value(name)).filter(JsValue::is_object)
    }

    /// What a list holds; one that is none is empty.
    #[inline(never)]
    fn list(&self, name: &str) -> Vec<JsValue> {
        let list = self.value(name);
        let item = |index| Reflect::get_u32(&list, index).unwrap_or(JsValue::UNDEFINED);
        (0..Fields(&list).count("length", 0)).map(item).collect()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn cap_of(value: &JsValue) -> Option<u32> {
    value.as_f64().map(|number| number as u32)
}
