//! Time and chance behind two small traits, so that tests decide both.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Makes ids nobody has seen before.
pub trait Ids: Send + Sync + 'static {
    /// Sixty-four fresh bits.
    fn bits(&self) -> u64;

    /// A random (version 4) UUID, RFC 9562.
    fn uid(&self) -> String {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Five characters that are easy to tell apart and spell no words, as Kubernetes appends to `generateName`.
    fn suffix(&self) -> String {
        const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut bits = self.bits();
        let mut letter = || {
            let letter = LETTERS[(bits % 27) as usize];
            bits /= 27;
            char::from(letter)
        };
        (0..5).map(|_| letter()).collect()
    }
}

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The kernel's random numbers, or, should it have none, a counter mixed with the time.
#[derive(Default)]
pub struct SystemIds {
    fallback: AtomicU64,
}

impl Ids for SystemIds {
    fn bits(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| {
            let count = self.fallback.fetch_add(1, Ordering::Relaxed);
            (Timestamp::now().as_nanosecond() as u64).wrapping_add(count).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

/// The form in which objects carry times: RFC 3339 in whole seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u64);

    impl Ids for Fixed {
        fn bits(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn uids_say_their_version_and_variant() {
        assert_eq!(Fixed(u64::MAX).uid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Fixed(0).uid(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn suffixes_have_five_safe_letters() {
        assert_eq!(Fixed(0).suffix(), "bbbbb");
        assert_eq!(Fixed(26).suffix(), "9bbbb");
        let ids = SystemIds::default();
        assert!((0..100).all(|_| ids.suffix().bytes().all(|c| b"bcdfghjklmnpqrstvwxz2456789".contains(&c))));
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(seconds("2026-11-21T08:00:01.9Z".parse().unwrap()), "2026-11-21T08:00:01Z");
    }
}
