//! The verifier as a page: one file (`cargo xtask verify-page`), which an operator configures. Its policy allows what is
//! in it and no request to anywhere.

use std::{fs, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Most bytes of the page; it has about two megabytes.
const LONGEST: u64 = 16 << 20;

/// The page, with its policy.
#[derive(Debug, Clone)]
pub struct VerifyPage {
    /// HTML.
    pub text: Bytes,
    /// Its content security policy.
    pub policy: Arc<str>,
}

impl VerifyPage {
    /// Reads the file that `cargo xtask verify-page` writes. The error says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let size = fs::metadata(path).map_err(|error| wrong(&error.to_string()))?.len();
        if size > LONGEST {
            return Err(wrong("has more than 16 MiB"));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        let scripts = hashes(&text, "script");
        if scripts.is_empty() || !text.contains("wasm_bindgen") {
            return Err(wrong("is not the page that `cargo xtask verify-page` writes"));
        }
        let policy = format!(
            "default-src 'none'; script-src 'wasm-unsafe-eval' {}; style-src {}; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            scripts.join(" "),
            hashes(&text, "style").join(" ")
        );
        Ok(Self { text: text.into(), policy: policy.into() })
    }
}

/// The content of each element of this name without attributes, as a source of a content security policy.
fn hashes(page: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let contents = page.split(&*open).skip(1).filter_map(|rest| Some(rest.split_once(&*close)?.0));
    contents.map(|text| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_what_is_in_the_page_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verify.html");
        let page = "<style>p{}</style><script>alert(1)</script><script>wasm_bindgen()</script>";
        fs::write(&path, page).unwrap();
        let policy = VerifyPage::read(&path).unwrap().policy;
        // As `openssl dgst -sha256 -binary | base64` says of `alert(1)`.
        assert!(
            policy.contains("'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"),
            "{policy}"
        );
        assert_eq!(policy.matches("sha256-").count(), 3);
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("connect-src"));
        for other in ["", "<script>alert(1)</script>", "wasm_bindgen"] {
            fs::write(&path, other).unwrap();
            assert!(VerifyPage::read(&path).unwrap_err().contains("verify-page"), "{other}");
        }
        assert!(VerifyPage::read(&dir.path().join("none")).is_err());
    }
}
