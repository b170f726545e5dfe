//! What is known of each row, in one byte: where it stands (3 bits), whether the server may have it through this job
//! (1 bit), how often it came back without an outcome (4 bits).

use super::Outcome;

/// Where a row stands. The last five are outcomes: a row that has one keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    InFlight,
    ToVerify,
    Imported,
    Duplicate,
    Failed,
    Skipped,
    Unknown,
}

/// How many rows stand where. At any moment they add up to [`Counts::total`], which is what was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// To be sent, also again.
    pub open: u32,
    /// Sent or looked up; an answer is due.
    pub in_flight: u32,
    /// Their answer was lost: to be looked up.
    pub to_verify: u32,
    /// The server has them through this job.
    pub imported: u32,
    /// The server, or an earlier row, had the same.
    pub duplicate: u32,
    /// Refused for their content, or not accepted after many attempts.
    pub failed: u32,
    /// Never sent.
    pub skipped: u32,
    /// Sent, and nobody can tell what became of them.
    pub unknown: u32,
}

impl Counts {
    /// Rows that have no outcome yet.
    pub const fn undecided(&self) -> u32 {
        self.open.wrapping_add(self.in_flight).wrapping_add(self.to_verify)
    }

    /// All rows.
    pub const fn total(&self) -> u32 {
        self.undecided()
            .wrapping_add(self.imported)
            .wrapping_add(self.duplicate)
            .wrapping_add(self.failed)
            .wrapping_add(self.skipped)
            .wrapping_add(self.unknown)
    }

    const fn of(&mut self, state: State) -> &mut u32 {
        match state {
            State::Open => &mut self.open,
            State::InFlight => &mut self.in_flight,
            State::ToVerify => &mut self.to_verify,
            State::Imported => &mut self.imported,
            State::Duplicate => &mut self.duplicate,
            State::Failed => &mut self.failed,
            State::Skipped => &mut self.skipped,
            State::Unknown => &mut self.unknown,
        }
    }
}

/// All rows of a job.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    counts: Counts,
    /// By segment: whether what the journal keeps of it has changed.
    changed: Vec<bool>,
}

impl Rows {
    /// Appends open rows; as many as there are numbers for.
    pub(super) fn add(&mut self, count: u32) {
        let count = count.min(u32::MAX.wrapping_sub(self.len()));
        let len = self.len().wrapping_add(count) as usize;
        self.bytes.resize(len, State::Open as u8);
        self.changed.resize(len.div_ceil(SEGMENT_ROWS as usize), false);
        self.counts.open = self.counts.open.wrapping_add(count);
    }

    pub(super) const fn len(&self) -> u32 {
        self.counts.total()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// `None`: there is no such row.
    pub(super) fn state(&self, row: u32) -> Option<State> {
        self.bytes.get(row as usize).map(|byte| state_of(*byte))
    }

    pub(super) fn is(&self, row: u32, state: State) -> bool {
        self.state(row) == Some(state)
    }

    pub(super) fn enter(&mut self, row: u32, state: State) {
        self.write(row, self.byte(row) & !STATE | state as u8);
    }

    /// Whether the server may have the row through this job.
    pub(super) fn was_sent(&self, row: u32) -> bool {
        self.byte(row) & SENT != 0
    }

    pub(super) fn set_sent(&mut self, row: u32, sent: bool) {
        self.write(row, self.byte(row) & !SENT | if sent { SENT } else { 0 });
    }

    /// How often it came back without an outcome; at most 15.
    pub(super) fn setbacks(&self, row: u32) -> u8 {
        self.byte(row) >> SETBACKS_AT
    }

    /// It came back once more.
    pub(super) fn set_back(&mut self, row: u32) {
        let byte = self.byte(row);
        self.write(row, byte.saturating_add(1 << SETBACKS_AT) & SETBACKS | byte & !SETBACKS);
    }

    /// The first row from here on that stands there.
    pub(super) fn find(&self, from: u32, state: State) -> Option<u32> {
        (from..self.len())
            .zip(self.bytes.get(from as usize..)?)
            .find(|(_, byte)| state_of(**byte) == state)
            .map(|(row, _)| row)
    }

    /// A segment whose bits have changed since it was given here last.
    pub(super) fn next_changed(&mut self) -> Option<u32> {
        let (index, changed) = (0..).zip(&mut self.changed).find(|(_, changed)| **changed)?;
        *changed = false;
        Some(index)
    }

    /// Two bits a row, as the journal keeps them: 0 open, 1 an answer is due, 2 done well, 3 done otherwise.
    pub(super) fn bits(&self, segment: u32) -> [u8; SEGMENT_BYTES] {
        let mut bits = [0; SEGMENT_BYTES];
        let first = segment.saturating_mul(SEGMENT_ROWS) as usize;
        let rows = self.bytes.get(first..).unwrap_or_default();
        for (four, rows) in bits.iter_mut().zip(rows.chunks(4)) {
            *four = rows.iter().rev().fold(0, |bits, byte| bits << 2 | bits_of(*byte));
        }
        bits
    }

    fn byte(&self, row: u32) -> u8 {
        self.bytes.get(row as usize).copied().unwrap_or_default()
    }

    /// The only place where a row changes: the counts and the segment follow.
    fn write(&mut self, row: u32, after: u8) {
        let Some(byte) = self.bytes.get_mut(row as usize) else { return };
        let before = *byte;
        *byte = after;
        let left = self.counts.of(state_of(before));
        *left = left.wrapping_sub(1);
        let entered = self.counts.of(state_of(after));
        *entered = entered.wrapping_add(1);
        if bits_of(before) != bits_of(after)
            && let Some(changed) = self.changed.get_mut((row / SEGMENT_ROWS) as usize)
        {
            *changed = true;
        }
    }
}

const fn state_of(byte: u8) -> State {
    match byte & STATE {
        0 => State::Open,
        1 => State::InFlight,
        2 => State::ToVerify,
        3 => State::Imported,
        4 => State::Duplicate,
        5 => State::Failed,
        6 => State::Skipped,
        _ => State::Unknown,
    }
}

/// An open row that the server may have is one whose answer is due: a crash must not turn it into one never sent.
const fn bits_of(byte: u8) -> u8 {
    match state_of(byte) {
        State::Open => (byte & SENT != 0) as u8,
        State::InFlight | State::ToVerify => 1,
        State::Imported | State::Duplicate => 2,
        State::Failed | State::Skipped | State::Unknown => 3,
    }
}

impl Outcome {
    /// `Ignored` is `imported` where this job sent the row before, as the server has it from us, and else `duplicate`.
    pub(super) const fn state(self, was_sent: bool) -> State {
        match self {
            Self::Imported => State::Imported,
            Self::Ignored if was_sent => State::Imported,
            Self::Duplicate | Self::Ignored => State::Duplicate,
            Self::Failed => State::Failed,
            Self::Skipped => State::Skipped,
            Self::Unknown => State::Unknown,
        }
    }
}

const STATE: u8 = 0b0000_0111;
const SENT: u8 = 0b0000_1000;
const SETBACKS: u8 = 0b1111_0000;
const SETBACKS_AT: u32 = 4;

/// Rows in one segment of the journal (`js/import/journal.ts`).
pub const SEGMENT_ROWS: u32 = 4096;

/// Bytes of one segment of the journal: two bits a row.
pub const SEGMENT_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_three_things_apart_in_its_byte() {
        let mut rows = Rows::default();
        rows.add(3);
        rows.set_sent(1, true);
        for _ in 0..20 {
            rows.set_back(1);
        }
        rows.enter(1, State::Unknown);
        assert!(rows.was_sent(1) && rows.is(1, State::Unknown));
        assert_eq!(rows.setbacks(1), 15);
        rows.set_sent(1, false);
        assert!(!rows.was_sent(1) && rows.is(1, State::Unknown) && rows.setbacks(1) == 15);
        assert!(rows.is(0, State::Open) && rows.setbacks(2) == 0);
        assert_eq!(rows.counts(), Counts { open: 2, unknown: 1, ..Counts::default() });
    }

    #[test]
    fn the_journal_sees_two_bits_a_row_and_only_changed_segments() {
        let mut rows = Rows::default();
        rows.add(SEGMENT_ROWS + 6);
        assert_eq!(rows.next_changed(), None);
        for (row, state) in [
            (0, State::InFlight),
            (1, State::ToVerify),
            (2, State::Imported),
            (3, State::Duplicate),
            (4, State::Failed),
        ] {
            rows.enter(row, state);
        }
        rows.set_sent(SEGMENT_ROWS + 5, true);
        assert_eq!((rows.next_changed(), rows.next_changed(), rows.next_changed()), (Some(0), Some(1), None));
        assert_eq!(rows.bits(0)[..3], [0b10_10_01_01, 0b00_00_00_11, 0]);
        assert_eq!(rows.bits(1)[..3], [0, 0b00_00_01_00, 0]);
        assert_eq!(rows.bits(9), [0; SEGMENT_BYTES]);
        // In flight to be verified is nothing new for the journal.
        rows.enter(0, State::ToVerify);
        assert_eq!(rows.next_changed(), None);
    }

    #[test]
    fn rows_that_are_not_there_change_nothing() {
        let mut rows = Rows::default();
        rows.add(2);
        rows.enter(2, State::Failed);
        rows.set_back(u32::MAX);
        assert_eq!(rows.counts(), Counts { open: 2, ..Counts::default() });
        assert_eq!((rows.state(2), rows.find(5, State::Open)), (None, None));
    }
}
