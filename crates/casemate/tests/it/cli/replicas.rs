//! Replicas of an app: `cvms replicate`, `instances ls`, `add`, `rm`.

use super::home::{COMPOSE, Home, holds};
use serde_json::{Value, json};

const WITH_VARS: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80'], environment: ['TOKEN=${TOKEN}', 'MODE=${MODE}']}}\n";

fn running(compose: &str) -> (Home, String) {
    let home = Home::new();
    home.compose(compose);
    if compose == WITH_VARS {
        home.file(".env", "TOKEN=hunter2-one\nMODE=slow\n");
    }
    home.run(&["up", "--node", "sim", "--json"]).json();
    let info = home.run(&["cvms", "get", "my-shop", "--json"]).json();
    let app = info["app_id"].as_str().unwrap_or_default().to_owned();
    (home, app)
}

fn names(home: &Home, app: &str) -> Vec<String> {
    let all = home.run(&["instances", "ls", app, "--json"]).json();
    let name = |cvm: &Value| cvm["name"].as_str().unwrap_or_default().to_owned();
    all.as_array().into_iter().flatten().map(name).collect()
}

#[test]
fn a_replica_is_made_named_followed_and_told() {
    let (home, app) = running(COMPOSE);
    let text = home.run(&["cvms", "replicate", "my-shop", "--wait"]);
    assert_eq!((text.code, &*text.out), (Some(0), "my-shop-2: running on sim-1\n"), "{text:?}");
    assert!(text.err.contains("starting") && text.err.contains("running"), "progress: {text:?}");

    let quick = home.run(&["cvms", "replicate", "my-shop", "--json"]).json();
    assert_eq!((&quick["name"], &quick["status"]), (&json!("my-shop-3"), &json!("starting")));
    let named = ["cvms", "replicate", "my-shop-2", "--name", "shop-eu", "--node", "SIM-1"];
    let waited = home.run(&[&named[..], &["--wait", "--json"]].concat()).json();
    assert_eq!((&waited["name"], &waited["status"]), (&json!("shop-eu"), &json!("running")));
    assert_eq!(waited["app_id"], app.as_str());
    assert_eq!(names(&home, &app), ["shop-eu", "my-shop-3", "my-shop-2", "my-shop"]);

    let list = home.run(&["instances", "ls", &format!("app_{app}")]);
    assert_eq!(list.out.lines().count(), 5, "{list:?}");
    assert!(list.out.contains("COMPOSE HASH") && list.out.contains("shop-eu"), "{list:?}");

    for (wrong, code, word) in [
        (&["--name", "my-shop"][..], "ERR-01-004", "my-shop"),
        (&["--node", "nowhere"], "no-such-node", "nowhere"),
        (&["--node", "77"], "ERR-01-001", "77"),
        (&["--image", "windows"], "ERR-02-010", "windows"),
        (&["--compose-hash", &"12".repeat(32)], "ERR-02-008", "compose_hash"),
    ] {
        let said = home.run(&[&["cvms", "replicate", "my-shop", "--json"], wrong].concat());
        let error = said.error();
        assert_eq!((said.code, &error["code"]), (Some(1), &json!(code)), "{said:?}");
        assert!(said.err.contains(word), "{said:?}");
    }
    let nobody = home.run(&["cvms", "replicate", "nobody", "--json"]);
    assert_eq!(nobody.error()["code"], "ERR-03-008");
    let several = home.run(&["cvms", "replicate", &app]);
    assert_eq!(several.code, Some(1), "{several:?}");
    assert!(several.err.contains("cvm_") && several.err.contains("try: "), "{several:?}");
    assert_eq!(names(&home, &app).len(), 4, "refused and made all the same");
}

#[test]
fn variables_of_a_replica_are_sealed_and_complete() {
    let (home, app) = running(WITH_VARS);
    home.file("eu.env", "TOKEN=hunter2-eu\nMODE=eu\n");
    let made = ["cvms", "replicate", "my-shop", "--env-file", "eu.env", "-e", "MODE=fast"];
    let made = home.run(&[&made[..], &["--wait", "--json"]].concat()).json();
    assert_eq!(made["status"], "running");
    assert_eq!(holds(&home.data(), "hunter2"), Vec::<std::path::PathBuf>::new());

    let dropping = ["cvms", "replicate", "my-shop", "-e", "TOKEN=hunter2-two"];
    let refused = home.run(&dropping);
    assert_eq!((refused.code, &*refused.out), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("uses MODE") && refused.err.contains("--drop-env"), "{refused:?}");
    assert_eq!(home.run(&[&dropping[..], &["--drop-env"]].concat()).code, Some(0));

    let unknown = ["instances", "add", &app, "-e", "TOKEN=a", "-e", "MODE=b", "-e", "OTHER=c"];
    let refused = home.run(&unknown);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("OTHER") && refused.err.contains("allowed"), "{refused:?}");
    let whole = ["instances", "add", &app, "-e", "eu.env", "--name", "shop-eu", "--wait"];
    let whole = home.run(&whole);
    assert_eq!((whole.code, &*whole.out), (Some(0), "shop-eu: running on sim-1\n"), "{whole:?}");
    assert_eq!(names(&home, &app).len(), 4);
}

#[test]
fn instances_are_added_with_another_file_and_removed() {
    let (home, app) = running(COMPOSE);
    home.file("new.yml", &COMPOSE.replace("1.36", "1.37"));
    home.file("hello.sh", "echo hello\n");
    let add = ["instances", "add", &app, "-c", "new.yml", "--pre-launch-script", "hello.sh"];
    let made = home.run(&[&add[..], &["--wait", "--json"]].concat()).json();
    assert_eq!(made["status"], "running");
    let file = &made["compose_file"];
    assert!(file["docker_compose_file"].as_str().is_some_and(|text| text.contains("1.37")));
    assert_eq!(file["pre_launch_script"], "echo hello\n");

    let several = home.run(&["instances", "add", &app, "--json"]);
    assert_eq!(several.error()["code"], "ERR-03-009", "{several:?}");
    let hash = made["compose_hash"].as_str().expect("a hash");
    let same = ["instances", "add", &app, "--compose-hash", hash, "--json"];
    let same = home.run(&same).json();
    assert_eq!(same["compose_hash"], hash);
    assert_eq!(names(&home, &app).len(), 3);

    let unasked = home.run(&["instances", "rm", &app, "my-shop-2", "--json"]);
    assert_eq!(unasked.error()["code"], "not-confirmed");
    let wrong = home.run(&["instances", "rm", &app, "my-shop-2", "nobody", "--yes", "--json"]);
    assert_eq!(wrong.error()["code"], "not-an-instance");
    assert_eq!(names(&home, &app).len(), 3, "none of them is gone");
    let uuid = made["vm_uuid"].as_str().expect("a uuid");
    let gone = ["instances", "rm", &app, uuid, "my-shop", "my-shop", "--yes", "--wait", "--json"];
    let gone = home.run(&gone).json();
    assert_eq!(gone.as_array().map(Vec::len), Some(2), "{gone}");
    assert_eq!(gone[0]["status"], "deleted");
    let left = names(&home, &app);
    assert_eq!(left.len(), 1, "{left:?}");
    let text = home.run(&["instances", "rm", &app, &left[0], "--yes"]);
    assert_eq!(text.out, format!("{}: deleting\n", left[0]), "{text:?}");
}
