//! A request for objects, taken apart: what every part of the server that answers one is given.

use api::kind::Kind;
use http::HeaderMap;

use crate::query::Query;
use crate::route::Verb;

/// A request for objects of a kind, taken apart.
pub(crate) struct Ask {
    /// Which kind.
    pub kind: &'static Kind,
    /// Whether it is an Event in the names of `events.k8s.io/v1`.
    pub events_v1: bool,
    /// Namespace of the URL, empty when there is none.
    pub namespace: String,
    /// Name of the URL, empty when there is none.
    pub name: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// What is asked.
    pub verb: Verb,
    /// Parameters.
    pub query: Query,
    /// Headers.
    pub headers: HeaderMap,
    /// When it arrived.
    pub began: std::time::Instant,
}
