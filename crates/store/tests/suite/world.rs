//! A workspace with a node, and helpers to insert CVMs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use casemate_core::{
    access::{Role, Scopes},
    compose::Facts,
    cvm::{
        Boot, DesiredState, EngineState, ObservedVm, Phase, Power, Resources, Spec, Status,
        StopMode, VmPower,
    },
    id::{
        AppId, ComposeHash, CvmId, CvmRef, EngineVmId, InstanceId, KmsId, NodeId, OperationId,
        ProvisionId, UserId, VmUuid, Wallet, WorkspaceId,
    },
    node::NodeKind,
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{
    Db, Error, Tx,
    api_keys::NewKey,
    cvms::{Cvm, Filter, Inserted, NewCvm},
    lease::{self, Claimant, Record},
    nodes::{self, NewNode},
    people::NewUser,
    provisions::Provision,
};

/// Start time.
pub const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
/// Lease duration.
pub const TERM: Duration = Duration::from_secs(30);
/// The node of the only process.
pub fn sim(name: &str) -> NewNode<'_> {
    NewNode {
        name,
        kind: NodeKind::Sim,
        owner: "here",
        lease_expires_at: START,
        gateway: "",
        region: "local",
        inventory: "{}",
        pinned: true,
        settings: None,
    }
}

async fn node_ids(db: &Db) -> Vec<NodeId> {
    nodes::all(db).await.unwrap().iter().map(nodes::NodeRow::id).collect()
}

/// Claims on every node.
pub async fn claim(
    db: &Db,
    owner: &str,
    now: Timestamp,
    term: Duration,
    limit: i64,
) -> Result<Vec<Cvm>, Error> {
    let nodes = node_ids(db).await;
    lease::claim(db, &Claimant { owner, nodes: &nodes }, now, term, limit).await
}

/// When the next CVM of any node becomes due.
pub async fn next_due(db: &Db) -> Result<Option<Timestamp>, Error> {
    lease::next_due(db, &node_ids(db).await).await
}

/// A list without a filter.
pub const ALL: Filter = Filter { node: None, user: None };

/// This many seconds after [`START`].
pub fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A number that is unique in this process.
pub fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn app_id(number: u64) -> AppId {
    format!("{number:040x}").parse().unwrap()
}

pub fn hash(number: u64) -> ComposeHash {
    format!("{number:064x}").parse().unwrap()
}

pub fn vm_uuid(number: u64) -> VmUuid {
    format!("{number:032x}").parse().unwrap()
}

pub fn operation_id() -> OperationId {
    format!("{:032x}", number()).parse().unwrap()
}

pub fn kms() -> KmsId {
    KmsId("kms_test".to_owned())
}

/// A user, a workspace and a node in a database.
#[derive(Debug, Clone)]
pub struct World {
    pub db: Db,
    pub user: UserId,
    pub workspace: WorkspaceId,
    pub node: NodeId,
}

impl World {
    pub async fn new(db: Db) -> Self {
        let mut tx = db.begin().await.unwrap();
        let user = tx.insert_user(NewUser::person("ada", "ada@example.org"), START).await.unwrap();
        let workspace = workspace(&mut tx, "first").await;
        tx.set_member(workspace, user, Role::Owner, START).await.unwrap();
        let node = tx.upsert_node(&sim("node-1"), START).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        Self { db, user, workspace, node }
    }

    /// A key of the user for the workspace.
    pub fn key<'a>(&self, hash: &'a str, scopes: &'a Scopes) -> NewKey<'a> {
        NewKey {
            hash,
            prefix: "phak_abcd",
            user: self.user,
            workspace: self.workspace,
            name: "laptop",
            scopes,
            expires_at: None,
        }
    }

    /// The same with all connections open: a task that first waits for a connection would be too late to run
    /// concurrently.
    pub async fn crowded(db: Db) -> Self {
        let world = Self::new(db.clone()).await;
        if matches!(db, Db::Postgres(_)) {
            let begun = (0..12).map(|_| {
                let db = db.clone();
                tokio::spawn(async move { db.begin().await.unwrap() })
            });
            let begun: Vec<_> = begun.collect();
            let mut open = Vec::new();
            for begun in begun {
                open.push(begun.await.unwrap());
            }
        }
        world
    }

    /// The same database with another workspace.
    pub async fn foreign(&self) -> Self {
        let mut tx = self.db.begin().await.unwrap();
        let workspace = workspace(&mut tx, &format!("foreign-{}", number())).await;
        tx.commit().await.unwrap();
        Self { workspace, ..self.clone() }
    }

    pub async fn node(&self, name: &str) -> Self {
        let mut tx = self.db.begin().await.unwrap();
        let node = tx.upsert_node(&sim(name), START).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        Self { node, ..self.clone() }
    }

    pub async fn user(&self, name: &str) -> Self {
        let mut tx = self.db.begin().await.unwrap();
        let user = tx.insert_user(NewUser::person(name, "e@example.org"), START).await.unwrap();
        tx.commit().await.unwrap();
        Self { user, ..self.clone() }
    }

    /// A CVM of a new app.
    pub async fn cvm(&self, name: &str) -> Cvm {
        self.replica(app_id(number()), name).await
    }

    /// A CVM of this app.
    pub async fn replica(&self, app: AppId, name: &str) -> Cvm {
        let mut tx = self.db.begin().await.unwrap();
        let inserted = self.insert(&mut tx, app, name).await.cvm;
        let cvm = tx.cvm(inserted.id).await.unwrap().unwrap();
        assert_eq!(inserted, cvm);
        tx.commit().await.unwrap();
        cvm
    }

    /// Inserts a CVM and the rows it references.
    pub async fn insert(&self, tx: &mut Tx, app: AppId, name: &str) -> Inserted {
        let new = self.new_cvm(app, name);
        tx.keep_document(&new.spec.compose_hash, "{}", START).await.unwrap();
        tx.bind_app_id(&app, self.workspace, None, name, &new.kms, START).await.unwrap();
        tx.insert_cvm(new, START).await.unwrap()
    }

    pub fn new_cvm(&self, app: AppId, name: &str) -> NewCvm {
        let number = number();
        NewCvm {
            reference: CvmRef::from_random(number),
            uuid: vm_uuid(number),
            workspace: self.workspace,
            created_by: self.user,
            node: self.node,
            kms: kms(),
            spec: spec(app, hash(7), name),
            sealed_env: Some("00ff".to_owned()),
            stop: StopMode::Hard,
        }
    }

    pub fn provision(
        &self,
        app: AppId,
        hash: ComposeHash,
        name: &str,
        now: Timestamp,
    ) -> Provision {
        Provision {
            id: provision_id(),
            workspace: self.workspace,
            spec: spec(app, hash, name),
            app: Some(app),
            kms: kms(),
            node: self.node,
            sealed_env: None,
            created_at: now,
            expires_at: now.plus(Duration::from_hours(14 * 24)),
            cvm: None,
        }
    }

    /// Claims everything that is due and records it as up and at rest.
    pub async fn settle(&self, now: Timestamp) {
        loop {
            let claimed = claim(&self.db, "settler", now, TERM, 500).await.unwrap();
            if claimed.is_empty() {
                return;
            }
            let mut tx = self.db.begin().await.unwrap();
            for cvm in claimed {
                tx.record(&cvm, &at_rest(&cvm.status, Phase::Running), now).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    }

    /// Sets the desired state of a CVM to deleted and records it as deleted.
    pub async fn delete(&self, id: CvmId, now: Timestamp) {
        self.set_desired_power(id, Power::Deleted, now).await;
        let mut tx = self.db.begin().await.unwrap();
        let cvm = Cvm { claimed: true, ..tx.cvm(id).await.unwrap().unwrap() };
        let gone = Record { deleted: true, ..at_rest(&cvm.status, Phase::Deleted) };
        tx.record(&cvm, &gone, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn set_desired_power(&self, id: CvmId, power: Power, now: Timestamp) {
        let mut tx = self.db.begin().await.unwrap();
        let cvm = tx.cvm(id).await.unwrap().unwrap();
        let desired = DesiredState { power, ..cvm.desired };
        tx.set_desired(&cvm, &desired, &cvm.status, Phase::Stopping, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn read(&self, id: CvmId) -> Cvm {
        let mut tx = self.db.begin().await.unwrap();
        tx.cvm(id).await.unwrap().unwrap()
    }

    pub async fn open_operation(&self, cvm: CvmId) -> OperationId {
        let id = operation_id();
        let mut tx = self.db.begin().await.unwrap();
        tx.open_operation(id, cvm, OperationKind::Create, 1, self.user, START).await.unwrap();
        tx.commit().await.unwrap();
        id
    }
}

async fn workspace(tx: &mut Tx, slug: &str) -> WorkspaceId {
    let wallet: Wallet = format!("{:040x}", number()).parse().unwrap();
    tx.insert_workspace(slug, "A workspace", wallet, START).await.unwrap()
}

pub fn provision_id() -> ProvisionId {
    format!("{:032x}", number()).parse().unwrap()
}

/// A record that gives the lease back, with nothing left to do.
pub const fn at_rest(status: &Status, phase: Phase) -> Record<'_> {
    Record { status, phase, lease_until: None, calling: false, due_at: None, deleted: false }
}

/// A CVM whose guest has reported its instance id.
pub fn told(instance: InstanceId) -> Status {
    let vm = EngineVmId("vm".to_owned());
    let observed = ObservedVm {
        id: vm.clone(),
        power: VmPower::Running,
        boot: Boot::Done,
        boot_error: None,
        shutdown_progress: None,
        instance_id: Some(instance),
        started_at: None,
        exited_at: None,
        faults: Vec::new(),
        published: None,
    };
    Status { engine: EngineState::Present { vm }, observed: Some(observed), ..Status::new() }
}

pub fn spec(app: AppId, compose_hash: ComposeHash, name: &str) -> Spec {
    Spec {
        revision: 1,
        name: name.to_owned(),
        app_id: app,
        compose_hash,
        facts: facts(),
        env_public_key: None,
        resources: Resources {
            instance_type: None,
            vcpu: 2,
            memory_mb: 1024,
            disk_gb: 10,
            hugepages: false,
            pin_numa: false,
            gpus: None,
        },
        image: "dstack-0.5.4".to_owned(),
        ports: Vec::new(),
        user_config: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        vpc_server_app_id: None,
        listed: true,
        env_keys: Vec::new(),
        shutdown_timeout_s: 60,
        allow_force_stop: true,
        vm: 1,
        instance_seed: None,
        deployer: None,
    }
}

fn facts() -> Facts {
    Facts {
        readiness: None,
        public_logs: true,
        public_sysinfo: true,
        public_tcbinfo: true,
        gateway_enabled: true,
        secure_time: false,
        storage_fs: None,
        features: Vec::new(),
        manifest_version: 2,
        runner: "docker-compose".to_owned(),
        ports: vec![80],
        docker_compose_hash: None,
        pre_launch_script_hash: None,
    }
}
