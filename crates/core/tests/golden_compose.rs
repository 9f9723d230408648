//! App-compose documents against bytes and hashes computed by other programs.
//!
//! `golden/app_compose.json` was written by `golden/make.py` (Python 3.11, `json.dumps(sort_keys=True,
//! separators=(",", ":"), ensure_ascii=False)` and `hashlib.sha256` over handwritten documents). It agrees,
//! vector by vector, with `golden/check.mjs`: the SHA-256 of the bytes, and npm `@phala/cloud` 0.2.9's
//! `getComposeHash(JSON.parse(document))`, plain and with `normalize`.

#![expect(clippy::unwrap_used, reason = "a vector that cannot be read fails the test")]

use casemate_core::compose::{AppCompose, ComposeInput, hash};
use serde_json::{Map, Value};

struct Vector {
    name: String,
    cvm_name: String,
    env_keys: Vec<String>,
    input: ComposeInput,
    document: String,
    sha256: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn input(fields: &Map<String, Value>) -> ComposeInput {
    let mut input = ComposeInput::default();
    for (key, value) in fields {
        let (said, flag) = (value.as_str().map(str::to_owned), value.as_bool());
        match key.as_str() {
            "allowed_envs" => input.allowed_envs = texts(value),
            "bash_script" => input.bash_script = said,
            "default_gateway_domain" => input.default_gateway_domain = said,
            "docker_compose_file" => input.docker_compose_file = said,
            "features" => input.features = Some(texts(value)),
            "gateway_enabled" => input.gateway_enabled = flag,
            "init_script" => input.init_script = said,
            "kms_enabled" => input.kms_enabled = flag,
            "local_key_provider_enabled" => input.local_key_provider_enabled = flag,
            "manifest_version" => {
                input.manifest_version = value.as_u64().map(|n| u32::try_from(n).unwrap());
            }
            "name" => input.name = said,
            "no_instance_id" => input.no_instance_id = flag,
            "pre_launch_script" => input.pre_launch_script = said,
            "public_logs" => input.public_logs = flag,
            "public_sysinfo" => input.public_sysinfo = flag,
            "public_tcbinfo" => input.public_tcbinfo = flag,
            "runner" => input.runner = said,
            "salt" => input.salt = said,
            "secure_time" => input.secure_time = flag,
            "storage_fs" => input.storage_fs = Some(said),
            "tproxy_enabled" => input.tproxy_enabled = flag,
            other => panic!("no such field: {other}"),
        }
    }
    input
}

fn vectors() -> Vec<Vector> {
    let all: Vec<Value> = serde_json::from_str(include_str!("golden/app_compose.json")).unwrap();
    all.iter()
        .map(|vector| Vector {
            name: text(&vector["name"]),
            cvm_name: text(&vector["cvm_name"]),
            env_keys: texts(&vector["env_keys"]),
            input: input(vector["input"].as_object().unwrap()),
            document: text(&vector["document"]),
            sha256: text(&vector["sha256"]),
        })
        .collect()
}

#[test]
fn every_document_has_the_bytes_and_the_hash_that_others_compute() {
    let vectors = vectors();
    assert!(vectors.len() >= 12, "{}", vectors.len());
    for vector in vectors {
        let Vector { name, document, sha256, .. } = vector;
        let made = AppCompose::new(vector.input, &vector.cvm_name, &vector.env_keys)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(made.document(), document, "{name}");
        assert_eq!(hash(&made.document()).to_string(), sha256, "{name}");
        let read = AppCompose::parse(&document).unwrap();
        assert_eq!(read, made, "{name}: read back");
        assert_eq!(read.document(), document, "{name}: written again");
    }
}
