//! Views to render: one with everything filled in, one with as little as there can be.

use casemate_api::{
    compose_file::StorageFs,
    kms_type::KmsType,
    reply::{
        AppKmsInfo, BatchStop, BatchStopError, Cancelled, KmsInspection, KmsKeys, KmsOnchain,
        KmsSelf, KmsTeepod, KmsTeepodImage, KmsVerification, OnchainContract, OnchainDevice,
        OnchainKms, OnchainOsImage, StepOutcome, Tee, UserRole,
    },
    ssh_key::{
        GithubProfileImportResponse, GithubSyncResponse, SshKeyMetadata, SshKeyResponse,
        SshKeySource,
    },
};
use casemate_core::{
    id::{
        AppId, ComposeHash, CvmId, CvmRef, DeviceId, InstanceId, KmsId, NodeId, OperationId,
        RevisionRef, UserId, VmUuid, WorkspaceId,
    },
    operation::{OperationKind, OperationState},
};
use casemate_server::view::{
    AllowedView, AllowlistDeviceView, AllowlistView, AppProfileView, AppView, CaaView,
    CapacityView, CauseView, ComposeProvisionView, ContractSays, CreditsView, CvmView,
    DnsRecordView, DomainView, Effect, EnvReportView, FailureView, FieldDiffView, FirewallView,
    GatewayView, InstanceTypeView, KmsView, LogUrlsView, NetworkConfigView, NodeRefView, NodeView,
    OnchainView, OperationEventView, OperationRecordView, OperationStatusView, OperationView,
    Origin, OsImageView, OsView, PendingPreviewView, PendingView, PersonView, Phase, PortView,
    ProvisionView, PublicUrl, RecordType, RedeployView, RevisionDetailView, RevisionDiffView,
    RevisionView, StepView, TenantView, UpdateView, UserView, WaitingView, WorkspaceView,
};
use serde_json::json;

pub const UUID: &str = "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d";
const TIME: &str = "2026-03-01T12:00:00Z";

macro_rules! some {
    ($text:expr) => {
        Some(String::from($text))
    };
}

fn vm_uuid() -> VmUuid {
    VmUuid::from_uuid(uuid::Uuid::from_u128(0x6a2e_3d4c_5b6f_4a1b_8c2d_0e1f_2a3b_4c5d))
}

fn operation_id() -> OperationId {
    OperationId::from_uuid(uuid::Uuid::from_u128(0x0196_0000_0000_7000_8000_0000_0000_0001))
}

pub fn machine() -> KmsView {
    KmsView {
        id: KmsId("kms_base1".to_owned()),
        slug: some!("kms-base-1"),
        url: "https://kms.test:8000".to_owned(),
        version: "0.5.4".to_owned(),
        chain_id: Some(8453),
        kms_contract_address: some!("0x2222222222222222222222222222222222222222"),
        gateway_app_id: some!("3333333333333333333333333333333333333333"),
        kind: KmsType::Base,
        k256_public_key: some!(&"04".repeat(33)),
        ca_public_key: some!(&"05".repeat(33)),
        supported_os_images: vec!["dstack-0.5.4".to_owned()],
    }
}

pub fn minimal_machine() -> KmsView {
    KmsView {
        id: KmsId("kms_phala1".to_owned()),
        slug: None,
        url: "http://127.0.0.1:8090/kms".to_owned(),
        version: "0.1.0".to_owned(),
        chain_id: None,
        kms_contract_address: None,
        gateway_app_id: None,
        kind: KmsType::Phala,
        k256_public_key: None,
        ca_public_key: None,
        supported_os_images: Vec::new(),
    }
}

pub fn node_ref() -> NodeRefView {
    NodeRefView {
        id: NodeId(3),
        name: "node-3".to_owned(),
        region: some!("us-west-1"),
        device_id: Some(DeviceId::from_bytes([0x66; 32])),
        ppid: some!("77777777"),
        status: some!("ONLINE"),
        version: some!("0.5.4"),
        tee: Tee::SevSnp,
    }
}

fn minimal_node_ref() -> NodeRefView {
    NodeRefView {
        id: NodeId(1),
        name: "local".to_owned(),
        region: None,
        device_id: None,
        ppid: None,
        status: None,
        version: None,
        tee: Tee::None,
    }
}

pub fn image(name: &str, version: &str, is_dev: bool) -> OsImageView {
    OsImageView {
        name: name.to_owned(),
        version: version.to_owned(),
        is_dev,
        requires_gpu: false,
        os_image_hash: some!(&"88".repeat(32)),
    }
}

pub fn node() -> NodeView {
    NodeView {
        node: node_ref(),
        listed: true,
        resource_score: 0.5,
        remaining_vcpu: 8,
        remaining_memory_mb: 16_384,
        remaining_slots: 5,
        remaining_disk_gb: Some(100),
        images: vec![
            image("dstack-0.5.4", "0.5.4", false),
            image("dstack-dev-0.5.4.1", "0.5.4.1", true),
        ],
        support_onchain_kms: true,
        fmspc: some!("00a06f050000"),
        default_kms: Some(KmsId("kms_base1".to_owned())),
        kms_ids: vec![KmsId("kms_base1".to_owned())],
    }
}

pub fn minimal_node() -> NodeView {
    NodeView {
        node: minimal_node_ref(),
        listed: false,
        resource_score: 0.0,
        remaining_vcpu: 0,
        remaining_memory_mb: 0,
        remaining_slots: 0,
        remaining_disk_gb: None,
        images: vec![OsImageView { os_image_hash: None, ..image("docker", "28", false) }],
        support_onchain_kms: false,
        fmspc: None,
        default_kms: None,
        kms_ids: Vec::new(),
    }
}

pub fn cvm() -> CvmView {
    CvmView {
        id: CvmId(7),
        reference: CvmRef::from_random(0),
        vm_uuid: vm_uuid(),
        name: "my-app".to_owned(),
        app_id: AppId::from_bytes([0xab; 20]),
        instance_id: Some(InstanceId::from_bytes([0xcd; 20])),
        phase: Phase::Updating,
        in_progress: true,
        operation: Some(OperationView {
            kind: OperationKind::Update,
            correlation_id: operation_id(),
            started_at: TIME.to_owned(),
            target: Phase::Running,
        }),
        boot_progress: some!("done"),
        boot_error: some!("pull failed"),
        shutdown_progress: some!("stopping containers"),
        uptime: some!("3h 12m"),
        exited_at: some!(TIME),
        failure: Some(FailureView {
            code: "boot_timeout".to_owned(),
            cause: "the guest did not come up within 600 s".to_owned(),
            at: TIME.to_owned(),
        }),
        waiting_for: Some(waiting()),
        vcpu: 2,
        memory_mb: 3072,
        disk_gb: 40,
        gpus: 1,
        instance_type: some!("tdx.medium"),
        price_per_hour: some!("0.116"),
        node: Some(node_ref()),
        os: OsView {
            name: "dstack-dev-0.5.4".to_owned(),
            version: some!("0.5.4"),
            is_dev: Some(true),
            os_image_hash: some!(&"88".repeat(32)),
        },
        kms: Some(machine()),
        onchain: Some(OnchainView {
            app_contract: format!("0x{}", "ab".repeat(20)),
            deployer: some!("0x4444444444444444444444444444444444444444"),
            rpc_endpoint: some!("https://rpc.test"),
        }),
        env_public_key: some!(&"99".repeat(32)),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        docker_compose_hash: some!(&"12".repeat(32)),
        pre_launch_script_hash: some!(&"13".repeat(32)),
        docker_compose_file: some!("services: {}\n"),
        compose_document: Some(
            json!({"docker_compose_file": "services: {}\n", "runner": "docker-compose"}),
        ),
        features: vec!["kms".to_owned(), "tproxy-net".to_owned()],
        manifest_version: 2,
        runner: "docker-compose".to_owned(),
        public_logs: true,
        public_sysinfo: true,
        public_tcbinfo: true,
        gateway_enabled: true,
        secure_time: true,
        storage_fs: Some(StorageFs::Zfs),
        listed: true,
        gateway: Some(GatewayView {
            base_domain: "localhost:8091".to_owned(),
            cname: some!("gateway.test"),
            scheme: "http".to_owned(),
        }),
        public_urls: vec![PublicUrl {
            app: "http://abab-80.localhost:8091".to_owned(),
            instance: "http://cdcd-80.localhost:8091".to_owned(),
        }],
        syslog_endpoint: some!("http://127.0.0.1:8090/logs/7?sig=x"),
        logs: Some(LogUrlsView {
            serial: some!("http://127.0.0.1:8090/logs/7?sig=x&ch=serial"),
            stdout: None,
            stderr: None,
            container_log_base: some!("http://127.0.0.1:8090/logs/7/c"),
        }),
        workspace: TenantView {
            id: WorkspaceId(1),
            name: "Default".to_owned(),
            slug: some!("default"),
        },
        creator: Some(PersonView { id: UserId(2), username: "admin".to_owned() }),
        created_at: TIME.to_owned(),
        updated_at: some!(TIME),
        deleted_at: some!(TIME),
        scheduled_delete_at: some!(TIME),
    }
}

pub fn minimal_cvm() -> CvmView {
    CvmView {
        instance_id: None,
        phase: Phase::Starting,
        in_progress: false,
        operation: None,
        boot_progress: None,
        boot_error: None,
        shutdown_progress: None,
        uptime: None,
        exited_at: None,
        failure: None,
        waiting_for: None,
        gpus: 0,
        instance_type: None,
        price_per_hour: None,
        node: None,
        os: OsView { name: "docker".to_owned(), version: None, is_dev: None, os_image_hash: None },
        kms: None,
        onchain: None,
        env_public_key: None,
        docker_compose_hash: None,
        pre_launch_script_hash: None,
        docker_compose_file: None,
        compose_document: None,
        features: Vec::new(),
        storage_fs: None,
        gateway: None,
        public_urls: Vec::new(),
        syslog_endpoint: None,
        logs: None,
        workspace: TenantView { slug: None, ..cvm().workspace },
        creator: None,
        updated_at: None,
        deleted_at: None,
        scheduled_delete_at: None,
        ..cvm()
    }
}

pub fn app() -> AppView {
    AppView {
        app_id: AppId::from_bytes([0xab; 20]),
        name: "my-app".to_owned(),
        created_at: TIME.to_owned(),
        kms_type: KmsType::Base,
        provision_type: some!("user"),
        icon_url: some!("https://icon.test"),
        profile: Some(AppProfileView {
            display_name: some!("My app"),
            ..AppProfileView::default()
        }),
        current_cvm: Some(Box::new(cvm())),
        cvms: vec![cvm(), minimal_cvm()],
        cvm_count: 2,
    }
}

pub fn minimal_app() -> AppView {
    AppView {
        kms_type: KmsType::Phala,
        provision_type: None,
        icon_url: None,
        profile: None,
        current_cvm: None,
        cvms: Vec::new(),
        cvm_count: 0,
        ..app()
    }
}

pub fn user() -> UserView {
    UserView {
        username: "admin".to_owned(),
        email: String::new(),
        role: UserRole::Admin,
        avatar: String::new(),
        email_verified: false,
        totp_enabled: false,
        has_backup_codes: false,
        has_password: false,
    }
}

pub fn workspace() -> WorkspaceView {
    WorkspaceView {
        id: WorkspaceId(1),
        name: "Default".to_owned(),
        slug: some!("default"),
        tier: "free".to_owned(),
        role: "owner".to_owned(),
        avatar: some!("https://avatar.test"),
        is_default: true,
        created_at: TIME.to_owned(),
    }
}

pub fn minimal_workspace() -> WorkspaceView {
    WorkspaceView { slug: None, avatar: None, ..workspace() }
}

pub fn credits() -> CreditsView {
    CreditsView {
        balance: "12.34".to_owned(),
        granted_balance: "10".to_owned(),
        is_post_paid: true,
        outstanding_amount: some!("1.50"),
    }
}

pub fn capacity() -> CapacityView {
    CapacityView {
        max_instances: Some(10),
        max_vcpu: Some(16),
        max_memory_mb: Some(32_768),
        max_disk_gb: Some(-1),
    }
}

pub fn instance_types() -> Vec<InstanceTypeView> {
    let kind = |id: &str, family: &str| InstanceTypeView {
        id: id.to_owned(),
        name: id.to_owned(),
        description: "1 vCPU".to_owned(),
        family: family.to_owned(),
        vcpu: 1,
        memory_mb: 2048,
        default_disk_gb: 20,
        hourly_rate: "0.058".to_owned(),
        requires_gpu: family == "gpu",
    };
    vec![kind("tdx.small", "cpu"), kind("h200.small", "gpu"), kind("tdx.large", "cpu")]
}

pub fn provision() -> ProvisionView {
    ProvisionView {
        app_id: Some(AppId::from_bytes([0xab; 20])),
        env_public_key: some!(&"99".repeat(32)),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        kms: Some(machine()),
        fmspc: some!("00a06f050000"),
        device_id: Some(DeviceId::from_bytes([0x66; 32])),
        os_image_hash: some!(&"88".repeat(32)),
        instance_type: some!("tdx.small"),
        node_id: Some(NodeId(3)),
        compose_hash_registered: true,
        expires_at: TIME.to_owned(),
        warnings: vec!["field `foo` is not known and was ignored".to_owned()],
    }
}

pub fn minimal_provision() -> ProvisionView {
    ProvisionView {
        app_id: None,
        env_public_key: None,
        kms: None,
        fmspc: None,
        device_id: None,
        os_image_hash: None,
        instance_type: None,
        node_id: None,
        compose_hash_registered: false,
        warnings: Vec::new(),
        ..provision()
    }
}

fn env_report() -> EnvReportView {
    EnvReportView {
        added: vec!["NEW".to_owned()],
        removed: vec!["OLD".to_owned()],
        missing: vec!["OLD".to_owned()],
    }
}

pub fn update() -> UpdateView {
    UpdateView {
        correlation_id: operation_id(),
        message: "the CVM restarts with the new configuration".to_owned(),
        effect: Some(Effect::Restart),
        queue_position: Some(1),
        joined_to: Some(operation_id()),
        env_report: Some(env_report()),
        allowed_envs_changed: true,
        warnings: vec!["field `foo` is not known and was ignored".to_owned()],
    }
}

pub fn minimal_update() -> UpdateView {
    UpdateView {
        message: String::new(),
        effect: None,
        queue_position: None,
        joined_to: None,
        env_report: None,
        allowed_envs_changed: false,
        warnings: Vec::new(),
        ..update()
    }
}

pub fn compose_provision() -> ComposeProvisionView {
    ComposeProvisionView {
        app_id: AppId::from_bytes([0xab; 20]),
        device_id: Some(DeviceId::from_bytes([0x66; 32])),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        kms: Some(machine()),
        compose_hash_registered: true,
        compose_unchanged: true,
        expires_at: TIME.to_owned(),
        env_report: Some(env_report()),
        warnings: vec!["field `foo` is not known and was ignored".to_owned()],
    }
}

pub fn minimal_compose_provision() -> ComposeProvisionView {
    ComposeProvisionView {
        device_id: None,
        kms: Some(minimal_machine()),
        compose_hash_registered: false,
        compose_unchanged: false,
        env_report: None,
        warnings: Vec::new(),
        ..compose_provision()
    }
}

fn waiting() -> WaitingView {
    WaitingView {
        code: "node_unreachable",
        cause: "node rack-1 does not answer".to_owned(),
        since: TIME.to_owned(),
    }
}

pub fn operation() -> OperationRecordView {
    let cause = CauseView {
        code: "boot_timeout".to_owned(),
        message: "the guest did not come up within 600 s".to_owned(),
    };
    OperationRecordView {
        correlation_id: operation_id(),
        kind: OperationKind::Update,
        state: OperationState::Failed,
        target: Phase::Running,
        triggered_by: UserId(2),
        triggered_by_username: some!("admin"),
        triggered_by_email: some!("admin@example.test"),
        started_at: TIME.to_owned(),
        ended_at: some!(TIME),
        duration_ms: Some(600_000),
        failure: Some(cause.clone()),
        waiting_for: Some(waiting()),
        steps: vec![
            StepView {
                name: "push".to_owned(),
                started_at: TIME.to_owned(),
                ended_at: some!(TIME),
                outcome: Some(StepOutcome::Done),
                cause: None,
            },
            StepView {
                name: "start".to_owned(),
                started_at: TIME.to_owned(),
                ended_at: some!(TIME),
                outcome: Some(StepOutcome::Failed),
                cause: Some(cause),
            },
        ],
        events: vec![OperationEventView {
            kind: "cvm.updated".to_owned(),
            at: TIME.to_owned(),
            phase: Phase::Updating,
        }],
        instance_name: "my-app".to_owned(),
        compose_hash: Some(ComposeHash::from_bytes([0x11; 32])),
        queue_position: Some(0),
        joined_to: Some(operation_id()),
        env_report: Some(env_report()),
    }
}

pub fn minimal_operation() -> OperationRecordView {
    OperationRecordView {
        state: OperationState::Superseded,
        triggered_by_username: None,
        triggered_by_email: None,
        ended_at: None,
        duration_ms: None,
        failure: None,
        waiting_for: None,
        steps: Vec::new(),
        events: Vec::new(),
        compose_hash: None,
        queue_position: None,
        joined_to: None,
        env_report: None,
        ..operation()
    }
}

pub fn operation_status() -> OperationStatusView {
    OperationStatusView { current: Some(operation()), queued: 2 }
}

pub fn idle() -> OperationStatusView {
    OperationStatusView { current: None, queued: 0 }
}

pub fn cancelled() -> Cancelled {
    Cancelled {
        cancelled: true,
        correlation_id: Some(operation_id().to_string()),
        rollback_correlation_id: Some(operation_id().to_string()),
    }
}

pub fn nothing_cancelled() -> Cancelled {
    Cancelled { cancelled: false, correlation_id: None, rollback_correlation_id: None }
}

pub fn batch_stop() -> BatchStop {
    let error = "The requested CVM was not found".to_owned();
    let errors = vec![BatchStopError { cvm_id: "cvm_x".to_owned(), error }];
    BatchStop { total: 4, stopped: 2, skipped: 1, errors }
}

pub fn nothing_stopped() -> BatchStop {
    BatchStop { total: 0, stopped: 0, skipped: 0, errors: Vec::new() }
}

pub fn network_config() -> NetworkConfigView {
    NetworkConfigView {
        kms_urls: vec!["https://kms.test".to_owned()],
        gateway_urls: vec!["https://gateway.test".to_owned()],
        ports: vec![
            PortView {
                cvm: CvmId(7),
                protocol: "tcp".to_owned(),
                host_port: 10_080,
                vm_port: 80,
                host_address: some!("192.0.2.1"),
                source_cidrs: vec!["203.0.113.0/24".to_owned()],
            },
            PortView {
                cvm: CvmId(7),
                protocol: "udp".to_owned(),
                host_port: 10_053,
                vm_port: 53,
                host_address: None,
                source_cidrs: Vec::new(),
            },
        ],
    }
}

pub fn firewall() -> FirewallView {
    FirewallView::Unavailable("the node has none".to_owned())
}

pub fn domain() -> DomainView {
    DomainView {
        domain: "app.example.test".to_owned(),
        port: 80,
        records: vec![
            DnsRecordView {
                kind: RecordType::Cname,
                name: "app.example.test".to_owned(),
                expected: "gateway.test".to_owned(),
                found: some!("gateway.test"),
                is_valid: true,
                is_deprecated: false,
                note: None,
            },
            DnsRecordView {
                kind: RecordType::Txt,
                name: "_dstack-app-address.app.example.test".to_owned(),
                expected: "abab:80".to_owned(),
                found: None,
                is_valid: false,
                is_deprecated: true,
                note: some!("there is no such record"),
            },
        ],
        caa: Some(CaaView {
            records: vec!["0 issue \"letsencrypt.org\"".to_owned()],
            note: some!("only this authority may issue a certificate"),
        }),
        note: some!("the gateway does not serve custom domains"),
    }
}

pub fn minimal_domain() -> DomainView {
    DomainView { records: Vec::new(), caa: None, note: None, ..domain() }
}

fn revision() -> RevisionView {
    RevisionView {
        id: RevisionRef::from_random(7),
        app_id: AppId::from_bytes([0xab; 20]),
        vm_uuid: vm_uuid(),
        cvm: CvmRef::from_random(0),
        cvm_name: "my-app".to_owned(),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        correlation_id: operation_id(),
        origin: Origin::Redeploy,
        triggered_by: PersonView { id: UserId(3), username: "ada".to_owned() },
        workspace: TenantView { id: WorkspaceId(2), name: "Ada".to_owned(), slug: some!("ada") },
    }
}

pub fn revision_detail() -> RevisionDetailView {
    RevisionDetailView {
        revision: revision(),
        document: r#"{"docker_compose_file":"services: {}"}"#.to_owned(),
        encrypted_env: some!("00ff"),
        user_config: some!("{}"),
        env_keys: vec!["A".to_owned()],
    }
}

/// Of the first deployment, without variables.
pub fn minimal_revision() -> RevisionDetailView {
    let origin = Origin::Operation(OperationKind::Create);
    RevisionDetailView {
        revision: RevisionView { origin, ..revision() },
        encrypted_env: None,
        user_config: None,
        env_keys: Vec::new(),
        ..revision_detail()
    }
}

pub fn revision_diff(full: bool) -> RevisionDiffView {
    let nothing = RevisionDiffView {
        from: revision(),
        to: revision(),
        docker_compose_file: None,
        pre_launch_script: None,
        fields: Vec::new(),
        env: EnvReportView::default(),
        encrypted_env_changed: false,
        user_config: None,
    };
    if !full {
        return nothing;
    }
    RevisionDiffView {
        docker_compose_file: some!("@@ -1 +1 @@\n-a\n+b\n"),
        fields: vec![FieldDiffView { field: "salt".to_owned(), from: None, to: Some("x".into()) }],
        env: EnvReportView { added: vec!["B".to_owned()], ..EnvReportView::default() },
        encrypted_env_changed: true,
        user_config: Some((None, some!("{}"))),
        ..nothing
    }
}

/// On two CVMs, or on one.
pub fn redeployed(full: bool) -> Vec<RedeployView> {
    let one = |update| RedeployView { vm_uuid: vm_uuid(), cvm_name: "my-app".to_owned(), update };
    if full { vec![one(update()), one(minimal_update())] } else { vec![one(minimal_update())] }
}

pub fn pending() -> PendingView {
    PendingView {
        vm_uuid: vm_uuid(),
        cvm_name: "my-app".to_owned(),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        on_chain: true,
    }
}

pub fn pending_preview() -> PendingPreviewView {
    PendingPreviewView {
        current_docker_compose: some!("services: {}"),
        pending_docker_compose: some!("services: {}"),
        current_pre_launch_script: some!("true"),
        pending_pre_launch_script: some!("false"),
    }
}

pub fn allowed(full: bool) -> AllowedView {
    AllowedView {
        cvm: Some((CvmId(7), CvmRef::from_random(7))),
        compose_hash: ComposeHash::from_bytes([0x11; 32]),
        device: full.then_some(DeviceId::from_bytes([0x22; 32])),
        contract: full.then(|| ContractSays {
            contract: "0x33".to_owned(),
            hash: true,
            any_device: false,
            device: Some(false),
            all: false,
            error: some!("why"),
        }),
    }
}

pub fn allowlist(full: bool) -> AllowlistView {
    if !full {
        return AllowlistView::default();
    }
    let device = AllowlistDeviceView {
        device: DeviceId::from_bytes([0x22; 32]),
        node: some!("node-1"),
        cvms: vec![(CvmId(7), CvmRef::from_random(7))],
        listed: Some(true),
    };
    let other =
        AllowlistDeviceView { node: None, cvms: Vec::new(), listed: None, ..device.clone() };
    AllowlistView {
        contract: Some((8453, "0x33".to_owned())),
        any_device: Some(false),
        devices: vec![device, other],
    }
}

pub fn kms_on_chain(full: bool) -> OnchainKms {
    let contract = OnchainContract {
        contract_address: "0x33".to_owned(),
        chain_id: 8453,
        chain_name: "base".to_owned(),
        devices: vec![
            OnchainDevice {
                device_id: "22".repeat(32),
                node_name: some!("node-1"),
                on_chain_allowed: Some(true),
            },
            OnchainDevice { device_id: "23".repeat(32), node_name: None, on_chain_allowed: None },
        ],
        os_images: vec![OnchainOsImage {
            name: "dstack-0.5.4".to_owned(),
            version: "0.5.4".to_owned(),
            os_image_hash: None,
            on_chain_allowed: None,
        }],
    };
    OnchainKms {
        chain_name: "base".to_owned(),
        chain_id: 8453,
        contracts: full.then_some(contract).into_iter().collect(),
    }
}

pub fn kms_inspection(full: bool) -> KmsInspection {
    let rpc = KmsSelf {
        version: "0.5.4".to_owned(),
        is_dev: true,
        chain_id: Some(8453),
        kms_contract_address: some!("0x33"),
        gateway_app_id: some!("any"),
        bootstrap_info: KmsKeys {
            k256_pubkey: "04".to_owned(),
            ca_pubkey: "05".to_owned(),
            quote_length: 0,
            eventlog_length: 0,
        },
        version_synced: true,
    };
    let image = KmsTeepodImage {
        name: "dstack-0.5.4".to_owned(),
        version: "0.5.4".to_owned(),
        is_dev: false,
    };
    let teepod = KmsTeepod {
        id: 1,
        name: "node-1".to_owned(),
        teepod_version_db: some!("0.5.4"),
        teepod_version_real: None,
        kms_url: some!("https://kms.test"),
        kms_urls: vec!["https://kms.test".to_owned()],
        available_os_images: vec![image],
        error: some!("the node does not answer"),
    };
    let on_chain = KmsOnchain {
        exists: Some(true),
        block_number: Some(7),
        verification: KmsVerification { device_id_allowed: Some(true), ..<_>::default() },
        error: None,
    };
    KmsInspection {
        id: "kms_1".to_owned(),
        slug: full.then(|| "kms-base-1".to_owned()),
        endpoint: "https://kms.test".to_owned(),
        kms_type: "base".to_owned(),
        db_version: "0.5.4".to_owned(),
        rpc: full.then_some(rpc),
        rpc_error: None,
        guest_agent: None,
        guest_agent_error: some!("no guest"),
        teepods: full.then_some(teepod).into_iter().collect(),
        on_chain: full.then_some(on_chain),
    }
}

pub fn app_kms_info(full: bool) -> AppKmsInfo {
    if !full {
        return AppKmsInfo::default();
    }
    AppKmsInfo {
        is_onchain_kms: true,
        chain_id: Some(8453),
        kms_contract_address: some!("0x33"),
        app_contract_address: some!("0x44"),
        deployer_address: some!("0x55"),
        deployer_type: some!("safe"),
        is_contract: true,
        safe_app_url: some!("https://app.safe.global/home?safe=base:0x55"),
        owner_address: some!("0x55"),
        pending_owner_address: some!("0x66"),
    }
}

pub fn ssh_key(full: bool) -> SshKeyResponse {
    let metadata = SshKeyMetadata { bits: Some(4096), github_username: Some("octocat".to_owned()) };
    SshKeyResponse {
        id: "sshkey_1".to_owned(),
        user_id: "1".to_owned(),
        name: "laptop".to_owned(),
        public_key: "ssh-rsa AAAA me".to_owned(),
        fingerprint: "SHA256:abc".to_owned(),
        key_type: "ssh-rsa".to_owned(),
        source: if full { SshKeySource::Github } else { SshKeySource::Manual },
        key_metadata: full.then_some(metadata),
        last_synced_at: full.then(|| "2026-01-01T00:00:00Z".to_owned()),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        updated_at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

pub fn ssh_import(full: bool) -> GithubProfileImportResponse {
    GithubProfileImportResponse {
        github_username: "octocat".to_owned(),
        keys_added: 1,
        keys_skipped: 0,
        errors: if full { vec!["octocat: key 2 is short".to_owned()] } else { Vec::new() },
    }
}

pub fn ssh_sync(full: bool) -> GithubSyncResponse {
    let errors = if full { vec!["octocat: no answer in time".to_owned()] } else { Vec::new() };
    GithubSyncResponse { synced_count: 1, keys_added: 1, errors, ..GithubSyncResponse::default() }
}
