//! What time a service says it is.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::types::EpochMillis;

/// The time that an answer tells, in whole seconds, by its `header`s; `None` if it tells none. That of a proxy on the way
/// which answers by itself does not count: it has a clock of its own, and gives no id of a request.
#[must_use]
pub fn told<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Option<EpochMillis> {
    header("x-amzn-requestid")?;
    let date = DateTime::from_str(header("date")?, Format::HttpDate).ok()?;
    date.to_millis().ok().map(EpochMillis)
}
