//! The gateway between a client and an app that both speak plain TCP. The node is a stub that knows
//! one address; the real one is shown by `conformance/`.

use crate::common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    routing::{any, get},
};
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::ObservedVm,
    id::EngineVmId,
};
use casemate_engine::node::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestSystem, Inventory, LogQuery,
    LogStream, Mark, Node, VmConfig, sim::SimNode,
};
use casemate_server::{
    app::{
        ctx,
        fleet::{Fleet, FleetNode},
    },
    gateway::Gateway,
};
use common::World;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A simulated node whose guests all publish port 8080 at one real address.
#[derive(Debug)]
struct Published {
    sim: SimNode,
    at: SocketAddr,
}

#[async_trait]
impl Node for Published {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.sim.inventory().await
    }
    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.sim.list().await
    }
    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        self.sim.find(mark).await
    }
    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        self.sim.create(config).await
    }
    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        self.sim.push(vm, config).await
    }
    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.sim.start(vm).await
    }
    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.sim.stop(vm).await
    }
    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.sim.shutdown(vm).await
    }
    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.sim.remove(vm).await
    }
    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        self.sim.resolve_port(vm, port).await?;
        match port {
            8080 => Ok(Dial::Tcp(self.at)),
            port => Err(DialError::NotPublished { port, published: vec![8080] }),
        }
    }
    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        self.sim.evidence(vm, nonce).await
    }
    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        self.sim.guest_containers(vm).await
    }
    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        self.sim.guest_system(vm).await
    }
    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        self.sim.guest_network(vm).await
    }
    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        self.sim.logs(vm, query).await
    }
}

/// A world with a running CVM, its app id, and the gateway before it.
async fn world() -> (World, String, Gateway) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let app = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", any(async |body: Body| body))
        .route("/raw", any(raw));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut world = World::new().await;
    let (id, old) =
        world.ctx.fleet.own().iter().next().map(|(id, node)| (*id, node.clone())).unwrap();
    let node = Arc::new(Published { sim: world.sim.clone(), at });
    let node = FleetNode::new(
        id,
        &old.name,
        casemate_core::node::NodeKind::Sim,
        "local",
        node,
        (*old.observed().0).clone(),
    );
    let fleet = Fleet::new([(id, Arc::new(node))].into(), world.ctx.fleet.kms.clone());
    let parts = ctx::World { fleet: Arc::new(fleet), ..(*world.ctx).clone() };
    world.ctx = parts.into();
    let app = world.deploy("my-app").await["app_id"].as_str().unwrap().to_owned();
    world.settle().await;
    let gateway = Gateway::new(world.ctx.clone(), "localhost", None);
    (world, app, gateway)
}

/// Switches protocols and says everything back in capitals.
async fn raw(mut request: Request<Body>) -> axum::response::Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 64];
        let read = io.read(&mut buffer).await.unwrap();
        io.write_all(&buffer[..read].to_ascii_uppercase()).await.unwrap();
    });
    axum::response::Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "raw")
        .body(Body::empty())
        .unwrap()
}

async fn ask(gateway: &Gateway, host: &str, path: &str, body: Body) -> (StatusCode, String) {
    let request = Request::builder().uri(path).header("host", host).body(body).unwrap();
    let response = gateway.answer(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn requests_reach_the_app_by_app_id_and_by_instance_id() {
    let (world, app, gateway) = world().await;
    let instance = world.get("/cvms/my-app").await.ok()["instance_id"].as_str().unwrap().to_owned();
    for id in [&app, &instance, &app.to_uppercase()] {
        let host = format!("{id}-8080.localhost:1234");
        let (status, text) = ask(&gateway, &host, "/hello", Body::empty()).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "hello"), "{host}");
    }
    let large = "x".repeat(3 * 1024 * 1024);
    let (_, text) =
        ask(&gateway, &format!("{app}-8080.localhost"), "/echo", large.clone().into()).await;
    assert_eq!(text.len(), large.len());
}

#[tokio::test]
async fn what_the_gateway_refuses_it_explains() {
    let (world, app, gateway) = world().await;
    let expect = async |host: String, status: u16, word: &str| {
        let (got, text) = ask(&gateway, &host, "/hello", Body::empty()).await;
        assert_eq!(got.as_u16(), status, "{host}: {text}");
        assert!(text.contains(word), "{host}: {text}");
    };
    expect(format!("{}-8080.localhost", "00".repeat(20)), 404, "no app or instance").await;
    expect(format!("{app}-81.localhost"), 404, "8080").await;
    expect("example.org".to_owned(), 421, "not below").await;
    world.post("/cvms/my-app/stop", serde_json::Value::Null).await.ok();
    world.settle().await;
    expect(format!("{app}-8080.localhost"), 503, "stopped").await;
}

/// `GET *` once became a request to port 80 of the host.
#[tokio::test]
async fn a_target_that_is_no_path_is_refused() {
    let (_world, app, gateway) = world().await;
    for method in ["GET", "OPTIONS", "PUT", "POST", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("*")
            .header("host", format!("{app}-8080.localhost"))
            .body(Body::from("body"))
            .unwrap();
        let response = gateway.answer(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{method}");
    }
    let host = format!("{app}-8080.localhost");
    let (status, text) = ask(&gateway, &host, "/hello?to=http://x/*", Body::empty()).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "hello"));
}

/// Through a real listener, because an upgrade needs a connection.
#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let (_world, app, gateway) = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = Router::new().fallback_service(tower::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { gateway.answer(request).await }
    }));
    tokio::spawn(async move { axum::serve(listener, service).await });
    let mut client = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "GET /raw HTTP/1.1\r\nhost: {app}-8080.localhost\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let mut sent = false;
    while !String::from_utf8_lossy(&seen).ends_with("PING") {
        let mut buffer = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(5), client.read(&mut buffer));
        let read = read.await.expect("an answer in time").unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
        if !sent && seen.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
            client.write_all(b"ping").await.unwrap();
            sent = true;
        }
    }
}
