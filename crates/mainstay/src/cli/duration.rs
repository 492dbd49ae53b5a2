//! Durations as people write them (`30s`, `1m30s`, `90`) in, a `Duration` out.

use std::time::Duration;

/// Parses a duration; a bare number counts seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 30s, 500ms, 2m or 1m30s");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// A duration for a sentence: `30s`, `1m 30s`.
pub(crate) fn text(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |duration| format!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (said, millis) in
            [("30s", 30_000), ("90", 90_000), ("1m30s", 90_000), ("500ms", 500), ("0", 0), ("1h", 3_600_000)]
        {
            assert_eq!(parse(said), Ok(Duration::from_millis(millis)), "{said}");
        }
        for wrong in ["", "x", "-5s", "30 apples", "-1"] {
            assert!(parse(wrong).unwrap_err().contains("write 30s"), "{wrong}");
        }
        assert_eq!(text(Duration::from_secs(90)), "1m 30s");
    }
}
