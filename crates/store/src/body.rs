//! Bodies of objects small in memory: bytes in, a block packed against samples of the same table out, and back.
//!
//! Objects of one kind repeat one another: field names, `managedFields`, labels. LZ4 with a dictionary made of objects of
//! the same table stores only the differences. The dictionary is learnt from what comes and lives in memory alone: the log
//! holds plain bytes, so nothing on the disk depends on it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lz4_flex::block::{compress_with_dict, decompress_with_dict};

use crate::limits::{PACK_DICTIONARIES, PACK_DICTIONARY_BYTES, PACK_LEAST_BYTES, PACK_SAMPLE_BYTES};

/// An object as the API shows it, possibly packed.
#[derive(Clone)]
pub struct Body(Form);

#[derive(Clone)]
enum Form {
    Plain(Bytes),
    Packed { dictionary: Arc<[u8]>, length: u32, block: Box<[u8]> },
}

impl Body {
    /// The bytes, as they were written.
    pub fn bytes(&self) -> Bytes {
        match &self.0 {
            Form::Plain(bytes) => bytes.clone(),
            Form::Packed { dictionary, length, block } => {
                decompress_with_dict(block, *length as usize, dictionary).map_or_else(
                    |error| {
                        // Only memory that changes by itself comes here. No object is better than a wrong one: nothing
                        // that reads JSON takes an empty body for an object.
                        tracing::error!(%error, "an object in memory cannot be unpacked; restart the server");
                        Bytes::new()
                    },
                    Bytes::from,
                )
            }
        }
    }

    /// Length of the bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Packed { length, .. } => *length as usize,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes in memory, less than `len` when it is packed.
    pub fn held(&self) -> usize {
        match &self.0 {
            Form::Plain(bytes) => bytes.len(),
            Form::Packed { block, .. } => block.len(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Form::Plain(bytes))
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(out)
    }
}

/// Packs bodies; learns a dictionary for each table from the bodies that its last one did not suit.
#[derive(Debug, Default)]
pub struct Packer(Mutex<BTreeMap<Box<str>, Learnt>>);

#[derive(Debug, Default)]
struct Learnt {
    dictionary: Option<Arc<[u8]>>,
    /// Dictionaries made so far. Old ones stay for as long as a body needs them, so their number is bounded.
    made: usize,
}

impl Packer {
    /// A body to be kept for long.
    pub fn pack(&self, table: &str, bytes: Bytes) -> Body {
        let Ok(length) = u32::try_from(bytes.len()) else { return bytes.into() };
        if bytes.len() < PACK_LEAST_BYTES {
            return exact(&bytes);
        }
        let known = self.dictionary(table);
        let mut packed = known.map(|dictionary| (compress_with_dict(&bytes, &dictionary), dictionary));
        if packed.as_ref().is_none_or(|(block, _)| block.len() > bytes.len() / 3)
            && let Some(dictionary) = self.learn(table, &bytes)
        {
            packed = Some((compress_with_dict(&bytes, &dictionary), dictionary));
        }
        match packed {
            Some((block, dictionary)) if block.len() < bytes.len() - bytes.len() / 8 => {
                Body(Form::Packed { dictionary, length, block: block.into_boxed_slice() })
            }
            _ => exact(&bytes),
        }
    }

    fn dictionary(&self, table: &str) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(table)?.dictionary.clone()
    }

    /// A new dictionary for a table: the end of its last one, then this body, unless it has learnt often enough. What
    /// does not repeat itself at all (keys, images) teaches nothing.
    fn learn(&self, table: &str, bytes: &Bytes) -> Option<Arc<[u8]>> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !tables.contains_key(table) {
            tables.insert(table.into(), Learnt::default());
        }
        let learnt = tables.get_mut(table)?;
        if learnt.made == PACK_DICTIONARIES {
            return None;
        }
        let sample = &bytes[..bytes.len().min(PACK_SAMPLE_BYTES)];
        let old = learnt.dictionary.as_deref().unwrap_or_default();
        let kept = &old[(old.len() + sample.len()).saturating_sub(PACK_DICTIONARY_BYTES).min(old.len())..];
        let dictionary: Arc<[u8]> = [kept, sample].concat().into();
        learnt.made += 1;
        learnt.dictionary = Some(dictionary.clone());
        Some(dictionary)
    }
}

/// A body with an allocation of its own: bytes that come in may be a small part of a large buffer.
fn exact(bytes: &Bytes) -> Body {
    Bytes::copy_from_slice(bytes).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(number: usize) -> Bytes {
        let manager = |name: &str| {
            serde_json::json!({
                "apiVersion": "v1", "fieldsType": "FieldsV1", "manager": name, "operation": "Update",
                "time": format!("2026-11-21T08:{:02}:{:02}Z", number / 60 % 60, number % 60),
                "fieldsV1": { "f:metadata": { "f:labels": { ".": {}, "f:app": {} } }, "f:spec": { "f:selector": {} } },
            })
        };
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": format!("service-{number}"), "namespace": "perf", "resourceVersion": number.to_string(),
                "managedFields": [manager("kubectl-client-side-apply"), manager("mainstay-controller")],
            },
            "spec": { "clusterIP": format!("10.96.{}.{}", number / 256, number % 256), "selector": { "app": "x" } },
        });
        object.to_string().into()
    }

    #[test]
    fn objects_of_a_kind_take_a_quarter_and_come_back_as_they_were() {
        let packer = Packer::default();
        let (mut plain, mut held) = (0, 0);
        for number in 0..1000 {
            let bytes = service(number);
            let body = packer.pack("services", bytes.clone());
            assert_eq!((body.bytes(), body.len()), (bytes.clone(), bytes.len()));
            (plain, held) = (plain + bytes.len(), held + body.held());
        }
        assert!(held * 4 < plain, "{held} of {plain} bytes");
    }

    #[test]
    fn what_does_not_repeat_is_kept_as_it_is_and_learning_ends() {
        let packer = Packer::default();
        let mut random = crate::log::faulty::Random::new(7);
        for _ in 0..100 {
            let bytes: Bytes = (0..5000).map(|_| random.below(256) as u8).collect();
            let body = packer.pack("secrets", bytes.clone());
            // The body that a dictionary was made of is the only one that it suits.
            assert_eq!(body.bytes(), bytes);
        }
        let made = packer.0.lock().unwrap()["secrets"].made;
        assert_eq!(made, PACK_DICTIONARIES);
        let last: Bytes = (0..5000).map(|_| random.below(256) as u8).collect();
        assert_eq!(packer.pack("secrets", last.clone()).held(), last.len());
        let small = Bytes::from_static(b"{}");
        assert_eq!(packer.pack("secrets", small).held(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_bytes_come_back(bodies in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3000), 1..20)) {
            let packer = Packer::default();
            for bytes in bodies.into_iter().map(Bytes::from) {
                prop_assert_eq!(packer.pack("pods", bytes.clone()).bytes(), bytes);
            }
        }
    }
}
