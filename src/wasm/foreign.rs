//! Reading objects of others: a getter that throws, a proxy, a revoked proxy is a property that is not there.
//!
//! Every import that can run code of somebody else has `catch`. An exception that crosses the core uncaught would leave
//! it as if it had trapped.

use std::cell::OnceCell;

use js_sys::{Map, Object, Reflect};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};

use crate::outcome::Foreign;

/// A value from JavaScript.
pub(super) struct Value {
    js: JsValue,
    /// As a container of headers, listed once: it is asked for a dozen names.
    listed: OnceCell<Box<Listed>>,
}

/// What a container of headers holds.
struct Listed {
    /// Arrays of name and value; otherwise names, whose values are the properties.
    pairs: bool,
    items: Vec<JsValue>,
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
    fn array_from(value: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(catch, js_namespace = ArrayBuffer, js_name = isView)]
    fn is_view(value: &JsValue) -> Result<bool, JsValue>;

    #[wasm_bindgen(catch, js_namespace = Object, js_name = keys)]
    fn keys_of(value: &JsValue) -> Result<JsValue, JsValue>;
}

impl Foreign for Value {
    fn get(&self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        property(&self.js, &JsValue::from_str(key)).and_then(Self::present)
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

    fn present(js: JsValue) -> Option<Self> {
        (!js.is_undefined() && !js.is_null()).then(|| Self::of(js))
    }

    fn by_getter(&self, name: &str) -> Option<Self> {
        let getter = self.get("get")?;
        if !getter.js.is_function() {
            return None;
        }
        self.js.unchecked_ref::<Getter>().get(name).ok().and_then(Self::present)
    }

    /// A plain object, an array of pairs, or a map whose keys are in another case.
    fn by_listing(&self, name: &str) -> Option<Self> {
        let Listed { pairs, items } = &**self.listed.get_or_init(|| Box::new(self.list()));
        let named = |key: &JsValue| key.as_string().is_some_and(|key| key.eq_ignore_ascii_case(name));
        let found = |item: &&JsValue| {
            if *pairs { element(item, 0).is_some_and(|key| named(&key)) } else { named(item) }
        };
        let item = items.iter().find(found)?;
        let value = if *pairs { element(item, 1) } else { property(&self.js, item) };
        value.and_then(Self::present)
    }

    fn list(&self) -> Listed {
        let is_array = is_list(&self.js);
        // Only a real Map is walked: an iterator of somebody else's need not end.
        let is_map = !is_array && self.js.is_instance_of::<Map>();
        let list = if is_array {
            Ok(self.js.clone())
        } else if is_map {
            array_from(&self.js)
        } else if is_view(&self.js) == Ok(false) {
            keys_of(&self.js)
        } else {
            // The bytes of a buffer are no headers, and there may be millions.
            Err(JsValue::UNDEFINED)
        };
        let item = |index| element(list.as_ref().ok()?, index);
        Listed { pairs: is_array || is_map, items: (0..MOST_HEADERS).map_while(item).collect() }
    }

    /// A header that came several times is an array in Node: its first value counts.
    fn first_of_several(self) -> Option<Self> {
        if is_list(&self.js) { element(&self.js, 0).and_then(Self::present) } else { Some(self) }
    }
}

/// A property of an object that may be somebody's proxy; `None` where there is none.
#[inline(never)]
fn property(of: &JsValue, key: &JsValue) -> Option<JsValue> {
    Reflect::get(of, key).ok().filter(|value| !value.is_undefined())
}

fn element(array: &JsValue, index: u32) -> Option<JsValue> {
    property(array, &JsValue::from(index))
}

#[inline(never)]
fn is_list(value: &JsValue) -> bool {
    is_array(value) == Ok(true)
}

/// A server sends some dozens; an object with more is not a list of headers.
const MOST_HEADERS: u32 = 1_000;
