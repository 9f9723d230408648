//! `cargo xtask verify-page`: the verifier as one HTML file that needs no server and no network.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::stage::{cargo, command, say};

const TARGET: &str = "wasm32-unknown-unknown";
const OUT: &str = "target/verify-page";
const WWW: &str = "crates/verify-wasm/www";

/// Builds the module, its glue and the page `target/verify-page/verify.html`.
pub fn run() -> anyhow::Result<()> {
    tool_there()?;
    let mut build =
        cargo(&["build", "-p", "casemate-verify-wasm", "--release", "--target", TARGET]);
    // A page is downloaded: small before fast.
    build
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    command(&mut build)?;
    let module = format!("target/{TARGET}/release/casemate_verify_wasm.wasm");
    let mut bind = Command::new("wasm-bindgen");
    bind.args(["--target", "no-modules", "--no-typescript", "--out-name", "verify"]);
    command(bind.args(["--out-dir", OUT]).arg(module))?;
    let page = page()?;
    fs::write(Path::new(OUT).join("verify.html"), &page)?;
    say(&format!("{OUT}/verify.html: {} KiB", page.len() >> 10));
    Ok(())
}

fn page() -> anyhow::Result<String> {
    let read = |path: String| fs::read_to_string(&path).context(path);
    let module = fs::read(Path::new(OUT).join("verify_bg.wasm")).context("the module")?;
    let glue = read(format!("{OUT}/verify.js"))?;
    let code = read(format!("{WWW}/page.js"))?.replace("/*MODULE*/", &STANDARD.encode(module));
    let page = read(format!("{WWW}/page.html"))?;
    if glue.contains("</script") {
        bail!("the glue ends the script element it is put into");
    }
    Ok(page.replace("/*GLUE*/", &glue).replace("/*PAGE*/", &code))
}

/// wasm-bindgen's command must have the version of its library.
fn tool_there() -> anyhow::Result<()> {
    let lock = fs::read_to_string("Cargo.lock")?;
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"wasm-bindgen\"\n"))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .context("Cargo.lock has no wasm-bindgen")?;
    let found = Command::new("wasm-bindgen").arg("--version").output();
    let found = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if found.is_ok_and(|found| found.ends_with(version)) {
        return Ok(());
    }
    bail!(
        "wasm-bindgen {version} is missing: rustup target add {TARGET} && \
         cargo install wasm-bindgen-cli --version {version} --locked"
    )
}
