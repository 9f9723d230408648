//! What official clients insist on, reply by reply. Measured with the TypeScript SDK 0.2.9 by
//! leaving out, nulling and retyping every field of an accepted reply; where Go or Python insist on
//! more, that is in it too. Marks and types: [`crate::checker`].

use super::checker::Requirement;

const FIRST: &str = "2025-10-28";
const NESTED: &str = "2026-01-21";
const TEXT_IDS: &str = "2026-05-22";
const LAST: &str = "2026-06-23";

const MACHINE: &str = "id=text slug~text url=text version=text chain_id~int \
                       kms_contract_address~text gateway_app_id~text";
const ENDPOINT: &str = "app=text instance=text";
const PAGE: &str = "items=list total=int page=int page_size=int pages=int";

const INFO: &str = "id=text name=text status=text resource=object gateway=object in_progress+bool \
    app_id?text vm_uuid?text instance_id?text node_info?object os?object kms_type?text \
    kms_info?object progress?object compose_hash?text docker_compose_hash?text \
    pre_launch_script_hash?text logs+object services+list endpoints?list public_urls?list \
    public_logs+bool public_sysinfo+bool public_tcbinfo+bool gateway_enabled+bool secure_time+bool \
    listed+bool storage_fs+text workspace?object creator?object created_at?text deleted_at?text \
    updated_at+text project_type?text app_url+text base_image+text features+list runner+text \
    manifest_version+text disk_size+int encrypted_env_pubkey+text compose_file?object|text";
const RESOURCE: &str = "instance_type?text vcpu?int memory_in_gb?num disk_in_gb?int gpus?int \
    compute_billing_price?text billing_period?'hourly'|'monthly'|'skip'";
const NODE_INFO: &str = "object_type='node' id?int name?text region?text device_id?text ppid?text \
    status?text version?text";
const OS: &str = "name?text version?text is_dev?bool os_image_hash?text";
const CVM_KMS: &str = "chain_id?int dstack_kms_address?text dstack_app_address?text \
    deployer_address?text rpc_endpoint?text encrypted_env_pubkey?text k256_pubkey+text";
const PROGRESS: &str = "target?text started_at?text correlation_id?text";
const GATEWAY: &str = "base_domain?text cname?text";
const WORKSPACE_REF: &str = "object_type='workspace' id=text name=text slug?text avatar_url?text";
const REVISION: &str = "revision_id=text app_id=text vm_uuid=text compose_hash=text \
    created_at=text operation_type=text trace_id?text triggered_by?object cvm?object \
    workspace?object";
const CVM_REF: &str = "object_type='cvm' id?text name?text app_id?text vm_uuid?text";
const USER_REF: &str = "object_type='user' id?text username?text avatar_url?text";

const FLAT: &str = "name=text status=text app_id=text vcpu=int memory=int disk_size=int \
    teepod_id~int vm_uuid~text instance_id~text base_image~text encrypted_env_pubkey~text \
    teepod?object project_id?text project_type?text instance_type?text dapp_dashboard_url?text \
    syslog_endpoint?text kms_info?object contract_address?text deployer_address?text \
    scheduled_delete_at?text gateway_domain?text machine_info?object updated_at?text \
    in_progress+bool listed+bool public_sysinfo+bool public_logs+bool public_urls+list";
const SSH_KEY: &str = "id=text user_id=text name=text public_key=text fingerprint=text \
    key_type=text source=text key_metadata?object last_synced_at?text created_at=text \
    updated_at=text";
const TEEPOD: &str = "id=int name=text region_identifier?text";
const HOSTED_ITEM: &str = "hosted=object name=text status=text public_urls=list managed_user~object \
    node~object dapp_dashboard_url~text syslog_endpoint~text project_id~text project_type~text \
    billing_period~text kms_info~object vcpu~int memory~int disk_size~int gateway_domain~text \
    machine_info?object updated_at?text listed+bool in_progress+bool allow_upgrade+bool";
const HOSTED: &str = "id=text name=text status=text uptime=text app_id=text app_url~text \
    instance_id~text exited_at~text boot_progress~text boot_error~text shutdown_progress~text \
    image_version~text configuration?any";
const BASIC: &str = "vm_uuid~text app_id=text name+text status=text vcpu=int memory=int \
    disk_size=int teepod_id=int teepod_name=text region_identifier?text kms_type?text \
    instance_type?text listed?bool base_image?text kms_slug?text kms_id?text instance_id?text \
    machine_info?object updated_at?text";
const VM: &str = "name=text status=text teepod_id=int teepod~object app_id=text vcpu=int memory=int \
    disk_size=int created_at=text vm_uuid~text instance_id~text encrypted_env_pubkey~text \
    base_image~text docker_compose_file~text app_url?text manifest_version?int version?text \
    runner?text features?list app_auth_contract_address?text deployer_address?text";

const APP: &str = "id=text name=text app_id=text created_at=text kms_type=text \
    app_provision_type?text app_icon_url?text profile?object current_cvm?object cvms+list \
    cvm_count+int";
const PROFILE: &str = "display_name?text avatar_url?text description?text custom_domain?text";
const INSTANCE_TYPE: &str = "id=text name=text description=text vcpu=int memory_mb=int \
    hourly_rate=text requires_gpu=bool family~text default_disk_size_gb+int";
const KMS_CONTRACT: &str = "id=text contract_address=text chain_id=int node_count=int slug?text \
    label?text k256_pubkey?text ca_pubkey?text";
const UPDATE: &str = "status='in_progress' message=text correlation_id=text";
const OPERATION: &str = "correlation_id=text operation_type=text target_state=text started_at=text \
    status='completed'|'in_progress'|'failed' sub_operations=list events=list instance_name=text \
    triggered_by_username?text triggered_by_email?text completed_at?text duration_ms?int \
    error_message?text compose_hash?text";

const ALLOWED: &str = "app_contract_address=text compose_hash=text device_id=text \
    compose_hash_allowed=bool allow_any_device=bool device_id_allowed?bool is_allowed=bool \
    error?text";

macro_rules! nested {
    ($prefix:literal) => {
        &[
            ($prefix, INFO),
            (concat!($prefix, ".resource"), RESOURCE),
            (concat!($prefix, ".node_info"), NODE_INFO),
            (concat!($prefix, ".os"), OS),
            (concat!($prefix, ".kms_info"), CVM_KMS),
            (concat!($prefix, ".progress"), PROGRESS),
            (concat!($prefix, ".gateway"), GATEWAY),
            (concat!($prefix, ".endpoints[]"), ENDPOINT),
            (concat!($prefix, ".public_urls[]"), ENDPOINT),
            (concat!($prefix, ".workspace"), WORKSPACE_REF),
            (concat!($prefix, ".creator"), USER_REF),
        ]
    };
}

macro_rules! hosted {
    ($prefix:literal) => {
        &[
            ($prefix, HOSTED_ITEM),
            (concat!($prefix, ".hosted"), HOSTED),
            (concat!($prefix, ".managed_user"), "id=int username=text"),
            (concat!($prefix, ".node"), TEEPOD),
            (concat!($prefix, ".kms_info"), MACHINE),
            (concat!($prefix, ".public_urls[]"), ENDPOINT),
        ]
    };
}

type Objects = &'static [(&'static str, &'static str)];

const fn loose(
    reply: &'static str,
    from: &'static str,
    to: &'static str,
    objects: Objects,
) -> Requirement {
    Requirement { reply, from, to, objects, strict: &[] }
}

/// Every requirement; several may speak of the same reply.
pub const TABLE: &[Requirement] = &[
    loose("cvm_detail", NESTED, LAST, nested!("")),
    loose(
        "cvm_detail",
        FIRST,
        FIRST,
        &[
            ("", FLAT),
            ("", "id=int"),
            ("teepod", TEEPOD),
            ("kms_info", MACHINE),
            ("public_urls[]", ENDPOINT),
        ],
    ),
    loose(
        "cvm_visibility",
        FIRST,
        LAST,
        &[("", FLAT), ("teepod", TEEPOD), ("kms_info", MACHINE), ("public_urls[]", ENDPOINT)],
    ),
    loose("cvm_visibility", FIRST, NESTED, &[("", "id=int")]),
    loose("cvm_visibility", TEXT_IDS, LAST, &[("", "id=text")]),
    loose("cvm_list", FIRST, LAST, &[("", PAGE)]),
    loose("cvm_list", FIRST, FIRST, hosted!("items[]")),
    loose("cvm_list", NESTED, LAST, nested!("items[]")),
    loose("cvm_commit", FIRST, LAST, &[("", VM), ("teepod", TEEPOD)]),
    loose("cvm_commit", FIRST, NESTED, &[("", "id=int user_id~int")]),
    loose("cvm_commit", TEXT_IDS, LAST, &[("", "id=text user_id~text")]),
    loose("vm_action", FIRST, LAST, &[("", VM), ("teepod", TEEPOD)]),
    loose("vm_action", FIRST, NESTED, &[("", "id=int user_id?int")]),
    loose("vm_action", TEXT_IDS, LAST, &[("", "id=text user_id?text")]),
    loose("new_instance", FIRST, NESTED, &[("", VM), ("", "id=int")]),
    loose("new_instance", TEXT_IDS, LAST, nested!("")),
    loose(
        "state",
        FIRST,
        LAST,
        &[(
            "",
            "name=text status=text id+text instance_id+text uptime+text exited_at+text \
             boot_progress+text boot_error+text shutdown_progress+text in_progress+bool",
        )],
    ),
    loose(
        "status_batch",
        FIRST,
        LAST,
        &[(
            "*",
            "vm_uuid=text status=text in_progress=bool uptime?text boot_progress?text \
             boot_error?text shutdown_progress?text operation_type?text \
             operation_started_at?text correlation_id?text operation+object events+list",
        )],
    ),
    loose(
        "status_batch",
        LAST,
        LAST,
        &[("*.operation", "type?text phase?text started_at?text correlation_id?text")],
    ),
    loose(
        "auth_me",
        FIRST,
        FIRST,
        &[(
            "",
            "username=text email=text credits=num granted_credits=num avatar=text \
             team_name=text team_tier=text",
        )],
    ),
    loose(
        "auth_me",
        NESTED,
        LAST,
        &[
            ("", "user=object workspace=object credits=object"),
            (
                "user",
                "username=text email=text role='admin'|'user' avatar=text email_verified=bool \
                 totp_enabled=bool has_backup_codes=bool flag_has_password=bool",
            ),
            ("workspace", "id=text name=text tier=text role=text slug~text avatar?text"),
            (
                "credits",
                "balance=text granted_balance=text is_post_paid=bool outstanding_amount~text",
            ),
        ],
    ),
    loose(
        "teepods_available",
        FIRST,
        LAST,
        &[
            ("", "tier=text capacity=object nodes=list kms_list=list"),
            ("capacity", "max_instances?int max_vcpu?int max_memory?int max_disk?int"),
            (
                "nodes[]",
                "teepod_id=int name=text listed=bool resource_score=num remaining_vcpu=num \
                 remaining_memory=num remaining_cvm_slots=num images=list fmspc?text \
                 device_id?text region_identifier?text default_kms?text \
                 support_onchain_kms+bool kms_list+list",
            ),
            ("nodes[].images[]", "name=text is_dev=bool version=list os_image_hash?text"),
            ("kms_list[]", MACHINE),
        ],
    ),
    Requirement {
        reply: "instance_types",
        from: FIRST,
        to: LAST,
        objects: &[
            ("", "result=list"),
            ("result[]", "name=text items=list total=int"),
            ("result[].items[]", INSTANCE_TYPE),
        ],
        strict: &["", "result[]", "result[].items[]"],
    },
    Requirement {
        reply: "instance_type_family",
        from: FIRST,
        to: LAST,
        objects: &[("", "items=list total=int family=text"), ("items[]", INSTANCE_TYPE)],
        strict: &["", "items[]"],
    },
    loose(
        "os_images",
        FIRST,
        LAST,
        &[
            ("", PAGE),
            (
                "items[]",
                "name=text slug=text version=text is_dev=bool requires_gpu=bool \
                 os_image_hash~text",
            ),
        ],
    ),
    loose(
        "available_os_images",
        FIRST,
        LAST,
        &[
            ("[]", "version=list prod~object dev~object"),
            ("[].prod", "name=text is_current=bool os_image_hash~text"),
            ("[].dev", "name=text is_current=bool os_image_hash~text"),
        ],
    ),
    Requirement {
        reply: "kms_list",
        from: FIRST,
        to: TEXT_IDS,
        objects: &[("", PAGE), ("items[]", MACHINE)],
        strict: &["", "items[]"],
    },
    Requirement {
        reply: "kms_list",
        from: LAST,
        to: LAST,
        objects: &[("", PAGE), ("items[]", KMS_CONTRACT)],
        strict: &["", "items[]"],
    },
    loose("kms_info", FIRST, TEXT_IDS, &[("", MACHINE)]),
    loose("kms_info", LAST, LAST, &[("", KMS_CONTRACT)]),
    loose(
        "kms_contract_nodes",
        LAST,
        LAST,
        &[
            ("", "items=list total=int"),
            ("items[]", "id=text url=text version=text kms_type=text slug?text"),
        ],
    ),
    Requirement {
        reply: "kms_pubkey",
        from: FIRST,
        to: LAST,
        objects: &[("", "public_key=text signature=text")],
        strict: &[""],
    },
    Requirement {
        reply: "next_app_ids",
        from: FIRST,
        to: LAST,
        objects: &[("", "app_ids=list"), ("app_ids[]", "app_id=text nonce=int")],
        strict: &["", "app_ids[]"],
    },
    loose(
        "provision",
        FIRST,
        LAST,
        &[
            (
                "",
                "compose_hash=text app_id?text app_env_encrypt_pubkey?text kms_info?object \
                 fmspc?text device_id?text os_image_hash?text instance_type?text teepod_id?int \
                 node_id?int kms_id?text kms_contract_id+text compose_hash_registered+bool",
            ),
            ("kms_info", MACHINE),
        ],
    ),
    loose(
        "apps",
        FIRST,
        LAST,
        &[
            ("", "dstack_apps=list page=int page_size=int total=int total_pages=int"),
            ("dstack_apps[]", APP),
            ("dstack_apps[].profile", PROFILE),
        ],
    ),
    loose("apps", NESTED, LAST, nested!("dstack_apps[].current_cvm")),
    loose("app_info", FIRST, LAST, &[("", APP), ("profile", PROFILE)]),
    loose("app_info", FIRST, FIRST, &[("current_cvm", BASIC), ("cvms[]", BASIC)]),
    loose("app_info", NESTED, LAST, nested!("current_cvm")),
    loose("app_info", NESTED, LAST, nested!("cvms[]")),
    loose("app_cvms", FIRST, FIRST, hosted!("[]")),
    loose("app_cvms", NESTED, LAST, nested!("[]")),
    loose("accepted", FIRST, LAST, &[("", "correlation_id=text")]),
    loose("update_result", FIRST, LAST, &[("", UPDATE)]),
    loose("envs_update_result", FIRST, LAST, &[("", UPDATE), ("", "allowed_envs_changed=bool")]),
    loose(
        "compose_provision",
        FIRST,
        LAST,
        &[
            (
                "",
                "compose_hash=text app_id=text device_id~text kms_info?object \
                 compose_hash_registered+bool compose_unchanged+bool",
            ),
            ("kms_info", MACHINE),
        ],
    ),
    loose("operations", FIRST, LAST, &[("", "items=list total=int next_cursor?text")]),
    loose("operations", FIRST, LAST, &[("items[]", OPERATION)]),
    loose("operations", FIRST, NESTED, &[("items[]", "triggered_by=int")]),
    loose("operations", TEXT_IDS, LAST, &[("items[]", "triggered_by=text")]),
    loose(
        "operations",
        FIRST,
        LAST,
        &[("items[].events[]", "event_type=text timestamp=text state=text")],
    ),
    loose("operation_status", FIRST, LAST, &[("", "status='idle'|'in_progress'")]),
    loose(
        "revisions",
        FIRST,
        LAST,
        &[
            ("", "revisions=list total=int page=int page_size=int total_pages=int"),
            ("revisions[]", REVISION),
            ("revisions[].triggered_by", USER_REF),
            ("revisions[].cvm", CVM_REF),
            ("revisions[].workspace", WORKSPACE_REF),
        ],
    ),
    loose(
        "revision_detail",
        FIRST,
        LAST,
        &[
            ("", REVISION),
            ("", "compose_file?object|text encrypted_env=text user_config=text"),
            ("triggered_by", USER_REF),
            ("cvm", CVM_REF),
            ("workspace", WORKSPACE_REF),
        ],
    ),
    loose(
        "revision_diff",
        FIRST,
        LAST,
        &[
            (
                "",
                "from=object to=object identical=bool docker_compose_file?text \
                 pre_launch_script?text fields=list env=object encrypted_env_changed=bool \
                 user_config?object",
            ),
            ("from", REVISION),
        ],
    ),
    loose(
        "redeployed",
        FIRST,
        LAST,
        &[("", "message=text correlation_id=text status='in_progress'|'no_change'")],
    ),
    loose(
        "app_redeployed",
        FIRST,
        LAST,
        &[
            ("", "message=text correlation_id~text status='in_progress'|'no_change' cvms+list"),
            ("cvms[]", "vm_uuid=text name=text correlation_id=text"),
        ],
    ),
    loose(
        "pending_updates",
        FIRST,
        LAST,
        &[
            ("", "items+list"),
            ("items[]", "vm_uuid=text compose_hash=text on_chain=bool instance_name?text"),
        ],
    ),
    loose(
        "pending_preview",
        FIRST,
        LAST,
        &[(
            "",
            "current_docker_compose~text pending_docker_compose~text \
             current_pre_launch_script~text pending_pre_launch_script~text",
        )],
    ),
    loose("cancelled", FIRST, LAST, &[("", "cancelled=bool correlation_id?text")]),
    loose(
        "batch_stop",
        FIRST,
        LAST,
        &[
            ("", "total=int stopped=int skipped=int errors+list"),
            ("errors[]", "cvm_id=text error=text"),
        ],
    ),
    loose(
        "ports",
        FIRST,
        LAST,
        &[("[]", "id=text host_port=int vm_port=int protocol=text host_address=text")],
    ),
    loose(
        "network_config",
        FIRST,
        LAST,
        &[
            ("", "kms_urls+list gateway_urls+list ports+list"),
            ("ports[]", "host_port=int vm_port=int protocol+text host_address+text"),
        ],
    ),
    loose("is_allowed", FIRST, LAST, &[("", ALLOWED)]),
    loose("is_allowed", FIRST, NESTED, &[("", "cvm_id+int")]),
    loose("is_allowed", TEXT_IDS, LAST, &[("", "cvm_id+text")]),
    loose(
        "cvms_allowed",
        FIRST,
        LAST,
        &[
            (
                "",
                "is_onchain=bool results+list total+int allowed_count+int denied_count+int \
                 error_count+int skipped_cvm_ids+list",
            ),
            ("results[]", ALLOWED),
        ],
    ),
    loose("cvms_allowed", FIRST, NESTED, &[("results[]", "cvm_id=int")]),
    loose("cvms_allowed", TEXT_IDS, LAST, &[("results[]", "cvm_id=text")]),
    loose(
        "device_allowlist",
        FIRST,
        LAST,
        &[
            (
                "",
                "is_onchain_kms=bool allow_any_device?bool chain_id?int app_contract_address?text \
                 devices+list",
            ),
            (
                "devices[]",
                "device_id=text node_name~text cvm_ids=list allowed_onchain=bool status=text",
            ),
        ],
    ),
    loose(
        "kms_on_chain",
        FIRST,
        LAST,
        &[
            ("", "chain_name=text chain_id=int contracts=list"),
            (
                "contracts[]",
                "contract_address=text chain_id=int chain_name=text devices=list os_images=list",
            ),
            ("contracts[].devices[]", "device_id=text node_name?text on_chain_allowed~bool"),
            (
                "contracts[].os_images[]",
                "name=text version=text os_image_hash~text on_chain_allowed~bool",
            ),
        ],
    ),
    loose(
        "kms_inspection",
        FIRST,
        LAST,
        &[
            (
                "",
                "id=text slug~text endpoint=text kms_type=text db_version=text rpc?object \
                 rpc_error?text guest_agent?object guest_agent_error?text teepods+list \
                 on_chain?object",
            ),
            (
                "rpc",
                "version=text is_dev=bool chain_id?int kms_contract_address?text \
                 gateway_app_id?text bootstrap_info=object version_synced=bool",
            ),
            (
                "rpc.bootstrap_info",
                "k256_pubkey=text ca_pubkey=text quote_length=int eventlog_length=int",
            ),
            (
                "teepods[]",
                "id=int name=text teepod_version_db?text teepod_version_real?text kms_url?text \
                 kms_urls+list available_os_images+list error?text",
            ),
            ("teepods[].available_os_images[]", "name=text version=text is_dev=bool"),
            ("on_chain", "verification+object error?text"),
        ],
    ),
    loose(
        "app_kms_info",
        FIRST,
        LAST,
        &[(
            "",
            "is_onchain_kms+bool chain_id?int kms_contract_address?text \
             app_contract_address?text deployer_address?text deployer_type?text is_contract+bool \
             safe_app_url?text",
        )],
    ),
    loose("ssh_keys", FIRST, LAST, &[("[]", SSH_KEY)]),
    loose("ssh_key_created", FIRST, LAST, &[("", SSH_KEY)]),
    loose(
        "ssh_import_github",
        FIRST,
        LAST,
        &[("", "github_username=text keys_added=int keys_skipped=int errors+list")],
    ),
    loose(
        "ssh_sync_github",
        FIRST,
        LAST,
        &[("", "synced_count=int keys_added=int keys_updated=int keys_removed=int errors+list")],
    ),
    loose("firewall_status", FIRST, LAST, &[("", "available=bool reason?text")]),
    loose(
        "diagnosis",
        FIRST,
        LAST,
        &[
            ("", "results=list"),
            ("results[]", "domain=text port=int records=list is_valid=bool caa_check?object"),
            (
                "results[].records[]",
                "record_type='CNAME'|'TXT' query_name=text expected_value=text is_valid=bool \
                 actual_value?text is_deprecated+bool warning_message?text",
            ),
            (
                "results[].caa_check",
                "caa_records=list acme_fetches=list is_match=bool accounturi?text \
                 expected_uri?text info_message?text",
            ),
        ],
    ),
];
