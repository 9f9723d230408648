//! SSH keys over HTTP, and a local stand-in for GitHub.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State};
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::common::{World, provision_body};

const PATH: &str = "/user/ssh-keys";
const ONE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjGgqcDhePenBbqLZfk0DOiXKtcN2Xrr+kwKtJpSPtj me@host";
const TWO: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH9VZqP567jrOXJ01VptaJRPPSTtYJRvxsSrl4mzE7f5 me@host";

/// What the stand-in answers at any path but `/nobody.keys`; and the paths it was asked.
#[derive(Debug, Default)]
struct Keys {
    answer: (u16, String),
    asked: Vec<String>,
}

#[derive(Debug, Clone)]
struct Github {
    url: String,
    keys: Arc<Mutex<Keys>>,
}

impl Github {
    async fn start() -> Self {
        let keys: Arc<Mutex<Keys>> = Arc::default();
        let router = Router::new().fallback(answer).with_state(keys.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, keys }
    }

    fn has(&self, keys: &[&str]) {
        self.says(200, &keys.join("\n"));
    }

    fn says(&self, status: u16, text: &str) {
        self.keys.lock().unwrap().answer = (status, text.to_owned());
    }
}

async fn answer(State(keys): State<Arc<Mutex<Keys>>>, uri: Uri) -> (StatusCode, String) {
    let mut keys = keys.lock().unwrap();
    keys.asked.push(uri.path().to_owned());
    if uri.path() == "/nobody.keys" {
        return (StatusCode::NOT_FOUND, "Not Found".to_owned());
    }
    let (status, text) = keys.answer.clone();
    (StatusCode::from_u16(status).unwrap(), text)
}

async fn world() -> (World, Github) {
    let github = Github::start().await;
    let url = github.url.clone();
    (World::with(|config| config.ssh_keys.github = url).await, github)
}

async fn import(world: &World, username: &str) -> Value {
    let body = json!({ "github_username": username });
    world.post(&format!("{PATH}/github-profile"), body).await.ok()
}

#[tokio::test]
async fn a_key_is_stored_once_listed_and_deleted() {
    let world = World::new().await;
    let body = json!({ "name": " laptop ", "public_key": format!("  {ONE}\n") });
    let reply = world.post(PATH, body).await;
    assert_eq!(reply.status, 201);
    let key = reply.ok();
    assert_eq!((&key["name"], &key["public_key"]), (&json!("laptop"), &json!(ONE)));
    assert_eq!(key["fingerprint"], "SHA256:HpLpvPJV2obRSy/p/8QnztL3MA7mOYTnDF0dpdO6Luw");
    assert_eq!((&key["key_type"], &key["source"]), (&json!("ssh-ed25519"), &json!("manual")));
    assert_eq!((&key["key_metadata"], &key["last_synced_at"]), (&Value::Null, &Value::Null));
    assert_eq!(world.get(PATH).await.ok(), json!([key]));
    // The comment is not part of the key.
    let same = ONE.replace("me@host", "elsewhere");
    let body = json!({ "name": "again", "public_key": same });
    let refused = world.post(PATH, body).await.refused(409, "ERR-20-050");
    assert_eq!(refused["details"][0]["value"], key["fingerprint"]);
    let path = format!("{PATH}/{}", key["id"].as_str().unwrap());
    assert_eq!(world.call("DELETE", &path, "", None).await.status, 204);
    world.call("DELETE", &path, "", None).await.refused(404, "ERR-20-008");
    world.call("DELETE", &format!("{PATH}/a%00"), "", None).await.refused(404, "ERR-20-008");
    assert_eq!(world.get(PATH).await.ok(), json!([]));
}

#[tokio::test]
async fn what_is_no_key_or_one_too_many_is_refused() {
    let world = World::with(|config| config.ssh_keys.per_user = 1).await;
    for text in ["", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"] {
        let body = json!({ "name": "k", "public_key": text });
        let refused = world.post(PATH, body).await.refused(400, "ERR-02-008");
        assert_eq!(refused["details"][0]["field"], "public_key");
    }
    for name in ["", "  ", &"x".repeat(101)] {
        let refused = world.post(PATH, json!({ "name": name, "public_key": ONE })).await;
        assert_eq!(refused.status, 422, "{name}");
    }
    world.post(PATH, json!({ "name": "k", "public_key": ONE })).await.ok();
    let more = world.post(PATH, json!({ "name": "k", "public_key": TWO })).await;
    more.refused(400, "ERR-04-003");
}

#[tokio::test]
async fn keys_of_a_github_user_are_imported_and_kept_in_step() {
    let (world, github) = world().await;
    let sync = || world.post("/user/ssh-keys/github-sync", json!({}));
    sync().await.refused(400, "ERR-20-051");
    world.post(PATH, json!({ "name": "k", "public_key": ONE })).await.ok();
    // Ids sort by time.
    world.clock.advance_ms(1000);
    github.has(&[ONE, TWO, "ssh-dss AAAAB3NzaC1kc3M="]);
    let done = import(&world, "Octocat").await;
    assert_eq!(
        (&done["github_username"], &done["keys_added"], &done["keys_skipped"]),
        (&json!("octocat"), &json!(1), &json!(1))
    );
    assert_eq!(done["errors"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(github.keys.lock().unwrap().asked, ["/octocat.keys"]);
    let keys = world.get(PATH).await.ok();
    assert_eq!(
        (&keys[1]["source"], &keys[1]["name"]),
        (&json!("github"), &json!("GitHub octocat"))
    );
    assert_eq!(keys[1]["key_metadata"]["github_username"], "octocat");
    // No answer is no verdict: the keys stay.
    for (status, text) in [(500, ""), (404, "Not Found"), (302, "")] {
        github.says(status, text);
        let done = sync().await.ok();
        assert_eq!((&done["keys_removed"], &done["synced_count"]), (&json!(0), &json!(0)));
        assert_eq!(done["errors"].as_array().unwrap().len(), 1, "{done}");
    }
    assert_eq!(world.get(PATH).await.ok().as_array().unwrap().len(), 2);
    github.has(&[&TWO.replace("me@host", "moved")]);
    let done = sync().await.ok();
    assert_eq!(
        (&done["synced_count"], &done["keys_updated"], &done["keys_removed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    github.has(&[]);
    let done = sync().await.ok();
    assert_eq!((&done["keys_removed"], &done["errors"]), (&json!(1), &json!([])));
    let left = world.get(PATH).await.ok();
    assert_eq!(left.as_array().unwrap().len(), 1, "the key that was added by hand stays");
    assert_eq!(left[0]["source"], "manual");
}

#[tokio::test]
async fn an_account_that_cannot_be_read_is_an_error_and_no_path_is_left() {
    let (world, github) = world().await;
    let path = format!("{PATH}/github-profile");
    let missing = world.post(&path, json!({ "github_username": "nobody" })).await;
    let missing = missing.refused(400, "ERR-20-051");
    assert_eq!(missing["message"], "nobody: GitHub has no such user");
    github.says(200, &"x".repeat(2 * 1024 * 1024));
    let long = world.post(&path, json!({ "github_username": "octocat" })).await;
    assert_eq!(long.refused(400, "ERR-20-051")["message"], "octocat: the list of keys is too long");
    for name in ["", "../admin", "a/b", "-a", "a?b"] {
        let refused = world.post(&path, json!({ "github_username": name })).await;
        assert_eq!(refused.status, 422, "{name}");
    }
    assert_eq!(github.keys.lock().unwrap().asked.len(), 2, "bad names are not asked for");
    assert_eq!(world.get(PATH).await.ok(), json!([]));
}

/// Provisions and commits; returns the warnings, and the keys that the guest is given.
async fn deploy(world: &World, name: &str, more: Value) -> (Value, Value) {
    let mut body = provision_body(name);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let prepared = world.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": prepared["app_id"], "compose_hash": prepared["compose_hash"] });
    world.post("/cvms", commit).await.ok();
    let config = world.get(&format!("/cvms/{name}/user_config")).await.ok();
    (prepared["warnings"].clone(), config["ssh_authorized_keys"].clone())
}

#[tokio::test]
async fn guests_with_a_development_image_let_their_owner_in_and_others_nobody() {
    let world = World::new().await;
    world.post(PATH, json!({ "name": "k", "public_key": ONE })).await.ok();
    let (_, keys) = deploy(&world, "dev-app", json!({ "prefer_dev": true })).await;
    assert_eq!(keys, json!([ONE]));
    let more = json!({ "prefer_dev": true, "ssh_authorized_keys": [TWO, ONE] });
    let (_, keys) = deploy(&world, "dev-two", more).await;
    assert_eq!(keys, json!([TWO, ONE]), "each once, those of the request first");
    let (warnings, keys) = deploy(&world, "prod-app", json!({ "prefer_dev": false })).await;
    assert_eq!(keys, json!([]), "never silently on a production image");
    assert!(!warnings.to_string().contains("ssh_authorized_keys"), "{warnings}");
    let more = json!({ "prefer_dev": false, "ssh_authorized_keys": [TWO] });
    let (warnings, keys) = deploy(&world, "prod-two", more).await;
    assert_eq!(keys, json!([TWO]), "stored as asked");
    assert!(warnings.to_string().contains("nobody can log in"), "flagged: {warnings}");
    let more = json!({ "prefer_dev": true, "user_config": "no JSON" });
    let (warnings, _) = deploy(&world, "dev-text", more).await;
    assert!(warnings.to_string().contains("were not added"), "{warnings}");
}
