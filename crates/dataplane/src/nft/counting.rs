//! Counters of our table -> readings for `compile::nft::account::Totals`, over a socket of its own.

use std::time::Duration;

use compile::nft::account::{Bytes, Carried, Counted, Directory, Reading};
use compile::nft::rules::{REJECTS, TABLE, describe};
use compile::nft::state::SetName;
use compile::nft::words;
use kernel::nl::{Protocol, Socket, flow_bytes, nftables};

use super::elements;
use crate::Result;

/// Maps whose elements count connections.
const COUNTED: [SetName; 6] =
    [SetName::Front4, SetName::Front6, SetName::Nodeport4, SetName::Nodeport6, SetName::Ep4, SetName::Ep6];

/// Reads counters, beside whoever writes the table.
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
}

impl Reader {
    /// Opens it in the calling thread's network namespace; from then on any thread may use it.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Every counter of frontends, endpoints and connections that went nowhere. Costs a dump of each map: for a scrape,
    /// not for each change. Without our table it fails.
    pub fn read(&mut self) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for name in COUNTED {
            self.read_set(&describe(name).name, Counted::Element(name), &mut readings)?;
        }
        self.read_set(REJECTS, Counted::Reject, &mut readings)?;
        Ok(readings)
    }

    fn read_set(&mut self, set: &str, counted: Counted, readings: &mut Vec<Reading>) -> Result<()> {
        for held in nftables::elements(&mut self.socket, TABLE, set)? {
            let Some((packets, _)) = held.counter else { continue };
            readings.push(Reading {
                counted,
                key: elements::whole_key(&held).into(),
                value: held.value.into(),
                packets,
            });
        }
        Ok(())
    }
}

/// Reads what tracked flows carried, where that is asked for: each flow's end is heard, so somebody must call
/// [`FlowBytes::read`] or [`FlowBytes::hear`] about once a second, or notices are lost and totals are too low.
#[derive(Debug)]
pub struct FlowBytes {
    events: Socket,
    socket: Socket,
}

impl FlowBytes {
    /// Opens it in the calling thread's network namespace; none while `net.netfilter.nf_conntrack_acct` is 0 there, for
    /// then the kernel counts nothing. Changing that is left to whoever owns the host's settings.
    pub fn open() -> Result<Option<Self>> {
        // What /proc/sys/net shows is that of the reading thread's namespace.
        let counted = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_acct");
        if !counted.is_ok_and(|text| text.trim() != "0") {
            return Ok(None);
        }
        let events = Socket::open(Protocol::Netfilter)?;
        flow_bytes::listen(&events)?;
        Ok(Some(Self { events, socket: Socket::open(Protocol::Netfilter)? }))
    }

    /// Takes the flows that ended, waiting for one at most so long.
    pub fn hear(&mut self, carried: &mut Carried, patience: Duration) -> Result<()> {
        for flow in flow_bytes::ended(&mut self.events, patience)? {
            carried.end(flow.mark, bytes(&flow));
        }
        Ok(())
    }

    /// Brings totals up to date: whose each identity is, flows that ended, flows that are there. Costs a dump of the
    /// tracked flows and of the map of identities.
    pub fn read(&mut self, carried: &mut Carried, directory: &Directory, readings: &[Reading]) -> Result<()> {
        let held = nftables::elements(&mut self.socket, TABLE, &describe(SetName::CtIds).name)?;
        let marks = held.iter().filter_map(|one| Some((words::word(&one.key)?, words::word(&one.value)?)));
        carried.know(directory, marks, readings);
        self.hear(carried, Duration::ZERO)?;
        carried.live(flow_bytes::list(&mut self.socket)?.iter().map(|flow| (flow.mark, bytes(flow))));
        Ok(())
    }
}

fn bytes(flow: &flow_bytes::FlowBytes) -> Bytes {
    Bytes { sent: flow.sent, received: flow.received }
}
