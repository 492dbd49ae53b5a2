//! Turns a quantity such as `100m` or `1Gi` into a number of thousandths, or into what is wrong with it.

/// Text that Kubernetes shows for a quantity it cannot read.
pub const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Nanos of a quantity: the finest unit there is. None if it cannot be read or does not fit.
pub fn nanos(text: &str) -> Option<i128> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut value: i128 = 0;
    for digit in whole.bytes() {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let mut value = value.checked_mul(1_000_000_000)?;
    let mut unit = 100_000_000;
    for digit in fraction.bytes() {
        value = value.checked_add(i128::from(digit - b'0') * unit)?;
        unit /= 10;
    }
    let value = scale(value, suffix)?;
    Some(if negative { -value } else { value })
}

fn scale(value: i128, suffix: &str) -> Option<i128> {
    let binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|unit| *unit == suffix) {
        return value.checked_mul(1 << (10 * power));
    }
    let decimal = [("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    let exponent = match decimal.iter().find(|(unit, _)| *unit == suffix) {
        Some((_, exponent)) => *exponent,
        None => suffix.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    let power = 10i128.checked_pow(i32::unsigned_abs(exponent))?;
    if exponent < 0 {
        // Finer than a billionth is rounded up, as Kubernetes does.
        Some(value.checked_add(power - 1)? / power)
    } else {
        value.checked_mul(power)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units() {
        let table = [
            ("0", Some(0)),
            ("1", Some(1_000_000_000)),
            ("100m", Some(100_000_000)),
            ("0.1", Some(100_000_000)),
            (".5", Some(500_000_000)),
            ("1.", Some(1_000_000_000)),
            ("1n", Some(1)),
            ("0.5n", Some(1)),
            ("1Ki", Some(1024 * 1_000_000_000)),
            ("1k", Some(1000 * 1_000_000_000)),
            ("1e3", Some(1000 * 1_000_000_000)),
            ("1E", Some(1_000_000_000_000_000_000 * 1_000_000_000)),
            ("-1", Some(-1_000_000_000)),
            ("", None),
            ("m", None),
            ("1.2.3", None),
            ("1x", None),
            ("1 Gi", None),
            ("1e", None),
            ("99999999999999999999999999999999999999999", None),
            ("1e99", None),
        ];
        for (text, nanos_of_it) in table {
            assert_eq!(nanos(text), nanos_of_it, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-+.0-9a-zA-Z]{0,48}") {
            let _ = nanos(&text);
        }
    }
}
