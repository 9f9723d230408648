//! Whether custom domains lead to a CVM; the same in every version.

use casemate_api::reply::{Caa, Diagnosis, DnsRecord, DomainDiagnosis};

use crate::view::{CaaView, DnsRecordView, DomainView};

/// `POST /cvms/{id}/customize-domain-diagnose`.
pub fn diagnosis(views: &[DomainView]) -> Diagnosis {
    Diagnosis { results: views.iter().map(domain).collect() }
}

fn domain(view: &DomainView) -> DomainDiagnosis {
    DomainDiagnosis {
        domain: view.domain.clone(),
        port: view.port,
        records: view.records.iter().map(record).collect(),
        is_valid: view.is_valid(),
        caa_check: view.caa.as_ref().map(caa),
        note: view.note.clone(),
    }
}

fn record(view: &DnsRecordView) -> DnsRecord {
    DnsRecord {
        record_type: view.kind.as_str().to_owned(),
        query_name: view.name.clone(),
        expected_value: view.expected.clone(),
        actual_value: view.found.clone(),
        is_valid: view.is_valid,
        is_deprecated: view.is_deprecated,
        warning_message: view.note.clone(),
    }
}

fn caa(view: &CaaView) -> Caa {
    let accounturi = view.records.iter().find_map(|record| account_uri(record));
    Caa {
        caa_records: view.records.clone(),
        is_match: accounturi.is_none(),
        accounturi,
        acme_fetches: Vec::new(),
        expected_uri: None,
        info_message: view.note.clone(),
    }
}

/// The account that a CAA record is limited to: `letsencrypt.org; accounturi=https://…`.
fn account_uri(record: &str) -> Option<String> {
    let (_, rest) = record.split_once("accounturi=")?;
    let uri = rest.split([';', '"', ' ']).next()?;
    Some(uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_in_a_caa_record_is_found() {
        let check = |records: &[&str]| {
            let records = records.iter().map(|&record| record.to_owned()).collect();
            caa(&CaaView { records, note: None })
        };
        let open = check(&["0 issue \"letsencrypt.org\""]);
        assert_eq!((open.accounturi, open.is_match), (None, true));
        let uri = "https://acme.test/acct/1";
        let bound = check(&[
            "0 iodef \"mailto:a@b\"",
            &format!("0 issue \"letsencrypt.org; accounturi={uri}; validationmethods=dns-01\""),
        ]);
        assert_eq!((bound.accounturi.as_deref(), bound.is_match), (Some(uri), false));
    }
}
