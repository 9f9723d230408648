//! Requests to put an earlier revision in force again.

use serde::{Deserialize, Serialize};

use crate::num;

/// CVMs in one request at most.
pub const MAX_TARGETS: usize = 100;

/// `POST /cvms/{id}/revisions/{rev}/redeploy`; the body may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RedeployRequest {
    /// Sealed environment as hex, which replaces the present one whole; the present one stays if left
    /// out. Not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the variables in `encrypted_env`; those of the revision if left out (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Whether the present environment stays though the names of its variables are not the revision's.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub allow_env_mismatch: Option<bool>,
}

/// `POST /apps/{id}/revisions/{rev}/redeploy`; the body may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppRedeployRequest {
    /// On which CVMs, at most 100; may be left out where the app has one.
    // More is the server's to refuse.
    #[serde(default, deserialize_with = "targets", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub vm_uuids: Vec<String>,
    /// On every CVM of the app (Casemate only).
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Whether the present environment of a CVM stays though the names of its variables are not the
    /// revision's (Casemate only).
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub allow_env_mismatch: Option<bool>,
}

/// `null` is the same as left out.
fn targets<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> serde::de::Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of names")
        }
        fn visit_none<E>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }
        fn visit_unit<E>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }
        fn visit_some<D: serde::Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Vec<String>, D::Error> {
            num::names::<1000, _>(deserializer)
        }
    }
    deserializer.deserialize_option(Names)
}
