//! What a Service asks of the choice among its endpoints: annotations in, an algorithm, a slow start and weights out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::snapshot::Labels;

/// Annotation of a Service: `random` (default), `round-robin` or `consistent-hash`.
pub const BALANCE: &str = "mainstay.dev/balance";
/// Annotation of a Service with `consistent-hash`: `client-ip` (default) or `connection`.
pub const HASH_ON: &str = "mainstay.dev/hash-on";
/// Annotation of a Service: how long an endpoint that became ready takes to its full share, such as `30s`.
pub const SLOW_START: &str = "mainstay.dev/slow-start";
/// Annotation of a Pod: its share of new connections among the endpoints of a Service, 0 to 1000, 1 if absent.
pub const WEIGHT: &str = "mainstay.dev/weight";
/// Annotation of an EndpointSlice: weights of its addresses, such as `10.0.0.1=3,10.0.0.2=0`.
pub const WEIGHTS: &str = "mainstay.dev/weights";

/// The largest weight.
pub const WEIGHT_MAX: u16 = 1000;
/// The longest slow start, in seconds.
pub const SLOW_START_MAX: u32 = 3600;
/// Parts of a full share: an endpoint that becomes ready begins with one of them and ends with all.
pub const SHARE_STEPS: u32 = 10;

/// How an endpoint is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Each time anew.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The same for the same client, and few clients change when endpoints do.
    ConsistentHash(HashOn),
}

/// What makes a client the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// Its address.
    ClientIp,
    /// Its address and port.
    Connection,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balance {
    /// How endpoints are chosen.
    pub algorithm: Algorithm,
    /// Seconds until an endpoint that became ready has its full share; 0: at once.
    pub slow_start: u32,
    /// Annotations that could not be read, and what counts instead.
    pub wrong: Vec<Box<str>>,
}

impl Balance {
    /// Reads a Service's annotations. What cannot be read counts as absent.
    pub fn read(annotations: &Labels) -> Self {
        let mut wrong = Vec::new();
        let mut refuse = |name: &str, value: &str, wants: &str, instead: &str| {
            wrong.push(format!("annotation {name}: {value:?} is not {wants}, so {instead}: annotate it anew").into());
        };
        let given = |name: &str| annotations.get(name).map(|value| value.trim());
        let on = match given(HASH_ON) {
            None | Some("client-ip") => HashOn::ClientIp,
            Some("connection") => HashOn::Connection,
            Some(other) => {
                refuse(HASH_ON, other, "client-ip or connection", "client-ip is used");
                HashOn::ClientIp
            }
        };
        let algorithm = match given(BALANCE) {
            None | Some("random") => Algorithm::Random,
            Some("round-robin") => Algorithm::RoundRobin,
            Some("consistent-hash") => Algorithm::ConsistentHash(on),
            Some(other) => {
                refuse(BALANCE, other, "random, round-robin or consistent-hash", "random is used");
                Algorithm::Random
            }
        };
        let slow_start = given(SLOW_START).map_or(0, |text| match seconds(text) {
            Some(seconds) if seconds <= SLOW_START_MAX => seconds,
            _ => {
                refuse(SLOW_START, text, "a time up to 1h such as 30s or 2m", "endpoints begin with their full share");
                0
            }
        });
        Self { algorithm, slow_start, wrong }
    }
}

/// `30s`, `1m30s`, `1h`; 0 needs no unit.
fn seconds(text: &str) -> Option<u32> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_u32;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = match after.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (!text.is_empty()).then_some(total)
}

/// A weight as text.
pub fn weight(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|weight| *weight <= WEIGHT_MAX)
}

/// Weights of a slice's addresses, and the parts that could not be read.
pub fn weights(text: &str) -> (BTreeMap<IpAddr, u16>, Vec<&str>) {
    let mut weights = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').and_then(|(address, text)| Some((address.trim().parse().ok()?, weight(text)?)));
        match pair {
            Some((address, weight)) => _ = weights.insert(address, weight),
            None => wrong.push(part),
        }
    }
    (weights, wrong)
}

/// The annotation [`WEIGHTS`] for these; none if there is nothing to say.
pub fn weights_text(weights: &BTreeMap<IpAddr, u16>) -> Option<String> {
    let parts: Vec<String> = weights.iter().map(|(address, weight)| format!("{address}={weight}")).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

/// Tenths of its share that an endpoint has `age` seconds after it became ready, from 1 to [`SHARE_STEPS`].
pub fn tenths(age: f64, window: u32) -> u32 {
    let steps = f64::from(SHARE_STEPS - 1);
    let done = if window == 0 { steps } else { (age.max(0.0) * steps / f64::from(window)).floor() };
    1 + done.min(steps) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Balance {
        Balance::read(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn annotations_are_read_and_what_cannot_be_read_counts_as_absent() {
        assert_eq!(read(&[]), Balance::default());
        let asked = read(&[(BALANCE, "consistent-hash"), (HASH_ON, "connection"), (SLOW_START, "1m30s")]);
        assert_eq!(asked.algorithm, Algorithm::ConsistentHash(HashOn::Connection));
        assert_eq!((asked.slow_start, asked.wrong.len()), (90, 0));
        let wrong = read(&[(BALANCE, "Round Robin"), (HASH_ON, "cookie"), (SLOW_START, "30")]);
        assert_eq!((wrong.algorithm, wrong.slow_start, wrong.wrong.len()), (Algorithm::Random, 0, 3));
        let said = &*wrong.wrong[1];
        assert!(said.contains("mainstay.dev/balance") && said.contains("random is used"), "{said}");
        for (text, expected) in [("0", Some(0)), ("1h", Some(3600)), ("", None), ("s", None), ("5x", None)] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(read(&[(SLOW_START, "61m")]).wrong.len(), 1, "longer than an hour");
        assert_eq!(read(&[(SLOW_START, "99999999999h")]).wrong.len(), 1);
    }

    #[test]
    fn weights_of_a_slice_go_there_and_back() {
        let (read, wrong) = weights(" 10.0.0.1=3, fd00::1=0,x=1,10.0.0.2=1001,10.0.0.3,");
        assert_eq!(wrong, ["x=1", "10.0.0.2=1001", "10.0.0.3"]);
        assert_eq!(weights_text(&read).as_deref(), Some("10.0.0.1=3,fd00::1=0"));
        assert_eq!(weights_text(&BTreeMap::new()), None);
    }

    #[test]
    fn a_share_grows_from_a_tenth_to_all_of_it() {
        let at: Vec<u32> = [0.0, 3.3, 3.4, 15.0, 29.9, 30.0, 1e9].map(|age| tenths(age, 30)).into();
        assert_eq!(at, [1, 1, 2, 5, 9, 10, 10]);
        assert_eq!((tenths(0.0, 0), tenths(-5.0, 30)), (10, 1));
    }
}
