//! Keys with scopes and ends, members of workspaces, invitations, logins, profiles.

use std::collections::BTreeSet;

use casemate_core::{
    access::{Role, Scope, Scopes},
    id::{KeyId, UserId, WorkspaceId},
};
use casemate_store::{
    Db,
    accounts::{self, Known},
    api_keys::{self, NewKey, Whose},
    device_logins::{InsertedLogin, LoginLimits, LoginState, NewLogin},
    invitations::{self, NewInvitation},
    people::{self, NewUser, Profile, ProfileOf, UserKind},
};

use crate::world::{START, World, at};

async fn known(db: &Db, hash: &str, seconds: u64) -> Option<Known> {
    accounts::principal(db, hash, at(seconds)).await.unwrap()
}

async fn insert(world: &World, hash: &str, key: impl Fn(NewKey<'_>) -> NewKey<'_>) -> KeyId {
    let mut tx = world.db.begin().await.unwrap();
    let id = tx.insert_key(key(world.key(hash, &Scopes::All)), START).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn a_key_has_its_scopes_until_it_ends(db: Db) {
    let world = World::new(db.clone()).await;
    let scopes = Scopes::Only(BTreeSet::from([Scope::CvmsRead, Scope::Keys]));
    let mut tx = db.begin().await.unwrap();
    let ends = NewKey { expires_at: Some(at(10)), ..world.key("aa", &scopes) };
    let id = tx.insert_key(ends, START).await.unwrap();
    tx.commit().await.unwrap();
    let Some(Known::Valid(found)) = known(&db, "aa", 9).await else { panic!("it is valid") };
    assert_eq!((found.access.scopes, found.key), (scopes, Some(id)));
    assert_eq!(known(&db, "aa", 10).await, Some(Known::Expired));

    let mut tx = db.begin().await.unwrap();
    assert!(!tx.end_key(id, at(20)).await.unwrap(), "it ends before");
    assert!(tx.end_key(id, at(5)).await.unwrap());
    assert!(tx.set_key_expiry(id, at(30)).await.unwrap());
    tx.commit().await.unwrap();
    assert!(matches!(known(&db, "aa", 29).await, Some(Known::Valid(_))));

    let mut tx = db.begin().await.unwrap();
    assert!(tx.revoke_key(id, at(1)).await.unwrap());
    assert!(!tx.revoke_key(id, at(2)).await.unwrap());
    assert!(!tx.set_key_expiry(id, at(40)).await.unwrap());
    assert_eq!(tx.key(world.workspace, id).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(known(&db, "aa", 1).await, Some(Known::Revoked));
}

async fn a_key_is_worth_nothing_without_its_member(db: Db) {
    let world = World::new(db.clone()).await;
    insert(&world, "aa", |key| key).await;
    let set = async |disabled| {
        let mut tx = db.begin().await.unwrap();
        assert!(tx.disable_user(world.user, disabled).await.unwrap());
        tx.commit().await.unwrap();
    };
    set(Some(at(1))).await;
    assert_eq!(known(&db, "aa", 2).await, Some(Known::Barred));
    assert_eq!(accounts::member(&db, world.user, world.workspace).await.unwrap(), None);
    assert!(accounts::author(&db, world.user, world.workspace).await.unwrap().is_some());
    set(None).await;
    assert!(matches!(known(&db, "aa", 2).await, Some(Known::Valid(_))));

    let mut tx = db.begin().await.unwrap();
    assert!(tx.remove_member(world.workspace, world.user).await.unwrap());
    assert!(!tx.remove_member(world.workspace, world.user).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(known(&db, "aa", 2).await, Some(Known::Barred));
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.revoke_keys_of(world.workspace, world.user, at(3)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(
        known(&db, "aa", 4).await,
        Some(Known::Revoked),
        "whoever comes back has no old key"
    );
}

async fn keys_are_listed_by_user_with_their_last_use(db: Db) {
    let world = World::new(db.clone()).await;
    let first = insert(&world, "aa", |key| key).await;
    let other = world.user("bob").await;
    let second = insert(&other, "bb", |key| key).await;
    insert(&world.foreign().await, "cc", |key| key).await;
    let ids = async |user| {
        let whose = Whose { workspace: world.workspace, user };
        let keys = api_keys::list(&db, whose, 10).await.unwrap();
        keys.into_iter().map(|key| (key.id, key.last_used_at)).collect::<Vec<_>>()
    };
    assert_eq!(ids(None).await, [(first, None), (second, None)]);
    assert_eq!(ids(Some(other.user)).await, [(second, None)]);
    let mut tx = db.begin().await.unwrap();
    tx.record_key_use(second, at(7)).await.unwrap();
    tx.record_key_use(second, at(6)).await.unwrap();
    assert_eq!(tx.key_count(world.workspace).await.unwrap(), 2);
    let seen = tx.key(world.workspace, first).await.unwrap().unwrap();
    assert_eq!((seen.username.as_str(), seen.slug.as_str()), ("ada", "first"));
    tx.commit().await.unwrap();
    assert_eq!(ids(Some(other.user)).await, [(second, Some(at(7)))], "the newest");
}

async fn members_and_owners_are_counted(db: Db) {
    let world = World::new(db.clone()).await;
    let bob = world.user("bob").await.user;
    let mut tx = db.begin().await.unwrap();
    assert!(tx.hold_workspace(world.workspace).await.unwrap());
    assert!(!tx.hold_workspace(WorkspaceId(999)).await.unwrap());
    tx.set_member(world.workspace, bob, Role::Member, at(1)).await.unwrap();
    assert_eq!(tx.role(world.workspace, bob).await.unwrap(), Some(Role::Member));
    assert_eq!(tx.owners(world.workspace).await.unwrap(), 1);
    tx.set_member(world.workspace, bob, Role::Owner, at(2)).await.unwrap();
    assert_eq!(tx.owners(world.workspace).await.unwrap(), 2);
    tx.disable_user(bob, Some(at(3))).await.unwrap();
    assert_eq!(tx.owners(world.workspace).await.unwrap(), 1, "a disabled owner owns nothing");
    assert_eq!(tx.operators().await.unwrap(), 0);
    tx.set_operator(world.user, true).await.unwrap();
    assert_eq!(tx.operators().await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(people::member_count(&db, world.workspace).await.unwrap(), 2);
    let members = people::members(&db, world.workspace, 1, 10).await.unwrap();
    assert_eq!((members[0].user.id, members[0].joined_at), (bob, at(1)));
    assert_eq!(people::role(&db, world.workspace, bob).await.unwrap(), Some(Role::Owner));

    let mine = people::workspaces_of(&db, bob, WorkspaceId(0), 10).await.unwrap();
    assert_eq!(
        mine.iter().map(|(one, role)| (one.id, *role)).collect::<Vec<_>>(),
        [(world.workspace, Role::Owner)]
    );
    let slug = people::workspace(&db, "first").await.unwrap().unwrap();
    assert_eq!(people::workspaces(&db, WorkspaceId(0), 10).await.unwrap(), [slug]);
    assert_eq!(people::workspace(&db, "none").await.unwrap(), None);

    let service = NewUser { kind: UserKind::Service, ..NewUser::person("ci", "") };
    let mut tx = db.begin().await.unwrap();
    tx.insert_user(service, at(4)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(people::user(&db, "ci").await.unwrap().unwrap().kind, UserKind::Service);
    assert_eq!(people::users(&db, UserId(0), 10).await.unwrap().len(), 3);
}

async fn an_invitation_is_open_until_it_is_accepted_or_revoked(db: Db) {
    let world = World::new(db.clone()).await;
    let invite = async |hash: &str, email: Option<&str>| {
        let mut tx = db.begin().await.unwrap();
        let (workspace, by, role) = (world.workspace, world.user, Role::Member);
        let new = NewInvitation { hash, workspace, email, role, by, expires_at: at(100) };
        let id = tx.insert_invitation(new, START).await.unwrap();
        tx.commit().await.unwrap();
        id
    };
    let one = invite("aa", Some("bob@example.org")).await;
    let two = invite("bb", None).await;
    let open = async |now: u64| {
        let listed = invitations::pending(&db, world.workspace, at(now), 0, 10).await.unwrap();
        let count = invitations::pending_count(&db, world.workspace, at(now)).await.unwrap();
        assert_eq!(i64::try_from(listed.len()).unwrap(), count);
        listed.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(open(99).await, [one, two]);
    assert_eq!(open(100).await, []);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.pending_invitations(world.workspace, at(1)).await.unwrap(), 2);
    let found = tx.invitation("aa").await.unwrap().unwrap();
    assert_eq!((found.id, found.inviter.0.as_str(), found.is_accepted), (one, "ada", false));
    tx.accept_invitation(one, world.user).await.unwrap();
    assert!(tx.invitation("aa").await.unwrap().unwrap().is_accepted);
    assert!(!tx.revoke_invitation(world.workspace, one, at(1)).await.unwrap());
    assert!(!tx.revoke_invitation(WorkspaceId(99), two, at(1)).await.unwrap(), "foreign");
    assert!(tx.revoke_invitation(world.workspace, two, at(1)).await.unwrap());
    assert_eq!(tx.invitation("cc").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(open(1).await, []);
}

async fn a_login_is_decided_once(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let new = |device_hash, user_hash| NewLogin {
        device_hash,
        user_hash,
        address: "",
        client: "phala-cli",
        expires_at: at(100),
    };
    let limits = LoginLimits { total: 2, per_address: 1 };
    let first = NewLogin { address: "192.0.2.1", ..new("d1", "u1") };
    assert_eq!(tx.insert_login(first, limits, START).await.unwrap(), InsertedLogin::New);
    let again = NewLogin { address: "192.0.2.1", ..new("d4", "u4") };
    assert_eq!(tx.insert_login(again, limits, START).await.unwrap(), InsertedLogin::AddressFull);
    assert_eq!(tx.insert_login(new("d2", "u2"), limits, START).await.unwrap(), InsertedLogin::New);
    assert_eq!(tx.insert_login(new("d3", "u3"), limits, START).await.unwrap(), InsertedLogin::Full);
    let login = tx.poll_login("d1", at(5)).await.unwrap().unwrap();
    assert_eq!((login.state, login.polled_at), (LoginState::Pending, None));
    let grant = (world.user, world.workspace, &Scopes::All);
    assert_eq!(tx.approve_login("u1", grant, at(100)).await.unwrap(), None, "too late");
    assert_eq!(tx.approve_login("u1", grant, at(9)).await.unwrap().as_deref(), Some("phala-cli"));
    assert_eq!(tx.approve_login("u1", grant, at(9)).await.unwrap(), None);
    assert!(!tx.deny_login("u1", at(9)).await.unwrap());
    assert!(tx.deny_login("u2", at(9)).await.unwrap());
    let login = tx.poll_login("d1", at(10)).await.unwrap().unwrap();
    assert_eq!(login.polled_at, Some(at(5)));
    assert_eq!(login.state, LoginState::Approved(world.user, world.workspace, Scopes::All));
    let denied = tx.poll_login("d2", at(10)).await.unwrap().unwrap();
    assert_eq!(denied.state, LoginState::Denied);
    assert!(tx.delete_login("d1").await.unwrap());
    assert_eq!(tx.poll_login("d1", at(11)).await.unwrap(), None);
    assert_eq!(tx.forget_logins(at(100)).await.unwrap(), 0);
    assert_eq!(tx.forget_logins(at(101)).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

async fn a_profile_keeps_what_is_not_given(db: Db) {
    let world = World::new(db.clone()).await;
    let of = ProfileOf::User(world.user);
    assert_eq!(people::profile(&db, of).await.unwrap(), None);
    let mut tx = db.begin().await.unwrap();
    tx.set_profile(of, Some("Ada"), None).await.unwrap();
    let both = tx.set_profile(of, None, Some("Counts.")).await.unwrap();
    tx.commit().await.unwrap();
    let words = |text: &str| Some(text.to_owned());
    let expected = Profile { display_name: words("Ada"), description: words("Counts.") };
    assert_eq!(both, expected);
    assert_eq!(people::profile(&db, of).await.unwrap(), Some(expected));
    let mut tx = db.begin().await.unwrap();
    assert!(!tx.delete_profile(ProfileOf::Workspace(world.workspace)).await.unwrap());
    assert!(tx.delete_profile(of).await.unwrap());
    tx.commit().await.unwrap();
}

casemate_testing::each_backend!(
    a_key_has_its_scopes_until_it_ends,
    a_key_is_worth_nothing_without_its_member,
    keys_are_listed_by_user_with_their_last_use,
    members_and_owners_are_counted,
    an_invitation_is_open_until_it_is_accepted_or_revoked,
    a_login_is_decided_once,
    a_profile_keeps_what_is_not_given,
);
