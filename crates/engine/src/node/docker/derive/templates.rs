//! Whole compose files of the kind people run in CVMs, read by the real compose command, derived,
//! and read again: compose must take what is derived. Needs Compose v2, but no engine.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{tests::try_derive, *};
use crate::node::docker::{compose, scan};

fn read(text: &[u8]) -> Value {
    let mut child = Command::new("docker")
        .args(["compose", "-p", "p", "--project-directory", "/dstack", "--env-file", "/dev/null"])
        .args(["-f", "-", "config", "--format", "json"])
        .env("HOME", "/root")
        .env("TOKEN", "a $b 'c'")
        .env_remove("DOCKER_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(
            "these tests need the docker command with Compose v2; run scripts/test-env.sh compose",
        );
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker compose (v2 is needed): {said}");
    compose::printed(&output.stdout).unwrap()
}

/// Derives a file and has compose read the result.
fn through(text: &str) -> (Derived, Value) {
    let text = scan::scan(text).unwrap();
    let derived = try_derive(read(text.as_bytes()), |_| {}).unwrap();
    let again = read(compose::Model::new(&derived.model, Vec::new()).unwrap().text());
    (derived, again)
}

fn refusal(text: &str) -> String {
    scan::scan(text)
        .and_then(|text| try_derive(read(text.as_bytes()), |_| {}))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_proxy_with_inline_configs_in_front_of_named_containers() {
    let (derived, again) = through(
        r#"
version: "3.8"
services:
  nginx:
    image: nginx:1.27
    container_name: front
    ports: ["80:80", "443:443"]
    configs:
      - {source: site, target: /etc/nginx/conf.d/default.conf, mode: 0440}
    depends_on: {api: {condition: service_healthy}}
    restart: always
  api:
    image: ghcr.io/me/api@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    container_name: api-server
    environment:
      - TOKEN=${TOKEN}
      - MODE=${MODE:-production}
      - PRICE=$$5
    healthcheck:
      test: ["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"]
      interval: 30s
    volumes:
      - /var/run/dstack.sock:/var/run/dstack.sock
      - ./config.json:/app/config.json:ro
configs:
  site:
    content: |
      server { location / { proxy_pass http://api-server:8000; proxy_set_header Host $$host; } }
"#,
    );
    assert_eq!(derived.published.iter().map(|one| one.port).collect::<Vec<_>>(), [80, 443]);
    assert_eq!(derived.images.len(), 2);
    let api = &again["services"]["api"];
    assert_eq!(api["networks"]["default"]["aliases"][0], "api-server");
    assert_eq!(api["environment"]["TOKEN"], "a $b 'c'", "values survive the way through");
    assert_eq!(api["environment"]["PRICE"], "$5");
    assert!(again["configs"]["site"]["content"].as_str().unwrap().contains("Host $host"));
    assert_eq!(again["services"]["nginx"]["configs"][0]["mode"], 288);
    assert_eq!(derived.links.len(), 1);
}

/// A file of that name on the host must not be taken for one of the guest.
#[test]
fn a_file_of_variables_that_is_not_required_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.env");
    std::fs::write(&file, "OF_THE_HOST=1\n").unwrap();
    for form in ["extends: base", "<<: *base", "env_file: [{path: FILE, required: false}]"] {
        let text = format!(
            "x-base: &base {{env_file: [{{path: FILE, required: false}}]}}
services:
  base: {{image: x, env_file: [{{path: FILE, required: false}}]}}
  web:
    image: x
    {form}
    environment: {{OWN: 1}}
"
        );
        let (derived, _) = through(&text.replace("FILE", file.to_str().unwrap()));
        let web = &derived.model["services"]["web"];
        assert_eq!(web["environment"], serde_json::json!({"OWN": "1"}), "{form}");
        assert_eq!(derived.model["services"]["base"].get("environment"), None, "{form}");
    }
}

#[test]
fn a_database_with_own_networks_anchors_and_volumes() {
    let (derived, again) = through(
        r#"
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file, options: {max-size: 10m}}
services:
  db:
    <<: *common
    image: postgres:16
    container_name: postgres
    environment: {POSTGRES_PASSWORD: "${TOKEN}", PGDATA: /var/lib/postgresql/data/pgdata}
    volumes: ["pgdata:/var/lib/postgresql/data", "~/init:/docker-entrypoint-initdb.d:ro"]
    networks: {back: {ipv4_address: 172.28.0.10}}
    shm_size: 256mb
    stop_grace_period: 1m
  app:
    <<: *common
    image: app
    command: ["--db", "postgres://postgres:5432"]
    ports: ["127.0.0.1:3000:3000/tcp", "9090-9091:9090-9091"]
    networks: [front, back]
    deploy: {resources: {limits: {cpus: "2", memory: 1G}}, replicas: 2}
    ulimits: {nofile: {soft: 1024, hard: 2048}}
  worker:
    extends: {service: app}
    ports: !reset []
    volumes:
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1000000}}
      - /root/data:/data
      - /var/run/tappd.sock:/var/run/tappd.sock
volumes: {pgdata: {name: shared_pgdata}}
networks:
  front: {name: web}
  back: {driver: bridge, ipam: {config: [{subnet: 172.28.0.0/16}]}}
"#,
    );
    assert_eq!(again["volumes"]["pgdata"]["name"], "p_pgdata");
    assert_eq!(again["networks"]["front"]["name"], "p_front");
    assert_eq!(again["networks"]["back"]["ipam"], json!({}), "the engine chooses the subnet");
    assert!(derived.warnings.iter().any(|warning| warning.contains("172.28.0.10")));
    assert_eq!(again["services"]["worker"]["volumes"][1]["source"], "/vms/v/root/root/data");
    assert_eq!(again["services"]["db"]["volumes"][1]["source"], "/vms/v/root/root/init");
    assert_eq!(again["services"]["app"]["cgroup_parent"], "/casemate/v");
    assert_eq!(
        derived.published.iter().map(|one| one.port).collect::<Vec<_>>(),
        [3000, 9090, 9091]
    );
}

#[test]
fn an_agent_with_home_mounts_profiles_and_secrets() {
    let (derived, again) = through(
        r#"
services:
  agent:
    image: me/agent:latest
    platform: linux/amd64
    tty: true
    stdin_open: true
    user: "1000:1000"
    working_dir: /app
    secrets: [token]
    extra_hosts: ["host.docker.internal:host-gateway"]
    volumes: ["~/.agent:/home/agent", "./data:/app/data", "cache:/cache"]
    tmpfs: [/tmp]
    entrypoint: ["/bin/sh", "-c", "exec node index.js"]
  tools: {image: tools, profiles: [debug], network_mode: host}
secrets: {token: {environment: TOKEN}}
volumes: {cache: }
"#,
    );
    assert!(again["services"].get("tools").is_none());
    assert_eq!(derived.pass_env.len(), 1);
    assert_eq!(again["services"]["agent"]["volumes"][0]["source"], "/vms/v/root/root/.agent");
}

#[test]
fn files_that_want_the_machine_are_refused_by_name() {
    let gpu = "services: {llm: {image: vllm, runtime: nvidia, deploy: {resources: {reservations: \
               {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}}}";
    for (text, words) in [
        ("services: {shell: {image: x, privileged: true}}", "service shell uses privileged"),
        (
            "services: {a: {image: x, volumes: ['/var/run/docker.sock:/var/run/docker.sock']}}",
            "service a uses a mount of /var/run/docker.sock",
        ),
        ("services: {a: {image: x, network_mode: host}}", "service a uses network_mode: host"),
        ("services: {a: {image: x, devices: ['/dev/net/tun']}}", "service a uses devices"),
        (gpu, "service llm uses"),
        ("services: {a: {build: .}}", "service a uses a build with a context"),
        ("services: {a: {image: x, env_file: .env}}", "the compose file uses env_file"),
        (
            "services: {a: {image: x}}\nnetworks: {default: {external: true, name: web}}",
            "external network",
        ),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(words), "{refused}");
    }
}

/// What compose reads of a derived model is what was derived, character by character: keys, values,
/// paths, and what another YAML parser would fold.
#[test]
fn every_string_survives_the_way_through() {
    let (derived, again) = through(
        r#"
x-odd: &odd
  ? "K$$EY${TOKEN}"
  : "$$$${PATH} ${TOKEN} $$(id)"
services:
  web:
    image: x
    environment: {<<: *odd, E: "a\u2028b\u0085c\ufeff\u007f\U0001F600é"}
    labels: {"l$$x": "$$y"}
    extra_hosts: {"h$$": "1.2.3.4"}
    command: ["echo", "$${PATH:+..}", "$$$$", "a\u2028b"]
    volumes:
      - "/data/$$link:/h"
      - {type: bind, source: "/data/a\u2028b\u0085", target: "/t$$"}
      - {type: bind, source: "/data/x:/etc", target: "/colon"}
    configs: [{source: c, target: "/c$$"}, d]
configs:
  c: {file: "/data/$$f"}
  d: {content: "$$host ${TOKEN}"}
"#,
    );
    let service = |model: &Value, key: &str| model["services"]["web"][key].clone();
    for key in ["environment", "command", "configs"] {
        assert_eq!(service(&again, key), service(&derived.model, key), "{key}");
    }
    assert_eq!(service(&again, "labels")["l$$x"], "$y");
    assert_eq!(service(&again, "environment")["K$$EY${TOKEN}"], "$${PATH} a $b 'c' $(id)");
    assert_eq!(service(&again, "extra_hosts"), json!(["h$$=1.2.3.4"]));
    assert_eq!(again["configs"]["c"]["file"], "/vms/v/root/data/$f");
    assert_eq!(again["configs"]["d"]["content"], "$host a $b 'c'");
    let mounts = service(&again, "volumes");
    let of = |at: usize, key: &str| mounts[at][key].as_str().unwrap().to_owned();
    assert_eq!((of(0, "source"), of(0, "target")), ("/vms/v/root/data/$link".into(), "/h".into()));
    assert_eq!(of(1, "source"), "/vms/v/root/data/a\u{2028}b\u{85}");
    assert_eq!(of(1, "target"), "/t$");
    assert_eq!(of(2, "source"), "/vms/v/root/data/x:/etc");
}

/// A file may say the same in many ways; compose resolves them, and the decision is on the result.
#[test]
fn mounts_of_the_host_are_refused_in_every_spelling() {
    for volumes in [
        "{vol: {driver_opts: {type: tmpfs, o: bind, device: /etc}}}",
        "{vol: {driver: local, driver_opts: {o: 'size=1m,bind', type: tmpfs, device: tmpfs}}}",
        "{vol: {driver_opts: {type: tmpfs, o: 'b${EMPTY:-}ind', device: '${EMPTY:-/etc}'}}}",
        "{vol: {driver_opts: {type: $TYPE, o: rbind, device: /etc}}}",
        "{other: &o {driver_opts: {type: tmpfs, o: bind, device: /etc}}, vol: *o}",
        "{vol: {<<: {driver_opts: {type: none, o: bind, device: /etc}}}}",
        "{vol: {driver_opts: !override {type: tmpfs, o: bind, device: /etc}}}",
        "{vol: {driver_opts: {\"type\": \"\\x74mpfs\", o: \"\\x62ind\", device: /etc}}}",
        "{vol: {driver_opts: {type: tmpfs, o: 'size=1m,mode=1777,remount', device: tmpfs}}}",
        "{vol: {driver_opts: {type: nfs, o: addr=127.0.0.1, device: ':/'}}}",
        "{vol: {driver_opts: {type: overlay, o: 'lowerdir=/etc', device: overlay}}}",
        "{vol: {driver_opts: {type: tmpfs, device: 'tmpfs$$'}}}",
        "{vol: {driver_opts: {device: /dev/sda1}}}",
    ] {
        let text =
            format!("services: {{a: {{image: x, volumes: ['vol:/h']}}}}\nvolumes: {volumes}");
        let refused = refusal(&text);
        assert!(refused.contains("volume") && refused.contains("volume-drivers"), "{refused}");
    }
    let tmpfs = "services: {a: {image: x, volumes: ['vol:/h']}}\nvolumes: \
                 {vol: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=${SIZE:-8m},uid=1000'}}}";
    assert_eq!(through(tmpfs).1["volumes"]["vol"]["driver_opts"]["o"], "size=8m,uid=1000");
}

/// The agent's directory and its sockets are one place in the long and the short form.
#[test]
fn the_agents_directory_is_mounted_read_only_however_it_is_written() {
    for (mount, path) in [
        ("'/var/run/dstack:/d'", "/vms/v/run"),
        ("'/run/dstack:/d:rw'", "/vms/v/run"),
        ("'/var/run/../run/dstack/:/d:rw,z'", "/vms/v/run"),
        ("{type: bind, source: /var/run/dstack, target: /d, read_only: false}", "/vms/v/run"),
        ("'/var/run/${EMPTY:-dstack}:/d'", "/vms/v/run"),
        ("'/var/run/dstack.sock:/d'", "/vms/v/run/dstack.sock"),
        ("'/var/run/dstack/tappd.sock:/d:rw'", "/vms/v/run/tappd.sock"),
        ("{type: bind, source: /run/dstack/dstack.sock, target: /d}", "/vms/v/run/dstack.sock"),
    ] {
        let text = format!("services: {{a: {{image: x, read_only: true, volumes: [{mount}]}}}}");
        let (_, again) = through(&text);
        let mounts = &again["services"]["a"]["volumes"];
        assert_eq!(mounts.as_array().unwrap().len(), 1, "{mount}");
        assert_eq!((&mounts[0]["source"], &mounts[0]["read_only"]), (&json!(path), &json!(true)));
    }
}
