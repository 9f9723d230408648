//! Replies as they are on the wire. The server renders them, our client reads them.
//!
//! Three rules hold for all of them. What official clients require is never `Option`; what they
//! require and allow to be `null` is an `Option` that is written as `null`; what they want absent
//! rather than `null` is skipped. Ids are text here and [`words`] keep what they do not know,
//! because other servers send ones that ours would not.
//!
//! Five replies are strict, that is, official clients refuse a key they do not know: instance types,
//! their families, the list of KMS, an app's env key, and the next app ids. They get no additions.

mod account;
mod app;
mod app_facts;
mod approval;
mod catalogue;
mod create_resources;
mod cvm;
mod cvm_flat;
mod cvm_state;
mod domain;
mod governance;
mod guest;
mod instance_id;
mod kms;
mod network;
mod node;
mod operation;
mod preview;
mod provision;
mod readiness;
mod revision;
mod update;
mod user_config;
mod words;

pub use account::{
    AuthMe, AuthMeFlat, AuthMeNested, Credits, User, UserRole, Workspace, WorkspaceRef,
};
pub use app::{App, AppCvm, AppCvms, AppProfile, AppsPage, CvmBasic};
pub use app_facts::{
    AllowlistDevice, AppEvent, AppEvents, AppKmsInfo, AppUsage, AppsOrDirectory, CvmsAllowed,
    DeviceAllowlist, Directory, FilterOptions, IsAllowed, PublicApp, PublicCvm, UsageRecord,
};
pub use approval::{CommitInfo, Committed, ContractCall, DocumentChange, OnchainStatus};
pub use catalogue::{
    AvailableOsImage, InstanceType, InstanceTypeFamily, InstanceTypeGroup, InstanceTypes, OsImage,
    OsImageVariant,
};
pub use create_resources::{
    CreateGateway, CreateInstanceType, CreateKms, CreateResources, GpuAvailability,
    NodeKmsRelation, ResourceId,
};
pub use cvm::{
    AnyId, CvmDetail, CvmInfo, CvmKms, CvmListItem, CvmMark, CvmOs, CvmsPage, Endpoint, Failure,
    Gateway, LogUrls, NodeInfo, NodeMark, Progress, Resource, UserMark, UserRef, Waiting,
    WorkspaceMark,
};
pub use cvm_flat::{CvmFlat, Hosted, HostedCvm, ManagedUser, NewInstance, Teepod, Vm};
pub use cvm_state::{CvmState, CvmStatus, StatusBatch, StatusOperation};
pub use domain::{Caa, Diagnosis, DnsRecord, DomainDiagnosis};
pub use governance::{GovernancePlan, PlanAccount, PlanArgument, PlanHost, PlanObstacle, PlanStep};
pub use guest::{Container, CvmComposition, CvmNetwork, CvmStats, Disk, SystemInfo};
pub use instance_id::{InstanceIdResult, InstanceIdResults};
pub use kms::{
    KmsContract, KmsContractNode, KmsContractNodes, KmsInspection, KmsKeys, KmsList, KmsNode,
    KmsOnchain, KmsOne, KmsPubkey, KmsSelf, KmsTeepod, KmsTeepodImage, KmsVerification, NextAppId,
    NextAppIds, OnchainContract, OnchainDevice, OnchainKms, OnchainOsImage,
};
pub use network::{FirewallStatus, HostPort, NetworkConfig, NetworkPort};
pub use node::{AvailableNode, AvailableNodes, Capacity, NodeImage, NodeKms, Tee};
pub use operation::{
    BatchStop, BatchStopError, Cancelled, Cause, OperationEvent, OperationRecord, OperationStatus,
    OperationStep, OperationsPage,
};
pub use preview::{ChangePreview, PreviewedConfiguration};
pub use provision::Provisioned;
pub use readiness::{Readiness, ReadinessCheck};
pub use revision::{
    AppRedeployed, CvmRef, FieldDiff, PendingPreview, PendingUpdate, PendingUpdates, Redeployed,
    RedeployedCvm, Revision, RevisionDetail, RevisionDiff, RevisionsPage, TextDiff,
};
pub use update::{Accepted, ComposeProvisioned, Course, EnvReport, EnvsUpdateResult, UpdateResult};
pub use user_config::UserConfig;
pub use words::{
    Activity, ChangeStatus, CheckKind, CommitState, CvmPhase, InstanceIdStatus, OperationOutcome,
    OperationState, OperationType, Permission, ReadinessSource, StepOutcome,
};
