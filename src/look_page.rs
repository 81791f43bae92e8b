//! The page that `mydocker look` draws: parts with their names in a margin, lines, lists and trees.
//!
//! It is [`WIDTH`] columns wide. A line that is longer is cut, a list goes on in the next line, and of a long one
//! only the beginning is shown. Text that a stranger wrote comes here by `error::printable`.

use std::fmt::{self, Write};

/// Columns of the page, of the margin in which each part has its name, and of one of two columns.
pub const WIDTH: usize = 100;
const MARGIN: usize = 12;
pub const HALF: usize = 46;
const MOST_ITEMS: usize = 20;
/// A tree goes on to the right no further.
const DEEPEST: usize = 16;

#[derive(Default)]
pub struct Page {
    text: String,
    /// The line in the making: with the name of a part, or items of a list.
    line: String,
    /// Where the items of the list begin, and how many there are.
    indent: usize,
    items: usize,
}

impl Page {
    /// A new part, its name in the margin.
    #[inline(never)] // it is called by every part
    pub fn part(&mut self, name: &str) {
        self.end();
        self.line.push_str(name);
    }

    pub fn line(&mut self, text: fmt::Arguments) {
        self.list("");
        // Writing to a String does not fail.
        let _ = self.line.write_fmt(text);
        self.end();
    }

    /// A list, on as many lines as it needs.
    pub fn list(&mut self, heading: &str) {
        if self.indent > 0 {
            self.end();
        }
        self.fill(MARGIN);
        self.line.push_str(heading);
        self.indent = MARGIN + heading.len();
    }

    /// One more in the list, and a gap behind it; in columns that are `width` wide.
    pub fn item(&mut self, width: usize, text: fmt::Arguments) {
        self.items += 1;
        if self.items <= MOST_ITEMS {
            self.add(width, &text.to_string());
        }
    }

    pub fn word(&mut self, text: &str) {
        self.item(0, format_args!("{text}"));
    }

    /// Whether further items are only counted.
    pub fn is_full(&self) -> bool {
        self.items >= MOST_ITEMS
    }

    /// The line for what a list has more than is shown.
    pub fn more(&mut self, count: usize) {
        if count > 0 {
            self.line(format_args!("... and {count} more"));
        }
    }

    /// Ends the last part. The page.
    pub fn finished(mut self) -> String {
        self.end();
        self.text
    }

    fn add(&mut self, width: usize, text: &str) {
        let mut at = length(&self.line);
        if at > self.indent && at + length(text) > WIDTH {
            self.flush();
            self.fill(self.indent);
            at = self.indent;
        }
        self.line.push_str(text);
        self.line.push(' ');
        self.fill(at + width);
    }

    /// Ends the line, and the list.
    fn end(&mut self) {
        if self.items > MOST_ITEMS {
            self.add(0, &format!("... and {} more", self.items - MOST_ITEMS));
        }
        self.flush();
        (self.indent, self.items) = (0, 0);
    }

    fn fill(&mut self, column: usize) {
        for _ in length(&self.line)..column {
            self.line.push(' ');
        }
    }

    /// The line goes on the page, cut at the edge.
    fn flush(&mut self) {
        let line = self.line.trim_end_matches(' ');
        if !line.is_empty() {
            let (keep, end) = if length(line) > WIDTH { (WIDTH - 3, "...\n") } else { (WIDTH, "\n") };
            self.text.extend(line.chars().take(keep));
            self.text.push_str(end);
        }
        self.line.clear();
    }
}

/// In characters.
fn length(text: &str) -> usize {
    text.chars().count()
}

/// The lines before a row of a tree, given the depths of it and of those below, in preorder: `|- ` where a sibling
/// comes further down, else `` `- ``.
pub fn branch(depths: &[usize]) -> String {
    let [own, below @ ..] = depths else { return String::new() };
    let own = (*own).min(DEEPEST);
    let mut lines = String::new();
    for level in 1..=own {
        // The next row that is not further to the right: does it belong to the same parent?
        let next = below.iter().map(|depth| (*depth).min(DEEPEST)).find(|depth| *depth <= level);
        lines.push_str(match (level == own, next == Some(level)) {
            (true, true) => "|- ",
            (true, false) => "`- ",
            (false, true) => "|  ",
            (false, false) => "   ",
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branches(depths: &[usize]) -> Vec<String> {
        (0..depths.len()).map(|row| branch(&depths[row..])).collect()
    }

    #[test]
    fn branches_reach_down_to_the_last_sibling() {
        assert_eq!(branches(&[0, 1, 2, 2, 1]), ["", "|- ", "|  |- ", "|  `- ", "`- "]);
        assert_eq!(branches(&[0, 1, 2, 1, 2]), ["", "|- ", "|  `- ", "`- ", "   `- "]);
        assert_eq!(branches(&[1000])[0].len(), 48);
        assert_eq!(branch(&[]), "");
    }

    #[test]
    fn a_line_is_cut_at_the_edge() {
        let mut page = Page::default();
        page.part("X");
        page.line(format_args!("{}", "ü".repeat(500)));
        page.line(format_args!("{}", "ü".repeat(WIDTH - MARGIN)));
        let text = page.finished();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| length(line) == WIDTH));
        assert!(lines[0].ends_with("ü...") && lines[1].ends_with("üüü"));
    }

    #[test]
    fn a_list_is_wrapped_and_counted() {
        let mut page = Page::default();
        page.part("X");
        page.list("y ");
        for i in 0..25 {
            assert_eq!(page.is_full(), i >= 20);
            page.item(10, format_args!("item{i}"));
        }
        page.line(format_args!("z"));
        page.more(0);
        page.more(3);
        let text = page.finished();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("X           y item0     item1     "));
        assert!(lines.iter().all(|line| line.len() <= WIDTH) && lines[2].ends_with("item19    ... and 5 more"));
        assert_eq!(lines[3..], ["            z", "            ... and 3 more"]);
    }
}
