//! Commands that change a CVM: the difference, the confirmation, the change.

use super::home::{COMPOSE, Home, holds};
use serde_json::{Value, json};

const WITH_VARS: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80'], environment: ['TOKEN=${TOKEN}', 'MODE=${MODE}']}}\n";

/// A running CVM with variables that its file uses.
fn running() -> Home {
    let home = Home::new();
    home.compose(WITH_VARS);
    home.file(".env", "TOKEN=hunter2-one\nMODE=slow\n");
    home.run(&["up", "--node", "sim", "--json"]).json();
    home
}

fn get(home: &Home) -> Value {
    home.run(&["cvms", "get", "my-shop", "--json"]).json()
}

fn operations(home: &Home) -> Value {
    home.run(&["cvms", "operations", "my-shop", "--json"]).json()
}

#[test]
fn an_update_is_shown_asked_and_followed() {
    let home = running();
    let before = get(&home);
    home.file("new.yml", &WITH_VARS.replace("1.36", "1.37"));
    let update =
        ["cvms", "update", "my-shop", "-c", "new.yml", "--vcpu", "2", "--public-logs=false"];

    let refused = home.run(&update);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    for shown in ["+services", "-services", "vcpu", "1 → 2", "public logs", "restart: yes", "--yes"]
    {
        assert!(refused.err.contains(shown), "{shown}: {}", refused.err);
    }
    assert!(!refused.err.contains('\u{1b}'), "no colours where nobody looks");
    let refused = home.run(&[&update[..], &["--json"]].concat());
    assert_eq!((refused.code, refused.error()["code"].clone()), (Some(1), "not-confirmed".into()));
    assert_eq!(operations(&home)["total"], 1, "refused and sent all the same");
    assert_eq!(get(&home), before);

    let done = home.run(&[&update[..], &["--yes", "--json"]].concat()).json();
    assert_eq!((&done["effect"], &done["restart"]), (&json!("restart"), &json!(true)), "{done}");
    assert_eq!((&done["name"], &done["status"]), (&json!("my-shop"), &json!("running")));
    assert_eq!(done["operation"]["correlation_id"], done["correlation_id"]);
    assert_eq!(done["operation"]["state"], "succeeded");
    assert!(
        done["diff"]["texts"]["docker-compose.yml"].as_str().unwrap_or_default().contains("1.37")
    );
    let vcpu = json!({ "field": "vcpu", "from": "1", "to": "2" });
    assert!(done["diff"]["settings"].as_array().is_some_and(|rows| rows.contains(&vcpu)), "{done}");
    let after = get(&home);
    assert_eq!((&after["resource"]["vcpu"], &after["public_logs"]), (&json!(2), &json!(false)));

    let again = home.run(&[&update[..], &["--json"]].concat()).json();
    assert_eq!((&again["effect"], &again["correlation_id"]), (&json!("nothing"), &Value::Null));
    let text =
        home.run(&["cvms", "update", "my-shop", "--listed=false", "--shutdown-timeout", "30"]);
    assert_eq!(text.code, Some(0), "what restarts nothing needs no --yes: {text:?}");
    assert_eq!(text.out, "my-shop: updated, running\n");
    assert!(text.err.contains("on → off") && text.err.contains("restart: no"), "{text:?}");
    let text = home.run(&["cvms", "update", "my-shop", "--listed=false"]);
    assert_eq!(text.out, "my-shop: nothing to change\n", "{text:?}");

    for (wrong, word) in [
        (&["--disk", "1"][..], "disk_size"),
        (&["--image", "windows"], "image"),
        (&["--instance-type", "huge"], "huge"),
        (&["--vcpu", "100000"], "vcpu"),
    ] {
        let said = home.run(&[&["cvms", "update", "my-shop", "--yes"], wrong].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.err.contains(word) && said.err.contains("try: "), "{word}: {}", said.err);
    }
    assert_eq!(get(&home)["resource"], after["resource"]);
}

#[test]
fn what_is_off_is_changed_without_a_question() {
    let home = running();
    home.run(&["cvms", "stop", "my-shop", "--wait", "--json"]).json();
    let done = home.run(&["cvms", "resize", "my-shop", "--memory", "4G", "--json"]).json();
    assert_eq!((&done["restart"], &done["status"]), (&json!(false), &json!("stopped")), "{done}");
    let text = home.run(&["cvms", "resize", "my-shop", "--disk", "40G"]);
    assert!(text.err.contains("applied at the next start"), "{text:?}");
    let info = get(&home);
    assert_eq!(
        (&info["status"], &info["resource"]["memory_in_gb"]),
        (&json!("stopped"), &json!(4.0))
    );
}

#[test]
fn variables_are_named_and_never_shown() {
    let home = running();
    let names = home.run(&["cvms", "envs", "ls", "my-shop", "--json"]).json();
    let used = |name: &str| json!({ "name": name, "used": true });
    assert_eq!(names, json!([used("TOKEN"), used("MODE")]));

    let dropping =
        ["cvms", "envs", "update", "my-shop", "-e", "TOKEN=hunter2-two", "-e", "EXTRA=1"];
    let refused = home.run(&[&dropping[..], &["--yes"]].concat());
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("uses MODE") && refused.err.contains("--drop-env"), "{refused:?}");

    home.file("prod.env", "TOKEN=hunter2-three\nMODE=fast\n");
    let whole = ["cvms", "envs", "update", "my-shop", "-e", "prod.env", "-e", "EXTRA=1", "--yes"];
    let done = home.run(&whole);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.err.contains("+ EXTRA") && done.err.contains("= TOKEN"), "{done:?}");
    assert!(!format!("{done:?}{refused:?}").contains("hunter2"), "a value was shown");

    let gone = home.run(&[&dropping[..], &["--yes", "--drop-env", "--json"]].concat()).json();
    assert_eq!(gone["env_report"]["missing"], json!(["MODE"]), "{gone}");
    assert_eq!(gone["diff"]["env"]["removed"], json!(["MODE"]));
    let names = home.run(&["cvms", "envs", "ls", "my-shop"]);
    assert!(names.out.contains("TOKEN") && !names.out.contains("MODE"), "{names:?}");
    assert_eq!(holds(&home.data(), "hunter2"), Vec::<std::path::PathBuf>::new());

    let both = home.run(&["up", "--json", "--yes", "-e", "EXTRA=2"]).json();
    assert_eq!(both["outcome"], "updated", "other names are another document: {both}");
    home.file(".env", "TOKEN=x\n");
    let refused = home.run(&["up", "--json", "--yes"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error()["message"].to_string().contains("uses MODE"), "{refused:?}");
}

#[test]
fn a_failed_update_says_why_and_is_taken_back() {
    let home = running();
    let before = get(&home);
    home.file("bad.yml", &format!("{WITH_VARS}x-sim-boot: fail\n"));
    let failed = home.run(&["cvms", "update", "my-shop", "-c", "bad.yml", "--yes", "--json"]);
    assert_eq!(failed.code, Some(1));
    let error = failed.error();
    assert_eq!(error["code"], "boot_failed", "{error}");
    assert!(error["details"].to_string().contains("previous configuration"), "{error}");
    assert!(error["suggestions"].to_string().contains("operations my-shop --steps"), "{error}");
    let after = get(&home);
    assert_eq!(
        (&after["status"], &after["compose_hash"]),
        (&json!("running"), &before["compose_hash"])
    );
    let up = home.run(&["up", "bad.yml", "--name", "my-shop", "--yes", "--json"]);
    assert_eq!((up.code, up.error()["code"].clone()), (Some(1), "boot_failed".into()));

    let listed = home.run(&["cvms", "operations", "my-shop", "--steps"]);
    assert_eq!(listed.code, Some(0));
    for word in ["rollback", "failed", "create", "push", "boot"] {
        assert!(listed.out.contains(word), "{word}: {}", listed.out);
    }
    let one = home.run(&["cvms", "operations", "my-shop", "--limit", "1", "--kind", "update"]);
    assert!(one.out.lines().count() == 2 && one.out.contains("update"), "{one:?}");
}

#[test]
fn what_is_under_way_can_be_left_alone_or_called_off() {
    let home = running();
    let idle = home.run(&["cvms", "cancel", "my-shop", "--json"]);
    assert_eq!((idle.code, idle.error()["code"].clone()), (Some(1), "nothing-to-cancel".into()));

    let before = get(&home);
    home.file("deaf.yml", &format!("{WITH_VARS}x-sim-boot: never\n"));
    let update = ["cvms", "update", "my-shop", "-c", "deaf.yml", "--yes", "--no-wait", "--json"];
    let accepted = home.run(&update).json();
    assert_eq!(accepted["operation"], Value::Null);
    let id = accepted["correlation_id"].as_str().expect("an operation").to_owned();
    let late = ["cvms", "resize", "my-shop", "--disk", "40", "--yes", "--timeout", "0", "--json"];
    let late = home.run(&late);
    assert_eq!((late.code, late.error()["code"].clone()), (Some(1), "timeout".into()));

    let done = home.run(&["cvms", "cancel", "my-shop", &id, "--json"]).json();
    assert_eq!((&done["cancelled"], &done["correlation_id"]), (&json!(true), &json!(id)));
    assert!(done["rollback_correlation_id"].is_string(), "{done}");
    assert_eq!(get(&home)["compose_hash"], before["compose_hash"]);
}

#[test]
fn names_ports_times_and_batches() {
    let home = running();
    let renamed = home.run(&["cvms", "rename", "my-shop", "our-shop", "--json"]).json();
    assert_eq!(
        (&renamed["name"], &renamed["name_before"]),
        (&json!("our-shop"), &json!("my-shop"))
    );
    home.compose(COMPOSE);
    home.run(&["up", "--json"]).json();
    let taken = home.run(&["cvms", "rename", "our-shop", "my-shop"]);
    assert_eq!(taken.code, Some(1));
    assert!(taken.err.contains("already in use"), "{taken:?}");

    assert_eq!(home.run(&["cvms", "ports", "ls", "our-shop", "--json"]).json(), json!([]));
    let ports = ["cvms", "ports", "set", "our-shop", "8443:443", "53/udp"];
    let refused = home.run(&ports);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("none → 8443:443/tcp ?:53/udp"), "{refused:?}");
    let done = home.run(&[&ports[..], &["--yes", "--json"]].concat()).json();
    assert_eq!((&done["ports"][0]["host_port"], &done["restart"]), (&json!(8443), &json!(true)));
    let listed = home.run(&["cvms", "ports", "ls", "our-shop"]);
    assert!(listed.out.contains("8443") && listed.out.contains("udp"), "{listed:?}");
    let from =
        home.run(&["cvms", "ports", "set", "our-shop", "22", "--from", "10.0.0.0/8", "--yes"]);
    assert!(from.code == Some(1) && from.err.contains("source_cidrs"), "{from:?}");

    let later = ["cvms", "schedule-delete", "our-shop", "--in", "7d", "--json"];
    let unasked = home.run(&later);
    assert_eq!((unasked.code, unasked.error()["code"].clone()), (Some(1), "not-confirmed".into()));
    let set = home.run(&[&later[..], &["--yes"]].concat()).json();
    assert!(set["scheduled_delete_at"].is_string(), "{set}");
    let past = ["cvms", "schedule-delete", "our-shop", "--at", "2020-01-01T00:00:00Z", "--yes"];
    assert_eq!(home.run(&past).code, Some(1));
    let never = home.run(&["cvms", "schedule-delete", "our-shop", "--never"]);
    assert_eq!(never.out, "our-shop: no deletion scheduled\n", "{never:?}");

    let stop = ["cvms", "batch", "stop", "our-shop", "my-shop", "nobody", "--wait", "--json"];
    let some = home.run(&stop);
    assert_eq!(some.code, Some(1));
    let told: Value = serde_json::from_str(&some.out).expect("what was done");
    assert_eq!((&told["stopped"], &told["errors"][0]["cvm_id"]), (&json!(2), &json!("nobody")));
    assert!(some.err.contains("batch-incomplete"), "{some:?}");
    let again = home.run(&stop[..5]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "0 stopping, 2 already stopped\n"));
    let many = vec!["x"; 51];
    assert_eq!(home.run(&[&["cvms", "batch", "stop"], &many[..]].concat()).code, Some(2));
}

#[test]
fn another_instance_id_is_given_and_data_are_lost_only_on_request() {
    let home = running();
    let before = get(&home);
    let renew = ["cvms", "new-instance-id", "my-shop", "--json"];
    let unasked = home.run(&renew);
    assert_eq!((unasked.code, unasked.error()["code"].clone()), (Some(1), "not-confirmed".into()));
    let refused = home.run(&[&renew[..], &["--yes"]].concat());
    assert_eq!((refused.code, refused.error()["code"].clone()), (Some(1), "ERR-20-016".into()));
    assert_eq!(get(&home)["instance_id"], before["instance_id"]);
    let done = home.run(&[&renew[..], &["--yes", "--allow-data-loss"]].concat()).json();
    let after = get(&home);
    assert_eq!(
        (&done["new_instance_id"], &after["status"]),
        (&after["instance_id"], &json!("running"))
    );
    assert!(after["instance_id"].is_string() && after["instance_id"] != before["instance_id"]);
}
