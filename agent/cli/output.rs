//! Writing the answer: to a terminal, a file, or a pipe that may be closed.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use nodetriage::publish::text::Style;

use super::args::Color;

/// Writes to stdout. A reader that has read enough (`| head`) is no error.
pub fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// How text looks where it goes.
pub fn style(color: Color) -> Style {
    let stdout = io::stdout();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()); // no-color.org
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => stdout.is_terminal() && !no_color && !dumb,
    };
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = columns.or_else(|| rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0));
    Style::new(color, width)
}
