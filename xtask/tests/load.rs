//! The load generator takes what `cargo xtask bench` gives it. That this test exists makes `cargo test` build the
//! program, which `cargo xtask test` runs later.

use std::process::Command;

#[test]
fn it_takes_the_arguments_of_bench() {
    let mut load = Command::new(env!("CARGO_BIN_EXE_xtask-bench"));
    let output = load.args(["run", "--help"]).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let help = String::from_utf8(output.stdout).expect("text");
    for argument in ["--short", "--gate", "--cvms", "--json", "<BINARY>"] {
        assert!(help.contains(argument), "{argument}: {help}");
    }
}
