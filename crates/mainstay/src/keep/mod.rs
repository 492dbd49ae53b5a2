//! Keeping what the store holds: a data directory's format, checks, saves and restores.
//!
//! Commands on a stopped instance read its files; on a running one the server does the work and answers under
//! `/mainstay/store/`.

mod allocations;
mod check;
pub(crate) mod format;
mod hold;
pub(crate) mod online;
mod restore;
mod save;
mod steps;

pub(crate) use check::{Checked, offline as check_offline};
pub(crate) use hold::{Held, admit};
pub(crate) use restore::restore;
pub(crate) use save::{Saved, describe, offline as save_offline, place};
