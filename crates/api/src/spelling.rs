//! Fields that some clients spell otherwise.

/// Two spellings of one field with different values.
#[derive(Debug, thiserror::Error)]
#[error("value_error|`{0}` and `{1}` mean the same field and contradict each other")]
pub(crate) struct Contradiction(&'static str, &'static str);

/// The value of a field under all its spellings; those that are given agree.
pub(crate) fn one<T: PartialEq, const N: usize>(
    spellings: [(&'static str, Option<T>); N],
) -> Result<Option<T>, Contradiction> {
    let mut said: Option<(&'static str, T)> = None;
    for (name, value) in spellings {
        match (&said, value) {
            (None, Some(value)) => said = Some((name, value)),
            (Some((other, first)), Some(value)) if *first != value => {
                return Err(Contradiction(other, name));
            }
            _ => {}
        }
    }
    Ok(said.map(|(_, value)| value))
}
