//! Values from outside for tests: JSON, in which objects that JSON cannot tell are encoded as
//! `tests/vectors/README.md` says.

use std::cell::OnceCell;
use std::rc::Rc;

use serde_json::{Map, Value};
use tidegate::outcome::Foreign;

/// A value as JavaScript would hold it.
#[derive(Clone, Debug)]
pub(crate) struct Fake(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// `undefined` and `null`.
    Nothing,
    /// A getter that throws.
    Throws,
    Bool(bool),
    Number(f64),
    Text(String),
    Object(Rc<Object>),
}

#[derive(Debug, Default)]
struct Object {
    /// The properties of an object or an error, the elements of an array. Set once, after what they refer to.
    properties: OnceCell<Vec<(String, Fake)>>,
    /// The entries of a `Headers` or `Map`.
    entries: Option<Vec<(String, Fake)>>,
    is_array: bool,
    /// Whether every question throws, as with a revoked proxy.
    is_revoked: bool,
}

/// The value that `encoded` stands for.
pub(crate) fn decode(encoded: &Value) -> Fake {
    decode_in(encoded, None)
}

/// `around` is the object that holds the value: what `$self` refers to.
fn decode_in(encoded: &Value, around: Option<&Fake>) -> Fake {
    match encoded {
        Value::Null => Fake(Kind::Nothing),
        Value::Bool(truth) => Fake(Kind::Bool(*truth)),
        Value::Number(number) => Fake(Kind::Number(number.as_f64().unwrap())),
        Value::String(text) => Fake(Kind::Text(text.clone())),
        Value::Array(elements) => {
            let keys = (0..elements.len()).map(|index| index.to_string());
            object(Object { is_array: true, ..Object::default() }, keys.zip(elements))
        }
        Value::Object(map) => decode_object(map, around),
    }
}

fn decode_object(map: &Map<String, Value>, around: Option<&Fake>) -> Fake {
    match map.iter().next().map(|(key, value)| (key.as_str(), value)) {
        Some(("$undefined", _)) => Fake(Kind::Nothing),
        Some(("$throws", _)) => Fake(Kind::Throws),
        Some(("$self", _)) => around.expect("$self stands in an object").clone(),
        Some(("$revoked", _)) => object(Object { is_revoked: true, ..Object::default() }, std::iter::empty()),
        Some(("$number", number)) => Fake(Kind::Number(number.as_str().unwrap().parse().unwrap())),
        _ => decode_class(map),
    }
}

fn decode_class(map: &Map<String, Value>) -> Fake {
    match map.get("$class").and_then(Value::as_str) {
        Some("Headers" | "Map") => container(&map["entries"]),
        Some("Response") => finished(map.iter().map(|(key, value)| {
            let value = if key == "headers" { container(value) } else { decode(value) };
            (key.clone(), value)
        })),
        Some(_) => {
            let own = map["props"].as_object().unwrap();
            let told = [("name", &map["$name"]), ("message", &map["$message"])];
            let inherited = told.into_iter().filter(|(key, _)| !own.contains_key(*key));
            object(
                Object::default(),
                inherited.map(|(key, value)| (key.to_string(), value)).chain(pairs(own)),
            )
        }
        None => object(Object::default(), pairs(map)),
    }
}

fn pairs(map: &Map<String, Value>) -> impl Iterator<Item = (String, &Value)> {
    map.iter().map(|(key, value)| (key.clone(), value))
}

/// A `Headers` or `Map` with the entries of a JSON object.
fn container(entries: &Value) -> Fake {
    let entries = pairs(entries.as_object().unwrap()).map(|(key, value)| (key, decode(value))).collect();
    let get = ("get".to_string(), finished(std::iter::empty()));
    let properties = OnceCell::from(vec![get]);
    Fake(Kind::Object(Rc::new(Object { entries: Some(entries), properties, ..Object::default() })))
}

fn finished(properties: impl Iterator<Item = (String, Fake)>) -> Fake {
    let properties = OnceCell::from(properties.collect::<Vec<_>>());
    Fake(Kind::Object(Rc::new(Object { properties, ..Object::default() })))
}

/// `shell` with properties, which may refer back to it.
fn object<'a>(shell: Object, properties: impl Iterator<Item = (String, &'a Value)>) -> Fake {
    let shell = Rc::new(shell);
    let whole = Fake(Kind::Object(Rc::clone(&shell)));
    let properties = properties.map(|(key, value)| (key, decode_in(value, Some(&whole)))).collect();
    shell.properties.set(properties).unwrap();
    whole
}

impl Fake {
    fn object(&self) -> Option<&Object> {
        match &self.0 {
            Kind::Object(object) if !object.is_revoked => Some(object),
            _ => None,
        }
    }

    fn present(&self) -> Option<Self> {
        (!matches!(self.0, Kind::Nothing | Kind::Throws)).then(|| self.clone())
    }

    fn is_text(&self, wanted: &str) -> bool {
        matches!(&self.0, Kind::Text(text) if text.eq_ignore_ascii_case(wanted))
    }
}

impl Object {
    fn property(&self, key: &str) -> Option<&Fake> {
        self.properties.get()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `[["Retry-After", "5"], …]` under a name.
    fn in_pairs(&self, name: &str) -> Option<Fake> {
        let mut pairs = self.properties.get()?.iter().filter_map(|(_, pair)| pair.object());
        let pair = pairs.find(|pair| pair.property("0").is_some_and(|first| first.is_text(name)))?;
        pair.property("1")?.present()
    }
}

impl Foreign for Fake {
    fn get(&self, key: &str) -> Option<Self> {
        self.object()?.property(key)?.present()
    }

    fn has(&self, key: &str) -> bool {
        self.object().is_some_and(|object| object.property(key).is_some())
    }

    fn header(&self, name: &str) -> Option<Self> {
        let object = self.object()?;
        if object.is_array {
            return object.in_pairs(name);
        }
        let mut entries = object.entries.as_ref().or(object.properties.get())?.iter();
        entries.find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.present()
    }

    fn as_number(&self) -> Option<f64> {
        if let Kind::Number(number) = self.0 { Some(number) } else { None }
    }

    fn as_text(&self, limit: usize) -> Option<String> {
        if let Kind::Text(text) = &self.0 { Some(text.chars().take(limit).collect()) } else { None }
    }

    fn is_true(&self) -> bool {
        matches!(self.0, Kind::Bool(true))
    }

    fn is_object(&self) -> bool {
        matches!(self.0, Kind::Object(_))
    }

    fn same(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Kind::Object(one), Kind::Object(other)) if Rc::ptr_eq(one, other))
    }
}
