//! The Kubernetes API over HTTPS: requests in, one pipeline of rules and transactions, answers and watches out.
//!
//! - [`Api`] is the pipeline; HTTP and [`contract::access::Access`] both go through it.
//! - [`Server`] puts it on sockets: TLS, then `handle` takes a request apart (`route`, `query`, `negotiate`,
//!   `body`), `resource` calls the pipeline, `reply` writes the answer.
//! - `write` changes objects, `list` and `watch` read them, `table` prints them, `stream` and `logs` reach into pods.

mod access;
mod advice;
mod ask;
mod auth;
mod body;
mod bookings;
mod bootstrap;
pub mod clock;
mod credentials;
mod deletion;
mod documents;
mod events;
mod events_v1;
mod handle;
pub mod limits;
mod list;
mod logs;
mod negotiate;
mod object;
mod options;
mod pipeline;
mod protobuf;
mod proxy;
mod query;
mod reply;
mod resource;
mod review;
mod route;
mod select;
mod server;
mod show;
mod stream;
mod table;
mod token;
mod user;
mod watch;
mod write;
mod yaml;

pub use crate::credentials::{Credentials, CredentialsError, Lives};
pub use crate::pipeline::{Api, Config, Extension, VersionInfo};
pub use crate::server::Server;
pub use crate::watch::Stop;
