//! Questions under way: each in a task of its own, so that a caller that goes away ends nothing; equal ones
//! together; no more than a bounded number.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, watch};

use super::super::Fault;

type Answer<V> = Result<V, Fault>;
type InFlight<Q, V> = HashMap<Q, watch::Receiver<Option<Answer<V>>>>;

/// Questions of one kind that are under way.
pub(super) struct Coalescer<Q, V> {
    in_flight: Arc<Mutex<InFlight<Q, V>>>,
    places: Arc<Semaphore>,
}

impl<Q, V> fmt::Debug for Coalescer<Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer")
            .field("places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

impl<Q, V> Coalescer<Q, V>
where
    Q: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Several desks may share their places.
    pub fn new(places: Arc<Semaphore>) -> Self {
        Self { in_flight: Arc::default(), places }
    }

    /// The answer to a question: of the one that is under way, if there is one, else of `work`.
    pub async fn ask(
        &self,
        question: Q,
        work: impl Future<Output = Answer<V>> + Send + 'static,
    ) -> Answer<V> {
        let mut answer = self.join(question, work)?;
        match answer.wait_for(Option::is_some).await {
            Ok(said) => said.clone().unwrap_or_else(given_up),
            Err(_) => given_up(),
        }
    }

    fn join(
        &self,
        question: Q,
        work: impl Future<Output = Answer<V>> + Send + 'static,
    ) -> Answer<watch::Receiver<Option<Answer<V>>>> {
        let mut in_flight = lock(&self.in_flight);
        if let Some(answer) = in_flight.get(&question) {
            return Ok(answer.clone());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Fault::Busy)?;
        let (said, answer) = watch::channel(None);
        in_flight.insert(question.clone(), answer.clone());
        let leaves = Leaves { question, in_flight: Arc::clone(&self.in_flight) };
        tokio::spawn(async move {
            let outcome = work.await;
            // Whoever asks from now on asks anew.
            drop(leaves);
            drop(place);
            said.send_replace(Some(outcome));
        });
        Ok(answer)
    }
}

/// Removes a question, whatever becomes of its task.
struct Leaves<Q: Eq + Hash, V> {
    question: Q,
    in_flight: Arc<Mutex<InFlight<Q, V>>>,
}

impl<Q: Eq + Hash, V> Drop for Leaves<Q, V> {
    fn drop(&mut self) {
        lock(&self.in_flight).remove(&self.question);
    }
}

fn lock<Q, V>(in_flight: &Mutex<InFlight<Q, V>>) -> MutexGuard<'_, InFlight<Q, V>> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given_up<V>() -> Answer<V> {
    Err(Fault::Unavailable("the question was given up".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn coalescer(places: usize) -> Coalescer<u8, usize> {
        Coalescer::new(Arc::new(Semaphore::new(places)))
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once() {
        let coalescer = coalescer(1);
        let asked = Arc::new(AtomicUsize::new(0));
        let work = || {
            let asked = Arc::clone(&asked);
            async move {
                tokio::task::yield_now().await;
                Ok(asked.fetch_add(1, Ordering::SeqCst))
            }
        };
        let answers = tokio::join!(
            coalescer.ask(1, work()),
            coalescer.ask(1, work()),
            coalescer.ask(1, work())
        );
        assert_eq!(answers, (Ok(0), Ok(0), Ok(0)));
        assert_eq!(coalescer.ask(1, work()).await, Ok(1), "an answer is not kept");
    }

    #[tokio::test]
    async fn more_than_there_are_places_for_is_refused_at_once() {
        let coalescer = coalescer(1);
        let (release, held) = oneshot::channel::<()>();
        let mut first = Box::pin(coalescer.ask(1, async move {
            let _ = held.await;
            Ok(1)
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert_eq!(coalescer.ask(2, async { Ok(2) }).await, Err(Fault::Busy));
        release.send(()).unwrap();
        assert_eq!(first.await, Ok(1));
        assert_eq!(coalescer.ask(2, async { Ok(2) }).await, Ok(2));
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_ends_nothing() {
        let coalescer = coalescer(1);
        let (release, held) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel::<()>();
        let mut asked = Box::pin(coalescer.ask(1, async move {
            let _ = held.await;
            let _ = done.send(());
            Ok(1)
        }));
        assert!(futures_util::poll!(&mut asked).is_pending());
        drop(asked);
        release.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_question_whose_task_dies_is_given_up_and_can_be_asked_again() {
        let coalescer = coalescer(1);
        let died = coalescer.ask(1, async { std::panic::panic_any("boom") }).await;
        assert_eq!(died, given_up());
        assert_eq!(coalescer.ask(1, async { Ok(1) }).await, Ok(1));
    }
}
