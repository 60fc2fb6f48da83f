#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

use crate::inspect::repaint::{Repaint, Size};

/// A table redrawn in place at a terminal, or printed repeatedly to a pipe or a file.
pub(crate) struct LiveTable {
    repaint: Repaint,
    #[cfg(unix)]
    continued: Arc<AtomicBool>,
}

impl LiveTable {
    pub(crate) fn new() -> anyhow::Result<Self> {
        #[cfg(unix)]
        let continued = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGCONT, Arc::clone(&continued))?;
        Ok(Self {
            repaint: Repaint::default(),
            #[cfg(unix)]
            continued,
        })
    }

    /// Returns the text that draws this table and the lines below it.
    pub(crate) fn draw(&mut self, table: &str, below: &[String]) -> String {
        // After Ctrl-Z, a shell has written below the table.
        #[cfg(unix)]
        if self.continued.swap(false, Ordering::Relaxed) {
            self.repaint.forget();
        }
        if let Some(size) = Size::of_stdout() {
            return self.repaint.draw(table, below, size);
        }
        let lines: Vec<&str> =
            std::iter::once(table).chain(below.iter().map(String::as_str)).collect();
        format!("{}\n\n", lines.join("\n"))
    }
}
