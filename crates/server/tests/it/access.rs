//! Every route, role and scope, own and foreign objects: generated from the table of routes.

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use casemate_core::access::{Access, Need, Refusal, Role, Scope, Scopes, decide};
use casemate_server::http::{access::ROUTES, not_served, openapi};

use crate::common::{self, Reply, World};

/// The served operations, as their description has them.
fn described() -> BTreeSet<(String, String)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        let path = path.strip_prefix("/api/v1").unwrap();
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path))
    });
    operations.map(|(method, path)| (method, path.to_owned())).collect()
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let rows = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    let (rows, routes) = (rows.collect::<BTreeSet<_>>(), described());
    let missing: Vec<_> = routes.difference(&rows).collect();
    assert!(missing.is_empty(), "add a row to http/access.rs: {missing:?}");
    let stale: Vec<_> = rows.difference(&routes).collect();
    assert!(stale.is_empty(), "no such route: {stale:?}");
}

/// What the description says of keys is what the table does.
#[test]
fn public_routes_are_described_as_public() {
    let document = openapi::document();
    for (method, path, need) in ROUTES {
        let operation = &document["paths"][format!("/api/v1{path}")][method.to_lowercase()];
        let is_public = !operation["security"].is_null();
        // Two routes answer without a key in one case only.
        let mixed = ["/apps", "/apps/{app_id}/instances"].contains(path);
        assert!(mixed || is_public == need.allows_no_key(), "{method} {path}: {need:?}");
    }
}

/// A request with a body that no route takes: whoever is let pass changes nothing.
async fn ask(world: &World, key: &str, method: &str, path: &str) -> Reply {
    send(world, key, method, path, "[").await
}

async fn send(world: &World, key: &str, method: &str, path: &str, body: &'static str) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    world.send(request.body(Body::from(body)).unwrap()).await
}

/// A path with an id that nothing has.
fn with_ids(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{app_id}" => "ee".repeat(20),
        "{vm_uuid}" => "00000000-0000-4000-8000-0000000000ee".to_owned(),
        part if part.starts_with('{') => "999999".to_owned(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The refusal of a reply by what it says is missing; `None`: it was let pass.
fn missing(reply: &Reply) -> Option<String> {
    if reply.status != 403 {
        return None;
    }
    let body = reply.json();
    assert_eq!(body["error_code"], "ERR-06-006", "{body}");
    assert!(body["suggestions"][0].is_string(), "{body}");
    let detail = &body["details"][0];
    Some(format!("{} {}", detail["field"].as_str()?, detail["value"].as_str()?))
}

fn expected(need: Need, access: &Access) -> Option<String> {
    decide(need, access).err().map(|refusal| match refusal {
        Refusal::Scope(scope) => format!("scope {scope}"),
        Refusal::Role { needed, .. } => format!("role {needed}"),
        Refusal::NoOperator => "role operator".to_owned(),
    })
}

/// Sets of scopes: none, each alone, all.
fn kinds_of_keys() -> Vec<Scopes> {
    let each = Scope::ALL.map(|scope| Scopes::Only(BTreeSet::from([scope])));
    [Scopes::Only(BTreeSet::new())].into_iter().chain(each).chain([Scopes::All]).collect()
}

#[tokio::test]
async fn every_route_lets_pass_who_has_the_role_and_the_scope_and_nobody_else() {
    let world = World::new().await;
    let mut callers = Vec::new();
    for (number, scopes) in kinds_of_keys().into_iter().enumerate() {
        for role in Role::ALL {
            let (name, token) = (format!("{role}-{number}"), format!("phak_{role}{number}"));
            common::member(&world.ctx, "default", (&name, role), (&token, &scopes)).await;
            callers.push((token, Access { role, scopes: scopes.clone(), is_operator: false }));
        }
    }
    let operator = Access { role: Role::Owner, scopes: Scopes::All, is_operator: true };
    callers.push((world.key.clone(), operator));
    let (mut passed, mut refused) = (0, 0);
    for (method, path, need) in ROUTES {
        // Of somebody who leaves, the next requests say nothing.
        if path.ends_with("/leave") {
            continue;
        }
        let uri = with_ids(path);
        let nobody = ask(&world, "", method, &uri).await;
        // Without a key `/apps` is the public directory, which has to be asked for.
        let needs_key = !need.allows_no_key() || *path == "/apps";
        assert_eq!(nobody.status == 401, needs_key, "{method} {path}: {}", nobody.text);
        let unknown = ask(&world, "phak_unknown", method, &uri).await;
        assert_eq!(
            unknown.status == 401,
            *need != Need::Nothing,
            "{method} {path}: {}",
            unknown.text
        );
        for (token, access) in &callers {
            let reply = ask(&world, token, method, &uri).await;
            assert_ne!(reply.status, 401, "{method} {path}");
            assert!(reply.status.as_u16() < 500, "{method} {path}: {}", reply.text);
            let wanted = expected(*need, access);
            let told = if *method == "HEAD" {
                // Without a body only the status tells.
                (reply.status == 403).then(|| wanted.clone().unwrap_or_default())
            } else {
                missing(&reply)
            };
            assert_eq!(told, wanted, "{method} {path} {access:?}: {}", reply.text);
            if wanted.is_none() { passed += 1 } else { refused += 1 }
        }
    }
    assert!(passed > 1000 && refused > 1000, "{passed} {refused}");
}

/// Every id of something of the workspace, by the parameter of its path.
fn own_ids(parameter: &str, cvm: &serde_json::Value, app: &str) -> Vec<String> {
    match parameter {
        "{cvm_id}" => ["id", "vm_uuid", "instance_id", "name"]
            .into_iter()
            .filter_map(|field| match &cvm[field] {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
            .chain([app.to_owned(), format!("app_{app}")])
            .collect(),
        "{app_id}" => vec![app.to_owned(), format!("app_{app}")],
        "{slug}" => vec!["default".to_owned()],
        "{user_id}" => vec!["usr_1".to_owned(), "1".to_owned()],
        _ => vec!["1".to_owned()],
    }
}

/// What belongs to somebody else is answered as what does not exist: status, code and words.
#[tokio::test]
async fn a_foreign_object_is_a_missing_one_on_every_route() {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    let cvm = world.get("/cvms/my-app").await.ok();
    let app = cvm["app_id"].as_str().unwrap().to_owned();
    common::stranger(&world.ctx, "eve", "phak_eve").await;
    let mut compared = 0;
    for (method, path, need) in ROUTES {
        let parameters: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).collect();
        let private = ["{cvm_id}", "{app_id}", "{slug}", "{token_id}"];
        let Some(first) = parameters.first().filter(|first| private.contains(first)) else {
            continue;
        };
        // Evidence of listed apps is public, a token of a commit is its own credential, and public keys of apps have no owner.
        if need.allows_no_key() || *need == Need::Operator || path.starts_with("/kms/") {
            continue;
        }
        let lost = with_ids(path);
        let missing = send(&world, "phak_eve", method, &lost, "{}").await;
        for id in own_ids(first, &cvm, &app) {
            let uri = with_ids(&path.replacen(first, &id, 1));
            let foreign = send(&world, "phak_eve", method, &uri, "{}").await;
            assert_eq!(foreign.status, missing.status, "{method} {uri}: {}", foreign.text);
            assert!(!foreign.status.is_success(), "{method} {uri}: {}", foreign.text);
            if foreign.status != 422 {
                let (foreign, missing) = (foreign.json(), missing.json());
                assert_eq!(foreign["error_code"], missing["error_code"], "{method} {uri}");
                assert_eq!(foreign["message"], missing["message"], "{method} {uri}");
            }
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
    // The owner's own still work.
    assert_eq!(ask(&world, &world.key, "GET", "/cvms/my-app").await.status, 200);
}

#[tokio::test]
async fn what_the_reference_has_and_we_do_not_is_501_and_the_rest_404() {
    let world = World::new().await;
    let operations = not_served::operations();
    assert!(!operations.is_empty());
    for (path, method) in &operations {
        let reply = ask(&world, "", method.as_str(), &with_ids(path)).await;
        if *method == "HEAD" {
            assert_eq!(reply.status, 501, "{method} {path}");
            continue;
        }
        let body = reply.refused(501, "ERR-20-005");
        assert!(body["message"].as_str().unwrap().contains(path), "{body}");
        assert!(!body["suggestions"][0].as_str().unwrap().is_empty(), "{body}");
    }
    for path in ["/nothing", "/cvms/x/nothing", "/tokens/1/nothing"] {
        let reply = world.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.json()["error_code"].is_null()), (404, true));
    }
    let reply = world.call("DELETE", "/auth/me", "", None).await;
    assert_eq!(reply.status, 405, "{}", reply.text);
}
