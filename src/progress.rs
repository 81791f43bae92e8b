//! What the user sees of a pull, on standard error: on a terminal a line for each layer, drawn anew ten
//! times a second; else a line for each event.
//!
//! How much of a layer has come is seen from the size of its file: curl and the workers need not tell.

use std::path::PathBuf;
use std::time::Instant;

use crate::rmi::human_size;
use crate::store::Store;
use crate::sys;
use crate::workers::Task;

/// Milliseconds from one drawing to the next.
const TICK: u128 = 100;

/// Characters between the brackets.
const BAR: usize = 24;

pub struct Progress {
    rows: Vec<Row>,
    terminal: bool,
    /// When it was drawn last, and how many lines stand there.
    drawn: Instant,
    lines: usize,
}

struct Row {
    name: String,
    blob: PathBuf,
    size: u64,
    state: String,
    /// When this download began, and with how many bytes of an earlier one.
    began: Option<(Instant, u64)>,
}

impl Progress {
    pub fn new(tasks: &[Task], store: &Store) -> Progress {
        let row = |task: &Task| Row {
            name: task.short().to_string(),
            blob: task.blob(store),
            size: task.descriptor.size,
            state: "queued".to_string(),
            began: None,
        };
        // Lines that have scrolled away cannot be drawn again. Under -v other lines come between.
        sys::why("if possible: is it a terminal, and does a line for each layer fit?");
        let fits = sys::window_size(sys::STDERR).is_ok_and(|(rows, columns)| rows > tasks.len() && columns >= 20);
        let terminal = fits && !sys::verbose();
        Progress { rows: tasks.iter().map(row).collect(), terminal, drawn: Instant::now(), lines: 0 }
    }

    /// How long to wait for news, in milliseconds.
    pub fn tick(&self) -> i32 {
        if self.terminal {
            TICK as i32
        } else {
            -1
        }
    }

    pub fn state(&mut self, task: usize, state: &str) {
        let row = &mut self.rows[task];
        row.state = state.to_string();
        // Nobody else looks at it.
        row.began = (self.terminal && state == DOWNLOADING).then(|| (Instant::now(), row.have()));
    }

    pub fn event(&mut self, task: usize, event: &str) {
        self.state(task, event);
        if !self.terminal {
            sys::print_error(format!("mydocker: {}: {event}\n", self.rows[task].name).as_bytes());
        }
    }

    /// Draws the lines, unless they were drawn a moment ago.
    pub fn draw(&mut self) {
        if self.terminal && (self.lines == 0 || self.drawn.elapsed().as_millis() >= TICK) {
            self.redraw();
        }
    }

    /// Draws the last state.
    pub fn finish(&mut self) {
        if self.terminal {
            self.redraw();
        }
    }

    fn redraw(&mut self) {
        sys::why("if possible: it may have been made narrower");
        let columns = sys::window_size(sys::STDERR).map_or(80, |(_, columns)| columns);
        // Up to the first line; then each line, cut to the window, and the rest of it erased:
        // console_codes(4), CSI A and CSI K.
        let mut text = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        for row in &self.rows {
            let line: String = row.line().chars().take(columns.saturating_sub(1)).collect();
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        sys::print_error(text.as_bytes());
        self.lines = self.rows.len();
        self.drawn = Instant::now();
    }
}

/// The state in which bytes come.
pub const DOWNLOADING: &str = "downloading";

impl Row {
    fn have(&self) -> u64 {
        sys::why("if possible: how much has come?");
        sys::lstat(&self.blob).map_or(0, |stat| stat.size()) // none yet, or none any more
    }

    fn line(&self) -> String {
        let Some((began, before)) = self.began else { return format!("{}: {}", self.name, self.state) };
        let have = self.have();
        let done = bar(have, self.size);
        let milliseconds = began.elapsed().as_millis().max(1);
        let speed = u128::from(have.saturating_sub(before)) * 1000 / milliseconds;
        let (have, size, speed) = (human_size(have), human_size(self.size), human_size(speed as u64));
        format!("{}: {} {done} {have}/{size} {speed}/s", self.name, self.state)
    }
}

/// `[=====>    ]`
fn bar(have: u64, size: u64) -> String {
    let full = have.min(size) as u128 * BAR as u128 / u128::from(size.max(1));
    let full = full as usize;
    let head = if full < BAR { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat((BAR - full).saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_one_width() {
        for (have, size) in [(0, 0), (0, 100), (50, 100), (99, 100), (100, 100), (200, 100), (u64::MAX, u64::MAX)] {
            assert_eq!(bar(have, size).len(), BAR + 2, "{have}/{size}");
        }
        assert_eq!(bar(15, 30), "[============>           ]");
    }
}
