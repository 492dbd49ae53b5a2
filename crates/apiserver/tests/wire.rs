//! The API as it is on the wire, for what no kubectl command shows: codes, headers, bodies.

#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/backend.rs"]
mod backend;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/client.rs"]
mod client;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/events.rs"]
mod events;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/proxy.rs"]
mod proxy;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/reviews.rs"]
mod reviews;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/semantics.rs"]
mod semantics;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "wire/tokens.rs"]
mod tokens;
