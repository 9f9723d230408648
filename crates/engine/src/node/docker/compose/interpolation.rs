//! `$` on the way from and to compose.
//!
//! `docker compose config` prints every `$` as `$$`, in keys too. Compose reads `$$` in a value as
//! `$`; it never interpolates keys. So the model that Casemate decides on has the true strings: they
//! are unescaped once after reading, and values are escaped once when the model is written.

use std::io;

use serde_json::{
    Map, Value,
    ser::{CharEscape, CompactFormatter, Formatter},
};

/// Undoes the escaping of every key and string. `None`: a `$` is not escaped, so this is not what
/// `docker compose config` prints.
pub(super) fn unescape(value: Value) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::String(unescape_text(&text)?),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(unescape).collect::<Option<_>>()?)
        }
        Value::Object(map) => {
            let entries = map.into_iter();
            Value::Object(
                entries
                    .map(|(key, value)| Some((unescape_text(&key)?, unescape(value)?)))
                    .collect::<Option<Map<_, _>>>()?,
            )
        }
        other => other,
    })
}

fn unescape_text(text: &str) -> Option<String> {
    let mut halves = text.split("$$");
    halves.clone().all(|half| !half.contains('$')).then(|| {
        let first = halves.next().unwrap_or_default().to_owned();
        halves.fold(first, |done, half| done + "$" + half)
    })
}

/// The model as compose has to read it to get exactly these strings.
pub(super) fn write(model: &Value) -> serde_json::Result<Vec<u8>> {
    let mut written = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut written, YamlSafe::default());
    serde::Serialize::serialize(&escape(model.clone()), &mut serializer)?;
    Ok(written)
}

fn escape(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Array(items) => Value::Array(items.into_iter().map(escape).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, escape(value))).collect())
        }
        other => other,
    }
}

/// Compose reads JSON as YAML 1.1, which folds U+0085, U+2028 and U+2029 in strings, drops U+FEFF and
/// refuses U+007F. Escapes mean the same to both.
#[derive(Default)]
struct YamlSafe(CompactFormatter);

impl Formatter for YamlSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for char in fragment.chars() {
            match u32::from(char) {
                code @ 0x7f..=0xffff => write!(writer, "\\u{code:04x}")?,
                _ => write!(writer, "{char}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dollars_are_unescaped_once_everywhere() {
        let printed = json!({"a$$b": ["$$$$x", {"k": "${$$}"}]});
        assert_eq!(unescape(printed), None, "`${{` is not escaped");
        let printed = json!({"a$$b": ["$$$$x", 1, null, {"k": "/$$l/$$$${P}"}]});
        let model = unescape(printed).unwrap();
        assert_eq!(model, json!({"a$b": ["$$x", 1, null, {"k": "/$l/$${P}"}]}));
        let written: Value = serde_json::from_slice(&write(&model).unwrap()).unwrap();
        assert_eq!(written, json!({"a$b": ["$$$$x", 1, null, {"k": "/$$l/$$$${P}"}]}));
        assert_eq!(unescape(json!("a$")), None);
        assert_eq!(unescape(json!("$$$")), None);
    }

    #[test]
    fn what_yaml_would_fold_is_written_as_an_escape() {
        let text = "a\u{85}\u{2028}\u{2029}\u{feff}\u{7f}é\u{1f600}\n\u{1}\"\\";
        let written = write(&json!(text)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), text);
        let written = String::from_utf8(written).unwrap();
        assert_eq!(
            written,
            "\"a\\u0085\\u2028\\u2029\\ufeff\\u007f\\u00e9\u{1f600}\\n\\u0001\\\"\\\\\""
        );
    }
}
