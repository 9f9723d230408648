//! From create to remove, and looking on the way.

use std::{collections::BTreeSet, time::Duration};

use casemate_core::{
    cvm::{Boot, VmPower},
    instance::InstanceSeed,
};
use casemate_engine::node::{CallError, DialError, LogQuery, Node};
use futures_util::StreamExt;

use super::{
    apps::{config, web, with_script},
    world::{IMAGE, World, container, docker, eventually, holds, left},
};

#[tokio::test]
async fn a_whole_life() {
    let world = World::new().await;
    let mut config = config(&web());
    config.sealed_env =
        Some(world.seal(&config.app_id, &[("GREETING", "hello-s3cret"), ("OTHER", "x")]));
    let vm = world.node.create(&config).await.unwrap();
    assert_eq!(world.look(&config).await.instance_id, None);
    world.node.start(&vm).await.unwrap();
    assert!(matches!(world.look(&config).await.boot, Boot::Progress(_) | Boot::Done));
    let seen = world.booted(&config).await;
    assert_eq!(seen.power, VmPower::Running);
    let instance = seen.instance_id.unwrap();
    assert_eq!(world.get(&vm, 8080).await, "hello-s3cret 1");
    assert!(!holds(world.dir(), "hello-s3cret"), "a value was written to the node's disk");
    assert_eq!(
        world.node.resolve_port(&vm, 80).await,
        Err(DialError::NotPublished { port: 80, published: vec![8080] })
    );
    world.node.start(&vm).await.unwrap();

    world.node.stop(&vm).await.unwrap();
    assert_eq!(world.look(&config).await.power, VmPower::Stopped);
    assert!(!world.guest(&vm, "/dstack/shared/term").exists(), "a hard stop told the app");
    assert!(matches!(world.node.resolve_port(&vm, 8080).await, Err(DialError::NotUp(_))));
    let policy = |expected: &str| {
        let container = left(&["ps", "-a"], &vm);
        let found =
            docker(&["inspect", &container, "--format", "{{.HostConfig.RestartPolicy.Name}}"]);
        assert_eq!(found, expected);
    };
    policy("no");

    world.node.start(&vm).await.unwrap();
    assert_eq!(world.booted(&config).await.instance_id, Some(instance));
    assert_eq!(world.get(&vm, 8080).await, "hello-s3cret 2");
    policy("always");

    world.node.shutdown(&vm).await.unwrap();
    world.power(&config, VmPower::Stopped).await;
    assert!(world.guest(&vm, "/dstack/shared/term").exists(), "a shutdown did not tell the app");

    world.remove(&config, &vm).await;
    for kind in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]] {
        assert_eq!(left(kind, &vm), "", "{kind:?}");
    }
    assert!(!world.dir().join("node/vms").join(&vm.0).exists());
    assert!(matches!(world.node.remove(&vm).await, Err(CallError::Rejected(_))));
}

#[tokio::test]
async fn two_cvms_of_one_compose_file_share_nothing() {
    let world = World::new().await;
    let configs = [config(&web()), config(&web())];
    let mut vms = Vec::new();
    for (config, greeting) in configs.iter().zip(["one", "two"]) {
        let mut config = config.clone();
        config.sealed_env = Some(world.seal(&config.app_id, &[("GREETING", greeting)]));
        vms.push(world.up(&config).await);
    }
    assert_eq!(world.get(&vms[0], 8080).await, "one 1");
    assert_eq!(world.get(&vms[1], 8080).await, "two 1");
    assert_eq!(world.node.list().await.unwrap().len(), 2);
    world.remove(&configs[0], &vms[0]).await;
    assert_eq!(world.get(&vms[1], 8080).await, "two 1");
    assert_eq!(world.look(&configs[1]).await.power, VmPower::Running);
}

#[tokio::test]
async fn power_verbs_end_a_boot_where_it_stands() {
    let world = World::new().await;
    let slow = with_script("sleep 300", &web());
    let vm = world.start(&slow).await;
    eventually("the script", || async { (!left(&["ps"], &vm).is_empty()).then_some(()) }).await;
    world.node.stop(&vm).await.unwrap();
    assert_eq!(world.look(&slow).await.power, VmPower::Stopped);
    assert_eq!(left(&["ps"], &vm), "");

    world.node.start(&vm).await.unwrap();
    world.node.shutdown(&vm).await.unwrap();
    world.power(&slow, VmPower::Stopped).await;
    assert_eq!(left(&["ps"], &vm), "");

    world.node.start(&vm).await.unwrap();
    world.remove(&slow, &vm).await;
    assert_eq!(left(&["ps", "-a"], &vm), "");
}

#[tokio::test]
async fn another_document_than_the_promised_one_does_not_start() {
    let world = World::new().await;
    let config = config(&web());
    let vm = world.node.create(&config).await.unwrap();
    let file = world.dir().join("node/vms").join(&vm.0).join("app-compose.json");
    std::fs::write(&file, config.compose.replace("my-web", "evil")).unwrap();
    assert!(
        matches!(world.node.start(&vm).await, Err(CallError::Rejected(text)) if text.contains("hash"))
    );
    world.node.push(&vm, &config).await.unwrap();
    world.node.start(&vm).await.unwrap();
    world.booted(&config).await;
}

#[tokio::test]
async fn an_app_whose_containers_all_fail_later_has_exited() {
    let world = World::new().await;
    let config =
        config(&format!("services: {{a: {{image: {IMAGE}, command: sh -c 'sleep 2; exit 3'}}}}"));
    let vm = world.start(&config).await;
    world.power(&config, VmPower::Exited).await;
    world.node.start(&vm).await.unwrap();
    world.power(&config, VmPower::Exited).await;
}

#[tokio::test]
async fn limits_are_where_the_inventory_says() {
    let world = World::new().await;
    let inventory = world.node.inventory().await.unwrap();
    assert!(inventory.version.starts_with("docker ") && inventory.capacity.vcpu > 0);
    assert!(inventory.images.iter().any(|image| image.name == "dstack-0.5.4"));
    let config = config(&format!("services: {{a: {{image: {IMAGE}, command: sleep 1000}}}}"));
    let vm = world.up(&config).await;
    let container = container(&vm, "a");
    let inspect = |field: &str| docker(&["inspect", &container, "--format", field]);
    let note = inventory.notes.iter().find(|note| note.contains("limits apply")).unwrap();
    if note.contains("as a whole") {
        assert_eq!(inspect("{{.HostConfig.CgroupParent}}"), format!("/casemate/{vm}"));
        let pid = inspect("{{.State.Pid}}");
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(groups.contains(&format!("/casemate/{vm}/")), "{groups}");
    } else {
        assert_eq!(inspect("{{.HostConfig.Memory}}"), (128 << 20).to_string());
    }
    world.remove(&config, &vm).await;
}

#[tokio::test]
async fn another_seed_is_another_instance_id_and_the_data_stay() {
    let mut world = World::new().await;
    let mut config = config(&web());
    config.sealed_env = Some(world.seal(&config.app_id, &[("GREETING", "g"), ("OTHER", "x")]));
    let vm = world.up(&config).await;
    let old = world.look(&config).await.instance_id;
    assert!(old.is_some());
    assert_eq!(world.get(&vm, 8080).await, "g 1");
    world.node.stop(&vm).await.unwrap();
    let seed = InstanceSeed::from_bytes([7; 20]);
    config.instance_seed = Some(seed);
    world.node.push(&vm, &config).await.unwrap();
    assert_eq!(world.look(&config).await.instance_id, None, "the old one is invalid at once");
    world.crash_and_reopen().await;
    world.node.start(&vm).await.unwrap();
    let new = seed.instance_id(&config.app_id);
    assert_eq!(world.booted(&config).await.instance_id, Some(new));
    assert_eq!(world.get(&vm, 8080).await, "g 2", "the volume is the same one");
    world.remove(&config, &vm).await;
}

#[tokio::test]
async fn a_log_can_be_followed() {
    let world = World::new().await;
    let compose = format!(
        "services: {{a: {{image: {IMAGE}, restart: always, command: \"sh -c 'cat /proc/uptime; sleep 0.5'\"}}}}"
    );
    let config = config(&compose);
    let vm = world.up(&config).await;
    let query = LogQuery { follow: true, tail: 1 };
    let mut stream = world.node.logs(&vm, query).await.unwrap();
    let mut seen = BTreeSet::new();
    let read = async {
        while seen.len() < 4 {
            let piece = stream.next().await.unwrap().unwrap();
            for line in
                String::from_utf8_lossy(&piece).lines().filter(|line| line.starts_with("a | "))
            {
                assert!(seen.insert(line.to_owned()), "{line} came twice");
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), read).await.unwrap();
}

/// Processes, logs and checks of one CVM end somewhere.
#[tokio::test]
async fn what_a_cvm_takes_of_the_engine_is_bounded() {
    let world = World::new().await;
    let compose = format!(
        "services:\n  a:\n    image: {IMAGE}\n    command: sleep 1000\n    \
         healthcheck: {{test: [CMD, 'true'], interval: 1ms}}\n"
    );
    let config = config(&compose);
    let vm = world.up(&config).await;
    let inspect = |what: &str| {
        docker(&["inspect", &container(&vm, "a"), "--format", &format!("{{{{{what}}}}}")])
    };
    assert_eq!(
        inspect("json .HostConfig.LogConfig.Config"),
        r#"{"max-file":"3","max-size":"10m"}"#
    );
    assert_eq!(inspect(".Config.Healthcheck.Interval"), "1s");
    let note = world.node.inventory().await.unwrap().notes.join("\n");
    if note.contains("as a whole") {
        let pid = inspect(".State.Pid");
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let own =
            groups.lines().find(|line| line.contains(":pids:") || line.starts_with("0::/casemate"));
        let group = own.and_then(|line| line.rsplit(':').next()).unwrap();
        let group = group.rsplit_once('/').unwrap().0;
        let limits = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .map(|root| std::fs::read_to_string(format!("{root}{group}/pids.max")));
        assert!(limits.into_iter().flatten().any(|limit| limit.trim() == "4096"), "{groups}");
    } else {
        assert_eq!(inspect(".HostConfig.PidsLimit"), "4096");
    }
    world.remove(&config, &vm).await;
}
