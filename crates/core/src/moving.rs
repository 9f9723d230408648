//! Whether a CVM may run on another node, and what that costs. Its disk stays on its host, and a host that does not
//! answer may still run it, so the operator has to say what is given up. Which node takes it is for [`crate::place`].

use crate::cvm::{EngineState, Status};

/// Where a CVM has its keys from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// A KMS, which gives them to the app on any of its hosts.
    Kms,
    /// The local key provider of its host.
    Host,
}

impl Keys {
    /// As its document says.
    pub const fn of(kms_enabled: bool, local_key_provider: bool) -> Self {
        match (local_key_provider, kms_enabled) {
            (true, _) => Self::Host,
            (false, true) => Self::Kms,
            (false, false) => Self::None,
        }
    }
}

/// The node that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// It answers.
    Answers,
    /// It does not answer.
    Silent,
    /// Its operator removed it from the fleet and gave it up.
    Removed,
}

/// How a CVM leaves its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Its VM is shut down and removed, and then made on the other node.
    RemoveFirst,
    /// Its VM is left on a host that does not come back. If it does, the VM is removed.
    LeaveBehind,
}

impl Way {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RemoveFirst => "remove_first",
            Self::LeaveBehind => "leave_behind",
        }
    }
}

/// What a CVM loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its disk with all data: the new VM begins with an empty one.
    Disk,
    /// Its instance id, and with it the names that lead to this instance.
    InstanceId,
}

impl Loss {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::InstanceId => "instance_id",
        }
    }
}

/// Why a CVM stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMove {
    /// No other host gives it its keys.
    #[error("its keys are those of the local key provider of its host, which no other host has")]
    KeysOfHost,
    /// Its VM may run there, and nobody said that it does not.
    #[error("its node does not answer, so its VM may still run there")]
    Silent,
    /// The node was given up by mistake.
    #[error("its node answers, so it is not given up")]
    Answers,
}

/// How a CVM can leave its node. `given_up`: the operator says that the host does not come back with it running.
pub const fn way(keys: Keys, host: Host, given_up: bool) -> Result<Way, NoMove> {
    match (keys, host, given_up) {
        (Keys::Host, ..) => Err(NoMove::KeysOfHost),
        (_, Host::Answers, false) => Ok(Way::RemoveFirst),
        (_, Host::Answers, true) => Err(NoMove::Answers),
        (_, Host::Silent, false) => Err(NoMove::Silent),
        (_, Host::Silent, true) | (_, Host::Removed, _) => Ok(Way::LeaveBehind),
    }
}

/// What is lost. A CVM that never had a VM loses nothing.
#[must_use]
pub fn losses(status: &Status) -> Vec<Loss> {
    match status.engine {
        EngineState::Absent => Vec::new(),
        EngineState::Creating { .. } | EngineState::Present { .. } => {
            vec![Loss::Disk, Loss::InstanceId]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EngineVmId;

    #[test]
    fn a_vm_that_may_run_is_never_left_without_a_word() {
        for keys in [Keys::None, Keys::Kms] {
            for (host, given_up, expected) in [
                (Host::Answers, false, Ok(Way::RemoveFirst)),
                (Host::Answers, true, Err(NoMove::Answers)),
                (Host::Silent, false, Err(NoMove::Silent)),
                (Host::Silent, true, Ok(Way::LeaveBehind)),
                (Host::Removed, false, Ok(Way::LeaveBehind)),
                (Host::Removed, true, Ok(Way::LeaveBehind)),
            ] {
                assert_eq!(way(keys, host, given_up), expected, "{keys:?} {host:?} {given_up}");
            }
        }
    }

    #[test]
    fn keys_of_a_host_hold_it_there() {
        assert_eq!(Keys::of(true, false), Keys::Kms);
        assert_eq!(Keys::of(false, false), Keys::None);
        for kms in [true, false] {
            assert_eq!(Keys::of(kms, true), Keys::Host);
        }
        for host in [Host::Answers, Host::Silent, Host::Removed] {
            for given_up in [true, false] {
                assert_eq!(way(Keys::Host, host, given_up), Err(NoMove::KeysOfHost));
            }
        }
    }

    #[test]
    fn what_was_never_made_loses_nothing() {
        assert_eq!(losses(&Status::new()), []);
        let engine = EngineState::Present { vm: EngineVmId("a".to_owned()) };
        let status = Status { engine, ..Status::new() };
        assert_eq!(losses(&status), [Loss::Disk, Loss::InstanceId]);
    }
}
