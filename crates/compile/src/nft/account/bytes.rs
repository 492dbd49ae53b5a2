//! What tracked flows carried, by mark -> bytes per endpoint that never go back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Counted, Directory, Named, Reading};
use crate::nft::held::backend_of;
use crate::nft::state::SetName;
use crate::nft::words::{self, IDENTITY_MAX, IDENTITY_OURS};
use crate::service_table::Backend;

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// From clients.
    pub sent: u64,
    /// To clients.
    pub received: u64,
}

/// Bytes per endpoint: of flows that ended, and of those that are there.
#[derive(Debug, Default)]
pub struct Carried {
    /// Whose each identity is; those of endpoints that left stay until another endpoint has it.
    names: BTreeMap<u32, (Arc<Named>, Backend)>,
    ended: BTreeMap<u32, Bytes>,
    shown: BTreeMap<u32, Bytes>,
}

impl Carried {
    /// Takes what the kernel says of identities now: E with its mark (the map `ct_ids`), and readings, which have the
    /// address that each E stands for.
    pub fn know(&mut self, directory: &Directory, marks: impl IntoIterator<Item = (u32, u32)>, readings: &[Reading]) {
        let endpoints = readings.iter().filter_map(|reading| match reading.counted {
            Counted::Element(SetName::Ep4 | SetName::Ep6) => {
                Some((words::word(&reading.key)?, backend_of(&reading.value)?))
            }
            _ => None,
        });
        let endpoints: BTreeMap<u32, Backend> = endpoints.collect();
        for (word, mark) in marks {
            let named = directory.find(word).zip(endpoints.get(&word));
            let (Some(identity), Some((owner, backend))) = (identity(mark), named) else { continue };
            let name = (Arc::clone(owner), *backend);
            if self.names.get(&identity) != Some(&name) {
                self.names.insert(identity, name);
                self.ended.remove(&identity);
                self.shown.remove(&identity);
            }
        }
    }

    /// A flow ended.
    pub fn end(&mut self, mark: u32, bytes: Bytes) {
        if let Some(identity) = identity(mark) {
            add(self.ended.entry(identity).or_default(), bytes);
        }
    }

    /// Takes all flows that are there now (mark and bytes so far).
    pub fn live(&mut self, flows: impl IntoIterator<Item = (u32, Bytes)>) {
        let mut sums = self.ended.clone();
        for (mark, bytes) in flows {
            if let Some(identity) = identity(mark) {
                add(sums.entry(identity).or_default(), bytes);
            }
        }
        for (identity, sum) in sums {
            // A flow between two readings may be in neither for a moment.
            let shown = self.shown.entry(identity).or_default();
            *shown = Bytes { sent: shown.sent.max(sum.sent), received: shown.received.max(sum.received) };
        }
    }

    /// Every endpoint with what its flows carried.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Named, Backend, Bytes)> {
        let shown = |identity| self.shown.get(identity).copied().unwrap_or_default();
        self.names.iter().map(move |(identity, (named, backend))| (&**named, *backend, shown(identity)))
    }
}

fn add(sum: &mut Bytes, more: Bytes) {
    sum.sent += more.sent;
    sum.received += more.received;
}

/// The identity in a mark, if it is one of ours.
fn identity(mark: u32) -> Option<u32> {
    (mark & IDENTITY_OURS != 0).then_some(mark & IDENTITY_MAX).filter(|identity| *identity != 0)
}

#[cfg(test)]
mod tests {
    use api::object::ObjectKey;

    use super::*;
    use crate::nft::words::ServiceId;
    use crate::service_table::PortKey;
    use crate::snapshot::{Family, Protocol};

    #[test]
    fn bytes_of_flows_that_end_stay_with_their_endpoint() {
        let port = PortKey { family: Family::V4, protocol: Protocol::Tcp, port: 80 };
        let mut directory = Directory::default();
        directory.add(ServiceId(3), &ObjectKey::new("ns", "a"), port);
        let endpoint = ServiceId(3).endpoint(1);
        let reading = |last: u8| Reading {
            counted: Counted::Element(SetName::Ep4),
            key: words::bytes(endpoint),
            value: [10, 244, 0, last, 0x1f, 0x90, 0, 0].into(),
            packets: 1,
        };
        let (mut carried, mark) = (Carried::default(), IDENTITY_OURS | 9);
        let bytes = |sent, received| Bytes { sent, received };
        let all = |carried: &Carried| {
            carried.endpoints().map(|(_, at, sum)| (at.address.to_string(), sum)).collect::<Vec<_>>()
        };
        carried.know(&directory, [(endpoint, mark)], &[reading(1)]);
        // With the bit that asks for masquerade, and a flow of somebody else.
        carried.live([(mark | 0x80_0000, bytes(10, 100)), (mark, bytes(1, 2)), (0x9, bytes(7, 7))]);
        assert_eq!(all(&carried), [("10.244.0.1".to_owned(), bytes(11, 102))]);
        // One ended, but its notice is not there yet.
        carried.live([(mark, bytes(2, 3))]);
        assert_eq!(all(&carried)[0].1, bytes(11, 102), "never back");
        carried.end(mark | 0x80_0000, bytes(12, 110));
        carried.live([(mark, bytes(2, 3))]);
        assert_eq!(all(&carried)[0].1, bytes(14, 113));
        carried.know(&directory, [(endpoint, mark)], &[reading(2)]);
        assert_eq!(all(&carried), [("10.244.0.2".to_owned(), bytes(0, 0))], "another endpoint begins at zero");
    }
}
