//! VMs that CVMs left on hosts that did not answer. A row stays until its host has shown that it has no such VM.

use casemate_core::{
    id::{CvmId, NodeId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, cvms::Cvm};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LeftVm {
    pub node_id: i64,
    pub cvm_id: i64,
    /// Name of the CVM when it left: the mark has it.
    pub name: String,
    pub vm_uuid: String,
    /// What clusters of dstack-gateway have to forget; `None`: nothing, or they have.
    pub instance_id: Option<String>,
    /// A VM of a call that was under way shows up before, in microseconds.
    pub settles_at: i64,
}

/// All of them, by node, at most `limit`.
pub async fn all(db: &Db, limit: i64) -> Result<Vec<LeftVm>, Error> {
    const SQL: &str = "SELECT node_id, cvm_id, name, vm_uuid, instance_id, settles_at \
        FROM left_vms ORDER BY node_id, cvm_id LIMIT $1";
    on_read!(db, |c| query_as::<_, LeftVm>(SQL).bind(limit.max(0)).fetch_all(c))
}

impl Tx {
    /// Notes that the VM of a CVM is left on its node.
    pub async fn leave_vm(
        &mut self,
        cvm: &Cvm,
        settles_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO left_vms \
            (node_id, cvm_id, name, vm_uuid, instance_id, left_at, settles_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (node_id, cvm_id) \
            DO UPDATE SET settles_at = excluded.settles_at, instance_id = excluded.instance_id";
        exec_tx!(
            self,
            query(SQL)
                .bind(cvm.node.0)
                .bind(cvm.id.0)
                .bind(&cvm.spec.name)
                .bind(cvm.uuid.to_string())
                .bind(cvm.instance_id.map(|id| id.to_string()))
                .bind(now.micros())
                .bind(settles_at.micros())
        )
        .map(drop)
    }

    /// Whether a VM of a CVM is left on a node.
    pub async fn has_left_vm(&mut self, node: NodeId, cvm: CvmId) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM left_vms WHERE node_id = $1 AND cvm_id = $2";
        let found = on_tx!(self, |c| query_scalar::<_, i32>(SQL)
            .bind(node.0)
            .bind(cvm.0)
            .fetch_optional(c))?;
        Ok(found.is_some())
    }

    /// Clusters of dstack-gateway have forgotten the instance.
    pub async fn unregister_left_vm(&mut self, node: NodeId, cvm: CvmId) -> Result<(), Error> {
        const SQL: &str =
            "UPDATE left_vms SET instance_id = NULL WHERE node_id = $1 AND cvm_id = $2";
        exec_tx!(self, query(SQL).bind(node.0).bind(cvm.0)).map(drop)
    }

    /// The VM is gone.
    pub async fn forget_left_vm(&mut self, node: NodeId, cvm: CvmId) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM left_vms WHERE node_id = $1 AND cvm_id = $2";
        exec_tx!(self, query(SQL).bind(node.0).bind(cvm.0)).map(drop)
    }
}
