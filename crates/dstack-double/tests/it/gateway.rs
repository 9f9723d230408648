//! The admin client of dstack-gateway against doubles of two builds.

use std::{sync::Arc, time::Duration};

use casemate_core::id::InstanceId;
use casemate_dstack_double::{
    GatewayDouble, GatewayFault, GatewayProfile, gateway::Registered, gateway_router,
};
use casemate_engine::{
    gateway::{
        Features, Gateway, GatewayConfig, GatewayError, NewDomain, PolicySource, PortPolicy,
        PortRule,
    },
    node::dstack::AccessFiles,
};

use crate::stage::{TOKEN, secret};

const APP: &str = "0101010101010101010101010101010101010101";

struct Cluster {
    double: Arc<GatewayDouble>,
    gateway: Gateway,
    config: GatewayConfig,
    dir: tempfile::TempDir,
}

fn id() -> InstanceId {
    InstanceId::from_bytes([7; 20])
}

impl Cluster {
    async fn new(profile: GatewayProfile) -> Self {
        let double = Arc::new(GatewayDouble::new(profile, "apps.example", Some(TOKEN)));
        let record =
            Registered { app_id: APP.to_owned(), latest_handshake: 1_790_000_000, connections: 3 };
        double.register(&id().to_string(), record);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = gateway_router(double.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let dir = tempfile::tempdir().unwrap();
        secret(&dir.path().join("token"), TOKEN);
        let config = GatewayConfig {
            admin: url.parse().unwrap(),
            files: AccessFiles { token: Some(dir.path().join("token")), ..AccessFiles::default() },
            rpc: Some(format!("{url}/public").parse().unwrap()),
            timeout: Duration::from_millis(500),
        };
        let gateway = Gateway::open(config.clone()).await.unwrap();
        Self { double, gateway, config, dir }
    }
}

#[tokio::test]
async fn a_look_tells_the_build_its_domains_and_its_instances() {
    for (profile, all) in GatewayProfile::ALL.into_iter().zip([false, true]) {
        let version = profile.version;
        let cluster = Cluster::new(profile).await;
        let seen = cluster.gateway.look().await.unwrap();
        let features = Features { rotation: all, removal: all, port_policy: all };
        assert_eq!(seen.features, features, "{version}");
        assert_eq!(seen.version.as_deref(), Some(version));
        assert_eq!((seen.meta.registered, seen.meta.online), (1, 1));
        assert_eq!(seen.status.connections, 3);
        let instance = &seen.status.instances[0];
        assert_eq!((instance.id, instance.connections), (id(), 3));
        assert_eq!(instance.app, Some(APP.parse().unwrap()));
        assert_eq!(instance.ready, all.then_some(true));
        let handshake = instance.latest_handshake.map(|at| at.micros() / 1_000_000);
        assert_eq!(handshake, Some(1_790_000_000));
        let domain = &seen.domains[0];
        assert_eq!((domain.domain.as_str(), domain.port), ("apps.example", 443));
        assert!(domain.certificate.is_some());
        assert!(cluster.double.calls("RemoveCvm").is_empty(), "a look changes nothing");
        assert!(cluster.double.in_rotation(&id().to_string()));
    }
}

#[tokio::test]
async fn an_instance_is_found_with_its_handshakes() {
    let cluster = Cluster::new(GatewayProfile::newest()).await;
    let found = cluster.gateway.instance(&id()).await.unwrap().unwrap();
    assert_eq!(found.connections, 3);
    let other = InstanceId::from_bytes([8; 20]);
    assert_eq!(cluster.gateway.instance(&other).await.unwrap(), None);
    let handshakes = cluster.gateway.handshakes(&id()).await.unwrap();
    assert_eq!(handshakes.len(), 1);
    assert_eq!(cluster.gateway.handshakes(&other).await.unwrap(), []);
}

#[tokio::test]
async fn an_instance_leaves_the_rotation_and_comes_back() {
    let cluster = Cluster::new(GatewayProfile::newest()).await;
    let name = id().to_string();
    for ready in [false, false, true, true] {
        cluster.gateway.set_instance_ready(&id(), ready).await.unwrap();
        assert_eq!(cluster.double.in_rotation(&name), ready);
        let seen = cluster.gateway.instance(&id()).await.unwrap().unwrap();
        assert_eq!(seen.ready, Some(ready));
    }
    let stranger = InstanceId::from_bytes([8; 20]);
    let refused = cluster.gateway.set_instance_ready(&stranger, false).await.unwrap_err();
    assert!(matches!(&refused, GatewayError::Refused(why) if why.contains("not found")));
    assert!(cluster.gateway.remove_instance(&id()).await.unwrap().had_record);
    assert!(!cluster.gateway.remove_instance(&id()).await.unwrap().had_record);
    assert_eq!(cluster.double.registered(&name), None);
}

#[tokio::test]
async fn domains_and_port_policies_are_set_and_taken_back() {
    let cluster = Cluster::new(GatewayProfile::newest()).await;
    let gateway = &cluster.gateway;
    let domain = NewDomain {
        domain: "more.example".to_owned(),
        port: 8443,
        priority: 90,
        dns_credential: None,
    };
    gateway.add_domain(&domain).await.unwrap();
    let domains = gateway.domains().await.unwrap();
    let names: Vec<_> = domains.iter().map(|domain| domain.domain.as_str()).collect();
    assert_eq!(names, ["more.example", "apps.example"], "the preferred one first");
    assert!(matches!(gateway.add_domain(&domain).await, Err(GatewayError::Refused(_))));
    gateway.delete_domain("more.example").await.unwrap();
    assert_eq!(gateway.domains().await.unwrap().len(), 1);

    assert_eq!(gateway.port_policy(&id()).await.unwrap(), (None, PolicySource::None));
    let rule = PortRule { port: 8080, proxy_protocol: true };
    let policy = PortPolicy { ports: vec![rule], restricted: true };
    gateway.set_port_policy(&id(), &policy).await.unwrap();
    let found = gateway.port_policy(&id()).await.unwrap();
    assert_eq!(found, (Some(policy), PolicySource::Admin));
    gateway.clear_port_policy(&id()).await.unwrap();
    assert_eq!(gateway.port_policy(&id()).await.unwrap(), (None, PolicySource::None));
}

#[tokio::test]
async fn a_method_that_an_old_build_does_not_have_is_named() {
    let [oldest, _] = GatewayProfile::ALL;
    for status in [400, 404] {
        let profile = GatewayProfile { unknown_method: status, ..oldest.clone() };
        let cluster = Cluster::new(profile).await;
        let gateway = &cluster.gateway;
        let no = GatewayError::NoMethod;
        assert_eq!(
            gateway.set_instance_ready(&id(), false).await,
            Err(no("SetInstanceReady")),
            "{status}"
        );
        assert_eq!(gateway.remove_instance(&id()).await, Err(no("RemoveCvm")));
        assert_eq!(gateway.port_policy(&id()).await, Err(no("GetInstancePortPolicy")));
        assert_eq!(gateway.clear_port_policy(&id()).await, Err(no("ClearInstancePortPolicy")));
    }
}

#[tokio::test]
async fn an_error_tells_whether_the_call_may_have_happened() {
    let cluster = Cluster::new(GatewayProfile::newest()).await;
    let instance = id();
    let ask = || cluster.gateway.set_instance_ready(&instance, false);
    let set = |fault| cluster.double.set_faults(vec![fault]);
    let method = || "SetInstanceReady".to_owned();
    set(GatewayFault::Away);
    assert!(matches!(ask().await, Err(GatewayError::Unreachable(_))));
    set(GatewayFault::Hangs);
    assert!(matches!(ask().await, Err(GatewayError::Unknown(why)) if why.contains("no answer")));
    set(GatewayFault::Refuses(method()));
    assert!(matches!(ask().await, Err(GatewayError::Refused(_))));
    assert!(cluster.double.in_rotation(&id().to_string()));
    set(GatewayFault::Loses(method()));
    assert!(matches!(ask().await, Err(GatewayError::Unknown(_))));
    assert!(!cluster.double.in_rotation(&id().to_string()), "it was carried out");

    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let gateway = Gateway::open(GatewayConfig { admin: nobody, ..cluster.config.clone() });
    let silent = gateway.await.unwrap().status().await;
    assert!(matches!(silent, Err(GatewayError::Unreachable(_))), "{silent:?}");
}

#[tokio::test]
async fn a_token_is_read_again_and_never_shown() {
    let cluster = Cluster::new(GatewayProfile::newest()).await;
    let path = cluster.dir.path().join("token");
    secret(&path, "wr0ng");
    let denied = cluster.gateway.look().await.unwrap_err();
    assert!(matches!(denied, GatewayError::Denied(_)), "{denied:?}");
    let shown = format!("{denied} {:?} {:?}", cluster.gateway, cluster.config);
    assert!(!shown.contains("wr0ng") && !shown.contains(TOKEN), "{shown}");
    secret(&path, TOKEN);
    cluster.gateway.look().await.unwrap();

    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = cluster.gateway.look().await.unwrap_err();
    assert!(matches!(&open, GatewayError::Denied(why) if why.contains("chmod 600")), "{open}");
}
