//! Seconds since 1970 in; dates as documents write them out.

/// A second of the calendar, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date {
    year: u64,
    month: u64,
    day: u64,
    weekday: u64,
    second: u64,
}

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Date {
    pub(crate) fn of(epoch: u64) -> Self {
        // Days are counted from 1 March of year 0, so that leap days come last.
        let days = epoch / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            weekday: epoch / 86_400 % 7,
            second: epoch % 86_400,
        }
    }

    fn clock(self) -> String {
        format!("{:02}:{:02}:{:02}", self.second / 3600, self.second / 60 % 60, self.second % 60)
    }

    /// As JSON documents write it: 2026-11-21T16:20:00Z.
    pub(crate) fn rfc3339(self) -> String {
        format!("{:04}-{:02}-{:02}T{}Z", self.year, self.month, self.day, self.clock())
    }

    /// As letters and Debian's changelogs write it: Sat, 21 Nov 2026 16:20:00 +0000.
    pub(crate) fn rfc5322(self) -> String {
        let name = |names: &[&'static str], index: u64| {
            usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
        };
        let (weekday, month) = (name(&WEEKDAYS, self.weekday), name(&MONTHS, self.month - 1));
        format!("{weekday}, {:02} {month} {:04} {} +0000", self.day, self.year, self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(Date::of(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Date::of(951_782_400).rfc3339(), "2000-02-29T00:00:00Z");
        assert_eq!(Date::of(1_795_278_000).rfc3339(), "2026-11-21T16:20:00Z");
        assert_eq!(Date::of(0).rfc5322(), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(Date::of(1_795_278_000).rfc5322(), "Sat, 21 Nov 2026 16:20:00 +0000");
    }
}
