//! Whether an answer of `Status` is the one before, without reading it: at rest a host costs one pass over bytes
//! and not a line for each of its VMs.
//!
//! `uptime` and `exited_at` tell how long ago something was, so they are other ones in every answer; nothing is
//! read from them. dstack-vmm writes JSON without spaces and lists VMs in the order of their creation; an answer
//! of another form is only read more often.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::LazyLock,
};

use aho_corasick::{AhoCorasick, Input};

use crate::node::ListMark;

/// Values that pass by themselves, up to their first byte. `None` if it cannot be built: nothing is left out.
static PASSING: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(["\"uptime\":\"", "\"exited_at\":\""]).ok());

/// The mark of an answer.
pub(super) fn mark(answer: &[u8]) -> ListMark {
    let mut hasher = DefaultHasher::new();
    let mut at = 0;
    let next = |at: usize| PASSING.as_ref()?.find(Input::new(answer).range(at..));
    while let Some(found) = next(at) {
        let value = found.end();
        hasher.write(&answer[at..value]);
        let end = answer[value..].iter().position(|byte| *byte == b'"');
        at = end.map_or(answer.len(), |length| value + length);
    }
    hasher.write(&answer[at..]);
    ListMark(hasher.finish())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(answer: &Value) -> ListMark {
        mark(answer.to_string().as_bytes())
    }

    fn vms(uptime: &str, exited_at: &str, name: &str) -> Value {
        json!({"vms": [
            {"id": "1", "exited_at": exited_at, "name": name, "uptime": uptime, "boot_progress": "done"},
            {"id": "2", "name": "b", "exited_at": exited_at, "uptime": uptime, "boot_error": ""},
        ]})
    }

    #[test]
    fn time_that_passes_is_no_change_and_everything_else_is() {
        let before = of(&vms("1m 2s", "never", "a"));
        assert_eq!(before, of(&vms("1m 3s", "2s", "a")));
        assert_ne!(before, of(&vms("1m 2s", "never", "c")));
        let untold = |id: &str| of(&json!({"vms": [{"id": id, "exited_at": null}]}));
        assert_ne!(untold("1"), untold("2"));
    }

    #[test]
    fn no_change_hides_behind_a_text_of_a_guest() {
        for text in ["\"uptime\":\"", "uptime\":\"", "\\\"exited_at\":\"", "\","] {
            let of = |rest: &str| of(&vms("1s", "1s", &format!("{text}{rest}")));
            assert_ne!(of("x"), of("y"), "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_has_a_mark() {
        let answer = vms("1s", "1s", "a").to_string();
        for length in 0..answer.len() {
            mark(&answer.as_bytes()[..length]);
        }
    }
}
