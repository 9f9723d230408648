//! Whether custom domains lead to a CVM.

/// What was found for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// The domain as it was sent.
    pub domain: String,
    /// The port as it was sent.
    pub port: u16,
    /// What was looked for, record by record.
    pub records: Vec<DnsRecordView>,
    /// What limits who may issue its certificate; `None`: could not be looked up.
    pub caa: Option<CaaView>,
    /// What to know about the domain beyond its records.
    pub note: Option<String>,
}

impl DomainView {
    /// Whether every record is as it must be.
    pub fn is_valid(&self) -> bool {
        self.records.iter().all(|record| record.is_valid)
    }
}

/// A record that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecordView {
    /// Which kind.
    pub kind: RecordType,
    /// Name that was asked for.
    pub name: String,
    /// What it should say.
    pub expected: String,
    /// What it says; `None`: there is none, or it could not be looked up.
    pub found: Option<String>,
    /// Whether it says what it should.
    pub is_valid: bool,
    /// Whether it works and has a newer name.
    pub is_deprecated: bool,
    /// What to know or to do about it.
    pub note: Option<String>,
}

/// Kind of a DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// Another name for a name.
    Cname,
    /// Text.
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

/// Who may issue certificates for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaaView {
    /// The records as text; none: everybody.
    pub records: Vec<String>,
    /// What to know about them.
    pub note: Option<String>,
}
