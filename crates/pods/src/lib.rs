//! Pods as processes in namespaces: Pod objects in, running containers, statuses, logs and exits out.

pub mod addresses;
pub mod holder;
pub mod limits;
pub mod network;
pub mod sandbox;
