//! Proofs are stored once, listed by node and in pages, until they are settled.

use casemate_core::{
    governance::{Block, Proof},
    id::{BlockHash, CvmId},
};
use casemate_store::{
    Db,
    proofs::{self, Open},
};

use crate::world::{START, World, at, hash, number};

fn proof(number: u8) -> Proof {
    Proof {
        chain_id: 8453,
        block: Block { number: number.into(), hash: BlockHash::from_bytes([number; 32]) },
        owner: None,
        transaction: None,
    }
}

async fn keep(world: &World, cvm: CvmId, document: u64, block: u8) {
    let mut tx = world.db.begin().await.unwrap();
    tx.keep_proof(cvm, &hash(document), &proof(block), START).await.unwrap();
    tx.commit().await.unwrap();
}

/// All pages of two.
async fn all(world: &World) -> Vec<Open> {
    let mut found: Vec<Open> = Vec::new();
    loop {
        let page = proofs::on_node(&world.db, world.node, found.last(), 2).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

async fn kept_once_and_settled_once(db: Db) {
    let world = World::new(db).await;
    let name = format!("proved-{}", number());
    let (one, two) = (world.cvm(&name).await.id, world.cvm(&format!("{name}-b")).await.id);
    for (cvm, document, block) in [(one, 1, 1), (one, 1, 2), (one, 2, 2), (two, 1, 1), (one, 1, 1)]
    {
        keep(&world, cvm, document, block).await;
    }
    let found = all(&world).await;
    let seen: Vec<_> = found.iter().map(|open| (open.cvm, open.hash, open.block.number)).collect();
    assert_eq!(seen, [(one, hash(1), 1), (one, hash(1), 2), (one, hash(2), 2), (two, hash(1), 1)]);
    assert_eq!((found[0].chain_id, found[0].since), (8453, START));

    let mut tx = world.db.begin().await.unwrap();
    assert!(tx.settle_proof(&found[0]).await.unwrap());
    assert!(!tx.settle_proof(&found[0]).await.unwrap(), "somebody was first");
    assert_eq!(tx.forget_proofs(START).await.unwrap(), 0, "none is older");
    tx.commit().await.unwrap();
    assert_eq!(all(&world).await, found[1..]);
    world.delete(two, at(1)).await;
    assert_eq!(all(&world).await, found[1..3], "of live CVMs only");
    let mut tx = world.db.begin().await.unwrap();
    assert_eq!(tx.forget_proofs(at(1)).await.unwrap(), 3);
    tx.commit().await.unwrap();
    assert_eq!(all(&world).await, []);
}

casemate_testing::each_backend!(kept_once_and_settled_once);
