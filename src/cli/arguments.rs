//! The daemon's own words, read as the reference reads them.
//!
//! Pure: the content of `@FILE` comes through a function, and nothing is looked up.
//!
//! Source: CLI.md section 1, and running daemon 3.5.1, whose parser is JCommander 1.82. Differences, all of them
//! words that the reference takes for the name of a properties file: our own options (`--strict`, `--log-format`,
//! `--log-level`), and `-h`, `--help`, `--version`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::plan::{Help, Refusal};

/// Reads the file behind `@FILE`.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// What the daemon is told by its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `-p`, else the positional word; as typed.
    pub properties: OsString,
    /// Whether `-p` overrode a positional word.
    pub overridden: bool,
    /// `-l`.
    pub log_configuration: Option<OsString>,
    /// `--strict`.
    pub strict: bool,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// What the words ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To run.
    Run(Words),
    /// For help or version.
    Help(Help),
}

/// The options that take a value, by their spellings; the first one is named in messages.
const OPTIONS: [&[&str]; 4] =
    [&["-p", "--properties-file"], &["-l", "--log-configuration"], &["--log-format"], &["--log-level"]];

/// Reads the words behind the program's or the class' name.
///
/// # Errors
/// As the reference refuses them; the order of the checks is its own.
pub fn parse(words: &[OsString], read: ReadFile<'_>) -> Result<Asked, Refusal> {
    let words = expanded(words, read)?;
    let mut given: [Option<OsString>; 4] = Default::default();
    let mut positional: Vec<OsString> = Vec::new();
    let mut strict = false;
    let mut help = None;
    let mut only_positional = false;
    let mut rest = words.iter();
    while let Some(typed) = rest.next() {
        let word = trimmed(typed);
        if only_positional {
            positional.push(word);
            continue;
        }
        if word == "--" {
            only_positional = true;
            continue;
        }
        let text = word.to_str().unwrap_or_default();
        let option = OPTIONS.iter().position(|spellings| spellings.contains(&text));
        if let Some(option) = option {
            // `-p -- F`: the value is F, and F is a positional word as well (run with 3.5.1)
            let value = match rest.as_slice() {
                [dashes, value, ..] if dashes == "--" => value.clone(),
                [value, ..] if value != "--" => value.clone(),
                [] | [_, ..] => return Err(Refusal::parameter(format!("Expected a value after parameter {text}"))),
            };
            let _consumed = rest.next();
            if given[option].replace(value.clone()).is_some() {
                return Err(Refusal::parameter(format!("Can only specify option {text} once.")));
            }
            continue;
        }
        match (text, text.split_once('=')) {
            ("--strict", _) => strict = true,
            ("-h" | "--help", _) => help = Some(Help::Usage),
            ("--version" | "-V", _) => help = Some(Help::Version),
            (_, Some(("--log-format", value))) => given[2] = Some(value.into()),
            (_, Some(("--log-level", value))) => given[3] = Some(value.into()),
            _ => positional.push(word),
        }
    }
    if let Some(help) = help {
        return Ok(Asked::Help(help));
    }
    let [properties, log_configuration, log_format, log_level] = given;
    let [log_format, log_level] = [log_format, log_level].map(|value| value.map(|v| v.to_string_lossy().into_owned()));
    let (properties, overridden) = properties_file(properties, &positional)?;
    let log_configuration = log_configuration.filter(|file| !file.is_empty());
    Ok(Asked::Run(Words { properties, overridden, log_configuration, strict, log_format, log_level }))
}

/// `-p` wins; several positional words are refused even then.
///
/// Source: daemon 3.5.1 `MultiLangDaemon.validateAndGetPropertiesFileName`.
fn properties_file(option: Option<OsString>, positional: &[OsString]) -> Result<(OsString, bool), Refusal> {
    if positional.len() > 1 {
        let words: Vec<_> = positional.iter().map(|word| word.to_string_lossy()).collect();
        return Err(Refusal::start(format!(
            "Expected a single argument, but found multiple arguments.  Arguments: {}",
            words.join(", ")
        )));
    }
    let positional = positional.first().filter(|word| !word.is_empty());
    match (option.filter(|file| !file.is_empty()), positional) {
        (Some(file), positional) => Ok((file, positional.is_some())),
        (None, Some(file)) => Ok((file.clone(), false)),
        (None, None) => Err(Refusal::start("Properties file missing, please provide a properties file")),
    }
}

/// Puts the lines of the files in the place of `@FILE` words; empty lines and comments are left out.
fn expanded(words: &[OsString], read: ReadFile<'_>) -> Result<Vec<OsString>, Refusal> {
    let mut all = Vec::with_capacity(words.len());
    for word in words {
        let Some(file) = word.to_str().and_then(|text| text.strip_prefix('@')) else {
            all.push(word.clone());
            continue;
        };
        let content = read(Path::new(file))
            .map_err(|error| Refusal::parameter(format!("Could not read file {file}: {error}")))?;
        let content = String::from_utf8_lossy(&content).into_owned();
        let lines = content.lines().filter(|line| !line.is_empty() && !line.trim().starts_with('#'));
        all.extend(lines.map(OsString::from));
    }
    Ok(all)
}

/// A word without blanks around it, and without quotes around it. Values of options keep both.
fn trimmed(word: &OsStr) -> OsString {
    let Some(text) = word.to_str() else { return word.to_owned() };
    let text = text.trim_matches(|c: char| c <= ' ');
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nothing(_: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    /// File and whether `-p` overrode another one, or what is said.
    type Outcome = Result<(String, bool), String>;

    fn run(line: &[&str]) -> Outcome {
        match parse(&words(line), &nothing) {
            Ok(Asked::Run(words)) => Ok((words.properties.into_string().unwrap(), words.overridden)),
            Ok(Asked::Help(help)) => Err(format!("{help:?}")),
            Err(refusal) => Err(refusal.message().to_owned()),
        }
    }

    const MISSING: &str = "Properties file missing, please provide a properties file";

    #[test]
    fn words_mean_what_they_mean_to_the_reference() {
        let several =
            |list: &str| Err(format!("Expected a single argument, but found multiple arguments.  Arguments: {list}"));
        let file = |name: &str| Ok((name.to_owned(), false));
        let over = |name: &str| Ok((name.to_owned(), true));
        let no = |text: &str| Err(text.to_owned());
        let table: [(&[&str], Outcome); 30] = [
            // each row was run with daemon 3.5.1, but for those with options of our own
            (&["-p", "F"], file("F")),
            (&["--properties-file", "F"], file("F")),
            (&["F"], file("F")),
            (&["F", "-l", "x"], file("F")),
            (&["-l", "x", "-p", "F"], file("F")),
            (&["-p", "F", "G"], over("F")),
            (&["G", "-p", "F"], over("F")),
            (&["-p", "", "G"], file("G")),
            (&[], no(MISSING)),
            (&[""], no(MISSING)),
            (&["-p", ""], no(MISSING)),
            (&["--"], no(MISSING)),
            (&["-l", "x"], no(MISSING)),
            (&["a", "b"], several("a, b")),
            (&["", ""], several(", ")),
            (&["--", "-p", "F"], several("-p, F")),
            (&["-p", "F", "a", "b"], several("a, b")),
            (&["--", "-p"], file("-p")),
            (&["-p", "--", "F"], over("F")),
            (&["-p", "-l", "x"], over("-l")),
            (&["--properties-file=F"], file("--properties-file=F")),
            (&["-pF"], file("-pF")),
            (&["--prop", "F"], several("--prop, F")),
            (&["-P", "F"], several("-P, F")),
            (&["-p", "\"q q\""], file("\"q q\"")),
            (&["\"q q\""], file("q q")),
            (&["\"-p\"", "F"], file("F")),
            (&["-p"], no("Expected a value after parameter -p")),
            (&["-p", "a", "--properties-file"], no("Expected a value after parameter --properties-file")),
            (&["-p", "a", "-p", "b"], no("Can only specify option -p once.")),
        ];
        for (line, wanted) in table {
            assert_eq!(run(line), wanted, "{line:?}");
        }
    }

    #[test]
    fn our_own_options_are_options_and_help_is_help() {
        let asked = parse(&words(&["--strict", "--log-format", "json", "--log-level=debug", "F", "-l", "x"]), &nothing);
        let wanted = Words {
            properties: "F".into(),
            log_configuration: Some("x".into()),
            strict: true,
            log_format: Some("json".to_owned()),
            log_level: Some("debug".to_owned()),
            overridden: false,
        };
        assert_eq!(asked, Ok(Asked::Run(wanted)));
        for (line, wanted) in [(["--help", "F"], Help::Usage), (["F", "-h"], Help::Usage), (["-V", ""], Help::Version)]
        {
            assert_eq!(parse(&words(&line), &nothing), Ok(Asked::Help(wanted)), "{line:?}");
        }
        assert_eq!(run(&["-p", "--help"]), Ok(("--help".to_owned(), false)), "a value is a value");
        assert_eq!(run(&["--", "--help"]), Ok(("--help".to_owned(), false)));
    }

    #[test]
    fn a_file_of_words_stands_for_its_lines() {
        let read = |path: &Path| match path.to_str() {
            Some("args") => Ok(b"-p\nF F\n\n  # comment\n".to_vec()),
            _ => nothing(path),
        };
        let Ok(Asked::Run(asked)) = parse(&words(&["@args", "-l", "x"]), &read) else { panic!("refused") };
        assert_eq!((asked.properties.to_str(), asked.log_configuration.is_some()), (Some("F F"), true));
        let refused = parse(&words(&["@nowhere"]), &read).unwrap_err();
        assert!(refused.message().starts_with("Could not read file nowhere: "), "{refused:?}");
        assert!(!refused.shows_usage());
    }

    proptest! {
        #[test]
        fn any_words_give_an_answer(
            line in prop::collection::vec(
                prop_oneof!["-p|-l|--|@|@f|--strict|--log-level|--log-format=|\"|\"\"|-h", ".{0,6}"], 0..7)
        ) {
            let read = |_: &Path| Ok(line.join("\n").into_bytes());
            let typed: Vec<OsString> = line.iter().map(OsString::from).collect();
            let _any = parse(&typed, &read);
        }
    }
}
