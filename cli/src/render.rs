//! The only code that prints. Answers go to standard output, everything about the way there to standard error; a
//! closed pipe ends the output in silence, as `| head` expects.

use std::io::{IsTerminal, Write, stderr, stdout};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::queue;
use crossterm::terminal::{Clear, ClearType};

/// Width that is assumed without a terminal.
const DEFAULT_WIDTH: usize = 200;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; its keys are stable.
    Json,
    /// The same as YAML.
    Yaml,
}

/// One line of an answer.
pub(crate) fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// An answer in JSON, indented.
pub(crate) fn json(value: &serde_json::Value) {
    line(&format!("{value:#}"));
}

/// An answer for programs.
pub(crate) fn value(format: Format, value: &serde_json::Value) {
    match format {
        // Plain values can always be written.
        Format::Yaml => raw(serde_saphyr::to_string(value)
            .unwrap_or_default()
            .as_bytes()),
        Format::Table | Format::Json => json(value),
    }
}

/// Bytes of an answer as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// One line about the way to the answer.
pub(crate) fn note(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}

/// Rows in columns as wide as needed, two spaces apart; the last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A block of text that replaces its former self on a terminal; elsewhere each block is printed below the last.
pub(crate) struct Screen {
    live: bool,
    lines: u16,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            live: stdout().is_terminal(),
            lines: 0,
        }
    }

    /// Whether blocks replace each other.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Shows a block.
    pub(crate) fn show(&mut self, text: &str) {
        let mut out = stdout().lock();
        if !self.live {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return;
        }
        let (width, height) = crossterm::terminal::size()
            .map_or((DEFAULT_WIDTH, usize::MAX), |(w, h)| (w.into(), h.into()));
        if self.lines > 0 {
            let _ = queue!(
                out,
                MoveToPreviousLine(self.lines),
                Clear(ClearType::FromCursorDown)
            );
        }
        self.lines = 0;
        // A line that wraps, or one below the window's edge, could not be replaced.
        for line in text.lines().take(height.saturating_sub(1)) {
            let cut: String = line.chars().take(width).collect();
            let _ = writeln!(out, "{cut}");
            self.lines = self.lines.saturating_add(1);
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["NAME", "RPS"]), row(["a", "1"])]),
            "NAME  RPS\na     1\n"
        );
        assert_eq!(table(&[]), "");
    }
}
