//! Human-readable output of a CVM.

use casemate_api::reply::{CvmInfo, CvmState, Tee};

use crate::{
    table::{self, or_none},
    ui,
};

/// Header of [`row`].
pub const HEADER: [&str; 6] = ["name", "id", "status", "node", "tee", "url"];

/// A CVM as a table row.
pub fn row(cvm: &CvmInfo) -> Vec<String> {
    let node = cvm.node_info.as_ref();
    vec![
        cvm.name.clone(),
        cvm.id.clone(),
        cvm.status.to_string(),
        or_none(node.and_then(|node| node.name.as_ref())),
        or_none(tee(cvm).map(Tee::as_str)),
        or_none(urls(cvm).first()),
    ]
}

/// The URLs of a CVM, one for each published port.
pub fn urls(cvm: &CvmInfo) -> Vec<String> {
    let endpoints = cvm.endpoints.as_ref().or(cvm.public_urls.as_ref());
    endpoints.into_iter().flatten().map(|endpoint| endpoint.app.clone()).collect()
}

/// The TEE of the CVM; `None` if the server does not report it.
pub fn tee(cvm: &CvmInfo) -> Option<Tee> {
    cvm.node_info.as_ref().and_then(|node| node.tee)
}

/// A warning if no TEE protects the CVM.
pub fn warning(cvm: &CvmInfo) -> Option<String> {
    let node = cvm.node_info.as_ref().and_then(|node| node.name.as_deref()).unwrap_or("its node");
    match tee(cvm)? {
        Tee::None => Some(format!(
            "warning: {node} has no TEE: nothing protects this CVM from its host. For development only."
        )),
        Tee::Simulated => Some(format!(
            "warning: the TEE of {node} is simulated: nothing protects this CVM from its host. On a sim node no container runs."
        )),
        Tee::Tdx | Tee::SevSnp => None,
    }
}

/// A state in a few words: `starting, pulling images`.
pub fn state(state: &CvmState) -> String {
    let comes_up = matches!(state.status.as_str(), "starting" | "restarting" | "updating");
    // `done` is also the progress of a guest that is up or going down.
    let boot = state.boot_progress.as_ref().filter(|text| comes_up && *text != "done");
    let stays_down = matches!(state.status.as_str(), "stopped" | "deleted" | "error");
    let detail = state.shutdown_progress.as_ref().filter(|_| !stays_down).or(boot);
    match detail.filter(|text| !text.is_empty()) {
        Some(detail) => format!("{}, {}", state.status, ui::clean(detail)),
        None => state.status.to_string(),
    }
}

/// Prints the details of one CVM.
pub fn print_details(cvm: &CvmInfo) {
    let node = cvm.node_info.as_ref();
    let resource = &cvm.resource;
    let size = format!(
        "{} ({} vCPU, {} GB memory, {} GB disk)",
        or_none(resource.instance_type.as_ref()),
        or_none(resource.vcpu),
        or_none(resource.memory_in_gb),
        or_none(resource.disk_in_gb),
    );
    let mut facts = vec![
        ("name", cvm.name.clone()),
        ("id", cvm.id.clone()),
        ("status", cvm.status.to_string()),
        ("app id", or_none(cvm.app_id.as_ref())),
        ("instance id", or_none(cvm.instance_id.as_ref())),
        ("uuid", or_none(cvm.vm_uuid.as_ref())),
        ("node", or_none(node.and_then(|node| node.name.as_ref()))),
        ("tee", or_none(tee(cvm).map(Tee::as_str))),
        ("size", size),
        ("image", or_none(cvm.os.as_ref().and_then(|os| os.name.as_ref()))),
        ("compose hash", or_none(cvm.compose_hash.as_ref())),
        ("created", or_none(cvm.created_at.as_ref())),
    ];
    if let Some(progress) = &cvm.progress {
        let text = format!(
            "{} since {}",
            or_none(progress.target.as_ref()),
            or_none(progress.started_at.as_ref())
        );
        facts.push(("operation", text));
    }
    if let Some(failure) = &cvm.failure {
        facts.push(("failure", format!("{} ({}, {})", failure.cause, failure.code, failure.at)));
    }
    facts.extend(urls(cvm).into_iter().map(|url| ("url", url)));
    table::facts(&facts);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cvm(tee: Option<&str>) -> CvmInfo {
        serde_json::from_value(serde_json::json!({
            "id": "cvm_1", "name": "my-app", "status": "running",
            "resource": {}, "node_info": {"name": "n-1", "tee": tee},
            "endpoints": [{"app": "http://a", "instance": "http://i"}],
        }))
        .unwrap()
    }

    #[test]
    fn what_nothing_protects_says_so() {
        assert!(warning(&cvm(Some("none"))).unwrap().contains("n-1 has no TEE"));
        assert!(warning(&cvm(Some("simulated"))).is_some());
        assert_eq!(warning(&cvm(Some("tdx"))), None);
        assert_eq!(warning(&cvm(None)), None, "Phala Cloud does not say");
        assert_eq!(row(&cvm(None))[5], "http://a");
    }
}
