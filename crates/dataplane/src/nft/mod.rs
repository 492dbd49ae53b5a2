//! The nftables dataplane: one table `inet mainstay` of the network namespace in which it was opened.

mod elements;
mod expression;
mod flows;
mod install;

use std::collections::BTreeMap;

use compile::nft::expr::Ruleset;
use compile::nft::rules::{self, TABLE};
use compile::nft::state::{Batch, Key, SetName, State};
use kernel::nl::batch::Batch as Transaction;
use kernel::nl::{Protocol, Socket, conntrack, nftables};

use crate::{Dataplane, Error, Result, limits};

pub use elements::encoded_len;
pub use flows::FlowFigures;
pub use kernel::nl::conntrack::{Flow, Tuple};

/// Of asm-generic/errno.h.
const EOPNOTSUPP: i32 = 95;

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
    flows: flows::Keeper,
}

impl Nft {
    /// Opens it in the calling thread's network namespace; frontends and endpoints count their connections.
    pub fn open() -> Result<Self> {
        Self::open_with(true)
    }

    /// Opens it; `counters` costs 16 bytes per CPU and element, and 0.4 us per connection.
    pub fn open_with(counters: bool) -> Result<Self> {
        let ruleset = rules::ruleset(counters);
        let version = rules::version(&ruleset);
        Ok(Self { socket: Socket::open(Protocol::Netfilter)?, ruleset, version, flows: flows::Keeper::default() })
    }

    /// From now on follows every UDP flow that the rules translate, on a thread of its own, so that those of an endpoint
    /// that leaves are known without a walk of the table. One process per network namespace can: it is an error where
    /// another one does (EPERM, EBUSY) or the kernel has no nfnetlink_log; everything works as before then, by walks.
    pub fn follow_flows(&mut self) -> Result<()> {
        Ok(self.flows.follow()?)
    }

    /// What it took to end UDP flows since this was opened.
    pub fn flow_figures(&self) -> FlowFigures {
        self.flows.figures()
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

    /// Every flow that the kernel tracks in this namespace.
    pub fn flows(&mut self) -> Result<Vec<Flow>> {
        Ok(conntrack::flows(&mut self.socket, None)?)
    }

    fn without_flow_log(&self) -> (Ruleset, String) {
        let ruleset = rules::without_flow_log(self.ruleset.clone());
        let version = rules::version(&ruleset);
        (ruleset, version)
    }

    /// The rules in the kernel are these, which tell nobody of flows.
    fn stop_following(&mut self, ruleset: Ruleset, version: String) {
        (self.ruleset, self.version) = (ruleset, version);
        self.flows.stop();
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
}

impl Dataplane for Nft {
    fn observe(&mut self) -> Result<Option<State>> {
        let note = nftables::table_note(&mut self.socket, TABLE)?.flatten();
        if note.as_ref().is_some_and(|note| *note != self.version) {
            let (ruleset, version) = self.without_flow_log();
            if note.as_ref() == Some(&version) {
                self.stop_following(ruleset, version);
            }
        }
        match note {
            Some(note) if note == self.version => {
                let state = elements::read(&mut self.socket)?;
                self.flows.observed(&mut self.socket, &state)?;
                Ok(Some(state))
            }
            _ => Ok(None),
        }
    }

    fn install(&mut self) -> Result<()> {
        // Deleting costs an RCU grace period of about 10 ms, so it is asked for only where there is something.
        let exists = nftables::table_note(&mut self.socket, TABLE)?.is_some();
        let transaction = install::write(&self.ruleset, &self.version, exists);
        let what = "install the rules of table inet mainstay";
        match transaction.commit(&mut self.socket, what) {
            // No module for it: the rules of this kernel do without.
            Err(error) if error.not_found() || error.errno() == Some(EOPNOTSUPP) => {
                let (ruleset, version) = self.without_flow_log();
                install::write(&ruleset, &version, exists).commit(&mut self.socket, what)?;
                self.stop_following(ruleset, version);
            }
            other => other?,
        }
        Ok(self.flows.installed(&mut self.socket)?)
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = Transaction::new();
        elements::write(&mut transaction, &batch.delete, &batch.add)?;
        transaction.commit(&mut self.socket, "apply a batch to table inet mainstay").map_err(Error::of_apply)?;
        self.flows.committed(batch);
        Ok(self.flows.flush(&mut self.socket)?)
    }

    fn batch_bytes_max(&self) -> usize {
        let send_max = self.socket.send_bytes_max();
        send_max.saturating_sub(elements::overhead(send_max)).min(limits::BATCH_BYTES)
    }
}
