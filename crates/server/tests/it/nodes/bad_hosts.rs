//! Twenty hosts in one process. One hangs on every call, one refuses every call, and one goes away for
//! ten minutes in the middle of creates, updates and deletions and comes back. The other seventeen are
//! not delayed, and everything converges.

use std::time::{Duration, Instant};

use casemate_engine::node::sim::FaultKind;
use serde_json::json;

use super::stage::{Manner, Stage};

const GOOD: usize = 17;
const HANGS: usize = 18;
const REFUSES: usize = 19;
const AWAY: usize = 20;
const EACH: usize = 3;

/// Deploys so many CVMs on each good host at once; how long each took from its commit to running.
async fn deploy_on_good(stage: &Stage, wave: &str) -> Vec<Duration> {
    let one = async |host: usize, number: usize| {
        let name = format!("{wave}-{host}-{number}");
        let body = stage.provision(&name, host).await;
        let begun = Instant::now();
        stage.commit(body).await;
        stage.until_running(&name).await;
        begun.elapsed()
    };
    let all = (1..=GOOD).flat_map(|host| (0..EACH).map(move |number| (host, number)));
    let mut took =
        futures_util::future::join_all(all.map(|(host, number)| one(host, number))).await;
    took.sort();
    took
}

fn told(what: &str, took: &[Duration]) {
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_millis();
    let last = took.last().unwrap().as_millis();
    println!(
        "{what}: created to running, {} CVMs: p50 {} ms, p90 {} ms, last {last} ms",
        took.len(),
        at(50),
        at(90)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventeen_hosts_are_not_delayed_by_three_bad_ones_and_all_converge() {
    let stage = Stage::with_hosts(20).await;
    let bad = [HANGS, REFUSES, AWAY];
    for host in bad {
        for what in ["update", "delete", "keep"] {
            stage.deploy(&format!("{what}-{host}"), host).await;
        }
    }
    for host in bad {
        for what in ["update", "delete", "keep"] {
            stage.until_running(&format!("{what}-{host}")).await;
        }
    }
    told("20 good hosts", &deploy_on_good(&stage, "before").await);

    // Provisioned before, so that they are accepted for hosts that turn bad.
    let mut creates = Vec::new();
    for host in bad {
        creates.push(stage.provision(&format!("create-{host}"), host).await);
    }
    stage.hang(HANGS, Manner::Hangs);
    stage.fail(REFUSES, FaultKind::Refuse);
    stage.fail(AWAY, FaultKind::Unreachable);
    for body in creates {
        stage.commit(body).await;
    }
    for host in bad {
        let path = format!("/cvms/update-{host}");
        stage.world.call("PATCH", &path, "2026-01-21", Some(json!({ "vcpu": 4 }))).await;
        stage.world.call("DELETE", &format!("/cvms/delete-{host}"), "", None).await.ok();
    }
    told("3 bad hosts of 20", &deploy_on_good(&stage, "during").await);

    // What waits says so; a deletion is not done while its VM may be there. A host that hangs is known to
    // be silent only when a call to it has run out of time, which here it never does.
    for host in [REFUSES, AWAY] {
        for what in ["create", "update", "delete"] {
            stage.until_waiting(&format!("{what}-{host}")).await;
        }
    }
    stage.world.clock.advance(Duration::from_mins(10));
    told("3 bad hosts of 20, ten minutes on", &deploy_on_good(&stage, "after").await);
    for host in bad {
        for what in ["create", "update", "delete"] {
            let name = format!("{what}-{host}");
            let cvm = stage.cvm(&name).await.expect("it is not gone");
            assert_eq!(cvm["in_progress"], true, "{cvm}");
        }
        let kept = stage.cvm(&format!("keep-{host}")).await.unwrap();
        assert_eq!((&kept["status"], &kept["in_progress"]), (&json!("running"), &json!(false)));
    }

    for host in bad {
        stage.heal(host);
    }
    for host in bad {
        for what in ["create", "update", "keep"] {
            stage.until_running(&format!("{what}-{host}")).await;
        }
        stage.until_gone(&format!("delete-{host}")).await;
        let cvm = stage.cvm(&format!("update-{host}")).await.unwrap();
        assert_eq!(cvm["resource"]["vcpu"], 4, "{cvm}");
        let expected = ["create", "keep", "update"].map(|what| format!("{what}-{host}"));
        assert_eq!(stage.vms(host), expected);
    }
    stage.end().await;
}
