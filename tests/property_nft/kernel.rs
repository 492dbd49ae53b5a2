//! A kernel that holds elements, as strict as the real one; and what its elements mean, free of numbers.

use std::collections::{BTreeMap, BTreeSet};

use compile::nft::rules::describe;
use compile::nft::state::{Batch, Key, SetName, State};
use compile::nft::words::{self, ServiceId};

/// Applies a batch, all or nothing: deletions, then additions.
pub(crate) fn commit(state: &mut State, batch: &Batch) -> Result<(), String> {
    let mut next = state.clone();
    for element in &batch.delete {
        assert!(element.value.is_empty(), "a deletion names the key only");
        let gone = next.get_mut(&element.set).and_then(|elements| elements.remove(&element.key));
        gone.ok_or(format!("ENOENT: {element:?}"))?;
    }
    for element in &batch.add {
        let elements = next.entry(element.set).or_default();
        if elements.contains_key(&element.key) {
            return Err(format!("EEXIST: {element:?}"));
        }
        if describe(element.set).interval && elements.keys().any(|other| overlap(element.set, other, &element.key)) {
            return Err(format!("ENOTEMPTY: {element:?}"));
        }
        elements.insert(element.key.clone(), element.value.clone());
    }
    next.retain(|_, elements| !elements.is_empty());
    *state = next;
    Ok(())
}

fn overlap(set: SetName, one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (one.split_at(one.len() / 2), other.split_at(other.len() / 2));
    if describe(set).key.len() > 1 {
        // The ranges are of the last field; the fields before are equal at both ends.
        let head = if set == SetName::LbAllow4 { 12 } else { 24 };
        return one.0[..head] == other.0[..head] && one.0 <= other.1 && other.0 <= one.1;
    }
    one.0 < other.1 && other.0 < one.1
}

/// What a frontend means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Meaning {
    policy: u32,
    timeout: u32,
    sets: [Option<Chosen>; 2],
    ranges: BTreeSet<Key>,
    endpoints: BTreeSet<Key>,
}

/// What an endpoint set means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chosen {
    drops: bool,
    /// What `special` says, without the lane of a ring.
    special: Option<u32>,
    /// How many slots each endpoint has.
    endpoints: BTreeMap<Key, usize>,
    /// The endpoint of each slot, where a hash chooses the slot.
    table: Vec<Key>,
}

/// The first code of a ring in a word of `special`.
const RING: u32 = 16;

/// What `special` says of a set: the code of its algorithm, the same one for all rings.
fn algorithm(state: &State, set: u32) -> Option<u32> {
    let special = state.get(&SetName::Special)?.get(&words::bytes(set))?;
    assert_eq!(word(special) & !0x7ff, set);
    Some((word(special) & 0x7ff).min(RING))
}

fn data(state: &State, set: SetName) -> impl Iterator<Item = (&Key, &Key)> {
    state.get(&set).into_iter().flatten()
}

/// The word that a key or value begins with.
pub(crate) fn word(bytes: &[u8]) -> u32 {
    words::word(bytes).unwrap()
}

/// The Service port that a word names.
pub(crate) fn service_of(bytes: &[u8]) -> ServiceId {
    ServiceId::of(word(bytes)).unwrap()
}

/// The number of the Service port behind each frontend.
pub(crate) fn fronts(state: &State) -> BTreeMap<(SetName, Key), ServiceId> {
    let sets = [SetName::Front4, SetName::Front6, SetName::Nodeport4, SetName::Nodeport6];
    let all = sets.into_iter().flat_map(|set| data(state, set).map(move |(key, value)| (set, key, value)));
    all.map(|(set, key, value)| ((set, key.clone()), ServiceId::of(words::word(value).unwrap()).unwrap())).collect()
}

/// The transport protocol of a Service port that has a frontend.
pub(crate) fn protocols(state: &State) -> BTreeMap<ServiceId, u8> {
    let at = |set| match set {
        SetName::Front4 => 4,
        SetName::Front6 => 16,
        _ => 0,
    };
    fronts(state).into_iter().map(|((set, key), id)| (id, key[at(set)])).collect()
}

/// Every frontend with its meaning; checks on the way that words lead to what is there.
pub(crate) fn meaning(state: &State) -> BTreeMap<(SetName, Key), Meaning> {
    let slots = slots(state);
    let endpoints: BTreeMap<u32, Key> = [SetName::Ep4, SetName::Ep6]
        .into_iter()
        .flat_map(|set| data(state, set))
        .map(|(key, value)| (words::word(key).unwrap(), value.clone()))
        .collect();
    let identities: BTreeSet<&Key> = data(state, SetName::CtIds).map(|(_, value)| value).collect();
    assert_eq!(identities.len(), data(state, SetName::CtIds).count(), "identities are unique");
    assert_eq!(endpoints.len(), identities.len(), "every endpoint has an identity");
    let one = |(place, id): ((SetName, Key), ServiceId)| {
        let value = words::word(&state[&place.0][&place.1]).unwrap();
        let mut timeouts = BTreeSet::new();
        let sets = [(SetName::SetCluster, false), (SetName::SetLocal, true)].map(|(set, local)| {
            let choice = state.get(&set)?.get(&words::bytes(id.word()))?;
            let choice = words::word(choice).unwrap();
            assert_eq!(choice & !0x7ff, id.set(local));
            timeouts.insert(choice & 0x7c0);
            let chosen = slots.get(&id.set(local)).cloned().unwrap_or_default();
            let members = if local { SetName::MembersLocal } else { SetName::MembersCluster };
            let members = state.get(&members);
            for word in &chosen {
                let member = members.is_some_and(|members| members.contains_key(&words::bytes(*word)));
                assert_eq!(member, choice & 0x7c0 != 0, "members are kept where clients are remembered");
            }
            let special = algorithm(state, id.set(local));
            assert_eq!(special.is_some(), choice & 0x3f == 63, "only sets that ask for it are special");
            let backends: Vec<Key> = chosen.iter().map(|word| endpoints[word].clone()).collect();
            let mut counts = BTreeMap::new();
            backends.iter().for_each(|backend| *counts.entry(backend.clone()).or_insert(0) += 1);
            let hashed = special.is_some_and(|own| own < RING);
            let table = if hashed { backends } else { Vec::new() };
            Some(Chosen { drops: choice & 0x3f == 1, special, endpoints: counts, table })
        });
        assert_eq!(timeouts.len(), 1, "one timeout for both sets");
        let own = endpoints.iter().filter(|(word, _)| ServiceId::of(**word) == Some(id));
        let allowed = [SetName::LbAllow4, SetName::LbAllow6].into_iter().flat_map(|set| data(state, set));
        let meaning = Meaning {
            policy: value & 0xfff,
            timeout: timeouts.into_iter().sum(),
            sets,
            ranges: allowed.map(|(key, _)| key.clone()).filter(|key| key.starts_with(&place.1)).collect(),
            endpoints: own.map(|(_, value)| value.clone()).collect(),
        };
        (place, meaning)
    };
    fronts(state).into_iter().map(one).collect()
}

/// E in the order of slots, by the first half of their key; only rings have gaps.
fn slots(state: &State) -> BTreeMap<u32, Vec<u32>> {
    let mut numbered: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    for (key, value) in data(state, SetName::Slots) {
        let (head, slot) = (words::word(key).unwrap(), words::word(&key[4..]).unwrap());
        numbered.entry(head).or_default().insert(slot, words::word(value).unwrap());
    }
    let ring = |head: &u32| algorithm(state, *head) == Some(RING);
    for (_, slots) in numbered.iter().filter(|(head, _)| !ring(head)) {
        assert!(slots.keys().copied().eq(0..slots.len() as u32), "slots without gaps");
    }
    numbered.into_iter().map(|(head, slots)| (head, slots.into_values().collect())).collect()
}
