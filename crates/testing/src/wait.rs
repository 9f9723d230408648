//! Waiting for something that happens elsewhere.

use std::time::{Duration, Instant};

/// The first pause between two looks, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// Looks again and again until there is an answer. `None`: there was none within this time.
pub async fn poll<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let [mut pause, longest] = PAUSES;
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = look().await {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}
