//! Turns of this process at its nodes. After a start, and after an outage of its network, every node is due at
//! once; without turns a fleet of a thousand hosts would share the processor until none of them is done in time.
//!
//! Turns are given in the order in which they were asked for. Whoever waits for a host longer than [`PATIENCE`] loses
//! its turn until the host has answered, so hosts that hang hold nobody up. What this process does with an answer
//! always takes a turn.

use std::{pin::pin, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a turn is kept while a host does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Turns, so many at a time.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(64)
    }
}

impl Turns {
    /// So many at a time, at least one.
    pub fn new(at_a_time: usize) -> Self {
        let free = Semaphore::new(at_a_time.clamp(1, Semaphore::MAX_PERMITS));
        Self { free, patience: PATIENCE }
    }

    /// Waits for a turn.
    pub async fn take(&self) -> Turn<'_> {
        Turn { turns: self, permit: self.permit().await }
    }

    /// `None` never happens: nobody closes it.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.free.acquire().await.ok()
    }
}

/// A turn; ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    permit: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// Waits for a host.
    pub async fn wait_for<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        if let Ok(answer) = tokio::time::timeout(self.turns.patience, &mut call).await {
            return answer;
        }
        self.permit = None;
        let answer = call.await;
        self.permit = self.turns.permit().await;
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{sync::oneshot, task::JoinSet};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> T {
        tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| panic!("{what}: never"))
    }

    fn impatient(at_a_time: usize) -> Arc<Turns> {
        Arc::new(Turns { patience: Duration::from_millis(20), ..Turns::new(at_a_time) })
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_all_in_the_end() {
        let (turns, at_once) = (Arc::new(Turns::new(3)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let (turns, at_once) = (turns.clone(), at_once.clone());
            tasks.spawn(async move {
                let mut turn = turns.take().await;
                let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                turn.wait_for(tokio::task::yield_now()).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                now
            });
        }
        let seen = in_time("all turns", tasks.join_all()).await;
        assert_eq!(seen.iter().max(), Some(&3));
        assert_eq!(turns.free.available_permits(), 3);
    }

    #[tokio::test]
    async fn hosts_that_hang_hold_nobody_up() {
        let turns = impatient(2);
        let mut hanging = JoinSet::new();
        for _ in 0..2 {
            let turns = turns.clone();
            hanging.spawn(async move {
                let mut turn = turns.take().await;
                turn.wait_for(std::future::pending::<()>()).await;
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(turns.free.available_permits(), 0);
        drop(in_time("a turn beside those that hang", turns.take()).await);
    }

    #[tokio::test]
    async fn an_answer_that_comes_late_waits_for_a_turn_again() {
        let turns = impatient(1);
        let (answer, answered) = oneshot::channel::<()>();
        let late = tokio::spawn({
            let turns = turns.clone();
            async move {
                let mut turn = turns.take().await;
                turn.wait_for(answered).await.unwrap();
            }
        });
        tokio::task::yield_now().await;
        let other = in_time("the turn that was lost", turns.take()).await;
        answer.send(()).unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!late.is_finished(), "what is done with its answer takes a turn");
        drop(other);
        in_time("a turn for the answer", late).await.unwrap();
    }
}
