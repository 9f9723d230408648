//! Apps: identities with revisions, and the CVMs that carry them.

use casemate_api::kms_type::KmsType;
use casemate_core::id::AppId;

use super::CvmView;

/// An app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppView {
    /// Its id.
    pub app_id: AppId,
    /// Name of its first CVM, or of its template.
    pub name: String,
    /// When it was first committed.
    pub created_at: String,
    /// Kind of its KMS.
    pub kms_type: KmsType,
    /// How it came to be, free text.
    pub provision_type: Option<String>,
    /// URL of a picture.
    pub icon_url: Option<String>,
    /// What its owner says about it.
    pub profile: Option<AppProfileView>,
    /// The CVM to show for it.
    pub current_cvm: Option<Box<CvmView>>,
    /// Its CVMs that are not deleted.
    pub cvms: Vec<CvmView>,
    /// How many there are, where `cvms` holds only a part of them.
    pub cvm_count: u64,
}

/// What an app's owner says about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppProfileView {
    /// Name for people.
    pub display_name: Option<String>,
    /// URL of a picture.
    pub avatar_url: Option<String>,
    /// Text.
    pub description: Option<String>,
    /// Domain.
    pub custom_domain: Option<String>,
}
