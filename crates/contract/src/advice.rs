//! `Advice`: what else there is to say about an object, as the API server asks whoever knows the whole: warnings for the
//! client that writes it, cells for the columns that the object alone cannot fill.

use std::time::Instant;

use api::kind::Kind;
use api::object::Revision;
use async_trait::async_trait;
use serde_json::Value;

/// A write that succeeded, or would have.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The object as it now is, or would be.
    pub object: &'a Value,
    /// Its revision; that of the newest write before it if it was a dry run.
    pub revision: Revision,
    /// Whether nothing was stored.
    pub dry_run: bool,
    /// When the request arrived.
    pub began: Instant,
}

/// Knows more about objects than they say themselves. Must answer soon: a client waits.
#[async_trait]
pub trait Advice: Send + Sync + 'static {
    /// Texts for `Warning:` headers.
    async fn warnings(&self, kind: &'static Kind, written: &Written<'_>) -> Vec<String>;
    /// Cells by the name of their column; they replace what the kind's own rules put there.
    fn cells(&self, kind: &'static Kind, object: &Value) -> Vec<(&'static str, Value)>;
}
