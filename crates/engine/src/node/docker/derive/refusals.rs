//! Everything a docker node refuses, and what grants it.

use serde_json::json;

use super::{
    tests::{bind, derived, try_derive, with_image},
    *,
};

/// Everything refused, with the word that grants it.
#[test]
fn what_gives_the_host_away_is_refused_unless_granted() {
    let cases = [
        (json!({"privileged": true}), "privileged"),
        (json!({"post_start": [{"command": ["x"], "privileged": true}]}), "privileged"),
        (json!({"volumes": [bind("/var/run/docker.sock", "/s")]}), "docker-socket"),
        (json!({"volumes": [bind("/run/docker.sock", "/s")]}), "docker-socket"),
        (json!({"network_mode": "host"}), "host-network"),
        (json!({"pid": "host"}), "host-pid"),
        (json!({"ipc": "host"}), "host-ipc"),
        (json!({"uts": "host"}), "host-uts"),
        (json!({"userns_mode": "host"}), "host-userns"),
        (json!({"cgroup": "host"}), "host-cgroup"),
        (json!({"cgroup_parent": "/x"}), "host-cgroup"),
        (json!({"oom_score_adj": -1000}), "host-cgroup"),
        (json!({"devices": [{"source": "/dev/tdx_guest", "target": "/dev/tdx_guest"}]}), "devices"),
        (json!({"device_cgroup_rules": ["a *:* rwm"]}), "devices"),
        (json!({"gpus": [{"count": -1}]}), "devices"),
        (
            json!({"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}}),
            "devices",
        ),
        (json!({"cap_add": ["SYS_ADMIN"]}), "capabilities"),
        (json!({"cap_add": ["NET_ADMIN", "cap_bpf"]}), "capabilities"),
        (json!({"cap_add": ["ALL"]}), "capabilities"),
        (json!({"security_opt": ["seccomp:unconfined"]}), "security-opt"),
        (json!({"security_opt": ["no-new-privileges:false"]}), "security-opt"),
        (json!({"network_mode": "private"}), "external"),
        (json!({"network_mode": "default"}), "external"),
        (json!({"network_mode": "casemate-other_default"}), "external"),
        (json!({"pid": "private"}), "external"),
        (json!({"uts": "service:other"}), "external"),
        (json!({"runtime": "nvidia"}), "runtime"),
        (json!({"network_mode": "container:other"}), "external"),
        (json!({"volumes_from": ["container:other"]}), "external"),
        (json!({"external_links": ["other"]}), "external"),
    ];
    for (service, word) in cases {
        let model = json!({"services": {"web": with_image(service.clone())}});
        let refused = try_derive(model.clone(), |_| {}).unwrap_err();
        assert_eq!(refused.service.as_deref(), Some("web"), "{refused}");
        assert!(refused.to_string().contains(&format!("\"{word}\"")), "{refused}");
        let grants = Grants::parse(&[word.to_owned()]).unwrap();
        let granted = try_derive(model, |given| given.grants = grants);
        assert!(granted.is_ok(), "{service}: {granted:?}");
    }
}

#[test]
fn what_reaches_out_of_the_file_is_refused_unless_granted() {
    let cases = [
        (json!({"networks": {"n": {"external": true, "name": "bridge"}}}), "external"),
        (json!({"volumes": {"n": {"external": true}}}), "external"),
        (json!({"secrets": {"n": {"external": true}}}), "external"),
        (json!({"networks": {"n": {"driver": "macvlan"}}}), "host-network"),
        (json!({"volumes": {"n": {"driver": "nfs"}}}), "volume-drivers"),
        (
            json!({"volumes": {"n": {"driver_opts": {"type": "none", "o": "bind", "device": "/etc"}}}}),
            "volume-drivers",
        ),
        (
            json!({"volumes": {"n": {"driver_opts": {"type": "tmpfs", "o": "bind", "device": "/etc"}}}}),
            "volume-drivers",
        ),
    ];
    for (mut model, word) in cases {
        model["services"] = json!({"web": {"image": "x"}});
        let refused = try_derive(model.clone(), |_| {}).unwrap_err().to_string();
        assert!(refused.contains(&format!("\"{word}\"")), "{refused}");
        let grants = Grants::parse(&[word.to_owned()]).unwrap();
        assert!(try_derive(model, |given| given.grants = grants).is_ok());
    }
}

#[test]
fn what_nobody_can_grant_is_refused_for_ever() {
    let all = Grants::parse(&Grant::ALL.map(|(_, word)| word.to_owned())).unwrap();
    for (service, word) in [
        (json!({"image": "x", "build": {"context": "/dstack"}}), "remove build:"),
        (
            json!({"build": {"context": "/dstack/a", "dockerfile_inline": "FROM x"}}),
            "build.context",
        ),
        (json!({"build": {"dockerfile_inline": "FROM x", "network": "host"}}), "build.network"),
        (json!({"build": {"dockerfile_inline": "FROM x\nADD http://h/ /"}}), "ADD"),
        (json!({"image": "casemate-build/other:sweb"}), "casemate-build"),
        (json!({"image": "x", "provider": {"type": "anything"}}), "provider"),
        (json!({"image": "x", "use_api_socket": true}), "use_api_socket"),
        (json!({"image": "x", "env_file": ["/etc/shadow"]}), "env_file"),
        (json!({"command": ["x"]}), "image"),
        (json!({"image": "x", "annotations": {"run.oci.handler": "krun"}}), "annotations"),
        (
            json!({"image": "x", "networks": {"n": {"driver_opts": {"a": "b"}}}}),
            "driver_opts in network n",
        ),
    ] {
        let model = json!({"services": {"web": service}});
        let refused =
            try_derive(model, |given| given.grants = all.clone()).unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    let model = json!({"services": {}, "networks": {"n": {"config_from": "host"}}});
    assert!(try_derive(model, |_| {}).unwrap_err().to_string().contains("config_from"));
    let model = json!({"services": {}, "include": ["x"]});
    assert!(try_derive(model, |_| {}).is_err());
}

#[test]
fn harmless_requests_pass() {
    derived(json!({
        "privileged": false, "cap_add": ["NET_ADMIN", "CAP_SYS_NICE"], "cap_drop": ["ALL"], "devices": [],
        "security_opt": ["no-new-privileges:true"], "pid": "service:other", "ipc": "shareable",
        "sysctls": {"net.core.somaxconn": "1"}, "ulimits": {"nofile": 1000}, "deploy": {"replicas": 2},
        "network_mode": "none", "x-anything": 1, "oom_score_adj": 100,
    }));
}
