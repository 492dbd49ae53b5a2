//! Which number a published port gets on the host: its own if that is free, otherwise one that is kept for the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::object::ObjectKey;

use super::wanted::Id;

/// Ports below this need a privilege that a rootless sandbox does not have on the host.
const UNPRIVILEGED: u16 = 1024;
/// What is added to such a port when it cannot be had: 80 becomes 8080, 443 becomes 8443.
const INSTEAD: u16 = 8000;

/// Numbers that differ from what was wanted, kept in a file.
#[derive(Debug)]
pub(super) struct Numbers {
    file: PathBuf,
    kept: BTreeMap<String, u16>,
    saved: BTreeMap<String, u16>,
}

impl Numbers {
    /// What an earlier start kept. A file that cannot be read is as none: numbers are chosen anew.
    pub(super) fn load(file: &Path) -> Self {
        let kept: BTreeMap<String, u16> =
            std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file: file.to_owned(), saved: kept.clone(), kept }
    }

    /// Numbers to try in order; after them any that is free. `claimed` says whether another Service wants a number.
    pub(super) fn candidates(&self, key: &ObjectKey, id: &Id, claimed: impl Fn(u16) -> bool) -> Vec<u16> {
        let kept = self.kept.get(&name(key, id)).copied().filter(|number| *number != 0 && *number != id.port);
        let instead = (id.port < UNPRIVILEGED).then_some(id.port + INSTEAD).filter(|number| !claimed(*number));
        let mut out: Vec<u16> = kept.into_iter().chain([id.port]).collect();
        out.extend(instead.filter(|number| kept != Some(*number)));
        out
    }

    /// Notes which number a port got.
    pub(super) fn keep(&mut self, key: &ObjectKey, id: &Id, number: u16) {
        if number == id.port {
            self.kept.remove(&name(key, id));
        } else {
            self.kept.insert(name(key, id), number);
        }
    }

    /// Forgets a port that is no longer wanted.
    pub(super) fn forget(&mut self, key: &ObjectKey, id: &Id) {
        self.kept.remove(&name(key, id));
    }

    /// Forgets all that `wanted` does not hold.
    pub(super) fn only<'a>(&mut self, wanted: impl Iterator<Item = (&'a ObjectKey, Id)>) {
        let names: std::collections::BTreeSet<String> = wanted.map(|(key, id)| name(key, &id)).collect();
        self.kept.retain(|kept, _| names.contains(kept));
    }

    /// Writes the file if something changed.
    pub(super) fn save(&mut self) {
        if self.kept == self.saved {
            return;
        }
        let new = self.file.with_extension("new");
        let written = serde_json::to_vec_pretty(&self.kept)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&new, bytes))
            .and_then(|()| std::fs::rename(&new, &self.file));
        match written {
            Ok(()) => self.saved.clone_from(&self.kept),
            Err(error) => tracing::warn!(file = %self.file.display(), %error, "published ports could not be kept"),
        }
    }
}

/// A port in the file. The parts hold no slash.
fn name(key: &ObjectKey, id: &Id) -> String {
    format!("{}/{}/{}/{}/{}", key.namespace, key.name, id.source.name(), id.protocol(), id.port)
}

#[cfg(test)]
mod tests {
    use super::super::wanted::Source;
    use super::*;

    #[test]
    fn the_own_number_comes_first_unless_another_was_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("published.json");
        let mut numbers = Numbers::load(&file);
        let key = ObjectKey::new("default", "web");
        let node = Id { source: Source::NodePort, udp: false, port: 30007 };
        let balancer = Id { source: Source::LoadBalancer, udp: false, port: 80 };
        assert_eq!(numbers.candidates(&key, &node, |_| false), [30007]);
        assert_eq!(numbers.candidates(&key, &balancer, |_| false), [80, 8080]);
        assert_eq!(numbers.candidates(&key, &balancer, |number| number == 8080), [80]);

        numbers.keep(&key, &node, 41000);
        numbers.keep(&key, &balancer, 80);
        numbers.save();
        let mut again = Numbers::load(&file);
        assert_eq!(again.candidates(&key, &node, |_| false), [41000, 30007]);
        again.only(std::iter::once((&key, balancer)));
        again.save();
        assert_eq!(Numbers::load(&file).candidates(&key, &node, |_| false), [30007]);
        std::fs::write(&file, "{ \"x\": 99999999 }").unwrap();
        assert!(Numbers::load(&file).kept.is_empty(), "a damaged file is as none");
    }
}
