//! What differs between the versions of dstack-vmm that Casemate drives: 0.5.8 to 0.5.16, 0.6.0 to 0.6.6.

use serde_json::{Map, Value, json};

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `Version.version`.
    pub version: &'static str,
    /// `Version.rev`.
    pub rev: &'static str,
    /// It serves `/api-docs/openapi.json`.
    pub document: bool,
    /// VMs have annotations.
    pub annotations: bool,
    /// A whole request is checked before the first file is written, and sizes of zero are refused.
    pub checks_first: bool,
    /// Status of an unknown method.
    pub unknown_method: u16,
}

impl Profile {
    /// Every build that the double knows, the oldest first.
    pub const ALL: [Self; 5] = [
        Self {
            version: "0.5.8",
            rev: "b0f12ac",
            document: false,
            annotations: false,
            checks_first: false,
            unknown_method: 400,
        },
        Self {
            version: "0.5.16",
            rev: "7a5f1e2",
            document: false,
            annotations: false,
            checks_first: false,
            unknown_method: 400,
        },
        Self {
            version: "0.6.0",
            rev: "4699c48",
            document: true,
            annotations: false,
            checks_first: true,
            unknown_method: 404,
        },
        Self {
            version: "0.6.3",
            rev: "c5df598",
            document: true,
            annotations: true,
            checks_first: true,
            unknown_method: 404,
        },
        Self {
            version: "0.6.6",
            rev: "c873038",
            document: true,
            annotations: true,
            checks_first: true,
            unknown_method: 404,
        },
    ];

    /// The build of this version.
    pub fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.version == version)
    }

    /// The newest build.
    pub const fn newest() -> Self {
        let [_, _, _, _, newest] = Self::ALL;
        newest
    }

    /// Fields of a message that this build knows.
    pub(crate) fn fields(&self, message: &str) -> Vec<&'static str> {
        let mut fields = match message {
            "VmConfiguration" => vec![
                "name",
                "image",
                "compose_file",
                "vcpu",
                "memory",
                "disk_size",
                "ports",
                "encrypted_env",
                "app_id",
                "user_config",
                "hugepages",
                "pin_numa",
                "gpus",
                "kms_urls",
                "gateway_urls",
                "stopped",
                "no_tee",
                "networks",
                "simulated_tee",
            ],
            "UpdateVmRequest" => vec![
                "id",
                "compose_file",
                "encrypted_env",
                "user_config",
                "update_ports",
                "ports",
                "update_kms_urls",
                "kms_urls",
                "update_gateway_urls",
                "gateway_urls",
                "gpus",
                "vcpu",
                "memory",
                "disk_size",
                "image",
                "no_tee",
                "update_networking",
                "networks",
            ],
            _ => Vec::new(),
        };
        if self.annotations && message == "VmConfiguration" {
            fields.push("annotations");
        }
        fields
    }

    /// The OpenAPI document, as far as a client needs it: methods, and fields of the two large messages.
    pub(crate) fn openapi(&self, methods: &[&str]) -> Value {
        let paths: Map<String, Value> =
            methods.iter().map(|path| (format!("/{path}"), json!({"post": {}}))).collect();
        let message = |name: &str| {
            let fields = self.fields(name).into_iter();
            let properties: Map<String, Value> =
                fields.map(|field| (field.to_owned(), json!({}))).collect();
            (format!("vmm.{name}"), json!({"type": "object", "properties": properties}))
        };
        let schemas: Map<String, Value> =
            ["VmConfiguration", "UpdateVmRequest"].map(message).into_iter().collect();
        json!({
            "openapi": "3.1.0",
            "info": {"title": "dstack-vmm", "version": self.version},
            "paths": paths,
            "components": {"schemas": schemas},
        })
    }
}
