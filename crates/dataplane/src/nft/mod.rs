//! The nftables dataplane: one table `inet mainstay` of the network namespace in which it was opened.

mod counting;
mod elements;
mod expression;
mod flows;
mod install;
mod names;
mod switch;

use std::collections::BTreeMap;

use compile::nft::expr::Ruleset;
use compile::nft::interpret::Memory;
use compile::nft::rules::{self, Options, TABLE};
use compile::nft::state::{Batch, Key, SetName, State};
use kernel::nl::batch::Batch as Transaction;
use kernel::nl::nftables::inspect::{self, Fixed};
use kernel::nl::nftables::monitor::Monitor;
use kernel::nl::socket::{Membership, Seam};
use kernel::nl::{Protocol, Socket, conntrack, nftables, rulesets};

use self::names::Names;
use crate::{Dataplane, Error, Result, limits};

pub use counting::{FlowBytes, Reader};
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
    /// The form of the data, as the comment of every set.
    data: String,
    names: Names,
    flows: flows::Keeper,
    /// The data is new since the last switch of rules, and with it the identities.
    renumbered: bool,
    heard: Option<Membership>,
    disturbed: bool,
}

impl Nft {
    /// Opens it in the calling thread's network namespace; frontends and endpoints count their connections.
    pub fn open() -> Result<Self> {
        Self::open_with(true)
    }

    /// Opens it with other rules than the usual ones; counters cost 16 bytes per CPU and element, and 0.4 us per
    /// connection.
    pub fn open_with(options: impl Into<Options>) -> Result<Self> {
        Self::open_ruleset(rules::ruleset(options))
    }

    /// Opens it with other rules than ours: what tests change hands with.
    pub fn open_ruleset(ruleset: Ruleset) -> Result<Self> {
        Ok(Self {
            socket: Socket::open(Protocol::Netfilter)?,
            version: rules::version(&ruleset),
            data: rules::data_version(&ruleset),
            ruleset,
            names: Names::default(),
            flows: flows::Keeper::default(),
            renumbered: false,
            heard: None,
            disturbed: false,
        })
    }

    /// Listens from now on to what others change in our table, in the calling thread's network namespace, which must be
    /// that of this dataplane. What this one does is not heard.
    pub fn monitor(&mut self) -> Result<Monitor> {
        let monitor = Monitor::open(TABLE, self.socket.port()?)?;
        self.heard = Some(monitor.membership()?);
        Ok(monitor)
    }

    /// From now on `seam` decides what goes wrong with requests to the kernel: for tests.
    pub fn set_seam(&mut self, seam: Box<dyn Seam>) {
        self.socket.set_seam(seam);
    }

    /// Commits. As long as anybody listens the kernel writes a notice for every element, also to nobody: around a large
    /// batch our own monitor does not listen, and the count of generations says whether it missed something.
    fn commit(&mut self, transaction: Transaction, elements: usize, what: &str) -> kernel::nl::Result<()> {
        let Some(heard) = self.heard.as_ref().filter(|_| elements > limits::ELEMENTS_HEARD) else {
            return transaction.commit(&mut self.socket, what);
        };
        let before = rulesets::generation(&mut self.socket)?;
        heard.leave();
        let done = transaction.commit(&mut self.socket, what);
        heard.join()?;
        // A commit counts one; zero is left out. A failed one counts nothing, and everything is looked at after it anyway.
        let expected = before.checked_add(1).unwrap_or(1);
        self.disturbed |= done.is_ok() && rulesets::generation(&mut self.socket)? != expected;
        done
    }

    /// Writes into the table what is installed there.
    fn sign(&mut self) -> Result<()> {
        let fixed = inspect::fixed(&mut self.socket, TABLE)?.unwrap_or_default();
        let about = switch::about(&mut self.socket, &fixed, &self.ruleset, &self.version, &self.data)?;
        let mut transaction = Transaction::new();
        nftables::delete_rules(&mut transaction, TABLE, Some(switch::ABOUT));
        nftables::new_note(&mut transaction, TABLE, switch::ABOUT, &about);
        transaction.commit(&mut self.socket, "sign the rules of table inet mainstay").map_err(Error::of_apply)
    }

    /// Sends no more at once than a process may whose send buffer is `bytes`: 425,984 where nobody raised
    /// net.core.wmem_max.
    pub fn limit_send(&mut self, bytes: usize) -> Result<()> {
        Ok(self.socket.limit_send(bytes)?)
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

    /// Clients that the kernel remembers; for how long yet is not asked.
    pub fn clients(&mut self) -> Result<Memory> {
        let mut memory = Memory::default();
        for map in ["affinity4", "affinity6"] {
            for held in nftables::elements(&mut self.socket, TABLE, self.names.of(map))? {
                memory.remember(map, &held.key, &held.value, u32::MAX);
            }
        }
        Ok(memory)
    }

    /// Every flow that the kernel tracks in this namespace.
    pub fn flows(&mut self) -> Result<Vec<Flow>> {
        Ok(conntrack::flows(&mut self.socket, None)?)
    }

    /// Whether the table holds our rules and says so; also those for a kernel that tells nobody of flows.
    fn signed(&mut self, fixed: &Fixed) -> Result<bool> {
        let Some(note) = switch::note(fixed) else { return Ok(false) };
        let about = switch::about(&mut self.socket, fixed, &self.ruleset, &self.version, &self.data)?;
        if note == about {
            return Ok(true);
        }
        let (ruleset, version) = self.without_flow_log();
        if !note.starts_with(&version)
            || switch::about(&mut self.socket, fixed, &ruleset, &version, &self.data)? != note
        {
            return Ok(false);
        }
        self.stop_following(ruleset, version);
        Ok(true)
    }

    /// Commits what `write` makes of our rules; of those without a log of flows where the kernel has no module for it.
    fn commit_rules(&mut self, what: &str, write: &dyn Fn(&Ruleset) -> Transaction) -> Result<()> {
        match write(&self.ruleset).commit(&mut self.socket, what) {
            Err(error) if error.not_found() || error.errno() == Some(EOPNOTSUPP) => {
                let (ruleset, version) = self.without_flow_log();
                write(&ruleset).commit(&mut self.socket, what).map_err(Error::of_apply)?;
                self.stop_following(ruleset, version);
                Ok(())
            }
            other => other.map(|_| ()).map_err(Error::of_apply),
        }
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
            for held in nftables::elements(&mut self.socket, TABLE, self.names.of(&rules::describe(*name).name))? {
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
        self.disturbed = false;
        let Some(fixed) = inspect::fixed(&mut self.socket, TABLE)? else { return Ok(None) };
        if !self.signed(&fixed)? {
            return Ok(None);
        }
        self.names = Names::in_use(&fixed, &self.ruleset);
        let state = elements::read(&mut self.socket, &self.names)?;
        self.flows.observed(&mut self.socket, &state)?;
        Ok(Some(state))
    }

    fn install(&mut self) -> Result<()> {
        // Deleting costs an RCU grace period of about 10 ms, so it is asked for only where there is something.
        let exists = nftables::table_note(&mut self.socket, TABLE)?.is_some();
        let data = self.data.clone();
        self.commit_rules("install the rules of table inet mainstay", &|rules| install::write(rules, &data, exists))?;
        self.names = Names::default();
        self.flows.installed(&mut self.socket)?;
        self.sign()
    }

    fn prepare(&mut self) -> Result<State> {
        let fixed = inspect::fixed(&mut self.socket, TABLE)?;
        let room = switch::room(fixed.as_ref(), &self.ruleset, &self.data);
        room.make.commit(&mut self.socket, "make room in table inet mainstay").map_err(Error::of_apply)?;
        self.names = room.names;
        self.renumbered = !room.kept;
        if self.renumbered {
            self.flows.installed(&mut self.socket)?;
            return Ok(State::new());
        }
        let state = elements::read(&mut self.socket, &self.names)?;
        self.flows.observed(&mut self.socket, &state)?;
        Ok(state)
    }

    fn switch(&mut self) -> Result<()> {
        let gone = || Error::Diverged("the table is gone".into());
        let fixed = inspect::fixed(&mut self.socket, TABLE)?.ok_or_else(gone)?;
        let (before, data) = (self.names.clone(), self.data.clone());
        let after = std::cell::RefCell::new(before.clone());
        self.commit_rules("put the rules of table inet mainstay in place", &|rules| {
            let mut names = before.clone();
            let transaction = switch::take_over(&fixed, rules, &mut names, &data);
            after.replace(names);
            transaction
        })?;
        self.names = after.into_inner();
        if std::mem::take(&mut self.renumbered) {
            // Until just now the old rules gave out the old identities.
            self.flows.forget_identities(&mut self.socket)?;
        }
        let fixed = inspect::fixed(&mut self.socket, TABLE)?.ok_or_else(gone)?;
        let transaction = switch::clean_up(&fixed, &self.ruleset, &self.names);
        transaction.commit(&mut self.socket, "clean up table inet mainstay").map_err(Error::of_apply)?;
        self.sign()
    }

    fn disturbed(&mut self) -> bool {
        std::mem::take(&mut self.disturbed)
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = Transaction::new();
        elements::write(&mut transaction, &self.names, &batch.delete, &batch.add)?;
        let elements = batch.delete.len() + batch.add.len();
        self.commit(transaction, elements, "apply a batch to table inet mainstay").map_err(Error::of_apply)?;
        self.flows.committed(batch);
        Ok(self.flows.flush(&mut self.socket)?)
    }

    fn batch_bytes_max(&self) -> usize {
        let send_max = self.socket.send_bytes_max();
        send_max.saturating_sub(elements::overhead(send_max)).min(limits::BATCH_BYTES)
    }
}
