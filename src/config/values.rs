//! Texts to values, exactly as the Java daemon's converters do it. Pure; knows no key.
//!
//! `None` means "no such value"; what follows from that (zero, false, fatal) is decided by the key's type.

use std::fmt::Write as _;

/// Removes what `String.trim` removes: everything up to U+0020 at both ends.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Whether Java's `isBlank` helpers call the text blank: `Character.isWhitespace`, which spares no-break blanks.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| match c {
        '\u{1c}'..='\u{1f}' => true,
        '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}' => false,
        other => other.is_whitespace(),
    })
}

/// Zeros of the decimal digits that `Character.digit` takes, besides ASCII.
const DIGIT_ZEROS: [u32; 36] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
];

fn digit(c: char) -> Option<i64> {
    let code = u32::from(c);
    let from_zero = |zero: &u32| code.checked_sub(*zero).filter(|value| *value < 10);
    from_zero(&0x30).or_else(|| DIGIT_ZEROS.iter().find_map(from_zero)).map(i64::from)
}

/// Source: JDK 17 `Long.parseLong`: one sign, decimal digits, no blanks.
#[must_use]
pub fn long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() {
        return None;
    }
    digits.chars().try_fold(0_i64, |value, c| {
        let shifted = value.checked_mul(10)?;
        if negative { shifted.checked_sub(digit(c)?) } else { shifted.checked_add(digit(c)?) }
    })
}

/// Source: JDK 17 `Integer.parseInt`.
#[must_use]
pub fn int(text: &str) -> Option<i64> {
    long(text).filter(|value| i32::try_from(*value).is_ok())
}

/// Source: commons-beanutils 1.11 `BooleanConverter`. Any case, but not trimmed (case `bool-trailing-blank`).
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Source: JDK 17 `Double.valueOf`; the caller trims.
#[must_use]
pub fn double(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match rest {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let body = rest.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(rest);
            match rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
                Some(_) => hexadecimal(body.get(2..)?)?,
                None => decimal(body)?,
            }
        }
    };
    Some(sign * magnitude)
}

fn decimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
    let plain = mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.') && mantissa.bytes().any(|b| b != b'.');
    let signed = |e: &str| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if plain && exponent.is_none_or(signed) { text.parse().ok() } else { None }
}

/// Digits with an optional dot, then the binary exponent, which is not optional.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    if !exponent.strip_prefix(['+', '-']).unwrap_or(exponent).bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction_bits = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent: i32 = exponent.parse().ok()?;
    Some(value * 2.0_f64.powi(exponent.saturating_sub(fraction_bits)))
}

/// Seconds and nanoseconds, as `java.time.Duration` keeps them; never negative here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JavaDuration {
    /// Whole seconds.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotADuration {
    /// Not of the form `PnDTnHnMn.nS`.
    Form,
    /// More than 64 bits of seconds.
    Overflow,
    /// Below zero.
    Negative,
}

/// Source: JDK 17 `Duration.parse`, then `DurationConverter` of the daemon, which refuses negative values.
///
/// # Errors
/// Says which of the three rules is broken.
pub fn duration(text: &str) -> Result<JavaDuration, NotADuration> {
    let upper = text.to_ascii_uppercase();
    let (negated, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let mut rest = rest.strip_prefix('P').ok_or(NotADuration::Form)?;
    let mut nanos = 0_i128;
    let mut parts = 0;
    let mut part = |rest: &mut &str, unit: char, factor: i128| -> Result<bool, NotADuration> {
        let Some((number, after)) = rest.split_once(unit).filter(|(number, _)| is_amount(number, unit == 'S')) else {
            return Ok(false);
        };
        *rest = after;
        nanos = nanos.checked_add(amount(number, factor)?).ok_or(NotADuration::Overflow)?;
        Ok(true)
    };
    parts += usize::from(part(&mut rest, 'D', 86_400)?);
    if let Some(time) = rest.strip_prefix('T') {
        rest = time;
        let before = parts;
        for (unit, factor) in [('H', 3_600), ('M', 60), ('S', 1)] {
            parts += usize::from(part(&mut rest, unit, factor)?);
        }
        if parts == before {
            return Err(NotADuration::Form);
        }
    }
    if parts == 0 || !rest.is_empty() {
        return Err(NotADuration::Form);
    }
    let nanos = if negated { -nanos } else { nanos };
    let seconds = i64::try_from(nanos.div_euclid(NANOS)).map_err(|_| NotADuration::Overflow)?;
    if seconds < 0 {
        return Err(NotADuration::Negative);
    }
    let nanos = u32::try_from(nanos.rem_euclid(NANOS)).map_err(|_| NotADuration::Overflow)?;
    Ok(JavaDuration { seconds, nanos })
}

const NANOS: i128 = 1_000_000_000;

fn is_amount(number: &str, fraction_allowed: bool) -> bool {
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, fraction) = match unsigned.split_once(['.', ',']) {
        Some((whole, fraction)) if fraction_allowed => (whole, fraction),
        Some(_) => return false,
        None => (unsigned, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !whole.is_empty() && digits(whole) && digits(fraction) && fraction.len() <= 9
}

/// The amount in nanoseconds; the sign of the whole part is the sign of the fraction.
fn amount(number: &str, factor: i128) -> Result<i128, NotADuration> {
    let (whole, fraction) = number.split_once(['.', ',']).unwrap_or((number, ""));
    let seconds = i128::from(long(whole).ok_or(NotADuration::Overflow)?) * factor;
    if i64::try_from(seconds).is_err() {
        return Err(NotADuration::Overflow);
    }
    let fraction: i128 = format!("{fraction:0<9}").parse().map_err(|_| NotADuration::Form)?;
    Ok(seconds * NANOS + if number.starts_with('-') { -fraction } else { fraction })
}

impl std::fmt::Display for JavaDuration {
    /// Source: JDK 17 `Duration.toString`: hours, minutes, seconds, no days.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hours, minutes, seconds) = (self.seconds / 3_600, self.seconds / 60 % 60, self.seconds % 60);
        let mut text = String::from("PT");
        for (number, unit) in [(hours, 'H'), (minutes, 'M')] {
            if number != 0 {
                write!(text, "{number}{unit}")?;
            }
        }
        if self.nanos != 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(text, "{seconds}.{}S", fraction.trim_end_matches('0'))?;
        } else if seconds != 0 || text.len() == 2 {
            write!(text, "{seconds}S")?;
        }
        f.write_str(&text)
    }
}

/// Source: JDK 17 `String.split` with a one-character pattern: empty pieces at the end vanish, an empty text is
/// one piece.
#[must_use]
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let mut pieces: Vec<&str> = text.split(separator).collect();
    if text.is_empty() {
        return pieces;
    }
    while pieces.last().is_some_and(|piece| piece.is_empty()) {
        pieces.pop();
    }
    pieces
}

/// The words of `executableName`: split at runs of U+0020 only; a leading blank gives an empty first word.
///
/// Source: cases `executable-blanks`, `executable-tab`, `empty-executableName`.
#[must_use]
pub fn command(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![String::new()];
    }
    let body = text.trim_end_matches(' ');
    let leading = if body.starts_with(' ') { Some("") } else { None };
    leading.into_iter().chain(body.split(' ').filter(|word| !word.is_empty())).map(str::to_owned).collect()
}
