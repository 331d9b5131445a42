//! What is logged where, and the layer that does it.

use std::sync::{Mutex, PoisonError};

use tracing::span;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::format::Format;
use super::levels::{Levels, Threshold, is_below};
use super::line::{Line, note_span};
use super::output::{Output, Writer};

/// What is logged where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// All there are.
    pub appenders: Vec<Appender>,
    /// Who writes to which.
    pub routes: Routes,
    /// What is written at all.
    pub levels: Levels,
}

impl Setup {
    /// One output for everything.
    #[must_use]
    pub fn single(output: Output, format: Format) -> Self {
        let appender = Appender { output, format, least: None };
        let routes = Routes { root: vec![0], loggers: Vec::new() };
        Self { appenders: vec![appender], routes, levels: Levels::default() }
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appender {
    /// Where lines go.
    pub output: Output,
    /// How they look.
    pub format: Format,
    /// The least bad that it takes.
    pub least: Option<Threshold>,
}

/// Which logger writes to which appenders, by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The root's.
    pub root: Vec<usize>,
    /// Name, appenders of its own, and whether those above are written to as well.
    pub loggers: Vec<(String, Vec<usize>, bool)>,
}

impl Routes {
    /// From the longest name up to the root, until one is not additive.
    #[must_use]
    pub fn of(&self, logger: &str) -> Vec<usize> {
        let mut own: Vec<_> = self.loggers.iter().filter(|(name, ..)| is_below(logger, name)).collect();
        own.sort_by_key(|(name, ..)| std::cmp::Reverse(name.len()));
        let mut found = Vec::new();
        for (_, appenders, additive) in own {
            found.extend(appenders);
            if !additive {
                return found;
            }
        }
        found.extend(&self.root);
        found
    }
}

/// Writes each event to its appenders.
pub struct Log {
    appenders: Vec<(Format, Option<Threshold>, Mutex<Writer>)>,
    routes: Routes,
}

impl Log {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(appenders: Vec<Appender>, routes: Routes) -> Self {
        let open = |appender: Appender| (appender.format, appender.least, Mutex::new(Writer::new(appender.output)));
        Self { appenders: appenders.into_iter().map(open).collect(), routes }
    }

    fn write(&self, line: &Line, level: Level) {
        for index in self.routes.of(&line.logger) {
            let Some((format, least, writer)) = self.appenders.get(index) else { continue };
            if least.is_none_or(|least| least.lets(level)) {
                let text = format.render(line);
                let of_lost = |lines| format.render(&line.telling_of_lost(lines));
                writer.lock().unwrap_or_else(PoisonError::into_inner).write(&text, of_lost, line.millis);
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        note_span(attributes, id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.write(&Line::of(event, &context), *event.metadata().level());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additivity_goes_as_far_as_the_appender_list() {
        let routes = Routes {
            root: vec![0],
            loggers: vec![
                ("a".to_owned(), vec![1], true),
                ("a.b".to_owned(), vec![2], false),
                ("c".to_owned(), vec![], false),
            ],
        };
        let table: [(&str, &[usize]); 4] = [("x", &[0]), ("a.x", &[1, 0]), ("a.b.x", &[2]), ("c", &[])];
        for (logger, appenders) in table {
            assert_eq!(routes.of(logger), appenders, "{logger}");
        }
    }
}
