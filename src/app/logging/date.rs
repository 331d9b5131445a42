//! Dates as Java's `SimpleDateFormat` patterns ask for them.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Local, Offset as _, Timelike as _, Utc};

/// The form without a pattern.
///
/// Source: logback 1.2 `CoreConstants.ISO8601_PATTERN`; LOGGING.md.
pub const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss,SSS";

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Whose midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The machine's.
    Local,
    /// UTC.
    Utc,
}

/// Writes a moment as `pattern` says; letters that are not known are left out.
#[must_use]
pub fn format(pattern: &str, millis: i64, zone: Zone) -> String {
    let moment = DateTime::<Utc>::from_timestamp_millis(millis).unwrap_or_default();
    let moment = match zone {
        Zone::Utc => moment.fixed_offset(),
        Zone::Local => {
            let local = moment.with_timezone(&Local);
            local.with_timezone(&local.offset().fix())
        }
    };
    let mut text = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\'' {
            quoted(&mut letters, &mut text);
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            text.push(letter);
            continue;
        }
        let mut count = 1;
        while letters.next_if_eq(&letter).is_some() {
            count += 1;
        }
        part(&mut text, letter, count, &moment);
    }
    text
}

fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String) {
    if letters.next_if_eq(&'\'').is_some() {
        return text.push('\'');
    }
    while let Some(letter) = letters.next() {
        if letter == '\'' && letters.next_if_eq(&'\'').is_none() {
            return;
        }
        text.push(letter);
    }
}

fn part(text: &mut String, letter: char, count: usize, moment: &DateTime<chrono::FixedOffset>) {
    let number = match letter {
        'y' | 'u' | 'Y' if count == 2 => moment.year().unsigned_abs() % 100,
        'y' | 'u' | 'Y' => moment.year().unsigned_abs(),
        'M' | 'L' if count < 3 => moment.month(),
        'd' => moment.day(),
        'D' => moment.ordinal(),
        'H' => moment.hour(),
        'k' if moment.hour() == 0 => 24,
        'k' => moment.hour(),
        'K' => moment.hour() % 12,
        'h' if moment.hour().is_multiple_of(12) => 12,
        'h' => moment.hour() % 12,
        'm' => moment.minute(),
        's' => moment.second(),
        'S' => moment.timestamp_subsec_millis(),
        'w' => moment.iso_week().week(),
        'M' | 'L' | 'E' | 'a' | 'Z' | 'X' | 'x' | 'z' => {
            let word = words(letter, count, moment);
            return text.push_str(&word);
        }
        _ => return,
    };
    let _infallible = write!(text, "{number:0count$}");
}

fn words(letter: char, count: usize, moment: &DateTime<chrono::FixedOffset>) -> String {
    let named = |names: &[&str], index: u32| {
        let name = names.get(usize::try_from(index).unwrap_or_default()).copied().unwrap_or_default();
        if count < 4 { name.chars().take(3).collect() } else { name.to_owned() }
    };
    let offset = |form: &str| moment.format(form).to_string();
    match letter {
        'E' => named(&DAYS, moment.weekday().num_days_from_monday()),
        'M' | 'L' => named(&MONTHS, moment.month0()),
        'a' => if moment.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'X' if moment.offset().local_minus_utc() == 0 => "Z".to_owned(),
        'X' | 'x' if count == 3 => offset("%:z"),
        'X' | 'x' if count == 1 => offset("%z").get(..3).unwrap_or_default().to_owned(),
        'z' if moment.offset().local_minus_utc() == 0 => "UTC".to_owned(),
        _ => offset("%z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_java_writes_it() {
        let moment = 1_795_256_682_621; // a Saturday
        let table = [
            (DEFAULT, "2026-11-21 10:24:42,621"),
            ("HH:mm:ss.SSS", "10:24:42.621"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-11-21T10:24:42.621Z"),
            ("EEE dd MMM yy hh:mm a", "Sat 21 Nov 26 10:24 AM"),
            ("EEEE, MMMM d 'o''clock' Z", "Saturday, November 21 o'clock +0000"),
            ("yyyy-MM-dd_HH", "2026-11-21_10"),
        ];
        for (pattern, text) in table {
            assert_eq!(format(pattern, moment, Zone::Utc), text, "{pattern}");
        }
    }
}
