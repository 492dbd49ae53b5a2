//! Counters of our table -> readings for `compile::nft::account::Totals`, over a socket of its own.

use compile::nft::account::{Counted, Reading};
use compile::nft::rules::{REJECTS, TABLE, describe};
use compile::nft::state::SetName;
use kernel::nl::{Protocol, Socket, nftables};

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
