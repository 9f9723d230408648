//! Dockerfiles that are written in the compose file. They have no files beside them, so what needs some is
//! refused, and so is what makes the engine fetch something by itself: the node pulls the images they begin
//! with.
//!
//! A closed list of instructions, read as the engine's own builder reads them: lines that end with a
//! backslash go on, comment lines among them are left out.

use std::collections::BTreeMap;

use super::Refused;

/// Instructions that use nothing but the image so far.
const KNOWN: [&str; 15] = [
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The images that a Dockerfile begins with or copies from. `args` are the build arguments of the file.
pub(super) fn images(text: &str, args: &BTreeMap<String, String>) -> Result<Vec<String>, Refused> {
    let mut images = Vec::new();
    let mut stages: Vec<String> = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for line in instructions(text)? {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        match word.as_str() {
            "ARG" if stages.is_empty() => {
                let (name, default) = rest.split_once('=').unwrap_or((rest, ""));
                let default = default.trim_matches(['"', '\'']).to_owned();
                known.insert(name.to_owned(), args.get(name).cloned().unwrap_or(default));
            }
            "FROM" => {
                let words: Vec<&str> =
                    rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
                let (image, name) = match words[..] {
                    [image] => (image, String::new()),
                    [image, by, name] if by.eq_ignore_ascii_case("as") => {
                        (image, name.to_lowercase())
                    }
                    _ => {
                        return Err(refused(
                            &format!("FROM {rest}"),
                            "write FROM image, or FROM image AS name",
                        ));
                    }
                };
                let image = filled(image, &known)?;
                if image != "scratch" && !stages.contains(&image.to_lowercase()) {
                    images.push(image);
                }
                stages.push(name);
            }
            "COPY" => {
                let from = rest.split_whitespace().find_map(|word| word.strip_prefix("--from="));
                let Some(from) = from else {
                    return Err(refused(
                        "COPY",
                        "there are no files to copy from: write them in RUN",
                    ));
                };
                let of_stage =
                    from.parse::<usize>().is_ok() || stages.contains(&from.to_lowercase());
                if from.contains('$') {
                    return Err(refused(&format!("COPY --from={from}"), "name the image itself"));
                }
                if !of_stage {
                    images.push(from.to_owned());
                }
            }
            "RUN" if rest.starts_with("--") || rest.contains("<<") => {
                return Err(refused("RUN with options or a here-document", "write plain commands"));
            }
            "ADD" => return Err(refused("ADD", "download it with RUN, in the network of the CVM")),
            known if KNOWN.contains(&known) => {}
            other => return Err(refused(other, "leave it out")),
        }
    }
    if images.is_empty() && !stages.is_empty() {
        return Ok(images);
    }
    if images.is_empty() { Err(refused("no FROM", "begin it with FROM image")) } else { Ok(images) }
}

fn refused(what: &str, way_out: &str) -> Refused {
    Refused::new(format!("build.dockerfile_inline with {what}"), way_out)
}

/// `$NAME` and `${NAME}` of arguments before the first FROM.
fn filled(image: &str, known: &BTreeMap<String, String>) -> Result<String, Refused> {
    let mut text = image.to_owned();
    for (name, value) in known {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    if let Some(value) = text.strip_prefix('$').and_then(|name| known.get(name)) {
        text.clone_from(value);
    }
    if text.contains('$') || text.is_empty() {
        return Err(refused(&format!("FROM {image}"), "name the image, or an ARG with a default"));
    }
    Ok(text)
}

/// The instructions, each in one line.
fn instructions(text: &str) -> Result<Vec<String>, Refused> {
    let mut found = Vec::new();
    let mut whole = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') {
            let directive = trimmed.trim_start_matches('#').trim().to_ascii_lowercase();
            if directive.starts_with("escape") {
                return Err(refused("another escape character", "use the backslash"));
            }
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        if trimmed.ends_with("\\\\") {
            return Err(refused("a line that ends with two backslashes", "end it with one"));
        }
        if let Some(part) = trimmed.strip_suffix('\\') {
            whole.push_str(part);
            whole.push(' ');
        } else {
            whole.push_str(trimmed);
            found.push(std::mem::take(&mut whole));
        }
    }
    if !whole.is_empty() {
        found.push(whole);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<String>, String> {
        let args = BTreeMap::from([("TAG".to_owned(), "2".to_owned())]);
        images(text, &args).map_err(|refused| refused.what)
    }

    #[test]
    fn images_of_all_stages_are_found() {
        let text = "ARG TAG=1\nARG BASE=busybox\nFROM ${BASE}:${TAG} AS Build\nRUN a \\\n  # note\n  && b\n\
                    FROM scratch\nCOPY --from=build /a /b\ncopy --from=nginx:1 /c /d\nfrom build\nCMD [\"x\"]\n";
        assert_eq!(found(text).unwrap(), ["busybox:2", "nginx:1"]);
        assert_eq!(found("FROM a\nRUN apk \\\n add curl\n").unwrap(), ["a"]);
    }

    #[test]
    fn what_needs_files_or_fetches_by_itself_is_refused() {
        for (text, word) in [
            ("FROM a\nADD http://169.254.169.254/ /x", "ADD"),
            ("FROM a\nCOPY . /app", "COPY"),
            ("FROM a\nONBUILD RUN x", "ONBUILD"),
            ("FROM a\nRUN --mount=type=bind,from=b x", "RUN with options"),
            ("FROM a\nRUN cat <<EOF\nx\nEOF", "here-document"),
            ("# escape=`\nFROM a\nRUN x `\nADD y z", "escape"),
            ("FROM a\nRUN echo \\\\\nADD http://x /y", "two backslashes"),
            ("FROM $NOT", "FROM $NOT"),
            ("RUN x", "no FROM"),
            ("FROM a\nCOPY --from=$X a b", "COPY --from=$X"),
        ] {
            let what = found(text).unwrap_err();
            assert!(what.contains(word), "{text:?}: {what}");
        }
    }
}
