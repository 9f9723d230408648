//! Several CVMs on one node: what one of them does to another.

use casemate_engine::node::{Node, VmConfig};

use super::{
    apps::with_script,
    world::{IMAGE, World, docker, eventually, left},
};

fn app(script: &str) -> VmConfig {
    with_script(script, &format!("services: {{a: {{image: '{IMAGE}', command: sleep 1000}}}}"))
}

/// A script container of a VM, once it runs.
async fn script_of(vm: &casemate_core::id::EngineVmId) -> String {
    let filters = [format!("label=casemate.vm={vm}"), "label=casemate.script".to_owned()];
    eventually("a running script", || async {
        let found = docker(&["ps", "-q", "--filter", &filters[0], "--filter", &filters[1]]);
        (!found.is_empty()).then_some(found)
    })
    .await
}

/// More sleeping scripts than there are places for boots, and another CVM boots all the same.
#[tokio::test]
async fn sleeping_scripts_of_some_delay_nobody_else() {
    let world = World::new().await;
    let mut sleeping = Vec::new();
    for _ in 0..5 {
        let config = app("sleep 1000");
        let vm = world.start(&config).await;
        script_of(&vm).await;
        sleeping.push((config, vm));
    }
    let awake = app("echo awake");
    let vm = world.up(&awake).await;
    assert!(world.log(&vm).await.contains("pre-launch | awake"));
    for (config, vm) in sleeping {
        world.node.stop(&vm).await.unwrap();
        world.remove(&config, &vm).await;
    }
}

#[tokio::test]
async fn a_script_ends_in_time() {
    let world = World::with(|config| config.script_timeout_s = 1).await;
    let config = app("sleep 1000");
    let vm = world.start(&config).await;
    let cause = world.failed(&config).await;
    assert!(cause.starts_with("pre-launch script did not end within 1 s"), "{cause}");
    assert_eq!(left(&["ps", "-a"], &vm), "", "the script goes on");
}

#[tokio::test]
async fn scripts_of_two_cvms_cannot_reach_each_other() {
    let world = World::new().await;
    let open = app("echo mine > index.html; httpd -f -p 8000 -h /dstack");
    let vm = world.start(&open).await;
    let script = script_of(&vm).await;
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker(&["inspect", &script, "--format", format]);
    let reach = format!("timeout 3 wget -q -O- http://{address}:8000/");
    eventually("the script's own answer", || async {
        (docker(&["exec", &script, "sh", "-c", &reach]) == "mine").then_some(())
    })
    .await;

    let other = app(&format!("if {reach}; then echo reached; else echo 'not reached'; fi"));
    let neighbour = world.up(&other).await;
    let log = world.log(&neighbour).await;
    assert!(log.contains("pre-launch | not reached"), "{log}");
    let networks = docker(&[
        "network",
        "ls",
        "--filter",
        &format!("label=casemate.vm={neighbour}"),
        "--format",
        "{{.Name}}",
    ]);
    assert!(networks.lines().count() == 1 && networks.ends_with("_default"), "{networks}");
    world.node.stop(&vm).await.unwrap();
}
