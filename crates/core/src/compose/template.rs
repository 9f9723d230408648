//! Variables in values: `$NAME`, `${NAME}`, and the forms with a default, an alternative or an error. `$$` is
//! a dollar sign, and so is a `$` before anything else, as in Docker Compose.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Literal text.
    Text(String),
    Variable(Variable),
}

/// A reference to a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub form: Substitution,
}

/// The behaviour of a reference if its variable is unset; with a colon in the file, also if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Substitution {
    /// `${NAME}`: empty.
    Plain,
    /// `${NAME:-default}`.
    Default {
        /// Also for an empty value.
        if_empty: bool,
        /// The default, which may contain variables.
        default: Vec<Part>,
    },
    /// `${NAME:+text}`: the text if the variable is set.
    Alternative {
        /// Not for an empty value.
        unless_empty: bool,
        text: Vec<Part>,
    },
    /// `${NAME:?message}`: compose fails.
    Required,
}

/// A `${` that begins no variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadVariable;

/// What is known of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Value(String),
    Unset,
    /// Any value: only the guest knows it.
    Secret,
}

/// Parses a value.
pub fn parse(text: &str) -> Result<Vec<Part>, BadVariable> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        literal.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let Some((variable, after)) = variable(rest)? else {
            literal.push('$');
            continue;
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Variable(variable));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// The variable at the beginning of a text after a `$`, and the rest; `None`: the `$` is a dollar sign.
fn variable(text: &str) -> Result<Option<(Variable, &str)>, BadVariable> {
    let Some(braced) = text.strip_prefix('{') else {
        let found = name(text).map(|(name, after)| {
            (Variable { name: name.to_owned(), form: Substitution::Plain }, after)
        });
        return Ok(found);
    };
    let end = closing(braced).ok_or(BadVariable)?;
    let (inside, after) = (&braced[..end], &braced[end + 1..]);
    let (name, operator) = name(inside).ok_or(BadVariable)?;
    let (colon, operator) = match operator.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, operator),
    };
    let form = match operator.chars().next() {
        None if !colon => Substitution::Plain,
        Some('-') => Substitution::Default { if_empty: colon, default: parse(&operator[1..])? },
        Some('+') => {
            Substitution::Alternative { unless_empty: colon, text: parse(&operator[1..])? }
        }
        Some('?') => Substitution::Required,
        _ => return Err(BadVariable),
    };
    Ok(Some((Variable { name: name.to_owned(), form }, after)))
}

fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well.then_some((name, after))
}

/// The position of the closing brace for the one before this text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// All variables of a value, including those in defaults.
pub fn variables(parts: &[Part]) -> Vec<&Variable> {
    let mut found = Vec::new();
    for part in parts {
        let Part::Variable(variable) = part else { continue };
        found.push(variable);
        match &variable.form {
            Substitution::Default { default: inner, .. }
            | Substitution::Alternative { text: inner, .. } => {
                found.extend(variables(inner));
            }
            Substitution::Plain | Substitution::Required => {}
        }
    }
    found
}

/// The value with variables filled in; `None` if it depends on one that only the guest knows.
pub fn fill(parts: &[Part], known: &dyn Fn(&str) -> Known) -> Option<String> {
    let mut filled = String::new();
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Variable(variable) => filled.push_str(&value(variable, known)?),
        }
    }
    Some(filled)
}

fn value(variable: &Variable, known: &dyn Fn(&str) -> Known) -> Option<String> {
    let value = match known(&variable.name) {
        Known::Secret => return None,
        Known::Value(value) => Some(value),
        Known::Unset => None,
    };
    let filled = value.as_deref().is_some_and(|value| !value.is_empty());
    match &variable.form {
        Substitution::Plain | Substitution::Required => Some(value.unwrap_or_default()),
        Substitution::Default { if_empty, default } => match value {
            Some(value) if filled || !if_empty => Some(value),
            _ => fill(default, known),
        },
        Substitution::Alternative { unless_empty, text } => {
            let applies = filled || (value.is_some() && !unless_empty);
            if applies { fill(text, known) } else { Some(String::new()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Known {
        match name {
            "A" => Known::Value("one".to_owned()),
            "EMPTY" => Known::Value(String::new()),
            "SECRET" => Known::Secret,
            _ => Known::Unset,
        }
    }

    #[test]
    fn every_form_is_filled_in_as_compose_does() {
        for (text, expected) in [
            ("$A-${A}", Some("one-one")),
            ("a$$A", Some("a$A")),
            ("${NO:-d}${NO-d}${EMPTY:-d}${EMPTY-d}", Some("ddd")),
            ("${NO:+x}${A:+x}${EMPTY:+x}${EMPTY+x}", Some("xx")),
            ("${NO:-${NOT:-deep}}}", Some("deep}")),
            ("${NO}", Some("")),
            ("${SECRET}", None),
            ("${SECRET:-8080}", None),
            ("${A:+${SECRET}}", None),
            ("${NO:-$$x}", Some("$x")),
            ("$ $(x) $1 a$", Some("$ $(x) $1 a$")),
            ("${NO:-$(x)}", Some("$(x)")),
        ] {
            let parts = parse(text).unwrap();
            assert_eq!(fill(&parts, &known).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_brace_that_begins_no_variable_is_refused() {
        for text in ["${A", "${1}", "${}", "${A:}", "${A!x}", "${A:-${}"] {
            assert_eq!(parse(text), Err(BadVariable), "{text}");
        }
    }

    #[test]
    fn variables_of_defaults_are_found() {
        let parts = parse("x${A:-${B:-$C}}${D:?no}").unwrap();
        let names: Vec<&str> = variables(&parts).iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["A", "B", "C", "D"]);
    }
}
