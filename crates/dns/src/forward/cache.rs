//! Answers from outside, kept for as long as their TTL allows and as many as the byte limit allows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::Kept;
use crate::limits;

/// The cache; what was stored first goes first.
#[derive(Default)]
pub(super) struct Cache {
    by_key: HashMap<Box<[u8]>, (u64, Arc<Kept>)>,
    by_age: BTreeMap<u64, Box<[u8]>>,
    next: u64,
    bytes: usize,
}

impl Cache {
    /// A kept answer that is still fresh.
    pub(super) fn get(&mut self, key: &[u8], now: Instant) -> Option<Arc<Kept>> {
        let (_, kept) = self.by_key.get(key)?;
        let age = now.saturating_duration_since(kept.at).as_secs();
        if age < u64::from(kept.answer.keep) {
            return Some(kept.clone());
        }
        self.remove(key);
        None
    }

    /// Keeps an answer, unless its TTL forbids it.
    pub(super) fn put(&mut self, key: &[u8], kept: &Arc<Kept>) {
        self.remove(key);
        if kept.answer.keep == 0 || kept.answer.truncated() {
            return;
        }
        self.bytes += size(key, kept);
        self.by_age.insert(self.next, key.into());
        self.by_key.insert(key.into(), (self.next, kept.clone()));
        self.next += 1;
        while self.bytes > limits::CACHE_BYTES
            && let Some((_, oldest)) = self.by_age.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((number, kept)) = self.by_key.remove(key) {
            self.by_age.remove(&number);
            self.bytes -= size(key, &kept);
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes an entry takes, with an allowance for tables and allocation.
fn size(key: &[u8], kept: &Kept) -> usize {
    2 * key.len() + kept.answer.message.capacity() + 4 * kept.answer.ttls.capacity() + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::Upstream;

    fn kept(bytes: usize, keep: u32) -> Arc<Kept> {
        let answer = Upstream { message: vec![0; bytes], ttls: Vec::new(), keep, end: 12 };
        Arc::new(Kept { answer, at: Instant::now() })
    }

    #[test]
    fn bytes_stay_below_the_limit_and_the_oldest_goes() {
        let mut cache = Cache::default();
        for number in 0..200_u32 {
            cache.put(&number.to_be_bytes(), &kept(60_000, 60));
            assert!(cache.bytes() <= limits::CACHE_BYTES);
        }
        assert!(cache.get(&0_u32.to_be_bytes(), Instant::now()).is_none());
        assert!(cache.get(&199_u32.to_be_bytes(), Instant::now()).is_some());
    }

    #[test]
    fn ends_with_the_ttl() {
        let mut cache = Cache::default();
        let entry = kept(20, 5);
        cache.put(b"a", &entry);
        cache.put(b"never", &kept(20, 0));
        assert!(cache.get(b"never", Instant::now()).is_none());
        assert!(cache.get(b"a", entry.at + std::time::Duration::from_secs(4)).is_some());
        assert!(cache.get(b"a", entry.at + std::time::Duration::from_secs(5)).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
