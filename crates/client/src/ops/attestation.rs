use casemate_api::attestation::{
    AppAttestations, AttestedNode, CvmAttestation, EvidencePolicy, EvidenceRequest,
    EvidenceRequestState, EvidenceState, QuoteCollateral, TcbEvaluation, VerifiedQuote,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{error::Error, http::Client};

/// Evidence of guests.
impl Client {
    /// `GET /cvms/{id}/attestation`: the newest evidence. A CVM that is down has none; `error` says so.
    pub async fn attestation(&self, cvm: &str) -> Result<CvmAttestation, Error> {
        self.get(&["cvms", cvm, "attestation"], &[]).await
    }

    /// `GET /apps/{id}/attestations`.
    pub async fn app_attestations(&self, app: &str) -> Result<AppAttestations, Error> {
        self.get(&["apps", app, "attestations"], &[]).await
    }

    /// `GET /apps/{id}/attestations/tcb-evaluation`.
    pub async fn tcb_evaluation(&self, app: &str) -> Result<TcbEvaluation, Error> {
        self.get(&["apps", app, "attestations", "tcb-evaluation"], &[]).await
    }

    /// `POST /attestations/verify`: a quote, as hex digits, verified by the server.
    pub async fn verify_quote(&self, hex: &str) -> Result<VerifiedQuote, Error> {
        let body = json!({ "hex": hex });
        self.post(&["attestations", "verify"], Some(&body)).await
    }

    /// `GET /attestations/recent`: quotes that were uploaded last. `limit`: 1 to 100.
    pub async fn recent_quotes(&self, skip: u32, limit: u32) -> Result<Vec<VerifiedQuote>, Error> {
        let query = [("skip", skip.to_string()), ("limit", limit.to_string())];
        self.get(&["attestations", "recent"], &query).await
    }

    /// `GET /attestations/view/{checksum}`. The checksum is the SHA-256 of a quote, hex.
    pub async fn quote(&self, checksum: &str) -> Result<VerifiedQuote, Error> {
        self.get(&["attestations", "view", checksum], &[]).await
    }

    /// `GET /attestations/collateral/{checksum}`.
    pub async fn quote_collateral(&self, checksum: &str) -> Result<QuoteCollateral, Error> {
        self.get(&["attestations", "collateral", checksum], &[]).await
    }

    /// `GET /attestations/nodes`.
    pub async fn attested_nodes(&self) -> Result<Vec<AttestedNode>, Error> {
        self.get(&["attestations", "nodes"], &[]).await
    }

    /// `GET /attestations/device_ids`.
    pub async fn device_ids(&self) -> Result<Vec<String>, Error> {
        self.get(&["attestations", "device_ids"], &[]).await
    }

    /// `POST /casemate/cvms/{id}/attestation/requests`: asks the guest for new evidence. `nonce`: 1 to 64 bytes
    /// of hex. Casemate only.
    pub async fn request_evidence(
        &self,
        cvm: &str,
        nonce: Option<&str>,
    ) -> Result<EvidenceRequestState, Error> {
        let body = EvidenceRequest { nonce: nonce.map(str::to_owned) };
        self.post(&["casemate", "cvms", cvm, "attestation", "requests"], Some(&body)).await
    }

    /// `GET /casemate/cvms/{id}/attestation/requests/{request}`. Casemate only.
    pub async fn evidence_request(
        &self,
        cvm: &str,
        request: &str,
    ) -> Result<EvidenceRequestState, Error> {
        self.get(&["casemate", "cvms", cvm, "attestation", "requests", request], &[]).await
    }

    /// Waits until a request for evidence is answered. Ends only with the answer or an error of a call: bound
    /// it in time. Casemate only.
    pub async fn wait_for_evidence(
        &self,
        cvm: &str,
        request: &str,
    ) -> Result<EvidenceRequestState, Error> {
        loop {
            let state = self.evidence_request(cvm, request).await?;
            if state.state != EvidenceState::Pending {
                return Ok(state);
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    /// `GET /casemate/cvms/{id}/attestation/bundle`: the newest evidence, or that with this checksum, in the form
    /// of `casemate verify`. Casemate only.
    pub async fn attestation_bundle(
        &self,
        cvm: &str,
        checksum: Option<&str>,
    ) -> Result<Value, Error> {
        let query: Vec<(&str, String)> =
            checksum.map(|checksum| ("checksum", checksum.to_owned())).into_iter().collect();
        self.get(&["casemate", "cvms", cvm, "attestation", "bundle"], &query).await
    }

    /// `GET /casemate/apps/{id}/evidence-policy`. Casemate only.
    pub async fn evidence_policy(&self, app: &str) -> Result<EvidencePolicy, Error> {
        self.get(&["casemate", "apps", app, "evidence-policy"], &[]).await
    }

    /// `PUT /casemate/apps/{id}/evidence-policy`: whether instances need accepted evidence to get requests for
    /// the app. Casemate only.
    pub async fn set_evidence_policy(
        &self,
        app: &str,
        policy: &EvidencePolicy,
    ) -> Result<EvidencePolicy, Error> {
        let parts = ["casemate", "apps", app, "evidence-policy"];
        self.ask(self.changing(Method::PUT, &parts)?.json(policy)?).await
    }

    /// `GET /casemate/attestation/root`: the certificate under which guests without a TEE sign their quotes,
    /// PEM. Casemate only.
    pub async fn development_root(&self) -> Result<String, Error> {
        let root: casemate_api::attestation::DevelopmentRoot =
            self.get(&["casemate", "attestation", "root"], &[]).await?;
        Ok(root.certificate)
    }
}
