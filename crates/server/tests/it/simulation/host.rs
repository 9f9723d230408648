//! The kinds of host that lives pass on.

use std::{sync::Arc, time::Duration};

use casemate_core::node::NodeKind;
use casemate_dstack_double::{Host as VmmDouble, Profile, router};
use casemate_engine::node::{
    Image, Node, Tee,
    dstack::{AccessFiles, DstackConfig, DstackNode},
    sim::SimNode,
};
use futures_util::FutureExt as _;
use tokio::net::TcpListener;

/// What a host is driven through.
#[derive(Debug, Clone)]
pub enum Host {
    /// The simulator itself.
    Simulated,
    /// The dstack driver, and a double of dstack-vmm of this version over the simulator.
    Dstack(Profile),
}

impl Host {
    pub const fn kind(&self) -> NodeKind {
        match self {
            Self::Simulated => NodeKind::Sim,
            Self::Dstack(_) => NodeKind::Dstack,
        }
    }

    /// Connects to the host. A double is served by the current runtime until that ends.
    pub fn connect(&self, sim: SimNode) -> Arc<dyn Node> {
        let Self::Dstack(profile) = self else { return Arc::new(sim) };
        let images = sim.inventory().now_or_never().unwrap().unwrap().images;
        Arc::new(dstack(profile, sim, images))
    }
}

fn dstack(profile: &Profile, sim: SimNode, images: Vec<Image>) -> DstackNode {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let double = Arc::new(VmmDouble::new(profile.clone(), sim, images, None));
    tokio::spawn(async move { axum::serve(listener, router(double)).await });
    let config = DstackConfig {
        address: format!("http://{address}").parse().unwrap(),
        files: AccessFiles::default(),
        guest_token_file: None,
        tee: Tee::None,
        device_id: None,
        sealed_env: true,
        timeout: Duration::from_secs(30),
    };
    DstackNode::open(config).now_or_never().expect("it reads no file").unwrap()
}
