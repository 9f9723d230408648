use casemate_core::id::EngineVmId;
use serde_json::{Value, json};

use super::*;
use crate::node::docker::{
    HostAccess,
    derive::{DeriveInput, Grant, Grants, Limits},
};

fn expectation(services: &Value) -> Expected {
    expectation_of(services, &[])
}

/// The same on a node that grants these.
fn expectation_of(services: &Value, granted: &[&str]) -> Expected {
    let model = json!({
        "services": services,
        "networks": {"default": {}, "back": {}},
        "volumes": {
            "db": {},
            "fast": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}},
        },
        "configs": {"c": {"file": "/root/c"}, "inline": {"content": "x"}},
        "secrets": {"s": {"file": "/root/s"}},
    });
    let words: Vec<String> = granted.iter().map(|&word| word.to_owned()).collect();
    let given = ["/root/data", "/root/c", "/root/s"];
    let input = DeriveInput {
        vm: &EngineVmId("v".to_owned()),
        cvm: "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d".parse().unwrap(),
        node: "n",
        grants: &Grants::parse(&words).unwrap(),
        sources: &given.map(|path| (path.to_owned(), path.to_owned())).into(),
        root: "/root",
        run: "/run",
        project: "p",
        limits: &Limits::Parent("/casemate/v".to_owned()),
        log_mb: 50,
        host_access: HostAccess::Closed,
        ports: &[],
        sealed_env: &[],
    };
    expected(model.as_object().unwrap(), &input)
}

fn web() -> Value {
    json!({
        "image": "x", "cgroup_parent": "/casemate/v", "cap_add": ["CAP_NET_ADMIN"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": [
            {"type": "bind", "source": "/root/data", "target": "/data", "read_only": false},
            {"type": "bind", "source": "/run", "target": "/.casemate/", "read_only": true},
            {"type": "volume", "source": "db", "target": "/db"},
            {"type": "volume", "source": "fast", "target": "/fast"},
            {"type": "tmpfs", "target": "/t"},
        ],
        "configs": [{"source": "c"}, {"source": "inline", "target": "/i"}],
        "secrets": [{"source": "s", "target": "named"}],
    })
}

fn bind(source: &str, target: &str, writable: bool) -> CreatedMount {
    CreatedMount {
        kind: "bind".to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        writable,
        propagation: "rprivate".to_owned(),
        ..CreatedMount::default()
    }
}

fn volume(name: &str, target: &str) -> CreatedMount {
    CreatedMount {
        kind: "volume".to_owned(),
        name: name.to_owned(),
        source: format!("/var/lib/docker/volumes/{name}/_data"),
        target: target.to_owned(),
        writable: true,
        ..CreatedMount::default()
    }
}

fn random_name() -> String {
    "0123456789abcdef".repeat(4)
}

struct World {
    expected: Expected,
    defaults: EngineDefaults,
    containers: Vec<Created>,
    volumes: Vec<CreatedVolume>,
}

impl World {
    /// A container exactly as it was derived, and one that shares its namespaces.
    fn new() -> Self {
        let web_created = Created {
            id: "1".to_owned(),
            service: "web".to_owned(),
            vm: "v".to_owned(),
            mounts: vec![
                bind("/root/data", "/data", true),
                bind("/run", "/.casemate", false),
                volume("p_db", "/db"),
                volume("p_fast", "/fast"),
                CreatedMount {
                    kind: "tmpfs".into(),
                    target: "/t".into(),
                    writable: true,
                    ..CreatedMount::default()
                },
                bind("/root/c", "/c", false),
                bind("/root/s", "/run/secrets/named", false),
                volume(&random_name(), "/of-image"),
            ],
            networks: vec!["p_default".to_owned()],
            network_mode: "p_default".to_owned(),
            ipc: "private".to_owned(),
            cgroup: "private".to_owned(),
            cgroup_parent: "/casemate/v".to_owned(),
            cap_add: vec!["NET_ADMIN".to_owned()],
            security_opt: vec!["no-new-privileges:true".to_owned()],
            runtime: "runc".to_owned(),
            ..Created::default()
        };
        let side = Created {
            id: "2".to_owned(),
            service: "side".to_owned(),
            vm: "v".to_owned(),
            network_mode: "container:1".to_owned(),
            pid: "container:1".to_owned(),
            ipc: "container:1".to_owned(),
            cgroup: "private".to_owned(),
            cgroup_parent: "/casemate/v".to_owned(),
            volumes_from: vec!["1:ro".to_owned()],
            mounts: web_created
                .mounts
                .iter()
                .map(|mount| CreatedMount { writable: false, ..mount.clone() })
                .collect(),
            ..Created::default()
        };
        let side_derived = json!({
            "network_mode": "service:web", "pid": "service:web", "ipc": "service:web",
            "volumes_from": ["web:ro"],
        });
        let plain = |name: &str, vm: Option<&str>| CreatedVolume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            options: BTreeMap::new(),
            vm: vm.map(str::to_owned),
        };
        let mut fast = plain("p_fast", Some("v"));
        for (key, value) in [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")] {
            fast.options.insert(key.to_owned(), value.to_owned());
        }
        Self {
            expected: expectation(&json!({"web": web(), "side": side_derived})),
            defaults: EngineDefaults { private_cgroups: true, runtime: "runc".to_owned() },
            containers: vec![web_created, side],
            volumes: vec![plain("p_db", Some("v")), fast, plain(&random_name(), None)],
        }
    }

    fn compare(&self) -> Result<(), Mismatch> {
        compare(&self.expected, &self.defaults, &self.containers, &self.volumes)
    }
}

type Change = fn(&mut World);
/// Makes an expectation allow a change.
type Allow = fn(&mut ExpectedService, Mode);

/// One difference each, and a word that its error has. Without its rule each of them passes.
const DIFFERENCES: &[(&str, Change)] = &[
    ("a service that the file does not have", |w| w.containers[0].service = "x".into()),
    ("label of VM", |w| w.containers[0].vm = "other".into()),
    ("label of VM", |w| w.containers[0].vm = String::new()),
    ("mount of /etc at /data", |w| w.containers[0].mounts[0].source = "/etc".into()),
    ("mount of /root/data/ at", |w| w.containers[0].mounts[0].source = "/root/data/".into()),
    ("/root/$data", |w| w.containers[0].mounts[0].source = "/root/$data".into()),
    ("mount of /root/data at /elsewhere", |w| {
        w.containers[0].mounts[0].target = "/elsewhere".into();
    }),
    ("mount of /etc at /more", |w| w.containers[0].mounts.push(bind("/etc", "/more", false))),
    ("writable bind mount of /run at /.casemate", |w| w.containers[0].mounts[1].writable = true),
    ("writable bind mount of /root/c", |w| w.containers[0].mounts[5].writable = true),
    ("writable bind mount of /root/s", |w| w.containers[0].mounts[6].writable = true),
    ("volume mount of /root/data", |w| w.containers[0].mounts[0].kind = "volume".into()),
    ("bind mount of /var/lib", |w| w.containers[0].mounts[2].kind = "bind".into()),
    ("npipe", |w| w.containers[0].mounts[4].kind = "npipe".into()),
    ("volume mount of", |w| w.containers[0].mounts[7].target = "/dev/x".into()),
    ("at /dev//pts", |w| {
        let mounts = &mut w.expected.services.get_mut("web").unwrap().mounts;
        mounts.iter_mut().find(|mount| mount.target == "/data").unwrap().target =
            "/dev//pts".into();
        w.containers[0].mounts[0].target = "/dev//pts".into();
    }),
    ("a tmpfs at /proc", |w| w.containers[0].tmpfs.push("/proc".into())),
    ("a tmpfs at /x/../dev/y", |w| w.containers[0].tmpfs.push("/x/../dev/y".into())),
    ("propagation rshared", |w| w.containers[0].mounts[0].propagation = "rshared".into()),
    ("propagation shared", |w| w.containers[0].mounts[0].propagation = "shared".into()),
    ("no mount at /db", |w| drop(w.containers[0].mounts.remove(2))),
    ("no mount at /data", |w| drop(w.containers[0].mounts.remove(0))),
    ("other_db", |w| w.containers[0].mounts[2] = volume("other_db", "/db")),
    ("at /db", |w| w.containers[0].mounts[2] = volume(&random_name(), "/db")),
    ("not of this CVM", |w| w.volumes[0].vm = None),
    ("not of this CVM", |w| w.volumes[0].vm = Some("other".into())),
    ("no such volume", |w| drop(w.volumes.remove(0))),
    ("driver nfs", |w| w.volumes[0].driver = "nfs".into()),
    ("options", |w| drop(w.volumes[0].options.insert("o".into(), "bind".into()))),
    ("options", |w| drop(w.volumes[1].options.insert("device".into(), "/etc".into()))),
    ("options", |w| w.volumes[1].options.clear()),
    ("at /of-image", |w| drop(w.volumes[2].options.insert("o".into(), "bind".into()))),
    ("at /of-image", |w| w.volumes[2].driver = "nfs".into()),
    ("at /of-image", |w| w.volumes[2].vm = Some("other".into())),
    ("at /of-image", |w| w.containers[0].mounts[7].name = "casemate-other_db".into()),
    ("network_mode: \"host\"", |w| w.containers[0].network_mode = "host".into()),
    ("network_mode: \"bridge\"", |w| w.containers[0].network_mode = "bridge".into()),
    ("network_mode: \"container:9\"", |w| w.containers[1].network_mode = "container:9".into()),
    ("network_mode: \"container:2\"", |w| w.containers[1].network_mode = "container:2".into()),
    ("network other_default", |w| w.containers[0].networks.push("other_default".into())),
    ("network p_back", |w| w.containers[0].networks.push("p_back".into())),
    ("network bridge", |w| w.containers[1].networks.push("bridge".into())),
    ("pid: \"host\"", |w| w.containers[0].pid = "host".into()),
    ("pid: \"container:9\"", |w| w.containers[1].pid = "container:9".into()),
    ("ipc: \"host\"", |w| w.containers[0].ipc = "host".into()),
    ("ipc: \"\"", |w| w.containers[1].ipc = String::new()),
    ("uts: \"host\"", |w| w.containers[0].uts = "host".into()),
    ("userns_mode: \"host\"", |w| w.containers[0].userns = "host".into()),
    ("cgroup: \"host\"", |w| w.containers[0].cgroup = "host".into()),
    ("cgroup_parent", |w| w.containers[0].cgroup_parent = String::new()),
    ("cgroup_parent", |w| w.containers[0].cgroup_parent = "/".into()),
    ("privileged", |w| w.containers[0].privileged = true),
    ("device /dev/sda", |w| w.containers[0].devices.push("/dev/sda".into())),
    ("cap_add: SYS_ADMIN", |w| w.containers[0].cap_add.push("SYS_ADMIN".into())),
    ("cap_add: NET_ADMIN", |w| w.containers[1].cap_add.push("NET_ADMIN".into())),
    ("seccomp", |w| w.containers[0].security_opt.push("seccomp=unconfined".into())),
    ("label=disable", |w| w.containers[0].security_opt.push("label=disable".into())),
    ("runtime: other", |w| w.containers[0].runtime = "other".into()),
    ("a health check every 1000 ns", |w| w.containers[0].check_interval = 1000),
    ("volumes_from: 9", |w| w.containers[1].volumes_from.push("9".into())),
    ("volumes_from: 2", |w| w.containers[0].volumes_from.push("2".into())),
];

#[test]
fn what_was_derived_passes_and_every_difference_is_named() {
    assert_eq!(World::new().compare(), Ok(()));
    for (word, change) in DIFFERENCES {
        let mut world = World::new();
        change(&mut world);
        let Err(mismatch) = world.compare() else { panic!("{word} passes") };
        assert!(mismatch.to_string().contains(word), "{word}: {mismatch}");
        assert!(mismatch.to_string().starts_with("service "), "{mismatch}");
    }
}

/// An expectation that does not have a rule lets its difference pass: each rule is needed, and it is
/// the expectation that it compares with.
#[test]
fn every_rule_compares_with_what_was_derived() {
    let granted = Mode::Granted("host".to_owned());
    let cases: &[(&str, Allow, Change)] = &[
        (
            "network_mode",
            |s, m| s.network_mode = m,
            |w| w.containers[0].network_mode = "host".into(),
        ),
        ("pid", |s, m| s.pid = m, |w| w.containers[0].pid = "host".into()),
        ("ipc", |s, m| s.ipc = m, |w| w.containers[0].ipc = "host".into()),
        ("uts", |s, m| s.uts = m, |w| w.containers[0].uts = "host".into()),
        ("userns", |s, m| s.userns = m, |w| w.containers[0].userns = "host".into()),
        ("cgroup", |s, m| s.cgroup = m, |w| w.containers[0].cgroup = "host".into()),
        ("privileged", |s, _| s.privileged = true, |w| w.containers[0].privileged = true),
        ("devices", |s, _| s.devices = true, |w| w.containers[0].devices.push("/dev/sda".into())),
        (
            "cap_add",
            |s, _| {
                s.cap_add.insert("SYS_ADMIN".into());
            },
            |w| w.containers[0].cap_add.push("SYS_ADMIN".into()),
        ),
        (
            "security_opt",
            |s, _| s.security_opt = None,
            |w| w.containers[0].security_opt.push("seccomp=unconfined".into()),
        ),
        (
            "runtime",
            |s, _| s.runtime = Some("other".into()),
            |w| w.containers[0].runtime = "other".into(),
        ),
        (
            "cgroup_parent",
            |s, _| s.cgroup_parent = "/x".into(),
            |w| w.containers[0].cgroup_parent = "/x".into(),
        ),
        (
            "networks",
            |s, _| {
                s.networks.insert("p_back".into());
            },
            |w| w.containers[0].networks.push("p_back".into()),
        ),
        (
            "source of a mount",
            |s, _| s.mounts[0].source = MountSource::Bind("/etc".into()),
            |w| w.containers[0].mounts[0].source = "/etc".into(),
        ),
        (
            "read-only flag of a mount",
            |s, _| s.mounts[1].read_only = false,
            |w| w.containers[0].mounts[1].writable = true,
        ),
        (
            "mounts of others",
            |s, _| s.outside_mounts = true,
            |w| w.containers[0].mounts.push(bind("/etc", "/more", true)),
        ),
    ];
    for (rule, grant, change) in cases {
        let mut world = World::new();
        world.containers.truncate(1);
        change(&mut world);
        assert!(world.compare().is_err(), "{rule}");
        grant(world.expected.services.get_mut("web").unwrap(), granted.clone());
        assert_eq!(world.compare(), Ok(()), "{rule}");
    }
}

#[test]
fn an_engine_that_shares_the_cgroup_namespace_by_default_is_taken_as_it_is() {
    let mut world = World::new();
    world.containers[0].cgroup = "host".into();
    assert!(world.compare().is_err());
    world.defaults.private_cgroups = false;
    assert_eq!(world.compare(), Ok(()));
}

fn demanding() -> Value {
    json!({"web": {
        "network_mode": "host", "pid": "container:x", "ipc": "shareable", "privileged": true,
        "gpus": [{"count": -1}], "security_opt": ["seccomp:unconfined"], "runtime": "nvidia",
        "volumes_from": ["container:x", "db:ro"], "cap_add": ["SYS_ADMIN"], "cgroup_parent": "/",
        "uts": "host", "userns_mode": "host", "cgroup": "host",
        "volumes": [{"type": "bind", "source": "/etc", "target": "/h"}],
    }})
}

#[test]
fn grants_are_read_from_the_model() {
    let found = expectation_of(&demanding(), &Grant::ALL.map(|(_, word)| word));
    let web = &found.services["web"];
    assert_eq!(web.network_mode, Mode::Granted("host".to_owned()));
    assert_eq!(web.pid, Mode::Granted("container:x".to_owned()));
    assert_eq!((&web.ipc, web.cgroup_parent.as_str()), (&Mode::Own, "/"));
    assert!(web.privileged && web.devices && web.outside_mounts && web.security_opt.is_none());
    assert_eq!((web.cap_add.len(), web.mounts.len()), (1, 1));
    assert_eq!(
        (web.runtime.as_deref(), web.volumes_from.as_slice()),
        (Some("nvidia"), &["db".to_owned()][..])
    );
}

/// The second line: a hole in the derivation ends here.
#[test]
fn nothing_is_expected_that_nobody_granted() {
    let found = expectation(&demanding());
    let web = &found.services["web"];
    for mode in [&web.network_mode, &web.pid, &web.uts, &web.userns, &web.cgroup] {
        assert_eq!(*mode, Mode::Own);
    }
    assert!(!web.privileged && !web.devices && !web.outside_mounts);
    assert!(web.cap_add.is_empty() && web.mounts.is_empty() && web.runtime.is_none());
    assert_eq!(
        (&web.security_opt, web.cgroup_parent.as_str()),
        (&Some(BTreeSet::new()), "/casemate/v")
    );
}
