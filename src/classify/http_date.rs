//! HTTP dates (RFC 9110, 5.6.7). Why not a crate: `docs/decisions/0003-header-parsers.md`.

#![expect(clippy::arithmetic_side_effects, reason = "all fields have four digits at most")]

use crate::time::WallTime;

/// The date that `text` writes, to the letter, in one of the three forms: `Sun, 06 Nov 1994 08:49:37 GMT`,
/// `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`. A weekday that does not fit makes it none. Second
/// 60 is a leap second. A year of two digits is the latest one that is no more than 50 years after `now`. A date
/// before 1970 is 1970.
pub(super) fn parse(text: &[u8], now: WallTime) -> Option<WallTime> {
    let (weekday, name) = (0..).zip(WEEKDAYS).find(|(_, name)| text.get(..3) == name.as_bytes().get(..3))?;
    let mut date;
    if let Some(rest) = text.strip_prefix(name.as_bytes()) {
        date = Date::read(rest, RFC_850)?;
        date.year = full_year(date.year, now);
    } else {
        date = Date::read(text, IMF_FIXDATE).or_else(|| Date::read(text, ASCTIME))?;
    }
    let seconds = date.seconds(weekday)?;
    Some(WallTime::from_seconds(u64::try_from(seconds).unwrap_or(0)))
}

/// What a date is written with.
#[derive(Default)]
struct Date {
    year: i64,
    /// Its three letters, packed.
    month: u32,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Date {
    /// The fields of `text`, which has exactly the `form`: small letters stand for what varies, the rest for itself.
    fn read(text: &[u8], form: &[u8]) -> Option<Self> {
        let mut date = Self::default();
        if text.len() != form.len() {
            return None;
        }
        for (byte, sign) in text.iter().zip(form) {
            let field = match sign {
                b'y' => &mut date.year,
                b'd' | b'p' => &mut date.day,
                b'h' => &mut date.hour,
                b'm' => &mut date.minute,
                b's' => &mut date.second,
                b'n' => {
                    date.month = pack(date.month, *byte);
                    continue;
                }
                b'w' => continue,
                literal if byte == literal => continue,
                _ => return None,
            };
            match byte {
                b'0'..=b'9' => *field = *field * 10 + i64::from(byte - b'0'),
                b' ' if *sign == b'p' => {}
                _ => return None,
            }
        }
        Some(date)
    }

    /// Seconds since 1970; `None` when there is no such day, or its weekday is another one, counted from Monday.
    fn seconds(&self, weekday: i64) -> Option<i64> {
        let name = |letters: &[u8]| letters.iter().fold(0, |name, letter| pack(name, *letter));
        let (month, _) = (1..).zip(MONTHS.chunks(3)).find(|(_, letters)| name(letters) == self.month)?;
        let day = days(self.year, month, self.day);
        let next_month = days(self.year, month + 1, 1);
        let exists = (1..32).contains(&self.day) && day < next_month && (day + 3).rem_euclid(7) == weekday;
        let on_the_clock = self.hour < 24 && self.minute < 60 && self.second <= 60;
        (exists && on_the_clock).then(|| ((day * 24 + self.hour) * 60 + self.minute) * 60 + self.second)
    }
}

/// `name` with another letter.
fn pack(name: u32, letter: u8) -> u32 {
    name.wrapping_mul(256) + u32::from(letter)
}

/// Days from 1970-01-01, a Thursday, to a date of the Gregorian calendar, whose month 13 is the next January. Years
/// begin in March here, so that a leap day is the last of its year, and the months before one have 30.6 days each,
/// rounded.
#[inline(never)]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let months = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (months * 306 + 5) / 10 + day - 719_469
}

/// The latest year that ends with the two digits of `year` and is no more than 50 years after `now`.
fn full_year(year: i64, now: WallTime) -> i64 {
    let latest = 1970 + 50 + i64::try_from(now.as_ms() / YEAR_MS).unwrap_or(0);
    latest - (latest - year) % 100
}

/// In all forms `w` is a weekday, checked apart, `n` the name of a month, and `p` a digit or a space to pad with.
const IMF_FIXDATE: &[u8] = b"www, dd nnn yyyy hh:mm:ss GMT";

/// What follows the full name of the weekday.
const RFC_850: &[u8] = b", dd-nnn-yy hh:mm:ss GMT";

const ASCTIME: &[u8] = b"www nnn pd hh:mm:ss yyyy";

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// The mean year of the calendar. A year that is counted with it begins within two days of the true one.
const YEAR_MS: u64 = 31_556_952_000;
