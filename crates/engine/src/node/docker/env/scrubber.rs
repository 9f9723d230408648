//! Hides values of variables in texts. The values and the texts are the tenant's, so the time is linear
//! in the text, whatever the number of values, and the memory is bounded.

use std::{collections::BTreeSet, fmt, sync::Arc};

use aho_corasick::{
    Anchored,
    automaton::Automaton,
    nfa::{contiguous, noncontiguous},
};
use secrecy::{ExposeSecret, SecretString};

/// Shorter values are not hidden in messages: they would take half of every text with them.
const HIDE_FROM: usize = 4;
/// More forms of values than this are not searched for.
const MAX_FORMS: usize = 10_000;
/// The same for their bytes: each takes about 50 bytes of memory while the search is built.
const MAX_BYTES: usize = 1024 * 1024;
const HIDDEN: &str = "***";
/// Stands for a whole text that cannot be searched.
pub(super) const TOO_MUCH: &str = "*** (hidden: the values of all variables have more than 10000 lines or \
                                   1 MiB, so they cannot be searched for)";

/// Finds values. `Debug` shows none of them.
#[derive(Clone)]
pub(super) struct Scrubber(Search);

#[derive(Clone)]
enum Search {
    /// There is nothing to hide.
    Nothing,
    Forms(Arc<contiguous::NFA>),
    /// There is too much to hide: every text is hidden as a whole.
    TooMuch,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber")
    }
}

impl Scrubber {
    /// Searches for all of these values. Takes time: not for async threads.
    pub fn new(values: &[SecretString]) -> Self {
        Self(Self::search(values).unwrap_or(Search::TooMuch))
    }

    fn search(values: &[SecretString]) -> Option<Search> {
        let mut all = BTreeSet::new();
        let mut bytes = 0;
        for form in values.iter().flat_map(|value| forms(value.expose_secret())) {
            if form.len() < HIDE_FROM || all.contains(&form) {
                continue;
            }
            bytes += form.len();
            all.insert(form);
            if all.len() > MAX_FORMS || bytes > MAX_BYTES {
                return None;
            }
        }
        if all.is_empty() {
            return Some(Search::Nothing);
        }
        let built = noncontiguous::Builder::new().prefilter(false).build(&all).ok()?;
        let search = contiguous::Builder::new().build_from_noncontiguous(&built).ok()?;
        Some(Search::Forms(Arc::new(search)))
    }

    /// The text with every value hidden. Values that overlap are hidden together, so that no end of
    /// one is left.
    pub fn scrub(&self, text: &str) -> String {
        match &self.0 {
            Search::Nothing => text.to_owned(),
            Search::TooMuch => TOO_MUCH.to_owned(),
            Search::Forms(search) => {
                found(search, text).map_or_else(|| TOO_MUCH.to_owned(), |found| hide(text, &found))
            }
        }
    }
}

/// Where values stand in the text: ranges in order, none of which overlap.
fn found(search: &contiguous::NFA, text: &str) -> Option<Vec<(usize, usize)>> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut state = search.start_state(Anchored::No).ok()?;
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        state = search.next_state(Anchored::No, state, byte);
        if !search.is_match(state) {
            continue;
        }
        // The first pattern of a state is the longest one that ends here; it covers the others.
        let end = at + 1;
        let mut start = end - search.pattern_len(search.match_pattern(state, 0));
        while let Some(&(before, _)) = found.last().filter(|(_, before_end)| *before_end > start) {
            start = start.min(before);
            found.pop();
        }
        found.push((start, end));
    }
    Some(found)
}

fn hide(text: &str, found: &[(usize, usize)]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for &(start, end) in found {
        // Both ends are at characters: values are whole characters.
        shown.push_str(text.get(from..start).unwrap_or_default());
        shown.push_str(HIDDEN);
        from = end;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// The value, its lines, and both as they stand between quotes.
fn forms(value: &str) -> impl Iterator<Item = String> {
    let lines = value.lines().map(str::trim).filter(|_| value.contains('\n'));
    std::iter::once(value).chain(lines).flat_map(|text| [text.to_owned(), quoted(text)])
}

fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(values: &[&str]) -> Scrubber {
        let values: Vec<_> = values.iter().map(|&value| SecretString::from(value)).collect();
        Scrubber::new(&values)
    }

    /// Different lines of four letters.
    fn lines(from: usize, count: usize) -> String {
        let letter = |at: usize| char::from(b"abcdefghijklmnopqrstuvwxyz"[at % 26]);
        (from..from + count)
            .flat_map(|at| {
                [17_576, 676, 26, 1].map(|unit| letter(at / unit)).into_iter().chain(['\n'])
            })
            .collect()
    }

    #[test]
    fn the_search_has_a_bounded_size_whatever_the_values() {
        let (first, second) = (lines(0, 19_000), lines(19_000, 19_000));
        let too_much = scrubber(&[&first, &second]);
        let most = scrubber(&[&lines(0, 9_000)]);
        let one_long = scrubber(&[&"a".repeat(100_000), &"ab".repeat(50_000)]);
        let most_bytes = scrubber(&[&"é".repeat(MAX_BYTES / 2)]);
        for search in [&most, &one_long, &most_bytes] {
            let Search::Forms(search) = &search.0 else {
                panic!("there is something to search for")
            };
            let size = search.memory_usage();
            assert!(size <= 64 * MAX_BYTES, "{size}");
        }
        assert_eq!(too_much.scrub(&"abcd ".repeat(800)), TOO_MUCH);
        assert_eq!(most.scrub(&"abcd! ".repeat(600)), "***! ".repeat(600));
        assert_eq!(one_long.scrub(&"a".repeat(4096)), "a".repeat(4096));
        assert_eq!(most.scrub("zzzz"), "zzzz");
    }

    /// However many values end at each byte: one place is kept for all that overlap.
    #[test]
    fn values_that_overlap_are_merged_as_they_are_found() {
        let nested: Vec<String> = (HIDE_FROM..200).map(|length| "a".repeat(length)).collect();
        let nested: Vec<&str> = nested.iter().map(String::as_str).collect();
        let Search::Forms(search) = scrubber(&nested).0 else { panic!("nothing to search for") };
        let text = "a".repeat(50_000);
        assert_eq!(found(&search, &text), Some(vec![(0, text.len())]));
        let text = "aaaab".repeat(10_000);
        assert_eq!(found(&search, &text).map(|found| found.len()), Some(10_000));
    }

    #[test]
    fn more_than_can_be_searched_hides_every_text() {
        assert_eq!(scrubber(&[&"é".repeat(MAX_BYTES)]).scrub("our words"), TOO_MUCH);
        assert_eq!(scrubber(&[&lines(0, MAX_FORMS + 1)]).scrub("our words"), TOO_MUCH);
        assert!(!format!("{:?}", scrubber(&["s3cret"])).contains("s3cret"));
    }

    #[test]
    fn values_that_overlap_leave_nothing_of_one_another() {
        let scrubber = scrubber(&["xab1", "ab1-very-long", "long", "éé", "yes", ""]);
        assert_eq!(scrubber.scrub("xab1-very-long"), "***");
        assert_eq!(scrubber.scrub("xab1xab1 longlong éééyes"), "****** ****** ***yes");
        assert_eq!(scrubber.scrub("along"), "a***");
    }
}
