//! Part of `cargo xtask edges`: a handler of the API returns the type that its description names, and its description
//! has an `Idempotency-Key` if the handler keeps its reply.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;

const HANDLERS: &str = "crates/server/src/http/v1";
const DESCRIPTION: &str = "docs/openapi.json";

/// Handlers that return a bare `Response`: file, name, reason.
const BARE: [(&str, &str, &str); 8] = [
    ("attestation.rs", "raw", "the bytes of a quote"),
    ("attestation.rs", "raw_head", "no body"),
    ("audit.rs", "export", "a stream of lines"),
    ("audit.rs", "export_all", "a stream of lines"),
    ("cvms.rs", "compose_file", "JSON or plain text, byte for byte"),
    ("device_login.rs", "token", "a key, or an error of RFC 8628"),
    ("logs.rs", "follow", "a stream of lines"),
    ("state.rs", "state", "JSON or a stream of events"),
];

/// A handler with what its description says of it.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    name: String,
    /// `None`: a macro fills it in.
    operation: Option<String>,
    status: String,
    /// The documented body of its success; `None` for none, or for several media types.
    body: Option<String>,
    returns: String,
}

/// What is wrong with the handlers of this checkout, one line each; and how many handlers there are.
pub fn violations() -> anyhow::Result<(Vec<String>, usize)> {
    let description = fs::read_to_string(DESCRIPTION).context(DESCRIPTION)?;
    let keyed = keyed(&serde_json::from_str(&description).context(DESCRIPTION)?);
    let (mut broken, mut count) = (Vec::new(), 0);
    for entry in fs::read_dir(Path::new(HANDLERS)).context(HANDLERS)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| file.clone())?;
        for handler in handlers(&text).with_context(|| file.clone())? {
            count += 1;
            let listed = BARE.iter().any(|(of, name, _)| *of == file && *name == handler.name);
            let wrong = match (&handler.operation, handler.returns.as_str()) {
                (_, "Response") if listed => None,
                (_, returns) if !expected(&handler).iter().any(|one| one == returns) || listed => {
                    Some(format!("returns {returns}, documented is {}", documented(&handler)))
                }
                (Some(operation), returns)
                    if returns.starts_with("Written<") != keyed.contains(operation) =>
                {
                    Some(format!("returns {returns}: see `keeps_no_reply` in http/openapi.rs"))
                }
                _ => None,
            };
            broken.extend(wrong.map(|why| format!("{HANDLERS}/{file}: {} {why}", handler.name)));
        }
    }
    if count == 0 {
        bail!("{HANDLERS} has no handlers: correct xtask/src/replies.rs");
    }
    Ok((broken, count))
}

fn documented(handler: &Handler) -> String {
    format!("{} {}", handler.status, handler.body.as_deref().unwrap_or("without one body"))
}

/// The types that a handler may return by its description.
fn expected(handler: &Handler) -> Vec<String> {
    match (handler.status.as_str(), handler.body.as_deref()) {
        ("200", Some("String")) => vec!["String".to_owned()],
        ("200", Some(body)) => {
            ["Json", "Rendered", "Written"].map(|reply| format!("{reply}<{body}>")).to_vec()
        }
        (status, body) => vec![format!("Written<{}, {status}>", body.unwrap_or("()"))],
    }
}

/// Names of the operations that are described with an `Idempotency-Key`.
fn keyed(description: &Value) -> Vec<String> {
    let methods = description["paths"].as_object().into_iter().flat_map(|paths| paths.values());
    let operations = methods.filter_map(Value::as_object).flat_map(|methods| methods.values());
    operations
        .filter(|operation| {
            operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|parameter| parameter["$ref"] == "#/components/parameters/IdempotencyKey")
        })
        .filter_map(|operation| operation["operationId"].as_str().map(str::to_owned))
        .collect()
}

fn handlers(text: &str) -> anyhow::Result<Vec<Handler>> {
    let mut found = Vec::new();
    for (at, start) in text.match_indices("#[utoipa::path(") {
        let attribute = group(&text[at + start.len() - 1..]).context("an attribute has no end")?;
        let rest = &text[at + start.len() + attribute.len()..];
        let (_, function) = rest.split_once("pub async fn ").context("an attribute of nothing")?;
        let (name, _) = function.split_once('(').context("a function without parameters")?;
        let parameters = group(&function[name.len()..]).context("parameters have no end")?;
        let (signature, _) =
            function[name.len() + parameters.len() + 2..].split_once('{').unwrap_or_default();
        let returns = flat(signature.trim().trim_start_matches("->"));
        let returns = returns
            .strip_prefix("Result<")
            .and_then(|result| result.strip_suffix(", ApiError>"))
            .unwrap_or(&returns);
        let success = attribute.split("(status = ").find(|reply| reply.starts_with('2'));
        let success = success.with_context(|| format!("{name} documents no success"))?;
        let (success, _) = success.split_once("(status = ").unwrap_or((success, ""));
        let whole = format!("({success}");
        let success = group(&whole).with_context(|| format!("{name}: a reply has no end"))?;
        found.push(Handler {
            name: name.to_owned(),
            operation: after(attribute, "operation_id = \"", &['"']),
            status: success.chars().take(3).collect(),
            body: after(success, "body = ", &[]),
            returns: returns.to_owned(),
        });
    }
    Ok(found)
}

/// What is between the parenthesis at the beginning of a text and the one that closes it.
fn group(text: &str) -> Option<&str> {
    let (mut depth, mut quoted) = (0, false);
    for (at, char) in text.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(1..at);
        }
    }
    None
}

/// What follows a mark, until one of these characters; without any, until a comma outside of `<…>`.
fn after(text: &str, mark: &str, ends: &[char]) -> Option<String> {
    let (_, found) = text.split_once(mark)?;
    let mut depth = 0;
    let end = found.find(|char: char| {
        match char {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        ends.contains(&char) || ends.is_empty() && depth == 0 && char == ','
    });
    Some(found[..end.unwrap_or(found.len())].to_owned())
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        #[utoipa::path(
            post,
            operation_id = "make",
            responses(
                (status = 404, description = "None (yet).", body = ErrorBody),
                (status = 202, description = "Made (soon).", body = BTreeMap<String, Thing>),
            ),
        )]
        pub async fn make(
            State(ctx): State<Ctx>,
        ) -> Result<Written<BTreeMap<String, Thing>, 202>, ApiError> {
        }
        #[utoipa::path(get, responses((status = 204, description = "Gone.")))]
        pub async fn look(raw: Raw) -> Response {}
    "#;

    #[test]
    fn a_handler_is_read_with_its_description() {
        let found = handlers(TEXT).unwrap();
        let make = &found[0];
        assert_eq!((make.name.as_str(), make.operation.as_deref()), ("make", Some("make")));
        assert_eq!(expected(make), ["Written<BTreeMap<String, Thing>, 202>"]);
        assert_eq!(make.returns, expected(make)[0]);
        let look = &found[1];
        assert_eq!((look.status.as_str(), look.body.as_deref()), ("204", None));
        assert_eq!(
            (look.returns.as_str(), expected(look)),
            ("Response", vec!["Written<(), 204>".to_owned()])
        );
    }
}
