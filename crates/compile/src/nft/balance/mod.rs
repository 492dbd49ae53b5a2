//! Endpoints with weights -> which slot names which: counts for a random draw, a ring, a table for hashes. Pure.

pub(super) mod ring;
pub(super) mod shares;
pub(super) mod table;
