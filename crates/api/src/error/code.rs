//! Every error code: one row each, and exhaustive matches made of the rows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $status:literal, $shape:ident, $message:literal;)*) => {
        /// A kind of error that a client program can tell from others: `ERR-MM-NNN`.
        ///
        /// Modules 01–06 are upstream's, with its numbers and messages. Module 20 is ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// All codes in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code on the wire.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status it goes out with unless the route knows better.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The message when there is nothing more to say.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }

            /// Whether the reply must not carry the code: `{"detail": …}` instead. So it is for what
            /// official clients retry or treat as their own only without a code.
            pub const fn is_plain(self) -> bool {
                match self { $(Self::$name => error_codes!(@plain $shape),)* }
            }
        }
    };
    (@plain plain) => { true };
    (@plain coded) => { false };
}

// Statuses: 409, 404 and 465–468 are published; where none is, 400, upstream's general answer to a
// request that cannot be served as it is. 402 and 507 would say more and no client knows them.
error_codes! {
    /// A node was named and there is none such.
    NodeNotFound, "ERR-01-001", 400, coded, "The requested node is not available";
    /// No compose file in the request.
    ComposeFileRequired, "ERR-01-002", 400, coded, "The request contains invalid parameters";
    /// The compose file does not parse or validate.
    InvalidComposeFile, "ERR-01-003", 400, coded, "The Docker Compose file contains errors";
    /// The name is taken in the workspace.
    DuplicateCvmName, "ERR-01-004", 409, coded, "A CVM with this name already exists in the workspace";
    /// The hash is not yet allowed on chain; the details say what to register.
    HashRegistrationRequired, "ERR-01-005", 465, coded, "Compose hash registration required on-chain";
    /// The token or hash is unknown, too old, superseded, or no longer the saved document's.
    HashInvalidOrExpired, "ERR-01-006", 466, coded, "The provided compose hash is invalid or has expired";
    /// The transaction is missing, failed, or not the change of this app.
    TxVerificationFailed, "ERR-01-007", 467, coded, "Transaction verification failed";
    /// The contract says no.
    HashNotAllowed, "ERR-01-008", 468, coded, "The compose hash is not allowed by the on-chain contract";

    /// No such instance type.
    InstanceTypeNotFound, "ERR-02-001", 400, coded, "The requested instance type does not exist";
    /// No node matches the wishes.
    ResourceNotAvailable, "ERR-02-002", 400, coded, "No available resources match your requirements";
    /// Not enough CPUs on the node.
    InsufficientVcpu, "ERR-02-003", 400, coded, "The selected node does not have enough CPU capacity";
    /// Not enough memory on the node.
    InsufficientMemory, "ERR-02-004", 400, coded, "The selected node does not have enough memory";
    /// No CVM slot left on the node.
    InsufficientSlots, "ERR-02-005", 400, coded, "The selected node has reached its maximum capacity";
    /// GPUs could not be allocated.
    GpuAllocation, "ERR-02-006", 400, coded, "The selected node does not have enough GPU resources";
    /// Not enough GPUs on the node.
    InsufficientGpu, "ERR-02-007", 400, coded, "The selected node does not have enough GPU resources";
    /// A parameter is out of range or makes no sense.
    InvalidRequest, "ERR-02-008", 400, coded, "The request contains invalid parameters";
    /// Parameters that exclude each other.
    IncompatibleConfiguration, "ERR-02-009", 400, coded, "The configuration parameters are not compatible with each other";
    /// No such OS image.
    ImageNotFound, "ERR-02-010", 400, coded, "The requested operating system image is not available";
    /// No such KMS for the node.
    KmsNotFound, "ERR-02-011", 400, coded, "The requested security configuration is not available on this node";
    /// The node is not for this workspace.
    NodeNotAccessible, "ERR-02-012", 400, coded, "The requested node is not available";
    /// The OS image does not fit the node or KMS.
    OsImageNotCompatible, "ERR-02-013", 400, coded, "The requested operating system image is not available";
    /// The node's capacity is not known.
    NodeCapacityNotConfigured, "ERR-02-014", 400, coded, "The requested node is not available";
    /// The workspace's quota is used up.
    QuotaExceeded, "ERR-02-015", 400, coded, "Your account has reached its resource quota";
    /// GPUs are free in the books and busy on the device.
    GpuDeviceInUse, "ERR-02-016", 400, coded, "GPUs are available but currently occupied at device level";

    /// No such CVM.
    CvmNotFound, "ERR-03-001", 404, coded, "The requested CVM was not found";
    /// Several CVMs have the name.
    MultipleCvmsWithSameName, "ERR-03-002", 400, coded, "Multiple CVMs have the same name in this workspace";
    /// The CVM lives in another workspace; for administrators.
    CvmNotInWorkspace, "ERR-03-003", 404, coded, "No CVM found in this workspace";
    /// The CVM lives in another workspace; for everybody else, in the words of a missing one.
    CvmHidden, "ERR-03-004", 404, coded, "The requested CVM was not found";
    /// No permission, in the words of a missing one.
    CvmAccessDenied, "ERR-03-005", 404, coded, "The requested CVM was not found";
    /// The replica's node lacks the image.
    ReplicaImageNotAvailable, "ERR-03-006", 400, coded, "The source CVM's OS image is not available on the target node";
    /// The app id is in use with another configuration.
    CvmAppIdConflict, "ERR-03-007", 409, coded, "This app_id already has an active CVM with a different configuration. Provision again to get a new app_id, or use the existing CVM.";
    /// The replica's source is not visible.
    ReplicaSourceNotAccessible, "ERR-03-008", 404, coded, "The source CVM instance was not found in this workspace or access is denied";
    /// Several live instances: the hash must be named.
    ReplicaComposeHashRequired, "ERR-03-009", 400, coded, "This app has multiple live CVM instances. Please specify compose_hash to choose which revision to replicate.";
    /// The identifier matches several CVMs. Clients look at the code, not at the status.
    MultipleCvmsForIdentifier, "ERR-03-010", 409, coded, "Multiple CVMs match this identifier in the workspace";
    /// The revision's env keys differ from the stored ones.
    RevisionEnvKeysDiffer, "ERR-03-017", 400, coded, "The environment keys of this revision differ from the stored ones";

    /// No money.
    InsufficientBalance, "ERR-04-001", 400, coded, "You need to top up your account before launching a CVM.";
    /// Too many CVMs in the workspace.
    MaxCvmLimit, "ERR-04-002", 400, coded, "Your account has reached the maximum number of instances";
    /// More than the workspace may have.
    ResourceLimitExceeded, "ERR-04-003", 400, coded, "The requested resources exceed your account limits";

    /// Too many API keys.
    TokenLimitExceeded, "ERR-05-001", 400, coded, "You have reached the maximum number of API tokens";
    /// API keys made too quickly.
    TokenRateLimit, "ERR-05-002", 429, coded, "Rate limit exceeded: too many API tokens created";

    /// The OAuth account's e-mail cannot be used.
    OauthEmailInvalid, "ERR-06-001", 400, coded, "The e-mail address of the sign-in account is not valid";
    /// Role or scope is missing.
    PermissionDenied, "ERR-06-006", 403, coded, "You do not have permission to do this";

    /// The key is missing, wrong, expired or revoked. Plain, because clients then say how to log in.
    Unauthenticated, "ERR-20-001", 401, plain, "Not authenticated: send a valid API key in the header X-API-Key";
    /// `X-Phala-Version` is no version.
    BadApiVersion, "ERR-20-002", 400, coded, "The API version is not known";
    /// No such path. Plain, as upstream's router answers.
    RouteNotFound, "ERR-20-003", 404, plain, "Not Found";
    /// No such method on the path. Plain, as upstream's router answers.
    MethodNotAllowed, "ERR-20-004", 405, plain, "Method Not Allowed";
    /// A part of upstream's API that Casemate does not serve; the message says which.
    FeatureNotServed, "ERR-20-005", 501, coded, "This part of the API is not served by Casemate";
    /// A field of the request that has no effect here and is not ignored; the details name it.
    FieldNotServed, "ERR-20-006", 400, coded, "A field of the request cannot be honoured here";
    /// The node's policy refuses a part of the compose file; the details name it.
    RefusedByNode, "ERR-20-007", 400, coded, "The node does not allow a part of this configuration";
    /// No object of that kind and id, other than a CVM.
    NotFound, "ERR-20-008", 404, coded, "The requested object was not found";
    /// Nothing provisioned for this hash and app id, or it was used up.
    ProvisionNotFound, "ERR-20-009", 422, coded, "No provision found for this compose hash: provision again";
    /// Provisioned more than 14 days ago.
    ProvisionExpired, "ERR-20-010", 400, coded, "The provision has expired: provision again";
    /// Sealed variables outside `allowed_envs`.
    EnvKeyNotAllowed, "ERR-20-011", 400, coded, "An environment key is not among the allowed ones";
    /// The sealed env is no hex, too short or too large.
    InvalidEncryptedEnv, "ERR-20-012", 400, coded, "The encrypted environment is not valid";
    /// The same idempotency key came with another body.
    IdempotencyKeyReused, "ERR-20-013", 422, coded, "This idempotency key was used with another request";
    /// Too many changes wait for this CVM. Plain: clients retry a 409 only without a code.
    QueueFull, "ERR-20-014", 409, plain, "Another operation is in progress on this CVM, and the queue of changes is full: try again";
    /// The CVM's state excludes the request for good.
    StateConflict, "ERR-20-015", 409, coded, "The CVM is in a state that does not allow this";
    /// It would destroy the disk, and `allow_data_loss` was not given.
    DataLossRefused, "ERR-20-016", 409, coded, "This would destroy the CVM's data: repeat it with allow_data_loss";
    /// A disk cannot shrink.
    DiskCannotShrink, "ERR-20-017", 400, coded, "A disk can only grow";
    /// Needs a TEE, and the CVM's node has none.
    NoTee, "ERR-20-018", 400, coded, "The CVM runs on a node without a TEE, so there is nothing to attest";
    /// Only a simulated node could do it, or a simulated one cannot.
    SimulatedOnly, "ERR-20-019", 400, coded, "The node is simulated and cannot do this";
    /// No node is configured that could run CVMs.
    NoEngine, "ERR-20-020", 503, coded, "No node is available to run CVMs";
    /// The node does not answer.
    NodeUnreachable, "ERR-20-021", 503, coded, "The node does not answer";
    /// The KMS does not answer.
    KmsUnreachable, "ERR-20-022", 503, coded, "The KMS does not answer";
    /// The chain's RPC does not answer: no verdict.
    ChainUnreachable, "ERR-20-023", 503, coded, "The chain's RPC endpoint does not answer";
    /// The body is larger than it may be.
    BodyTooLarge, "ERR-20-024", 413, coded, "The request body is too large";
    /// Too many requests with this key.
    RateLimited, "ERR-20-025", 429, plain, "Too many requests: slow down";
    /// Too many streams of this user.
    TooManyStreams, "ERR-20-026", 429, plain, "Too many open event streams";
    /// The URL is not allowed: scheme, or a private address.
    UrlNotAllowed, "ERR-20-027", 400, coded, "The URL is not allowed";
    /// The database does not answer.
    DatabaseUnavailable, "ERR-20-028", 503, plain, "The service is not ready: try again";
    /// Our fault.
    Internal, "ERR-20-029", 500, plain, "Internal server error";
    /// A change does not fit the CVM's configuration; the details name the field.
    ChangeNotApplicable, "ERR-20-030", 400, coded, "The change cannot be applied to this CVM";
    /// The change needs a restart, and `allow_restart` says no.
    RestartNotAllowed, "ERR-20-031", 400, coded, "This change needs a restart of the CVM: repeat it with allow_restart";
    /// The change would drop variables that the compose file uses, and a policy or the caller says that
    /// this is a mistake; the details name them.
    EnvKeysMissing, "ERR-20-032", 409, coded, "The change would drop environment keys that the compose file uses";
    /// The name is taken in the workspace; of a rename. Plain, because upstream's is.
    CvmNameInUse, "ERR-20-033", 400, plain, "A CVM with this name already exists in the workspace";
    /// A compose update was not provisioned for this CVM, or was used up, or its 14 days are over.
    ComposeUpdateNotFound, "ERR-20-034", 400, coded, "No compose update is provisioned for this hash: provision again";
    /// The hash that came with a document is not the document's.
    ComposeHashMismatch, "ERR-20-035", 400, coded, "The compose hash is not the one of the compose file";
    /// The operation is past the point where it can be called off.
    OperationNotCancellable, "ERR-20-036", 409, coded, "This operation cannot be cancelled";
    /// Another request changed the same rows at the same moment. Plain: clients retry a 409 only without
    /// a code.
    ChangedMeanwhile, "ERR-20-037", 409, plain, "Another request changed this at the same moment: try again";
    /// A newer version of Casemate, which shares the database, wrote what this process cannot read.
    NewerVersion, "ERR-20-038", 503, plain, "This is being upgraded: try again";
    /// The KMS answers, and its answer is not to be believed.
    KmsUntrusted, "ERR-20-039", 502, coded, "The answer of the KMS cannot be trusted";
    /// The certification service of a TEE's vendor does not answer: no verdict.
    CollateralUnreachable, "ERR-20-040", 503, coded, "The certification service of the platform's vendor does not answer";
    /// The body broke off, or its next part did not come in time.
    BodyIncomplete, "ERR-20-041", 408, coded, "The request body did not arrive whole in time: send it again";
    /// The user has this key already.
    SshKeyExists, "ERR-20-050", 409, coded, "This SSH key is stored already";
    /// The user name is unknown there, or GitHub does not answer. 400 is published for both.
    GithubKeysUnavailable, "ERR-20-051", 400, coded, "The keys of this GitHub user cannot be read";
    /// The file system of the data directory is nearly full.
    DiskFull, "ERR-20-052", 503, coded, "The service has no disk space for new deployments";
    /// The contract's owner did not sign, or somebody else did.
    OwnerProofMissing, "ERR-20-053", 403, coded, "A proof by the owner of the app's contract is required";
}

impl ErrorCode {
    /// The code with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.code() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The text is no code that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a known error code: {0}")]
pub struct UnknownCode(pub String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::parse(text).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_survives_text_and_json() {
        for code in ErrorCode::ALL {
            assert_eq!(code.code().parse(), Ok(*code));
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn codes_are_distinct_sorted_and_well_formed() {
        let texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
        assert!(texts.is_sorted());
        for code in ErrorCode::ALL {
            let digits: Vec<_> = code.code().split('-').map(str::len).collect();
            assert_eq!(digits, [3, 2, 3], "{code}");
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(!code.message().is_empty());
        }
    }

    #[test]
    fn upstreams_codes_are_never_plain_and_ours_are_in_a_module_of_their_own() {
        for code in ErrorCode::ALL {
            let ours = code.code().starts_with("ERR-20-");
            assert!(ours || !code.is_plain(), "{code}");
        }
    }
}
