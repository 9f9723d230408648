//! `POST /cvms/{id}/customize-domain-diagnose`: does a custom domain lead to the CVM?

use serde::{Deserialize, Serialize};

use crate::{body::object, num};

/// Which domains.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiagnoseRequest {
    /// The domains; the server limits how many.
    #[serde(deserialize_with = "object::list")]
    pub domains: Vec<DomainCheck>,
}

/// A domain and the port of the CVM that it should lead to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainCheck {
    /// `app.example.com`; not checked here.
    pub domain: String,
    /// Port of the app that the domain leads to, 1–65535; 0 is refused by the server.
    #[serde(deserialize_with = "num::int")]
    pub port: u16,
}
