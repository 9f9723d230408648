//! What is asked about the contracts that govern apps.

use casemate_core::id::{Address, ComposeHash, NodeId};
use serde::{Deserialize, Serialize};

use crate::{cvm_patch::CvmPatch, num, provision::ProvisionRequest};

/// `POST /governance/plan`: which transactions are missing before something boots.
///
/// It is about a CVM (`cvm_id`), an app (`app_id`), or a new app (`provision`, or `kms` with
/// `compose_hash` and a node).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GovernancePlanRequest {
    /// A CVM, by any of its ids or its name.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub cvm_id: Option<String>,
    /// An app; with `kms` also one whose contract is there and that nobody has committed yet.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// A KMS by id, slug, address of its contract, or kind.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub kms: Option<String>,
    /// The document that is to boot; that of the CVM or app if left out.
    #[serde(
        default,
        deserialize_with = "num::opt_compose_hash",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// A change of the CVM, instead of a hash: as `PATCH /cvms/{id}` takes it. It is not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Box<CvmPatch>>,
    /// A deployment, as `POST /cvms/provision` takes it. It is not prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Box<ProvisionRequest>>,
    /// The nodes on which it is to boot; those of the CVM or app if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<i64>>))]
    pub node_ids: Option<Vec<NodeId>>,
    /// Whether the app is to allow every device, instead of those of the nodes.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub allow_any_device: Option<bool>,
    /// The account that would sign, and that owns a new app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub signer: Option<Address>,
}
