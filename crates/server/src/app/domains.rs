//! Whether custom domains lead to a CVM: what the DNS says, against what the gateway looks for.
//!
//! The DNS is asked while the client waits, within a few seconds and for a few domains at a time. A
//! record that could not be looked up is said to be just that, and does not count as right.

use casemate_api::{domain::DomainCheck, error::ErrorCode};
use casemate_core::{domain::CustomDomain, id::NodeId};
use casemate_engine::dns::{Dns, Kind, LookupError};
use casemate_store::cvms::Cvm;
use futures_util::future::join_all;

use super::{Caller, Ctx, Error, cvms, views};
use crate::view::{CaaView, DnsRecordView, DomainView, RecordType};

/// Domains in one request at most.
const MAX_DOMAINS: usize = 10;

/// Looks the domains up, in their order.
pub async fn diagnose(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    checks: &[DomainCheck],
) -> Result<Vec<DomainView>, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    if checks.len() > MAX_DOMAINS {
        let why = format!("must hold at most {MAX_DOMAINS} domains");
        return Err(Error::field(ErrorCode::InvalidRequest, "domains", why));
    }
    let mut parsed = Vec::with_capacity(checks.len());
    for (index, check) in checks.iter().enumerate() {
        let domain: CustomDomain = check
            .domain
            .parse()
            .map_err(|why| Error::invalid(&format!("domains.{index}.domain"), why))?;
        if check.port == 0 {
            return Err(Error::invalid(&format!("domains.{index}.port"), "must be 1 to 65535"));
        }
        parsed.push((check, domain));
    }
    let gateway = Gateway::of(ctx, cvm.node);
    let looks = parsed.iter().map(|(check, domain)| look(&*ctx.dns, &gateway, &cvm, check, domain));
    Ok(join_all(looks).await)
}

/// Where the names have to lead.
struct Gateway {
    /// Name that a domain has to stand for.
    name: String,
}

impl Gateway {
    fn of(ctx: &Ctx, node: NodeId) -> Self {
        let view = views::gateway(ctx, node);
        let name = view.cname.unwrap_or(view.base_domain);
        let bare = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
        Self { name: bare.to_ascii_lowercase() }
    }
}

async fn look(
    dns: &dyn Dns,
    gateway: &Gateway,
    cvm: &Cvm,
    check: &DomainCheck,
    domain: &CustomDomain,
) -> DomainView {
    let name = domain.to_string();
    let (alias, app, caa) = tokio::join!(
        dns.lookup(&name, Kind::Cname),
        app_record(dns, cvm, check.port, domain),
        dns.lookup(domain.authority(), Kind::Caa),
    );
    DomainView {
        domain: check.domain.clone(),
        port: check.port,
        records: vec![alias_record(name, gateway, alias), app],
        caa: caa.ok().map(|records| CaaView {
            note: (!records.is_empty()).then(|| {
                "Only the authorities named here may issue a certificate for the domain.".to_owned()
            }),
            records,
        }),
        note: Some(note(gateway, cvm, check.port)),
    }
}

fn alias_record(
    name: String,
    gateway: &Gateway,
    answer: Result<Vec<String>, LookupError>,
) -> DnsRecordView {
    let expected = gateway.name.clone();
    let below = format!(".{expected}");
    let (found, note) = match answer {
        Ok(names) => (names.into_iter().next(), None),
        Err(why) => (None, Some(why.to_string())),
    };
    let is_valid = found.as_ref().is_some_and(|to| *to == expected || to.ends_with(&below));
    let missing = "Make the domain an alias of the gateway. A domain that has other records, as the \
        one at the top of a zone, cannot be an alias: use a name below it.";
    DnsRecordView {
        kind: RecordType::Cname,
        name,
        expected,
        note: note.or_else(|| (!is_valid).then(|| missing.to_owned())),
        found,
        is_valid,
        is_deprecated: false,
    }
}

async fn app_record(dns: &dyn Dns, cvm: &Cvm, port: u16, domain: &CustomDomain) -> DnsRecordView {
    let name = domain.app_record();
    let answer = dns.lookup(&name, Kind::Txt).await;
    let record = text_record(name, cvm, port, answer);
    let Some(old) = domain.old_app_record().filter(|_| !record.is_valid) else { return record };
    let answer = dns.lookup(&old, Kind::Txt).await;
    let before = text_record(old, cvm, port, answer);
    if !before.is_valid {
        return record;
    }
    let note = format!("This name of the record is an old one: call it {}.", record.name);
    DnsRecordView { is_deprecated: true, note: Some(note), ..before }
}

fn text_record(
    name: String,
    cvm: &Cvm,
    port: u16,
    answer: Result<Vec<String>, LookupError>,
) -> DnsRecordView {
    let expected = format!("{}:{port}", cvm.spec.app_id);
    let instance = cvm.instance_id.map(|id| format!("{id}:{port}"));
    let (texts, note) = match answer {
        Ok(texts) => (texts, None),
        Err(why) => (Vec::new(), Some(why.to_string())),
    };
    let right = texts.iter().find(|text| **text == expected || Some(*text) == instance.as_ref());
    let is_valid = right.is_some();
    DnsRecordView {
        kind: RecordType::Txt,
        name,
        note: note.or_else(|| {
            (!is_valid).then(|| "Add this record with the value that is expected.".to_owned())
        }),
        found: right.or_else(|| texts.first()).cloned(),
        expected,
        is_valid,
        is_deprecated: false,
    }
}

/// What keeps the domain from working with all its records right: always something so far, because
/// the embedded gateway knows names of its own only.
fn note(gateway: &Gateway, cvm: &Cvm, port: u16) -> String {
    let facts = &cvm.spec.facts;
    if !facts.gateway_enabled {
        return "The CVM has its gateway switched off.".to_owned();
    }
    if !views::published(cvm).contains(&port) {
        return format!("The compose file does not publish port {port}.");
    }
    format!(
        "The embedded gateway answers for names below {} only: in front of it, a proxy has to turn \
         the domain into such a name.",
        gateway.name
    )
}
