//! Elements that others or a broken past left in the kernel are removed, and what is ours keeps its numbers.

use compile::nft::rules::{ALL_SETS, describe};
use compile::nft::state::{Batch, Element, SetName};
use compile::nft::words::{self, ServiceId};
use compile::nft::{Programmer, expr::Contents};
use compile::snapshot::Changes;
use proptest::prelude::*;

use super::kernel::{commit, fronts, meaning};
use super::reference::Reference;
use super::world::{Draw, World, config};
use super::{Node, node};

/// An element of a random set, likely to clash with ours: low numbers, and keys that are there.
fn element(draw: &mut Draw<'_>, node: &Node) -> Element {
    let set = draw.one(&ALL_SETS);
    let description = describe(set);
    let length = if description.interval { 2 * description.key_len() } else { description.key_len() };
    let service = ServiceId(draw.below(12) as u32);
    let number = draw.below(8) as u32;
    let mut key: Vec<u8> = match set {
        SetName::Slots => [service.set(draw.rarely(2)).to_ne_bytes(), number.to_ne_bytes()].concat(),
        SetName::Special => service.set(draw.rarely(2)).to_ne_bytes().into(),
        SetName::SetCluster | SetName::SetLocal => service.word().to_ne_bytes().into(),
        SetName::CtIds | SetName::Ep4 | SetName::Ep6 | SetName::MembersCluster | SetName::MembersLocal => {
            service.endpoint(number as u16).to_ne_bytes().into()
        }
        _ => (0..length).map(|_| draw.below(256) as u8).collect(),
    };
    if draw.rarely(3) {
        let present = node.kernel.get(&set).and_then(|elements| elements.keys().next());
        key = present.map_or(key, |key| key.to_vec());
    }
    if draw.rarely(10) {
        key = (0..length).map(|_| draw.below(256) as u8).collect();
    }
    if description.interval {
        // Ranges begin before they end.
        let (start, end) = key.split_at(length / 2);
        let (start, end) = (start.min(end).to_vec(), start.max(end).to_vec());
        let fields = end.iter().zip(&start).map(|(end, start)| (*end).max(*start)).collect();
        key = [start, if description.key.len() > 1 { fields } else { end }].concat();
    }
    let value = match description.contents {
        Contents::Data(_) if matches!(set, SetName::Ep4 | SetName::Ep6) => {
            let bytes = if set == SetName::Ep4 { 8 } else { 20 };
            (0..bytes).map(|_| draw.below(4) as u8).collect()
        }
        Contents::Data(_) if set == SetName::CtIds => words::bytes(0x40_0000 | draw.below(20) as u32),
        Contents::Data(_) if set == SetName::Special => words::bytes(service.word() | (14 + draw.below(4) as u32)),
        Contents::Data(_) => words::bytes(service.word() | draw.below(4096) as u32),
        _ => Box::default(),
    };
    Element { set, key: key.into(), value }
}

fn run(changes: &[Vec<u8>], garbage: &[Vec<u8>], limit: usize) {
    let config = config();
    let (mut world, mut node) = (World::default(), node());
    changes.iter().for_each(|change| world.change(change));
    let (snapshot, changes) = world.builder.publish(world.revision);
    let plan = node.plan(&snapshot, &changes, limit);
    plan.batches.iter().for_each(|batch| commit(&mut node.kernel, batch).unwrap());
    let clean = node.kernel.clone();
    for bytes in garbage {
        let element = element(&mut Draw(bytes), &node);
        let delete = Element { value: Box::default(), ..element.clone() };
        let present = clean.get(&element.set).is_some_and(|elements| elements.contains_key(&element.key));
        // What the kernel would not take cannot be there.
        let delete = if present { vec![delete] } else { Vec::new() };
        _ = commit(&mut node.kernel, &Batch { delete, add: vec![element], flush: Vec::new() });
    }
    let dirty = node.kernel.clone();
    node.programmer = Programmer::new(config.clone());
    node.programmer.adopt(dirty.clone());
    let plan = node.plan(&snapshot, &Changes::default(), limit);
    for (index, batch) in plan.batches.iter().enumerate() {
        commit(&mut node.kernel, batch).unwrap_or_else(|error| panic!("batch {index}: {error}\n{:#?}", plan.batches));
    }
    assert_eq!(meaning(&node.kernel), meaning(&clean));
    node.check(&snapshot, &[], &Reference { snapshot: &snapshot, config: &config });
    let (old, new) = (fronts(&clean), fronts(&node.kernel));
    if dirty == clean {
        assert_eq!(old, new, "numbers stay");
        assert!(plan.batches.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_removed(
        changes in prop::collection::vec(prop::collection::vec(any::<u8>(), 48), 4..16),
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 96), 0..12),
        limit in prop::sample::select(vec![1usize, 120, 1000, 1 << 20]),
    ) {
        run(&changes, &garbage, limit);
    }
}
