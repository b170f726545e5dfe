//! The `RateLimit` and `RateLimit-Policy` fields of the IETF draft "RateLimit header fields for HTTP", in both forms that
//! are deployed.
//!
//! A small strict parser of structured fields (RFC 9651) of our own, which knows no inner lists and keeps nothing
//! that the field does not use; why not a crate: `docs/decisions/0003-header-parsers.md`.

use crate::outcome::decimal;
use crate::time::Span;

/// The delay in `"burst";r=0;t=5, "daily";r=900;t=3600` (a list; drafts 8 and later) or in
/// `limit=100, remaining=0, reset=30` (a dictionary; draft 7), without white space around.
///
/// The longest of the quotas that are used up. When none is, the server counted something else, as a request that
/// costs more than what is left: then the shortest, after which there is more of something. A field that is
/// malformed is ignored whole, as RFC 9651 demands.
pub(super) fn delay(field: &[u8]) -> Option<Span> {
    let mut delays = Delays::default();
    list(field, &mut |quota| delays.add(quota)).or_else(|| {
        delays = Delays::default();
        dictionary(field).map(|quota| delays.add(&quota))
    })?;
    delays.used_up.or(delays.left).map(|seconds| Span::from_ms(seconds.wrapping_mul(1000)))
}

/// The members of a list: `"name";r=0;t=5, …`, or `100;w=60, …`. Each is a quota. `None`: it is none, and what was told
/// of it before does not count.
pub(super) fn list<'a>(field: &'a [u8], tell: &mut dyn FnMut(&Quota<'a>)) -> Option<()> {
    let mut rest = Cursor(field);
    loop {
        let (name, limit) = rest.item()?;
        let mut quota = Quota { name, limit, ..Quota::default() };
        rest.parameters(&mut quota)?;
        tell(&quota);
        if !rest.next_member()? {
            return Some(());
        }
    }
}

/// The members of a dictionary: `limit=100, remaining=0, reset=30`. All together are one quota.
pub(super) fn dictionary(field: &[u8]) -> Option<Quota<'_>> {
    let mut rest = Cursor(field);
    let mut quota = Quota::default();
    loop {
        rest.pair(&mut quota)?;
        let mut about = Quota::default();
        rest.parameters(&mut about)?;
        quota.window = quota.window.or(about.window);
        if !rest.next_member()? {
            return Some(quota);
        }
    }
}

/// What one quota says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quota<'a> {
    /// As it is written, without quotes.
    pub(super) name: &'a [u8],
    /// So many in a window, in the quota's unit.
    pub(super) limit: Option<u64>,
    /// Seconds.
    pub(super) window: Option<u64>,
    /// What is left, in the quota's unit.
    pub(super) remaining: Option<u64>,
    /// Seconds until there is more.
    pub(super) reset: Option<u64>,
    /// It does not count requests.
    pub(super) is_other: bool,
}

/// Seconds until there is more of something.
#[derive(Default)]
struct Delays {
    /// The longest of the quotas that are used up.
    used_up: Option<u64>,
    /// The shortest of the others.
    left: Option<u64>,
}

impl Delays {
    fn add(&mut self, quota: &Quota<'_>) {
        match (quota.remaining, quota.reset) {
            (Some(0), reset) => self.used_up = self.used_up.max(reset),
            (Some(_), Some(reset)) => self.left = Some(self.left.unwrap_or(reset).min(reset)),
            _ => {}
        }
    }
}

/// What is left to read of a field. Every method answers `None` where the field is malformed.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Steps over the comma to the next member; `false` at the end of the field. A comma at the end is malformed.
    fn next_member(&mut self) -> Option<bool> {
        self.0 = self.0.trim_ascii_start();
        if self.0.is_empty() {
            return Some(false);
        }
        self.expect(b',')?;
        self.0 = self.0.trim_ascii_start();
        (!self.0.is_empty()).then_some(true)
    }

    /// Any number of `;key` or `;key=item`.
    fn parameters(&mut self, quota: &mut Quota<'_>) -> Option<()> {
        while self.eat(b';') {
            self.0 = self.0.trim_ascii_start();
            self.pair(quota)?;
        }
        Some(())
    }

    /// `key` or `key=item`, into what the quota says about itself. The last of several with the same key counts,
    /// and a value of a wrong type is none.
    fn pair(&mut self, quota: &mut Quota<'_>) -> Option<()> {
        let key = self.skip(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        if !key.first()?.is_ascii_lowercase() {
            return None;
        }
        let (text, value) = if self.eat(b'=') { self.item()? } else { Default::default() };
        match key {
            b"r" | b"remaining" => quota.remaining = value,
            b"t" | b"reset" => quota.reset = value,
            b"q" | b"limit" => quota.limit = value,
            b"w" => quota.window = value,
            b"qu" => quota.is_other = text != b"requests",
            _ => {}
        }
        Some(())
    }

    /// A bare item: a string in quotes, bytes between colons, or whatever has no separator in it. What it says, and its
    /// value when it is an integer of up to 15 digits without a sign.
    fn item(&mut self) -> Option<(&'a [u8], Option<u64>)> {
        if self.eat(b'"') {
            return self.string().map(|text| (text, None));
        }
        if self.eat(b':') {
            let text = self.skip(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
            return self.expect(b':').map(|()| (text, None));
        }
        let item = self.skip(|byte| byte.is_ascii_graphic() && !b"\"(),;=\\".contains(&byte));
        item.first()?;
        Some((item, decimal(item).filter(|_| item.len() <= 15)))
    }

    /// The rest of a string in quotes: printable ASCII, with `\"` and `\\`, which stay as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.0;
        loop {
            let before = self.0;
            let (byte, rest) = before.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return text.get(..text.len().checked_sub(before.len())?),
                b'\\' => (self.eat(b'"') || self.eat(b'\\')).then_some(())?,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    #[inline(never)]
    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Steps over the bytes that pass, and returns them.
    #[inline(never)]
    fn skip(&mut self, passes: fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().take_while(|byte| passes(**byte)).count();
        let (skipped, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_what_is_wrong_with_them() {
        for (field, seconds) in [
            (r#""default";r=0;t=30"#, Some(30)),
            (r#"default;r=0;t=30"#, Some(30)),
            (r#"  "default"; r=0; t=30  "#, Some(30)),
            (r#""burst";r=0;t=5, "daily";r=900;t=3600"#, Some(5)),
            (r#""burst";r=0;t=5,"daily";r=0;t=3600"#, Some(3600)),
            (r#""burst";r=3;t=5 , "daily";r=900;t=3600"#, Some(5)),
            (r#""a";r=0;t=30;pk=:cHsdsRa894==:;qu="requests";ok=?1;x"#, Some(30)),
            (r#""say \"hi\" \\";r=0;t=1"#, Some(1)),
            (r#""a";t=9;r=0;t=30"#, Some(30)),
            (r#""a";r=0;t=0"#, Some(0)),
            ("limit=100, remaining=0, reset=30", Some(30)),
            ("limit=100,remaining=5,reset=30", Some(30)),
            ("limit=100;w=60, remaining=0, reset=30, reset=7", Some(7)),
            // Nothing to read.
            (r#""default";r=0"#, None),
            (r#""default";t=30"#, None),
            (r#""default""#, None),
            ("limit=100", None),
            // Wrong types.
            (r#""default";r=0;t=-30"#, None),
            (r#""default";r=0;t=30.5"#, None),
            (r#""default";r=0;t="30""#, None),
            (r#""default";r=0;t"#, None),
            ("limit=100, remaining=0, reset=-1", None),
            // Malformed.
            ("", None),
            (" ", None),
            (r#""default;r=0;t=30"#, None),
            (r#""default";r=0;t=30,"#, None),
            (r#""default";r=0;t=30 x"#, None),
            (r#""default";r=0;t="#, None),
            (r#""default";R=0;T=30"#, None),
            (r#""default";r=0;t=1e3"#, None),
            (r#""default";r=0;t=0x10"#, None),
            (r#""default";r=0;t=1234567890123456"#, None),
            (r#""default";r=0;t=1."#, None),
            (r#""default";r=0;t=1;t=x"#, None),
            (r#""a\b";r=0;t=1"#, None),
            (r#"("a");r=0;t=1"#, None),
            (r#""ä";r=0;t=1"#, None),
            (r#""a";r=0;t=1;pk=:a"#, None),
            (r#""a";r=0;t=1;x==2"#, None),
            (r#""a";r=0;t=1;x=(1)"#, None),
            ("limit=100, remaining=0, reset=30,", None),
            ("limit=100 remaining=0 reset=30", None),
            ("30", None),
        ] {
            let expected = seconds.map(|seconds: u64| Span::from_ms(seconds * 1000));
            assert_eq!(delay(field.trim_ascii().as_bytes()), expected, "{field}");
        }
    }
}
