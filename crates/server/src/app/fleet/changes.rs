//! Which CVMs have new events, by node. The events are read once for all nodes of this process: otherwise every
//! node would read those of all others.

use std::collections::{BTreeSet, HashMap};

use casemate_core::id::{CvmId, EventSeq, NodeId};
use casemate_store::{Db, Error as StoreError, events};
use tokio::sync::Mutex;

/// After more events than this, every CVM is compared.
const MANY_EVENTS: i64 = 20_000;

/// CVMs with events that their node's watch has not taken into account.
#[derive(Debug, Default)]
pub struct ChangeFeed(Mutex<Feed>);

#[derive(Debug, Default)]
struct Feed {
    /// Events up to here are distributed; `None`: nobody has asked yet.
    read_to: Option<EventSeq>,
    pending: HashMap<NodeId, Changes>,
}

/// CVMs that may differ from what was compared last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Which ones is not known.
    All,
    Some(BTreeSet<CvmId>),
}

impl ChangeFeed {
    /// The CVMs of this node with events since this was asked last for the node.
    pub async fn take(&self, db: &Db, node: NodeId) -> Result<Changes, StoreError> {
        let mut feed = self.0.lock().await;
        feed.read(db).await?;
        let before = feed.pending.insert(node, Changes::Some(BTreeSet::new()));
        Ok(before.unwrap_or(Changes::All))
    }
}

impl Feed {
    async fn read(&mut self, db: &Db) -> Result<(), StoreError> {
        let newest = events::newest(db).await?;
        match self.read_to {
            Some(read_to) if read_to == newest => {}
            Some(read_to) if newest.0 - read_to.0 <= MANY_EVENTS => {
                for (cvm, node) in events::cvms_between(db, read_to, newest).await? {
                    if let Some(Changes::Some(cvms)) = self.pending.get_mut(&node) {
                        cvms.insert(cvm);
                    }
                }
            }
            Some(_) | None => self.pending.clear(),
        }
        self.read_to = Some(newest);
        Ok(())
    }
}
