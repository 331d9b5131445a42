//! Questions that Java's own classes have answered, and ours beside their answers. `compat-tests/README.md` says how to
//! have more of them answered.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fastrand::Rng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One kind of question.
pub(crate) trait Question: Serialize + DeserializeOwned {
    /// The class in `compat-tests/java`.
    const CLASS: &'static str;
    /// The recording in `tests/golden`.
    const FILE: &'static str;

    /// Any question, without selection.
    fn drawn(random: &mut Rng) -> Self;

    /// What ours does, in Java's words.
    fn ours(&self) -> Value;

    /// By which difference that is wilful (`docs/differences.md`) ours may say something else.
    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str>;
}

#[derive(Deserialize, Serialize)]
struct Answered<Q> {
    asked: Q,
    java: Value,
}

/// How many answers are Java's ("same"), and how many differ by which rule.
pub(crate) type Tally = BTreeMap<&'static str, usize>;

fn judged<Q: Question>(answered: &[Answered<Q>]) -> Tally {
    let (mut tally, mut others) = (Tally::new(), Vec::new());
    for (number, Answered { asked, java }) in answered.iter().enumerate() {
        let ours = asked.ours();
        let why = if ours == *java { Some("same") } else { asked.why(&ours, java) };
        match why {
            Some(why) => *tally.entry(why).or_default() += 1,
            None => {
                let asked = serde_json::to_string(asked).unwrap();
                others.push(format!("line {}: {asked}\nours {ours}\njava {java}\n", number + 1));
            }
        }
    }
    let shown: String = others.iter().take(8).map(String::as_str).collect();
    assert!(others.is_empty(), "{} of {} unexplained, {tally:?}:\n{shown}", others.len(), answered.len());
    tally
}

fn golden<Q: Question>(folder: impl AsRef<Path>) -> PathBuf {
    folder.as_ref().join(Q::FILE)
}

/// Holds ours against the recording.
pub(crate) fn recorded<Q: Question>() -> Tally {
    let path = golden::<Q>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    let text = std::fs::read_to_string(path).unwrap();
    let answered: Vec<Answered<Q>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(answered.len() >= 100, "the questions were not found");
    judged(&answered)
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Starts Java by the command in the environment variable `java`, with one word more if there is one, and pipes to it.
pub(crate) fn started(java: &str, more: Option<String>) -> Child {
    let command = std::env::var(java).unwrap_or_else(|_| panic!("{java} is not set: see compat-tests/README.md"));
    let mut words = command.split_whitespace();
    Command::new(words.next().unwrap())
        .args(words)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{java} cannot be started: {error}"))
}

/// Has Java answer `KCL_QUESTIONS` (2,000) drawn questions by the command in the environment variable `java`.
pub(crate) fn asked_now<Q: Question>(java: &str) -> Tally {
    let mut random = Rng::with_seed(number("KCL_SEED", 7));
    let questions: Vec<Q> = (0..number("KCL_QUESTIONS", 2_000)).map(|_| Q::drawn(&mut random)).collect();
    let mut process = started(java, Some(format!("compat-tests/java/{}.java", Q::CLASS)));
    let mut to = process.stdin.take().unwrap(); // Java answers when it has heard all
    for question in &questions {
        writeln!(to, "{}", serde_json::to_string(question).unwrap()).unwrap();
    }
    drop(to);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{java} failed");
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), questions.len());
    let answered: Vec<_> = questions.into_iter().zip(answers).map(|(asked, java)| Answered { asked, java }).collect();
    let tally = judged(&answered);
    println!("{} {java}: {tally:?}", Q::FILE);
    if let Ok(folder) = std::env::var("KCL_RECORD") {
        let lines = answered.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        std::fs::write(golden::<Q>(folder), lines.collect::<String>()).unwrap();
    }
    tally
}
