//! Rules of the derivation one by one, on models as compose prints them.

use serde_json::json;

use super::*;

/// What a node gives besides the model.
pub(super) struct Given {
    pub grants: Grants,
    pub limits: Limits,
    pub ports: Vec<PortMap>,
    pub sources: BTreeMap<String, String>,
    sealed_env: Vec<u8>,
}

/// Derives with every source under `/vms/v/root`.
pub(super) fn try_derive(
    model: Value,
    change: impl FnOnce(&mut Given),
) -> Result<Derived, Refused> {
    try_derive_by(&RULES, model, change)
}

/// The same, by other rules.
pub(super) fn try_derive_by(
    rules: &[Rule],
    model: Value,
    change: impl FnOnce(&mut Given),
) -> Result<Derived, Refused> {
    let host = |path: &str| format!("/vms/v/root{path}");
    let mut given = Given {
        grants: Grants::default(),
        limits: Limits::Parent("/casemate/v".to_owned()),
        ports: Vec::new(),
        sealed_env: Vec::new(),
        sources: guest_sources(&model)
            .into_iter()
            .map(|source| (source.path.clone(), host(&source.path)))
            .collect(),
    };
    change(&mut given);
    let input = DeriveInput {
        vm: &EngineVmId("v".to_owned()),
        cvm: "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d".parse().unwrap(),
        node: "n",
        grants: &given.grants,
        sources: &given.sources,
        root: "/vms/v/root",
        run: "/vms/v/run",
        project: "p",
        limits: &given.limits,
        log_mb: 50,
        host_access: HostAccess::Closed,
        ports: &given.ports,
        sealed_env: &given.sealed_env,
    };
    derive_by(rules, model, &input)
}

pub(super) fn derived(service: Value) -> Derived {
    let model = json!({"name": "p", "services": {"web": with_image(service)}});
    try_derive(model, |_| {}).unwrap()
}

pub(super) fn with_image(mut service: Value) -> Value {
    service["image"] = json!("nginx");
    service
}

fn web(derived: &Derived) -> &Value {
    &derived.model["services"]["web"]
}

pub(super) fn bind(source: &str, target: &str) -> Value {
    json!({"type": "bind", "source": source, "target": target, "bind": {"propagation": "rshared"}})
}

#[test]
fn a_container_name_becomes_an_alias_on_every_network() {
    let out = derived(json!({
        "container_name": "db",
        "networks": {"front": {"aliases": ["x"]}, "back": null},
    }));
    assert!(web(&out).get("container_name").is_none());
    assert_eq!(web(&out)["networks"]["front"]["aliases"], json!(["x", "db"]));
    assert_eq!(web(&out)["networks"]["back"]["aliases"], json!(["db"]));
    let out = derived(json!({"container_name": "db"}));
    assert_eq!(web(&out)["networks"]["default"]["aliases"], json!(["db"]));
    assert_eq!(out.model["networks"]["default"]["labels"]["casemate.vm"], "v");
}

#[test]
fn references_to_container_names_of_the_file_become_services() {
    let model = json!({"services": {
        "vpn": {"image": "v", "container_name": "my-vpn"},
        "app": {"image": "a", "network_mode": "container:my-vpn", "volumes_from": ["container:my-vpn:ro"]},
    }});
    let out = try_derive(model, |_| {}).unwrap();
    assert_eq!(out.model["services"]["app"]["network_mode"], "service:vpn");
    assert_eq!(out.model["services"]["app"]["volumes_from"], json!(["vpn:ro"]));
}

#[test]
fn published_ports_move_to_free_ones_of_the_loopback() {
    let out = derived(json!({"ports": [
        {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp", "host_ip": "0.0.0.0"},
        {"mode": "ingress", "target": 80, "published": "8081", "protocol": "tcp"},
        {"mode": "ingress", "target": 53, "published": "53", "protocol": "udp"},
        {"mode": "ingress", "target": 9000, "protocol": "tcp"},
        {"mode": "ingress", "target": 70, "published": "7000-7009", "protocol": "tcp"},
    ]}));
    let free = |target| json!({"mode": "ingress", "target": target, "host_ip": "127.0.0.1", "protocol": "tcp"});
    assert_eq!(web(&out)["ports"], json!([free(80), free(70)]));
    assert_eq!(web(&out)["labels"]["casemate.port.8081"], "80/tcp");
    let published: Vec<(u16, u16)> =
        out.published.iter().map(|one| (one.port, one.target)).collect();
    assert_eq!(published, [(7000, 70), (8080, 80), (8081, 80)]);
    assert_eq!(out.warnings.len(), 2, "{:?}", out.warnings);
}

#[test]
fn host_ports_of_the_vm_lead_to_what_publishes_them() {
    let ports = vec![
        PortMap { protocol: "tcp".into(), host_port: 18080, vm_port: 8080, host_address: None },
        PortMap { protocol: "tcp".into(), host_port: 1, vm_port: 2, host_address: None },
    ];
    let model = json!({"services": {"web": {"image": "x", "ports": [
        {"target": 80, "published": "8080", "protocol": "tcp"}]}}});
    let out = try_derive(model, |given| given.ports = ports).unwrap();
    assert_eq!(web(&out)["ports"][0]["published"], "18080");
    assert_eq!(web(&out)["ports"].as_array().unwrap().len(), 2);
    assert!(out.warnings[0].contains("host port 1 leads nowhere"), "{:?}", out.warnings);
}

#[test]
fn a_port_published_twice_is_refused() {
    let port = json!([{"target": 80, "published": "8080", "protocol": "tcp"}]);
    let model = json!({"services": {"a": {"image": "x", "ports": port}, "b": {"image": "x", "ports": port}}});
    let refused = try_derive(model, |_| {}).unwrap_err().to_string();
    assert!(refused.contains("port 8080 for both a and b"), "{refused}");
}

#[test]
fn bind_mounts_lie_in_the_private_directory() {
    let out = derived(json!({"volumes": [
        bind("/dstack/data", "/data"),
        bind("/../etc/./passwd", "/p"),
        {"type": "volume", "source": "db", "target": "/db"},
        {"type": "tmpfs", "target": "/t"},
    ]}));
    let volumes = &web(&out)["volumes"];
    assert_eq!(volumes[0]["source"], "/vms/v/root/dstack/data");
    assert_eq!(volumes[0]["bind"], json!({"create_host_path": false}), "propagation is dropped");
    assert_eq!(volumes[1]["source"], "/vms/v/root/etc/passwd");
    assert_eq!(volumes[2]["source"], "db");
}

#[test]
fn agent_sockets_are_links_and_files_only_where_no_link_can_be() {
    let mounts = json!([
        bind("/var/run/dstack.sock", "/var/run/dstack.sock"),
        bind("/run/tappd.sock", "/x/t.sock")
    ]);
    let out = derived(json!({"volumes": mounts}));
    assert_eq!(web(&out)["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(web(&out)["volumes"][0]["target"], AGENT_DIR);
    let links: Vec<(&str, &str)> =
        out.links.iter().map(|link| (link.path.as_str(), link.socket)).collect();
    assert_eq!(links, [("/var/run/dstack.sock", "dstack.sock"), ("/x/t.sock", "tappd.sock")]);
    for hiding in [json!({"read_only": true}), json!({"tmpfs": ["/run:size=1m", "/x"]})] {
        let mut service = hiding;
        service["volumes"] = mounts.clone();
        let out = derived(service);
        assert!(out.links.is_empty());
        assert_eq!(web(&out)["volumes"][0]["source"], "/vms/v/run/dstack.sock");
        assert_eq!(web(&out)["labels"][LABEL_AGENT], "direct");
    }
}

/// A container that could write there could put a link in the place of a socket.
#[test]
fn the_agents_directory_is_read_only_in_every_spelling() {
    for source in ["/var/run/dstack", "/run/dstack", "/var/run/dstack/", "/var/./run/../run/dstack"]
    {
        for read_only in [json!(null), json!(false), json!(true)] {
            let mount = json!({
                "type": "bind", "source": source, "target": "/d", "read_only": read_only,
                "bind": {"create_host_path": true, "propagation": "rshared"},
            });
            let out = derived(json!({"volumes": [mount]}));
            let expected = json!({
                "type": "bind", "source": "/vms/v/run", "target": "/d", "read_only": true,
                "bind": {"create_host_path": false},
            });
            assert_eq!(web(&out)["volumes"], json!([expected]), "{source}");
        }
    }
    let direct = json!({"read_only": true, "volumes": [bind("/run/dstack.sock", "/s")]});
    assert_eq!(web(&derived(direct))["volumes"][0]["read_only"], true);
    let links = json!({"volumes": [bind("/run/dstack.sock", "/s")]});
    assert_eq!(web(&derived(links))["volumes"][0]["read_only"], true);
}

#[test]
fn a_link_to_the_root_of_the_guest_is_no_way_around_the_rule() {
    let derive = |read_only: bool| {
        let mount =
            json!({"type": "bind", "source": "/data/loop", "target": "/h", "read_only": read_only});
        let model = json!({"services": {"web": {"image": "x", "volumes": [mount]}}});
        try_derive(model, |given| {
            given.sources.insert("/data/loop".to_owned(), "/vms/v/root".to_owned());
        })
    };
    let refused = derive(false).unwrap_err().to_string();
    assert!(refused.contains("a writable bind mount of /data/loop, which is /"), "{refused}");
    assert!(refused.contains("nested-binds"), "{refused}");
    assert!(derive(true).is_ok());
}

#[test]
fn mounts_of_other_kinds_and_with_other_options_are_refused_by_name() {
    for (mount, word) in [
        (json!({"type": "npipe", "source": "/x", "target": "/y"}), "npipe"),
        (json!({"type": "image", "source": "x", "target": "/y"}), "image"),
        (json!({"type": "cluster", "source": "x", "target": "/y"}), "cluster"),
        (
            json!({"type": "volume", "source": "v", "target": "/y", "volume": {"subpath": "l"}}),
            "subpath",
        ),
        (
            json!({"type": "tmpfs", "target": "/y", "tmpfs": {"size": 1, "options": "bind"}}),
            "options",
        ),
        (
            json!({"type": "volume", "source": "v", "target": "/y", "propagation": "shared"}),
            "propagation",
        ),
        (json!({"source": "/etc", "target": "/y"}), "/etc"),
        (json!("/etc:/y"), "/etc"),
    ] {
        let model = json!({"services": {"web": {"image": "x", "volumes": [mount]}}});
        let refused = try_derive(model, |_| {}).unwrap_err();
        assert_eq!(refused.service.as_deref(), Some("web"));
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[test]
fn a_source_inside_a_writable_one_is_refused() {
    let mounts =
        |outer: Value| json!({"image": "x", "volumes": [outer, bind("/data/conf", "/conf")]});
    let outer = |read_only: bool| json!({"type": "bind", "source": "/data", "target": "/d", "read_only": read_only});
    let model = |service: Value| json!({"services": {"web": service}});
    let refused = try_derive(model(mounts(outer(false))), |_| {}).unwrap_err();
    assert!(refused.to_string().contains("nested-binds"), "{refused}");
    assert!(try_derive(model(mounts(outer(true))), |_| {}).is_ok());
    let root = json!({"image": "x", "volumes": [bind("/", "/host")]});
    assert!(try_derive(model(root), |_| {}).is_err());
    let file = json!({
        "services": {"web": {"image": "x", "volumes": [bind("/data", "/d")]}},
        "configs": {"c": {"file": "/data/c.conf"}},
    });
    assert!(try_derive(file, |_| {}).is_err());
}

#[test]
fn names_and_fixed_subnets_do_not_collide() {
    let model = |address: Value| {
        json!({
            "services": {"web": {"image": "x", "networks": {"front": address}}},
            "networks": {"front": {
                "name": "shared", "attachable": true, "driver": "bridge", "enable_ipv6": true,
                "driver_opts": {"com.docker.network.bridge.name": "br0", "com.docker.network.driver.mtu": "1400"},
                "ipam": {"config": [{"subnet": "10.0.0.0/24"}]},
            }},
            "volumes": {"db": {"name": "fixed"}, "other": null},
        })
    };
    let out = try_derive(model(Value::Null), |_| {}).unwrap();
    let front = &out.model["networks"]["front"];
    assert!(front.get("name").is_none() && front.get("ipam").is_none(), "{front}");
    let bridge = front["driver_opts"]["com.docker.network.bridge.name"].as_str().unwrap();
    assert!(bridge.starts_with("cm") && bridge.len() == 14, "{bridge}");
    assert_eq!(front["driver_opts"]["com.docker.network.driver.mtu"], "1400");
    assert!(out.model["volumes"]["db"].get("name").is_none());
    assert_eq!(out.model["volumes"]["other"]["labels"][LABEL_VM], "v");
    assert_eq!(
        out.model["volumes"]["db"]["labels"][LABEL_CVM],
        "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d"
    );
    assert!(out.model["networks"].get("default").is_none(), "nobody uses it");
    let out = try_derive(model(json!({"ipv4_address": "10.0.0.5"})), |_| {}).unwrap();
    assert!(out.model["networks"]["front"].get("ipam").is_none());
}

#[test]
fn restart_policies_are_kept_and_labelled() {
    let out = derived(json!({"restart": "unless-stopped"}));
    assert_eq!(web(&out)["labels"][LABEL_RESTART], "unless-stopped");
    let out = derived(
        json!({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}}),
    );
    assert_eq!(web(&out)["restart"], "on-failure:3");
    assert_eq!(web(&out)["deploy"], json!({}));
}

#[test]
fn limits_apply_to_the_group_or_to_each_service() {
    assert_eq!(web(&derived(json!({})))["cgroup_parent"], "/casemate/v");
    assert_eq!(web(&derived(json!({"cgroup_parent": ""})))["cgroup_parent"], "/casemate/v");
    let each = Limits::PerService { vcpu: 2, memory_mb: 1024, pids: 100 };
    let limited = |service: Value| {
        let model = json!({"services": {"web": with_image(service)}});
        web(&try_derive(model, |given| given.limits = each.clone()).unwrap()).clone()
    };
    let plain = limited(json!({}));
    assert_eq!(
        (&plain["cpus"], &plain["mem_limit"]),
        (&json!(2.0), &json!((1024 << 20).to_string()))
    );
    let lower = limited(json!({"cpus": 0.5, "mem_limit": "1048576"}));
    assert_eq!((&lower["cpus"], &lower["mem_limit"]), (&json!(0.5), &json!("1048576")));
    let deployed =
        limited(json!({"deploy": {"resources": {"limits": {"cpus": 9, "memory": "1"}}}}));
    assert!(deployed.get("cpus").is_none() && deployed.get("mem_limit").is_none());
    assert_eq!(deployed["deploy"]["resources"]["limits"], json!({"cpus": 2.0, "memory": "1"}));
}

#[test]
fn values_do_not_come_from_the_compose_process() {
    let model = json!({
        "services": {"web": {"image": "x", "environment": {"A": "b", "UNSET": null}, "secrets": [{"source": "t"}]}},
        "secrets": {"t": {"name": "p_t", "environment": "HOME"}},
        "configs": {"c": {"name": "p_c", "content": "$x"}, "f": {"file": "/dstack/f.conf"}},
    });
    let out = try_derive(model, |_| {}).unwrap();
    assert_eq!(web(&out)["environment"], json!({"A": "b"}));
    assert_eq!(out.pass_env, [("CASEMATE_VALUE_0".to_owned(), "HOME".to_owned())]);
    assert_eq!(out.model["secrets"]["t"], json!({"environment": "CASEMATE_VALUE_0"}));
    assert_eq!(out.model["configs"]["c"], json!({"content": "$x"}));
    assert_eq!(out.model["configs"]["f"]["file"], "/vms/v/root/dstack/f.conf");
}

#[test]
fn a_service_with_files_is_made_anew_when_their_contents_change() {
    let mark = |content: &str, sealed: &[u8]| {
        let with = with_image(json!({"configs": [{"source": "c", "target": "/c"}]}));
        let without = with_image(json!({}));
        let model = json!({
            "name": "p",
            "services": {"with": with, "without": without},
            "configs": {"c": {"content": content}},
        });
        let derived = try_derive(model, |given| given.sealed_env = sealed.to_vec()).unwrap();
        let label = |service: &str| {
            derived.model.pointer(&format!("/services/{service}/labels/casemate.files")).cloned()
        };
        assert_eq!(label("without"), None);
        label("with").unwrap()
    };
    assert_eq!(mark("one", b"env"), mark("one", b"env"));
    assert_ne!(mark("one", b"env"), mark("two", b"env"));
    assert_ne!(mark("one", b"env"), mark("one", b"other"));
}

#[test]
fn a_config_file_that_is_not_there_is_named() {
    let model =
        json!({"services": {"web": {"image": "x"}}, "configs": {"f": {"file": "/dstack/f.conf"}}});
    let refused = try_derive(model, |given| given.sources.clear()).unwrap_err().to_string();
    assert!(refused.contains("/dstack/f.conf") && refused.contains("not there"), "{refused}");
}

#[test]
fn odd_habits_are_changed_with_a_warning() {
    let out = derived(
        json!({"logging": {"driver": "awslogs"}, "network_mode": "bridge", "profiles": ["a"]}),
    );
    assert_eq!(web(&out)["logging"]["driver"], "json-file");
    assert!(web(&out).get("network_mode").is_none());
    assert!(web(&out).get("profiles").is_none());
    assert_eq!(out.warnings.len(), 2);
}

#[test]
fn our_labels_are_not_the_files_to_set() {
    let labels = json!({"casemate.vm": "other", "casemate.script": "x", "com.docker.compose.project": "y", "mine": "z"});
    let model = json!({
        "services": {"web": {"image": "x", "labels": labels}},
        "volumes": {"v": {"labels": labels}},
    });
    let out = try_derive(model, |_| {}).unwrap();
    for labels in [&web(&out)["labels"], &out.model["volumes"]["v"]["labels"]] {
        assert_eq!((&labels["casemate.vm"], &labels["mine"]), (&json!("v"), &json!("z")));
        assert!(labels.get("casemate.script").is_none(), "{labels}");
        assert!(labels.get("com.docker.compose.project").is_none(), "{labels}");
    }
}

#[test]
fn compose_pulls_nothing() {
    let model = json!({"services": {
        "a": {"image": "x", "pull_policy": "always", "platform": "linux/amd64"},
        "b": {"image": "y", "pull_policy": "daily", "pull_refresh_after": "1d"},
        "c": {"image": "y"},
        "d": {"image": "z", "pull_policy": "never"},
    }});
    let out = try_derive(model, |_| {}).unwrap();
    let image = |name: &str, platform: Option<&str>, pull, service: &str| ImageUse {
        name: name.to_owned(),
        platform: platform.map(str::to_owned),
        pull,
        service: service.to_owned(),
    };
    let expected = [
        image("x", Some("linux/amd64"), Pull::Always, "a"),
        image("y", None, Pull::Missing, "b"),
        image("z", None, Pull::Never, "d"),
    ];
    assert_eq!(out.images, expected);
    for service in ["a", "b", "c", "d"] {
        let service = &out.model["services"][service];
        assert_eq!(service["pull_policy"], "never");
        assert!(service.get("pull_refresh_after").is_none());
    }
}
