//! Linux without policy: netlink, namespaces, mounts, processes. The only crate with `unsafe` code.

pub mod mount;
pub mod namespace;
pub mod process;
pub mod unix_socket;
