//! API keys, members, invitations, and logins by device code.

use std::time::Duration;

use axum::{body::Body, http::Request};
use casemate_core::access::{Role, Scopes};
use casemate_server::app::key_uses;
use serde_json::{Value, json};

use crate::common::{self, Reply, World};

async fn as_key(world: &World, key: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
    let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    let request = if key.is_empty() { request } else { request.header("x-api-key", key) };
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    world.send(request.body(body).unwrap()).await
}

async fn me(world: &World, key: &str) -> Reply {
    as_key(world, key, "GET", "/auth/me", None).await
}

#[tokio::test]
async fn the_first_key_is_an_owners_and_an_operators() {
    let world = World::new().await;
    let me = me(&world, &world.key).await.ok();
    assert_eq!((&me["user"]["role"], &me["workspace"]["role"]), (&json!("admin"), &json!("owner")));
    let keys = world.get("/tokens").await.ok();
    assert_eq!(keys[0]["scopes"], json!(["*"]));
    assert!(world.key.starts_with(keys[0]["token_prefix"].as_str().unwrap()), "{keys}");
}

#[tokio::test]
async fn a_key_is_shown_once_limited_rotated_and_revoked() {
    let world = World::new().await;
    let request = json!({ "name": "ci", "scopes": ["cvms:read", "keys"], "expires_in_days": 2 });
    let made = world.post("/tokens", request).await.ok();
    let token = made["token"].as_str().unwrap().to_owned();
    let id = made["id"].as_i64().unwrap();
    let listed = world.get("/tokens").await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[1]["token"], Value::Null);
    let text = listed.to_string();
    assert!(!text.contains(&token) && !text.contains(&world.key), "{text}");
    assert_eq!(as_key(&world, &token, "GET", "/cvms", None).await.status, 200);
    let refused = as_key(&world, &token, "POST", "/cvms/1/start", None).await;
    let refused = refused.refused(403, "ERR-06-006");
    let detail = &refused["details"][0];
    assert_eq!((&detail["field"], &detail["value"]), (&json!("scope"), &json!("cvms:write")));

    // No key makes one that may do more.
    for scopes in [json!(["cvms:write"]), json!(["*"])] {
        let request = json!({ "name": "more", "scopes": scopes });
        let reply = as_key(&world, &token, "POST", "/tokens", Some(request)).await;
        reply.refused(403, "ERR-06-006");
    }
    let same = json!({ "name": "same" });
    let same = as_key(&world, &token, "POST", "/tokens", Some(same)).await.ok();
    assert_eq!(same["scopes"], json!(["cvms:read", "keys"]));

    // The old secret works on for as long as was said.
    let path = format!("/casemate/tokens/{id}/rotate");
    let rotated = as_key(&world, &token, "POST", &path, Some(json!({ "grace_minutes": 5 }))).await;
    let rotated = rotated.ok();
    let new = rotated["token"].as_str().unwrap();
    assert_ne!(new, token);
    assert_eq!(rotated["scopes"], made["scopes"]);
    assert_eq!(me(&world, &token).await.status, 200);
    world.clock.advance(Duration::from_mins(5));
    let late = me(&world, &token).await;
    assert_eq!(late.status, 401);
    assert!(late.text.contains("expired"), "{}", late.text);
    assert_eq!(me(&world, new).await.status, 200);

    let path = format!("/tokens/{}", rotated["id"]);
    assert_eq!(as_key(&world, new, "DELETE", &path, None).await.status, 204);
    assert!(me(&world, new).await.text.contains("revoked"));
    world.call("DELETE", &path, "", None).await.refused(404, "ERR-20-008");
}

#[tokio::test]
async fn a_key_expires_unless_it_is_refreshed() {
    let world = World::new().await;
    let made = world.post("/tokens", json!({ "name": "short", "expires_in_days": 1 })).await.ok();
    let (token, id) = (made["token"].as_str().unwrap(), &made["id"]);
    world.clock.advance(Duration::from_hours(23));
    let path = format!("/tokens/{id}/refresh");
    let refreshed = world.post(&path, json!({ "expires_in_days": 1 })).await.ok();
    assert_ne!(refreshed["expires_at"], made["expires_at"]);
    world.clock.advance(Duration::from_hours(23));
    assert_eq!(me(&world, token).await.status, 200);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(me(&world, token).await.status, 401);
    let reply = world.get("/tokens").await.ok();
    assert_eq!(reply[1]["is_active"], false);
    for days in [0, 366] {
        let body = json!({ "name": "x", "expires_in_days": days });
        assert_eq!(world.post("/tokens", body).await.status, 422);
    }
    let body = json!({ "name": "x", "scopes": ["everything"] });
    let refused = world.post("/tokens", body).await;
    assert!(refused.status == 422 && refused.text.contains("cvms:read"), "{}", refused.text);
}

#[tokio::test]
async fn the_last_use_is_written_later_and_not_by_the_request() {
    let world = World::new().await;
    let used = async || world.get("/tokens").await.ok()[0]["last_used_at"].clone();
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(used().await, Value::Null, "no request writes it");
    key_uses::write(&world.ctx).await.unwrap();
    let first = used().await;
    assert!(first.is_string(), "{first}");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(used().await, first);
    key_uses::write(&world.ctx).await.unwrap();
    assert_ne!(used().await, first);
}

#[tokio::test]
async fn roles_limit_what_members_do_to_each_other() {
    let world = World::new().await;
    let all = Scopes::All;
    for (name, role) in [("ann", Role::Admin), ("bob", Role::Member), ("vic", Role::Viewer)] {
        common::member(&world.ctx, "default", (name, role), (&format!("phak_{name}"), &all)).await;
    }
    let members = world.get("/workspaces/default/members").await.ok();
    assert_eq!(members["total"], 4);
    let id = |name: &str| {
        let members = members["items"].as_array().unwrap();
        let member = members.iter().find(|member| member["username"] == name).unwrap();
        member["user_id"].as_str().unwrap().to_owned()
    };
    let path = |name: &str| format!("/workspaces/default/members/{}", id(name));
    let set = async |key: &str, name: &str, role: &str| {
        as_key(&world, key, "PATCH", &path(name), Some(json!({ "role": role }))).await
    };
    assert_eq!(set("phak_ann", "bob", "viewer").await.status, 200);
    assert_eq!(set("phak_ann", "bob", "MEMBER").await.status, 200);
    set("phak_ann", "bob", "admin").await.refused(403, "ERR-06-006");
    set("phak_ann", "admin", "viewer").await.refused(403, "ERR-06-006");
    set("phak_bob", "vic", "member").await.refused(403, "ERR-06-006");
    assert_eq!(set("phak_ann", "bob", "king").await.status, 422);
    // A viewer looks.
    let start = as_key(&world, "phak_vic", "POST", "/cvms/1/start", None).await;
    assert_eq!(start.refused(403, "ERR-06-006")["details"][0]["value"], "member");
    assert_eq!(as_key(&world, "phak_vic", "GET", "/cvms", None).await.status, 200);
    // The workspace keeps an owner.
    set(&world.key, "admin", "viewer").await.refused(409, "ERR-20-015");
    let leave = "/workspaces/default/leave";
    as_key(&world, &world.key, "POST", leave, None).await.refused(409, "ERR-20-015");
    assert_eq!(set(&world.key, "ann", "owner").await.status, 200);
    assert_eq!(as_key(&world, "phak_ann", "DELETE", &path("bob"), None).await.status, 200);
    assert_eq!(me(&world, "phak_bob").await.status, 401, "their keys are revoked");
    assert_eq!(as_key(&world, "phak_vic", "POST", leave, None).await.status, 200);
    assert_eq!(me(&world, "phak_vic").await.status, 401);
}

#[tokio::test]
async fn the_keys_of_others_are_for_admins_and_nobody_gets_their_secrets() {
    let world = World::new().await;
    let all = Scopes::All;
    for (name, role) in [("ann", Role::Admin), ("bob", Role::Member)] {
        common::member(&world.ctx, "default", (name, role), (&format!("phak_{name}"), &all)).await;
    }
    let keys = as_key(&world, "phak_ann", "GET", "/tokens?everybody=true", None).await.ok();
    assert_eq!(keys.as_array().unwrap().len(), 3);
    let id = |name: &str| {
        keys.as_array().unwrap().iter().find(|key| key["username"] == name).unwrap()["id"].clone()
    };
    let everybody = as_key(&world, "phak_bob", "GET", "/tokens?everybody=true", None).await;
    everybody.refused(403, "ERR-06-006");
    let revoke = async |key: &str, name: &str| {
        as_key(&world, key, "DELETE", &format!("/tokens/{}", id(name)), None).await
    };
    revoke("phak_bob", "ann").await.refused(404, "ERR-20-008");
    revoke("phak_ann", "admin").await.refused(403, "ERR-06-006");
    let path = format!("/casemate/tokens/{}/rotate", id("bob"));
    let stolen = as_key(&world, "phak_ann", "POST", &path, Some(json!({}))).await;
    stolen.refused(403, "ERR-06-006");
    assert_eq!(revoke("phak_ann", "bob").await.status, 204);
    assert_eq!(me(&world, "phak_bob").await.status, 401);
}

#[tokio::test]
async fn an_invitation_brings_a_new_user_or_an_existing_one() {
    let world = World::new().await;
    let invite = json!({ "email": "new@example.org", "role": "MEMBER" });
    let made = world.post("/workspaces/default/invitations", invite.clone()).await.ok();
    let token = made["token"].as_str().unwrap();
    let listed = world.get("/workspaces/default/invitations").await.ok();
    assert_eq!((&listed["total"], &listed["items"][0]["token"]), (&json!(1), &json!("")));
    let accept = async |key: &str, body: Value| {
        as_key(&world, key, "POST", "/casemate/invitations/accept", Some(body)).await
    };
    assert_eq!(accept("", json!({ "token": token })).await.status, 422, "no name");
    let taken = json!({ "token": token, "username": "admin" });
    accept("", taken).await.refused(409, "ERR-20-015");
    let joined = accept("", json!({ "token": token, "username": "newbie" })).await.ok();
    let key = joined["api_key"].as_str().unwrap();
    let who = me(&world, key).await.ok();
    assert_eq!(
        (&who["user"]["username"], &who["user"]["role"]),
        (&json!("newbie"), &json!("user"))
    );
    assert_eq!(who["user"]["email"], "new@example.org");
    assert_eq!(who["workspace"]["role"], "member");
    accept("", json!({ "token": token, "username": "again" })).await.refused(404, "ERR-20-008");
    as_key(&world, key, "GET", "/admin/users", None).await.refused(403, "ERR-06-006");

    common::stranger(&world.ctx, "eve", "phak_eve").await;
    let shared = world.post("/workspaces/default/invitations/shareable", Value::Null).await.ok();
    let url = shared["invitation_url"].as_str().unwrap();
    assert!(url.ends_with(&format!("#{}", shared["token"].as_str().unwrap())), "{url}");
    let joined = accept("phak_eve", json!({ "token": shared["token"] })).await.ok();
    assert_eq!(joined["workspace_slug"], "default");
    let workspaces = as_key(&world, "phak_eve", "GET", "/workspaces?limit=1", None).await.ok();
    assert_eq!(workspaces["pagination"]["has_more"], true);
    let cursor = workspaces["pagination"]["next_cursor"].as_str().unwrap();
    let path = format!("/workspaces?cursor={cursor}");
    let rest = as_key(&world, "phak_eve", "GET", &path, None).await.ok();
    assert_eq!(
        (&rest["data"][0]["slug"], &rest["data"][0]["is_default"]),
        (&json!("eve"), &json!(true))
    );
    // The old key is still for the old workspace.
    let foreign = as_key(&world, "phak_eve", "GET", "/workspaces/default/members", None).await;
    foreign.refused(404, "ERR-20-008");

    let revoked = world.post("/workspaces/default/invitations", invite.clone()).await.ok();
    let path = format!("/workspaces/default/invitations/{}", revoked["id"]);
    assert_eq!(world.call("DELETE", &path, "", None).await.status, 200);
    let body = json!({ "token": revoked["token"], "username": "late" });
    accept("", body).await.refused(404, "ERR-20-008");
    let expired = world.post("/workspaces/default/invitations", invite).await.ok();
    world.clock.advance(Duration::from_hours(7 * 24));
    let body = json!({ "token": expired["token"], "username": "late" });
    accept("", body).await.refused(404, "ERR-20-008");
}

struct Login<'a> {
    world: &'a World,
    codes: Value,
}

impl<'a> Login<'a> {
    async fn begin(world: &'a World) -> Self {
        let body = json!({ "client_id": "phala-cli", "scope": "user:profile cvms:* nodes:*" });
        let codes = as_key(world, "", "POST", "/auth/device/code", Some(body)).await.ok();
        Self { world, codes }
    }

    async fn poll(&self) -> Reply {
        let body = json!({
            "device_code": self.codes["device_code"],
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        });
        as_key(self.world, "", "POST", "/auth/device/token", Some(body)).await
    }

    async fn error(&self) -> String {
        let reply = self.poll().await;
        assert_eq!(reply.status, 400, "{}", reply.text);
        let body = reply.json();
        assert!(body.get("error_code").is_none(), "{body}");
        body["detail"]["error"].as_str().unwrap().to_owned()
    }

    async fn decide(&self, key: &str, more: &Value) -> Reply {
        let mut body = json!({ "user_code": self.codes["user_code"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        as_key(self.world, key, "POST", "/casemate/auth/device/decide", Some(body)).await
    }
}

#[tokio::test]
async fn a_login_gets_a_key_when_it_is_approved_and_only_once() {
    let world = World::new().await;
    let login = Login::begin(&world).await;
    assert_eq!(login.error().await, "authorization_pending");
    assert_eq!(login.error().await, "slow_down");
    let decided = login.decide(&world.key, &json!({})).await.ok();
    assert_eq!((&decided["client"], &decided["username"]), (&json!("phala-cli"), &json!("admin")));
    login.decide(&world.key, &json!({})).await.refused(404, "ERR-20-008");
    world.clock.advance(Duration::from_secs(5));
    let token = login.poll().await.ok();
    assert_eq!(token["token_type"], "bearer");
    let key = token["access_token"].as_str().unwrap();
    assert_eq!(me(&world, key).await.status, 200);
    assert_eq!(as_key(&world, key, "GET", "/cvms", None).await.status, 200);
    let keys = as_key(&world, key, "GET", "/tokens", None).await;
    assert_eq!(keys.refused(403, "ERR-06-006")["details"][0]["value"], "keys");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(login.error().await, "expired_token");
    world.clock.advance(Duration::from_hours(90 * 24));
    assert_eq!(me(&world, key).await.status, 401);
}

#[tokio::test]
async fn a_login_is_denied_or_expires_and_others_are_for_operators() {
    let world = World::new().await;
    let login = Login::begin(&world).await;
    login.decide(&world.key, &json!({ "deny": true })).await.ok();
    assert_eq!(login.error().await, "access_denied");
    let login = Login::begin(&world).await;
    world.clock.advance(Duration::from_mins(15));
    assert_eq!(login.error().await, "expired_token");
    login.decide(&world.key, &json!({})).await.refused(404, "ERR-20-008");

    common::stranger(&world.ctx, "eve", "phak_eve").await;
    let login = Login::begin(&world).await;
    let other = json!({ "username": "eve", "workspace": "eve" });
    login.decide("phak_eve", &other).await.refused(403, "ERR-06-006");
    let nobody = json!({ "username": "eve" });
    login.decide(&world.key, &nobody).await.refused(409, "ERR-20-015");
    assert_eq!(login.decide(&world.key, &other).await.ok()["workspace"], "eve");
    let token = login.poll().await.ok();
    let who = me(&world, token["access_token"].as_str().unwrap()).await.ok();
    assert_eq!(who["user"]["username"], "eve");

    let wrong = json!({ "device_code": "x", "grant_type": "password" });
    let reply = as_key(&world, "", "POST", "/auth/device/token", Some(wrong)).await;
    assert_eq!(reply.json()["detail"]["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn guesses_of_user_codes_are_slowed_down() {
    let world = World::new().await;
    let mut limited = 0;
    for number in 0..70 {
        let body = json!({ "user_code": format!("WRNG-{number:04}") });
        let reply =
            as_key(&world, &world.key, "POST", "/casemate/auth/device/decide", Some(body)).await;
        limited += u32::from(reply.status == 429);
    }
    assert!(limited >= 10, "{limited}");
    let login = Login::begin(&world).await;
    login.decide(&world.key, &json!({})).await.ok();
}

#[tokio::test]
async fn the_page_approves_with_a_key_and_without_scripts() {
    let world = World::new().await;
    let login = Login::begin(&world).await;
    let code = login.codes["user_code"].as_str().unwrap();
    let uri = login.codes["verification_uri_complete"].as_str().unwrap();
    let path = uri.strip_prefix("http://127.0.0.1:1").unwrap();
    let page = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains(&format!("value=\"{code}\"")) && !page.text.contains("<script"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("form-action 'self'"));
    let post = async |key: &str| {
        let request = Request::post("/device")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("code={code}&key={key}&decision=approve")));
        world.send(request.unwrap()).await
    };
    let wrong = post("phak_wrong").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("role=\"alert\"") && !wrong.text.contains("phak_wrong"));
    let done = post(&world.key).await;
    assert!(done.status == 200 && done.text.contains("is approved"), "{}", done.text);
    assert!(!done.text.contains(&world.key));
    login.poll().await.ok();
    let evil = Request::get("/device?code=%22%3E%3Cscript%3E").body(Body::empty()).unwrap();
    assert!(!world.send(evil).await.text.contains("<script"));
}

#[tokio::test]
async fn an_operator_adds_users_workspaces_and_keys() {
    let world = World::new().await;
    let user = json!({ "username": "ci", "is_service": true });
    world.post("/admin/users", user.clone()).await.ok();
    world.post("/admin/users", user).await.refused(409, "ERR-20-015");
    assert_eq!(world.post("/admin/users", json!({ "username": "No Name" })).await.status, 422);
    world.post("/admin/workspaces", json!({ "slug": "lab", "owner": "ci" })).await.ok();
    let lab = json!({ "slug": "lab", "owner": "ci" });
    world.post("/admin/workspaces", lab).await.refused(409, "ERR-20-015");
    let key = json!({ "username": "ci", "workspace": "lab", "name": "k", "scopes": ["cvms:read"] });
    let made = world.post("/admin/keys", key).await.ok();
    let token = made["token"].as_str().unwrap();
    assert_eq!(me(&world, token).await.ok()["workspace"]["slug"], "lab");
    let key = json!({ "username": "ci", "workspace": "default", "name": "k" });
    world.post("/admin/keys", key).await.refused(409, "ERR-20-015");
    let path = "/admin/workspaces/default/members/ci";
    world.call("PUT", path, "", Some(json!({ "role": "viewer" }))).await.ok();
    assert_eq!(world.call("DELETE", path, "", None).await.status, 204);
    let lab = "/admin/workspaces/lab/members/ci";
    world.call("DELETE", lab, "", None).await.refused(409, "ERR-20-015");

    let patch = async |name: &str, body: Value| {
        world.call("PATCH", &format!("/admin/users/{name}"), "", Some(body)).await
    };
    patch("ci", json!({ "is_disabled": true })).await.ok();
    assert_eq!(me(&world, token).await.status, 401);
    patch("ci", json!({ "is_disabled": false })).await.ok();
    assert_eq!(me(&world, token).await.status, 200);
    patch("admin", json!({ "is_operator": false })).await.refused(409, "ERR-20-015");
    patch("admin", json!({ "is_disabled": true })).await.refused(409, "ERR-20-015");
    assert_eq!(me(&world, &world.key).await.status, 200, "nothing was changed");
    let keys = world.get("/admin/keys?workspace=lab").await.ok();
    assert_eq!(keys["keys"][0]["token"], Value::Null);
    let path = format!("/admin/keys/{}", made["id"]);
    assert_eq!(world.call("DELETE", &path, "", None).await.status, 204);
    assert_eq!(me(&world, token).await.status, 401);
    assert_eq!(world.get("/admin/users").await.ok()["users"].as_array().unwrap().len(), 2);
    assert_eq!(
        world.get("/admin/workspaces").await.ok()["workspaces"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn a_profile_is_set_by_its_owner() {
    let world = World::new().await;
    assert_eq!(world.get("/profiles/me").await.ok(), Value::Null);
    let put = async |key: &str, path: &str| {
        as_key(&world, key, "PUT", path, Some(json!({ "display_name": "Ada" }))).await
    };
    let set = put(&world.key, "/profiles/me").await.ok();
    assert_eq!(set["display_name"], "Ada");
    assert_eq!(world.get("/profiles/user/usr_1").await.ok(), set);
    let all = Scopes::All;
    common::member(&world.ctx, "default", ("bob", Role::Member), ("phak_bob", &all)).await;
    put("phak_bob", "/profiles/user/usr_1").await.refused(404, "ERR-20-008");
    put("phak_bob", "/profiles/workspace/wks_1").await.refused(403, "ERR-06-006");
    put(&world.key, "/profiles/workspace/wks_1").await.ok();
    let shown = as_key(&world, "phak_bob", "GET", "/profiles/workspace/1", None).await.ok();
    assert_eq!(shown["display_name"], "Ada");
    assert_eq!(world.call("DELETE", "/profiles/user/1", "", None).await.status, 200);
    assert_eq!(world.get("/profiles/me").await.ok(), Value::Null);
}
