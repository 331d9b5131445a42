//! The command line of a Java virtual machine, as far as the daemon can stand in for one. Pure.
//!
//! Source: CLI.md section 3; JDK 17 `java` manual and launcher (`args.c`, `java.c`).

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::Path;

use super::arguments::ReadFile;
use super::plan::Stream;

/// The daemon's class, now and in KCL 1.x.
pub const MAIN_CLASSES: [&str; 2] =
    ["software.amazon.kinesis.multilang.MultiLangDaemon", "com.amazonaws.services.kinesis.multilang.MultiLangDaemon"];

/// Options whose value is the next word.
const VALUED: [&str; 16] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--limit-modules",
    "--patch-module",
    "--enable-native-access",
    "--describe-module",
    "-d",
    "--source",
];

/// A line before the class: options, and what is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The last `-cp` or its like.
    pub class_path: Option<OsString>,
    /// `-Dname=value`.
    pub system_properties: BTreeMap<String, String>,
    /// Other options.
    pub without_meaning: Vec<String>,
    /// What is to run.
    pub main: Main,
}

/// What a line runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Main {
    /// A class and its words.
    Class {
        /// Full name.
        name: String,
        /// Words behind it.
        rest: Vec<OsString>,
    },
    /// `-version` goes to standard error, `--version` to standard output.
    Version(Stream),
    /// `-help` and its like.
    Help,
    /// A jar, a module or something else that we are not.
    Other(String),
    /// Nothing is named.
    #[default]
    Missing,
}

/// Whether `word`, as the first one, shows that the words are a Java line though we are not called `java`.
///
/// `-p`, `-l` and `--version` are words of ours as well and do not.
#[must_use]
pub fn begins_line(word: &str) -> bool {
    const EXACT: [&str; 9] =
        ["-cp", "-classpath", "--class-path", "-server", "-client", "-version", "-showversion", "-jar", "-fullversion"];
    const PREFIXES: [&str; 16] = [
        "-D",
        "-X",
        "-ea",
        "-da",
        "-esa",
        "-dsa",
        "-enableassertions",
        "-disableassertions",
        "-javaagent:",
        "-agentlib:",
        "-agentpath:",
        "-verbose",
        "--class-path=",
        "--add-",
        "--enable-",
        "-splash:",
    ];
    MAIN_CLASSES.contains(&word) || EXACT.contains(&word) || PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

/// Reads a whole line.
///
/// # Errors
/// In the launcher's words: an option without its value, or an argument file that cannot be read.
pub fn parse(words: &[OsString], read: ReadFile<'_>) -> Result<Line, String> {
    let mut line = Line::default();
    // files inside files are not looked into
    let mut words: VecDeque<(OsString, bool)> = words.iter().map(|word| (word.clone(), true)).collect();
    let mut files = true;
    while let Some((word, typed)) = words.pop_front() {
        let text = word.to_string_lossy().into_owned();
        let file = text.strip_prefix('@').filter(|file| typed && files && !file.is_empty() && !file.starts_with('@'));
        if let Some(file) = file {
            let content = read(Path::new(file)).map_err(|error| format!("Error: could not open `{file}' ({error})"))?;
            for word in argument_file(&String::from_utf8_lossy(&content)).into_iter().rev() {
                words.push_front((word.into(), false));
            }
        } else if text == "--disable-@files" {
            files = false;
        } else if !text.starts_with('-') {
            let rest = words.into_iter().map(|(word, _)| word).collect();
            line.main = Main::Class { name: text, rest };
            return Ok(line);
        } else if VALUED.contains(&text.as_str()) {
            let Some((value, _)) = words.pop_front() else { return Err(format!("Error: {text} requires an argument")) };
            line.valued(&text, value);
        } else if let Some(main) = main_of(&text, words.front().map(|(word, _)| word)) {
            line.main = main;
            return Ok(line);
        } else {
            line.option(&text);
        }
    }
    Ok(line)
}

/// The options of a variable such as `JAVA_TOOL_OPTIONS`; what would end the options is left out.
#[must_use]
pub fn options_only(words: &[String]) -> Line {
    let mut line = Line::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if VALUED.contains(&word.as_str()) {
            let Some(value) = rest.next() else { break };
            line.valued(word, value.into());
        } else if word.starts_with('-') {
            line.option(word);
        }
    }
    line
}

fn main_of(option: &str, next: Option<&OsString>) -> Option<Main> {
    let value = || next.map_or_else(String::new, |word| word.to_string_lossy().into_owned());
    Some(match option {
        "-version" | "-fullversion" => Main::Version(Stream::Error),
        "--version" | "--full-version" => Main::Version(Stream::Out),
        "-help" | "--help" | "-h" | "-?" | "-X" | "--help-extra" => Main::Help,
        "-jar" => Main::Other(format!("the jar {}", value())),
        "-m" | "--module" => Main::Other(format!("the module {}", value())),
        "--list-modules" | "--validate-modules" => Main::Other(option.to_owned()),
        _ if option.starts_with("--module=") => Main::Other(option.to_owned()),
        _ => return None,
    })
}

impl Line {
    fn valued(&mut self, option: &str, value: OsString) {
        if matches!(option, "-cp" | "-classpath" | "--class-path") {
            self.class_path = Some(value);
        } else {
            self.without_meaning.push(format!("{option} {}", value.to_string_lossy()));
        }
    }

    fn option(&mut self, text: &str) {
        if let Some(value) = text.strip_prefix("--class-path=") {
            self.class_path = Some(value.into());
        } else if let Some(property) = text.strip_prefix("-D").filter(|property| !property.is_empty()) {
            let (name, value) = property.split_once('=').unwrap_or((property, ""));
            self.system_properties.insert(name.to_owned(), value.to_owned());
        } else {
            self.without_meaning.push(text.to_owned());
        }
    }
}

/// The words of an argument file: blanks separate, quotes join, `#` begins a comment, backslashes count in quotes.
///
/// Source: JDK 17 `args.c`.
#[must_use]
pub fn argument_file(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), close) if close == open => quote = None,
            (Some(_), '\\') => {
                let escaped = match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('f') => '\u{c}',
                    Some('\n') => {
                        // a continued line: its indentation does not count
                        while letters.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
                        continue;
                    }
                    Some(other) => other,
                    None => break,
                };
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), '\n') => quote = None,
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, '#') => {
                words.extend(word.take());
                while letters.next_if(|c| *c != '\n').is_some() {}
            }
            (None, open @ ('"' | '\'')) => {
                word.get_or_insert_default();
                quote = Some(open);
            }
            (None, blank) if blank.is_ascii_whitespace() => words.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// The words of a variable: blanks separate, quotes join, nothing else.
#[must_use]
pub fn split_options(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), close) if close == open => quote = None,
            (None, open @ ('"' | '\'')) => {
                word.get_or_insert_default();
                quote = Some(open);
            }
            (None, blank) if blank.is_ascii_whitespace() => words.extend(word.take()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_file_is_cut_as_the_launcher_cuts_it() {
        let table = [
            ("-cp /a\n-Dx=1", vec!["-cp", "/a", "-Dx=1"]),
            ("\"a b\" 'c d' e#f\ng", vec!["a b", "c d", "e", "g"]),
            ("-Dx=\"a \\\"b\\\\\"", vec!["-Dx=a \"b\\"]),
            ("\"/a:\\\n   /b\"", vec!["/a:/b"]),
            ("a\\b", vec!["a\\b"]),
            ("\"\"", vec![""]),
            ("# nothing", vec![]),
        ];
        for (text, words) in table {
            assert_eq!(argument_file(text), words, "{text}");
        }
    }

    #[test]
    fn a_variable_knows_quotes_and_no_escapes() {
        assert_eq!(split_options(" -Da='x y'  -Db=\"\\n\" "), ["-Da=x y", "-Db=\\n"]);
    }

    #[test]
    fn an_option_without_its_value_is_refused() {
        let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        assert_eq!(parse(&["-cp".into()], &nothing), Err("Error: -cp requires an argument".to_owned()));
        assert!(parse(&["@gone".into()], &nothing).unwrap_err().starts_with("Error: could not open `gone'"));
    }

    #[test]
    fn an_argument_file_that_names_itself_is_looked_into_once() {
        let itself = |_: &Path| Ok(b"@me -Dx=1".to_vec());
        let line = parse(&["@me".into(), "Main".into()], &itself).unwrap();
        assert!(matches!(line.main, Main::Class { ref name, .. } if name == "@me"), "{line:?}");
    }
}
