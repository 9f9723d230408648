//! App templates: compose files with parameters that the operator keeps for everybody (`docs/templates.md`).
//!
//! A parameter becomes an environment variable, which clients seal, or a text in the compose file. In the file it
//! stands as the quoted scalar `"@@name@@"`, which is replaced as a whole, so that no value can become anything but
//! a text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};

use crate::{compose::docker, seal::valid_env_name};

/// Most parameters of a template.
pub const MOST_PARAMETERS: usize = 100;

/// `template.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name for people, 1 to 64 characters.
    pub name: String,
    /// One or a few sentences, at most 500 characters.
    pub description: String,
    /// Words to find it by, at most 16.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The instance type that it needs, if the user names none.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Values that the user gives, at most [`MOST_PARAMETERS`].
    #[serde(default)]
    pub parameters: Vec<Parameter>,
}

/// A value that the user gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The name of the environment variable, or the word between `@@` in the compose file.
    pub name: String,
    /// Its purpose, for people.
    #[serde(default)]
    pub description: String,
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub kind: ParameterKind,
    /// Where its value goes.
    #[serde(default)]
    pub into: Destination,
    /// Without a value nothing is deployed.
    #[serde(default)]
    pub required: bool,
    /// The value if the user gives none.
    #[serde(default)]
    pub default: Option<String>,
    /// A client that asks for it does not show it while it is typed.
    #[serde(default)]
    pub secret: bool,
}

/// The type of a parameter's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    #[default]
    Text,
    /// Decimal digits, with or without a sign.
    Integer,
    /// `true` or `false`.
    Boolean,
}

impl ParameterKind {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::Boolean => matches!(value, "true" | "false"),
        }
    }

    /// The accepted values, in words.
    pub const fn expects(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
        }
    }
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The sealed environment.
    #[default]
    Env,
    /// The compose file, which everybody who sees the app can read.
    Compose,
}

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppTemplate {
    /// The name of its directory: 1 to 40 characters of a-z, 0-9 and -.
    pub slug: String,
    pub manifest: Manifest,
    /// The compose file with its marks.
    pub compose: String,
    /// Markdown; may be empty.
    pub readme: String,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    #[error("the directory's name must be 1 to 40 characters of a-z, 0-9 and -")]
    Slug,
    #[error("{field} must be {expected}")]
    Text { field: &'static str, expected: &'static str },
    #[error("at most {MOST_PARAMETERS} parameters are allowed")]
    TooManyParameters,
    #[error("parameter {0:?} is no name: letters, digits and _, not a digit first")]
    Name(String),
    #[error("parameter {0} is there twice")]
    Twice(String),
    #[error("parameter {0} is secret and goes into the compose file, which is not secret")]
    SecretInCompose(String),
    #[error("parameter {0} is secret and has a default, which everybody can read")]
    SecretDefault(String),
    #[error("parameter {0} is required and has a default: remove one of them")]
    RequiredDefault(String),
    #[error("the default of parameter {name} must be {expected}")]
    Default { name: String, expected: &'static str },
    #[error("parameter {0} goes into the compose file, which has no \"@@{0}@@\"")]
    NoMark(String),
    #[error("the compose file has @@{0}@@, which is no parameter or not a quoted text of its own")]
    StrayMark(String),
    #[error("docker-compose.yml: {0}")]
    Compose(String),
}

/// Why values do not fit a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("{0} is required")]
    Missing(String),
    #[error("{name} must be {expected}")]
    Kind { name: String, expected: &'static str },
}

impl InvalidValue {
    /// The parameter.
    pub fn name(&self) -> &str {
        match self {
            Self::Missing(name) | Self::Kind { name, .. } => name,
        }
    }
}

/// A template with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The compose file.
    pub compose: String,
    /// Values given that are in the compose file now, and no variables.
    pub used: BTreeSet<String>,
    /// Environment variables that were not given, with their defaults.
    pub defaults: BTreeMap<String, String>,
}

impl AppTemplate {
    /// Checks a template; all faults at once.
    pub fn new(
        slug: String,
        manifest: Manifest,
        compose: String,
        readme: String,
    ) -> Result<Self, Vec<InvalidTemplate>> {
        let mut faults = Vec::new();
        if crate::name::check_node_name(&slug).is_err() {
            faults.push(InvalidTemplate::Slug);
        }
        texts(&manifest, &mut faults);
        parameters(&manifest.parameters, &compose, &mut faults);
        let template = Self { slug, manifest, compose, readme };
        if faults.is_empty()
            && let Err(why) = docker::inspect(&template.example())
        {
            faults.push(InvalidTemplate::Compose(why.to_string()));
        }
        if faults.is_empty() { Ok(template) } else { Err(faults) }
    }

    /// The compose file with a value for each mark.
    fn example(&self) -> String {
        let value = |parameter: &Parameter| match parameter.kind {
            ParameterKind::Text => "text",
            ParameterKind::Integer => "1",
            ParameterKind::Boolean => "true",
        };
        let parameters = &self.manifest.parameters;
        let values = parameters.iter().map(|one| (one.name.as_str(), value(one))).collect();
        fill(&self.compose, parameters, &values).map(|filled| filled.compose).unwrap_or_default()
    }
}

/// Puts values into a compose file, and checks those of variables. A value without a parameter is a variable that the
/// template does not know, which is allowed. Fails at the first parameter without a value that fits.
pub fn fill(
    compose: &str,
    parameters: &[Parameter],
    values: &BTreeMap<&str, &str>,
) -> Result<Filled, InvalidValue> {
    let mut filled =
        Filled { compose: compose.to_owned(), used: BTreeSet::new(), defaults: BTreeMap::new() };
    for parameter in parameters {
        let Parameter { name, kind, default, .. } = parameter;
        let given = values.get(name.as_str()).copied();
        let value = given.or(default.as_deref());
        if value.is_none() && parameter.required {
            return Err(InvalidValue::Missing(name.clone()));
        }
        if value.is_some_and(|value| !kind.takes(value)) {
            return Err(InvalidValue::Kind { name: name.clone(), expected: kind.expects() });
        }
        match (parameter.into, given, default) {
            (Destination::Compose, ..) => {
                let text = scalar(value.unwrap_or_default());
                filled.compose = filled.compose.replace(&mark(name), &text);
                filled.used.extend(given.map(|_| name.clone()));
            }
            (Destination::Env, None, Some(default)) => {
                filled.defaults.insert(name.clone(), default.clone());
            }
            (Destination::Env, ..) => {}
        }
    }
    Ok(filled)
}

fn mark(name: &str) -> String {
    format!("\"@@{name}@@\"")
}

/// A value as a quoted scalar of YAML that Compose reads as this very text: no variable of Compose, no line break of
/// YAML and no mark of another parameter is left in it.
fn scalar(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '$' => quoted.push_str("$$"),
            '"' | '\\' => quoted.extend(['\\', character]),
            '@' => quoted.push_str("\\x40"),
            ' '..='~' => quoted.push(character),
            other => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

fn texts(manifest: &Manifest, faults: &mut Vec<InvalidTemplate>) {
    let mut need = |is: bool, field, expected| {
        if !is {
            faults.push(InvalidTemplate::Text { field, expected });
        }
    };
    let chars = |text: &str| text.chars().count();
    need((1..=64).contains(&chars(&manifest.name)), "name", "1 to 64 characters");
    need(chars(&manifest.description) <= 500, "description", "at most 500 characters");
    let tags = manifest.tags.len() <= 16 && manifest.tags.iter().all(|tag| chars(tag) <= 32);
    need(tags, "tags", "at most 16 words of at most 32 characters");
}

fn parameters(all: &[Parameter], compose: &str, faults: &mut Vec<InvalidTemplate>) {
    if all.len() > MOST_PARAMETERS {
        faults.push(InvalidTemplate::TooManyParameters);
        return;
    }
    let mut seen = BTreeSet::new();
    let mut rest = compose.to_owned();
    for parameter in all {
        let name = &parameter.name;
        if !valid_env_name(name) {
            faults.push(InvalidTemplate::Name(name.clone()));
            continue;
        }
        if !seen.insert(name) {
            faults.push(InvalidTemplate::Twice(name.clone()));
        }
        one(parameter, faults);
        if parameter.into == Destination::Compose {
            let without = rest.replace(&mark(name), "\"\"");
            if without == rest {
                faults.push(InvalidTemplate::NoMark(name.clone()));
            }
            rest = without;
        }
    }
    if let Some(stray) = first_mark(&rest) {
        faults.push(InvalidTemplate::StrayMark(stray));
    }
}

fn one(parameter: &Parameter, faults: &mut Vec<InvalidTemplate>) {
    let name = || parameter.name.clone();
    if parameter.secret && parameter.into == Destination::Compose {
        faults.push(InvalidTemplate::SecretInCompose(name()));
    }
    let Some(default) = &parameter.default else { return };
    if parameter.secret {
        faults.push(InvalidTemplate::SecretDefault(name()));
    }
    if parameter.required {
        faults.push(InvalidTemplate::RequiredDefault(name()));
    }
    if !parameter.kind.takes(default) {
        let expected = parameter.kind.expects();
        faults.push(InvalidTemplate::Default { name: name(), expected });
    }
}

/// The word of the first `@@word@@`.
fn first_mark(text: &str) -> Option<String> {
    let is_word = |word: &str| !word.is_empty() && valid_env_name(word);
    let mut parts = text.split("@@").skip(1);
    parts.find(|part| is_word(part)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compose::yaml;

    const COMPOSE: &str =
        "services:\n  web:\n    image: busybox:1.36\n    command: [\"@@model@@\"]\n";

    fn parameter(name: &str, into: Destination) -> Parameter {
        Parameter {
            name: name.to_owned(),
            description: String::new(),
            kind: ParameterKind::Text,
            into,
            required: false,
            default: None,
            secret: false,
        }
    }

    fn template(parameters: Vec<Parameter>) -> Result<AppTemplate, Vec<InvalidTemplate>> {
        let manifest = Manifest {
            name: "A model".to_owned(),
            description: String::new(),
            tags: Vec::new(),
            instance_type: None,
            parameters,
        };
        AppTemplate::new("model".to_owned(), manifest, COMPOSE.to_owned(), String::new())
    }

    fn values<'a>(all: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, &'a str> {
        all.iter().copied().collect()
    }

    #[test]
    fn every_fault_of_a_template_is_named() {
        let model = || parameter("model", Destination::Compose);
        assert!(template(vec![model()]).is_ok());
        let cases = [
            (vec![], "@@model@@"),
            (vec![model(), parameter("1x", Destination::Env)], "\"1x\" is no name"),
            (vec![model(), model()], "model is there twice"),
            (vec![model(), parameter("other", Destination::Compose)], "has no \"@@other@@\""),
            (vec![Parameter { secret: true, ..model() }], "is secret and goes into the compose"),
            (
                vec![Parameter { required: true, default: Some("a".to_owned()), ..model() }],
                "required and has a default",
            ),
            (
                vec![Parameter {
                    kind: ParameterKind::Integer,
                    default: Some("many".to_owned()),
                    ..model()
                }],
                "must be an integer",
            ),
            (
                vec![
                    model(),
                    Parameter {
                        secret: true,
                        default: Some("hunter2".to_owned()),
                        ..parameter("TOKEN", Destination::Env)
                    },
                ],
                "secret and has a default",
            ),
        ];
        for (parameters, expected) in cases {
            let faults = template(parameters).expect_err(expected);
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|fault| fault.contains(expected)), "{expected}: {told:?}");
        }
    }

    #[test]
    fn a_compose_file_that_is_none_is_refused() {
        let made = AppTemplate::new(
            "model".to_owned(),
            Manifest {
                name: "A".to_owned(),
                description: String::new(),
                tags: Vec::new(),
                instance_type: None,
                parameters: Vec::new(),
            },
            "services: 7\n".to_owned(),
            String::new(),
        );
        assert!(matches!(made.expect_err("it is none")[..], [InvalidTemplate::Compose(_)]));
    }

    #[test]
    fn values_are_checked_and_defaults_count() {
        let port = Parameter {
            kind: ParameterKind::Integer,
            default: Some("80".to_owned()),
            ..parameter("PORT", Destination::Env)
        };
        let token = Parameter { required: true, ..parameter("TOKEN", Destination::Env) };
        let all = [port, token];
        assert_eq!(fill("", &all, &values(&[])), Err(InvalidValue::Missing("TOKEN".to_owned())));
        let wrong = fill("", &all, &values(&[("TOKEN", "t"), ("PORT", "http")]));
        assert_eq!(wrong.expect_err("no integer").to_string(), "PORT must be an integer");
        let filled = fill("", &all, &values(&[("TOKEN", "t"), ("MORE", "m")])).expect("it fits");
        let defaults = BTreeMap::from([("PORT".to_owned(), "80".to_owned())]);
        assert_eq!((filled.defaults, filled.used), (defaults, BTreeSet::new()));
    }

    proptest! {
        /// Whatever the value is, the file has it as one text, and nothing else changes.
        #[test]
        fn a_value_is_one_text(model in "\\PC{0,40}", other in "(@@|model|\\$|\"|\\\\|\n|\u{85}|\u{2028}|\u{7f}| #|: ){0,6}") {
            let parameters = [parameter("model", Destination::Compose), parameter("other", Destination::Compose)];
            let file = "services: {web: {image: 'busybox:1.36', labels: {a: \"@@model@@\", b: \"@@other@@\"}}}\n";
            let values = values(&[("model", &model), ("other", &other)]);
            let filled = fill(file, &parameters, &values).expect("texts fit");
            let (documents, problems) = yaml::documents(&filled.compose);
            prop_assert_eq!(problems, vec![]);
            let labels = documents[0].get("services").and_then(|all| all.get("web")?.get("labels"));
            let text = |label: &str| {
                let text = labels.and_then(|labels| labels.get(label)?.text().map(str::to_owned));
                text.map(|text| text.replace("$$", "$"))
            };
            prop_assert_eq!((text("a"), text("b")), (Some(model), Some(other)));
        }
    }
}
