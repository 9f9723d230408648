//! What a build of dstack-vmm takes. Its pRPC drops JSON fields that it does not know and answers
//! success, so a field is sent only where the build's own OpenAPI document (`/api-docs/openapi.json`)
//! has it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Fields of `VmConfiguration` without which some configuration is refused.
const USED_FIELDS: [&str; 6] =
    ["hugepages", "pin_numa", "gpus", "kms_urls", "gateway_urls", "stopped"];
/// Methods without which some call fails.
const USED_METHODS: [&str; 7] = [
    "prpc/CreateVm",
    "prpc/UpdateVm",
    "prpc/ShutdownVm",
    "prpc/RemoveVm",
    "prpc/Status",
    "prpc/GetInfo",
    "guest/Info",
];

/// Methods and fields of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Features {
    /// Read from a document of the build.
    documented: bool,
    methods: BTreeSet<String>,
    /// Fields by message, without its package.
    fields: BTreeMap<String, BTreeSet<String>>,
}

impl Features {
    /// Reads the document of a VMM. `None`: it describes no `CreateVm`, so it is not one.
    pub fn of_document(document: &Value) -> Option<Self> {
        let names = |object: &Value| -> Vec<String> {
            object.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let methods: BTreeSet<String> = names(&document["paths"])
            .into_iter()
            .filter_map(|path| Some(path.strip_prefix('/')?.to_owned()))
            .collect();
        let schemas = &document["components"]["schemas"];
        let fields = names(schemas).into_iter().map(|name| {
            let fields = names(&schemas[&name]["properties"]).into_iter().collect();
            (name.rsplit('.').next().unwrap_or_default().to_owned(), fields)
        });
        let features = Self { documented: true, methods, fields: fields.collect() };
        features.methods.contains("prpc/CreateVm").then_some(features)
    }

    /// Of a build without a document: what every build since 0.5.8 has.
    pub fn oldest() -> Self {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let methods = set(&[
            "prpc/CreateVm",
            "prpc/StartVm",
            "prpc/StopVm",
            "prpc/ShutdownVm",
            "prpc/RemoveVm",
            "prpc/UpdateVm",
            "prpc/GetInfo",
            "prpc/Status",
            "prpc/GetComposeHash",
            "prpc/GetMeta",
            "prpc/ListImages",
            "prpc/ListGpus",
            "prpc/Version",
            "guest/Info",
            "guest/ListContainers",
        ]);
        let configuration = set(&[
            "hugepages",
            "pin_numa",
            "gpus",
            "kms_urls",
            "gateway_urls",
            "stopped",
            "no_tee",
        ]);
        let update = set(&[
            "vcpu",
            "memory",
            "disk_size",
            "image",
            "gpus",
            "update_kms_urls",
            "update_gateway_urls",
        ]);
        let fields = [("VmConfiguration", configuration), ("UpdateVmRequest", update)];
        Self {
            documented: false,
            methods,
            fields: fields.map(|(name, fields)| (name.to_owned(), fields)).into(),
        }
    }

    /// Whether a document of the build says so.
    pub const fn is_documented(&self) -> bool {
        self.documented
    }

    /// What Casemate uses and this build does not have. `tee_field`: the field for the TEE of the host.
    pub fn missing(&self, tee_field: Option<&'static str>) -> Vec<String> {
        let fields = USED_FIELDS.into_iter().chain(tee_field);
        let fields = fields.filter(|field| !self.has_field("VmConfiguration", field));
        let methods = USED_METHODS.into_iter().filter(|method| !self.has_method(method));
        fields.chain(methods).map(str::to_owned).collect()
    }

    /// Whether there is a method: `prpc/UpdateVm`, `guest/GpuInfo`.
    pub fn has_method(&self, path: &str) -> bool {
        self.methods.contains(path)
    }

    /// Whether a message has a field.
    pub fn has_field(&self, message: &str, field: &str) -> bool {
        self.fields.get(message).is_some_and(|fields| fields.contains(field))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_tells_methods_and_fields() {
        let document = json!({
            "paths": {"/prpc/CreateVm": {}, "/guest/Info": {}},
            "components": {"schemas": {
                "vmm.VmConfiguration": {"properties": {"name": {}, "annotations": {}}},
                "RpcError": {"properties": {"error": {}}},
            }},
        });
        let features = Features::of_document(&document).unwrap();
        assert!(features.has_method("prpc/CreateVm") && !features.has_method("prpc/UpdateVm"));
        assert!(features.has_field("VmConfiguration", "annotations"));
        assert!(!features.has_field("VmConfiguration", "simulated_tee"));
        assert!(!features.has_field("UpdateVmRequest", "id"));
        let missing = features.missing(Some("no_tee"));
        assert!(
            missing.contains(&"no_tee".to_owned()) && missing.contains(&"prpc/UpdateVm".to_owned())
        );
        assert!(!missing.contains(&"prpc/CreateVm".to_owned()), "{missing:?}");
        assert_eq!(Features::oldest().missing(None), Vec::<String>::new());
    }

    #[test]
    fn a_document_of_something_else_is_none() {
        for document in [json!(null), json!({}), json!({"paths": {"/pets": {}}}), json!([1])] {
            assert_eq!(Features::of_document(&document), None);
        }
    }

    #[test]
    fn the_oldest_build_is_promised_nothing_new() {
        let oldest = Features::oldest();
        assert!(oldest.has_method("prpc/UpdateVm"));
        for field in ["annotations", "simulated_tee", "disk_prealloc"] {
            assert!(!oldest.has_field("VmConfiguration", field), "{field}");
        }
    }
}
