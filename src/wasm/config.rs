//! The configuration, read field by field and checked where it is read.
//!
//! Not through serde: deserialising numbers brings 35 kB of float formatting and error text with it.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsValue;

use crate::backoff::{Backoff, Jitter};
use crate::budget::BudgetConfig;
use crate::service::{Config, RetryTransient};
use crate::time::Span;

/// Reads a configuration object; what is absent or `undefined` has its default. The error is the array
/// `[field, value, expected]`, from which the shell makes a `RateLimitConfigError`.
pub(super) fn read(given: &JsValue) -> Result<Config, JsValue> {
    let fields = Fields { given, prefix: "" };
    let default = Config::default();
    let initial = fields.span("initialDelayMs", default.backoff.initial, DAY)?;
    Ok(Config {
        max_retries: fields.count("maxRetries", default.max_retries, &RETRIES)?,
        backoff: Backoff {
            initial,
            max: max_delay(&fields, initial, default.backoff.max)?,
            jitter: jitter(&fields)?,
        },
        respect_retry_after: fields.truth("respectRetryAfter", default.respect_retry_after)?,
        max_retry_after: fields.span("maxRetryAfterMs", default.max_retry_after, YEAR)?,
        circuit_threshold: fields.count("circuitBreakerThreshold", default.circuit_threshold, &MILLION)?,
        circuit_reset: fields.span("circuitResetMs", default.circuit_reset, YEAR)?,
        half_open_probes: fields.count("halfOpenProbes", default.half_open_probes, &MILLION)?,
        probe_timeout: fields.span("probeTimeoutMs", default.probe_timeout, FROM_1_TO_YEAR)?,
        retry_transient: retry_transient(&fields)?,
        retry_budget: retry_budget(&fields, default.retry_budget)?,
        shared_cooldown: fields.truth("sharedCooldown", default.shared_cooldown)?,
    })
}

/// A duration that may be absent: `null` and `undefined` are none.
pub(super) fn optional_span(given: &JsValue, name: &str) -> Result<Option<Span>, JsValue> {
    let fields = Fields { given, prefix: "" };
    match fields.value(name) {
        Some(value) if value.is_null() => Ok(None),
        Some(_) => fields.span(name, Span::ZERO, FROM_1_TO_YEAR_OR_NULL).map(Some),
        None => Ok(None),
    }
}

fn max_delay(fields: &Fields<'_>, initial: Span, default: Span) -> Result<Span, JsValue> {
    let max = fields.span("maxDelayMs", default, YEAR)?;
    if max < initial {
        return Err(fields.error("maxDelayMs", &JsValue::from_f64(max.as_f64()), "at least initialDelayMs"));
    }
    Ok(max)
}

fn jitter(fields: &Fields<'_>) -> Result<Jitter, JsValue> {
    const KINDS: &str = "\"proportional\", \"full\", \"equal\", \"decorrelated\" or \"none\"";
    let factor = fields.number("jitterFactor", 0.2, &SHARE)?;
    match fields.text("jitter", KINDS)?.as_deref() {
        None | Some("proportional") => Ok(Jitter::Proportional { factor }),
        Some("full") => Ok(Jitter::Full),
        Some("equal") => Ok(Jitter::Equal),
        Some("decorrelated") => Ok(Jitter::Decorrelated),
        Some("none") => Ok(Jitter::None),
        Some(other) => Err(fields.error("jitter", &JsValue::from_str(other), KINDS)),
    }
}

fn retry_transient(fields: &Fields<'_>) -> Result<RetryTransient, JsValue> {
    const KINDS: &str = "\"never\", \"idempotent\" or \"always\"";
    match fields.text("retryTransient", KINDS)?.as_deref() {
        None | Some("never") => Ok(RetryTransient::Never),
        Some("idempotent") => Ok(RetryTransient::Idempotent),
        Some("always") => Ok(RetryTransient::Always),
        Some(other) => Err(fields.error("retryTransient", &JsValue::from_str(other), KINDS)),
    }
}

fn retry_budget(fields: &Fields<'_>, default: Option<BudgetConfig>) -> Result<Option<BudgetConfig>, JsValue> {
    const SHAPE: &str = "null, or an object with ratio, minPerSecond and windowMs";
    let Some(value) = fields.value("retryBudget") else { return Ok(default) };
    if value.is_null() {
        return Ok(None);
    }
    if !value.is_object() {
        return Err(fields.error("retryBudget", &value, SHAPE));
    }
    let inner = Fields { given: &value, prefix: "retryBudget." };
    if let Some(unknown) = inner.unknown(&["ratio", "minPerSecond", "windowMs"]) {
        return Err(fields.error("retryBudget", &unknown, SHAPE));
    }
    Ok(Some(BudgetConfig {
        ratio: inner.number("ratio", 0.2, &SHARE)?,
        min_per_second: inner.number("minPerSecond", 5.0, &THOUSAND)?,
        window: inner.span("windowMs", Span::from_ms(10_000), FROM_1_TO_DAY)?,
    }))
}

/// An object from outside whose fields are read one by one.
struct Fields<'a> {
    given: &'a JsValue,
    prefix: &'static str,
}

/// A legal range and the words for it.
struct Range {
    from: f64,
    to: f64,
    expected: &'static str,
}

impl Fields<'_> {
    fn value(&self, name: &str) -> Option<JsValue> {
        Reflect::get(self.given, &JsValue::from_str(name)).ok().filter(|value| !value.is_undefined())
    }

    fn number(&self, name: &str, default: f64, range: &Range) -> Result<f64, JsValue> {
        let Some(value) = self.value(name) else { return Ok(default) };
        // NaN is in no range.
        match value.as_f64().filter(|number| (range.from..=range.to).contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.error(name, &value, range.expected)),
        }
    }

    fn count(&self, name: &str, default: u32, range: &Range) -> Result<u32, JsValue> {
        let number = self.number(name, f64::from(default), range)?;
        if number.fract() != 0.0 {
            return Err(self.error(name, &JsValue::from_f64(number), range.expected));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "every range of a count is within u32"
        )]
        Ok(number as u32)
    }

    fn span(&self, name: &str, default: Span, range: Range) -> Result<Span, JsValue> {
        self.number(name, default.as_f64(), &range).map(Span::from_ms_ceil)
    }

    fn truth(&self, name: &str, default: bool) -> Result<bool, JsValue> {
        let Some(value) = self.value(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.error(name, &value, "true or false"))
    }

    fn text(&self, name: &str, expected: &str) -> Result<Option<String>, JsValue> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.as_string().map(Some).ok_or_else(|| self.error(name, &value, expected))
    }

    fn unknown(&self, known: &[&str]) -> Option<JsValue> {
        let keys = Reflect::own_keys(self.given).ok()?;
        keys.iter().find(|key| !key.as_string().is_some_and(|key| known.contains(&key.as_str())))
    }

    fn error(&self, name: &str, value: &JsValue, expected: &str) -> JsValue {
        let field = JsValue::from_str(&[self.prefix, name].concat());
        Array::of3(&field, value, &JsValue::from_str(expected)).into()
    }
}

const RETRIES: Range = Range { from: 0.0, to: 1_000.0, expected: "an integer from 0 to 1000" };
const MILLION: Range = Range { from: 1.0, to: 1_000_000.0, expected: "an integer from 1 to 1000000" };
const SHARE: Range = Range { from: 0.0, to: 1.0, expected: "a number from 0 to 1" };
const THOUSAND: Range = Range { from: 0.0, to: 1_000.0, expected: "a number from 0 to 1000" };
const DAY: Range = Range { from: 0.0, to: DAY_MS, expected: "milliseconds from 0 to 86400000 (a day)" };
const FROM_1_TO_DAY: Range =
    Range { from: 1.0, to: DAY_MS, expected: "milliseconds from 1 to 86400000 (a day)" };
const YEAR: Range = Range { from: 0.0, to: YEAR_MS, expected: "milliseconds from 0 to 31536000000 (a year)" };
const FROM_1_TO_YEAR: Range =
    Range { from: 1.0, to: YEAR_MS, expected: "milliseconds from 1 to 31536000000 (a year)" };
const FROM_1_TO_YEAR_OR_NULL: Range =
    Range { from: 1.0, to: YEAR_MS, expected: "null, or milliseconds from 1 to 31536000000 (a year)" };

const DAY_MS: f64 = 86_400_000.0;
const YEAR_MS: f64 = 31_536_000_000.0;
