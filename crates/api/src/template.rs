//! App templates of the operator.

use casemate_core::{
    app_template::{Destination, Parameter, ParameterKind},
    id::NodeId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::patch::{Patch, read};

/// `GET /casemate/templates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Templates {
    /// At most 200, sorted by slug.
    pub items: Vec<TemplateSummary>,
    /// Directories that are no template; only operators see them.
    pub faults: Vec<TemplateFault>,
}

/// A template in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateSummary {
    /// Name in URLs and commands.
    pub slug: String,
    /// Name for people.
    pub name: String,
    pub description: String,
    pub tags: Vec<String>,
}

/// A directory that is no template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateFault {
    /// Name of the directory.
    pub directory: String,
    /// One sentence for each fault.
    pub reasons: Vec<String>,
}

/// `GET /casemate/templates/{template}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Template {
    #[serde(flatten)]
    pub summary: TemplateSummary,
    /// Instance type if the user names none; `null`: the default of the service.
    pub instance_type: Option<String>,
    pub parameters: Vec<TemplateParameter>,
    /// Compose file; a parameter into it stands as `"@@name@@"`.
    pub docker_compose_file: String,
    /// Markdown; may be empty.
    pub readme: String,
    /// `data:` URI of at most 32 KiB, or `null`.
    pub icon: Option<String>,
}

/// What the user chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateParameter {
    /// Name of the variable, or the word between `@@` in the compose file.
    pub name: String,
    pub description: String,
    /// `text`, `integer` or `boolean`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: ParameterKind,
    /// `env`: a sealed variable; `compose`: a text in the compose file.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub into: Destination,
    pub required: bool,
    pub default: Option<String>,
    /// Not shown while it is typed.
    pub secret: bool,
}

impl From<Parameter> for TemplateParameter {
    fn from(of: Parameter) -> Self {
        let Parameter { name, description, kind, into, required, default, secret } = of;
        Self { name, description, kind, into, required, default, secret }
    }
}

impl From<TemplateParameter> for Parameter {
    fn from(of: TemplateParameter) -> Self {
        let TemplateParameter { name, description, kind, into, required, default, secret } = of;
        Self { name, description, kind, into, required, default, secret }
    }
}

/// `POST /cvms/provision/eliza`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ElizaRequest {
    /// Name of the CVM, 5–63 characters.
    pub name: String,
    /// Becomes the parameter `characterfile` of the template.
    pub characterfile: String,
    /// Names of the variables that will be sealed.
    pub env_keys: Vec<String>,
    /// The node to run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub teepod_id: Option<NodeId>,
    /// OS image by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A KMS by id or slug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_id: Option<String>,
}

/// `POST /cvms/workload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkloadRequest {
    /// Name of the CVM, 5–63 characters.
    pub name: String,
    pub instance_type: String,
    /// Becomes the parameter `model_id` of the template.
    pub model_id: String,
    /// When the CVM is deleted by itself, RFC 3339.
    #[serde(
        default,
        deserialize_with = "read::time",
        serialize_with = "read::write_time",
        skip_serializing_if = "Patch::is_absent"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub scheduled_delete_at: Patch<Timestamp>,
}
