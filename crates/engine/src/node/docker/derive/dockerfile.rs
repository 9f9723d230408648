//! Dockerfiles that are written in the compose file. They have no files beside them, so what needs some is
//! refused, and so is what makes the engine fetch something by itself: the node pulls the images they begin
//! with.
//!
//! The engine's builder never sees the text. It gets what was read from it: one instruction a line, images
//! by their names, without comments and directives. So it does not matter where the builder would end a
//! line, a word or an option in another place than this reader.

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

/// A Dockerfile that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// What the engine builds.
    pub text: String,
    /// The images that it begins with or copies from.
    pub images: Vec<BaseImage>,
}

/// An image that a Dockerfile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node::docker) struct BaseImage {
    pub name: String,
    pub platform: Option<String>,
}

/// Reads a Dockerfile. `args` are the build arguments of the compose file.
pub(super) fn read(text: &str, args: &BTreeMap<String, String>) -> Result<Dockerfile, Refused> {
    let mut reader =
        Reader { args, known: BTreeMap::new(), stages: Vec::new(), file: Dockerfile::default() };
    for line in instructions(text)? {
        let line = reader.instruction(&line)?;
        reader.file.text.push_str(&line);
        reader.file.text.push('\n');
    }
    if reader.stages.is_empty() {
        return Err(refused("no FROM", "begin it with FROM image"));
    }
    Ok(reader.file)
}

struct Reader<'a> {
    args: &'a BTreeMap<String, String>,
    /// Arguments before the first FROM.
    known: BTreeMap<String, String>,
    /// Names of the stages so far, empty where they have none.
    stages: Vec<String>,
    file: Dockerfile,
}

impl Reader<'_> {
    /// Reads an instruction; returns what the builder gets.
    fn instruction(&mut self, line: &str) -> Result<String, Refused> {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        match word.as_str() {
            "ARG" if self.stages.is_empty() => self.arg(rest)?,
            "FROM" => return self.from(rest),
            "COPY" => return self.copy(rest),
            "RUN" if rest.starts_with("--") || rest.contains("<<") => {
                return Err(refused("RUN with options or a here-document", "write plain commands"));
            }
            "LABEL" => check_label(rest)?,
            "ADD" => return Err(refused("ADD", "download it with RUN, in the network of the CVM")),
            known if KNOWN.contains(&known) => {}
            other => return Err(refused(other, "leave it out")),
        }
        Ok(format!("{word} {rest}"))
    }

    /// `ARG NAME[=default]`, which an image may be named by.
    fn arg(&mut self, rest: &str) -> Result<(), Refused> {
        let (name, default) = rest.split_once('=').unwrap_or((rest, ""));
        let default = unquoted(default);
        let value = self.args.get(name).map_or(default, String::as_str);
        if !is_word(name) || !(default.is_empty() || is_image(default)) {
            let way_out = "write one plain NAME=value in each ARG before the first FROM";
            return Err(refused(&format!("ARG {rest}"), way_out));
        }
        self.known.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn from(&mut self, rest: &str) -> Result<String, Refused> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (options, words) =
            words.split_at(words.iter().take_while(|word| word.starts_with("--")).count());
        let platform = match options {
            [] => None,
            [option] => {
                let platform = option.strip_prefix("--platform=").filter(|name| is_image(name));
                let way_out = "write FROM --platform=linux/amd64, or leave the option out";
                Some(platform.ok_or_else(|| refused(&format!("FROM {rest}"), way_out))?.to_owned())
            }
            _ => return Err(refused(&format!("FROM {rest}"), "write one --platform= at most")),
        };
        let (image, name) = match *words {
            [image] => (image, String::new()),
            [image, by, name] if by.eq_ignore_ascii_case("as") && is_word(name) => {
                (image, name.to_ascii_lowercase())
            }
            _ => {
                let way_out = "write FROM image, or FROM image AS name";
                return Err(refused(&format!("FROM {rest}"), way_out));
            }
        };
        let image = filled(image, &self.known)?;
        if image != "scratch" && !self.stages.contains(&image.to_ascii_lowercase()) {
            self.file.images.push(BaseImage { name: image.clone(), platform });
        }
        let by = if name.is_empty() { String::new() } else { format!(" AS {name}") };
        self.stages.push(name);
        Ok(format!("FROM {image}{by}"))
    }

    /// `COPY --from=stage-or-image …`: there is nothing else to copy from.
    fn copy(&mut self, rest: &str) -> Result<String, Refused> {
        let mut from = None;
        let mut rest = rest;
        let mut options = String::new();
        while rest.starts_with("--") {
            let (option, more) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            rest = more.trim_start();
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !matches!(name, "--from" | "--chown" | "--chmod") || !is_image(value) {
                let way_out = "write --from=, --chown= and --chmod= with plain values";
                return Err(refused(&format!("COPY {option}"), way_out));
            }
            if name == "--from" && from.replace(value).is_some() {
                return Err(refused("COPY with --from twice", "write one --from="));
            }
            options = format!("{options}{option} ");
        }
        let Some(from) = from else {
            return Err(refused("COPY", "there are no files to copy from: write them in RUN"));
        };
        let of_stage = from.parse().is_ok_and(|at: usize| at < self.stages.len())
            || self.stages.contains(&from.to_ascii_lowercase());
        if !of_stage {
            self.file.images.push(BaseImage { name: from.to_owned(), platform: None });
        }
        Ok(format!("COPY {options}{rest}"))
    }
}

/// Checks `LABEL key=value …` and `LABEL key text`. The builder expands variables and removes quotes in
/// keys as well, so a key is plain text here, and a value ends where every reader ends it.
fn check_label(rest: &str) -> Result<(), Refused> {
    let mut rest = rest;
    let first = rest.split([' ', '\t']).next().unwrap_or_default();
    if !first.contains('=') {
        return check_key(first);
    }
    while !rest.is_empty() {
        let unclear = || {
            let way_out =
                "write key=value or key=\"value\", without quotes and backslashes in the value";
            refused(&format!("LABEL {rest}"), way_out)
        };
        let (key, value) = rest.split_once('=').ok_or_else(unclear)?;
        check_key(key)?;
        let end = value_end(value).ok_or_else(unclear)?;
        rest = value[end..].trim_start();
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Refused> {
    if !is_word(key) {
        let way_out = "name labels with letters, digits, dots, dashes and underscores";
        return Err(refused(&format!("LABEL {key}"), way_out));
    }
    if key.starts_with("casemate.") || key.starts_with("com.docker.") {
        return Err(refused("LABEL of the node's own labels", "give it another name"));
    }
    Ok(())
}

/// Where the first value ends: at a blank, or at the quote that it began with and a blank.
fn value_end(value: &str) -> Option<usize> {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let end = match quote {
        Some(quote) => 2 + value[1..].find(quote)?,
        None => value.find([' ', '\t']).unwrap_or(value.len()),
    };
    let inner = if quote.is_some() { &value[1..end - 1] } else { &value[..end] };
    let ends = value[end..].is_empty() || value[end..].starts_with([' ', '\t']);
    (ends && !inner.contains(['"', '\'', '\\'])).then_some(end)
}

fn refused(what: &str, way_out: &str) -> Refused {
    Refused::new(format!("build.dockerfile_inline with {what}"), way_out)
}

/// A name of an argument or a stage.
fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Characters of an image's name: nothing that a builder expands, unquotes or splits.
fn is_image(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@[]+".contains(&byte))
}

fn unquoted(text: &str) -> &str {
    let of = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    of('"').or_else(|| of('\'')).unwrap_or(text)
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
    if !is_image(&text) {
        return Err(refused(&format!("FROM {image}"), "name the image, or an ARG with a default"));
    }
    Ok(text)
}

/// The instructions, each in one line.
fn instructions(text: &str) -> Result<Vec<String>, Refused> {
    let text = text.replace("\r\n", "\n");
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || (c.is_whitespace() && !c.is_ascii())
    };
    if let Some(odd) = text.chars().find(|c| odd(*c)) {
        let what = format!("the character U+{:04X}", u32::from(odd));
        return Err(refused(&what, "write blanks and tabs only"));
    }
    let mut found = Vec::new();
    let mut whole = String::new();
    for line in text.split('\n') {
        let trimmed = line.trim_start();
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
        let line = if whole.is_empty() { trimmed.trim_end() } else { line.trim_end() };
        if line.ends_with("\\\\") {
            return Err(refused("a line that ends with two backslashes", "end it with one"));
        }
        if let Some(part) = line.strip_suffix('\\') {
            whole.push_str(part);
        } else {
            whole.push_str(line);
            found.push(std::mem::take(&mut whole));
        }
    }
    if !whole.is_empty() {
        return Err(refused("a last line that ends with a backslash", "leave it out"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dockerfile(text: &str) -> Result<Dockerfile, String> {
        let args = BTreeMap::from([("TAG".to_owned(), "2".to_owned())]);
        read(text, &args).map_err(|refused| refused.what)
    }

    fn found(text: &str) -> Result<Vec<String>, String> {
        dockerfile(text).map(|file| file.images.into_iter().map(|image| image.name).collect())
    }

    #[test]
    fn images_of_all_stages_are_found() {
        let text = "ARG TAG=1\nARG BASE=busybox\nFROM ${BASE}:${TAG} AS Build\nRUN a \\\n  # note\n  && b\n\
                    FROM scratch\nCOPY --from=build /a /b\ncopy --from=nginx:1 /c /d\nfrom build\nCMD [\"x\"]\n";
        assert_eq!(found(text).unwrap(), ["busybox:2", "nginx:1"]);
        assert_eq!(found("FROM a\nRUN apk \\\n add curl\n").unwrap(), ["a"]);
    }

    #[test]
    fn plain_labels_pass() {
        for label in [
            "a=b",
            "org.example.title=\"a b = c\" v=1 w='x y'\tz=$V",
            "maintainer The one who knows casemate.vm",
            "a=\"\" b=",
        ] {
            let text = format!("FROM a\nLABEL {label}");
            assert_eq!(dockerfile(&text).unwrap().text, format!("{text}\n"));
        }
    }

    /// Two readers may differ in where a line, a word or an option ends; the builder gets no such place.
    #[test]
    fn the_builder_gets_what_was_read_and_not_the_text() {
        let text = "# syntax=evil/frontend\nARG TAG=1\nFrom --platform=linux/amd64 busybox:${TAG} as One\n\
                    \tRUN echo a\\\n  b \\ \t\n# note\n\n  && c\ncopy --chown=1:1 --from=0 /a /b\r\n\
                    COPY --from=one [\"/c d\", \"/e\"]\nCMD [\"x\"]";
        let file = dockerfile(text).unwrap();
        assert_eq!(
            file.text,
            "ARG TAG=1\nFROM busybox:2 AS one\nRUN echo a  b   && c\nCOPY --chown=1:1 --from=0 /a /b\n\
             COPY --from=one [\"/c d\", \"/e\"]\nCMD [\"x\"]\n"
        );
        let platform = Some("linux/amd64".to_owned());
        assert_eq!(file.images, [BaseImage { name: "busybox:2".to_owned(), platform }]);
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
            ("FROM a\nRUN echo \\\u{a0}\nADD http://h/ /x", "U+00A0"),
            ("FROM a\nRUN echo \\\u{c}\nADD http://h/ /x", "U+000C"),
            ("FROM a\nRUN x\rADD http://h/ /x", "U+000D"),
            ("FROM a\nRUN x \\", "ends with a backslash"),
            ("FROM a\nCOPY --chown=a\\ --from=0 --from=localhost/x /a /b", "COPY --chown=a\\"),
            ("FROM a\nCOPY --from=0 --from=localhost/x /a /b", "--from twice"),
            ("FROM a\nCOPY --from='localhost/x' /a /b", "COPY --from='localhost/x'"),
            ("FROM a\nCOPY --parents --from=0 /a /b", "COPY --parents"),
            ("ARG A=${B}localhost/x\nARG B=me/\nFROM ${A}", "ARG A=${B}localhost/x"),
            ("ARG A=a B=localhost/x\nFROM $A", "ARG A=a B=localhost/x"),
            ("ARG A='a' \nARG B=\"$A\"\nFROM $B", "ARG B=\"$A\""),
            ("FROM --platform=$P a", "FROM --platform=$P a"),
            ("FROM --x=y a", "FROM --x=y a"),
            ("FROM a AS b/c", "FROM a AS b/c"),
            ("FROM a\nLABEL casemate.vm=other", "LABEL of the node's own"),
            ("FROM a\nLABEL casemate.vm other", "LABEL of the node's own"),
            ("FROM a\nLABEL com.docker.x=y", "LABEL of the node's own"),
            ("FROM a\nLABEL a=b com.docker.compose.project=y", "LABEL of the node's own"),
            ("FROM a\nLABEL a=\"b c\"\tcasemate.vm=y", "LABEL of the node's own"),
            ("FROM a\nARG P=casemate\nLABEL ${P}.vm=other", "LABEL ${P}.vm"),
            ("FROM a\nLABEL $P.vm other", "LABEL $P.vm"),
            ("FROM a\nLABEL a=b $P=other", "LABEL $P"),
            ("FROM a\nLABEL \"casemate\".vm=other", "LABEL \"casemate\".vm"),
            ("FROM a\nLABEL 'casemate.vm'=other", "LABEL 'casemate.vm'"),
            ("FROM a\nLABEL casemate\\.vm=other", "LABEL casemate\\.vm"),
            ("FROM a\nLABEL a=b\\ casemate.vm=other", "LABEL a=b"),
            ("FROM a\nLABEL a=\"b\\\" casemate.vm=other\"", "LABEL a=\"b"),
            ("FROM a\nLABEL a=\"b\"' casemate.vm=other'", "LABEL a=\"b\"'"),
            ("FROM a\nLABEL a=b\" c\"", "LABEL a=b"),
            ("FROM a\nLABEL a=\"b", "LABEL a=\"b"),
            ("FROM a\nLABEL a=b c", "LABEL c"),
            ("FROM a\nLABEL", "LABEL"),
        ] {
            let what = found(text).unwrap_err();
            assert!(what.contains(word), "{text:?}: {what}");
        }
    }
}
