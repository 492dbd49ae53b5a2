//! The nftables dataplane: one table `inet mainstay` of the network namespace in which it was opened.

mod counting;
mod elements;
mod expression;
mod install;

use std::collections::{BTreeMap, BTreeSet};

use compile::nft::expr::Ruleset;
use compile::nft::interpret::Memory;
use compile::nft::rules::{self, Options, TABLE};
use compile::nft::state::{Batch, Key, SetName, State};
use kernel::nl::batch::Batch as Transaction;
use kernel::nl::{Protocol, Socket, conntrack, nftables};

use crate::{Dataplane, Error, Result, limits};

pub use counting::Reader;
pub use elements::encoded_len;
pub use kernel::nl::conntrack::{Flow, Tuple};

const UDP: u8 = 17;
/// Bits of the conntrack mark that identify an endpoint, and the bit among them that says it is ours.
const IDENTITY: u32 = 0x007f_ffff;
const OURS: u32 = 0x0040_0000;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets; in our nat chains these are the first packets of connections.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}

/// What the kernel counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections per frontend, keyed as in [`State`].
    pub frontends: BTreeMap<(SetName, Key), Count>,
    /// Connections per endpoint, keyed as in [`State`].
    pub endpoints: BTreeMap<(SetName, Key), Count>,
    /// Named counters: `refused`, `dropped_local`, `dropped_ranges`, `retried`, `unsettled`.
    pub named: BTreeMap<String, Count>,
}

/// The kernel's nf_tables.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    ruleset: Ruleset,
    version: String,
    flushes: BTreeSet<u32>,
}

impl Nft {
    /// Opens it in the calling thread's network namespace; frontends and endpoints count their connections.
    pub fn open() -> Result<Self> {
        Self::open_with(true)
    }

    /// Opens it with other rules than the usual ones; counters cost 16 bytes per CPU and element, and 0.4 us per
    /// connection.
    pub fn open_with(options: impl Into<Options>) -> Result<Self> {
        let ruleset = rules::ruleset(options);
        let version = rules::version(&ruleset);
        Ok(Self { socket: Socket::open(Protocol::Netfilter)?, ruleset, version, flushes: BTreeSet::new() })
    }

    /// Deletes our table and nothing else; an absent table is no error.
    pub fn remove(&mut self) -> Result<()> {
        let mut transaction = Transaction::new();
        nftables::delete_table(&mut transaction, TABLE);
        match transaction.commit(&mut self.socket, "delete table inet mainstay") {
            Err(error) if !error.not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads every counter.
    pub fn counters(&mut self) -> Result<Counters> {
        let frontends = [SetName::Front4, SetName::Front6, SetName::Nodeport4, SetName::Nodeport6];
        let named = nftables::counters(&mut self.socket, TABLE)?;
        Ok(Counters {
            frontends: self.counted(&frontends)?,
            endpoints: self.counted(&[SetName::Ep4, SetName::Ep6])?,
            named: named.into_iter().map(|(name, packets, bytes)| (name, Count { packets, bytes })).collect(),
        })
    }

    /// Clients that the kernel remembers; for how long yet is not asked.
    pub fn clients(&mut self) -> Result<Memory> {
        let mut memory = Memory::default();
        for map in ["affinity4", "affinity6"] {
            for held in nftables::elements(&mut self.socket, TABLE, map)? {
                memory.remember(map, &held.key, &held.value, u32::MAX);
            }
        }
        Ok(memory)
    }

    /// Every flow that the kernel tracks in this namespace.
    pub fn flows(&mut self) -> Result<Vec<Flow>> {
        Ok(conntrack::flows(&mut self.socket, None)?)
    }

    fn counted(&mut self, names: &[SetName]) -> Result<BTreeMap<(SetName, Key), Count>> {
        let mut out = BTreeMap::new();
        for name in names {
            for held in nftables::elements(&mut self.socket, TABLE, &rules::describe(*name).name)? {
                if let Some((packets, bytes)) = held.counter {
                    out.insert((*name, elements::whole_key(&held).into()), Count { packets, bytes });
                }
            }
        }
        Ok(out)
    }

    /// Deletes the UDP flows of endpoints that left; what fails stays on the list for the next call.
    fn flush(&mut self) -> Result<()> {
        if self.flushes.is_empty() {
            return Ok(());
        }
        if self.flushes.len() > limits::FLUSHES_PENDING {
            conntrack::delete_marked(&mut self.socket, UDP, &[OURS], OURS)?;
        } else {
            let marks: Vec<u32> = self.flushes.iter().copied().collect();
            conntrack::delete_marked(&mut self.socket, UDP, &marks, IDENTITY)?;
        }
        self.flushes.clear();
        Ok(())
    }
}

impl Dataplane for Nft {
    fn observe(&mut self) -> Result<Option<State>> {
        match nftables::table_note(&mut self.socket, TABLE)?.flatten() {
            Some(note) if note == self.version => Ok(Some(elements::read(&mut self.socket)?)),
            _ => Ok(None),
        }
    }

    fn install(&mut self) -> Result<()> {
        // Deleting costs an RCU grace period of about 10 ms, so it is asked for only where there is something.
        let exists = nftables::table_note(&mut self.socket, TABLE)?.is_some();
        let transaction = install::write(&self.ruleset, &self.version, exists);
        transaction.commit(&mut self.socket, "install the rules of table inet mainstay")?;
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = Transaction::new();
        elements::write(&mut transaction, &batch.delete, &batch.add)?;
        transaction.commit(&mut self.socket, "apply a batch to table inet mainstay").map_err(Error::of_apply)?;
        self.flushes.extend(&batch.flush);
        self.flush()
    }

    fn batch_bytes_max(&self) -> usize {
        let send_max = self.socket.send_bytes_max();
        send_max.saturating_sub(elements::overhead(send_max)).min(limits::BATCH_BYTES)
    }
}
