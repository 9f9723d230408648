//! `casemate verify`: judges a bundle of evidence. It reads the named files and nothing else; no network, no server.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use casemate_core::time::Clock;
use casemate_server::system::SystemClock;
use casemate_verify::{
    Bundle, Expected, Outcome, Policy, Roots, Verdict, bundle::MAX_BUNDLE, hexes::HexBytes,
};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::{cli::Global, fail::Fail, table, ui};

/// Exit code: no claim failed, but a required one is not shown.
const MISSING: u8 = 3;
/// The longest file beside the bundle.
const MAX_FILE: usize = 1 << 20;

/// Verify a bundle of evidence about a CVM, offline.
///
/// Every claim ends as proven, failed or not shown, with what shows it or why not. Claims under a development root
/// are called simulated: they prove nothing about hardware. docs/bundle.md describes bundle and policy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate verify bundle.json --policy policy.toml
  casemate verify bundle.json --nonce 00112233445566778899aabbccddeeff --json
  casemate verify bundle.json --root laptop=development-root.pem --policy dev.toml
  casemate verify old.json --now 2026-11-30T12:00:00Z

Exit codes: 0 every required claim is proven, 1 a claim failed or the bundle is not valid, 2 usage, 3 a required claim
is not shown.")]
pub struct Verify {
    /// The bundle.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to accept, in TOML or JSON. Without it: real hardware, up to date, no debugging, and an OS image that
    /// the policy lists, so that nothing passes without a policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A development root by name: evidence under it is reported as simulated. May be repeated.
    #[arg(long = "root", value_name = "NAME=FILE", value_parser = named_file)]
    roots: Vec<(String, PathBuf)>,
    /// The keys that sign GPU tokens (a JSON Web Key Set).
    #[arg(long, value_name = "FILE")]
    gpu_keys: Option<PathBuf>,
    /// The nonce that you asked with.
    #[arg(long, value_name = "HEX", value_parser = hex)]
    nonce: Option<HexBytes>,
    /// The time to judge at [default: now].
    #[arg(long, value_name = "RFC3339")]
    now: Option<Timestamp>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

fn hex(text: &str) -> Result<HexBytes, String> {
    HexBytes::parse(text).ok_or_else(|| "expected hex".to_owned())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    verified_at: Timestamp,
    collected_at: Timestamp,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

pub fn run(global: &Global, args: &Verify) -> Result<(), Fail> {
    let bundle = read(&args.file, MAX_BUNDLE)?;
    let bundle = Bundle::parse(&bundle).map_err(|error| {
        Fail::new("bundle", error.to_string()).detail("file", args.file.display().to_string())
    })?;
    let policy = match &args.policy {
        Some(file) => {
            Policy::parse(&text(file)?).map_err(|error| Fail::usage(error.to_string()))?
        }
        None => Policy::default(),
    };
    let roots = roots(args)?;
    let now = match args.now {
        Some(now) => now,
        None => Timestamp::from_microsecond(SystemClock.now().micros())
            .map_err(|error| Fail::new("clock", error.to_string()))?,
    };
    let expected =
        Expected { nonce: args.nonce.clone().map(|nonce| nonce.0), ..Expected::default() };
    let verdict = casemate_verify::verify(&bundle, &policy, &roots, &expected, now);
    if global.json {
        ui::json(&Report {
            verified_at: now,
            collected_at: bundle.collected_at,
            verdict: &verdict,
        });
    } else {
        print(&bundle, &verdict, now);
    }
    exit(&verdict)
}

fn roots(args: &Verify) -> Result<Roots, Fail> {
    let mut roots = Roots::vendors();
    for (name, file) in &args.roots {
        let certificate = read(file, MAX_FILE)?;
        roots = roots
            .with_development(name, &certificate)
            .map_err(|error| Fail::usage(error.to_string()))?;
    }
    if let Some(file) = &args.gpu_keys {
        roots =
            roots.with_gpu_keys(&text(file)?).map_err(|error| Fail::usage(error.to_string()))?;
    }
    Ok(roots)
}

fn text(file: &Path) -> Result<String, Fail> {
    let bytes = read(file, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|_| Fail::usage(format!("{} is not text", file.display())))
}

/// Reads one byte more than the limit at most, so that the reader of the file can name the excess.
fn read(file: &Path, limit: usize) -> Result<Vec<u8>, Fail> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file)
        .and_then(|opened| opened.take(most).read_to_end(&mut bytes))
        .map_err(|error| Fail::usage(format!("cannot read {}: {error}", file.display())))?;
    Ok(bytes)
}

fn print(bundle: &Bundle, verdict: &Verdict, now: Timestamp) {
    let name = bundle.cvm.name.clone().or_else(|| bundle.cvm.id.clone());
    table::facts(&[
        ("cvm", table::or_none(name)),
        ("collected", bundle.collected_at.to_string()),
        ("verified", now.to_string()),
    ]);
    let rows = verdict.claims.iter().map(|claim| {
        let required = if claim.required { "required" } else { table::NONE };
        let state = claim.state.word().to_owned();
        vec![claim.claim.to_string(), state, required.to_owned(), claim.text.clone()]
    });
    table::print(&["claim", "state", "policy", "because"], rows.collect(), "no claims");
    ui::line(match verdict.outcome {
        Outcome::Proven => "verified: every required claim is proven",
        Outcome::Simulated => {
            "simulated: every required claim holds under a development root; nothing is proven about hardware"
        }
        Outcome::Failed => "not verified: a claim failed",
        Outcome::Missing => "not verified: a required claim is not shown",
    });
}

fn exit(verdict: &Verdict) -> Result<(), Fail> {
    match verdict.outcome {
        Outcome::Proven | Outcome::Simulated => Ok(()),
        Outcome::Failed => {
            let failed: Vec<_> = verdict.reasons().collect();
            let names: Vec<String> = failed.iter().map(|(claim, _)| claim.to_string()).collect();
            let mut fail = Fail::new("claim-failed", format!("failed: {}", names.join(", ")));
            for (claim, reason) in failed {
                fail = fail.detail(claim.name(), reason.to_string());
            }
            Err(fail)
        }
        Outcome::Missing => {
            let missing =
                verdict.claims.iter().filter(|claim| claim.required && !claim.state.is_proven());
            let missing: Vec<_> = missing.collect();
            let names: Vec<&str> = missing.iter().map(|claim| claim.claim.name()).collect();
            let message = format!("not shown: {}", names.join(", "));
            let mut fail = Fail { exit: MISSING, ..Fail::new("claim-missing", message) };
            for claim in missing {
                fail = fail.detail(claim.claim.name(), claim.text.clone());
            }
            Err(fail.suggest(
                "Give a policy that says what to expect (--policy), or one that does not require the claim.",
            ))
        }
    }
}
