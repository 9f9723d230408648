//! Everything that is logged, at every level.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged on this thread until the guard is dropped.
pub fn keep() -> tracing::subscriber::DefaultGuard {
    let lines = tracing_subscriber::fmt().with_env_filter("trace").with_writer(|| Lines).finish();
    tracing::subscriber::set_default(lines)
}

/// What was logged.
pub fn text() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).into_owned()
}
