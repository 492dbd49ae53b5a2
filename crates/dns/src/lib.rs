//! Cluster DNS: packets in, answers of the compiled zone out; other names go to the host's resolvers.
//!
//! [`start`] gives a [`Handle`]; [`Handle::publish`] swaps the zone, [`Handle::restart`] replaces the sockets. Follow a
//! question: `udp` or `tcp` receives it, `wire` parses it, `answer` asks the zone, `forward` asks others.

mod answer;
mod forward;
pub mod limits;
mod logs;
mod server;
mod tcp;
mod udp;
mod wire;

pub use forward::resolv::parse as parse_resolv_conf;
pub use forward::{Counts, Resolvers};
pub use logs::Line;
pub use server::{BindTcp, BindUdp, Handle, Options, StartError, start};

#[cfg(test)]
mod tests;
