//! CVMs that change their node. While one does, its room is taken on both nodes: there it still has a VM, and here
//! nobody else may take its place.

use casemate_core::{
    cvm::Spec,
    id::{CvmId, NodeId},
    time::Timestamp,
};
use sqlx::{query, query_scalar};

use super::{Cvm, UsageDelta};
use crate::{Error, Tx, freshness::Subject, nodes::NodeUsage};

impl Tx {
    /// Notes that a live CVM is to run on another node, and takes its room there. Returns what other CVMs take
    /// there; the caller checks the capacity and drops the transaction if it is exceeded.
    pub async fn begin_move(
        &mut self,
        read: &Cvm,
        spec: &Spec,
        to: NodeId,
    ) -> Result<NodeUsage, Error> {
        const SQL: &str = "INSERT INTO moves (cvm_id, node_id) VALUES ($1, $2)";
        self.touch(Subject::Cvm(read.id));
        self.take_move(read.id).await?;
        exec_tx!(self, query(SQL).bind(read.id.0).bind(to.0))?;
        let usage = UsageDelta { node_id: to.0, ..UsageDelta::of(read, spec) };
        let mut counted = None;
        // Rows of nodes are taken by id.
        let mut changes = vec![(to.0, 1)];
        changes.extend(read.moves_to.map(|before| (before.0, -1)));
        changes.sort_unstable();
        for (node_id, by) in changes {
            let of = UsageDelta { node_id, ..usage.clone() };
            let taken = self.count_on_node(&of, by).await?;
            if (node_id, by) == (to.0, 1) {
                counted = Some(taken);
            }
        }
        let taken = counted.unwrap_or_default();
        Ok(NodeUsage {
            slots: taken.slots - 1,
            vcpu: taken.vcpu - usage.vcpu,
            memory_mb: taken.memory_mb - usage.memory_mb,
            disk_gb: taken.disk_gb - usage.disk_gb,
            ..taken
        })
    }

    /// The CVM belongs to the node that it was to run on. A CVM that does not move stays where it is.
    pub async fn end_move(&mut self, cvm: &Cvm, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET node_id = $2, instance_id = NULL, updated_at = $3, \
            version = version + 1 WHERE id = $1 AND deleted_at IS NULL";
        self.touch(Subject::Cvm(cvm.id));
        let Some(to) = self.take_move(cvm.id).await? else { return Ok(()) };
        exec_tx!(self, query(SQL).bind(cvm.id.0).bind(to.0).bind(now.micros()))?;
        let before = UsageDelta::of(cvm, &cvm.spec);
        self.count_on_node(&before, -1).await?;
        let after = UsageDelta { node_id: to.0, ..before.clone() };
        self.count_in_list(&before, -1).await?;
        self.count_in_list(&after, 1).await
    }

    /// The CVM stays where it is; its room on the other node is free again.
    pub async fn drop_move(&mut self, cvm: &Cvm) -> Result<(), Error> {
        self.touch(Subject::Cvm(cvm.id));
        let usage = UsageDelta::of(cvm, &cvm.spec);
        self.free_move(cvm.id, &usage).await
    }

    /// Frees the room that a CVM has on the node it was to run on, if any.
    pub(crate) async fn free_move(&mut self, cvm: CvmId, usage: &UsageDelta) -> Result<(), Error> {
        if let Some(to) = self.take_move(cvm).await? {
            let there = UsageDelta { node_id: to.0, ..usage.clone() };
            self.count_on_node(&there, -1).await?;
        }
        Ok(())
    }

    async fn take_move(&mut self, cvm: CvmId) -> Result<Option<NodeId>, Error> {
        const SQL: &str = "DELETE FROM moves WHERE cvm_id = $1 RETURNING node_id";
        let to = on_tx!(self, |c| query_scalar::<_, i64>(SQL).bind(cvm.0).fetch_optional(c))?;
        Ok(to.map(NodeId))
    }
}
