//! Looking for words in foreign text: ASCII, in any case, without tables of Unicode.

/// Whether `needle` stands in `text`, in any case.
pub(super) fn contains(text: &str, needle: &str) -> bool {
    around(text, needle).next().is_some()
}

/// Each occurrence of `needle` in `text`, in any case: what stands before it, itself, and what stands after it.
/// `needle` is not empty.
pub(super) fn around<'a>(text: &'a str, needle: &str) -> impl Iterator<Item = [&'a [u8]; 3]> {
    let text = text.as_bytes();
    let windows = text.windows(needle.len()).enumerate();
    let found = windows.filter(|(_, window)| window.eq_ignore_ascii_case(needle.as_bytes()));
    found.filter_map(move |(at, window)| {
        let (before, rest) = text.split_at_checked(at)?;
        Some([before, window, rest.get(window.len()..)?])
    })
}

/// Whether `text` begins with `prefix`, in any case.
pub(super) fn starts_with(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// `text` without `suffix`, when it ends with that word, in any case, and a word begins there.
pub(super) fn strip_last_word<'a>(text: &'a [u8], suffix: &str) -> Option<&'a [u8]> {
    let (before, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    let whole = end.eq_ignore_ascii_case(suffix.as_bytes()) && !before.last().is_some_and(is_part_of_word);
    whole.then_some(before)
}

/// Letters, digits, the underscore, and whatever is not ASCII.
pub(super) fn is_part_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii()
}
