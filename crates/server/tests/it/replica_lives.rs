//! Lives of an app whose machines come and go on a host with faults: replicas are asked for again and
//! again with the same keys, stopped, started and deleted. When all has healed there is one replica
//! for each key, a VM for each CVM, and no operation is open.
//!
//! A life that fails prints its seed; `SIMULATION_SEED=… cargo test -p casemate-server --test it
//! replica_lives::` lives it again.

use crate::common;
use crate::simulation::dice;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use axum::{body::Body, http::Request};
use casemate_engine::node::{
    Mark,
    sim::{FaultKind, Faults, SimConfig},
};
use casemate_server::work;
use common::{TestNode, World};
use dice::Dice;
use serde_json::{Value, json};

const LIVES: u64 = 200;
const KEYS: u32 = 4;

/// A replica that was acknowledged.
struct Replica {
    /// The first reply, as it was.
    reply: String,
    uuid: String,
    deleted: bool,
}

struct Life {
    dice: Dice,
    world: World,
    replicas: BTreeMap<u32, Replica>,
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let host = SimConfig { seed: Some(dice.roll()), ..SimConfig::fast() };
        let node = TestNode { host, ..TestNode::sim() };
        let world = World::fleet(vec![node], |config| {
            config.work.boot_timeout_s = 20;
            config.work.create_settles_s = 5;
        })
        .await;
        world.deploy("my-app").await;
        world.settle().await;
        Self { dice, world, replicas: BTreeMap::new() }
    }

    async fn live(mut self) {
        for _ in 0..4 + self.dice.below(8) {
            if self.dice.chance(40) {
                let faults = self.faults();
                self.world.sim.host().set_faults(faults).unwrap();
            }
            match self.dice.below(10) {
                0..6 => self.replicate().await,
                6 => self.verb("stop").await,
                7 => self.verb("start").await,
                8 => self.verb("restart").await,
                _ => self.delete().await,
            }
            for _ in 0..self.dice.below(6) {
                Box::pin(work::driver::settle_now(&self.world.ctx, "test")).await;
                self.world.clock.advance_ms(i64::from(1 + self.dice.below(400)));
            }
        }
        self.world.sim.host().clear_faults().unwrap();
        self.world.settle().await;
        self.check().await;
    }

    fn faults(&mut self) -> Faults {
        const KINDS: [FaultKind; 6] = [
            FaultKind::LoseAnswer,
            FaultKind::DropCall,
            FaultKind::Repeat,
            FaultKind::Unreachable,
            FaultKind::Refuse,
            FaultKind::SlowBoot,
        ];
        let mut faults = Faults::default();
        for _ in 0..=self.dice.below(3) {
            let probability = f64::from(1 + self.dice.below(25)) / 100.0;
            faults.random.insert(self.dice.pick(&KINDS), probability);
        }
        faults
    }

    /// The same key is the same replica, for as long as answers are remembered.
    async fn replicate(&mut self) {
        let key = self.dice.below(KEYS);
        let request = Request::post("/api/v1/cvms/my-app/replicas")
            .header("x-api-key", &self.world.key)
            .header("x-phala-version", "2026-01-21")
            .header("content-type", "application/json")
            .header("idempotency-key", format!("replica-{key}"))
            .body(Body::from("null"))
            .unwrap();
        let reply = self.world.send(request).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        if let Some(known) = self.replicas.get(&key) {
            assert_eq!(known.reply, reply.text, "asked again");
            return;
        }
        let uuid = reply.json()["vm_uuid"].as_str().unwrap().to_owned();
        self.replicas.insert(key, Replica { reply: reply.text, uuid, deleted: false });
    }

    fn some(&mut self) -> Option<String> {
        let live: Vec<String> = self
            .replicas
            .values()
            .filter(|replica| !replica.deleted)
            .map(|replica| replica.uuid.clone())
            .collect();
        (!live.is_empty()).then(|| self.dice.pick(&live))
    }

    async fn verb(&mut self, verb: &str) {
        let Some(uuid) = self.some() else { return };
        let reply = self.world.post(&format!("/cvms/{uuid}/{verb}"), Value::Null).await;
        assert!(reply.status.as_u16() < 500, "{}", reply.text);
    }

    async fn delete(&mut self) {
        let Some(uuid) = self.some() else { return };
        let reply = self.world.call("DELETE", &format!("/cvms/{uuid}"), "", None).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
        for replica in self.replicas.values_mut().filter(|replica| replica.uuid == uuid) {
            replica.deleted = true;
        }
    }

    async fn check(&self) {
        let audit = self.world.sim.host().audit().unwrap();
        assert_eq!(audit.violations(), Vec::<String>::new());
        assert_eq!(audit.overlaps, Vec::new(), "two VMs ran at once");
        let first = self.world.get("/cvms/my-app").await.ok();
        let page = self.world.get("/cvms/paginated?page_size=100").await.ok();
        let items = page["items"].as_array().unwrap();
        let live: Vec<&Replica> =
            self.replicas.values().filter(|replica| !replica.deleted).collect();
        assert_eq!(items.len(), 1 + live.len(), "one for each key: {page}");
        for replica in live {
            let detail = self.world.get(&format!("/cvms/{}", replica.uuid)).await.ok();
            assert_eq!(detail["in_progress"], false, "{detail}");
            assert_eq!(
                (&detail["app_id"], &detail["compose_hash"]),
                (&first["app_id"], &first["compose_hash"])
            );
            let status = detail["status"].as_str().unwrap();
            let mark = Mark::new(detail["name"].as_str().unwrap(), replica.uuid.parse().unwrap());
            let present = audit.mark(&mark).present;
            match status {
                "running" => {
                    assert!(present.len() == 1 && present[0].serves, "{detail}");
                    assert_ne!(detail["instance_id"], first["instance_id"]);
                }
                "stopped" => assert!(present.len() <= 1, "{present:?}"),
                "error" => {
                    let of = format!("/cvms/{}/operations", replica.uuid);
                    let told = self.world.get(&of).await.ok();
                    let why = &told["items"][0]["error_message"];
                    assert!(why.is_string() && present.len() <= 1, "{told}");
                }
                other => panic!("{other}: {detail}"),
            }
        }
        assert_eq!(first["status"], json!("running"), "its template has not noticed");
    }
}

fn live(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Box::pin(Life::begin(seed).await.live()).await });
}

#[test]
fn there_is_one_replica_for_each_key_whatever_happens() {
    if let Some(seed) = std::env::var_os("SIMULATION_SEED") {
        return live(seed.to_str().unwrap().parse().unwrap());
    }
    let failed: Vec<u64> = (0..LIVES)
        .filter(|seed| {
            let failed = catch_unwind(AssertUnwindSafe(|| live(*seed))).is_err();
            if failed {
                eprintln!("^ SIMULATION_SEED={seed}");
            }
            failed
        })
        .collect();
    assert!(failed.is_empty(), "{} of {LIVES} lives, by seed: {failed:?}", failed.len());
}
