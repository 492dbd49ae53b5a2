//! What the rules remember of clients: writes of the rules in, values out until their time is over.

use std::collections::BTreeMap;

/// The maps with a timeout, as the kernel keeps them: an update starts the time again and leaves a value that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    seconds: u64,
    held: BTreeMap<(String, Vec<u8>), Held>,
    turns: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    value: Vec<u8>,
    until: u64,
}

impl Memory {
    /// Lets time pass.
    pub fn pass(&mut self, seconds: u32) {
        self.seconds += u64::from(seconds);
        let now = self.seconds;
        self.held.retain(|_, held| held.until > now);
    }

    /// How many clients are remembered.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is remembered: map, key, value and for how many seconds yet, in order of map and key.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &[u8], &[u8], u64)> {
        let left = |held: &Held| held.until.saturating_sub(self.seconds);
        self.held
            .iter()
            .map(move |((map, key), held)| (map.as_str(), key.as_slice(), held.value.as_slice(), left(held)))
    }

    /// Remembers a client, as a rule would.
    pub fn remember(&mut self, map: &str, key: &[u8], value: &[u8], seconds: u32) {
        self.update(map, key.to_vec(), value.to_vec(), seconds);
    }

    /// Forgets a client, as a rule would.
    pub fn forget(&mut self, map: &str, key: &[u8]) {
        self.delete(map, key);
    }

    /// The next number of the rule that counts in `chain`; where its count stood before is chosen.
    pub(super) fn turn(&mut self, chain: &str, modulus: u32, choose: &mut dyn FnMut(u32) -> u32) -> u32 {
        let next = match self.turns.get(chain) {
            Some(last) => last + 1,
            None => choose(modulus),
        };
        let next = next % modulus.max(1);
        self.turns.insert(chain.to_owned(), next);
        next
    }

    pub(super) fn get(&self, map: &str, key: &[u8]) -> Option<&[u8]> {
        self.held.get(&(map.to_owned(), key.to_vec())).map(|held| &*held.value)
    }

    pub(super) fn update(&mut self, map: &str, key: Vec<u8>, value: Vec<u8>, timeout: u32) {
        let until = self.seconds + u64::from(timeout);
        self.held.entry((map.to_owned(), key)).or_insert(Held { value, until }).until = until;
    }

    pub(super) fn delete(&mut self, map: &str, key: &[u8]) {
        self.held.remove(&(map.to_owned(), key.to_vec()));
    }
}
