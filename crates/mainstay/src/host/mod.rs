//! Host mode: this host's own network in, an instance in it and a way back out.

mod kill_points;
pub(crate) mod ledger;
pub(crate) mod neighbours;
