//! YAML for compose files, with the line of each value.
//!
//! Anchors, merge keys and multiple documents are interpreted as in Docker Compose. The expanded size is
//! limited ([`MAX_NODES`]), whatever the number of aliases. Error messages are written for users, not taken
//! from the parser.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::problem::{Place, Problem, ProblemKind};

/// Maximum number of values after expansion of aliases.
pub const MAX_NODES: usize = 200_000;
/// Maximum nesting depth.
const MAX_DEPTH: usize = 100;

/// A value with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// How it is merged with a value of an earlier document.
    pub merge: MergeTag,
    pub value: Value,
}

/// How a value is merged with that of an earlier document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeTag {
    /// The default of compose for its type.
    Merge,
    /// `!override`: replaces the earlier value.
    Replace,
    /// `!reset`: removes the value.
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// A mapping; keys are text and unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(pub(super) Vec<Entry>);

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// Line of the key.
    pub line: usize,
    pub node: Node,
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

impl Node {
    pub fn map(&self) -> Option<&Map> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    /// The items of a list; empty for other values.
    pub fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The value of a key, if this is a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.map()?.get(key)
    }

    /// A scalar as compose would write it into text; `None` for mappings, lists and null.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
            }
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(map) => {
                map.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
            }
        }
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(map) => 1 + map.iter().map(|entry| entry.node.size()).sum::<usize>(),
            _ => 1,
        }
    }
}

/// The documents of a text with aliases and merge keys expanded, and their problems. A text that cannot be
/// parsed to its end has one problem and no documents.
pub fn documents(text: &str) -> (Vec<Node>, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        path: Vec::new(),
        problems: Vec::new(),
    };
    match composer.documents() {
        Ok(documents) => (documents, composer.problems),
        Err(problem) => (Vec::new(), vec![problem]),
    }
}

struct Composer<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    path: Vec<String>,
    problems: Vec<Problem>,
}

type Tagged<'a> = Option<std::borrow::Cow<'a, Tag>>;

impl<'a> Composer<'a> {
    fn documents(&mut self) -> Result<Vec<Node>, Problem> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event => documents.push(self.node(event, span)?),
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        self.parser.next_event().transpose().map_err(|error| syntax(&error))
    }

    /// The next event inside a mapping or list.
    fn inner(&mut self) -> Result<(Event<'a>, Span), Problem> {
        let ended = || Problem::new(Place::line(0), ProblemKind::NotYaml { column: 0 });
        self.next()?.ok_or_else(ended)
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Problem> {
        let line = span.start.line();
        let (anchor, tag, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), line);
                (anchor, tag, value)
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag, self.list()?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag, self.mapping()?),
            Event::Alias(id) => return self.alias(id, line),
            _ => return Err(self.problem(line, ProblemKind::NotYaml { column: span.start.col() })),
        };
        let merge = self.merge_tag(&tag, line);
        let node = Node { line, merge, value };
        self.count(1, line)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            self.path.push(format!("[{}]", items.len()));
            items.push(self.node(event, span)?);
            self.path.pop();
        }
    }

    fn mapping(&mut self) -> Result<Value, Problem> {
        let mut map = Map::default();
        let mut merged: Option<(usize, Node)> = None;
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let line = span.start.line();
            let merges = is_merge_key(&event);
            let key = self.key(event, span)?;
            let (event, span) = self.inner()?;
            self.path.push(key.clone());
            let node = self.node(event, span)?;
            let first = match (&merged, merges) {
                (Some((first, _)), true) => Some(*first),
                (None, true) => None,
                (_, false) => map.entry(&key).map(|entry| entry.line),
            };
            if let Some(first) = first {
                let kind = if merges {
                    ProblemKind::TwoMergeKeys { first }
                } else {
                    ProblemKind::DuplicateKey { first }
                };
                let problem = self.problem(line, kind);
                self.problems.push(problem);
            } else if merges {
                merged = Some((line, node));
            } else {
                map.0.push(Entry { key, line, node });
            }
            self.path.pop();
        }
        if let Some((line, node)) = merged {
            self.merge(&mut map, &node, line);
        }
        Ok(Value::Map(map))
    }

    /// Keys must be text: parsers interpret other keys differently.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<String, Problem> {
        let line = span.start.line();
        let tagged =
            matches!(&event, Event::Scalar(_, _, _, Some(tag)) if core_tag(tag) != Some("str"));
        let plain = self.node(event, span)?;
        match plain.value {
            Value::Text(text) if !tagged => Ok(text),
            value => {
                let shown = Node { line, merge: MergeTag::Merge, value }.scalar();
                let kind = ProblemKind::KeyNotText { key: shown.clone() };
                let problem = self.problem(line, kind);
                self.problems.push(problem);
                Ok(shown.unwrap_or_default())
            }
        }
    }

    /// `<<: *a` and `<<: [*a, *b]`: keys of the mapping itself win, then those of the earlier alias.
    fn merge(&mut self, map: &mut Map, node: &Node, line: usize) {
        let sources: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        for source in sources {
            let Some(source) = source.map() else {
                let problem = self.problem(line, ProblemKind::MergeOfNoMapping);
                self.problems.push(problem);
                continue;
            };
            for entry in source.iter() {
                if map.entry(&entry.key).is_none() {
                    map.0.push(entry.clone());
                }
            }
        }
    }

    fn alias(&mut self, id: usize, line: usize) -> Result<Node, Problem> {
        let Some(node) = self.anchors.get(&id) else {
            return Err(self.problem(line, ProblemKind::AliasOfItself));
        };
        let node = node.clone();
        self.count(node.size(), line)?;
        Ok(node)
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), Problem> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(self.problem(line, ProblemKind::TooLarge));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Value {
        let plain = || match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::Text(text.to_owned()),
        };
        match tag.map(|tag| (core_tag(tag), tag)) {
            None | Some((Some("null" | "bool" | "int" | "float"), _)) => plain(),
            Some((Some("str"), _)) => Value::Text(text.to_owned()),
            Some((None, tag)) if merge_tag(tag).is_some() => plain(),
            Some((_, tag)) => {
                let problem = self.problem(line, ProblemKind::UnknownTag { tag: tag.original() });
                self.problems.push(problem);
                Value::Text(text.to_owned())
            }
        }
    }

    fn merge_tag(&mut self, tag: &Tagged<'a>, line: usize) -> MergeTag {
        let Some(tag) = tag.as_deref() else { return MergeTag::Merge };
        match (core_tag(tag), merge_tag(tag)) {
            (_, Some(merge)) => merge,
            (Some("map" | "seq" | "str" | "null" | "bool" | "int" | "float"), _) => MergeTag::Merge,
            _ => {
                let problem = self.problem(line, ProblemKind::UnknownTag { tag: tag.original() });
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                MergeTag::Merge
            }
        }
    }

    fn problem(&self, line: usize, kind: ProblemKind) -> Problem {
        Problem::new(Place::of(&self.path, line), kind)
    }
}

fn core_tag(tag: &Tag) -> Option<&str> {
    tag.core_suffix()
}

fn merge_tag(tag: &Tag) -> Option<MergeTag> {
    match (tag.handle(), tag.suffix()) {
        ("!", "reset") => Some(MergeTag::Remove),
        ("!", "override") => Some(MergeTag::Replace),
        _ => None,
    }
}

fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// A scalar without quotes and tag, by the rules of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |prefix: &str, radix| {
        unsigned.strip_prefix(prefix).is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix) || c == '_')
        })
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let one_dot = mantissa.matches('.').count() <= 1;
    let digits = mantissa.chars().any(|c| c.is_ascii_digit());
    starts && one_dot && digits && unsigned.replace('_', "").parse::<f64>().is_ok()
}

/// Maps a parser error to its place, and a hint for the most common cause.
fn syntax(error: &ScanError) -> Problem {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let kind = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => ProblemKind::Tab,
        ErrorKind::UnknownAnchor => ProblemKind::UnknownAlias,
        ErrorKind::RecursionLimitExceeded => ProblemKind::TooDeep,
        ErrorKind::UnclosedQuotedScalar => ProblemKind::OpenQuote,
        _ => ProblemKind::NotYaml { column },
    };
    Problem::new(Place::line(line), kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> serde_json::Value {
        let (documents, problems) = documents(text);
        assert_eq!(problems, []);
        documents[0].to_json()
    }

    fn said(text: &str) -> String {
        let (_, problems) = documents(text);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn scalars_are_what_compose_takes_them_for() {
        let text = "a: 1\nb: 22:22\nc: no\nd: 1.5\ne: ~\nf: '1'\ng: !!str 1\nh: 1_0\ni: true\nj: .\nk: 1e3\nl: 1.2.3\nm: 0x1F\nn: 12ab\n";
        assert_eq!(
            one(text),
            json!({"a": 1, "b": "22:22", "c": "no", "d": 1.5, "e": null, "f": "1", "g": "1",
                "h": "1_0", "i": true, "j": ".", "k": 1e3, "l": "1.2.3", "m": "0x1F", "n": "12ab"})
        );
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 0\nd: [*a]\n";
        let found = one(text);
        assert_eq!(found["c"], json!({"x": 0, "y": 2, "z": 4}));
        assert_eq!(found["d"], json!([{"x": 1, "y": 2}]));
    }

    #[test]
    fn several_documents_and_a_byte_order_mark_are_read() {
        let (documents, problems) = documents("\u{feff}a: 1\r\n---\r\nb: !override [2]\r\n");
        assert_eq!(problems, []);
        assert_eq!(documents.len(), 2);
        assert_eq!(
            documents[1].get("b").map(|node| (node.line, node.merge)),
            Some((3, MergeTag::Replace))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_a_parsers_words() {
        for (text, said_about_it) in [
            ("a: 1\na: 2", "a (line 2): stands twice, first on line 1"),
            (
                "services:\n  w:\n    image: a\n    image: b",
                "service w, image (line 4): stands twice",
            ),
            (
                "a: &a {}\nb:\n  <<: *a\n  <<: *a\n",
                "(line 4): is a second merge key, the first is on line 3",
            ),
            ("a:\n\tb: 1", "line 2: is indented with a tab"),
            ("a: *no", "line 1: uses an alias that has no anchor"),
            ("a: [", "line 1: is not valid YAML"),
            ("a: &a [*a]", "an alias of the value that it stands in"),
            ("1: a", "has the key 1, which is not text"),
            ("a: !foo b", "has the YAML tag !foo"),
            ("{!!binary ZW52X2ZpbGU=: x}", "which is not text"),
            ("a: 'x", "line 1: has a quote that is not closed"),
        ] {
            assert!(said(text).contains(said_about_it), "{text:?}: {}", said(text));
        }
    }

    #[test]
    fn many_aliases_are_read_and_an_explosion_is_not() {
        let many = format!("a: &a {{x: 1}}\nb: [{}]", "*a,".repeat(5_000));
        assert_eq!(said(&many), "");
        let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for at in 1..10 {
            let before = format!("*a{},", at - 1).repeat(10);
            bomb = format!("{bomb}a{at}: &a{at} [{before}]\n");
        }
        assert!(said(&bomb).contains("more than 200000 values"), "{}", said(&bomb));
        let deep = "[".repeat(5_000);
        assert!(said(&deep).contains("more than 100"), "{}", said(&deep));
    }
}
