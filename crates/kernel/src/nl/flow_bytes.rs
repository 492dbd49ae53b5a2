//! Bytes of tracked flows, by their mark: of those that are there by a dump, of those that end by notification.
//!
//! The kernel counts them while `net.netfilter.nf_conntrack_acct` is 1, in flows that begin after it was set.

use std::time::Duration;

use super::message::{DUMP, Writer};
use super::{Result, Socket, parse};

/// `IPCTNL_MSG_CT_GET` of the subsystem `NFNL_SUBSYS_CTNETLINK`.
const GET: u16 = 1 << 8 | 1;
/// `NFNLGRP_CONNTRACK_DESTROY`.
const ENDED: libc::c_int = 3;
const MARK: u16 = 8;
const COUNTERS: [u16; 2] = [9, 10];
/// `CTA_COUNTERS_BYTES`.
const BYTES: u16 = 2;

/// What one flow carried, link layer left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBytes {
    /// Mark of the flow.
    pub mark: u32,
    /// Bytes of the client.
    pub sent: u64,
    /// Bytes of the endpoint.
    pub received: u64,
}

/// Flows of this namespace that carry a mark and whose bytes are counted.
pub fn list(socket: &mut Socket) -> Result<Vec<FlowBytes>> {
    let replies = match socket.dump("list what tracked flows carried", Writer::request(GET, DUMP, &[0; 4], |_| ())) {
        // A namespace in which nothing ever asked for tracking has no flows.
        Err(error) if error.not_found() => return Ok(Vec::new()),
        other => other?,
    };
    Ok(replies.iter().filter_map(|reply| flow(reply.payload.get(4..)?)).collect())
}

/// From now on the socket hears of flows that end.
pub fn listen(socket: &Socket) -> Result<()> {
    socket.join(ENDED)
}

/// Flows that ended since the last call, waiting for the first at most so long. An error may mean that some are lost.
pub fn ended(socket: &mut Socket, patience: Duration) -> Result<Vec<FlowBytes>> {
    Ok(socket.heard(patience)?.iter().filter_map(|event| flow(event.payload.get(4..)?)).collect())
}

fn flow(attributes: &[u8]) -> Option<FlowBytes> {
    let bytes = |kind| parse::be64(parse::find(parse::find(attributes, kind)?, BYTES)?);
    let [sent, received] = COUNTERS.map(bytes);
    Some(FlowBytes { mark: parse::be32(parse::find(attributes, MARK)?)?, sent: sent?, received: received? })
}
