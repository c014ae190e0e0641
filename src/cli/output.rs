//! How results are written: one JSON object, text with aligned columns, or tables for other programs (Markdown, CSV).

use std::io::{self, Write};

use serde::Serialize;

/// Writes one JSON object and a line end to stdout.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Writes one JSON object on one line of stdout and flushes it.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Writes text to stdout.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes text with colours to stdout: as they are where a terminal shows them, without them elsewhere or where the environment says
/// so (`NO_COLOR`, `CLICOLOR`, `TERM=dumb`).
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn styled(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Text as lines of at most `width` letters, broken between words where that can be. What is no letter is shown as such, so that a
/// text from outside cannot steer a terminal.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut n_letters = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> =
            word.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
        for piece in letters.chunks(width) {
            if 0 < n_letters && width < n_letters + 1 + piece.len() {
                lines.push(String::new());
                n_letters = 0;
            }
            let line = lines.last_mut().expect("there is one");
            if 0 < n_letters {
                line.push(' ');
                n_letters += 1;
            }
            line.extend(piece);
            n_letters += piece.len();
        }
    }
    lines
}

/// An error and its causes on one line. A cause that the message before it already tells is not told twice.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        if text.is_empty() {
            text.clone_from(&message);
        } else if !last.contains(&message) {
            text = format!("{text}: {message}");
        }
        last = message;
    }
    text
}

/// A number of bytes as a person reads it: `6.41 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while 1024.0 <= value && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.2} {}", units[unit]) }
}

/// Rows of cells as columns: the first to the left, the others to the right. Every line ends with a line end.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if column == 0 {
                line = format!("  {cell}{padding}");
            } else {
                line.push_str(&format!("  {padding}{cell}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Rows of cells as a Markdown table, of which the first row is the heading: the first column to the left, the others to the right.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| markdown_cell(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if number == 0 {
            let rule = (0..row.len()).map(|column| if column == 0 { "---" } else { "---:" });
            text.push_str(&format!("| {} |\n", rule.collect::<Vec<_>>().join(" | ")));
        }
    }
    text
}

/// Text that neither ends a cell or a line of Markdown nor is taken for markup.
pub(crate) fn markdown_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '\\' | '`' | '*' | '<' | '[' => out.extend(['\\', letter]),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// Rows of cells as comma-separated values (RFC 4180, with plain line ends).
pub(crate) fn csv(rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    let line = |row: &Vec<String>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_once_with_every_cause() {
        let gone = || io::Error::from_raw_os_error(2);
        let of_file = crate::camera::ImageFileError::Read { path: "a.png".into(), source: gone() };
        assert_eq!(chain(&of_file.into()), format!("a.png: {}", gone()));
        let with_context = anyhow::Error::from(gone()).context("a.csv");
        assert_eq!(chain(&with_context), format!("a.csv: {}", gone()));
    }

    #[test]
    fn lines_are_broken_between_words_and_steer_no_terminal() {
        assert_eq!(wrapped("how many  balls\nare there?", 9), ["how many", "balls are", "there?"]);
        assert_eq!(wrapped("ab \u{1b}[2Jcdefghij k", 4), ["ab", "\u{fffd}[2J", "cdef", "ghij", "k"]);
        assert_eq!(wrapped("", 9), [""]);
    }

    #[test]
    fn sizes_and_tables_read_well() {
        assert_eq!((bytes(1023), bytes(6_721_288)), ("1023 B".into(), "6.41 MiB".into()));
        let rows = [vec!["a".into(), "10".into()], vec!["bcd".into(), "1".into(), "x".into()]];
        assert_eq!(table(&rows), "  a    10\n  bcd   1  x\n");
    }

    #[test]
    fn no_text_leaves_its_cell() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["x|y\nz".to_owned(), "1,\"2\"".to_owned()]];
        assert_eq!(markdown(&rows), "| a | b |\n| --- | ---: |\n| x\\|y z | 1,\"2\" |\n");
        assert_eq!(csv(&rows), "a,b\n\"x|y\nz\",\"1,\"\"2\"\"\"\n");
    }
}
