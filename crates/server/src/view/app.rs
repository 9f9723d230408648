//! Apps and their CVMs.

use casemate_api::kms_type::KmsType;
use casemate_core::id::AppId;

use super::CvmView;

#[derive(Debug, Clone, PartialEq)]
pub struct AppView {
    pub app_id: AppId,
    /// Name of its first CVM, or of its template.
    pub name: String,
    /// When it was first committed.
    pub created_at: String,
    pub kms_type: KmsType,
    /// How it was created; free text.
    pub provision_type: Option<String>,
    /// URL of a picture.
    pub icon_url: Option<String>,
    pub profile: Option<AppProfileView>,
    /// The CVM to show for it.
    pub current_cvm: Option<Box<CvmView>>,
    /// Its CVMs that are not deleted.
    pub cvms: Vec<CvmView>,
    /// Number of CVMs; `cvms` may contain only some of them.
    pub cvm_count: u64,
}

/// The owner's description of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppProfileView {
    pub display_name: Option<String>,
    /// URL of a picture.
    pub avatar_url: Option<String>,
    pub description: Option<String>,
    pub custom_domain: Option<String>,
}
