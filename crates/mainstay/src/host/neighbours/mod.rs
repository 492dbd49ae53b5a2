//! What else lives on this host in, whether it will eat our packets out, and the lines that keep it from doing so.
//!
//! [`fn@look`] reads and tries, [`mod@judge`] decides (pure), [`fn@settle`] refuses, warns or fixes, [`mod@guard`] does so again when
//! somebody changes his rules later. Fixes are notes in the ledger before they are made, so `mainstay down` undoes them.

mod facts;
mod finding;
mod guard;
mod judge;
mod meet;
mod probe;
mod read;
mod settle;

use anyhow::Result;

pub(crate) use facts::Ours;
pub(crate) use finding::Finding;
pub(crate) use probe::is_link;
pub(crate) use read::{RESOLVED_UPLINKS, resolv_conf_for_pods};
pub(crate) use settle::settle;

/// Reads the host of the calling thread and sends packets through it. Needs the right to make namespaces and tables.
pub(crate) fn look(ours: &Ours) -> Result<Vec<Finding>> {
    let trials = probe::run(ours)?;
    Ok(judge::judge(&read::facts(), ours, &trials))
}

/// What can be said without sending a packet.
pub(crate) fn look_only(ours: &Ours) -> Vec<Finding> {
    judge::judge(&read::facts(), ours, &[])
}
