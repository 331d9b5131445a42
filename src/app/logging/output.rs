//! Where lines go: the two streams, a file, a file that rolls.
//!
//! A line that cannot be written is lost: the log must not stop the daemon. What was wrong with a file is said once,
//! on standard error; how many lines a stream has lost, in it, once it is read again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::date::{self, Zone};
use super::stream::Stream;

/// How long a reader of a stream may be busy: longer than any that is well, and shorter than the renewal of a lease may
/// wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the lines of one appender go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
    /// A file, appended to or begun anew.
    File {
        /// Its path.
        path: PathBuf,
        /// Whether what is there stays.
        append: bool,
    },
    /// A file that rolls.
    Rolling(Rolling),
}

/// When a file rolls and what the old ones are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rolling {
    /// The file being written; without it the name comes from the pattern.
    pub file: Option<PathBuf>,
    /// `fileNamePattern`: `%d{…}` is the period, `%i` counts.
    pub pattern: String,
    /// Size at which the file rolls.
    pub max_bytes: Option<u64>,
    /// Old files that are kept; `None` keeps all.
    pub max_history: Option<usize>,
}

/// An open output.
#[derive(Debug)]
pub struct Writer {
    output: Output,
    stream: Stream,
    lost: u64,
    file: Option<OpenFile>,
    complained: bool,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    period: String,
    file: File,
    bytes: u64,
}

impl Writer {
    /// Opens files at the first line.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output, stream: Stream::new(PATIENCE), lost: 0, file: None, complained: false }
    }

    /// Writes a line, whose moment decides the period of a rolling file. `of_lost` makes the line that stands before it
    /// where so many were lost, because nobody read the stream.
    pub fn write(&mut self, text: &str, of_lost: impl FnOnce(u64) -> String, millis: i64) {
        if self.lost > 0 && self.put(&of_lost(self.lost), millis) == Fate::Unread {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.lost = u64::from(self.put(text, millis) == Fate::Unread);
    }

    fn put(&mut self, text: &str, millis: i64) -> Fate {
        let written = match &self.output {
            Output::Out => self.stream.write(std::io::stdout().as_fd(), text),
            Output::Error => self.stream.write(std::io::stderr().as_fd(), text),
            Output::File { path, append } => write_file(&mut self.file, path, *append, text),
            Output::Rolling(rolling) => write_rolling(&mut self.file, rolling, text, millis),
        };
        match (written, &self.output) {
            (Err(error), Output::Out | Output::Error) if error.kind() == ErrorKind::TimedOut => return Fate::Unread,
            (Err(error), Output::File { .. } | Output::Rolling(_)) if !self.complained => {
                self.complained = true;
                eprintln!("the log cannot be written to {:?}: {error}", self.output);
            }
            // nobody is left to tell when a stream is closed
            (Ok(()) | Err(_), _) => {}
        }
        Fate::Done
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is written, or nothing can be done about it.
    Done,
    /// Nobody reads the stream now.
    Unread,
}

fn open(path: &Path, append: bool) -> std::io::Result<OpenFile> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(append).write(true).truncate(!append).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(OpenFile { path: path.to_owned(), period: String::new(), file, bytes })
}

fn write_file(slot: &mut Option<OpenFile>, path: &Path, append: bool, text: &str) -> std::io::Result<()> {
    let open = match slot {
        Some(open) => open,
        None => slot.insert(open(path, append)?),
    };
    open.file.write_all(text.as_bytes())
}

fn write_rolling(slot: &mut Option<OpenFile>, rolling: &Rolling, text: &str, millis: i64) -> std::io::Result<()> {
    let period = rolling.period(millis);
    if slot.is_none() {
        let mut first = open(&rolling.current(&period)?, true)?;
        first.period = rolling.period_of(&first, &period);
        *slot = Some(first);
    }
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let is_over = |open: &OpenFile| {
        let full = rolling.max_bytes.is_some_and(|most| open.bytes > 0 && open.bytes.saturating_add(length) > most);
        open.period != period || full
    };
    if slot.as_ref().is_some_and(is_over) {
        if let Some(old) = slot.take() {
            rolling.put_away(&old)?;
        }
        let mut fresh = open(&rolling.current(&period)?, true)?;
        fresh.period = period;
        *slot = Some(fresh);
    }
    let Some(open) = slot else { return Ok(()) };
    open.file.write_all(text.as_bytes())?;
    open.bytes = open.bytes.saturating_add(length);
    Ok(())
}

impl Rolling {
    /// The pattern's dates, filled in; equal as long as the file need not roll.
    fn period(&self, millis: i64) -> String {
        let mut text = String::new();
        let mut rest = self.pattern.as_str();
        while let Some((before, after)) = rest.split_once("%d") {
            text.push_str(before);
            let (option, behind) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                Some((option, behind)) => (option, behind),
                None => ("", after),
            };
            let form = option.split(',').next().unwrap_or_default().trim();
            text.push_str(&date::format(if form.is_empty() { "yyyy-MM-dd" } else { form }, millis, Zone::Local));
            rest = behind;
        }
        text.push_str(rest);
        text
    }

    /// The period of a file that was there before: that of its last change.
    fn period_of(&self, open: &OpenFile, now: &str) -> String {
        let changed = || {
            let since = open.file.metadata().ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok()
        };
        match changed().filter(|_| open.bytes > 0) {
            Some(millis) => self.period(millis),
            None => now.to_owned(),
        }
    }

    /// The file to write now.
    fn current(&self, period: &str) -> std::io::Result<PathBuf> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => self.free_name(period),
        }
    }

    /// The first name of the period that is free; the last of them while there is room in it.
    fn free_name(&self, period: &str) -> std::io::Result<PathBuf> {
        if !period.contains("%i") {
            return Ok(period.into());
        }
        for index in 0..100_000 {
            let name = PathBuf::from(period.replace("%i", &index.to_string()));
            let size = std::fs::metadata(&name).map(|meta| meta.len());
            if size.is_ok_and(|size| self.max_bytes.is_some_and(|most| size >= most))
                || (self.file.is_some() && name.exists())
            {
                continue;
            }
            return Ok(name);
        }
        Err(std::io::Error::other("too many log files of one period"))
    }

    /// Gives the old file its name, and removes the oldest ones.
    fn put_away(&self, old: &OpenFile) -> std::io::Result<()> {
        if self.file.is_some() {
            let name = self.free_name(&old.period)?;
            if let Some(folder) = name.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::rename(&old.path, name)?;
        }
        self.forget_oldest();
        Ok(())
    }

    /// Files are told by what stands before and behind the dates in the pattern; only one folder is looked at.
    fn forget_oldest(&self) {
        let Some(keep) = self.max_history else { return };
        let pattern = Path::new(&self.pattern);
        let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.to_string_lossy().contains('%') {
            return;
        }
        let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let begin = name.split('%').next().unwrap_or_default().to_owned();
        let end = name.rsplit(['}', '%']).next().unwrap_or_default();
        let end = end.strip_prefix(['d', 'i']).filter(|_| !name.ends_with('}') && !end.starts_with('.')).unwrap_or(end);
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut old: Vec<_> = entries
            .flatten()
            .filter(|entry| {
                let file = entry.file_name().to_string_lossy().into_owned();
                let is_current =
                    self.file.as_ref().is_some_and(|current| current.file_name() == Some(&entry.file_name()));
                file.len() > begin.len() + end.len() && file.starts_with(&begin) && file.ends_with(end) && !is_current
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        old.sort();
        for (_, path) in old.iter().take(old.len().saturating_sub(keep)) {
            drop(std::fs::remove_file(path)); // somebody else may have
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn none_lost(lost: u64) -> String {
        panic!("{lost} lines are lost")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_rolls_with_the_day_and_keeps_some_history() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let mut writer = Writer::new(Output::Rolling(Rolling {
            file: Some(at("kcl.log")),
            pattern: at("kcl.%d{yyyy-MM-dd}.log").to_string_lossy().into_owned(),
            max_bytes: None,
            max_history: Some(2),
        }));
        for day in 0..5 {
            writer.write("one\n", none_lost, day * DAY + DAY / 2);
            writer.write("two\n", none_lost, day * DAY + DAY / 2 + 1);
        }
        assert_eq!(names(home.path()), ["kcl.1970-01-03.log", "kcl.1970-01-04.log", "kcl.log"]);
        assert_eq!(std::fs::read_to_string(at("kcl.1970-01-04.log")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_file_rolls_by_size_and_counts() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(Output::Rolling(Rolling {
            file: None,
            pattern: home.path().join("kcl-%d{yyyy}.%i.log").to_string_lossy().into_owned(),
            max_bytes: Some(8),
            max_history: None,
        }));
        for _ in 0..5 {
            writer.write("four", none_lost, DAY);
        }
        assert_eq!(names(home.path()), ["kcl-1970.0.log", "kcl-1970.1.log", "kcl-1970.2.log"]);
    }

    #[test]
    fn a_plain_file_is_appended_to_or_begun_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/kcl.log");
        for (append, content) in [(true, "x"), (true, "xx"), (false, "x")] {
            Writer::new(Output::File { path: path.clone(), append }).write("x", none_lost, 0);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }
}
