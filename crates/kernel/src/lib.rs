//! Linux without policy: thin, safe calls over system calls and netlink. Every layer above is free of `unsafe`.

pub mod beneath;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod mount;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod namespace;
pub mod nl;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod pidfd;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod process;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod rcu;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod seccomp;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod text;
#[allow(unsafe_code, reason = "system calls; each block says why it is sound")]
pub mod unix_socket;
pub mod usage;
