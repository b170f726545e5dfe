//! Looking for words in foreign text: ASCII, in any case, without tables of Unicode.

/// Each occurrence of `needle` in `text`, in any case: what stands before it, itself, and what stands after it.
pub(super) fn around<'a>(text: &'a [u8], needle: &str) -> impl Iterator<Item = [&'a [u8]; 3]> {
    (0..text.len()).filter_map(move |at| {
        let (before, rest) = text.split_at_checked(at)?;
        let (found, after) = rest.split_at_checked(needle.len())?;
        found.eq_ignore_ascii_case(needle.as_bytes()).then_some([before, found, after])
    })
}

/// The words of a list in one text, with a comma after each but the last. A list of texts takes eight bytes more for each.
pub(super) fn listed(list: &str) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',')
}

/// `text` without `suffix`, when it ends with that word, in any case, and a word begins there.
pub(super) fn strip_last_word<'a>(text: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let (before, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    let whole = end.eq_ignore_ascii_case(suffix) && !before.last().is_some_and(is_part_of_word);
    whole.then_some(before)
}

/// Letters, digits, the underscore, and whatever is not ASCII.
#[inline(never)]
pub(super) fn is_part_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii()
}
