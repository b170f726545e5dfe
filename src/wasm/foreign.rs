//! Reading objects of others: a getter that throws, a proxy, a revoked proxy is a property that is not there.
//!
//! Every import that can run code of somebody else has `catch`. An exception that crosses the core uncaught would leave
//! it as if it had trapped.

use std::cell::OnceCell;

use js_sys::{Array, Map, Object, Reflect};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

use crate::outcome::Foreign;

/// A value from JavaScript.
pub(super) struct Value {
    js: JsValue,
    /// As a container of headers, listed once: it is asked for a dozen names.
    listed: OnceCell<Listed>,
}

/// What a container of headers holds.
enum Listed {
    /// Arrays of name and value.
    Pairs(Vec<JsValue>),
    /// The names; the values are the properties.
    Names(Vec<JsValue>),
}

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

    #[wasm_bindgen(catch, js_namespace = Array, js_name = isArray)]
    fn is_array(value: &JsValue) -> Result<bool, JsValue>;

    #[wasm_bindgen(catch, js_namespace = Array, js_name = from)]
    fn array_from(value: &JsValue) -> Result<Array, JsValue>;

    #[wasm_bindgen(catch, js_namespace = ArrayBuffer, js_name = isView)]
    fn is_view(value: &JsValue) -> Result<bool, JsValue>;

    #[wasm_bindgen(catch, js_namespace = Object, js_name = keys)]
    fn keys_of(value: &JsValue) -> Result<Array, JsValue>;
}

impl Foreign for Value {
    fn get(&self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        Self::present(Reflect::get(&self.js, &JsValue::from_str(key)))
    }

    fn has(&self, key: &str) -> bool {
        self.is_object() && Reflect::has(&self.js, &JsValue::from_str(key)).unwrap_or(false)
    }

    fn header(&self, name: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        self.by_getter(name).or_else(|| self.by_listing(name))?.first_of_several()
    }

    fn as_number(&self) -> Option<f64> {
        self.js.as_f64()
    }

    fn as_text(&self, limit: usize) -> Option<String> {
        let text: &Text = self.js.is_string().then(|| self.js.unchecked_ref())?;
        Some(text.slice(0, u32::try_from(limit).unwrap_or(u32::MAX)))
    }

    fn is_true(&self) -> bool {
        self.js.as_bool() == Some(true)
    }

    fn is_object(&self) -> bool {
        self.js.is_object() || self.js.is_function()
    }

    fn same(&self, other: &Self) -> bool {
        Object::is(&self.js, &other.js)
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::of(self.js.clone())
    }
}

impl Value {
    pub(super) const fn of(js: JsValue) -> Self {
        Self { js, listed: OnceCell::new() }
    }

    /// What asking brought, unless that is nothing.
    fn present(asked: Result<JsValue, JsValue>) -> Option<Self> {
        asked.ok().filter(|value| !value.is_undefined() && !value.is_null()).map(Self::of)
    }

    fn by_getter(&self, name: &str) -> Option<Self> {
        let getter = self.get("get")?;
        if !getter.js.is_function() {
            return None;
        }
        Self::present(self.js.unchecked_ref::<Getter>().get(name))
    }

    /// A plain object, an array of pairs, or a map whose keys are in another case.
    fn by_listing(&self, name: &str) -> Option<Self> {
        let named = |key: Option<String>| key.is_some_and(|key| key.eq_ignore_ascii_case(name));
        match self.listed.get_or_init(|| self.list()) {
            Listed::Pairs(pairs) => {
                let pair =
                    pairs.iter().find(|pair| named(element(pair, 0).and_then(|key| key.as_string())))?;
                element(pair, 1).and_then(|value| Self::present(Ok(value)))
            }
            Listed::Names(names) => {
                let key = names.iter().find(|key| named(key.as_string()))?;
                Self::present(Reflect::get(&self.js, key))
            }
        }
    }

    fn list(&self) -> Listed {
        if is_array(&self.js) == Ok(true) {
            return Listed::Pairs((0..MOST_HEADERS).map_while(|index| element(&self.js, index)).collect());
        }
        // Only a real Map is walked: an iterator of somebody else's need not end.
        if self.js.is_instance_of::<Map>() {
            return Listed::Pairs(first_of(array_from(&self.js)));
        }
        // The bytes of a buffer are no headers, and there may be millions.
        let names = if is_view(&self.js) == Ok(false) { first_of(keys_of(&self.js)) } else { Vec::new() };
        Listed::Names(names)
    }

    /// A header that came several times is an array in Node: its first value counts.
    fn first_of_several(self) -> Option<Self> {
        if is_array(&self.js) == Ok(true) {
            Self::present(element(&self.js, 0).ok_or(JsValue::NULL))
        } else {
            Some(self)
        }
    }
}

/// An element of an array that may be somebody's proxy; `None` where there is none.
fn element(array: &JsValue, index: u32) -> Option<JsValue> {
    Reflect::get_u32(array, index).ok().filter(|value| !value.is_undefined())
}

/// The first ones of an array of our own.
fn first_of(list: Result<Array, JsValue>) -> Vec<JsValue> {
    list.map_or_else(|_| Vec::new(), |list| list.iter().take(MOST_HEADERS as usize).collect())
}

/// A server sends some dozens; an object with more is not a list of headers.
const MOST_HEADERS: u32 = 1_000;
