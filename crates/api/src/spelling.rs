//! Fields that some clients spell otherwise.

/// Two spellings of one field with different values.
#[derive(Debug, thiserror::Error)]
#[error("value_error|`{0}` and `{1}` mean the same field and contradict each other")]
pub(crate) struct Contradiction(&'static str, &'static str);

/// The value of a field with two spellings.
pub(crate) fn one<T: PartialEq>(
    names: (&'static str, &'static str),
    first: Option<T>,
    second: Option<T>,
) -> Result<Option<T>, Contradiction> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => Err(Contradiction(names.0, names.1)),
        (Some(value), _) | (None, Some(value)) => Ok(Some(value)),
        (None, None) => Ok(None),
    }
}
