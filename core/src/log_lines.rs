//! Our own log lines, until the host can take them: its threads may not be there, or must not be waited for. On neither walk.

use log::{Level, Record};
use std::collections::VecDeque;

/// Lines that wait at most.
const MAX_WAITING: usize = 100;

/// Lines that wait. Of those that find no room it is told how many they were.
#[derive(Debug, Default)]
pub struct LogLines {
    lines: VecDeque<(Level, String)>,
    lost: u64,
}

impl LogLines {
    /// A line more; false if there is no room.
    pub fn push(&mut self, level: Level, text: &str) -> bool {
        let fits = self.lines.len() < MAX_WAITING;
        if fits {
            self.lines.push_back((level, text.to_owned()));
        } else {
            self.lost += 1;
        }
        fits
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that wait, and a last one if some were lost.
    pub fn take(&mut self) -> Vec<(Level, String)> {
        let mut lines: Vec<_> = self.lines.drain(..).collect();
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            lines.push((Level::Warn, format!("{lost} more lines were lost")));
        }
        lines
    }
}

/// The text of a record of ours: who shows it says whose it is.
pub fn text(record: &Record<'_>) -> String {
    let text = record.args().to_string();
    text.strip_prefix("stroboscope: ").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{LogLines, MAX_WAITING};
    use log::Level;

    #[test]
    fn what_finds_no_room_is_told() {
        let mut lines = LogLines::default();
        for _ in 0..MAX_WAITING {
            assert!(lines.push(Level::Info, "one"));
        }
        assert!(!lines.push(Level::Error, "two") && !lines.push(Level::Error, "three"));
        let taken = lines.take();
        assert_eq!(taken.len(), MAX_WAITING + 1);
        assert_eq!(taken.last().unwrap(), &(Level::Warn, "2 more lines were lost".to_owned()));
        assert!(lines.is_empty() && lines.take().is_empty());
    }
}
