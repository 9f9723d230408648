//! DNS records set by a test.

#![expect(clippy::unwrap_used, reason = "tests panic, their helpers too")]

use std::{collections::BTreeMap, sync::Mutex};

use casemate_engine::dns::{Dns, Kind, LookupError};

/// Answers by name and record type.
type DnsAnswers = BTreeMap<(String, Kind), Result<Vec<String>, LookupError>>;

/// A resolver with fixed answers.
#[derive(Debug, Default)]
pub struct FakeDns(Mutex<DnsAnswers>);

impl FakeDns {
    /// Sets the records of a name.
    pub fn say(&self, name: &str, kind: Kind, answer: &[&str]) {
        let answer = answer.iter().map(|&text| text.to_owned()).collect();
        self.0.lock().unwrap().insert((name.to_owned(), kind), Ok(answer));
    }

    /// Makes look-ups of a name fail.
    pub fn fail(&self, name: &str, kind: Kind) {
        let error = LookupError("no answer in time".to_owned());
        self.0.lock().unwrap().insert((name.to_owned(), kind), Err(error));
    }
}

#[async_trait::async_trait]
impl Dns for FakeDns {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Vec<String>, LookupError> {
        let said = self.0.lock().unwrap();
        said.get(&(name.to_owned(), kind)).cloned().unwrap_or(Ok(Vec::new()))
    }
}
