//! The binary as a user runs it: `up` to a running CVM on a simulated node and back, a server killed in
//! between, and texts of refusals.

mod home;
mod replicas;
mod revisions;
mod updates;
mod verify;

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use home::{COMPOSE, Home, Said, holds};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn up_makes_adopts_refuses_and_ends() {
    let home = Home::new();
    fs::write(home.project().join(".env"), "TOKEN='hunter2-in-the-file' # comment\n")
        .expect("a file");
    let up = ["up", "--node", "sim", "--json", "-e", "OTHER=hunter2-in-a-flag"];

    let first = home.run(&up).json();
    assert_eq!((&first["name"], &first["status"]), (&"my-shop".into(), &"running".into()));
    assert_eq!((&first["outcome"], &first["tee"]), (&"created".into(), &"simulated".into()));
    assert_eq!(first["instance_started"], true);
    assert!(first["urls"][0].as_str().is_some_and(|url| url.contains("-8080.")), "{first}");
    assert_eq!(holds(&home.data(), "hunter2"), Vec::<PathBuf>::new(), "plain text was kept");

    let again = home.run(&up).json();
    assert_eq!((&again["id"], &again["outcome"]), (&first["id"], &"unchanged".into()));
    assert_eq!(again["instance_started"], false);

    home.compose(&COMPOSE.replace("8080", "9090"));
    let changed = home.run(&up);
    assert_eq!(changed.code, Some(1));
    let error = changed.error();
    assert_eq!(error["code"], "compose-changed");
    assert!(error["details"].to_string().contains(first["compose_hash"].as_str().expect("a hash")));
    let same = home.run(&["cvms", "get", "my-shop", "--json"]).json();
    assert_eq!(same["compose_hash"], first["compose_hash"], "refused and changed all the same");
    let mut agreed = up.to_vec();
    agreed.push("--yes");
    let updated = home.run(&agreed).json();
    assert_eq!((&updated["id"], &updated["outcome"]), (&first["id"], &"updated".into()));
    assert_eq!(updated["status"], "running");
    assert!(updated["urls"][0].as_str().is_some_and(|url| url.contains("-9090.")), "{updated}");
    home.compose(COMPOSE);
    let back = home.run(&["up", "--no-follow", "--yes", "-e", "OTHER=hunter2-in-a-flag"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.err.contains("-services: {web") && back.err.contains("restart: yes"), "{back:?}");
    assert_eq!(holds(&home.data(), "hunter2"), Vec::<PathBuf>::new(), "plain text was kept");

    let stopped = home.run(&["cvms", "stop", "my-shop", "--wait", "--json"]).json();
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(home.run(&up).json()["outcome"], "started");

    let text = home.run(&["up", "--no-follow", "-e", "OTHER=x"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.out.starts_with("my-shop is running"), "{text:?}");
    assert!(
        text.err.contains("nothing protects") && text.err.contains("keeps the values"),
        "{text:?}"
    );

    let ended = home.run(&["up", "--stop", "--json"]).json();
    assert_eq!((&ended["status"], &ended["instance_ended"]), (&"stopped".into(), &true.into()));
    assert_eq!(home.pid(), None);
}

#[test]
fn a_server_killed_in_the_middle_is_no_loss() {
    let home = Home::new();
    let up = ["up", "--node", "sim", "--json"];
    let slow = home.command(3000, &up).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let slow = slow.expect("casemate runs");
    let deadline = Instant::now() + PATIENCE;
    while home.run(&["cvms", "get", "my-shop", "--json"]).code != Some(0) {
        assert!(Instant::now() < deadline, "no CVM");
        std::thread::sleep(Duration::from_millis(20));
    }
    home.kill();
    let broken = Said::from(slow.wait_with_output().expect("an end"));
    assert_eq!(broken.code, Some(1));
    assert_eq!(broken.error()["code"], "unreachable");

    let again = home.run(&["up", "--json"]).json();
    assert_eq!((&again["status"], &again["outcome"]), (&"running".into(), &"unchanged".into()));
    assert_eq!(again["tee"], "simulated", "the kind of node is remembered");
    assert_eq!(home.run(&["cvms", "ls", "--json"]).json().as_array().map(Vec::len), Some(1));
}

/// The readiness check of an app is shown, set and removed.
fn readiness(home: &Home) {
    let apps = home.run(&["apps", "ls", "--json"]).json();
    let app = apps["dstack_apps"][0]["app_id"].as_str().unwrap_or_default().to_owned();
    let run = |options: &[&str]| home.run(&[&["apps", "readiness", &app], options].concat());
    assert_eq!(run(&["--json"]).json()["check"], Value::Null);
    let set = run(&["--http", "8080/up", "--interval", "1", "--json"]).json();
    assert_eq!((&set["source"], &set["check"]["path"]), (&"api".into(), &"/up".into()));
    assert_eq!(set["check"]["interval_s"], 1);
    let shown = run(&[]);
    assert!(shown.code == Some(0) && shown.out.contains("http 8080/up"), "{shown:?}");
    assert_eq!(run(&["--tcp", "8080", "--json"]).json()["check"]["kind"], "tcp");
    let refused = run(&["--tcp", "1", "--json"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(run(&["--off", "--json"]).json()["source"], "none");
}

#[test]
fn commands_show_and_refuse_as_promised() {
    let home = Home::new();
    let nothing = home.run(&["cvms", "ls", "--json"]);
    assert_eq!((nothing.code, nothing.error()["code"].clone()), (Some(1), "no-server".into()));
    home.run(&["up", "--node", "sim", "--json"]).json();

    for list in ["cvms", "apps", "nodes", "kms", "images", "sizes"] {
        let said = home.run(&[list, "ls"]);
        assert!(said.code == Some(0) && said.out.lines().count() > 1, "{said:?}");
        home.run(&[list, "ls", "--json"]).json();
    }
    let logs = home.run(&["cvms", "logs", "my-shop", "--json"]).json();
    assert!(logs["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{logs}");

    readiness(&home);

    let missing = home.run(&["cvms", "get", "nobody", "--json"]);
    assert_eq!((missing.code, missing.error()["code"].clone()), (Some(1), "ERR-03-001".into()));
    let unasked = home.run(&["cvms", "delete", "my-shop", "--json"]);
    assert_eq!((unasked.code, unasked.error()["code"].clone()), (Some(1), "not-confirmed".into()));
    for usage in [
        &["cvms", "get", "..", "--json"][..],
        &["cvms", "logs", "my-shop", "-f", "--json"],
        &["up", "--name", "no", "--json"],
        &["up", "-e", "nothing", "--json"],
        &["cvms", "update", "my-shop", "--json"],
        &["cvms", "update", "my-shop", "-c", "gone.yml", "--json"],
        &["cvms", "update", "my-shop", "--shutdown-timeout", "5"],
        &["cvms", "resize", "my-shop", "--memory", "much"],
        &["cvms", "resize", "my-shop", "--json"],
        &["cvms", "envs", "update", "my-shop"],
        &["cvms", "envs", "update", "my-shop", "-e", "1A=x", "--json"],
        &["cvms", "ports", "set", "my-shop"],
        &["cvms", "ports", "set", "my-shop", "0"],
        &["cvms", "schedule-delete", "my-shop"],
        &["cvms", "schedule-delete", "my-shop", "--in", "soon"],
        &["cvms", "cancel", "my-shop", "not-an-id"],
        &["apps", "readiness", "x", "--http", "/healthz"],
        &["apps", "readiness", "x", "--tcp", "80", "--off"],
        &["apps", "readiness", "x", "--interval", "3"],
        &["cvms", "batch", "stop"],
        &["cvms", "replicate"],
        &["cvms", "replicate", "my-shop", "--compose-hash", "12"],
        &["cvms", "replicate", "my-shop", "-e", "gone.env", "--json"],
        &["instances", "add", "00", "-c", "gone.yml", "--json"],
        &["instances", "rm", "00"],
        &["cvms", "ls", "--api-url", "http://127.0.0.1:1/api/v1", "--json"],
        &["frobnicate"],
    ] {
        assert_eq!(home.run(usage).code, Some(2), "{usage:?}");
    }
    let gone = home.run(&["cvms", "delete", "my-shop", "--yes", "--wait", "--json"]).json();
    assert_eq!(gone["status"], "deleted");
    assert_eq!(home.run(&["cvms", "ls", "--json"]).json(), Value::Array(Vec::new()));
}
