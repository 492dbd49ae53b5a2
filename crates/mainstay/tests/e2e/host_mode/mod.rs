//! Host mode on real packets: the binary runs in a network namespace of the test, with a second one as its LAN.

mod addresses;
mod kills;
mod links;
mod loopback;
mod outlive;
mod packets;
mod refusals;
mod restore;
pub(crate) mod world;
