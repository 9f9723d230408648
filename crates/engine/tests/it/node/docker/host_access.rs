//! What containers reach on the host: nothing, unless an operator opens it.

use std::{collections::BTreeSet, fs, net::UdpSocket};

use casemate_core::id::EngineVmId;
use casemate_engine::node::{Node, docker::HostAccess};
use tokio::net::TcpListener;

use super::{
    apps::{config, with_script},
    world::{IMAGE, World, container, docker, eventually},
};

const IPV6: &str = "/proc/net/if_inet6";
const NOTE: &str = "containers reach services of the host";

/// An app of two services on two networks, one of them published, all with IPv6.
fn app() -> String {
    let service = format!(
        "image: {IMAGE}, stop_grace_period: 1s, networks: [default, back], \
         sysctls: {{net.ipv6.conf.all.disable_ipv6: '0', net.ipv6.conf.default.disable_ipv6: '0'}}, \
         command: [sh, -c, 'mkdir /w; echo mine > /w/index.html; exec httpd -f -p 80 -h /w']"
    );
    format!(
        "services: {{web: {{{service}, ports: ['8080:80']}}, other: {{{service}}}}}\nnetworks: {{back: }}\n"
    )
}

/// Services of the host that listen on all addresses, one of them in a container of somebody else.
struct Host {
    tcp: TcpListener,
    udp: UdpSocket,
    container: String,
    published: u16,
}

impl Host {
    async fn new() -> Self {
        let run = ["run", "-d", "--rm", "-p", "0.0.0.0::80", IMAGE, "httpd", "-f", "-p", "80"];
        let container = docker(&run);
        let published = docker(&["port", &container, "80/tcp"]);
        let published = published.rsplit(':').next().unwrap().parse().unwrap();
        let udp = UdpSocket::bind("[::]:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { tcp: TcpListener::bind("[::]:0").await.unwrap(), udp, container, published }
    }

    /// What service `web` reaches, and where: `tcp4`, `tcp6`, `published`, `udp`, `ping`.
    async fn reached(&self, vm: &EngineVmId) -> BTreeSet<String> {
        let web = container(vm, "web");
        eventually("addresses of IPv6 in use", || async {
            let inside = docker(&["exec", &web, "cat", IPV6]);
            let outside = fs::read_to_string(IPV6).unwrap();
            (!is_tentative(&inside) && !is_tentative(&outside)).then_some(())
        })
        .await;
        let (tcp, udp) =
            (self.tcp.local_addr().unwrap().port(), self.udp.local_addr().unwrap().port());
        let (mut probes, mut tried) = (Vec::new(), BTreeSet::new());
        for host in addresses(&web, &self.container) {
            let family = if host.contains(':') { "tcp6" } else { "tcp4" };
            for (kind, probe) in [
                (family, connect(&host, tcp)),
                ("published", connect(&host, self.published)),
                // Only the host sees whether it arrives.
                ("sent", format!("timeout 1 tftp -g -r x {host} {udp}")),
                ("ping", format!("ping -c 1 -W 1 {host}")),
            ] {
                tried.insert(kind);
                probes.push(format!("({probe} >/dev/null 2>&1 && echo {kind}) &"));
            }
        }
        assert_eq!(tried.len(), 5, "{tried:?}");
        let said =
            docker(&["exec", &web, "sh", "-c", &format!("{} wait; echo done", probes.join(" "))]);
        assert!(said.ends_with("done"), "{said}");
        let mut reached: BTreeSet<String> = said.lines().map(str::to_owned).collect();
        reached.remove("done");
        let mut buffer = [0; 64];
        while self.udp.recv_from(&mut buffer).is_ok() {
            reached.insert("udp".to_owned());
        }
        reached
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.container]);
    }
}

/// Whether the kernel still looks for other users of an address, and does not use it.
fn is_tentative(addresses: &str) -> bool {
    let flags = addresses.lines().filter_map(|line| line.split_whitespace().nth(4));
    flags.filter_map(|flags| u8::from_str_radix(flags, 16).ok()).any(|flags| flags & 0x40 != 0)
}

/// A command that ends well if a connection is made.
fn connect(host: &str, port: u16) -> String {
    format!("nc -w 1 {host} {port} -e true")
}

/// Addresses of the host that a container can know: of its networks in both families, of that of
/// a neighbour, and the one that the host has towards others.
fn addresses(container: &str, neighbour: &str) -> Vec<String> {
    let format =
        "{{range $name, $of := .NetworkSettings.Networks}}{{$name}} {{$of.Gateway}}\n{{end}}";
    let networks = docker(&["inspect", container, "--format", format]);
    let mut all = Vec::new();
    for line in networks.lines().filter(|line| !line.is_empty()) {
        let (network, gateway) = line.split_once(' ').unwrap();
        all.push(gateway.to_owned());
        let format = "{{index .Options \"com.docker.network.bridge.name\"}}";
        let bridge = docker(&["network", "inspect", network, "--format", format]);
        let own = fs::read_to_string(IPV6).unwrap();
        for line in own.lines().filter(|line| line.ends_with(&bridge)) {
            let parts: Vec<&str> = (0..8).map(|part| &line[4 * part..4 * part + 4]).collect();
            all.extend(["eth0", "eth1"].map(|way| format!("{}%{way}", parts.join(":"))));
        }
    }
    all.push(docker(&["inspect", neighbour, "--format", "{{.NetworkSettings.Gateway}}"]));
    let outwards = UdpSocket::bind("0.0.0.0:0").unwrap();
    outwards.connect("192.0.2.1:9").unwrap();
    all.push(outwards.local_addr().unwrap().ip().to_string());
    assert!(all.len() == 8 && all.iter().all(|address| !address.is_empty()), "{all:?}");
    all
}

/// What must work whatever is closed: the gateway's way in, and services that ask one another by name.
async fn assert_works(world: &World, vm: &EngineVmId) {
    assert_eq!(world.get(vm, 8080).await, "mine");
    // A static wget cannot be trusted with names.
    let ask = "timeout 5 wget -q -O- http://$(nslookup other | sed -n 's/^Address: *\\([0-9.]*\\)$/\\1/p')/";
    assert_eq!(docker(&["exec", &container(vm, "web"), "sh", "-c", ask]), "mine");
}

async fn notes(world: &World) -> String {
    world.node.inventory().await.unwrap().notes.join("\n")
}

#[tokio::test]
async fn containers_reach_no_service_of_the_host_unless_it_is_opened() {
    let (mut world, host) = (World::new().await, Host::new().await);
    assert!(
        !notes(&world).await.contains(NOTE),
        "these tests run as root: {}",
        notes(&world).await
    );
    let config = config(&app());
    let vm = world.up(&config).await;
    assert_eq!(host.reached(&vm).await, BTreeSet::new());
    assert_works(&world, &vm).await;

    // A CVM follows a change of the configuration when it starts again: both ways.
    world.reopen_with(|config| config.host_access = HostAccess::Open).await;
    assert!(notes(&world).await.contains(NOTE));
    assert_eq!(host.reached(&vm).await, BTreeSet::new(), "it goes on as it was started");
    world.restart(&config, &vm).await;
    let all = host.reached(&vm).await;
    assert_eq!(Vec::from_iter(&all), ["ping", "published", "tcp4", "tcp6", "udp"]);
    assert_works(&world, &vm).await;

    world.reopen_with(|config| config.host_access = HostAccess::Closed).await;
    world.restart(&config, &vm).await;
    assert_eq!(host.reached(&vm).await, BTreeSet::new());
    assert_works(&world, &vm).await;
    world.remove(&config, &vm).await;
}

#[tokio::test]
async fn scripts_and_builds_reach_no_service_of_the_host() {
    for (access, word) in [(HostAccess::Closed, "closed"), (HostAccess::Open, "reached")] {
        let world = World::with(|config| config.host_access = access).await;
        let host = Host::new().await;
        let port = host.tcp.local_addr().unwrap().port();
        let connect = format!(
            "host=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); \
             if nc -w 1 $host {port} -e true; then echo host reached; else echo host closed; fi"
        );
        let compose = format!(
            "services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM {IMAGE}\n        \
             RUN ({}) > /said\n    command: [cat, /said]\n",
            connect.replace('$', "$$")
        );
        let config = with_script(&connect, &compose);
        let vm = world.up(&config).await;
        let expected = format!("host {word}");
        eventually("both said it", || async {
            (world.log(&vm).await.matches(&expected).count() == 2).then_some(())
        })
        .await;
        world.remove(&config, &vm).await;
    }
}
