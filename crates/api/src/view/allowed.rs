//! Whether something gets an app's keys, where no contract governs the app.

use casemate_core::id::{ComposeHash, CvmId, CvmRef, DeviceId};

/// What was asked about; the answer is yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedView {
    /// The CVM, where one was asked about.
    pub cvm: Option<(CvmId, CvmRef)>,
    /// The document.
    pub compose_hash: ComposeHash,
    /// The host.
    pub device: Option<DeviceId>,
}

/// The CVMs of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CvmsAllowedView {
    /// Those without a contract to ask.
    pub skipped: Vec<(CvmId, CvmRef)>,
}
