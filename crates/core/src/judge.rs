//! What is asked about an app or an instance is answered for one of its CVMs: the first that passes every check.

/// The first CVM that passes every check; else the one that passes the most, the first of equals, with the check
/// that it fails. `Err(None)`: there is no CVM.
pub(crate) fn judge<'a, C, D, I>(
    cvms: impl IntoIterator<Item = &'a C>,
    checks: impl Fn(&'a C) -> I,
) -> Result<&'a C, Option<(&'a C, D)>>
where
    I: IntoIterator<Item = Option<D>>,
{
    let mut best: Option<(usize, &C, D)> = None;
    for cvm in cvms {
        let mut checks = checks(cvm).into_iter().enumerate();
        match checks.find_map(|(passed, denial)| Some((passed, denial?))) {
            None => return Ok(cvm),
            Some((passed, denial)) => {
                if best.as_ref().is_none_or(|(most, ..)| passed > *most) {
                    best = Some((passed, cvm, denial));
                }
            }
        }
    }
    Err(best.map(|(_, cvm, denial)| (cvm, denial)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_one_that_passes_most() {
        let checks = |cvm: &[u8; 2]| cvm.map(|check| (check > 0).then_some(check));
        assert_eq!(judge::<_, u8, _>(&[], checks), Err(None));
        assert_eq!(judge(&[[1, 0], [0, 0]], checks), Ok(&[0, 0]));
        assert_eq!(judge(&[[1, 2], [0, 3], [0, 4]], checks), Err(Some((&[0, 3], 3))));
    }
}
