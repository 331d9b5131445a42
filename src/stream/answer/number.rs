//! Numbers as JSON writes them.

/// How long the number is that comes first, if one does and nothing behind it could belong to it.
pub(super) fn length_of_number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match (bytes.get(at), digits(at)) {
        (_, 0) => return None,
        (Some(b'0'), 2..) => return None,
        (_, whole) => whole,
    };
    if bytes.get(at) == Some(&b'.') {
        at += 1 + Some(digits(at + 1)).filter(|fraction| *fraction > 0)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at += Some(digits(at)).filter(|exponent| *exponent > 0)?;
    }
    Some(at)
}

/// Seconds as the service writes them, `1.441215410867E9` or `1441215410.867`, in one pass: [`millis_of_seconds`] and how
/// long the text is. `None` says nothing but that they are written in another way.
pub(super) fn usual_seconds(bytes: &[u8]) -> Option<(i64, usize)> {
    let (mut at, mut number, mut exponent) = (0, 0_i64, 3_i32); // in milliseconds
    let digits = |at: &mut usize, number: &mut i64| {
        let begin = *at;
        while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            *number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            *at += 1;
        }
        *at - begin
    };
    let whole = digits(&mut at, &mut number);
    if whole == 0 || (whole > 1 && bytes.first() == Some(&b'0')) {
        return None;
    }
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        fraction = digits(&mut at, &mut number);
        exponent -= i32::try_from(fraction).ok().filter(|fraction| *fraction > 0)?;
    }
    if bytes.get(at) == Some(&b'E') {
        let mut power = 0;
        at += 1;
        (digits(&mut at, &mut power) == 1).then_some(())?;
        exponent += i32::try_from(power).ok()?;
    }
    // 18 digits fit into the number, whatever they are
    if whole + fraction > 18 || !matches!(bytes.get(at), Some(b',' | b'}')) {
        return None;
    }
    let power = 10_i64.checked_pow(exponent.unsigned_abs())?;
    Some((if exponent < 0 { number / power } else { number.checked_mul(power)? }, at))
}

/// Seconds as JSON writes them, with fraction or exponent or both, in milliseconds; what is smaller is cut off.
///
/// By the digits, because a float shows some milliseconds as just below themselves.
pub(super) fn millis_of_seconds(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() < 1_000)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let wanted = i32::try_from(whole.len()).ok()? + exponent + 3; // digits before the point once in milliseconds
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut millis = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()).take(wanted) {
        millis = millis.checked_mul(10)?.checked_add(i64::from(char::from(byte).to_digit(10)?))?;
    }
    for _ in (whole.len() + fraction.len())..wanted {
        millis = millis.checked_mul(10)?;
    }
    Some(if negative { -millis } else { millis })
}
