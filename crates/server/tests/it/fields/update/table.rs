//! Reads the tables of *Update*, and knows the routes they name.

use std::collections::BTreeSet;

use axum::http::Request;
use serde_json::{Value, json};

use crate::fields::{
    common::{COMPOSE, Reply, World},
    row::merge,
    table::{DOCUMENT, Refused, codes, quoted},
};

/// A route that changes a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Patch,
    Resources,
    Visibility,
    Listed,
    Name,
    OsImage,
    Envs,
    UserConfig,
    ScheduledDelete,
    NetworkConfig,
    Ports,
    /// The body is the text.
    DockerCompose,
    /// The same.
    PreLaunchScript,
    /// Prepares a document; the tests commit it as well.
    Prepare,
    Commit,
    Replace,
}

/// Every route with its word in the tables.
const ROUTES: [(Route, &str); 16] = [
    (Route::Patch, "PATCH"),
    (Route::Resources, "resources"),
    (Route::Visibility, "visibility"),
    (Route::Listed, "listed"),
    (Route::Name, "name"),
    (Route::OsImage, "os-image"),
    (Route::Envs, "envs"),
    (Route::UserConfig, "user_config"),
    (Route::ScheduledDelete, "scheduled-delete"),
    (Route::NetworkConfig, "network-config"),
    (Route::Ports, "ports"),
    (Route::DockerCompose, "docker-compose"),
    (Route::PreLaunchScript, "pre-launch-script"),
    (Route::Prepare, "prepare"),
    (Route::Commit, "commit"),
    (Route::Replace, "replace"),
];

impl Route {
    fn parse(word: &str) -> Self {
        let found = ROUTES.iter().find(|(_, own)| *own == word);
        found.unwrap_or_else(|| panic!("{word} is no route")).0
    }

    /// Whether it takes the text itself.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::DockerCompose | Self::PreLaunchScript)
    }

    fn path(self) -> String {
        match self {
            Self::Patch => String::new(),
            Self::Prepare => "/compose_file/provision".to_owned(),
            Self::Commit | Self::Replace => "/compose_file".to_owned(),
            _ => format!("/{}", ROUTES.iter().find(|(own, _)| *own == self).unwrap().1),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub route: Route,
    /// Changes of the plain document, for the routes that take one.
    pub file: Value,
    /// The field, and what has to be said besides.
    pub body: Value,
    /// Whether `body` is about the document.
    pub in_document: bool,
}

impl Sent {
    /// Sends it to a CVM; the reply of the last request where several are needed.
    pub async fn to(&self, world: &World, uuid: &str) -> Reply {
        let path = format!("/cvms/{uuid}{}", self.route.path());
        let mut file = json!({ "name": "", "docker_compose_file": COMPOSE });
        merge(&mut file, &self.file);
        if self.in_document {
            merge(&mut file, &self.body);
        }
        match self.route {
            Route::DockerCompose | Route::PreLaunchScript => {
                let text = self.body.as_object().unwrap().values().next().unwrap();
                text_body(world, &path, text.as_str().unwrap()).await
            }
            Route::Ports => world.call("PUT", &path, "2026-01-21", Some(self.body.clone())).await,
            Route::Prepare => {
                let prepared = world.post(&path, file).await;
                if !prepared.status.is_success() {
                    return prepared;
                }
                let body = json!({ "compose_hash": prepared.json()["compose_hash"] });
                let commit = format!("/cvms/{uuid}/compose_file");
                world.call("PATCH", &commit, "2026-01-21", Some(body)).await
            }
            Route::Commit => {
                let prepare = format!("/cvms/{uuid}/compose_file/provision");
                let prepared = world.post(&prepare, file).await.ok();
                let mut body = json!({ "compose_hash": prepared["compose_hash"] });
                merge(&mut body, &self.body);
                world.call("PATCH", &path, "2026-01-21", Some(body)).await
            }
            Route::Replace => {
                let mut whole = file.clone();
                whole["update_env_vars"] = true.into();
                let prepare = format!("/cvms/{uuid}/compose_file/provision");
                let prepared = world.post(&prepare, whole).await;
                let known = prepared.status.is_success();
                let hash = if known {
                    prepared.json()["compose_hash"].clone()
                } else {
                    "00".repeat(32).into()
                };
                let mut body = json!({ "compose_hash": hash, "compose_file": file });
                if !self.in_document {
                    merge(&mut body, &self.body);
                }
                world.post(&path, body).await
            }
            _ => world.call("PATCH", &path, "2026-01-21", Some(self.body.clone())).await,
        }
    }
}

async fn text_body(world: &World, path: &str, text: &str) -> Reply {
    let request = Request::builder()
        .method("PATCH")
        .uri(format!("/api/v1{path}"))
        .header("x-api-key", &world.key)
        .header("content-type", "text/plain");
    world.send(request.body(text.to_owned().into()).unwrap()).await
}

/// What `null` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Null {
    /// As left out.
    Kept,
    /// As if it had never been said.
    Gone,
    /// This status or code.
    Refused(String),
}

/// What becomes of a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Yes,
    No,
    NextStart,
    /// The field has no effect of its own.
    Nothing,
}

/// A row.
#[derive(Debug, Clone)]
pub struct Line {
    pub names: Vec<String>,
    pub routes: Vec<Route>,
    pub in_document: bool,
    pub null: Null,
    pub restart: Restart,
    pub seen: String,
    pub refused: Refused,
    /// Whether docker nodes refuse every value.
    pub not_on_docker: bool,
}

impl Line {
    /// Whether it is the row of this name at this route.
    pub fn is(&self, route: Route, in_document: bool, name: &str) -> bool {
        self.routes.contains(&route)
            && self.in_document == in_document
            && self.names.iter().any(|own| own == name)
    }
}

/// All rows.
pub fn lines() -> Vec<Line> {
    let (mut inside, mut in_document) = (false, false);
    let mut lines = Vec::new();
    for text in DOCUMENT.lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            inside = heading == "Update";
        }
        in_document |= text.starts_with("### The document");
        if !inside || !text.starts_with("| `") {
            continue;
        }
        let cells: Vec<&str> = text.trim_matches('|').split(" | ").map(str::trim).collect();
        let [names, routes, _, null, restart, seen, any, docker, sim] = cells[..] else {
            panic!("{text}");
        };
        lines.push(Line {
            names: quoted(names).into_iter().map(str::to_owned).collect(),
            routes: quoted(routes).into_iter().map(Route::parse).collect(),
            in_document,
            null: match null {
                "kept" => Null::Kept,
                "taken away" | "default" => Null::Gone,
                code => Null::Refused(code.trim_matches('`').to_owned()),
            },
            restart: match restart {
                "yes" => Restart::Yes,
                "no" => Restart::No,
                "next start" => Restart::NextStart,
                "–" => Restart::Nothing,
                other => panic!("restart: {other}"),
            },
            seen: seen.to_owned(),
            refused: Refused { any: codes(any), docker: codes(docker), sim: codes(sim) },
            not_on_docker: docker.contains(": any") || docker.starts_with("with "),
        });
    }
    lines
}

/// Names of the routes with the fields they take, the document's under `document `.
pub fn fields() -> BTreeSet<(Route, String)> {
    let mut all = BTreeSet::new();
    for line in lines() {
        for name in &line.names {
            let name = if line.in_document { format!("document {name}") } else { name.clone() };
            for route in &line.routes {
                assert!(all.insert((*route, name.clone())), "{route:?} {name} has two rows");
            }
        }
    }
    all
}
