//! What a boot makes of a configuration.

use casemate_core::cvm::{PortMap, VmPower};
use casemate_engine::node::{Dial, Node};
use serde_json::json;

use super::{
    apps::{config, document, with_script},
    world::{IMAGE, World, container, docker, eventually},
};

#[tokio::test]
async fn what_a_pre_launch_script_exports_and_writes_reaches_the_compose_file() {
    let world = World::new().await;
    let compose = format!(
        r#"
services:
  a:
    image: {IMAGE}
    command: sh -c 'echo "got $$FROM_SCRIPT and $$(cat /conf/file)"; echo etc $$(ls /linked); sleep 1000'
    environment: {{FROM_SCRIPT: "${{FROM_SCRIPT}}"}}
    volumes: ["./conf:/conf:ro", "./linked:/linked:ro"]
"#
    );
    let script = "export FROM_SCRIPT=\"$TOKEN-exported\"\nmkdir -p conf && echo written > conf/file\n\
                  docker image prune -af\nln -sfn /etc linked\necho script says $TOKEN";
    let mut config = with_script(script, &compose);
    config.sealed_env = Some(world.seal(&config.app_id, &[("TOKEN", "t0ken")]));
    let vm = world.up(&config).await;
    eventually("the output", || async { world.log(&vm).await.contains("a | etc ").then_some(()) })
        .await;
    let log = world.log(&vm).await;
    assert!(log.contains("a | got t0ken-exported and written"), "{log}");
    assert!(log.contains("pre-launch | script says ***"), "{log}");
    let etc = log.lines().find(|line| line.starts_with("a | etc ")).unwrap();
    assert!(
        etc.contains("localtime") && !etc.contains("passwd"),
        "the link led to the host: {etc}"
    );
    assert!(log.contains("boot | pre-launch") && log.contains("boot | done"), "{log}");
}

/// The steps of a usual script of Phala Cloud: it finds the guest's programs and asks the guest agent.
#[tokio::test]
async fn a_script_finds_the_programs_and_variables_of_a_guest() {
    let world = World::new().await;
    let compose = format!(
        r#"
services:
  a:
    image: {IMAGE}
    command: sh -c 'echo "url https://$$APP-8080.$$DOMAIN name $$NAME of-script $$SEEN"; sleep 1000'
    environment:
      APP: ${{DSTACK_APP_ID}}
      DOMAIN: ${{DSTACK_GATEWAY_DOMAIN}}
      NAME: ${{DSTACK_APP_NAME}}
      SEEN: ${{SEEN}}
"#
    );
    let script = r#"
docker image prune -af
docker compose -f /dstack/docker-compose.yaml pull
dstack-util notify-host -e boot.progress -d done
export SEEN=$(curl -s --unix-socket /var/run/dstack.sock http://dstack/Info | jq -j .app_id)
[ "$SEEN" = "$DSTACK_APP_ID" ]
[ "$(jq 'has("name")' app-compose.json)" = true ]
! docker run busybox
"#;
    let config = with_script(script, &compose);
    let vm = world.up(&config).await;
    let app = config.app_id.to_string();
    let line = format!("a | url https://{app}-8080.gw.example name web of-script {app}");
    eventually("the output", || async { world.log(&vm).await.contains("a | url").then_some(()) })
        .await;
    let log = world.log(&vm).await;
    assert!(log.contains(&line), "{log}");
    assert!(log.contains("docker run: not available to scripts"), "{log}");
}

#[tokio::test]
async fn a_failed_boot_says_why_and_can_be_tried_again() {
    let world = World::new().await;
    let good = format!("services: {{a: {{image: {IMAGE}, command: sleep 1000}}}}");
    let mut config = with_script("echo no $TOKEN here; exit 3", &good);
    config.sealed_env = Some(world.seal(&config.app_id, &[("TOKEN", "t0ken")]));
    let vm = world.start(&config).await;
    assert_eq!(world.failed(&config).await, "pre-launch script ended with 3: no *** here");
    assert_eq!(world.look(&config).await.power, VmPower::Running);

    let mut better = with_script("exit 0", &good);
    (better.mark, better.app_id) = (config.mark.clone(), config.app_id);
    world.node.push(&vm, &better).await.unwrap();
    world.node.start(&vm).await.unwrap();
    world.booted(&better).await;
}

/// A service that ends at once has failed the boot if it did not end well. One that is started again
/// has some time to calm down (`faults.rs`).
#[tokio::test]
async fn a_service_that_fails_at_once_has_not_booted() {
    let world = World::new().await;
    let app = |once: &str| {
        let text = format!(
            "services:\n  web: {{image: '{IMAGE}', restart: always, command: [sleep, '1000']}}\n  \
             once: {{image: '{IMAGE}', command: [sh, -c, '{once}']}}\n"
        );
        config(&text)
    };
    let fails = app("exit 3");
    let vm = world.start(&fails).await;
    let why = world.failed(&fails).await;
    assert!(why.contains("service once exited with 3"), "{why}");
    world.remove(&fails, &vm).await;
    let fine = app("exit 0");
    world.up(&fine).await;
}

#[tokio::test]
async fn what_must_not_run_does_not() {
    let world = World::new().await;
    let refused = config(&format!("services: {{a: {{image: {IMAGE}, privileged: true}}}}"));
    world.start(&refused).await;
    let cause = world.failed(&refused).await;
    assert!(cause.starts_with("service a uses privileged") && cause.contains("allow"), "{cause}");

    let missing = config("services: {a: {image: 'no.such.host.invalid/x:1'}}");
    world.start(&missing).await;
    assert!(world.failed(&missing).await.contains("no such host"));

    let required =
        config(&format!("services: {{a: {{image: {IMAGE}, command: \"${{TOKEN:?is needed}}\"}}}}"));
    world.start(&required).await;
    assert!(world.failed(&required).await.contains("TOKEN"));

    let mut sealed = config(&format!("services: {{a: {{image: {IMAGE}}}}}"));
    let stranger = config("").app_id;
    sealed.sealed_env = Some(world.seal(&stranger, &[("TOKEN", "t0ken")]));
    world.start(&sealed).await;
    assert!(world.failed(&sealed).await.starts_with("cannot decrypt env"));
}

#[tokio::test]
async fn a_bash_app_has_the_ports_of_its_machine() {
    let world = World::new().await;
    let config = document(&json!({
        "manifest_version": 2, "name": "web", "runner": "bash",
        "bash_script": "echo hello > index.html; httpd -f -p 9000 -h /dstack",
    }));
    let vm = world.up(&config).await;
    assert_eq!(world.get(&vm, 9000).await, "hello");
    world.node.stop(&vm).await.unwrap();
    assert_eq!(world.look(&config).await.power, VmPower::Stopped);
    world.remove(&config, &vm).await;
}

#[tokio::test]
async fn secrets_configs_and_host_ports_work() {
    let world = World::new().await;
    let compose = format!(
        r#"
services:
  a:
    image: {IMAGE}
    ports: ["${{PORT}}:80"]
    configs: [{{source: page, target: /www/index.html}}]
    secrets: [tok]
    command: httpd -f -p 80 -h /www
configs:
  page: {{content: "costs $$5, ${{GREETING}}"}}
secrets:
  tok: {{environment: TOKEN}}
"#
    );
    let mut config = config(&compose);
    let vars = [("PORT", "7000"), ("GREETING", "a $HOME 'b'"), ("TOKEN", "t0ken")];
    config.sealed_env = Some(world.seal(&config.app_id, &vars));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    config.ports = vec![PortMap {
        protocol: "tcp".into(),
        host_port: free,
        vm_port: 7000,
        host_address: None,
    }];
    let vm = world.up(&config).await;
    assert_eq!(world.get(&vm, 7000).await, "costs $5, a $HOME 'b'");
    assert!(matches!(world.node.resolve_port(&vm, 7000).await, Ok(Dial::Tcp(_))));
    assert!(std::net::TcpStream::connect(("127.0.0.1", free)).is_ok());
    assert_eq!(docker(&["exec", &container(&vm, "a"), "cat", "/run/secrets/tok"]), "t0ken");
}
