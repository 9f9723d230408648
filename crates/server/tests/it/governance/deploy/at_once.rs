//! Many commits at the same time, on both databases.

use std::{collections::BTreeSet, sync::Arc};

use casemate_store::Db;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::governance::deploy::{
    Stage, body, commit_body,
    common::{Reply, World},
    compose_hash,
};

async fn all(requests: Vec<(Arc<World>, Value)>) -> Vec<Reply> {
    let mut all = JoinSet::new();
    for (world, body) in requests {
        all.spawn(async move { world.post("/cvms", body).await });
    }
    all.join_all().await
}

async fn many_commits_are_one_cvm(db: Db) {
    let stage = Stage::over(db).await;
    let provisioned = stage.provision("my-app").await;
    let (app, transaction) = stage.app(&provisioned);
    let more = json!({ "transaction_hash": format!("0x{transaction}") });
    let request = commit_body(&provisioned, app, &more);
    let Stage { world, .. } = stage;
    let world = Arc::new(world);
    let replies = all((0..24).map(|_| (world.clone(), request.clone())).collect()).await;
    let made: BTreeSet<String> =
        replies.into_iter().map(|reply| reply.ok()["vm_uuid"].to_string()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(world.get("/cvms/paginated").await.ok()["total"], 1);
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app").await.ok()["status"], "running");
}

async fn one_of_two_workspaces_gets_the_app(db: Db) {
    let stage = Stage::over(db).await;
    let stranger = Arc::new(stage.stranger().await);
    let ours = stage.provision("my-app").await;
    let his = stranger.post("/cvms/provision", body("my-app", &json!({}))).await.ok();
    assert_eq!(ours["compose_hash"], his["compose_hash"]);
    let (app, _) = stage.app(&ours);
    let request = commit_body(&ours, app, &json!({}));
    let world = Arc::new(stage.world);
    let both = (0..16)
        .map(|n| (if n % 2 == 0 { world.clone() } else { stranger.clone() }, request.clone()))
        .collect();
    let replies = all(both).await;
    let (mut made, mut refused) = (BTreeSet::new(), 0);
    for reply in replies {
        if reply.status == 200 {
            made.insert(reply.ok()["vm_uuid"].to_string());
        } else {
            reply.refused(409, "ERR-03-007");
            refused += 1;
        }
    }
    assert_eq!((made.len(), refused), (1, 8), "{made:?}");
    let mut live = 0;
    for world in [&world, &stranger] {
        live += world.get("/cvms/paginated").await.ok()["total"].as_i64().unwrap();
    }
    assert_eq!(live, 1);
}

async fn one_of_two_configurations_is_the_apps(db: Db) {
    let stage = Stage::over(db).await;
    let (one, two) = (stage.provision("app-one").await, stage.provision("app-two").await);
    let (app, _) = stage.app(&one);
    stage.chain.add_hash(app, compose_hash(&two));
    let requests = [&one, &two].map(|of| commit_body(of, app, &json!({})));
    let world = Arc::new(stage.world);
    let both = (0..12).map(|n| (world.clone(), requests[n % 2].clone())).collect();
    let (made, refused): (Vec<_>, Vec<_>) =
        all(both).await.into_iter().partition(|reply| reply.status == 200);
    assert_eq!((made.len(), refused.len()), (6, 6));
    for reply in refused {
        reply.refused(409, "ERR-03-007");
    }
    assert_eq!(world.get("/cvms/paginated").await.ok()["total"], 1);
}

casemate_testing::each_backend!(
    many_commits_are_one_cvm,
    one_of_two_workspaces_gets_the_app,
    one_of_two_configurations_is_the_apps,
);
