use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Draws a table over the previous table, on a terminal of any size. Pure.
///
/// The caller writes the returned text. It uses only "up", "erase this line" and "erase everything below", which
/// every terminal supports. No line is as wide as the terminal, so no line wraps, and together the lines are not
/// higher than the terminal, so no line scrolls away.
#[derive(Debug, Default)]
pub(crate) struct Repaint {
    /// The widths of the drawn lines.
    drawn: Vec<usize>,
    /// Rows of earlier tables that were pushed out at the top when the terminal became lower.
    ///
    /// The terminal shows them again when it becomes higher.
    pushed_out: usize,
    /// Whether the cursor is below the last line, rather than in it.
    is_below: bool,
}

/// The columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// The size assumed for a terminal that does not report one.
    const USUAL: Self = Self { columns: 80, rows: 24 };

    /// Returns the size of the terminal at standard output; `None` if it is not a terminal.
    pub(crate) fn of_stdout() -> Option<Self> {
        if !hana_output::Stream::Stdout.is_terminal() {
            return None;
        }
        Some(
            terminal_size().filter(|size| size.columns > 0 && size.rows > 0).unwrap_or(Self::USUAL),
        )
    }
}

#[cfg(unix)]
fn terminal_size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

#[cfg(not(unix))]
fn terminal_size() -> Option<Size> {
    let (columns, rows) = ratatui::crossterm::terminal::size().ok()?;
    Some(Size { columns: columns.into(), rows: rows.into() })
}

impl Repaint {
    /// Draws a table, whose first line has the column names, and further lines below it.
    ///
    /// If the table is too high, its last lines are left out, and a line gives their number.
    pub(crate) fn draw(&mut self, table: &str, below: &[String], size: Size) -> String {
        let room = size.rows.saturating_sub(1).max(1);
        let mut lines = cut_to_rows(table, room.saturating_sub(below.len()).max(1));
        lines.extend(below.iter().cloned());
        lines.truncate(room);
        // The last column stays empty, since a terminal may wrap when it is written.
        let columns = size.columns.saturating_sub(1).max(1);
        let lines: Vec<String> = lines.iter().map(|line| cut_to_columns(line, columns)).collect();

        let mut out = String::from("\r");
        let up = self.go_up(size);
        if up > 0 {
            let _ = write!(out, "\x1b[{up}A");
        }
        self.is_below = lines.len() < size.rows;
        for (number, line) in lines.iter().enumerate() {
            let is_last = number + 1 == lines.len();
            let end = if is_last && !self.is_below { "" } else { "\r\n" };
            let _ = write!(out, "\x1b[2K{line}{end}");
        }
        out.push_str("\x1b[J");
        self.drawn = lines.iter().map(|line| line.width()).collect();
        out
    }

    /// Forgets the drawn table, because the screen was replaced or other output was written below the table. The next
    /// table is drawn below that output.
    #[cfg(unix)]
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of rows up to the first line. A terminal that has become narrower may have wrapped the
    /// lines.
    fn go_up(&mut self, size: Size) -> usize {
        let rows: usize =
            self.drawn.iter().map(|width| width.div_ceil(size.columns.max(1)).max(1)).sum();
        let above = if self.is_below { rows } else { rows.saturating_sub(1) };
        let above = above + self.pushed_out;
        let up = above.min(size.rows.saturating_sub(1));
        self.pushed_out = above - up;
        up
    }
}

/// Returns as many lines of a table as fit, with a note in place of the other lines.
fn cut_to_rows(table: &str, rows: usize) -> Vec<String> {
    let lines: Vec<&str> = table.lines().collect();
    if lines.len() <= rows {
        return lines.into_iter().map(String::from).collect();
    }
    let shown = rows.saturating_sub(1);
    let hidden = lines.len() - shown.max(1);
    let note = format!("... {hidden} more; the terminal is too low to show them");
    lines[..shown].iter().map(|&line| line.to_owned()).chain([note]).collect()
}

/// Returns the part of a line that fits. Characters that move the cursor are left out.
fn cut_to_columns(line: &str, columns: usize) -> String {
    let mut width = 0;
    line.chars()
        .filter_map(|letter| Some((letter, letter.width()?)))
        .take_while(|(_, wide)| {
            width += wide;
            width <= columns
        })
        .map(|(letter, _)| letter)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;

    /// A terminal and the table drawn in it.
    struct Drawn {
        parser: vt100::Parser,
        repaint: Repaint,
        size: Size,
    }

    fn some(length: usize) -> NonZeroU16 {
        NonZeroU16::new(length.try_into().unwrap()).unwrap()
    }

    impl Drawn {
        fn at(columns: usize, rows: usize) -> Self {
            let mut parser = vt100::Parser::new(some(rows), some(columns), 1000);
            parser.process(b"$ hana nodes --watch\r\n");
            Self { parser, repaint: Repaint::default(), size: Size { columns, rows } }
        }

        fn resize(&mut self, columns: usize, rows: usize) {
            self.parser.screen_mut().set_size(some(rows), some(columns));
            self.size = Size { columns, rows };
        }

        fn draw(&mut self, nodes: usize) {
            let out = self.repaint.draw(&table(nodes), &[], self.size);
            self.parser.process(out.as_bytes());
        }

        /// Returns the lines on the screen, and the number of tables, including tables that have scrolled out.
        fn see(&mut self) -> (Vec<String>, usize) {
            let columns = self.parser.screen().size().1.get();
            let screen: Vec<String> = self.parser.screen().rows(0, columns).collect();
            self.parser.screen_mut().set_scrollback(usize::MAX);
            let gone = self.parser.screen().scrollback();
            let mut all = vec![];
            for back in (0..=gone).rev() {
                self.parser.screen_mut().set_scrollback(back);
                all.extend(self.parser.screen().rows(0, columns).next());
            }
            self.parser.screen_mut().set_scrollback(0);
            all.pop();
            all.extend(screen.iter().cloned());
            let tables = all.iter().filter(|line| line.starts_with("NO")).count();
            (screen, tables)
        }
    }

    fn table(nodes: usize) -> String {
        let rows = (0..nodes).map(|number| {
            format!(
                "node-{number}  visualization  h1  running  4711  3m12s  60  \u{201c}{}\u{201d}",
                "\u{97f3}".repeat(30)
            )
        });
        std::iter::once("NODE  ROLE  HOST  STATE  PID  UP  FPS".to_owned())
            .chain(rows)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn terminal_of_any_size_shows_one_table() {
        for (columns, rows) in [(200, 40), (80, 24), (60, 24), (200, 5), (20, 3), (5, 2)] {
            let mut drawn = Drawn::at(columns, rows);
            for _ in 0..10 {
                drawn.draw(8);
            }
            let (screen, tables) = drawn.see();
            let wanted = usize::from(rows > 2);
            assert_eq!(tables, wanted, "{columns} columns, {rows} rows: {screen:#?}");
        }
    }

    #[test]
    fn hidden_lines_are_counted() {
        let mut drawn = Drawn::at(80, 5);
        drawn.draw(8);
        let (screen, _) = drawn.see();
        assert!(screen[0].starts_with("NODE") && screen[2].starts_with("node-1"), "{screen:#?}");
        assert!(screen[3].starts_with("... 6 more"), "{screen:#?}");
        drawn.draw(3);
        assert!(drawn.see().0[3].starts_with("node-2"), "all of them fit now");
    }

    #[test]
    fn lines_below_the_table_stay_in_a_low_terminal() {
        let size = Size { columns: 80, rows: 5 };
        let out = Repaint::default().draw(&table(8), &["133 bpm".into()], size);
        assert!(out.contains("133 bpm") && out.contains("... 7 more"), "{out:?}");
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn resized_terminal_shows_one_table(
            sizes in prop::collection::vec((8_usize..120, 4_usize..40), 1..6),
            nodes in 0_usize..12,
        ) {
            let (columns, rows) = sizes[0];
            let mut drawn = Drawn::at(columns, rows);
            for (columns, rows) in sizes {
                drawn.resize(columns, rows);
                drawn.draw(nodes);
                drawn.draw(nodes);
                let (screen, _) = drawn.see();
                let tables = screen.iter().filter(|line| line.starts_with("NO")).count();
                prop_assert_eq!(tables, 1, "{} columns, {} rows: {:#?}", columns, rows, screen);
            }
        }
    }
}
