//! Formats of the compose language: durations, sizes, restart policies.

/// Whether compose reads the text as a duration: `1m30s`, `1.5h`, `500ms`.
pub fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let Some(at) = rest.find(|c: char| !c.is_ascii_digit() && c != '.') else { return false };
        let (number, tail) = rest.split_at(at);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit =
            matches!(&tail[..end], "d" | "w" | "h" | "m" | "s" | "ms" | "us" | "µs" | "μs" | "ns");
        if !unit || number.parse::<f64>().is_err() {
            return false;
        }
        rest = &tail[end..];
    }
    true
}

/// Whether compose reads the text as a size: `64m`, `1.5 GB`, `1048576`.
pub fn is_size(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    if lower == "-1" {
        return true;
    }
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let bare = bare.strip_suffix('i').unwrap_or(bare);
    let bare = bare.strip_suffix(['k', 'm', 'g', 't', 'p']).unwrap_or(bare);
    let digits = bare.strip_suffix(' ').unwrap_or(bare);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok()
}

pub fn is_restart(text: &str) -> bool {
    match text.split_once(':') {
        Some(("on-failure", times)) => times.parse::<u32>().is_ok(),
        Some(_) => false,
        None => matches!(text, "" | "no" | "false" | "always" | "unless-stopped" | "on-failure"),
    }
}

/// The boolean that compose reads in a text.
pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub fn is_switch(text: &str) -> bool {
    switch(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_language() {
        for good in ["5s", "1m30s", "1.5h", "500ms", "0", "0s", "10us"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["5", "", "s", "5x", "1m30", "."] {
            assert!(!is_duration(bad), "{bad}");
        }
        for good in ["64m", "64M", "1.5g", "1 GB", "1048576", "64MiB", "-1", "100b"] {
            assert!(is_size(good), "{good}");
        }
        for bad in ["lots", "", "m", "-5m", "64x"] {
            assert!(!is_size(bad), "{bad}");
        }
        assert!(
            is_restart("on-failure:3") && !is_restart("on-failure:x") && !is_restart("sometimes")
        );
    }
}
