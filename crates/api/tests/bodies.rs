//! Request bodies as real clients send them, and what is said of wrong ones.

use casemate_api::{
    approval::CommitTokenRequest,
    body::{self, Parsed},
    commit::CommitRequest,
    compose_file::{ComposeFile, StorageFs},
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    cvm_patch::CvmPatch,
    cvm_settings::{
        EnvsRequest, ListedRequest, NameRequest, OsImageRequest, ResourcesRequest,
        ScheduledDeleteRequest, UserConfigRequest, VisibilityRequest,
    },
    domain::DiagnoseRequest,
    error::ValidationItem,
    kms_type::KmsType,
    network::{NetworkConfigRequest, PortsRequest},
    operation::{BatchStopRequest, CancelRequest},
    patch::Patch,
    power::RestartRequest,
    provision::{ProvisionOrCommit, ProvisionRequest, discriminate},
    replicate::{InstanceRequest, ReplicateRequest},
    revision::{AppRedeployRequest, RedeployRequest},
    status_batch::StatusBatchRequest,
};
use casemate_core::id::{AppId, NodeId};
use proptest::prelude::*;
use serde_json::{Value, json};

const APP: &str = "0123456789abcdef0123456789abcdef01234567";

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Parsed<T> {
    match body::parse(value.to_string().as_bytes()) {
        Ok(parsed) => parsed,
        Err(items) => panic!("{value} is refused: {items:?}"),
    }
}

fn refused<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<(String, String)> {
    let Err(items) = body::parse::<T>(value.to_string().as_bytes()) else {
        panic!("{value} is not refused")
    };
    let place = |item: &ValidationItem| Value::from(item.loc.clone()).to_string();
    items.iter().map(|item| (place(item), item.kind.clone())).collect()
}

fn app_id() -> AppId {
    APP.parse().unwrap_or(AppId::from_bytes([0; 20]))
}

#[test]
fn the_reference_with_every_field_is_understood() {
    let value = json!({
        "compose_file": {
            "name": "n", "allowed_envs": ["A"], "bash_script": "b", "default_gateway_domain": "d",
            "docker_compose_file": "services: {}", "init_script": "i", "kms_enabled": true,
            "local_key_provider_enabled": false, "manifest_version": 2, "no_instance_id": false,
            "pre_launch_script": "p", "public_logs": true, "public_sysinfo": true,
            "public_tcbinfo": true, "runner": "docker-compose", "gateway_enabled": true,
            "features": ["kms", "tproxy-net"], "salt": "s", "secure_time": false,
            "storage_fs": "zfs", "tproxy_enabled": true
        },
        "name": "my-app", "instance_type": "tdx.small", "vcpu": 1, "memory": 2048,
        "disk_size": 20, "image": "dstack-0.5.4", "prefer_dev": true, "teepod_id": 3,
        "region": "us", "listed": true, "kms_id": "kms_1", "kms": "phala", "nonce": 7,
        "app_id": APP, "env_keys": ["A"],
        "ports": [{"protocol": "tcp", "host_port": 1, "vm_port": 65535, "host_address": "h"}],
        "encrypted_env": "00", "user_config": "u", "hugepages": false, "pin_numa": false,
        "gpus": {"gpus": [{"slot": "s", "product_id": "p"}], "attach_mode": "listed"},
        "kms_urls": ["k"], "gateway_urls": ["g"], "experimental_vpc_server_app_id": "v"
    });
    let Parsed { value: request, unknown } = read::<ProvisionRequest>(&value);
    assert!(unknown.is_empty(), "{unknown:?}");
    // Nothing is lost: written again, it is what came in.
    assert_eq!(serde_json::to_value(&request).unwrap(), value);
}

#[test]
fn spellings_of_every_client_end_up_in_one_place() {
    let go = json!({
        "name": "my-app", "instance_type": "", "TeepodID": 3.0, "kms_type": "PHALA",
        "custom_app_id": format!("0x{}", APP.to_uppercase()), "os_image_name": "dstack-0.5.4",
        "kms_contract_id": 12, "kms_contract": "0xabc", "kms_id": "kms_1", "secure_time": 1,
        "ssh_authorized_keys": ["ssh-ed25519 A"], "storage_fs": "EXT4",
        "key_provider_mode": "kms", "skip_gateway": false, "encrypted": true,
        "compose_file": {
            "name": "", "docker_compose_file": "x", "encrypted_env": "00",
            "manifest_version": "2", "tproxy_enabled": false, "storage_fs": null
        }
    });
    let Parsed { value: request, unknown } = read::<ProvisionRequest>(&go);
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(request.instance_type, None);
    assert_eq!(request.node_id, Some(NodeId(3)));
    assert_eq!(request.kms, Some(KmsType::Phala));
    assert_eq!(request.app_id, Some(app_id()));
    assert_eq!(request.image.as_deref(), Some("dstack-0.5.4"));
    assert_eq!(request.kms_contract_id.as_deref(), Some("12"));
    assert_eq!(request.kms_contract.as_deref(), Some("0xabc"));
    assert_eq!(request.secure_time, Some(true));
    assert_eq!(request.storage_fs, Patch::Value(StorageFs::Ext4));
    assert_eq!(request.sealed_env(), Some("00"));
    let compose = request.compose_file.unwrap();
    assert_eq!(compose.manifest_version, Some(2));
    assert_eq!(compose.gateway(), Some(false));
    assert_eq!(compose.storage_fs, Patch::Null);
}

#[test]
fn agreeing_spellings_are_fine_and_contradictions_are_refused() {
    let both =
        json!({"name": "n", "teepod_id": 1, "node_id": 1.0, "kms": "BASE", "kms_type": "base"});
    let request = read::<ProvisionRequest>(&both).value;
    assert_eq!((request.node_id, request.kms), (Some(NodeId(1)), Some(KmsType::Base)));
    let torn = json!({"name": "n", "teepod_id": 1, "node_id": 2});
    let items = body::parse::<ProvisionRequest>(torn.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        items[0].to_string(),
        "body: `teepod_id` and `node_id` mean the same field and contradict each other"
    );
}

#[test]
fn null_is_never_refused_where_a_field_may_be_left_out() {
    let full = serde_json::to_value(ProvisionRequest::default()).unwrap();
    assert_eq!(full, json!({"name": ""}));
    for field in [
        "compose_file",
        "instance_type",
        "vcpu",
        "memory",
        "disk_size",
        "image",
        "prefer_dev",
        "teepod_id",
        "node_id",
        "region",
        "listed",
        "kms_id",
        "kms",
        "kms_type",
        "kms_contract",
        "kms_contract_id",
        "nonce",
        "app_id",
        "custom_app_id",
        "env_keys",
        "ports",
        "encrypted_env",
        "user_config",
        "hugepages",
        "pin_numa",
        "gpus",
        "kms_urls",
        "gateway_urls",
        "experimental_vpc_server_app_id",
        "secure_time",
        "storage_fs",
        "ssh_authorized_keys",
        "key_provider_mode",
        "skip_gateway",
        "encrypted",
        "os_image_name",
    ] {
        let parsed = read::<ProvisionRequest>(&json!({"name": "n", field: null}));
        assert!(parsed.unknown.is_empty(), "{field}");
    }
    let commit = json!({
        "compose_hash": "11".repeat(32), "app_id": null, "encrypted_env": null, "env_keys": null,
        "kms_id": null, "contract_address": null, "deployer_address": null,
        "transaction_hash": null
    });
    assert!(read::<CommitRequest>(&commit).unknown.is_empty());
}

#[test]
fn nothing_null_and_an_empty_object_are_the_same_body() {
    for bytes in ["", " \n", "null", "{}", " {} "] {
        let parsed = body::parse::<RestartRequest>(bytes.as_bytes()).unwrap();
        assert_eq!(parsed.value, RestartRequest { force: false });
    }
    assert!(read::<RestartRequest>(&json!({"force": 1})).value.force);
}

#[test]
fn unknown_fields_are_named_at_both_levels() {
    let value = json!({
        "name": "n", "tproxi": 1, "compose_file": {"docker_compose_file": "", "public_log": true}
    });
    let parsed = read::<ProvisionRequest>(&value);
    assert_eq!(parsed.unknown, ["tproxi", "compose_file.public_log"]);
    let update = json!({"name": "n", "update_env_vars": true, "hash": "x", "key_provider": "kms"});
    assert_eq!(read::<ComposeFile>(&update).unknown, ["hash"]);
    let many: Value = (0..100).map(|n| (format!("x{n}"), json!(n))).collect();
    assert_eq!(read::<RestartRequest>(&many).unknown.len(), 32);
}

#[test]
fn every_mistake_has_its_place_and_type() {
    let cases = [
        (json!({}), r#"["body","name"]"#, "missing"),
        (json!({"name": 5}), r#"["body","name"]"#, "string_type"),
        (json!({"name": "n", "vcpu": 2.5}), r#"["body","vcpu"]"#, "int_from_float"),
        (json!({"name": "n", "vcpu": "two"}), r#"["body","vcpu"]"#, "int_type"),
        (json!({"name": "n", "vcpu": []}), r#"["body","vcpu"]"#, "int_type"),
        (json!({"name": "n", "memory": -1}), r#"["body","memory"]"#, "greater_than_equal"),
        (json!({"name": "n", "listed": "yes"}), r#"["body","listed"]"#, "bool_type"),
        (json!({"name": "n", "listed": 2}), r#"["body","listed"]"#, "bool_parsing"),
        (json!({"name": "n", "kms": "tpm"}), r#"["body","kms"]"#, "enum"),
        (json!({"name": "n", "storage_fs": "xfs"}), r#"["body","storage_fs"]"#, "enum"),
        (json!({"name": "n", "app_id": "0x12"}), r#"["body","app_id"]"#, "value_error"),
        (json!({"name": "n", "env_keys": "A"}), r#"["body","env_keys"]"#, "list_type"),
        (json!({"name": "n", "env_keys": ["A", 1]}), r#"["body","env_keys",1]"#, "string_type"),
        (
            json!({"name": "n", "compose_file": "services: {}"}),
            r#"["body","compose_file"]"#,
            "model_attributes_type",
        ),
        (
            json!({"name": "n", "compose_file": ["n"]}),
            r#"["body","compose_file"]"#,
            "model_attributes_type",
        ),
        (
            json!({"name": "n", "compose_file": {"docker_compose_file": {}}}),
            r#"["body","compose_file","docker_compose_file"]"#,
            "string_type",
        ),
        (
            json!({"name": "n", "compose_file": {"storage_fs": "xfs"}}),
            r#"["body","compose_file","storage_fs"]"#,
            "enum",
        ),
        (
            json!({"name": "n", "ports": [{}, {"host_port": 65536}]}),
            r#"["body","ports",1,"host_port"]"#,
            "less_than_equal",
        ),
        (json!({"name": "n", "ports": [7]}), r#"["body","ports",0]"#, "model_attributes_type"),
        (json!([]), r#"["body"]"#, "model_attributes_type"),
        (json!("x"), r#"["body"]"#, "model_attributes_type"),
    ];
    for (value, place, kind) in cases {
        let found = refused::<ProvisionRequest>(&value);
        assert_eq!(found, [(place.to_owned(), kind.to_owned())], "{value}");
    }
    let missing = refused::<CommitRequest>(&json!({"app_id": APP}));
    assert_eq!(missing, [(r#"["body","compose_hash"]"#.to_owned(), "missing".to_owned())]);
    let missing = refused::<StatusBatchRequest>(&json!({}));
    assert_eq!(missing, [(r#"["body","vm_uuids"]"#.to_owned(), "missing".to_owned())]);
}

#[test]
fn several_mistakes_are_told_at_once() {
    let value = json!({
        "vcpu": 2.5, "env_keys": [1, 2], "compose_file": {"salt": 1, "runner": false}
    });
    let places: Vec<String> =
        refused::<ProvisionRequest>(&value).into_iter().map(|item| item.0).collect();
    assert_eq!(
        places,
        [
            r#"["body","compose_file","runner"]"#,
            r#"["body","compose_file","salt"]"#,
            r#"["body","env_keys",0]"#,
            r#"["body","vcpu"]"#,
            r#"["body","name"]"#,
        ]
    );
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    let items = body::parse::<RestartRequest>(b"{\n  \"force\": tru\n}").unwrap_err();
    assert_eq!(items[0].kind, "json_invalid");
    assert_eq!(items[0].loc[0], "body");
    assert!(items[0].loc[1].as_u64().unwrap() >= 14, "{items:?}");
    assert!(body::parse::<RestartRequest>(&[0xff, 0xfe]).is_err());
}

#[test]
fn large_inputs_are_not_repeated() {
    let value = json!({"name": "n", "vcpu": "x".repeat(1000)});
    let items = body::parse::<ProvisionRequest>(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(items[0].input, None);
    let value = json!({"name": "n", "vcpu": "x"});
    let items = body::parse::<ProvisionRequest>(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(items[0].input, Some(json!("x")));
}

#[test]
fn the_two_requests_of_one_path_are_told_apart() {
    let hash = "11".repeat(32);
    for (value, expected) in [
        (json!({"name": "n", "compose_file": {}}), ProvisionOrCommit::Provision),
        (json!({"compose_file": {}, "compose_hash": hash}), ProvisionOrCommit::Provision),
        (json!({"app_id": APP, "compose_hash": hash}), ProvisionOrCommit::Commit),
        (json!({"compose_file": null, "compose_hash": hash}), ProvisionOrCommit::Commit),
        (json!({}), ProvisionOrCommit::Commit),
        (json!([]), ProvisionOrCommit::Commit),
    ] {
        assert_eq!(discriminate(&value), expected, "{value}");
    }
    let commit = json!({"app_id": format!("0x{APP}"), "compose_hash": format!("0x{hash}")});
    let request = read::<CommitRequest>(&commit).value;
    assert_eq!((request.app_id, request.compose_hash.to_string()), (Some(app_id()), hash));
}

/// Any JSON, with names that requests know as often as not.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("name".to_owned()),
        Just("compose_file".to_owned()),
        Just("vcpu".to_owned()),
        Just("ports".to_owned()),
        Just("gpus".to_owned()),
        Just("storage_fs".to_owned()),
        Just("app_id".to_owned()),
        Just("compose_hash".to_owned()),
        Just("env_keys".to_owned()),
        Just("vm_uuids".to_owned()),
        Just("kms".to_owned()),
        Just("listed".to_owned()),
        ".{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from(APP)),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

fn parse_all(bytes: &[u8]) -> [Result<(), Vec<ValidationItem>>; 5] {
    [
        body::parse::<ProvisionRequest>(bytes).map(drop),
        body::parse::<CommitRequest>(bytes).map(drop),
        body::parse::<ComposeFile>(bytes).map(drop),
        body::parse::<StatusBatchRequest>(bytes).map(drop),
        body::parse::<RestartRequest>(bytes).map(drop),
    ]
}

proptest! {
    #[test]
    fn parsing_any_json_ends_well(value in any_json()) {
        discriminate(&value);
        for result in parse_all(value.to_string().as_bytes()) {
            let Err(items) = result else { continue };
            prop_assert!(!items.is_empty() && items.len() <= 16);
            for item in items {
                prop_assert_eq!(&item.loc[0], &json!("body"));
                prop_assert!(!item.msg.is_empty() && !item.kind.is_empty());
            }
        }
    }

    #[test]
    fn parsing_any_bytes_ends_well(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for result in parse_all(&bytes) {
            prop_assert!(result.is_ok() || result.is_err_and(|items| !items.is_empty()));
        }
    }

    #[test]
    fn what_is_understood_is_understood_again(value in any_json(), name in "[a-z]{5}") {
        let mut value = value;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("name".to_owned(), Value::from(name));
        }
        if let Ok(first) = body::parse::<ProvisionRequest>(value.to_string().as_bytes()) {
            let again = serde_json::to_vec(&first.value).unwrap();
            let second = body::parse::<ProvisionRequest>(&again).unwrap();
            prop_assert_eq!(second.value, first.value);
            prop_assert!(second.unknown.is_empty());
        }
    }
}

const HASH: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// Reads a body in which nothing is unknown, and writes it again as it came.
#[track_caller]
fn survives<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> T {
    let Parsed { value: request, unknown } = read::<T>(value);
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(&serde_json::to_value(&request).unwrap_or_default(), value);
    request
}

#[test]
fn a_patch_with_every_field_is_understood() {
    let request: CvmPatch = survives(&json!({
        "docker_compose_file": "services: {}", "pre_launch_script": "p", "allowed_envs": ["A"],
        "public_logs": true, "public_sysinfo": false, "public_tcbinfo": true,
        "gateway_enabled": true, "secure_time": false, "encrypted_env": "00", "env_keys": ["A"],
        "user_config": "u", "gpus": {"count": 1, "product_name": "H200"},
        "instance_type": "tdx.small", "vcpu": 2, "memory": 2048, "disk_size": 40,
        "image": "dstack-0.5.4", "shutdown_timeout": 30, "allow_force_stop": true,
        "listed": false, "allow_restart": true, "compose_hash": HASH,
        "transaction_hash": "already-registered"
    }));
    assert_eq!(request.gpus.as_ref().value().unwrap().count, Some(1));
    survives::<CvmPatch>(&json!({
        "gpus": {"gpus": [{"slot": "s", "product_id": "p"}], "attach_mode": "all"}
    }));
}

#[test]
fn a_patch_takes_away_what_can_be_taken_away_and_leaves_the_rest() {
    let clears = json!({
        "pre_launch_script": null, "allowed_envs": null, "encrypted_env": null,
        "user_config": null, "gpus": null, "shutdown_timeout": null
    });
    let request: CvmPatch = survives(&clears);
    assert_eq!(request.user_config, Patch::Null);
    assert_eq!(request.shutdown_timeout, Patch::Null);
    assert_eq!(request.gpus, Patch::Null);
    for field in [
        "docker_compose_file",
        "public_logs",
        "public_sysinfo",
        "public_tcbinfo",
        "gateway_enabled",
        "secure_time",
        "env_keys",
        "instance_type",
        "vcpu",
        "memory",
        "disk_size",
        "image",
        "os_image_name",
        "allow_force_stop",
        "listed",
        "allow_restart",
        "compose_hash",
        "transaction_hash",
    ] {
        let body = json!({ field: null });
        let Parsed { value, unknown } = read::<CvmPatch>(&body);
        assert!(unknown.is_empty(), "{field} is not known");
        assert_eq!(value, CvmPatch::default(), "{field}");
    }
    // Phase two of the JavaScript SDK has an empty body, other clients none.
    for body in ["", "null", "{}"] {
        assert_eq!(body::parse(body.as_bytes()).map(|p| p.value), Ok(CvmPatch::default()));
    }
}

#[test]
fn a_patch_comes_in_the_spellings_of_every_client() {
    let request = read::<CvmPatch>(&json!({
        "os_image_name": "dstack-0.5.4", "instance_type": "", "vcpu": 2.0, "allow_restart": 1,
        "listed": 0, "shutdown_timeout": 10.0, "gpus": {"count": 2.0},
        "compose_hash": format!("0x{HASH}")
    }))
    .value;
    assert_eq!(request.image.as_deref(), Some("dstack-0.5.4"));
    assert_eq!((request.instance_type, request.vcpu), (None, Some(2)));
    assert_eq!((request.allow_restart, request.listed), (Some(true), Some(false)));
    assert_eq!(request.shutdown_timeout, Patch::Value(10));
    assert_eq!(request.compose_hash.unwrap().to_string(), HASH);
    let torn = json!({"image": "a", "os_image_name": "b"});
    assert_eq!(refused::<CvmPatch>(&torn)[0].1, "value_error");
    let wrong = json!({
        "shutdown_timeout": 9, "vcpu": "2", "gpus": [1], "public_logs": "yes", "user_config": 1
    });
    let mut found = refused::<CvmPatch>(&wrong);
    found.sort();
    let expected = [
        ("gpus", "model_attributes_type"),
        ("public_logs", "bool_type"),
        ("shutdown_timeout", "greater_than_equal"),
        ("user_config", "string_type"),
        ("vcpu", "int_type"),
    ];
    let expected = expected.map(|(field, kind)| (json!(["body", field]).to_string(), kind.into()));
    assert_eq!(found, expected);
    let late = json!({"shutdown_timeout": 1201});
    assert_eq!(refused::<CvmPatch>(&late)[0].1, "less_than_equal");
}

#[test]
fn single_settings_are_understood() {
    survives::<ResourcesRequest>(&json!({
        "instance_type": "tdx.small", "vcpu": 2, "memory": 2048, "disk_size": 40,
        "allow_restart": true
    }));
    // The CLI says yes with a number, the SDK repeats the identifier in the body.
    let cli = read::<ResourcesRequest>(&json!({"id": "app_x", "vcpu": 2.0, "allow_restart": 1}));
    assert_eq!(cli.unknown, ["id"]);
    assert_eq!((cli.value.vcpu, cli.value.allow_restart), (Some(2), Some(true)));
    survives::<VisibilityRequest>(&json!({
        "public_sysinfo": true, "public_logs": false, "public_tcbinfo": true, "listed": false
    }));
    let python = json!({"public_sysinfo": true, "public_logs": false, "public_tcbinfo": null});
    assert_eq!(read::<VisibilityRequest>(&python).value.public_tcbinfo, None);
    survives::<ListedRequest>(&json!({"listed": true}));
    survives::<NameRequest>(&json!({"name": "other"}));
    assert_eq!(
        refused::<NameRequest>(&json!({})),
        [(json!(["body", "name"]).to_string(), "missing".to_owned())]
    );
    let request: EnvsRequest = survives(&json!({
        "encrypted_env": "00", "env_keys": ["A"], "compose_hash": HASH, "transaction_hash": "0x1"
    }));
    assert_eq!(request.env_keys.unwrap(), ["A"]);
    let python = json!({
        "encrypted_env": "00", "env_keys": null, "compose_hash": null, "transaction_hash": null
    });
    let request = read::<EnvsRequest>(&python).value;
    assert_eq!((request.env_keys, request.compose_hash), (None, None));
}

#[test]
fn an_os_image_has_two_spellings_and_must_be_there() {
    for field in ["image", "os_image_name"] {
        let Parsed { value, unknown } = read::<OsImageRequest>(&json!({ field: "dstack-0.5.4" }));
        assert_eq!((value.os_image_name.as_str(), unknown.len()), ("dstack-0.5.4", 0));
    }
    let both = json!({"image": "a", "os_image_name": "b"});
    assert_eq!(refused::<OsImageRequest>(&both)[0].1, "value_error");
    for body in [json!({}), json!({"image": ""}), json!({"os_image_name": null})] {
        let place = json!(["body", "os_image_name"]).to_string();
        assert_eq!(refused::<OsImageRequest>(&body), [(place, "missing".to_owned())], "{body}");
    }
}

#[test]
fn a_single_field_whose_null_is_the_request_is_told_from_one_left_out() {
    let read_time = |value: Value| {
        read::<ScheduledDeleteRequest>(&json!({ "scheduled_delete_at": value }))
            .value
            .scheduled_delete_at
    };
    assert_eq!(read_time(Value::Null), Patch::Null);
    assert_eq!(
        read_time(json!("2026-03-01T13:00:00+01:00")),
        Patch::Value("2026-03-01T12:00:00Z".parse().unwrap())
    );
    survives::<ScheduledDeleteRequest>(&json!({"scheduled_delete_at": "2026-03-01T12:00:00Z"}));
    survives::<ScheduledDeleteRequest>(&json!({"scheduled_delete_at": null}));
    survives::<ScheduledDeleteRequest>(&json!({}));
    for wrong in [json!("soon"), json!("2026-03-01")] {
        let body = json!({ "scheduled_delete_at": wrong });
        assert_eq!(refused::<ScheduledDeleteRequest>(&body)[0].1, "datetime_parsing", "{body}");
    }
    for body in [json!({}), json!({"user_config": null}), json!({"user_config": ""})] {
        survives::<UserConfigRequest>(&body);
    }
}

#[test]
fn compose_updates_are_understood() {
    survives::<ComposeCommitRequest>(&json!({
        "compose_hash": HASH, "encrypted_env": "00", "env_keys": ["A"], "update_env_vars": true,
        "transaction_hash": "0x1"
    }));
    let python = json!({
        "compose_hash": HASH, "encrypted_env": null, "env_keys": null, "update_env_vars": null
    });
    assert_eq!(read::<ComposeCommitRequest>(&python).value.env_keys, None);
    let whole = json!({
        "compose_file": {"name": "n", "docker_compose_file": "services: {}", "env_pubkey": "aa"},
        "compose_hash": format!("0x{HASH}"), "encrypted_env": "00", "env_keys": ["A"]
    });
    let Parsed { value, unknown } = read::<ComposeReplaceRequest>(&whole);
    assert_eq!(unknown, ["compose_file.env_pubkey"]);
    assert_eq!(value.compose_hash.to_string(), HASH);
    for compose_file in [json!(null), json!([]), json!("x")] {
        let body = json!({"compose_file": compose_file, "compose_hash": HASH});
        let kind = &refused::<ComposeReplaceRequest>(&body)[0].1;
        assert_eq!(kind, "model_attributes_type", "{body}");
    }
    let missing = refused::<ComposeReplaceRequest>(&json!({"compose_file": {}}));
    assert_eq!(missing[0].1, "missing");
}

#[test]
fn network_operations_and_domains_are_understood() {
    survives::<NetworkConfigRequest>(&json!({
        "kms_urls": ["k"], "gateway_urls": [], "restart": true
    }));
    let empty = read::<NetworkConfigRequest>(&json!({"kms_urls": null, "restart": null})).value;
    assert_eq!(empty, NetworkConfigRequest::default());
    survives::<PortsRequest>(&json!({"ports": [
        {"vm_port": 80, "protocol": "tcp", "host_port": 1, "host_address": "h",
         "source_cidrs": ["203.0.113.0/24"]},
        {"vm_port": 53},
    ]}));
    for body in [json!({}), json!({"ports": null}), json!({"ports": [1]})] {
        refused::<PortsRequest>(&body);
    }
    let id = "01960000-0000-7000-8000-000000000001";
    survives::<CancelRequest>(&json!({"correlation_id": id}));
    assert_eq!(body::parse(b"").map(|parsed| parsed.value), Ok(CancelRequest::default()));
    assert_eq!(refused::<CancelRequest>(&json!({"correlation_id": "c1"}))[0].1, "value_error");
    let ids = read::<BatchStopRequest>(&json!({"cvm_ids": ["cvm_a", 7]})).value.cvm_ids;
    assert_eq!(ids, ["cvm_a", "7"]);
    let many = json!({"cvm_ids": vec!["cvm_a"; 1001]});
    assert_eq!(refused::<BatchStopRequest>(&many)[0].1, "too_long");
    assert_eq!(
        read::<BatchStopRequest>(&json!({"cvm_ids": vec!["a"; 51]})).value.cvm_ids.len(),
        51
    );
    survives::<RedeployRequest>(&json!({
        "encrypted_env": "00", "env_keys": ["A"], "allow_env_mismatch": true
    }));
    survives::<AppRedeployRequest>(&json!({
        "vm_uuids": ["u"], "all": false, "allow_env_mismatch": false
    }));
    for nothing in [json!({}), json!({"vm_uuids": null, "all": null})] {
        assert_eq!(read::<AppRedeployRequest>(&nothing).value, AppRedeployRequest::default());
    }
    assert_eq!(
        refused::<AppRedeployRequest>(&json!({"vm_uuids": vec!["u"; 1001]}))[0].1,
        "too_long"
    );
    assert_eq!(body::parse(b" null ").map(|parsed| parsed.value), Ok(RedeployRequest::default()));
    survives::<DiagnoseRequest>(&json!({"domains": [{"domain": "app.example.test", "port": 80}]}));
    let half = json!({"domains": [{"domain": "app.example.test"}]});
    assert_eq!(refused::<DiagnoseRequest>(&half)[0].1, "missing");
}

#[test]
fn replicas_and_instances_are_asked_for_in_every_way_of_real_clients() {
    for nothing in ["", "null", "{}", r#"{"node_id":null}"#, r#"{"encrypted_env":"","name":""}"#] {
        let Ok(parsed) = body::parse::<ReplicateRequest>(nothing.as_bytes()) else {
            panic!("{nothing} is refused")
        };
        assert_eq!(parsed.value, ReplicateRequest::default(), "{nothing}");
    }
    let hash = "12".repeat(32);
    let whole = json!({
        "node_id": 2, "teepod_id": 2.0, "encrypted_env": "00", "env_keys": ["A"],
        "compose_hash": format!("0x{hash}"), "os_image": "dstack-0.5.4", "name": "my-app-2"
    });
    let parsed: Parsed<ReplicateRequest> = read(&whole);
    assert!(parsed.unknown.is_empty());
    let written = serde_json::to_value(&parsed.value).unwrap_or_default();
    assert_eq!(
        written,
        json!({
            "node_id": 2, "encrypted_env": "00", "env_keys": ["A"], "compose_hash": hash,
            "os_image": "dstack-0.5.4", "name": "my-app-2"
        }),
    );
    assert_eq!(read::<ReplicateRequest>(&written).value, parsed.value);
    let place = |field: &str| json!(["body", field]).to_string();
    let two = json!({ "node_id": 1, "teepod_id": 2 });
    assert_eq!(
        refused::<ReplicateRequest>(&two),
        [(json!(["body"]).to_string(), "value_error".to_owned())],
    );
    let bad = json!({ "compose_hash": "12", "node_id": "2" });
    let bad: Vec<String> =
        refused::<ReplicateRequest>(&bad).into_iter().map(|(place, _)| place).collect();
    assert_eq!(bad, [place("compose_hash"), place("node_id")]);

    // Python sends all of them.
    let python = json!({
        "name": null, "node_id": null, "docker_compose_file": null, "pre_launch_script": null,
        "encrypted_env": null, "compose_hash": null, "token": null, "transaction_hash": null
    });
    let parsed: Parsed<InstanceRequest> = read(&python);
    assert_eq!((parsed.value, parsed.unknown), (InstanceRequest::default(), Vec::new()));
    let script = json!({ "pre_launch_script": "", "docker_compose_file": "", "teepod_id": 3 });
    let parsed: InstanceRequest = read(&script).value;
    assert_eq!(parsed.pre_launch_script.as_deref(), Some(""), "none, which is not left out");
    assert_eq!(parsed.docker_compose_file.as_deref(), Some(""));
    assert_eq!(parsed.node_id, Some(NodeId(3)));

    let upstreams = json!({ "token": "", "compose_hash": "", "transaction_hash": "" });
    let parsed: CommitTokenRequest = read(&upstreams).value;
    assert_eq!(parsed, CommitTokenRequest::default());
}
