//! More machines of an app: a replica of a CVM, and an instance of an app.

use casemate_core::id::{ComposeHash, NodeId};
use serde::{Deserialize, Serialize};

use crate::{
    num,
    spelling::{Contradiction, one},
};

/// `POST /cvms/{id}/replicas` and `POST /apps/{app_id}/cvms/{vm_uuid}/replicas`; the body may be
/// missing. `null` is the same as left out; `node_id` and `teepod_id` are one field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "RawReplicate")]
pub struct ReplicateRequest {
    /// The node to run on; the source's if left out, or another that fits where that has no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub node_id: Option<NodeId>,
    /// Sealed environment as hex; the source's if left out. Not checked here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables, a part of the allowed ones (Casemate only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Which document, where the app's CVMs run several; with or without `0x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// OS image by name; the source's if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_image: Option<String>,
    /// Name of the replica; the source's with a number if left out (Casemate only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The replica's fields under all their spellings.
#[derive(Deserialize)]
struct RawReplicate {
    #[serde(default, deserialize_with = "num::opt_node_id")]
    node_id: Option<NodeId>,
    #[serde(default, deserialize_with = "num::opt_node_id")]
    teepod_id: Option<NodeId>,
    #[serde(default, deserialize_with = "num::opt_name")]
    encrypted_env: Option<String>,
    #[serde(default)]
    env_keys: Option<Vec<String>>,
    #[serde(default, deserialize_with = "num::opt_compose_hash")]
    compose_hash: Option<ComposeHash>,
    #[serde(default, deserialize_with = "num::opt_name")]
    os_image: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    name: Option<String>,
}

impl TryFrom<RawReplicate> for ReplicateRequest {
    type Error = Contradiction;

    fn try_from(raw: RawReplicate) -> Result<Self, Contradiction> {
        Ok(Self {
            node_id: one([("node_id", raw.node_id), ("teepod_id", raw.teepod_id)])?,
            encrypted_env: raw.encrypted_env,
            env_keys: raw.env_keys,
            compose_hash: raw.compose_hash,
            os_image: raw.os_image,
            name: raw.name,
        })
    }
}

/// `POST /apps/{app_id}/instances`. `null` is the same as left out; Python sends all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "RawInstance")]
pub struct InstanceRequest {
    /// Name of the instance; that of the newest CVM of the app with a number if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node to run on; as for a replica if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub node_id: Option<NodeId>,
    /// Docker Compose YAML as it is, in place of the app's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    /// Shell script that runs before the containers start, in place of the app's; `""` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_launch_script: Option<String>,
    /// Sealed environment as hex; the app's if left out. Not checked here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables, a part of the allowed ones (Casemate only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Which document, where the app's CVMs run several; with or without `0x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// OS image by name; the app's if left out (Casemate only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_image: Option<String>,
    /// Token of an instance that was prepared for a contract's approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}

/// The instance's fields under all their spellings.
#[derive(Deserialize)]
struct RawInstance {
    #[serde(default, deserialize_with = "num::opt_name")]
    name: Option<String>,
    #[serde(default, deserialize_with = "num::opt_node_id")]
    node_id: Option<NodeId>,
    #[serde(default, deserialize_with = "num::opt_node_id")]
    teepod_id: Option<NodeId>,
    #[serde(default)]
    docker_compose_file: Option<String>,
    #[serde(default)]
    pre_launch_script: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    encrypted_env: Option<String>,
    #[serde(default)]
    env_keys: Option<Vec<String>>,
    #[serde(default, deserialize_with = "num::opt_compose_hash")]
    compose_hash: Option<ComposeHash>,
    #[serde(default, deserialize_with = "num::opt_name")]
    os_image: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    token: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    transaction_hash: Option<String>,
}

impl TryFrom<RawInstance> for InstanceRequest {
    type Error = Contradiction;

    fn try_from(raw: RawInstance) -> Result<Self, Contradiction> {
        Ok(Self {
            name: raw.name,
            node_id: one([("node_id", raw.node_id), ("teepod_id", raw.teepod_id)])?,
            docker_compose_file: raw.docker_compose_file,
            pre_launch_script: raw.pre_launch_script,
            encrypted_env: raw.encrypted_env,
            env_keys: raw.env_keys,
            compose_hash: raw.compose_hash,
            os_image: raw.os_image,
            token: raw.token,
            transaction_hash: raw.transaction_hash,
        })
    }
}
