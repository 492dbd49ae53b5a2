//! What the name server says, line by line: the newest lines are kept, and can be followed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::limits;

/// A log line.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was written.
    pub at: SystemTime,
    /// The line, without end.
    pub text: String,
}

/// The ring of lines.
pub(crate) struct Logs {
    lines: Mutex<VecDeque<Line>>,
    follow: broadcast::Sender<Line>,
}

impl Logs {
    pub(crate) fn new() -> Self {
        Self { lines: Mutex::default(), follow: broadcast::Sender::new(limits::LOG_FOLLOW) }
    }

    pub(crate) fn write(&self, text: String) {
        tracing::info!(target: "dns", "{text}");
        let line = Line { at: SystemTime::now(), text };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == limits::LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        // No follower is no error.
        let _ = self.follow.send(line);
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn follow(&self) -> broadcast::Receiver<Line> {
        self.follow.subscribe()
    }
}
