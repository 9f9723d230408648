//! The writes of requests.

use std::collections::BTreeSet;

use casemate_core::{
    cvm::{DesiredState, Phase, PortMap, Power, Spec, Status},
    id::{AppId, ComposeHash, CvmId, NodeId, WorkspaceId},
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use super::{
    Cvm, NewCvm, UsageDelta,
    columns::{Columns, Configuration, Desired, bind_configuration, bind_desired},
    row::{Row, SELECT, corrupt_column, unreadable_column},
};
use crate::{Error, Tx, freshness::Subject, nodes::NodeUsage};

impl NewCvm {
    fn usage(&self) -> UsageDelta {
        UsageDelta {
            workspace_id: self.workspace.0,
            node_id: self.node.0,
            created_by: self.created_by.0,
            app_id: self.spec.app_id.to_string(),
            vcpu: self.spec.resources.vcpu.into(),
            memory_mb: self.spec.resources.memory_mb.into(),
            disk_gb: self.spec.resources.disk_gb.into(),
        }
    }
}

/// A CVM that was just inserted.
#[derive(Debug)]
pub struct Inserted {
    /// As a read would return it.
    pub cvm: Cvm,
    /// Usage of its node by other CVMs.
    pub before: NodeUsage,
    /// Number of live CVMs of its app, including this one.
    pub of_app: i64,
}

impl NewCvm {
    fn written(self, id: CvmId, now: Timestamp) -> Cvm {
        Cvm {
            id,
            reference: self.reference,
            uuid: self.uuid,
            workspace: self.workspace,
            created_by: self.created_by,
            node: self.node,
            moves_to: None,
            kms: self.kms,
            spec: self.spec,
            sealed_env: self.sealed_env,
            desired: DesiredState {
                power: Power::Running,
                run: 1,
                generation: 1,
                stop: self.stop,
                vm: 1,
            },
            status: Status::new(),
            phase: Phase::Starting,
            instance_id: None,
            operation: None,
            version: 1,
            fence: 0,
            claimed: false,
            created_at: now,
            updated_at: now,
            delete_at: None,
        }
    }
}

impl Tx {
    /// Inserts a new CVM, desired running and due now. [`Error::Conflict`]: its name is in use. The caller
    /// checks the capacity of the node afterwards and drops the transaction if it is exceeded.
    pub async fn insert_cvm(&mut self, new: NewCvm, now: Timestamp) -> Result<Inserted, Error> {
        let desired = Columns::desired(11);
        let configuration = Columns::configuration(17);
        let sql = format!(
            "INSERT INTO cvms (id, reference, vm_uuid, workspace_id, created_by, app_id, node_id, \
             kms_id, version, fence, due_at, created_at, updated_at, {}, {}) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $10, $10, {}, {})",
            desired.names(),
            configuration.names(),
            desired.parameters(),
            configuration.parameters()
        );
        let usage = new.usage();
        let counted = self.count_usage(&usage, 1, now).await?;
        let id = self.draw("cvm").await?;
        self.touch(Subject::Cvm(CvmId(id)));
        let cvm = new.written(CvmId(id), now);
        let desired = Desired::of(id, &cvm.desired, &cvm.status, cvm.phase)?;
        let configuration = Configuration::of(id, &cvm.spec, cvm.sealed_env.as_deref())?;
        exec_tx!(self, {
            let statement = query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(id)
                .bind(cvm.reference.to_string())
                .bind(cvm.uuid.to_string())
                .bind(usage.workspace_id)
                .bind(usage.created_by)
                .bind(&usage.app_id)
                .bind(usage.node_id)
                .bind(cvm.kms.as_ref())
                .bind(cvm.version)
                .bind(now.micros());
            bind_configuration!(bind_desired!(statement, desired), configuration)
        })?;
        let before = NodeUsage {
            node_id: counted.node.node_id,
            slots: counted.node.slots - 1,
            vcpu: counted.node.vcpu - usage.vcpu,
            memory_mb: counted.node.memory_mb - usage.memory_mb,
            disk_gb: counted.node.disk_gb - usage.disk_gb,
            state: counted.node.state,
        };
        Ok(Inserted { cvm, before, of_app: counted.of_app })
    }

    /// A CVM as this transaction sees it, including deleted ones.
    pub async fn cvm(&mut self, id: CvmId) -> Result<Option<Cvm>, Error> {
        let sql = format!("{SELECT} WHERE c.id = $1");
        let row = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(c))?;
        row.map(Row::read).transpose()
    }

    /// The live CVMs of an app, oldest first.
    pub async fn cvms_of_app(&mut self, app: &AppId) -> Result<Vec<Cvm>, Error> {
        let sql = format!("{SELECT} WHERE c.app_id = $1 AND c.deleted_at IS NULL ORDER BY c.id");
        let rows = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(app.to_string())
            .fetch_all(c))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The CVM that has this name. A name becomes free once the deletion of its CVM is desired.
    pub async fn cvm_of_name(
        &mut self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<CvmId>, Error> {
        const SQL: &str =
            "SELECT id FROM cvms WHERE workspace_id = $1 AND name = $2 AND power <> 'deleted'";
        let id = on_tx!(self, |c| query_scalar::<_, i64>(SQL)
            .bind(workspace.0)
            .bind(name)
            .fetch_optional(c))?;
        Ok(id.map(CvmId))
    }

    /// The names among these that are in use in a workspace, as defined by [`Tx::cvm_of_name`].
    pub async fn names_held(
        &mut self,
        workspace: WorkspaceId,
        names: &[String],
    ) -> Result<BTreeSet<String>, Error> {
        let sql = format!(
            "SELECT name FROM cvms WHERE name IN ({}) AND workspace_id = $2 AND power <> 'deleted'",
            self.dialect().elements()
        );
        let list = serde_json::to_string(names).unwrap_or_default();
        let held = on_tx!(self, |c| query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
            .bind(&list)
            .bind(workspace.0)
            .fetch_all(c))?;
        Ok(held.into_iter().collect())
    }

    /// The documents that the app's CVMs run, each with its newest CVM, newest first; at most 1000. CVMs to
    /// be deleted are left out.
    pub async fn documents_of_app(
        &mut self,
        workspace: WorkspaceId,
        app: &AppId,
    ) -> Result<Vec<(ComposeHash, CvmId)>, Error> {
        const SQL: &str = "SELECT compose_hash, CAST(MAX(id) AS BIGINT) FROM cvms \
            WHERE app_id = $1 AND deleted_at IS NULL AND workspace_id = $2 AND power <> 'deleted' \
            GROUP BY compose_hash ORDER BY 2 DESC LIMIT 1000";
        let rows = on_tx!(self, |c| query_as::<_, (String, i64)>(SQL)
            .bind(app.to_string())
            .bind(workspace.0)
            .fetch_all(c))?;
        let read = |(hash, id): (String, i64)| {
            Ok((hash.parse().map_err(corrupt_column("compose_hash", id))?, CvmId(id)))
        };
        rows.into_iter().map(read).collect()
    }

    /// The host ports of all live CVMs of a node, and of those that are to run there, except one, as this
    /// transaction sees them.
    pub async fn ports_on_node(
        &mut self,
        node: NodeId,
        but: Option<CvmId>,
    ) -> Result<Vec<PortMap>, Error> {
        const SQL: &str = "SELECT id, spec FROM cvms \
            WHERE node_id = $1 AND deleted_at IS NULL AND id <> $2 AND spec NOT LIKE '%\"ports\":[]%' \
            UNION ALL SELECT id, spec FROM cvms WHERE id IN (SELECT cvm_id FROM moves WHERE node_id = $1) \
            AND deleted_at IS NULL AND id <> $2 AND spec NOT LIKE '%\"ports\":[]%'";
        let but = but.map_or(0, |cvm| cvm.0);
        let rows = on_tx!(self, |c| query_as::<_, (i64, String)>(SQL)
            .bind(node.0)
            .bind(but)
            .fetch_all(c))?;
        let mut ports = Vec::new();
        for (id, text) in rows {
            let spec: Spec = stored::read(&text).map_err(unreadable_column("spec", id))?;
            ports.extend(spec.ports);
        }
        Ok(ports)
    }

    /// Replaces the desired state that was read, sets its phase, and makes the CVM due. The current lease is
    /// revoked, or awaited if its holder may have a call in flight ([`crate::lease`]). The holder's next write returns [`Error::Stale`]. Here [`Error::Stale`] means that the CVM changed since
    /// it was read.
    pub async fn set_desired(
        &mut self,
        read: &Cvm,
        desired: &DesiredState,
        status: &Status,
        phase: Phase,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = format!(
            "UPDATE cvms SET {}, version = version + 1, fence = fence + 1, again = FALSE, \
             lease_owner = CASE WHEN calling AND lease_until > $3 THEN lease_owner ELSE NULL END, \
             lease_until = CASE WHEN calling AND lease_until > $3 THEN lease_until ELSE NULL END, \
             due_at = CASE WHEN calling AND lease_until > $3 THEN lease_until ELSE $3 END, \
             updated_at = $3, \
             delete_at = CASE WHEN $4 = 'deleted' THEN NULL ELSE delete_at END \
             WHERE id = $1 AND fence = $2 AND deleted_at IS NULL",
            Columns::desired(4).assignments()
        );
        self.touch(Subject::Cvm(read.id));
        let id = read.id.0;
        let desired = Desired::of(id, desired, status, phase)?;
        let changed = exec_tx!(self, {
            let statement = query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(id)
                .bind(read.fence)
                .bind(now.micros());
            bind_desired!(statement, desired)
        })?;
        if changed == 1 { Ok(()) } else { Err(Error::Stale) }
    }

    /// Requests another reconciliation: the CVM becomes due now, or when the current lease is given back. For
    /// desired states that the node no longer fulfils.
    pub async fn make_due(&mut self, cvm: CvmId, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET \
            again = (lease_until IS NOT NULL AND lease_until > $2), \
            due_at = CASE WHEN lease_until > $2 THEN due_at ELSE $2 END \
            WHERE id = $1 AND deleted_at IS NULL AND (due_at IS NULL OR due_at > $2)";
        exec_tx!(self, query(SQL).bind(cvm.0).bind(now.micros())).map(drop)
    }
}
