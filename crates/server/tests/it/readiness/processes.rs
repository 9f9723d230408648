//! Two processes on one database: the second reaches the instances of the first through its gateway.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use casemate_core::node::NodeState;
use casemate_server::{
    app::{
        Ctx, ctx,
        fleet::{Fleet, FleetNode, NodePolicy},
    },
    gateway::Gateway,
};
use casemate_store::nodes::NodeRow;
use tokio::net::TcpListener;

use crate::readiness::stage::{HEALTHZ, Said, Stage, read};

/// Has a gateway listen.
async fn listen(gateway: Gateway) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = Router::new().fallback_service(tower::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { gateway.answer(request).await }
    }));
    tokio::spawn(async move { axum::serve(listener, service).await });
    at
}

/// The gateway of a process that knows the stage's node as one of another process, at `gateway`.
fn beside(stage: &Stage, gateway: SocketAddr) -> Gateway {
    let world = &stage.world.ctx;
    let own = world.fleet.own();
    let (id, node) = own.iter().next().unwrap();
    let row = NodeRow {
        id: id.0,
        name: node.name.clone(),
        kind: node.kind.as_str().to_owned(),
        owner: "test".to_owned(),
        lease_expires_at: 0,
        gateway: gateway.to_string(),
        region: node.region.clone(),
        inventory: serde_json::to_string(&*node.observed().0).unwrap(),
        reachable: true,
        seen_at: 0,
        state: NodeState::Active,
        pinned: true,
        settings: None,
    };
    let fleet = Fleet::new([].into(), world.fleet.kms.clone());
    fleet.replace_others([FleetNode::remote(&row, true, NodePolicy::default()).unwrap()]);
    let parts =
        ctx::World { fleet: Arc::new(fleet), inflight: Arc::default(), ..(**world).clone() };
    Gateway::new(Ctx::from(parts), "localhost", None)
}

async fn ask(gateway: &Gateway, stage: &Stage, method: &str, path: &str) -> Said {
    read(gateway.answer(stage.request(method, path, Body::empty())).await.unwrap()).await
}

#[tokio::test]
async fn the_process_with_the_node_decides_who_is_ready() {
    let stage = Stage::with(2, HEALTHZ).await;
    let other = beside(&stage, listen(stage.gateway.clone()).await);
    let (first, second) = (stage.guest("web-1").await, stage.guest("web-2").await);
    first.be_well(false);
    for method in ["GET", "POST"] {
        for _ in 0..20 {
            assert_eq!(ask(&other, &stage, method, "/who").await.ok(), second.name, "{method}");
        }
    }
    assert_eq!(first.served(), 0);
    second.be_well(false);
    second.kill();
    let said = ask(&other, &stage, "POST", "/who").await;
    assert!(matches!(said.status.as_u16(), 502 | 503), "{said:?}");
    first.be_well(true);
    stage.until("ready", |said| said.status == 200).await;
    assert_eq!(ask(&other, &stage, "POST", "/who").await.ok(), first.name);
}

/// The first gateway has the request's whole story: a kill there is repeated like one here.
#[tokio::test]
async fn a_kill_over_there_is_repeated_only_where_it_can_be() {
    let stage = Stage::with(2, "{}").await;
    let other = beside(&stage, listen(stage.gateway.clone()).await);
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let guests = [stage.guest("web-1").await, stage.guest("web-2").await];
        let request = stage.request(method, "/slow", Body::empty());
        let gateway = other.clone();
        let asked = tokio::spawn(async move { read(gateway.answer(request).await.unwrap()).await });
        let victim = tokio::select! {
            () = guests[0].works_on(1) => 0,
            () = guests[1].works_on(1) => 1,
        };
        if method == "GET" {
            guests[1 - victim].tickets.add_permits(1);
        }
        guests[victim].kill();
        assert_eq!(asked.await.unwrap().status.as_u16(), status, "{method}");
        guests[victim].boot().await;
        guests[victim].works_on(0).await;
        stage.world.clock.advance_ms(3000);
    }
}

/// A request under way from over there is waited for where the node is.
#[tokio::test]
async fn requests_from_over_there_are_waited_for() {
    let stage = Stage::with(1, "{}").await;
    let other = beside(&stage, listen(stage.gateway.clone()).await);
    let guest = stage.guest("web-1").await;
    let request = stage.request("POST", "/slow", Body::empty());
    let asked = tokio::spawn(async move { read(other.answer(request).await.unwrap()).await });
    guest.works_on(1).await;
    stage.send("POST", "/cvms/web-1/shutdown", serde_json::Value::Null).await;
    for _ in 0..20 {
        stage.step().await;
        stage.world.clock.advance_ms(20);
    }
    guest.tickets.add_permits(1);
    asked.await.unwrap().ok();
    stage.world.settle().await;
    assert_eq!(stage.status("web-1").await, "stopped");
}

/// Two processes that each take the other for the one with the node do not play ball.
#[tokio::test]
async fn a_request_is_forwarded_once() {
    let stage = Stage::with(1, "{}").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let nobody = beside(&stage, at);
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let back = nobody.clone();
    let service = Router::new().fallback_service(tower::service_fn(move |request| {
        let gateway = back.clone();
        async move { gateway.answer(request).await }
    }));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let said = ask(&nobody, &stage, "GET", "/who").await.refused(503, "served here");
    assert_eq!(said.headers["x-casemate-gateway"], "not-sent");
}

/// The header counts within the app, and no app sees it.
#[tokio::test]
async fn the_header_names_an_instance_of_the_app() {
    let stage = Stage::with(2, "{}").await;
    let with = async |value: &str, path: &str| {
        let mut request = stage.request("GET", path, Body::empty());
        request.headers_mut().insert("x-casemate-instance", value.parse().unwrap());
        read(stage.gateway.answer(request).await.unwrap()).await
    };
    let uuid = stage.cvm("web-2").await.uuid.to_string();
    for _ in 0..10 {
        assert_eq!(with(&uuid, "/who").await.ok(), stage.guest("web-2").await.name);
    }
    let seen = with(&uuid, "/headers").await.ok();
    assert!(!seen.contains("casemate"), "{seen}");
    with("no-uuid", "/who").await.refused(400, "x-casemate-instance");
    let stranger = uuid::Uuid::nil().to_string();
    with(&stranger, "/who").await.refused(503, "is no instance of");
}
