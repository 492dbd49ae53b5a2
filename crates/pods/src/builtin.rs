//! Pods without a process: parts of Mainstay itself that show as pods, started and stopped by calls.

use async_trait::async_trait;

/// A part of Mainstay that runs while a pod with its image does.
#[async_trait]
pub trait BuiltIn: Send + Sync + 'static {
    /// The image that stands for it, for example `mainstay/dns`.
    fn image(&self) -> &str;
    /// Starts it afresh; the error becomes the container's message.
    async fn start(&self) -> Result<(), String>;
    /// Stops it.
    async fn stop(&self);
    /// Its log so far, oldest line first, with times.
    fn logs(&self) -> Vec<LogLine>;
}

/// One line of a built-in pod's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What.
    pub text: String,
}
