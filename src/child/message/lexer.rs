//! The part of JSON that one line of a child can hold, read as Jackson's reader does with its default settings.
//!
//! It keeps a number's own text, stops at the end of the first value, and never recurses.
//!
//! Source: jackson-core 2.21 `ReaderBasedJsonParser`; each rule was run against it.

use std::borrow::Cow;

/// Source: jackson-core 2.21 `StreamReadConstraints`, defaults.
const MAX_NESTING: usize = 1000;
const MAX_NUMBER_DIGITS: usize = 1000;
const MAX_STRING_CHARS: usize = 20_000_000;

/// One JSON value; what is inside arrays and objects is checked and dropped.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array,
    Object,
}

/// The text is no JSON, or breaks a limit of Jackson's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson(pub(super) &'static str);

/// Reads a text from the front.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no blank, without taking it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes `wanted` if it is the next byte that is no blank.
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads the name of a field and the colon behind it.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>, NotJson> {
        if !self.take(b'"') {
            return Err(NotJson("expected a field name in double quotes"));
        }
        let name = self.string()?;
        if self.take(b':') { Ok(name) } else { Err(NotJson("expected a colon after a field name")) }
    }

    /// Reads one value.
    pub(super) fn value(&mut self) -> Result<Value<'a>, NotJson> {
        match self.peek() {
            Some(b'{' | b'[') => self.skip_nested(),
            _ => self.scalar(),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn scalar(&mut self) -> Result<Value<'a>, NotJson> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(Value::Text)
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(_) => Err(NotJson("expected a value")),
            None => Err(NotJson("the line ends before the value does")),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, NotJson> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(behind) = rest.strip_prefix(word) else { return Err(NotJson("unknown word")) };
        if behind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return Err(NotJson("unknown word"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Result<&'a str, NotJson> {
        let begin = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        let is_zero = self.byte() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || is_zero && whole > 1 {
            return Err(NotJson("a number begins with a digit, and with 0 only if that is all"));
        }
        let (mut fraction, mut exponent) = (0, 0);
        let has_fraction = self.byte() == Some(b'.');
        if has_fraction {
            self.at += 1;
            fraction = self.digits();
        }
        let has_exponent = matches!(self.byte(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            exponent = self.digits();
        }
        if has_fraction && fraction == 0 || has_exponent && exponent == 0 {
            return Err(NotJson("a number lacks digits after its point or its exponent"));
        }
        // Jackson does not count the 0 of a plain 0.5
        let counted = if is_zero && has_fraction && !has_exponent { 0 } else { whole };
        if counted + fraction + exponent > MAX_NUMBER_DIGITS {
            return Err(NotJson("a number has more than 1000 digits"));
        }
        Ok(self.text.get(begin..self.at).unwrap_or_default())
    }

    /// Reads a string whose opening quote is already taken.
    fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        let begin = self.at;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let text = self.text.get(begin..self.at).unwrap_or_default();
                    self.at += 1;
                    return within_limit(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.string_with_escapes(begin).and_then(within_limit),
                Some(0x20..) => self.at += 1,
                Some(_) => return Err(NotJson("a string holds a control character")),
                None => return Err(NotJson("the line ends inside a string")),
            }
        }
    }

    fn string_with_escapes(&mut self, begin: usize) -> Result<Cow<'a, str>, NotJson> {
        let mut units = Unescaped::default();
        units.plain(self.text.get(begin..self.at).unwrap_or_default());
        loop {
            let from = self.at;
            while self.byte().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            units.plain(self.text.get(from..self.at).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(units.finish()));
                }
                Some(b'\\') => {
                    self.at += 1;
                    units.unit(self.escape()?);
                }
                Some(_) => return Err(NotJson("a string holds a control character")),
                None => return Err(NotJson("the line ends inside a string")),
            }
        }
    }

    /// Reads an escape whose backslash is already taken, as one UTF-16 unit.
    fn escape(&mut self) -> Result<u16, NotJson> {
        let kind = self.byte();
        self.at += 1;
        Ok(match kind {
            Some(plain @ (b'"' | b'\\' | b'/')) => u16::from(plain),
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => 0x0a,
            Some(b'r') => 0x0d,
            Some(b't') => 0x09,
            Some(b'u') => {
                let hex = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
                let is_hex = hex.len() == 4 && hex.iter().all(u8::is_ascii_hexdigit);
                let digits = std::str::from_utf8(hex).ok().filter(|_| is_hex);
                self.at += 4;
                digits
                    .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                    .ok_or(NotJson("an escape lacks its four hexadecimal digits"))?
            }
            _ => return Err(NotJson("unknown escape in a string")),
        })
    }

    /// Reads an array or object to its end.
    fn skip_nested(&mut self) -> Result<Value<'a>, NotJson> {
        let is_array = self.peek() == Some(b'[');
        let mut open: Vec<u8> = Vec::new(); // closing brackets still to come
        loop {
            match self.peek() {
                Some(bracket @ (b'[' | b'{')) => {
                    self.at += 1;
                    open.push(bracket + 2); // `]` and `}` stand two behind their partners
                    if open.len() > MAX_NESTING - 1 {
                        return Err(NotJson("nested deeper than 1000"));
                    }
                    let closing = bracket + 2;
                    if self.peek() != Some(closing) {
                        self.field_name_in(closing)?;
                        continue; // the first element
                    }
                }
                _ => drop(self.scalar()?),
            }
            while let Some(closing) = open.last().copied() {
                if self.take(closing) {
                    open.pop();
                } else if self.take(b',') {
                    self.field_name_in(closing)?;
                    break; // the next element
                } else {
                    return Err(NotJson("expected a comma or a closing bracket"));
                }
            }
            if open.is_empty() {
                return Ok(if is_array { Value::Array } else { Value::Object });
            }
        }
    }

    fn field_name_in(&mut self, closing: u8) -> Result<(), NotJson> {
        if closing == b'}' { self.name().map(drop) } else { Ok(()) }
    }
}

fn within_limit(text: Cow<'_, str>) -> Result<Cow<'_, str>, NotJson> {
    let too_long = text.len() > MAX_STRING_CHARS && text.encode_utf16().count() > MAX_STRING_CHARS;
    if too_long { Err(NotJson("a string has more than 20 million characters")) } else { Ok(text) }
}

/// Collects a string from text and UTF-16 units; half of a surrogate pair becomes `?`, which is what Java writes
/// for it when the text is echoed.
#[derive(Default)]
struct Unescaped {
    text: String,
    high: Option<u16>,
}

impl Unescaped {
    fn plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.lone();
            self.text.push_str(text);
        }
    }

    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            if let Some(Ok(pair)) = char::decode_utf16([high, unit]).next() {
                return self.text.push(pair);
            }
            self.text.push('?');
        }
        match char::from_u32(u32::from(unit)) {
            Some(character) => self.text.push(character),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => self.text.push('?'),
        }
    }

    fn lone(&mut self) {
        if self.high.take().is_some() {
            self.text.push('?');
        }
    }

    fn finish(mut self) -> String {
        self.lone();
        self.text
    }
}
