//! Children as a Java daemon on Java 17 speaks to them in a locale without UTF-8. Only for strict compatibility: it
//! turns every other character into a question mark, both ways.
//!
//! Source: PROTOCOL.md section 1, run with `LC_ALL=C`.

use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;

use crate::child::{Child, ChildLauncher, Death, LaunchError};
use crate::types::ShardId;

/// Whether the variables of a locale, the strongest first, leave Java 17 with US-ASCII.
#[must_use]
pub fn is_locale_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
    let named =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|text| !text.is_empty()));
    named.is_none_or(|name| matches!(name.as_str(), "C" | "POSIX"))
}

/// Starts children that are spoken to in ASCII.
pub struct AsciiLauncher<L>(pub L);

#[async_trait]
impl<L: ChildLauncher> ChildLauncher for AsciiLauncher<L> {
    async fn launch(&self, shard: &ShardId) -> Result<Box<dyn Child>, LaunchError> {
        Ok(Box::new(AsciiChild(self.0.launch(shard).await?)))
    }
}

struct AsciiChild(Box<dyn Child>);

#[async_trait]
impl Child for AsciiChild {
    async fn send(&mut self, line: &[u8]) -> std::io::Result<()> {
        match questioned(line) {
            Some(line) => self.0.send(&line).await,
            None => self.0.send(line).await,
        }
    }

    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let line = self.0.receive().await?;
        Ok(line.map(|line| if line.is_ascii() { line } else { replaced(&line) }))
    }

    async fn gone(&mut self) {
        self.0.gone().await;
    }

    async fn close(&mut self) -> std::io::Result<ExitStatus> {
        self.0.close().await
    }

    async fn end(&mut self, patience: Duration) -> Death {
        self.0.end(patience).await
    }
}

/// One question mark for each character that is not ASCII; `None` if there is none.
fn questioned(line: &[u8]) -> Option<Vec<u8>> {
    if line.is_ascii() {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    Some(text.chars().map(|c| u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(b'?')).collect())
}

/// One replacement character for each byte that is not ASCII.
fn replaced(line: &[u8]) -> Vec<u8> {
    let character = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
    line.iter().map(character).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_character_becomes_one_question_mark_on_the_way_out() {
        assert_eq!(questioned("plain".as_bytes()), None);
        assert_eq!(questioned("é😀x".as_bytes()).unwrap(), b"??x");
    }

    #[test]
    fn every_other_byte_becomes_one_replacement_on_the_way_in() {
        assert_eq!(replaced("é".as_bytes()), "\u{fffd}\u{fffd}".as_bytes());
    }

    #[test]
    fn the_strongest_variable_names_the_locale() {
        let with = |pairs: &'static [(&str, &str)]| {
            is_locale_ascii(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(with(&[]));
        assert!(with(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LANG", "POSIX")]));
        assert!(!with(&[("LC_ALL", "C.UTF-8"), ("LANG", "C")]));
        assert!(!with(&[("LANG", "de_DE.UTF-8")]));
    }
}
