//! `casemate cvms ps`, `stats` and `network`: what a running guest tells of itself.

use std::time::Duration;

use casemate_api::reply::{Container, SystemInfo};
use indicatif::{BinaryBytes, HumanDuration};

use crate::{
    cli::Global,
    connect,
    fail::Fail,
    table::{self, or_none},
    ui,
};

/// A guest that did not answer is a remark; it is no failure that a CVM is down.
fn note_offline(cvm: &str, is_online: bool, error: Option<&String>) {
    if !is_online {
        let why = error.map_or("it is not up", String::as_str);
        ui::print_note(format!("the guest of {cvm} tells nothing: {why}"));
    }
}

pub(super) async fn containers(global: &Global, cvm: &str) -> Result<(), Fail> {
    let found = connect::client(global)?.composition(cvm).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    note_offline(cvm, found.is_online, found.error.as_ref());
    let row = |one: &Container| {
        let names = one.names.iter().map(|name| name.trim_start_matches('/'));
        vec![
            names.collect::<Vec<_>>().join(", "),
            one.image.clone(),
            one.state.clone(),
            one.status.clone(),
            one.id.chars().take(12).collect(),
        ]
    };
    let rows = found.containers.iter().flatten().map(row).collect();
    table::print(&["name", "image", "state", "status", "id"], rows, "no containers");
    Ok(())
}

pub(super) async fn stats(global: &Global, cvm: &str) -> Result<(), Fail> {
    let found = connect::client(global)?.stats(cvm).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    note_offline(cvm, found.is_online, found.error.as_ref());
    if let Some(system) = &found.sysinfo {
        table::facts(&facts(system));
    }
    Ok(())
}

fn facts(system: &SystemInfo) -> Vec<(&'static str, String)> {
    let used = |used: u64, total: u64| format!("{} of {}", BinaryBytes(used), BinaryBytes(total));
    let load = |load: u32| format!("{}.{:02}", load / 100, load % 100);
    let loads = [system.loadavg_one, system.loadavg_five, system.loadavg_fifteen].map(load);
    let mut facts = vec![
        ("os", format!("{} {}", system.os_name, system.os_version)),
        ("kernel", system.kernel_version.clone()),
        ("cpu", format!("{} × {}", system.num_cpus, system.cpu_model)),
        ("load", loads.join(" ")),
        ("memory", used(system.used_memory, system.total_memory)),
        ("swap", used(system.used_swap, system.total_swap)),
        ("uptime", HumanDuration(Duration::from_secs(system.uptime)).to_string()),
    ];
    facts.extend(system.disks.iter().map(|disk| {
        let taken = disk.total_size.saturating_sub(disk.free_size);
        ("disk", format!("{} {}", disk.mount_point, used(taken, disk.total_size)))
    }));
    facts
}

pub(super) async fn network(global: &Global, cvm: &str) -> Result<(), Fail> {
    let found = connect::client(global)?.network(cvm).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    note_offline(cvm, found.is_online, found.error.as_ref());
    let mut facts = vec![
        ("internal ip", or_none(found.internal_ip.as_ref())),
        ("last handshake", or_none(found.latest_handshake.as_ref())),
    ];
    let urls = found.public_urls.iter().flatten();
    facts.extend(urls.map(|url| ("url", url.app.clone())));
    table::facts(&facts);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_loads_are_for_people() {
        let system = SystemInfo {
            num_cpus: 2,
            total_memory: 2 << 30,
            used_memory: 512 << 20,
            loadavg_one: 107,
            ..SystemInfo::default()
        };
        let facts = facts(&system);
        let fact = |name| facts.iter().find(|(found, _)| *found == name).unwrap().1.clone();
        assert_eq!(fact("memory"), "512.00 MiB of 2.00 GiB");
        assert_eq!(fact("load"), "1.07 0.00 0.00");
    }
}
