//! The demo's picture: a table that stays in place on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use crate::lease::Lease;
use crate::local::demo::ledger::Ledger;
use crate::progress::ShardState;
use crate::types::{Checkpoint, ShardId, WorkerId};

/// Time between two rate lines where the picture cannot stay in place.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Digits of a sequence number that are shown; the first ones are the same for years.
const DIGITS: usize = 12;

/// One shard's row.
struct Row {
    shard: ShardId,
    owner: String,
    state: &'static str,
    records: usize,
    behind: String,
    checkpoint: String,
}

/// Where the demo is shown.
pub struct Screen {
    in_place: bool,
    drawn: usize,
    last_line: Option<Duration>,
    last_total: (Duration, usize),
    said: Vec<(ShardId, &'static str)>,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Looks where standard output leads.
    #[must_use]
    pub fn new() -> Self {
        let in_place = std::io::stdout().is_terminal();
        Self { in_place, drawn: 0, last_line: None, last_total: (Duration::ZERO, 0), said: Vec::new() }
    }

    /// Says something once.
    pub fn say(&mut self, text: &str) {
        self.drawn = 0; // the table begins anew below it
        put_out(&format!("demo: {text}\n"));
    }

    /// Shows the shards as they are `elapsed` after the beginning.
    pub fn show(&mut self, elapsed: Duration, ledger: &Ledger, leases: &[Lease]) {
        for event in ledger.take_events() {
            self.say(&event);
        }
        let rows = rows(ledger, leases);
        if self.in_place { self.draw(elapsed, ledger, &rows) } else { self.tell(elapsed, ledger, &rows) }
    }

    fn rate(&mut self, elapsed: Duration, ledger: &Ledger) -> String {
        let (put, delivered) = ledger.totals();
        let (before, had) = std::mem::replace(&mut self.last_total, (elapsed, delivered));
        #[expect(clippy::cast_precision_loss, reason = "a rate is for the eye")]
        let rate = (delivered - had.min(delivered)) as f64 / elapsed.saturating_sub(before).as_secs_f64().max(0.001);
        format!("{:5.1} s   {put:>6} put   {delivered:>6} delivered   {rate:>6.0} records/s", elapsed.as_secs_f64())
    }

    fn draw(&mut self, elapsed: Duration, ledger: &Ledger, rows: &[Row]) {
        let mut text = String::new();
        if self.drawn > 0 {
            let _into_a_string = write!(text, "\x1b[{}A", self.drawn);
        }
        let head =
            format!("{:<22}{:<14}{:<20}{:>8}{:>9}  {}", "SHARD", "OWNER", "STATE", "RECORDS", "LAG", "LAST CHECKPOINT");
        let mut lines = vec![head];
        lines.extend(rows.iter().map(|row| {
            let Row { shard, owner, state, records, behind, checkpoint } = row;
            format!("{:<22}{owner:<14}{state:<20}{records:>8}{behind:>9}  {checkpoint}", shard.as_str())
        }));
        lines.push(self.rate(elapsed, ledger));
        for line in &lines {
            let _into_a_string = writeln!(text, "{line}\x1b[K");
        }
        self.drawn = lines.len();
        put_out(&text);
    }

    fn tell(&mut self, elapsed: Duration, ledger: &Ledger, rows: &[Row]) {
        for row in rows {
            let known = self.said.iter_mut().find(|(shard, _)| *shard == row.shard);
            let is_new = known.as_ref().is_none_or(|(_, state)| *state != row.state);
            match known {
                Some((_, state)) => *state = row.state,
                None => self.said.push((row.shard.clone(), row.state)),
            }
            if is_new {
                put_out(&format!("demo: {} {} ({})\n", row.shard, row.state, row.owner));
            }
        }
        if self.last_line.is_none_or(|last| elapsed >= last + LINE_INTERVAL) {
            self.last_line = Some(elapsed);
            let rate = self.rate(elapsed, ledger);
            put_out(&format!("demo: {rate}\n"));
        }
    }
}

/// A closed standard output does not stop the demo; its verdict is also its exit code.
fn put_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _reader_may_be_gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn rows(ledger: &Ledger, leases: &[Lease]) -> Vec<Row> {
    let row = |(shard, account): (ShardId, super::ledger::ShardAccount)| {
        let lease = leases.iter().find(|lease| lease.shard == shard);
        Row {
            owner: lease.and_then(Lease::actual_owner).map_or("-", WorkerId::as_str).to_owned(),
            state: account.state.map_or("no lease yet", name),
            records: account.delivered(),
            behind: account.behind.map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms")),
            checkpoint: lease.map_or_else(|| "-".to_owned(), |lease| short(&lease.checkpoint)),
            shard,
        }
    };
    ledger.accounts().into_iter().map(row).collect()
}

fn name(state: ShardState) -> &'static str {
    match state {
        ShardState::WaitingForParents => "waiting for parents",
        ShardState::Initializing => "starting child",
        ShardState::Processing => "processing",
        ShardState::Restarting => "child failed",
        ShardState::ShutdownRequested => "stopping",
        ShardState::Ending => "ending",
        ShardState::Ended => "ended",
        ShardState::Released => "released",
    }
}

fn short(checkpoint: &Checkpoint) -> String {
    let text = checkpoint.to_string();
    match text.len().checked_sub(DIGITS) {
        Some(cut) if cut > 0 && matches!(checkpoint, Checkpoint::At(_)) => format!("…{}", &text[cut..]),
        Some(_) | None => text,
    }
}
