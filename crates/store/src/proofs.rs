//! Approvals by contracts with their block, kept until the block is final, so that a reorganisation is
//! noticed. The history of verifications is in the events.

use casemate_core::{
    governance::{Block, Proof},
    id::{ComposeHash, CvmId, NodeId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx, error::corrupt};

/// An approval whose block may still be reorganised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub cvm: CvmId,
    pub hash: ComposeHash,
    pub chain_id: u64,
    pub block: Block,
    /// When it was stored.
    pub since: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    cvm_id: i64,
    compose_hash: String,
    chain_id: i64,
    block_number: i64,
    block_hash: String,
    created_at: i64,
}

impl Row {
    fn read(self) -> Result<Open, Error> {
        let id = self.cvm_id;
        Ok(Open {
            cvm: CvmId(id),
            hash: self.compose_hash.parse().map_err(corrupt("proofs", "compose_hash", id))?,
            chain_id: u64::try_from(self.chain_id).map_err(corrupt("proofs", "chain_id", id))?,
            block: Block {
                number: u64::try_from(self.block_number).map_err(corrupt(
                    "proofs",
                    "block_number",
                    id,
                ))?,
                hash: self.block_hash.parse().map_err(corrupt("proofs", "block_hash", id))?,
            },
            since: Timestamp::from_micros(self.created_at),
        })
    }
}

/// The open proofs of the live CVMs of a node, ordered by CVM, after the given CVM, at most `limit`.
pub async fn on_node(
    db: &Db,
    node: NodeId,
    after: Option<&Open>,
    limit: i64,
) -> Result<Vec<Open>, Error> {
    const SQL: &str = "SELECT p.cvm_id, p.compose_hash, p.chain_id, p.block_number, p.block_hash, \
        p.created_at FROM proofs p JOIN cvms c ON c.id = p.cvm_id \
        WHERE c.node_id = $1 AND c.deleted_at IS NULL \
        AND (p.cvm_id, p.compose_hash, p.block_hash) > ($2, $3, $4) \
        ORDER BY p.cvm_id, p.compose_hash, p.block_hash LIMIT $5";
    let rows = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(node.0)
        .bind(after.map_or(0, |open| open.cvm.0))
        .bind(after.map(|open| open.hash.to_string()).unwrap_or_default())
        .bind(after.map(|open| open.block.hash.to_string()).unwrap_or_default())
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

impl Tx {
    /// Stores a proof, if it is not stored already.
    pub async fn keep_proof(
        &mut self,
        cvm: CvmId,
        hash: &ComposeHash,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO proofs (cvm_id, compose_hash, chain_id, block_number, \
            block_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let chain = i64::try_from(proof.chain_id).map_err(corrupt("proofs", "chain_id", cvm))?;
        let number =
            i64::try_from(proof.block.number).map_err(corrupt("proofs", "block_number", cvm))?;
        exec_tx!(
            self,
            query(SQL)
                .bind(cvm.0)
                .bind(hash.to_string())
                .bind(chain)
                .bind(number)
                .bind(proof.block.hash.to_string())
                .bind(now.micros())
        )
        .map(drop)
    }

    /// Deletes a proof. `false`: it was already deleted.
    pub async fn settle_proof(&mut self, proof: &Open) -> Result<bool, Error> {
        const SQL: &str =
            "DELETE FROM proofs WHERE cvm_id = $1 AND compose_hash = $2 AND block_hash = $3";
        let gone = exec_tx!(
            self,
            query(SQL)
                .bind(proof.cvm.0)
                .bind(proof.hash.to_string())
                .bind(proof.block.hash.to_string())
        )?;
        Ok(gone == 1)
    }

    /// Deletes all proofs stored before a time. The number per call is bounded.
    pub async fn forget_proofs(&mut self, before: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM proofs WHERE (cvm_id, compose_hash, block_hash) IN \
            (SELECT cvm_id, compose_hash, block_hash FROM proofs WHERE created_at < $1 \
             ORDER BY created_at LIMIT 500)";
        exec_tx!(self, query(SQL).bind(before.micros()))
    }
}
