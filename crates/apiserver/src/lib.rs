//! The Kubernetes API over HTTPS: requests in, one pipeline of rules and transactions, answers and watches out.
//!
//! - [`api::Api`] is the pipeline; HTTP and [`contract::access::Access`] both go through it.
//! - [`server::Server`] puts it on sockets: TLS, then `handle` takes a request apart (`route`, `query`, `negotiate`,
//!   `body`), `resource` calls the pipeline, `reply` writes the answer.
//! - [`write`] changes objects, `list` and `watch` read them, `table` prints them, `exec` and `logs` reach into pods.

pub mod api;
mod access;
mod auth;
mod body;
pub mod clock;
pub mod credentials;
mod documents;
mod events;
mod exec;
mod handle;
pub mod limits;
pub mod list;
mod logs;
mod negotiate;
mod object;
mod query;
mod reply;
mod resource;
mod route;
pub mod select;
pub mod server;
mod table;
pub mod watch;
pub mod write;

pub use crate::api::{Api, Config, VersionInfo};
pub use crate::credentials::{Credentials, CredentialsError};
pub use crate::server::Server;
