//! The kernel's notices about links, addresses and routes in, one wake-up for however many of them out.

use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::super::{Error, Result};

/// `RTMGRP_...` bits: links, addresses and routes of both families, and links' settings such as forwarding.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 1 << (IPV4_NETCONF - 1) | 1 << (IPV6_NETCONF - 1);
/// `RTNLGRP_IPV4_NETCONF`.
const IPV4_NETCONF: u32 = 24;
/// `RTNLGRP_IPV6_NETCONF`.
const IPV6_NETCONF: u32 = 25;

/// Waits for changes of links, addresses and routes in one network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
}

impl Monitor {
    /// Listens in the calling thread's network namespace from now on.
    pub fn open() -> Result<Self> {
        let what = "listen for changes of addresses";
        let os = |error: rustix::io::Errno| Error::os(what, error.raw_os_error(), None);
        let kind = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
        // Protocol number 0 is rtnetlink.
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None).map_err(os)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).map_err(os)?;
        Ok(Self { socket })
    }

    /// Blocks until something has changed. What changed is to be read afresh: notices may be lost, the last wake-up is
    /// not.
    pub fn wait(&self) -> Result<()> {
        let mut buffer = [0_u8; 8192];
        let mut flags = RecvFlags::empty();
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, flags) {
                // Take what else is there, then look once.
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => flags = RecvFlags::DONTWAIT,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(Error::os("wait for changes of addresses", error.raw_os_error(), None)),
            }
        }
    }
}
