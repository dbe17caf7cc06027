//! What the daemon writes to stderr.

use std::fmt;
use std::io::IsTerminal as _;

use nodetriage::config::{Log, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes what is logged from now on.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let writer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(false);
    match log.format {
        LogFormat::Json => writer.json().flatten_event(true).init(),
        // Set for services whose stderr journald reads (systemd.exec(5)); journald adds the time itself.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal() => writer.event_format(Journal).init(),
        LogFormat::Text => writer.with_target(false).init(),
    }
}

/// Lines with the priority in front, as journald takes it off (sd-daemon(3)).
struct Journal;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Journal {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
