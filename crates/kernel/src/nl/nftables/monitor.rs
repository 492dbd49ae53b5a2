//! The kernel's notices about one table in, what somebody else changed in it and who it was out.
//!
//! The group tells every change of everybody, element by element, and closes each transaction with NEWGEN, which names
//! the process. What our own socket did is dropped in the kernel ([`Socket::ignore`]); around large batches the
//! group is left altogether ([`Monitor::membership`]), because the kernel writes a notice per element as long as anybody listens.

use std::collections::BTreeMap;
use std::fmt;

use super::super::batch::INET;
use super::super::socket::Membership;
use super::super::{Kind, Protocol, Result, Socket, parse};

/// `NFNLGRP_NFTABLES`.
const GROUP: i32 = 7;
const SUBSYSTEM: u16 = 10;
const NEW_GENERATION: u16 = 15;
const TABLE_GONE: &str = "deleted the table";

/// One transaction of somebody else that touched the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Process and its name.
    pub by: Option<(u32, String)>,
    /// How many of what were changed, such as `deleted rule of chain output`.
    pub what: BTreeMap<String, usize>,
    /// Notices were lost: anything may have been changed by anybody.
    pub lost: bool,
}

impl Foreign {
    /// Adds what another transaction did.
    pub fn merge(&mut self, other: Self) {
        self.lost |= other.lost;
        self.by = other.by.or(self.by.take());
        for (what, count) in other.what {
            *self.what.entry(what).or_default() += count;
        }
    }
}

impl Foreign {
    /// Who it was.
    pub fn who(&self) -> String {
        self.by.as_ref().map_or("somebody".to_owned(), |(pid, name)| format!("{name} (process {pid})"))
    }

    /// What was done, in a few words.
    pub fn what(&self) -> String {
        // All that was in it went with it.
        if self.what.contains_key(TABLE_GONE) {
            return TABLE_GONE.to_owned();
        }
        if self.what.is_empty() {
            return "more than the kernel could tell".to_owned();
        }
        const MOST: usize = 4;
        let each = self.what.iter().take(MOST).map(|(what, count)| match count {
            1 => what.clone(),
            _ => format!("{what} ({count} times)"),
        });
        let rest = self.what.len().saturating_sub(MOST);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!("{}{more}", each.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changed it: {}", self.who(), self.what())
    }
}

/// Listens in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    table: String,
    pending: Foreign,
}

impl Monitor {
    /// Listens to changes of `table` (family inet) by others than the socket with number `own`, in the calling thread's
    /// network namespace, from now on.
    pub fn open(table: &str, own: u32) -> Result<Self> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.ignore(own)?;
        socket.join(GROUP)?;
        Ok(Self { socket, table: table.to_owned(), pending: Foreign::default() })
    }

    /// By which the owner of the table leaves the group around what he does himself.
    pub fn membership(&self) -> Result<Membership> {
        self.socket.membership(GROUP)
    }

    /// Waits for the next transaction of somebody else that touched the table; several that came together are one.
    pub fn wait(&mut self) -> Result<Foreign> {
        loop {
            self.socket.wait()?;
            let mut found = Foreign::default();
            match self.socket.queued() {
                Ok(replies) => {
                    for reply in replies {
                        if let Some(done) = self.take(reply.kind, &reply.payload) {
                            found.merge(done);
                        }
                    }
                }
                Err(error) if error.kind == Kind::Lost => found.lost = true,
                Err(error) => return Err(error),
            }
            if found != Foreign::default() {
                return Ok(found);
            }
        }
    }

    /// Takes one notice; what its transaction did, if it was the last of one that touched the table.
    fn take(&mut self, kind: u16, payload: &[u8]) -> Option<Foreign> {
        if kind >> 8 != SUBSYSTEM {
            return None;
        }
        let attributes = payload.get(4..).unwrap_or_default();
        if kind & 0xff == NEW_GENERATION {
            let mut done = std::mem::take(&mut self.pending);
            let pid = parse::find(attributes, 2).and_then(parse::be32);
            done.by = pid.zip(parse::find(attributes, 3).map(parse::text));
            return (!done.what.is_empty()).then_some(done);
        }
        let ours =
            payload.first() == Some(&INET) && parse::find(attributes, 1).map(parse::text) == Some(self.table.clone());
        if let Some(what) = describe(kind & 0xff, attributes).filter(|_| ours) {
            *self.pending.what.entry(what).or_default() += 1;
        }
        None
    }
}

/// What a notice says was done, in words.
fn describe(kind: u16, attributes: &[u8]) -> Option<String> {
    let text = |attribute| parse::find(attributes, attribute).map(parse::text).unwrap_or_default();
    Some(match kind {
        0 => "changed the table".to_owned(),
        2 => TABLE_GONE.to_owned(),
        3 => format!("added or changed chain {}", text(3)),
        5 => format!("deleted chain {}", text(3)),
        6 => format!("added a rule to chain {}", text(2)),
        8 => format!("deleted a rule of chain {}", text(2)),
        9 => format!("added set {}", text(2)),
        11 => format!("deleted set {}", text(2)),
        12 => format!("added an element to {}", text(2)),
        14 => format!("deleted an element of {}", text(2)),
        18 | 22 => "added an object".to_owned(),
        20 | 24 => "deleted an object".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::batch::Batch;
    use super::super::{Element, Hook, SetShape, Value};
    use super::*;
    use crate::namespace;

    fn in_new_network(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                namespace::new_net()
                    .unwrap_or_else(|error| panic!("{error}: run the tests as root or in unshare -Urn"));
                work();
            });
            thread.join().unwrap();
        });
    }

    fn table(batch: &mut Batch, name: &str) {
        super::super::new_table(batch, name, None);
        super::super::new_chain(batch, name, "in", Some(Hook { kind: "filter", number: 1, priority: 0 }));
        super::super::new_set(
            batch,
            name,
            &SetShape { name: "s", id: 1, key_type: 7, key_len: 4, ..SetShape::default() },
        );
    }

    fn element(batch: &mut Batch, table: &str, last: u8) {
        let key = [192, 0, 2, last];
        let one = Element { key: &key, key_end: None, value: Value::Nothing, flags: 0 };
        super::super::add_elements(batch, table, "s", [one]);
    }

    #[test]
    fn only_what_others_do_to_the_table_is_told_and_by_whom() {
        in_new_network(|| {
            let mut own = Socket::open(Protocol::Netfilter).unwrap();
            let mut other = Socket::open(Protocol::Netfilter).unwrap();
            let mut monitor = Monitor::open("ours", own.port().unwrap()).unwrap();
            let change = |socket: &mut Socket, fill: &dyn Fn(&mut Batch)| {
                let mut batch = Batch::new();
                fill(&mut batch);
                batch.commit(socket, "change a table of the test").unwrap();
            };
            change(&mut own, &|batch| table(batch, "ours"));
            change(&mut own, &|batch| element(batch, "ours", 1));
            change(&mut other, &|batch| table(batch, "theirs"));
            change(&mut other, &|batch| element(batch, "theirs", 1));
            change(&mut other, &|batch| (2..5).for_each(|last| element(batch, "ours", last)));
            let foreign = monitor.wait().unwrap();
            assert_eq!(foreign.what, BTreeMap::from([("added an element to s".to_owned(), 3)]));
            let (pid, name) = foreign.by.clone().unwrap();
            let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            assert_eq!(name, comm.trim());
            assert!(pid > 0);
            assert_eq!(
                foreign.to_string(),
                format!("{name} (process {pid}) changed it: added an element to s (3 times)")
            );
            change(&mut other, &|batch| super::super::delete_table(batch, "ours"));
            let foreign = monitor.wait().unwrap();
            assert!(foreign.what.contains_key("deleted the table"), "{foreign}");
        });
    }

    #[test]
    fn a_flood_is_told_as_lost_notices() {
        in_new_network(|| {
            let mut other = Socket::open(Protocol::Netfilter).unwrap();
            let mut monitor = Monitor::open("ours", 1).unwrap();
            let mut first = Batch::new();
            table(&mut first, "ours");
            first.commit(&mut other, "make a table").unwrap();
            // Nobody reads meanwhile: far more than the receive buffer holds.
            for round in 0..40_u32 {
                let mut batch = Batch::new();
                let keys: Vec<[u8; 4]> = (0..10_000_u32).map(|n| (round * 10_000 + n).to_be_bytes()).collect();
                let elements = keys.iter().map(|key| Element { key, key_end: None, value: Value::Nothing, flags: 0 });
                super::super::add_elements(&mut batch, "ours", "s", elements);
                batch.commit(&mut other, "flood").unwrap();
            }
            let mut all = Foreign::default();
            while !all.lost {
                all.merge(monitor.wait().unwrap());
            }
        });
    }
}
