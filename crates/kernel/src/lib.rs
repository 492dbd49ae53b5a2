//! Linux without policy: thin, safe calls over system calls and netlink. Every layer above is free of `unsafe`.
#![allow(unsafe_code, reason = "this crate exists to hold the unsafe system calls; each block says why it is sound")]

pub mod mount;
pub mod namespace;
pub mod nl;
pub mod process;
pub mod unix_socket;
