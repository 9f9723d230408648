//! Maps a row of `cvms` to a [`Cvm`](super::Cvm).

use casemate_core::{
    cvm::{DesiredState, Power, Spec, Status, StopMode},
    id::{CvmId, KmsId, NodeId, UserId, WorkspaceId},
    operation::OperationKind,
    stored::{self, Stored, Unreadable},
    time::Timestamp,
};

use super::{Cvm, OpenOperation};
use crate::{
    Error,
    error::{corrupt, unreadable},
};

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: i64,
    reference: String,
    vm_uuid: String,
    workspace_id: i64,
    created_by: i64,
    node_id: i64,
    moves_to: Option<i64>,
    kms_id: String,
    spec: String,
    user_config: Option<String>,
    sealed_env: Option<String>,
    generation: i64,
    power: String,
    run: i64,
    stop_mode: String,
    status: String,
    phase: String,
    instance_id: Option<String>,
    version: i64,
    fence: i64,
    created_at: i64,
    updated_at: i64,
    delete_at: Option<i64>,
    operation_id: Option<String>,
    operation_kind: Option<String>,
    operation_at: Option<i64>,
}

macro_rules! select {
    ($user_config:literal, $sealed_env:literal) => {
        concat!(
            "SELECT c.id, c.reference, c.vm_uuid, c.workspace_id, c.created_by, c.node_id, \
             m.node_id AS moves_to, c.kms_id, c.spec, ",
            $user_config,
            " AS user_config, ",
            $sealed_env,
            " AS sealed_env, c.generation, c.power, c.run, c.stop_mode, c.status, c.phase, \
             c.instance_id, c.version, c.fence, c.created_at, c.updated_at, c.delete_at, o.id AS operation_id, \
             o.kind AS operation_kind, o.created_at AS operation_at \
             FROM cvms c LEFT JOIN operations o ON o.cvm_id = c.id AND o.state = 'running' \
             LEFT JOIN moves m ON m.cvm_id = c.id"
        )
    };
}

/// All columns of a CVM and its open operation; the caller appends `WHERE`.
pub(crate) const SELECT: &str = select!("c.user_config", "c.sealed_env");

/// The same without the columns that may be long and that no list shows.
pub(super) const LISTED: &str = select!("CAST(NULL AS TEXT)", "CAST(NULL AS TEXT)");

pub(super) fn corrupt_column<E: std::fmt::Display>(
    column: &'static str,
    row: i64,
) -> impl FnOnce(E) -> Error {
    corrupt("cvms", column, row)
}

pub(super) fn unreadable_column(
    column: &'static str,
    row: i64,
) -> impl FnOnce(Unreadable) -> Error {
    unreadable("cvms", column, row)
}

/// A condition on `cvms`: this version can read the row. Rows of a newer version are left alone.
pub(crate) fn readable() -> String {
    let columns = [
        stored::readable("spec", Spec::VERSION),
        stored::readable("stop_mode", StopMode::VERSION),
        stored::readable("status", Status::VERSION),
    ];
    columns.join(" AND ")
}

/// The text of `cvms.spec`: the configuration without `user_config`, which has its own column.
pub(super) fn spec_text(spec: &Spec, row: i64) -> Result<String, Error> {
    let without = Spec { user_config: None, ..spec.clone() };
    stored::write(&without).map_err(corrupt_column("spec", row))
}

/// Parses a word that serde writes as a JSON string.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
}

pub(crate) fn power_word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Stopped => "stopped",
        Power::Deleted => "deleted",
    }
}

impl Row {
    pub(crate) fn read(self) -> Result<Cvm, Error> {
        let id = self.id;
        let operation = match (self.operation_id, self.operation_kind, self.operation_at) {
            (Some(operation), Some(kind), Some(at)) => Some(OpenOperation {
                id: operation.parse().map_err(corrupt("operations", "id", id))?,
                kind: OperationKind::parse(&kind)
                    .ok_or_else(|| corrupt("operations", "kind", id)(kind))?,
                started_at: Timestamp::from_micros(at),
            }),
            _ => None,
        };
        let spec: Spec = stored::read(&self.spec).map_err(unreadable_column("spec", id))?;
        let instance_id = self.instance_id.map(|text| text.parse()).transpose();
        Ok(Cvm {
            id: CvmId(id),
            reference: self.reference.parse().map_err(corrupt_column("reference", id))?,
            uuid: self.vm_uuid.parse().map_err(corrupt_column("vm_uuid", id))?,
            workspace: WorkspaceId(self.workspace_id),
            created_by: UserId(self.created_by),
            node: NodeId(self.node_id),
            moves_to: self.moves_to.map(NodeId),
            kms: KmsId(self.kms_id),
            sealed_env: self.sealed_env,
            desired: DesiredState {
                power: word(&self.power).map_err(corrupt_column("power", id))?,
                run: self.run,
                generation: self.generation,
                stop: stored::read(&self.stop_mode).map_err(unreadable_column("stop_mode", id))?,
                vm: spec.vm,
            },
            spec: Spec { user_config: self.user_config, ..spec },
            status: stored::read(&self.status).map_err(unreadable_column("status", id))?,
            phase: word(&self.phase).map_err(corrupt_column("phase", id))?,
            instance_id: instance_id.map_err(corrupt_column("instance_id", id))?,
            operation,
            version: self.version,
            fence: self.fence,
            claimed: false,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
            delete_at: self.delete_at.map(Timestamp::from_micros),
        })
    }
}
