//! Turns times, labels and lists into the words of a Table's cells.

use serde_json::Value;

use super::read;
use crate::kind::Column;

/// The first column of nearly every kind.
pub(super) const NAME: Column = Column {
    name: "Name",
    r#type: "string",
    format: "name",
    priority: 0,
    description: "Name of the object, unique within its namespace.",
};
/// Time since creation.
pub(super) const AGE: Column = column("Age", "Time since the object was created.");

/// A column that is always shown.
pub(super) const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, r#type: "string", format: "", priority: 0, description }
}

/// A column shown by `-o wide`.
pub(super) const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, r#type: "string", format: "", priority: 1, description }
}

/// A column of numbers that is always shown.
pub(super) const fn count(name: &'static str, description: &'static str) -> Column {
    Column { name, r#type: "integer", format: "", priority: 0, description }
}

/// The name cell.
pub(super) fn name(object: &Value) -> Value {
    read::text(object, "/metadata/name").into()
}

/// The age cell.
pub(super) fn age(object: &Value, now_seconds: i64) -> Value {
    since(read::text(object, "/metadata/creationTimestamp"), now_seconds).into()
}

/// Time since a timestamp, `<unknown>` without one.
pub(super) fn since(timestamp: &str, now_seconds: i64) -> String {
    match seconds(timestamp) {
        Some(then) => duration(now_seconds.saturating_sub(then)),
        None => "<unknown>".to_owned(),
    }
}

/// Unix time of an RFC 3339 timestamp.
pub(super) fn seconds(timestamp: &str) -> Option<i64> {
    timestamp.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// A duration in the two or three digits that matter.
pub(super) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let with = |most: String, rest: i64, unit: &str| if rest == 0 { most } else { format!("{most}{rest}{unit}") };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => with(format!("{minutes}m"), seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(format!("{hours}h"), minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(format!("{}d", hours / 24), hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => with(format!("{}y", hours / 8760), hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 8760),
    }
}

/// Labels as `a=b,c=d`, `<none>` without any.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A quantity as written, whether it came as a string or as a number.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Texts joined by commas, `<none>` without any.
pub(super) fn joined(texts: &[&str]) -> String {
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

/// The first three texts and how many more there are.
pub(super) fn first_three(texts: &[String], none: &str) -> String {
    match texts {
        [] => none.to_owned(),
        [..] if texts.len() <= 3 => texts.join(","),
        _ => format!("{} + {} more...", texts[..3].join(","), texts.len() - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_or_three_digits() {
        let table = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in table {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
        assert_eq!(since("", 0), "<unknown>");
        assert_eq!(since("1970-01-01T00:00:10Z", 70), "60s");
    }

    #[test]
    fn lists_are_cut_after_three() {
        let texts: Vec<_> = (1..=5).map(|number| number.to_string()).collect();
        assert_eq!(first_three(&texts[..0], "<unset>"), "<unset>");
        assert_eq!(first_three(&texts[..3], ""), "1,2,3");
        assert_eq!(first_three(&texts, ""), "1,2,3 + 2 more...");
    }
}
