//! Revisions of an app: list, compare, redeploy.

use super::home::{COMPOSE, Home};
use casemate_core::compose;
use serde_json::{Value, json};

fn revisions(home: &Home) -> Vec<Value> {
    let all = home.run(&["apps", "revisions", "my-shop", "--json"]).json();
    all["revisions"].as_array().cloned().unwrap_or_default()
}

fn hash(home: &Home) -> Value {
    home.run(&["cvms", "get", "my-shop", "--json"]).json()["compose_hash"].clone()
}

#[test]
fn an_app_goes_back_to_an_earlier_revision() {
    let home = Home::new();
    home.run(&["up", "--node", "sim", "--json"]).json();
    let first = hash(&home);
    home.file("new.yml", &COMPOSE.replace("1.36", "1.37"));
    home.run(&["cvms", "update", "my-shop", "-c", "new.yml", "--yes", "--json"]).json();

    let all = revisions(&home);
    let kinds: Vec<&Value> = all.iter().map(|one| &one["operation_type"]).collect();
    assert_eq!(kinds, ["update", "deploy"]);
    let id = |at: usize| all[at]["revision_id"].as_str().expect("an id");
    let text = home.run(&["apps", "revisions", "my-shop"]);
    assert!(text.out.contains(id(0)) && text.out.contains("deploy"), "{text:?}");
    let by_id = all[0]["app_id"].as_str().expect("an app id");
    let paged = home.run(&["apps", "revisions", by_id, "--page-size", "1"]);
    assert!(paged.err.contains("2 revisions in total; next page: --page 2"), "{paged:?}");

    let shown = home.run(&["apps", "revision", "my-shop", id(1)]);
    assert!(shown.out.ends_with(COMPOSE) && shown.out.contains("deploy"), "{shown:?}");
    let raw = home.run(&["apps", "revision", "my-shop", id(1), "--raw"]);
    assert_eq!(compose::hash(&raw.out).to_string(), first.as_str().expect("a hash"));

    let diff = home.run(&["apps", "diff", "my-shop", id(1), id(0)]);
    for line in ["docker-compose.yml", "  -services: {web: {image: 'busybox:1.36'"] {
        assert!(diff.out.contains(line), "{line}: {diff:?}");
    }
    let same = home.run(&["apps", "diff", "my-shop", id(0), id(0)]);
    assert_eq!((same.code, same.out.as_str()), (Some(0), ""), "{same:?}");

    let back = ["apps", "redeploy", "my-shop", id(1)];
    let refused = home.run(&back);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    for word in ["+services", "restart: yes", "the change restarts my-shop", "--yes"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let refused = home.run(&[&back[..], &["--json"]].concat());
    assert_eq!(refused.error()["code"], "not-confirmed");
    assert_ne!(hash(&home), first, "nothing was sent");

    let done = home.run(&[&back[..], &["--yes", "--json"]].concat()).json();
    let cvm = &done["cvms"][0];
    assert_eq!((&done["status"], &cvm["status"]), (&json!("in_progress"), &json!("running")));
    assert_eq!(cvm["operation"]["state"], "succeeded");
    assert_eq!(cvm["operation"]["correlation_id"], cvm["correlation_id"]);
    assert_eq!(hash(&home), first);
    assert_eq!(revisions(&home)[0]["operation_type"], "redeploy");
    let again = home.run(&back);
    assert_eq!(again.out, "my-shop: nothing to change\n", "what restarts nothing needs no --yes");
    assert_eq!(revisions(&home).len(), 3);
    let forth = ["apps", "redeploy", "my-shop", id(0), "--cvm", "my-shop", "--yes"];
    let forth = home.run(&forth);
    assert_eq!(forth.out, format!("my-shop: {}, running\n", id(0)), "{forth:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_way_out() {
    let home = Home::new();
    home.compose("services: {web: {image: 'busybox:1.36', environment: ['TOKEN=${TOKEN}']}}\n");
    home.file(".env", "TOKEN=hunter2\n");
    home.run(&["up", "--node", "sim", "--json"]).json();
    let more = ["cvms", "envs", "update", "my-shop", "-e", "TOKEN=a", "-e", "EXTRA=b", "--yes"];
    assert_eq!(home.run(&more).code, Some(0));
    let old = revisions(&home).remove(1);
    let old = old["revision_id"].as_str().expect("an id").to_owned();
    let back = ["apps", "redeploy", "my-shop", &old, "--yes"];
    let refused = home.run(&back);
    assert_eq!(refused.code, Some(1));
    for word in ["ERR-03-017", "drops EXTRA", "--allow-env-mismatch"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let kept = home.run(&[&back[..], &["--allow-env-mismatch", "--json"]].concat()).json();
    assert_eq!(kept["cvms"][0]["status"], "running");
    assert_eq!(kept["cvms"][0]["operation"]["env_report"]["removed"], json!(["EXTRA"]));

    for (args, code, word) in [
        (&["revisions", "nobody"][..], 1, "nobody"),
        (&["revision", "my-shop", "rev_x"], 1, "rev_x"),
        (&["diff", "my-shop", &old, "rev_0000000000"], 1, "revision was not found"),
        (&["redeploy", "my-shop", &old, "--cvm", "other"], 2, "other"),
        (&["redeploy", "my-shop", &old, "--cvm", "my-shop", "--all"], 2, "--all"),
        (&["redeploy", "my-shop", "rev_x"], 1, "rev_x"),
    ] {
        let said = home.run(&[&["apps"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
}
