//! Problems of a compose file: place, kind, and what to do.

use std::fmt;

use super::yaml::MAX_NODES;
use crate::ready::InvalidLabel;

/// More paths of dependencies are refused.
pub const MAX_PATHS: u64 = 1_000;
/// A service extends at most this many others, one through another.
pub const MAX_EXTENDS: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub kind: ProblemKind,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// `None` outside of services.
    pub service: Option<String>,
    /// The field of the service or file, `ports[0]`; empty: the service or file itself.
    pub field: String,
    /// From 1; 0: the file as a whole.
    pub line: usize,
}

impl Place {
    /// A place of which only the line is known.
    pub fn line(line: usize) -> Self {
        Self { line, ..Self::default() }
    }

    /// The place of a path of keys.
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
    pub fn new(place: Place, kind: ProblemKind) -> Self {
        Self { place, kind }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

/// Files that compose would read and that do not exist in a CVM.
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

/// The kind of object that a name references.
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

/// The kind of a problem. The text says what is wrong and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not valid YAML.
    #[error(
        "is not valid YAML, at column {column}: check indentation, colons and brackets there and above"
    )]
    NotYaml {
        /// From 1.
        column: usize,
    },
    /// A tab where YAML requires spaces.
    #[error("is indented with a tab: YAML takes blanks only")]
    Tab,
    /// An unterminated `"` or `'`.
    #[error("has a quote that is not closed")]
    OpenQuote,
    /// `*name` without an earlier `&name`.
    #[error("uses an alias that has no anchor before it")]
    UnknownAlias,
    /// `&a [*a]`.
    #[error("has an alias of the value that it stands in")]
    AliasOfItself,
    #[error("has more than 100 mappings and lists inside one another")]
    TooDeep,
    #[error("has more than {MAX_NODES} values, aliases expanded: write less")]
    TooLarge,
    /// A duplicate key in a mapping.
    #[error("stands twice, first on line {first}: keep one")]
    DuplicateKey {
        /// Line of the first one.
        first: usize,
    },
    /// `<<` twice in one mapping.
    #[error("is a second merge key, the first is on line {first}: write one, `<<: [*a, *b]`")]
    TwoMergeKeys {
        /// Line of the first one.
        first: usize,
    },
    /// `<<` of something that is not a mapping.
    #[error("merges something that is not a mapping")]
    MergeOfNoMapping,
    /// A key that is not text, for example a number.
    #[error("has the key {}, which is not text: put it in quotes", .key.as_deref().unwrap_or("?"))]
    KeyNotText {
        /// The key, if it can be displayed.
        key: Option<String>,
    },
    /// A tag that compose does not support.
    #[error("has the YAML tag {tag}: compose files have !reset and !override only")]
    UnknownTag { tag: String },
    /// There is no service.
    #[error(
        "has no services: a compose file needs a `services:` mapping with at least one service"
    )]
    NoServices,
    /// All services have profiles, and none is selected.
    #[error(
        "has a profile at every service, so none would run: send COMPOSE_PROFILES, or leave profiles: out of one"
    )]
    AllInProfiles,
    /// A name with invalid characters.
    #[error("is no name: letters, digits, `_`, `.` and `-` only")]
    BadName,
    /// A service without image, build or inherited image.
    #[error("has no image: name one under image:, or build one from build.dockerfile_inline")]
    NoImage,
    /// A build that needs files.
    #[error("needs a build context, and a CVM has no files beside the compose file: {}", if *.has_image {
        "remove build:, the image is named under image:"
    } else {
        "push the image and name it under image:, or build from build.dockerfile_inline without COPY"
    })]
    BuildContext {
        /// Whether the service also names an image.
        has_image: bool,
    },
    /// A file that does not exist in a CVM.
    #[error("names a file, and a CVM has no files beside the compose file: {}", way_out(*.0))]
    File(NamedFile),
    /// A key that compose does not have.
    #[error("is not a key of a compose file{}", suggestion(*.near))]
    UnknownKey {
        /// A valid key with a similar spelling.
        near: Option<&'static str>,
    },
    /// A value of the wrong type.
    #[error("must be {expected}, and is {found}")]
    WrongType {
        /// Expected type.
        expected: String,
        /// Actual type.
        found: &'static str,
    },
    /// A value that is not one of the allowed ones.
    #[error("{value:?} must be {expected}")]
    BadValue {
        value: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// A name that the file does not define.
    #[error("names the {} {name:?}, which the file does not define", .what.word())]
    Undefined { what: Referent, name: String },
    /// Services that depend on each other, or extend each other.
    #[error("goes in a circle: {}", .through.join(" → "))]
    Cycle {
        /// The services in order.
        through: Vec<String>,
    },
    /// Dependencies that compose would follow for hours.
    #[error(
        "has too many ways from service to service through depends_on, links, volumes_from and the \
         like: a file has at most {MAX_PATHS}, and no chain of hundreds; name only services that are \
         needed directly, and leave out those that these need anyway"
    )]
    TooManyPaths,
    /// Services that extend one another in a long chain.
    #[error("extends a service that extends another, more than {MAX_EXTENDS} times: extend fewer")]
    ExtendsTooLong,
    /// A `$` that begins no variable.
    #[error(
        "has a `$` that begins no variable: write `$$` for a dollar sign, `${{NAME}}` for a variable"
    )]
    BadVariable,
    /// An invalid readiness label.
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
