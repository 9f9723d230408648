//! The result of a check of custom domains.

/// The result for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// As sent by the client.
    pub domain: String,
    /// As sent by the client.
    pub port: u16,
    /// The checked records.
    pub records: Vec<DnsRecordView>,
    /// CAA records of the domain; `None`: the lookup failed.
    pub caa: Option<CaaView>,
    /// A note about the domain itself.
    pub note: Option<String>,
}

impl DomainView {
    /// Whether all records are valid.
    pub fn is_valid(&self) -> bool {
        self.records.iter().all(|record| record.is_valid)
    }
}

/// A required record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecordView {
    pub kind: RecordType,
    /// Name of the record.
    pub name: String,
    /// Expected value.
    pub expected: String,
    /// Value found; `None`: no record, or the lookup failed.
    pub found: Option<String>,
    /// Whether the value is as expected.
    pub is_valid: bool,
    /// Whether it works but has a newer name.
    pub is_deprecated: bool,
    /// An explanation or what to do.
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    Cname,
    Txt,
}

impl RecordType {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        }
    }
}

/// The CAs that may issue certificates for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaaView {
    /// The records as text; empty: any CA.
    pub records: Vec<String>,
    /// An explanation.
    pub note: Option<String>,
}
