//! What the screens are drawn through: crossterm's backend, but for one thing. It is never asked where the cursor is.
//!
//! Only a terminal can tell that, over the line, and whoever reads a serial line may be a script: the answer would be
//! waited for, and its lack would end a run. Clearing the screen needs none, since each drawing begins by placing the cursor.

use std::io::{Result, Write};

use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};

pub(super) struct NeverAsking<W: Write>(CrosstermBackend<W>);

impl<W: Write> NeverAsking<W> {
    pub(super) fn new(output: W) -> Self {
        Self(CrosstermBackend::new(output))
    }
}

impl<W: Write> Backend for NeverAsking<W> {
    type Error = std::io::Error;

    fn draw<'a, I>(&mut self, content: I) -> Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.0.draw(content)
    }

    fn hide_cursor(&mut self) -> Result<()> {
        self.0.hide_cursor()
    }

    fn show_cursor(&mut self) -> Result<()> {
        self.0.show_cursor()
    }

    fn get_cursor_position(&mut self) -> Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<()> {
        self.0.set_cursor_position(position)
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn clear_region(&mut self, region: ClearType) -> Result<()> {
        self.0.clear_region(region)
    }

    fn size(&self) -> Result<Size> {
        self.0.size()
    }

    fn window_size(&mut self) -> Result<WindowSize> {
        self.0.window_size()
    }

    fn flush(&mut self) -> Result<()> {
        Backend::flush(&mut self.0)
    }
}
