//! Turns JSON into a short stable text for names: the same object gives the same text on every run and machine.

use serde_json::Value;

/// Consonants and digits that neither spell words nor look alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many characters a hash has; 27^10 is about 2^47.
const LENGTH: usize = 10;

/// FNV-1a, 64 bit: small, stable, and only used where an adversary gains nothing from a collision.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn text(mut self) -> String {
        // One more mixing step, because the low bits of FNV alone repeat for similar input.
        self.0 ^= self.0 >> 29;
        self.0 = self.0.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 ^= self.0 >> 32;
        let base = ALPHABET.len() as u64;
        let mut text = String::with_capacity(LENGTH);
        for _ in 0..LENGTH {
            let digit = usize::try_from(self.0 % base).unwrap_or(0);
            text.push(ALPHABET.get(digit).copied().map_or('b', char::from));
            self.0 /= base;
        }
        text
    }
}

/// Hash of a few texts, kept apart.
pub fn text(parts: &[&str]) -> String {
    let mut fnv = Fnv::new();
    for part in parts {
        fnv.bytes(part.as_bytes());
        fnv.bytes(&[0xff]);
    }
    fnv.text()
}

/// Hash of a JSON value, whatever the order of its keys, and of a number that sets it apart from an equal one.
pub fn value(value: &Value, salt: i64) -> String {
    let mut fnv = Fnv::new();
    feed(&mut fnv, value);
    fnv.bytes(&salt.to_le_bytes());
    fnv.text()
}

fn feed(fnv: &mut Fnv, value: &Value) {
    match value {
        Value::Object(members) => {
            fnv.bytes(b"{");
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            for name in names {
                fnv.bytes(name.as_bytes());
                fnv.bytes(&[0xff]);
                feed(fnv, &members[name]);
            }
            fnv.bytes(b"}");
        }
        Value::Array(items) => {
            fnv.bytes(b"[");
            items.iter().for_each(|item| feed(fnv, item));
            fnv.bytes(b"]");
        }
        scalar => {
            fnv.bytes(scalar.to_string().as_bytes());
            fnv.bytes(&[0xfe]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_tell_values_apart_and_stay_the_same() {
        let one = json!({"a": 1, "b": [1, 2]});
        assert_eq!(value(&one, 0), value(&json!({"b": [1, 2], "a": 1}), 0));
        assert_ne!(value(&one, 0), value(&one, 1));
        assert_ne!(value(&one, 0), value(&json!({"a": 1, "b": [12]}), 0));
        assert_ne!(text(&["ab", "c"]), text(&["a", "bc"]));
        // Names of pods and slices contain this text: a change would rename everything at an upgrade.
        assert_eq!(text(&["default/web", "uid"]), text(&["default/web", "uid"]));
        assert_eq!(value(&json!({}), 0).len(), LENGTH);
    }
}
