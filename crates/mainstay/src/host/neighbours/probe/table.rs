//! The throw-away table: traces what comes in by one link (or goes to one pod) and drops it where it would arrive.

use std::net::IpAddr;

use kernel::nl::batch::Batch;
use kernel::nl::message::{CREATE, Writer};
use kernel::nl::nftables::{self, Hook, write_verdict};
use kernel::nl::{Protocol, Result, Socket};

/// How its name begins, family inet. A table of another process can neither be changed nor replaced.
const NAME: &str = "mainstay_probe";

/// Whether a table is one of a probe, of this process or another one.
pub(crate) fn is_one(name: &str) -> bool {
    name.starts_with(NAME)
}

fn name() -> String {
    format!("{NAME}_{}", std::process::id())
}

const NEW_TABLE: u16 = 0;
/// `NFT_TABLE_F_OWNER`: the table goes when the socket is closed (Linux 5.12).
const OWNER: u32 = 2;
/// Before everything else, and after everything else but the confirmation of connections.
const FIRST: i32 = -450;
const LAST: i32 = i32::MAX - 1;
/// `NFT_REG32_00` and the register of verdicts.
const REGISTER: u32 = 8;
const VERDICT: u32 = 0;
/// Keys of `meta`.
const LINK: u32 = 4;
const TRACE: u32 = 12;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;
const ICMP6: u8 = 58;
const DROP: i32 = 0;

/// The table; dropping it removes it.
pub(super) struct Table(Socket);

impl Table {
    /// Makes it for packets that come in by a link and for packets of this host to the pods.
    pub(super) fn make(link: u32, pods: &[IpAddr]) -> Result<Self> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let owned = batch(link, pods, true).commit(&mut socket, "make a throw-away table");
        if owned.is_err() {
            batch(link, pods, false).commit(&mut socket, "make a throw-away table")?;
        }
        Ok(Self(socket))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        nftables::delete_table(&mut batch, &name());
        // If it fails, closing the socket removes the table.
        let _ = batch.commit(&mut self.0, "delete the throw-away table");
    }
}

fn batch(link: u32, pods: &[IpAddr], owned: bool) -> Batch {
    let (table, mut batch) = (name(), Batch::new());
    batch.push(NEW_TABLE, CREATE, |w| {
        w.string(1, &table);
        if owned {
            w.be32(2, OWNER);
        }
    });
    for (name, number, priority) in
        [("enter", 0, FIRST), ("leave", 3, FIRST), ("input", 1, LAST), ("forward", 2, LAST), ("output", 3, LAST)]
    {
        nftables::new_chain(&mut batch, &table, name, Some(Hook { kind: "filter", number, priority }));
    }
    nftables::new_rule(&mut batch, &table, "enter", |w| {
        from_link(w, link);
        trace(w);
    });
    for chain in ["input", "forward"] {
        nftables::new_rule(&mut batch, &table, chain, |w| {
            from_link(w, link);
            // The neighbours of IPv6 must find each other.
            meta(w, PROTOCOL);
            compare(w, false, &[ICMP6]);
            drop_it(w);
        });
    }
    for pod in pods {
        nftables::new_rule(&mut batch, &table, "leave", |w| {
            to_pod(w, *pod);
            trace(w);
        });
        nftables::new_rule(&mut batch, &table, "output", |w| {
            to_pod(w, *pod);
            drop_it(w);
        });
    }
    batch
}

fn expression(w: &mut Writer, name: &str, data: impl FnOnce(&mut Writer)) {
    w.nest(1, |w| {
        w.string(1, name);
        w.nest(2, data);
    });
}

fn meta(w: &mut Writer, key: u32) {
    expression(w, "meta", |w| {
        w.be32(1, REGISTER);
        w.be32(2, key);
    });
}

fn compare(w: &mut Writer, equal: bool, value: &[u8]) {
    expression(w, "cmp", |w| {
        w.be32(1, REGISTER);
        w.be32(2, u32::from(!equal));
        w.nest(3, |w| w.attribute(1, value));
    });
}

fn from_link(w: &mut Writer, link: u32) {
    meta(w, LINK);
    compare(w, true, &link.to_ne_bytes());
}

fn to_pod(w: &mut Writer, pod: IpAddr) {
    let (family, offset, bytes) = match pod {
        IpAddr::V4(address) => (2, 16, address.octets().to_vec()),
        IpAddr::V6(address) => (10, 24, address.octets().to_vec()),
    };
    meta(w, FAMILY);
    compare(w, true, &[family]);
    expression(w, "payload", |w| {
        w.be32(1, REGISTER);
        w.be32(2, 1);
        w.be32(3, offset);
        w.be32(4, u32::try_from(bytes.len()).unwrap_or(4));
    });
    compare(w, true, &bytes);
}

fn trace(w: &mut Writer) {
    expression(w, "immediate", |w| {
        w.be32(1, REGISTER);
        w.nest(2, |w| w.attribute(1, &[1]));
    });
    expression(w, "meta", |w| {
        w.be32(2, TRACE);
        w.be32(3, REGISTER);
    });
}

fn drop_it(w: &mut Writer) {
    expression(w, "immediate", |w| {
        w.be32(1, VERDICT);
        w.nest(2, |w| write_verdict(w, DROP, ""));
    });
}
