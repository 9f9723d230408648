//! Polling with a deadline.

use std::time::{Duration, Instant};

/// The first and the longest pause between two polls.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// Polls until there is a value. `None`: there was none within this time.
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
