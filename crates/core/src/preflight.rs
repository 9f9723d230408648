//! Pre-flight of a node: what an operator should know or mend before CVMs run there. Facts are gathered by the
//! node's watch; [`findings`] decides what they mean.
//!
//! Absent on purpose: the free disk of the host, which dstack-vmm does not report, and the TEE of a host, which
//! only an attested guest proves.

mod facts;
mod finding;
#[cfg(test)]
mod tests;

pub use self::facts::{
    Anonymous, Facts, GatewayProbe, ImageFact, KmsProbe, MEMORY_TEE_SNP, Probe, Version,
};
pub use self::finding::{Check, Finding, Level};
use crate::image::published_hash;

/// Seconds by which the clock of a host may differ.
const CLOCK_TOLERANCE_S: i64 = 30;
/// From here on guests ask for a token before they show logs.
const GUEST_TOKENS: Version = Version(0, 6, 3);
/// From here on a KMS refuses SEV-SNP without published minimum TCBs.
const SNP_MINIMUMS: Version = Version(0, 6, 6);
/// The oldest and the newest build that Casemate was made for.
const KNOWN_BUILDS: [(Version, Version); 2] =
    [(Version(0, 5, 8), Version(0, 5, 16)), (Version(0, 6, 0), Version(0, 6, 6))];

/// All findings about a node, in the order of [`Check::ALL`]. A node that does not answer has one: nothing is
/// concluded from silence.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    if let Some(why) = &facts.silence {
        return vec![Finding::problem(
            Check::Reachable,
            format!("it does not answer: {why}"),
            "Start its software, and check its address and credential: casemate admin node show.",
        )];
    }
    let mut found = vec![Finding::ok(Check::Reachable, "it answers")];
    if let Some(probe) = &facts.probe {
        found.push(credential(&probe.anonymous));
        found.push(version(facts));
        found.push(features(probe));
    }
    found.push(capacity(facts));
    found.extend(images(facts));
    found.push(tee(facts));
    if let Some(probe) = &facts.probe {
        found.push(device(facts));
        found.extend(kms(&probe.kms));
        found.extend(gateway(facts, &probe.gateway));
        found.extend(probe.clock_skew_s.map(clock));
        found.push(disk(facts));
        found.extend(snp_minimums(facts));
        found.extend(guest_token(facts, probe));
    }
    found
}

fn credential(anonymous: &Anonymous) -> Finding {
    match anonymous {
        Anonymous::Refused => {
            Finding::ok(Check::Credential, "a call without a credential is refused")
        }
        Anonymous::Answered => Finding::problem(
            Check::Credential,
            "the VMM answers a call without a credential: everybody who reaches it can run and remove VMs",
            "Set [auth] enabled = true and a token in vmm.toml, and give Casemate its file with --token-file.",
        ),
        Anonymous::SocketOnly => Finding::ok(
            Check::Credential,
            "the VMM asks for no credential; its unix socket has only local users",
        ),
        Anonymous::Unknown { why } => Finding::warning(
            Check::Credential,
            format!("whether a call without a credential is refused is not known: {why}"),
            "Check the node again.",
        ),
    }
}

fn version(facts: &Facts) -> Finding {
    let text = &facts.version;
    let Some(version) = Version::parse(text) else {
        return Finding::warning(
            Check::Version,
            format!("its version is {text:?}, which is no version"),
            "Casemate uses what the build says it has. Use a release of dstack 0.5.8 or later.",
        );
    };
    let is_known =
        KNOWN_BUILDS.iter().any(|(oldest, newest)| (*oldest..=*newest).contains(&version));
    if is_known {
        Finding::ok(Check::Version, format!("dstack-vmm {text}"))
    } else if version < Version(0, 5, 8) {
        Finding::problem(
            Check::Version,
            format!("dstack-vmm {text} is older than 0.5.8"),
            "Update dstack-vmm to 0.5.8 or later.",
        )
    } else {
        Finding::warning(
            Check::Version,
            format!(
                "dstack-vmm {text} is not one that Casemate was tested with (0.5.8 to 0.5.16, 0.6.0 to 0.6.6)"
            ),
            "Hold it to the list: cargo xtask test --dstack URL --token TOKEN.",
        )
    }
}

fn features(probe: &Probe) -> Finding {
    if !probe.missing.is_empty() {
        return Finding::warning(
            Check::Features,
            format!("the build has no {}", probe.missing.join(", ")),
            "CVMs that need it are refused by name. Update dstack-vmm to have it.",
        );
    }
    let how = if probe.document { "its document names" } else { "of builds without a document" };
    Finding::ok(
        Check::Features,
        format!("it has all fields and methods that Casemate uses ({how} them)"),
    )
}

fn capacity(facts: &Facts) -> Finding {
    let amount = &facts.capacity;
    let text = format!(
        "{} CVMs, {} vCPU, {} MB memory, {} GB disk",
        amount.slots, amount.vcpu, amount.memory_mb, amount.disk_gb
    );
    let empty = [amount.slots, amount.vcpu, amount.memory_mb, amount.disk_gb].contains(&0);
    if empty {
        return Finding::problem(
            Check::Capacity,
            format!("nothing fits: {text}"),
            "Raise the limits of the node, or max_cvm_number and max_allocable_* in vmm.toml.",
        );
    }
    let enforced =
        if facts.probe.is_some() { "; Casemate keeps to it, dstack-vmm does not" } else { "" };
    Finding::ok(Check::Capacity, format!("{text}{enforced}"))
}

fn images(facts: &Facts) -> Vec<Finding> {
    if facts.images.is_empty() {
        return vec![Finding::problem(
            Check::Images,
            "it has no OS image",
            "Put an image into the image directory of the host.",
        )];
    }
    if facts.probe.is_none() {
        let names: Vec<&str> = facts.images.iter().map(|image| image.name.as_str()).collect();
        return vec![Finding::ok(Check::Images, names.join(", "))];
    }
    facts.images.iter().map(image).collect()
}

fn image(image: &ImageFact) -> Finding {
    let name = &image.name;
    match (&image.os_image_hash, published_hash(name)) {
        (Some(has), Some(published)) if has != published => Finding::problem(
            Check::Images,
            format!("{name} booted with os_image_hash {has}; the published one is {published}"),
            "Replace the image directory by the published release.",
        ),
        (Some(has), Some(_)) => Finding::ok(Check::Images, format!("{name}: {has}, as published")),
        (Some(has), None) => Finding::ok(
            Check::Images,
            format!("{name}: {has}, as a guest reported it; no published hash is known here"),
        ),
        (None, Some(published)) => Finding::ok(
            Check::Images,
            format!("{name}: published as {published}; compared after the first boot"),
        ),
        (None, None) => {
            Finding::ok(Check::Images, format!("{name}: its hash is known after the first boot"))
        }
    }
}

fn tee(facts: &Facts) -> Finding {
    match facts.tee.as_str() {
        "none" | "simulated" => Finding::warning(
            Check::Tee,
            format!("TEE {}: whoever runs the host can read the memory of its CVMs", facts.tee),
            "Use it for what may be read there.",
        ),
        tee => Finding::ok(
            Check::Tee,
            format!("{tee}, as its operator says; only an attested guest proves it"),
        ),
    }
}

fn device(facts: &Facts) -> Finding {
    match &facts.device_id {
        Some(id) => Finding::ok(Check::Device, id.to_string()),
        None => Finding::warning(
            Check::Device,
            "its device id is unknown: dstack-vmm does not tell it, and neither do guests on TDX",
            "Set it with casemate admin node device; the denial of kms_webhook names the one that asked. \
             Without it that webhook gives no keys here, and apps that name devices do not boot.",
        ),
    }
}

fn kms(probe: &KmsProbe) -> Vec<Finding> {
    match probe {
        KmsProbe::NotConfigured => vec![Finding::warning(
            Check::Kms,
            "no KMS is configured on this node: its guests get no keys from one",
            "Set kms_url and [cvm] kms_urls in vmm.toml.",
        )],
        KmsProbe::Silent { why } => vec![Finding::problem(
            Check::Kms,
            format!("the KMS of the node does not answer the VMM: {why}"),
            "Start the KMS and its authorisation webhook, and check kms_url in vmm.toml.",
        )],
        KmsProbe::NotAsked { why } => vec![Finding::warning(
            Check::Kms,
            format!("whether the KMS answers is not known: {why}"),
            "Boot a CVM with a KMS: it shows whether it gets keys.",
        )],
        KmsProbe::Answers { host, guests } if !guests.is_empty() && !guests.contains(host) => {
            vec![Finding::warning(
                Check::Kms,
                format!("{host} answers the VMM; its guests ask {}", guests.join(", ")),
                "Make sure that these addresses are of one KMS: otherwise variables are sealed to a key that \
                 guests do not get.",
            )]
        }
        KmsProbe::Answers { host, .. } => {
            vec![Finding::ok(Check::Kms, format!("{host} answers the VMM"))]
        }
    }
}

fn gateway(facts: &Facts, probe: &GatewayProbe) -> Vec<Finding> {
    match probe {
        GatewayProbe::NotConfigured => vec![Finding::warning(
            Check::Gateway,
            "no gateway is configured on this node: its apps have no URL",
            "Set [gateway] base_domain and [cvm] gateway_urls in vmm.toml, or use host ports.",
        )],
        GatewayProbe::Silent { url, why } => vec![Finding::warning(
            Check::Gateway,
            format!("the gateway {url} does not answer this server: {why}"),
            "If guests reach it from the host, nothing is wrong. Otherwise start it, or correct \
             [cvm] gateway_urls in vmm.toml.",
        )],
        GatewayProbe::Answers { url, base_domain, external_port, version } => {
            let (domain, port) = &facts.gateway;
            let mut found = Vec::new();
            if base_domain != domain || external_port != port {
                found.push(Finding::problem(
                    Check::Gateway,
                    format!(
                        "the gateway {url} serves {base_domain} on port {external_port}, and the node says \
                         {domain} on port {port}"
                    ),
                    "Correct [gateway] base_domain and port in vmm.toml: URLs of apps are made from them.",
                ));
            }
            let gateway = Version::parse(version);
            let newest =
                facts.images.iter().filter_map(|image| Version::parse(&image.version)).max();
            if newest >= Some(GUEST_TOKENS) && gateway.is_some_and(|gateway| gateway < GUEST_TOKENS)
            {
                found.push(Finding::problem(
                    Check::Gateway,
                    format!(
                        "the gateway {url} is {version}: it probes guests of 0.6.3 and later without a token, \
                         and takes them out of rotation"
                    ),
                    "Update all nodes of the gateway to 0.6.3 or later before the images.",
                ));
            }
            if found.is_empty() {
                found.push(Finding::ok(Check::Gateway, format!("{url} serves {base_domain}")));
            }
            found
        }
    }
}

fn clock(skew_s: i64) -> Finding {
    if skew_s.abs() <= CLOCK_TOLERANCE_S {
        return Finding::ok(Check::Clock, format!("it agrees within {CLOCK_TOLERANCE_S} s"));
    }
    let way = if skew_s > 0 { "ahead of" } else { "behind" };
    Finding::problem(
        Check::Clock,
        format!("the clock of the host is {} s {way} that of this server", skew_s.abs()),
        "Synchronise both with NTP: certificates and attestations have times.",
    )
}

fn disk(facts: &Facts) -> Finding {
    Finding::ok(
        Check::Disk,
        format!(
            "{} GB are the limit of its operator; dstack-vmm reports neither the size of the disk nor what is free",
            facts.capacity.disk_gb
        ),
    )
}

/// A build says nothing of the version of its KMS, so the newest image stands for it: a fleet updates its KMS
/// before its images.
fn snp_minimums(facts: &Facts) -> Option<Finding> {
    if facts.tee != MEMORY_TEE_SNP {
        return None;
    }
    let versions = facts.images.iter().map(|image| image.version.as_str());
    let versions = versions.chain([facts.version.as_str()]).filter_map(Version::parse);
    (versions.max() >= Some(SNP_MINIMUMS)).then(|| {
        Finding::warning(
            Check::SnpMinimums,
            "a dstack-kms of 0.6.6 and later refuses SEV-SNP guests until minimum TCBs are published; \
             whether they are is not visible here",
            "Publish them (setSevSnpTcbRequirements, or sev_snp_tcb_requirements_file of the KMS), and let the \
             KMS reach AMD's revocation list.",
        )
    })
}

fn guest_token(facts: &Facts, probe: &Probe) -> Option<Finding> {
    let versions = facts.images.iter().filter_map(|image| Version::parse(&image.version));
    let asks = versions.max() >= Some(GUEST_TOKENS);
    match (asks, probe.guest_token) {
        (true, false) => Some(Finding::warning(
            Check::GuestToken,
            "guests of 0.6.3 and later show logs only to a token, and there is none",
            "Give one with --guest-token-file. Without it the serial log is shown.",
        )),
        (_, true) => Some(Finding::ok(Check::GuestToken, "there is a token for the API of guests")),
        (false, false) => None,
    }
}
