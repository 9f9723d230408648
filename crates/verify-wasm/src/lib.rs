//! `casemate-verify` in a browser.
//!
//! One function, JSON in and JSON out, so that the page needs no types of ours. The page gives the time, because
//! WebAssembly has no clock, and the files, because nothing here asks a network.

use casemate_verify::{Bundle, Expected, Policy, Roots, Verdict, hexes::HexBytes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::wasm_bindgen;

/// What the page asks with, beside the bundle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The time to judge at.
    now: Timestamp,
    /// A policy, TOML or JSON; empty for the default.
    #[serde(default)]
    policy: String,
    /// Development roots by name.
    #[serde(default)]
    roots: Vec<Root>,
    /// A JSON Web Key Set for GPU tokens; empty for none.
    #[serde(default)]
    gpu_keys: String,
    /// The caller's nonce.
    #[serde(default)]
    nonce: Option<HexBytes>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    name: String,
    pem: String,
}

/// What the page gets: a verdict, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
enum Reply {
    Verdict {
        verified_at: Timestamp,
        collected_at: Timestamp,
        cvm: Option<String>,
        #[serde(flatten)]
        verdict: Box<Verdict>,
    },
    Error {
        error: String,
    },
}

/// Verifies a bundle. `options` is a JSON object: `now` (RFC 3339), and optionally `policy`, `roots`
/// (`[{"name", "pem"}]`), `gpu_keys` and `nonce`. Returns the verdict as JSON, or `{"error": …}`.
#[wasm_bindgen]
pub fn verify(bundle: &[u8], options: &str) -> String {
    let reply = judge(bundle, options).unwrap_or_else(|error| Reply::Error { error });
    serde_json::to_string(&reply)
        .unwrap_or_else(|_| r#"{"error":"the verdict is not JSON"}"#.to_owned())
}

fn judge(bundle: &[u8], options: &str) -> Result<Reply, String> {
    let options: Options = serde_json::from_str(options)
        .map_err(|error| format!("the options are not valid: {error}"))?;
    let bundle = Bundle::parse(bundle).map_err(|error| error.to_string())?;
    let policy = Policy::parse(&options.policy).map_err(|error| error.to_string())?;
    let mut roots = Roots::vendors();
    for root in &options.roots {
        roots = roots
            .with_development(&root.name, root.pem.as_bytes())
            .map_err(|error| error.to_string())?;
    }
    if !options.gpu_keys.trim().is_empty() {
        roots = roots.with_gpu_keys(&options.gpu_keys).map_err(|error| error.to_string())?;
    }
    let expected = Expected { nonce: options.nonce.map(|nonce| nonce.0), ..Expected::default() };
    let verdict = casemate_verify::verify(&bundle, &policy, &roots, &expected, options.now);
    Ok(Reply::Verdict {
        verified_at: options.now,
        collected_at: bundle.collected_at,
        cvm: bundle.cvm.name.or(bundle.cvm.id),
        verdict: Box::new(verdict),
    })
}

#[cfg(test)]
mod tests {
    use casemate_verify::simulate::{DevelopmentRoot, TdReport};
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "2026-11-30T12:00:00Z";

    fn ask(bundle: &Value, options: &Value) -> Value {
        serde_json::from_str(&verify(bundle.to_string().as_bytes(), &options.to_string())).unwrap()
    }

    fn bundle(root: &DevelopmentRoot) -> Value {
        let quote = root.quote(&TdReport::default()).unwrap();
        json!({
            "format": "casemate-bundle/1",
            "collected_at": AT,
            "cvm": { "name": "hello" },
            "tdx": {
                "quote": HexBytes(quote),
                "collateral": root.collateral(AT.parse().unwrap()).unwrap(),
                "event_log": [],
            },
        })
    }

    #[test]
    fn json_in_and_json_out() {
        let root = DevelopmentRoot::from_seed(&[3; 32]).unwrap();
        let roots = json!([{ "name": "laptop", "pem": root.certificate_pem().unwrap() }]);
        let policy = "simulated = true\nrequired = ['hardware']";
        let reply = ask(
            &bundle(&root),
            &json!({ "now": AT, "policy": policy, "roots": roots, "nonce": "" }),
        );
        assert_eq!((&reply["outcome"], &reply["cvm"]), (&"simulated".into(), &"hello".into()));
        let without = ask(&bundle(&root), &json!({ "now": AT }));
        assert_eq!(without["outcome"], "failed");
        assert_eq!(without["claims"][0]["reason"]["code"], "unknown-root");
    }

    #[test]
    fn every_refusal_is_an_error_in_words() {
        let root = DevelopmentRoot::from_seed(&[3; 32]).unwrap();
        let bundle = bundle(&root);
        let cases = [
            (json!({}), json!({ "now": AT }), "casemate-bundle/1"),
            (bundle.clone(), json!({}), "missing field `now`"),
            (bundle.clone(), json!({ "now": AT, "policy": "x = 1" }), "the policy is not valid"),
            (bundle.clone(), json!({ "now": AT, "roots": [{"name": "r", "pem": ""}] }), "root r"),
            (bundle.clone(), json!({ "now": AT, "gpu_keys": "{}" }), "JSON Web Key Set"),
            (bundle, json!({ "now": AT, "nonce": "x" }), "expected hex"),
        ];
        for (bundle, options, words) in cases {
            let error = ask(&bundle, &options)["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(words), "{error}");
        }
    }
}
