//! What the next process finds and goes on with.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use casemate_core::{
    cvm::{Boot, VmPower},
    id::EngineVmId,
};
use casemate_engine::node::Node;

use super::{
    apps::{config, web},
    world::{IMAGE, World, container, docker, eventually, left, started_at, unix_get},
};

#[tokio::test]
async fn a_boot_that_a_crash_cut_off_is_done_by_the_next_process() {
    let mut world = World::new().await;
    let config = config(&web());
    let vm = world.start(&config).await;
    for _ in 0..3 {
        world.crash_and_reopen().await;
        assert_eq!(world.look(&config).await.power, VmPower::Running);
    }
    world.booted(&config).await;
    assert_eq!(world.get(&vm, 8080).await, "none 1");
}

#[tokio::test]
async fn containers_outlive_the_process_and_find_its_successors_agent() {
    let mut world = World::new().await;
    let compose = format!(
        r#"
services:
  linked:
    image: {IMAGE}
    volumes: ["/var/run/dstack.sock:/var/run/dstack.sock", "/var/run/tappd.sock:/tmp/tappd.sock"]
    command: sh -c 'echo $$(test -S /var/run/dstack.sock && test -S /tmp/tappd.sock && echo found); sleep 1000'
  direct:
    image: {IMAGE}
    read_only: true
    volumes: ["/var/run/dstack.sock:/var/run/dstack.sock"]
    command: sleep 1000
"#
    );
    let config = config(&compose);
    let vm = world.up(&config).await;
    let linked = container(&vm, "linked");
    eventually("the socket", || async {
        world.log(&vm).await.contains("linked | found").then_some(())
    })
    .await;
    let before = started_at(&linked);
    let direct = started_at(&container(&vm, "direct"));

    world.crash_and_reopen().await;
    assert_eq!(world.look(&config).await.boot, Boot::Done);
    assert_eq!(started_at(&linked), before, "a container was restarted without need");
    eventually("a restart of the one with a stale socket", || async {
        (started_at(&container(&vm, "direct")) != direct).then_some(())
    })
    .await;
    let pid = docker(&["inspect", &linked, "--format", "{{.State.Pid}}"]);
    let answer = unix_get(&format!("/proc/{pid}/root/.casemate/dstack.sock"), "/Info").await;
    assert!(answer.contains(&config.app_id.to_string()), "{answer}");
}

#[tokio::test]
async fn one_process_at_a_time_has_the_directory() {
    let world = World::new().await;
    let error = world.try_open_again().await.unwrap_err();
    assert!(error.contains("another process"), "{error}");
}

const CHILD: &str = "CASEMATE_TEST_CHILD";

/// Not a test by itself: the process that the test below kills. Creates and starts a VM, and waits.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let world = World::in_dir(Path::new(&dir)).await;
    let vm = world.node.create(&config(&web())).await.unwrap();
    world.node.start(&vm).await.unwrap();
    std::future::pending::<()>().await;
}

/// Runs [`child`] and kills it as soon as something is seen.
async fn kill_when(dir: &Path, seen: impl Fn() -> bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node::docker::crash::child"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let vm = dir.join("node/vms");
    eventually("what to kill the process at", || async { (vm.is_dir() && seen()).then_some(()) })
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_has_begun() {
    let made = |dir: &Path| {
        let vms = std::fs::read_dir(dir.join("node/vms")).into_iter().flatten().flatten();
        vms.map(|entry| entry.file_name().into_string().unwrap())
            .find(|name| !name.starts_with('.'))
    };
    let containers =
        |dir: &Path| made(dir).is_some_and(|vm| !left(&["ps", "-a"], &EngineVmId(vm)).is_empty());
    let state = |dir: &Path, word: &str| {
        let file = made(dir).map(|vm| dir.join("node/vms").join(vm).join("state.json"));
        let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        text.contains(word)
    };
    let moments: [&dyn Fn(&Path) -> bool; 3] =
        [&|dir| state(dir, "\"started\": true"), &|dir| containers(dir), &|dir| {
            state(dir, "\"booted\": true")
        }];
    for moment in moments {
        let dir = tempfile::tempdir().unwrap();
        kill_when(dir.path(), || moment(dir.path())).await;
        let world = World::in_dir(dir.path()).await;
        let vms = world.node.list().await.unwrap();
        assert_eq!(vms.len(), 1);
        let (mark, vm) = (vms[0].0.clone(), vms[0].1.id.clone());
        let mut config = config(&web());
        config.mark = mark;
        world.booted(&config).await;
        assert!(world.get(&vm, 8080).await.starts_with("none "));
        world.remove(&config, &vm).await;
        for kind in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]] {
            assert_eq!(left(kind, &vm), "", "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_removal_that_a_crash_cut_off_is_ended() {
    let mut world = World::new().await;
    let config = config(&web());
    let vm = world.up(&config).await;
    world.node.remove(&vm).await.unwrap();
    world.crash_and_reopen().await;
    eventually("removed", || async {
        world.node.find(&config.mark).await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(left(&["ps", "-a"], &vm), "");
    assert_eq!(left(&["volume", "ls"], &vm), "");
}

#[tokio::test]
async fn a_shutdown_that_a_crash_cut_off_is_ended_with_grace() {
    let mut world = World::new().await;
    let config = config(&web());
    let vm = world.up(&config).await;
    world.get(&vm, 8080).await;
    world.node.shutdown(&vm).await.unwrap();
    world.crash_and_reopen().await;
    world.power(&config, VmPower::Stopped).await;
    assert!(world.guest(&vm, "/dstack/shared/term").exists());
}

#[tokio::test]
async fn after_a_restart_of_the_host_a_vm_boots_again() {
    let mut world = World::new().await;
    let config = config(&web());
    let vm = world.up(&config).await;
    assert_eq!(world.get(&vm, 8080).await, "none 1");
    docker(&["stop", &container(&vm, "web")]);
    let file = world.dir().join("node/vms").join(&vm.0).join("state.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(&file, text.replace(now.trim(), "an earlier run")).unwrap();
    world.crash_and_reopen().await;
    world.booted(&config).await;
    assert_eq!(world.get(&vm, 8080).await, "none 2");
}
