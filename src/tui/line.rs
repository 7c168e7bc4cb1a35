//! How much the terminal's line carries. What is drawn must not queue up behind a slow one: keys would be answered late,
//! and what is shown would be long past.

use std::cell::Cell;
use std::io::{Stdout, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::termios::tcgetattr;

/// Bits on a serial line for one byte: eight, one in front, one behind.
const BITS: u32 = 10;
/// What a terminal claims that is no line at all; faster ones carry a whole screen in half a second.
const FAST: u32 = 38_400;

/// Standard output, which counts what is written to it.
pub(super) struct Counted {
    out: Stdout,
    bytes: Rc<Cell<u32>>,
}

/// When the line has carried what was written.
pub(super) struct Line {
    /// Bytes a second, where they are few.
    rate: Option<u32>,
    /// Written since it was last looked at.
    bytes: Rc<Cell<u32>>,
    free: Option<Instant>,
}

/// Standard output and the line behind it.
pub(super) fn open() -> (Counted, Line) {
    let out = std::io::stdout();
    let speed = tcgetattr(&out).map_or(0, |modes| modes.output_speed());
    let bytes = Rc::new(Cell::new(0));
    let line = Line::new(speed, Rc::clone(&bytes));
    (Counted { out, bytes }, line)
}

impl Line {
    fn new(speed: u32, bytes: Rc<Cell<u32>>) -> Self {
        let rate = (BITS..FAST).contains(&speed).then_some(speed / BITS);
        Self { rate, bytes, free: None }
    }

    /// How long it still carries what was written up to now.
    pub(super) fn busy(&mut self, now: Instant) -> Duration {
        let written = self.bytes.take();
        let Some(rate) = self.rate else { return Duration::ZERO };
        let from = self.free.map_or(now, |free| free.max(now));
        let free = from + Duration::from_secs(1) * written / rate;
        self.free = Some(free);
        free - now
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.bytes.set(self.bytes.get().saturating_add(u32::try_from(taken).unwrap_or(u32::MAX)));
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_is_busy_as_long_as_it_carries_and_a_fast_one_never() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let bytes = Rc::new(Cell::new(0));
        let mut line = Line::new(9600, Rc::clone(&bytes));
        assert_eq!(line.busy(at(0)), Duration::ZERO);
        bytes.set(1920);
        assert_eq!(line.busy(at(0)), Duration::from_secs(2));
        // Nothing more is written; then something while it still carries.
        assert_eq!(line.busy(at(1)), Duration::from_secs(1));
        bytes.set(960);
        assert_eq!(line.busy(at(1)), Duration::from_secs(2));
        assert_eq!(line.busy(at(9)), Duration::ZERO);
        bytes.set(960);
        assert_eq!(line.busy(at(9)), Duration::from_secs(1));
        for speed in [0, 38_400, 115_200] {
            let mut line = Line::new(speed, Rc::clone(&bytes));
            bytes.set(100_000);
            assert_eq!(line.busy(at(0)), Duration::ZERO, "{speed}");
        }
    }
}
