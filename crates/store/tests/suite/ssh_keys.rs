//! SSH keys of users.

use casemate_core::id::UserId;
use casemate_store::{
    Db,
    ssh_keys::{self, Inserted, NewSshKey, Source},
};

use crate::world::{START, World, at};

fn key(id: &str, fingerprint: &str, github: Option<&str>) -> NewSshKey {
    NewSshKey {
        id: id.to_owned(),
        name: "laptop".to_owned(),
        public_key: format!("ssh-ed25519 {fingerprint}"),
        fingerprint: fingerprint.to_owned(),
        key_type: "ssh-ed25519".to_owned(),
        bits: None,
        source: if github.is_some() { Source::Github } else { Source::Manual },
        github_username: github.map(str::to_owned),
    }
}

async fn insert(db: &Db, user: UserId, new: &NewSshKey) -> Inserted {
    let mut tx = db.begin().await.unwrap();
    tx.lock_ssh_keys(user).await.unwrap();
    let inserted = tx.insert_ssh_key(user, new, 2, START).await.unwrap();
    tx.commit().await.unwrap();
    inserted
}

async fn a_user_has_a_key_once_and_not_too_many(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let bob = tx
        .insert_user(casemate_store::people::NewUser::person("bob", "bob@example.org"), START)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let ada = world.user;
    assert_eq!(insert(&db, ada, &key("k1", "SHA256:a", None)).await, Inserted::New);
    assert_eq!(insert(&db, ada, &key("k2", "SHA256:a", None)).await, Inserted::Known);
    assert_eq!(insert(&db, bob, &key("k3", "SHA256:a", None)).await, Inserted::New);
    assert_eq!(insert(&db, ada, &key("k4", "SHA256:b", Some("octocat"))).await, Inserted::New);
    assert_eq!(insert(&db, ada, &key("k5", "SHA256:c", None)).await, Inserted::Full);
    let found = ssh_keys::of_user(&db, ada, 9).await.unwrap();
    let ids: Vec<_> = found.iter().map(|key| (key.id.as_str(), key.last_synced_at)).collect();
    assert_eq!(ids, [("k1", None), ("k4", Some(START.micros()))]);
    let mut tx = db.begin().await.unwrap();
    assert!(!tx.delete_ssh_key(bob, "k1").await.unwrap(), "it is another user's");
    assert!(tx.delete_ssh_key(ada, "k1").await.unwrap());
    assert_eq!(tx.ssh_keys(ada, 9).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
}

async fn a_sync_notes_when_it_was_and_what_changed(db: Db) {
    let world = World::new(db.clone()).await;
    let new = key("k1", "SHA256:a", Some("octocat"));
    insert(&db, world.user, &new).await;
    for (text, at_second, updated) in
        [(new.public_key.as_str(), 1, START), ("ssh-ed25519 SHA256:a moved", 2, at(2))]
    {
        let mut tx = db.begin().await.unwrap();
        tx.sync_ssh_key("k1", text, at(at_second)).await.unwrap();
        tx.commit().await.unwrap();
        let found = ssh_keys::of_user(&db, world.user, 9).await.unwrap().remove(0);
        assert_eq!(found.public_key, text);
        assert_eq!(found.last_synced_at, Some(at(at_second).micros()));
        assert_eq!(found.updated_at, updated.micros());
    }
}

casemate_testing::each_backend!(
    a_user_has_a_key_once_and_not_too_many,
    a_sync_notes_when_it_was_and_what_changed,
);
