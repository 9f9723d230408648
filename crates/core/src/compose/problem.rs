//! What is wrong with a compose file: where, what, and what to do about it.

use std::fmt;

use super::yaml::MAX_NODES;
use crate::ready::InvalidLabel;

/// One thing that is wrong with a compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub kind: ProblemKind,
}

/// A place in a compose file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The service, if it is in one.
    pub service: Option<String>,
    /// The field of the service or of the file, `ports[0]`; empty: the service or file itself.
    pub field: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
}

impl Place {
    /// A line of which nothing more is known.
    pub fn line(line: usize) -> Self {
        Self { line, ..Self::default() }
    }

    /// A place by the keys that lead there.
    pub fn of<T: AsRef<str>>(path: &[T], line: usize) -> Self {
        let (service, rest) = match path {
            [first, service, rest @ ..] if first.as_ref() == "services" => {
                (Some(service.as_ref().to_owned()), rest)
            }
            rest => (None, rest),
        };
        let mut field = String::new();
        for key in rest.iter().map(AsRef::as_ref) {
            if !field.is_empty() && !key.starts_with('[') {
                field.push('.');
            }
            field.push_str(key);
        }
        Self { service, field, line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.service, self.field.as_str()) {
            (Some(service), "") => write!(f, "service {service}")?,
            (Some(service), field) => write!(f, "service {service}, {field}")?,
            (None, "") if self.line > 0 => return write!(f, "line {}", self.line),
            (None, "") => return f.write_str("the file"),
            (None, field) => f.write_str(field)?,
        }
        if self.line > 0 { write!(f, " (line {})", self.line) } else { Ok(()) }
    }
}

impl Problem {
    /// A problem of this kind at this place.
    pub fn new(place: Place, kind: ProblemKind) -> Self {
        Self { place, kind }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

/// Files that compose would read, none of which is in a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedFile {
    /// `include`.
    Include,
    /// `extends: {file: …}`.
    Extends,
    /// `env_file`.
    Env,
    /// `label_file`.
    Labels,
    /// `configs: {x: {file: …}}`.
    Config,
    /// `secrets: {x: {file: …}}`.
    Secret,
    /// `credential_spec: {file: …}`.
    CredentialSpec,
}

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referent {
    /// A service.
    Service,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// A config.
    Config,
    /// A secret.
    Secret,
    /// A service with this `container_name`.
    Container,
}

impl Referent {
    const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Config => "config",
            Self::Secret => "secret",
            Self::Container => "container",
        }
    }
}

/// What is wrong. The text says what and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is no YAML.
    #[error(
        "is not valid YAML, at column {column}: check indentation, colons and brackets there and above"
    )]
    NotYaml {
        /// The column, from 1.
        column: usize,
    },
    /// A tab where YAML wants blanks.
    #[error("is indented with a tab: YAML takes blanks only")]
    Tab,
    /// `"` or `'` without its end.
    #[error("has a quote that is not closed")]
    OpenQuote,
    /// `*name` without `&name` before it.
    #[error("uses an alias that has no anchor before it")]
    UnknownAlias,
    /// `&a [*a]`.
    #[error("has an alias of the value that it stands in")]
    AliasOfItself,
    /// Too much nesting.
    #[error("has more than 100 mappings and lists inside one another")]
    TooDeep,
    /// Too many values.
    #[error("has more than {MAX_NODES} values, aliases expanded: write less")]
    TooLarge,
    /// A key twice in one mapping.
    #[error("stands twice, first on line {first}: keep one")]
    DuplicateKey {
        /// Line of the first.
        first: usize,
    },
    /// `<<` twice in one mapping.
    #[error("is a second merge key, the first is on line {first}: write one, `<<: [*a, *b]`")]
    TwoMergeKeys {
        /// Line of the first.
        first: usize,
    },
    /// `<<` of something else.
    #[error("merges something that is not a mapping")]
    MergeOfNoMapping,
    /// A key that is a number or the like.
    #[error("has the key {}, which is not text: put it in quotes", .key.as_deref().unwrap_or("?"))]
    KeyNotText {
        /// The key, if it can be shown.
        key: Option<String>,
    },
    /// A tag that compose does not know.
    #[error("has the YAML tag {tag}: compose files have !reset and !override only")]
    UnknownTag {
        /// The tag.
        tag: String,
    },
    /// There is nothing to run.
    #[error(
        "has no services: a compose file needs a `services:` mapping with at least one service"
    )]
    NoServices,
    /// Every service is in a profile, and none is chosen.
    #[error(
        "has a profile at every service, so none would run: send COMPOSE_PROFILES, or leave profiles: out of one"
    )]
    AllInProfiles,
    /// A name with other characters.
    #[error("is no name: letters, digits, `_`, `.` and `-` only")]
    BadName,
    /// A service that is neither pulled nor built nor inherited.
    #[error("has no image: name one under image:, or build one from build.dockerfile_inline")]
    NoImage,
    /// A build that needs files.
    #[error("needs a build context, and a CVM has no files beside the compose file: {}", if *.has_image {
        "remove build:, the image is named under image:"
    } else {
        "push the image and name it under image:, or build from build.dockerfile_inline without COPY"
    })]
    BuildContext {
        /// Whether the service names an image too.
        has_image: bool,
    },
    /// A file that stays behind.
    #[error("names a file, and a CVM has no files beside the compose file: {}", way_out(*.0))]
    File(NamedFile),
    /// A key that no compose file has.
    #[error("is not a key of a compose file{}", suggestion(*.near))]
    UnknownKey {
        /// A key that is written almost like it.
        near: Option<&'static str>,
    },
    /// A value of another kind.
    #[error("must be {expected}, and is {found}")]
    WrongType {
        /// What it must be.
        expected: String,
        /// What it is.
        found: &'static str,
    },
    /// A value that is not one of the possible ones.
    #[error("{value:?} must be {expected}")]
    BadValue {
        /// The value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A name that the file does not define.
    #[error("names the {} {name:?}, which the file does not define", .what.word())]
    Undefined {
        /// What.
        what: Referent,
        /// The name.
        name: String,
    },
    /// Services that wait for one another, or extend one another.
    #[error("goes in a circle: {}", .through.join(" → "))]
    Cycle {
        /// The services in order.
        through: Vec<String>,
    },
    /// `$` that begins no variable.
    #[error(
        "has a `$` that begins no variable: write `$$` for a dollar sign, `${{NAME}}` for a variable"
    )]
    BadVariable,
    /// A label of readiness.
    #[error("label {} {}", .0.label, .0.reason)]
    Label(Box<InvalidLabel>),
}

fn way_out(file: NamedFile) -> &'static str {
    match file {
        NamedFile::Include => "put everything into one compose file",
        NamedFile::Extends => "put the extended service into the same compose file",
        NamedFile::Env => {
            "list the variables under environment: and send their values sealed (--env-file), or say \
             required: false"
        }
        NamedFile::Labels => "put the labels under labels:",
        NamedFile::Config => "put the text under content:",
        NamedFile::Secret => "send the value as a variable and name it under environment:",
        NamedFile::CredentialSpec => "leave it out",
    }
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|key| format!(": did you mean {key}?")).unwrap_or_default()
}
