//! Reading objects of others: a getter that throws, a proxy, a revoked proxy is a property that is not there.

use js_sys::{Array, Map, Object, Reflect};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

use crate::outcome::Foreign;

/// A value from JavaScript.
#[derive(Clone)]
pub(super) struct Value(JsValue);

#[wasm_bindgen]
extern "C" {
    /// Whatever has a `get(name)`: `Headers`, a `Map`, the headers of axios.
    type Getter;

    #[wasm_bindgen(method, catch)]
    fn get(this: &Getter, name: &str) -> Result<JsValue, JsValue>;

    /// A string of JavaScript that need not be copied whole.
    type Text;

    #[wasm_bindgen(method)]
    fn slice(this: &Text, from: u32, to: u32) -> String;
}

impl Value {
    pub(super) fn of(value: &JsValue) -> Self {
        Self(value.clone())
    }
}

impl Foreign for Value {
    fn get(&self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        let value = Reflect::get(&self.0, &JsValue::from_str(key)).ok()?;
        (!value.is_undefined() && !value.is_null()).then_some(Self(value))
    }

    fn has(&self, key: &str) -> bool {
        self.is_object() && Reflect::has(&self.0, &JsValue::from_str(key)).unwrap_or(false)
    }

    fn as_number(&self) -> Option<f64> {
        self.0.as_f64()
    }

    fn as_text(&self, limit: usize) -> Option<String> {
        let text: &Text = self.0.is_string().then(|| self.0.unchecked_ref())?;
        Some(text.slice(0, u32::try_from(limit).unwrap_or(u32::MAX)))
    }

    fn is_true(&self) -> bool {
        self.0.as_bool() == Some(true)
    }

    fn is_object(&self) -> bool {
        self.0.is_object() || self.0.is_function()
    }

    fn same(&self, other: &Self) -> bool {
        Object::is(&self.0, &other.0)
    }

    fn header(&self, name: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        self.header_by_get(name).or_else(|| self.header_by_entry(name))
    }
}

impl Value {
    fn header_by_get(&self, name: &str) -> Option<Self> {
        let getter = Reflect::get(&self.0, &JsValue::from_str("get")).ok()?;
        if !getter.is_function() {
            return None;
        }
        header_value(self.0.unchecked_ref::<Getter>().get(name).ok()?)
    }

    /// A plain object, an array of pairs, or a map whose keys are in another case.
    fn header_by_entry(&self, name: &str) -> Option<Self> {
        self.entries()?.iter().take(MOST_HEADERS).find_map(|entry| {
            let pair: &Array = entry.dyn_ref()?;
            let key = pair.get(0).as_string()?;
            key.eq_ignore_ascii_case(name).then(|| header_value(pair.get(1)))?
        })
    }

    fn entries(&self) -> Option<Array> {
        if let Some(pairs) = self.0.dyn_ref::<Array>() {
            return Some(pairs.clone());
        }
        // Only a real Map is walked: an iterator of somebody else's need not end.
        let listed = if self.0.is_instance_of::<Map>() { array_from(&self.0) } else { entries_of(&self.0) };
        listed.ok()
    }
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = Array, js_name = from)]
    fn array_from(value: &JsValue) -> Result<Array, JsValue>;

    #[wasm_bindgen(catch, js_namespace = Object, js_name = entries)]
    fn entries_of(value: &JsValue) -> Result<Array, JsValue>;
}

/// A header that came several times is an array in Node: its first value counts.
fn header_value(value: JsValue) -> Option<Value> {
    let value = value.dyn_ref::<Array>().map_or(value.clone(), |list| list.get(0));
    (!value.is_undefined() && !value.is_null()).then_some(Value(value))
}

/// A server sends some dozens; an object with more is not a list of headers.
const MOST_HEADERS: usize = 1_000;
