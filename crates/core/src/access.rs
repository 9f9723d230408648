//! Who may do what: the role of a user in a workspace, the scopes of an API key, and what an operation needs of
//! both. Pure.
//!
//! A key has the rights that its scopes *and* the role of its user allow: the role limits what scopes mean, so a
//! viewer's key never writes, whatever it was made with.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The role of a user in a workspace; a higher one may do what a lower one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Deploys and changes CVMs.
    Member,
    /// Manages members, keys and the policy of the workspace.
    Admin,
    /// As an admin, and decides who is an owner.
    Owner,
}

impl Role {
    /// From the lowest to the highest.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];

    /// The word in the database and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether somebody with this role may give or take the role `of` another: admins manage those below them,
    /// owners everybody.
    #[must_use]
    pub fn manages(self, of: Self) -> bool {
        self == Self::Owner || (self == Self::Admin && of < Self::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text is none of the allowed words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {allowed}")]
pub struct UnknownWord {
    /// The allowed ones.
    allowed: String,
}

impl FromStr for Role {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let allowed = || Self::ALL.map(Self::word).join(", ");
        let found = Self::ALL.into_iter().find(|role| role.word().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownWord { allowed: allowed() })
    }
}

/// A kind of operation that an API key may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Operate the installation: nodes, gateways, KMS, users. Only for operators.
    Admin,
    /// Run commands in guests.
    CvmsExec,
    /// Read CVMs, apps, revisions, catalogues and evidence.
    CvmsRead,
    /// Deploy, change, start, stop and delete CVMs.
    CvmsWrite,
    /// Make, change and revoke API keys: one's own.
    Keys,
    /// Read the output of containers.
    LogsRead,
    /// Replace the sealed environment of a CVM.
    SecretsWrite,
    /// Manage one's own SSH keys.
    SshKeys,
    /// Manage webhooks.
    Webhooks,
    /// Manage members, invitations and the policy of the workspace.
    Workspace,
}

impl Scope {
    /// All of them, by their words.
    pub const ALL: [Self; 10] = [
        Self::Admin,
        Self::CvmsExec,
        Self::CvmsRead,
        Self::CvmsWrite,
        Self::Keys,
        Self::LogsRead,
        Self::SecretsWrite,
        Self::SshKeys,
        Self::Webhooks,
        Self::Workspace,
    ];

    /// The word in the database and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::CvmsExec => "cvms:exec",
            Self::CvmsRead => "cvms:read",
            Self::CvmsWrite => "cvms:write",
            Self::Keys => "keys",
            Self::LogsRead => "logs:read",
            Self::SecretsWrite => "secrets:write",
            Self::SshKeys => "ssh-keys",
            Self::Webhooks => "webhooks",
            Self::Workspace => "workspace",
        }
    }

    /// The lowest role to which the scope means anything.
    #[must_use]
    pub const fn least_role(self) -> Role {
        match self {
            Self::Admin | Self::CvmsRead | Self::Keys | Self::LogsRead => Role::Viewer,
            Self::CvmsExec | Self::CvmsWrite | Self::SecretsWrite | Self::SshKeys => Role::Member,
            Self::Webhooks | Self::Workspace => Role::Admin,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let allowed = || Self::ALL.map(Self::word).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.word() == text);
        found.ok_or_else(|| UnknownWord { allowed: allowed() })
    }
}

/// The scopes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// All, also those that later versions add.
    All,
    /// These.
    Only(BTreeSet<Scope>),
}

impl Scopes {
    /// Whether a scope is among them.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Only(scopes) => scopes.contains(&scope),
        }
    }

    /// Whether all of these are among those of `other`: a key makes no key that can do more.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::All, Self::Only(_)) => false,
            (Self::Only(these), Self::Only(those)) => these.is_subset(those),
        }
    }

    /// Their words; `*` for all.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(scopes) => scopes.iter().map(|scope| scope.word()).collect(),
        }
    }

    /// The scopes of these words.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownWord> {
        let mut scopes = BTreeSet::new();
        let mut all = false;
        for word in words {
            if word == "*" {
                all = true;
            } else {
                scopes.insert(word.parse()?);
            }
        }
        Ok(if all { Self::All } else { Self::Only(scopes) })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl FromStr for Scopes {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::of_words(text.split_whitespace())
    }
}

/// What somebody who asks may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// In the workspace.
    pub role: Role,
    /// Of the key.
    pub scopes: Scopes,
    /// Whether the user operates the installation.
    pub is_operator: bool,
}

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing; a key is not looked at.
    Nothing,
    /// Nothing, but a key that is given has to have this scope. What it shows or does then depends on the key.
    KeyOrNothing(Scope),
    /// A key, whatever its scopes.
    Key,
    /// A key with this scope, of a user with at least [`Scope::least_role`].
    Scope(Scope),
    /// A key with this scope, of a user with at least this role.
    ScopeOf(Scope, Role),
    /// A key with the scope [`Scope::Admin`] of an operator of the installation.
    Operator,
}

impl Need {
    /// The scope that a key has to have.
    #[must_use]
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Nothing | Self::Key => None,
            Self::KeyOrNothing(scope) | Self::Scope(scope) | Self::ScopeOf(scope, _) => Some(scope),
            Self::Operator => Some(Scope::Admin),
        }
    }

    /// The lowest role that will do.
    #[must_use]
    pub fn role(self) -> Role {
        let least = self.scope().map_or(Role::Viewer, Scope::least_role);
        if let Self::ScopeOf(_, role) = self { least.max(role) } else { least }
    }

    /// Whether the operation is done without a key.
    #[must_use]
    pub const fn allows_no_key(self) -> bool {
        matches!(self, Self::Nothing | Self::KeyOrNothing(_))
    }
}

/// Why somebody may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The user's role in the workspace is too low.
    Role {
        /// What would do.
        needed: Role,
        /// What it is.
        is: Role,
    },
    /// The user does not operate the installation.
    NoOperator,
    /// The key has not got this scope.
    Scope(Scope),
}

/// Whether somebody with this access may do what needs that.
///
/// What a key cannot change comes first: to somebody with too low a role another scope would not help.
pub fn decide(need: Need, access: &Access) -> Result<(), Refusal> {
    if need == Need::Operator && !access.is_operator {
        return Err(Refusal::NoOperator);
    }
    if access.role < need.role() {
        return Err(Refusal::Role { needed: need.role(), is: access.role });
    }
    match need.scope() {
        Some(scope) if !access.scopes.has(scope) => Err(Refusal::Scope(scope)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role() -> impl Strategy<Value = Role> {
        prop::sample::select(Role::ALL.to_vec())
    }

    fn scopes() -> impl Strategy<Value = Scopes> {
        let some = prop::collection::btree_set(prop::sample::select(Scope::ALL.to_vec()), 0..6);
        prop_oneof![Just(Scopes::All), some.prop_map(Scopes::Only)]
    }

    fn need() -> impl Strategy<Value = Need> {
        let scope = || prop::sample::select(Scope::ALL.to_vec());
        prop_oneof![
            Just(Need::Nothing),
            Just(Need::Key),
            Just(Need::Operator),
            scope().prop_map(Need::KeyOrNothing),
            scope().prop_map(Need::Scope),
            (scope(), role()).prop_map(|(scope, role)| Need::ScopeOf(scope, role)),
        ]
    }

    fn access() -> impl Strategy<Value = Access> {
        (role(), scopes(), any::<bool>()).prop_map(|(role, scopes, is_operator)| Access {
            role,
            scopes,
            is_operator,
        })
    }

    proptest! {
        #[test]
        fn words_of_scopes_are_read_back(scopes in scopes()) {
            prop_assert_eq!(scopes.to_string().parse(), Ok(scopes));
        }

        /// What is allowed stays so with a higher role, more scopes, or as an operator.
        #[test]
        fn more_rights_allow_more(need in need(), access in access(), higher in role()) {
            prop_assume!(decide(need, &access).is_ok());
            let role = access.role.max(higher);
            prop_assert_eq!(decide(need, &Access { role, ..access.clone() }), Ok(()));
            let scopes = Scopes::All;
            prop_assert_eq!(decide(need, &Access { scopes, ..access.clone() }), Ok(()));
            prop_assert_eq!(decide(need, &Access { is_operator: true, ..access }), Ok(()));
        }

        /// A refusal names what is missing: with it, and nothing else, the next one is another, or none.
        #[test]
        fn a_refusal_says_what_would_help(need in need(), access in access()) {
            let Err(refusal) = decide(need, &access) else { return Ok(()) };
            let mut better = access;
            match refusal {
                Refusal::Role { needed, is } => {
                    prop_assert_eq!(is, better.role);
                    prop_assert!(needed > is);
                    better.role = needed;
                }
                Refusal::NoOperator => better.is_operator = true,
                Refusal::Scope(scope) => {
                    let Scopes::Only(scopes) = &mut better.scopes else { panic!("it has all") };
                    prop_assert!(scopes.insert(scope));
                }
            }
            prop_assert_ne!(decide(need, &better), Err(refusal));
        }

        #[test]
        fn a_viewer_changes_nothing_but_own_keys(scopes in scopes(), scope in prop::sample::select(Scope::ALL.to_vec())) {
            let viewer = Access { role: Role::Viewer, scopes, is_operator: false };
            let reads = matches!(scope, Scope::CvmsRead | Scope::Keys | Scope::LogsRead);
            prop_assert!(reads || decide(Need::Scope(scope), &viewer).is_err() || scope == Scope::Admin);
            prop_assert!(decide(Need::Operator, &viewer).is_err());
        }

        /// A key within the scopes of another does nothing that the other does not.
        #[test]
        fn narrower_scopes_do_less(need in need(), of in access(), scopes in scopes()) {
            prop_assume!(scopes.within(&of.scopes));
            let narrower = Access { scopes, ..of.clone() };
            prop_assert!(decide(need, &narrower).is_err() || decide(need, &of).is_ok());
        }
    }

    #[test]
    fn words_are_distinct_sorted_and_read_back() {
        let words = Scope::ALL.map(Scope::word);
        assert!(words.is_sorted() && Scope::ALL.is_sorted());
        for scope in Scope::ALL {
            assert_eq!(scope.word().parse(), Ok(scope));
        }
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("viewer, member"));
        assert!("cvms".parse::<Scopes>().is_err());
    }

    #[test]
    fn an_admin_manages_those_below_and_an_owner_everybody() {
        let managed = |by: Role| Role::ALL.into_iter().filter(|of| by.manages(*of)).count();
        assert_eq!(Role::ALL.map(managed), [0, 0, 2, 4]);
    }
}
