//! Ways out of a CVM, on a real engine: a canary outside every directory of the node is neither read
//! nor written, whatever the compose file and the guest's files say.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use casemate_core::id::EngineVmId;
use casemate_engine::node::{Node, VmConfig};
use tempfile::TempDir;

use super::{
    apps::{config, with_script},
    world::{IMAGE, World, container, docker, left},
};

/// A directory of the host that no CVM may see.
struct Canary(TempDir);

impl Canary {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "canary-secret").unwrap();
        Self(dir)
    }

    fn path(&self) -> String {
        self.0.path().to_str().unwrap().to_owned()
    }

    fn assert_untouched(&self, log: &str) {
        assert!(!log.contains("canary-secret"), "the canary was read: {log}");
        let names: Vec<PathBuf> =
            fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [self.0.path().join("secret")], "the canary was written to");
        assert_eq!(fs::read_to_string(self.0.path().join("secret")).unwrap(), "canary-secret");
    }
}

/// Reads and writes at `/h`, whatever is there.
const PROBE: &str = "command: [sh, -c, 'cat /h /h/* 2>&1; echo pwned > /h/pwned; echo pwned > /h; echo probed; sleep 1000']";

/// Boots and expects a refusal with this word; the canary stays as it is and nothing is left running.
async fn refused(world: &World, canary: &Canary, config: &VmConfig, word: &str) {
    let vm = world.start(config).await;
    let cause = world.failed(config).await;
    assert!(cause.contains(word), "{word}: {cause}");
    canary.assert_untouched(&world.log(&vm).await);
    assert_eq!(docker(&["ps", "-q", "--filter", &format!("label=casemate.vm={vm}")]), "");
    world.remove(config, &vm).await;
}

/// Boots, waits for the probe, and looks at the canary.
async fn harmless(world: &World, canary: &Canary, config: &VmConfig) -> EngineVmId {
    let vm = world.up(config).await;
    super::world::eventually("the probe", || async {
        world.log(&vm).await.contains("probed").then_some(())
    })
    .await;
    canary.assert_untouched(&world.log(&vm).await);
    vm
}

#[tokio::test]
async fn options_of_volumes_mount_nothing_of_the_host() {
    let (world, canary) = (World::new().await, Canary::new());
    let dir = canary.path();
    for options in [
        format!("{{type: tmpfs, o: bind, device: {dir}}}"),
        format!("{{type: tmpfs, o: 'size=1m,rbind', device: {dir}}}"),
        format!("{{type: tmpfs, o: '${{NONE:-bind}}', device: '${{NONE:-{dir}}}'}}"),
        format!("{{type: none, o: bind, device: {dir}}}"),
        format!("{{<<: {{type: tmpfs, o: bind}}, device: {dir}}}"),
    ] {
        let text = format!(
            "services:\n  a:\n    image: {IMAGE}\n    volumes: ['vol:/h']\n    {PROBE}\n\
             volumes: {{vol: {{driver_opts: {options}}}}}\n"
        );
        refused(&world, &canary, &config(&text), "volume vol").await;
    }
    let text = format!(
        "services:\n  a:\n    image: {IMAGE}\n    volumes: ['vol:/h']\n    {PROBE}\n\
         volumes: {{vol: {{driver_opts: {{type: tmpfs, device: tmpfs, o: 'size=1m,mode=1777'}}}}}}\n"
    );
    let vm = harmless(&world, &canary, &config(&text)).await;
    let mounted = docker(&["exec", &container(&vm, "a"), "grep", " /h ", "/proc/mounts"]);
    assert!(mounted.starts_with("tmpfs /h tmpfs") && mounted.contains("size=1024k"), "{mounted}");
}

/// A volume that an older version of this program, or anybody else, left behind.
#[tokio::test]
async fn a_volume_that_is_there_already_is_inspected() {
    let (world, canary) = (World::new().await, Canary::new());
    let text = format!(
        "services:\n  a:\n    image: {IMAGE}\n    volumes: ['vol:/h']\n    {PROBE}\nvolumes: {{vol: }}\n"
    );
    let config = config(&text);
    let vm = world.node.create(&config).await.unwrap();
    let hex: String = vm.0.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let (name, dir) = (format!("casemate-{hex}_vol"), canary.path());
    let label = format!("casemate.vm={vm}");
    let project = format!("com.docker.compose.project=casemate-{hex}");
    let device = format!("device={dir}");
    let labels =
        ["--label", &label, "--label", &project, "--label", "com.docker.compose.volume=vol"];
    let options = ["-o", "type=none", "-o", "o=bind", "-o", &device, &name];
    docker(&[&["volume", "create"], &labels[..], &options].concat());
    world.node.start(&vm).await.unwrap();
    let cause = world.failed(&config).await;
    assert!(cause.contains("service a") && cause.contains(&name), "{cause}");
    canary.assert_untouched(&world.log(&vm).await);
    assert_eq!(left(&["ps", "-a"], &vm), "", "what was created is removed");
    docker(&["volume", "rm", &name]);
}

#[tokio::test]
async fn the_agents_directory_cannot_be_written_and_its_sockets_lead_nowhere_else() {
    let (world, canary) = (World::new().await, Canary::new());
    let dir = canary.path();
    for (directory, socket) in [
        ("/var/run/dstack:/d", "/var/run/dstack.sock:/h"),
        ("/run/dstack:/d:rw", "/run/dstack/dstack.sock:/h"),
        (
            "{type: bind, source: /var/run/dstack, target: /d, read_only: false}",
            "{type: bind, source: /var/run/dstack.sock, target: /h}",
        ),
    ] {
        let quoted = |mount: &str| {
            if mount.starts_with('{') { mount.to_owned() } else { format!("'{mount}'") }
        };
        let (directory, socket) = (quoted(directory), quoted(socket));
        let text = format!(
            r"
services:
  a:
    image: {IMAGE}
    volumes: [{directory}]
    command: [sh, -c, 'rm -f /d/dstack.sock; ln -sfn {dir} /d/dstack.sock; touch /tmp/done; sleep 1000']
    healthcheck: {{test: [CMD, test, -e, /tmp/done], interval: 1s, retries: 30}}
  b:
    image: {IMAGE}
    read_only: true
    depends_on: {{a: {{condition: service_healthy}}}}
    volumes: [{socket}]
    {PROBE}
"
        );
        let config = config(&text);
        let vm = harmless(&world, &canary, &config).await;
        let socket = docker(&["exec", &container(&vm, "b"), "stat", "-c", "%F", "/h"]);
        assert_eq!(socket, "socket");
        world.remove(&config, &vm).await;
    }
}

/// What a path is checked as is what it is mounted as, dollars and all.
#[tokio::test]
async fn dollars_in_paths_lead_nowhere() {
    let (world, canary) = (World::new().await, Canary::new());
    let dir = canary.path();
    let script = format!(
        "mkdir -p /data\nln -sfn {dir} '/data/$link'\nln -sfn {dir}/secret '/data/$f'\n\
         mkdir -p '/data/$$link'\necho fine > '/data/$$f'\n\
         ln -sfn '${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}/${{PATH:+..}}{dir}' /data/l\n\
         ln -sfn '$${{PATH}}/../../../../../../..{dir}' /data/m"
    );
    for volume in [
        "/data/$$link:/h",
        "/data/$$$$link:/h",
        "/data/l:/h",
        "/data/m:/h",
        "/data/${NONE:-$$link}:/h",
    ] {
        let text = format!(
            "services:\n  a:\n    image: {IMAGE}\n    volumes: ['{volume}']\n    {PROBE}\n"
        );
        let config = with_script(&script, &text);
        let vm = harmless(&world, &canary, &config).await;
        world.remove(&config, &vm).await;
    }
    for file in ["/data/$$f", "/data/l/secret", "/data/m/secret", "/data/$$link/secret"] {
        let text = format!(
            "services:\n  a:\n    image: {IMAGE}\n    configs: [{{source: c, target: /h}}]\n    {PROBE}\n\
             configs: {{c: {{file: '{file}'}}}}\n"
        );
        refused(&world, &canary, &with_script(&script, &text), "is not there in the CVM").await;
    }
}

/// Links all over the guest's files, put there from outside, as a container could put them.
#[tokio::test]
async fn a_hostile_guest_directory_leads_nowhere() {
    let (world, canary) = (World::new().await, Canary::new());
    let dir = canary.path();
    let text = format!(
        "services:\n  a:\n    image: {IMAGE}\n    volumes: ['/data/link/x:/h', './up:/n', '/deep/a/b:/b']\n    {PROBE}\n"
    );
    let config = config(&text);
    let vm = world.node.create(&config).await.unwrap();
    let root = world.guest(&vm, "/");
    for parent in ["data", "dstack", "etc", "deep"] {
        fs::create_dir_all(root.join(parent)).unwrap();
    }
    symlink(&dir, root.join("data/link")).unwrap();
    symlink(format!("../../../../../../../../../..{dir}/sub"), root.join("dstack/up")).unwrap();
    symlink(&dir, root.join("deep/a")).unwrap();
    for file in ["localtime", "hostname", "machine-id", "timezone"] {
        symlink(format!("{dir}/{file}"), root.join("etc").join(file)).unwrap();
    }
    symlink(format!("{dir}/secret"), root.join("dstack/app-compose.json")).unwrap();
    symlink(format!("{dir}/secret"), root.join("dstack/docker-compose.yaml")).unwrap();
    symlink(format!("{dir}/secret"), root.join("dstack/.docker-compose.yaml.new")).unwrap();
    world.node.start(&vm).await.unwrap();
    world.booted(&config).await;
    super::world::eventually("the probe", || async {
        world.log(&vm).await.contains("probed").then_some(())
    })
    .await;
    canary.assert_untouched(&world.log(&vm).await);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_and_a_colon_is_no_separator() {
    let (world, canary) = (World::new().await, Canary::new());
    let dir = canary.path();
    let text = |source: &str| {
        format!(
            "services:\n  a:\n    image: {IMAGE}\n    volumes: [{{type: bind, source: '{source}', target: /h}}]\n    {PROBE}\n"
        )
    };
    let script = "mkdir -p /data\nln -sfn \"$(printf 'a\\377b')\" /data/odd";
    refused(&world, &canary, &with_script(script, &text("/data/odd")), "not UTF-8").await;
    let script = format!("mkdir -p /data\nln -sfn {dir} /data/l");
    harmless(&world, &canary, &with_script(&script, &text("/data/l:/x"))).await;
}

/// Routes of the host as the kernel has them.
fn routes() -> String {
    fs::read_to_string("/proc/net/route").unwrap()
}

#[tokio::test]
async fn an_address_of_a_compose_file_becomes_no_route_of_the_host() {
    let world = World::new().await;
    let text = |env: &str| {
        format!(
            "services:\n  a:\n    image: {IMAGE}\n    command: sleep 1000\n    {env}\n    networks: {{n: {{ipv4_address: 198.51.100.9}}}}\n\
             networks: {{n: {{ipam: {{config: [{{subnet: 198.51.100.0/24}}]}}}}}}\n"
        )
    };
    let config_fixed = config(&text(""));
    let vm = world.up(&config_fixed).await;
    // The kernel prints addresses in hexadecimal, the last byte first.
    assert!(!routes().contains("\t006433C6\t"), "{}", routes());
    let networks = left(&["network", "ls"], &vm);
    let subnet = docker(&["network", "inspect", &networks, "--format", "{{json .IPAM.Config}}"]);
    assert!(subnet.contains("Subnet") && !subnet.contains("198.51.100"), "{subnet}");
    assert!(world.log(&vm).await.contains("fixed address 198.51.100.9"));
    let relies = config(&text("environment: {SELF: 'http://198.51.100.9:80'}"));
    world.start(&relies).await;
    let cause = world.failed(&relies).await;
    assert!(cause.contains("service a uses the fixed address 198.51.100.9"), "{cause}");
}

/// The engine would fetch from any address of the host and show the reply.
#[tokio::test]
async fn an_image_name_makes_the_engine_ask_no_service_of_the_host() {
    let world = World::new().await;
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let port = service.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "127.1", "${NONE:-127.0.0.1}", "[::ffff:127.0.0.1]"] {
        for policy in ["missing", "always", "daily", "build"] {
            let text =
                format!("services: {{a: {{image: '{host}:{port}/x/y:1', pull_policy: {policy}}}}}");
            let config = config(&text);
            let vm = world.start(&config).await;
            let cause = world.failed(&config).await;
            assert!(!cause.is_empty());
            assert!(service.accept().is_err(), "{host} {policy}: the engine asked: {cause}");
            world.remove(&config, &vm).await;
        }
    }
}
