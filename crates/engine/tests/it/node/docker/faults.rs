//! A service that does not do what it should is seen: which, how it ended, and what it wrote last.

use casemate_core::cvm::{Boot, FaultKind, ObservedVm, VmPower};
use casemate_engine::node::{DialError, Node, VmConfig};

use super::{
    apps::config,
    world::{IMAGE, World, eventually},
};

async fn seen(world: &World, config: &VmConfig, what: &str) -> ObservedVm {
    eventually(what, || async {
        let vm = world.look(config).await;
        (!vm.faults.is_empty()).then_some(vm)
    })
    .await
}

#[tokio::test]
async fn a_service_that_ends_later_is_a_fault_and_the_others_go_on() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web: {{image: {IMAGE}, command: httpd -f -p 80 -h /etc, ports: ['8080:80']}}
  worker: {{image: {IMAGE}, command: sh -c 'sleep 6; echo no database; exit 9'}}
  job: {{image: {IMAGE}, command: 'true'}}
"
    ));
    let vm = world.up(&config).await;
    assert_eq!(world.look(&config).await.published, Some(vec![8080]));
    let observed = seen(&world, &config, "the fault").await;
    assert_eq!(observed.power, VmPower::Running);
    let fault = &observed.faults[0];
    assert_eq!((fault.service.as_str(), &fault.kind), ("worker", &FaultKind::Exited { code: 9 }));
    assert_eq!(fault.to_string(), "service worker exited with 9; its last output: no database");
    assert_eq!(observed.faults.len(), 1, "a job that ended well has done its work");
    assert!(world.node.resolve_port(&vm, 8080).await.is_ok());
    let (_, listed) = world.node.list().await.unwrap().remove(0);
    assert_eq!(listed.shows(), observed.shows());
}

#[tokio::test]
async fn a_service_that_restarts_in_a_loop_is_a_failed_boot() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web:
    image: {IMAGE}
    command: sh -c 'echo cannot open database; exit 1'
    restart: always
    ports: ['8080:80']
"
    ));
    let vm = world.start(&config).await;
    let cause = eventually("the end of the boot", || async {
        match world.look(&config).await.boot {
            Boot::Failed(cause) => Some(cause),
            _ => None,
        }
    })
    .await;
    assert!(
        cause.starts_with("service web restarts in a loop, the last time it exited with 1"),
        "{cause}"
    );
    assert!(cause.contains("cannot open database"), "{cause}");
    let observed = world.look(&config).await;
    assert_eq!(observed.faults[0].kind, FaultKind::Restarting { code: 1 });
    let error = world.node.resolve_port(&vm, 8080).await.unwrap_err();
    let DialError::NotUp(text) = error else { panic!("{error}") };
    assert_eq!(
        text, "the boot failed: service web restarts in a loop, the last time it exited with 1",
        "visitors do not read the output"
    );
}

#[tokio::test]
async fn a_service_that_calms_down_is_up() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web:
    image: {IMAGE}
    command: sh -c '[ -e /data/second ] && exec sleep 1000; touch /data/second; exit 1'
    restart: always
    volumes: ['data:/data']
volumes: {{data: }}
"
    ));
    world.up(&config).await;
    assert_eq!(world.look(&config).await.faults, []);
}

#[tokio::test]
async fn an_unhealthy_service_is_a_fault() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web:
    image: {IMAGE}
    command: sleep 1000
    healthcheck: {{test: ['CMD', 'false'], interval: 1s, retries: 1}}
"
    ));
    world.up(&config).await;
    let observed = seen(&world, &config, "the health check").await;
    assert_eq!(observed.faults[0].kind, FaultKind::Unhealthy);
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_and_a_failed_dependency_are_named() {
    let world = World::new().await;
    let config = config("services: {web: {image: 'nobody.invalid/gone:1'}}");
    world.start(&config).await;
    let cause = world.failed(&config).await;
    assert!(cause.starts_with("service web: image nobody.invalid/gone:1"), "{cause}");
    let image = "nobody.invalid/gone:1".to_owned();
    assert_eq!(world.look(&config).await.faults[0].kind, FaultKind::NoImage { image });

    let text = format!(
        "
services:
  init: {{image: {IMAGE}, command: sh -c 'echo migration broke; exit 3'}}
  web:
    image: {IMAGE}
    command: sleep 1000
    depends_on: {{init: {{condition: service_completed_successfully}}}}
"
    );
    let config = super::apps::config(&text);
    world.start(&config).await;
    let cause = world.failed(&config).await;
    assert!(
        cause.starts_with("service init exited with 3; its last output: migration broke"),
        "{cause}"
    );
}

#[tokio::test]
async fn of_a_range_every_container_has_its_port() {
    let world = World::new().await;
    let config = config(&format!(
        "
services:
  web:
    image: {IMAGE}
    command: sh -c 'mkdir /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w'
    ports: ['8081-8084:80']
    deploy: {{replicas: 3}}
"
    ));
    let vm = world.up(&config).await;
    assert_eq!(world.look(&config).await.published, Some(vec![8081, 8082, 8083]));
    let mut names = Vec::new();
    for port in [8081, 8082, 8083] {
        names.push(world.get(&vm, port).await);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "each leads to another container: {names:?}");
    assert!(matches!(
        world.node.resolve_port(&vm, 8084).await,
        Err(DialError::NotPublished { published, .. }) if published == [8081, 8082, 8083]
    ));
}
