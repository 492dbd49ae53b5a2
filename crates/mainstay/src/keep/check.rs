//! A store in, everything that is wrong with it out: pages, rows, objects, allocations.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use api::object::Revision;
use serde::{Deserialize, Serialize};
use store::log::redb::{FILE, RedbLog};
use store::{Findings, Store};

use super::allocations::Allocations;
use crate::config::DataDir;

/// Findings that are listed; the rest is counted.
const LISTED: usize = 100;

/// What a check found.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// Revision of the store.
    pub(crate) revision: u64,
    /// Objects of each kind.
    pub(crate) objects: BTreeMap<String, usize>,
    /// What is wrong, one line each.
    pub(crate) wrong: Vec<String>,
}

impl Checked {
    fn of(findings: Findings, allocations: Allocations) -> Self {
        let Allocations { counts, wrong, .. } = allocations.finish();
        let mut all = findings.wrong;
        all.extend(wrong);
        if all.len() > LISTED {
            let more = all.len() - LISTED;
            all.truncate(LISTED);
            all.push(format!("and {more} more"));
        }
        Self { revision: findings.revision.0, objects: counts, wrong: all }
    }
}

/// Checks the store of a stopped instance; changes nothing.
pub(crate) fn offline(data_dir: &DataDir) -> Result<Checked> {
    let directory = data_dir.store();
    super::format::check(data_dir)?;
    let acknowledged = RedbLog::acknowledged(&directory);
    if !directory.join(FILE).exists() && acknowledged > Revision(0) {
        let gone =
            format!("{}: it is gone, but revision {acknowledged} was acknowledged", directory.join(FILE).display());
        return Ok(Checked { revision: acknowledged.0, wrong: vec![gone], ..Checked::default() });
    }
    if !directory.join(FILE).exists() {
        bail!(
            "there is no store in {}: nothing to check.\nName the instance's directory: --data-dir DIR",
            data_dir.path().display()
        );
    }
    let mut allocations = Allocations::default();
    let findings = RedbLog::inspect(&directory, |table, record| allocations.look(table, &record))?;
    Ok(Checked::of(findings, allocations))
}

/// Checks the store of this process: the file between two commits, then the objects at one revision.
pub(super) async fn online(store: &Store) -> std::io::Result<Checked> {
    let findings = store.examine().await?;
    let mut allocations = Allocations::default();
    let (revision, tables) = store.all();
    for (table, records) in &tables {
        records.iter().for_each(|record| allocations.look(table, record));
    }
    Ok(Checked::of(Findings { revision, ..findings }, allocations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_store_is_a_finding_and_none_at_all_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::choose(Some(directory.path())).unwrap();
        assert!(offline(&data_dir).unwrap_err().to_string().contains("nothing to check"));
        RedbLog::import(&data_dir.store(), Revision(7), &[]).unwrap();
        assert_eq!(offline(&data_dir).unwrap().wrong, Vec::<String>::new());
        std::fs::remove_file(data_dir.store().join(FILE)).unwrap();
        let wrong = offline(&data_dir).unwrap().wrong;
        assert!(wrong.len() == 1 && wrong[0].ends_with("it is gone, but revision 7 was acknowledged"), "{wrong:?}");
    }
}
