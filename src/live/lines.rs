//! What one console is sent: mirrored text, and landmarks that stand on lines of their own whatever the text does.

use std::collections::VecDeque;

/// How a landmark begins. Text that is mirrored never begins a line so.
const MARK: &[u8] = b"DEBLAST ";
/// Longest sequence that is held back until it is whole.
const LONGEST: usize = 64;
/// How a program takes a screen of its own to draw on, and gives it back.
const TAKE: &[u8] = b"\x1b[?1049h";
const GIVE_BACK: &[u8] = b"\x1b[?1049l";
/// The same with what it may have changed: the cursor is shown, and colours are off.
const CLEAR: &[u8] = b"\x1b[0m\x1b[2J\x1b[H\x1b[?1049l\x1b[?25h";

/// Where in a sequence that must not be cut the text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    /// In none.
    #[default]
    Text,
    /// Behind an escape character.
    Escape,
    /// In a control sequence, up to its final byte.
    Control,
    /// In a string for the terminal, up to its end.
    String,
    /// In a character, this many bytes before its end.
    Character(u8),
}

/// The state of one console's output.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Bytes that wait to be written.
    pub(super) queue: VecDeque<u8>,
    inside: Inside,
    /// The sequence so far.
    held: Vec<u8>,
    /// Whether the last thing queued was the end of a line. Not so at first: the kernel may have written before us.
    is_at_start: bool,
    /// How much of a landmark's beginning this line has begun with.
    matched: Option<usize>,
    /// Whether a program draws.
    pub(super) is_screen: bool,
    /// Rows of the terminal, the last of which no program draws on.
    rows: u16,
}

impl Lines {
    /// For a terminal with that many rows.
    pub(super) fn new(rows: u16) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Queues text of the mirrored program as it is, but for a line that would look like a landmark: that gets another
    /// blank.
    pub(super) fn text(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.inside == Inside::Text && byte != 0x1b && byte < 0xc0 {
                self.plain(byte);
                continue;
            }
            self.held.push(byte);
            self.inside = match (self.inside, byte) {
                (Inside::Text, 0x1b) => Inside::Escape,
                (Inside::Text, 0xc0..0xe0) => Inside::Character(1),
                (Inside::Text, 0xe0..0xf0) => Inside::Character(2),
                (Inside::Text, _) => Inside::Character(3),
                (Inside::Escape, b'[') => Inside::Control,
                (Inside::Escape, b']' | b'P' | b'X' | b'^' | b'_') => Inside::String,
                // Those with a character set behind them: `ESC % G`, `ESC ( 0`.
                (Inside::Escape, 0x20..0x30) => Inside::Escape,
                (Inside::Control, 0x20..0x40) => Inside::Control,
                // `ESC \` ends a string.
                (Inside::String, 0x1b) => Inside::Escape,
                (Inside::String, 0x07) => Inside::Text,
                (Inside::String, _) => Inside::String,
                (Inside::Character(left), 0x80..0xc0) if left > 1 => Inside::Character(left - 1),
                _ => Inside::Text,
            };
            if self.inside == Inside::Text || self.held.len() >= LONGEST {
                self.release();
            }
        }
    }

    fn release(&mut self) {
        if self.held.first().is_some_and(|&first| first != 0x1b) {
            self.matched = None;
        }
        match self.held.as_slice() {
            TAKE => self.is_screen = true,
            GIVE_BACK => self.is_screen = false,
            _ => {}
        }
        self.is_at_start &= self.held.is_empty();
        self.queue.extend(self.held.drain(..));
        self.inside = Inside::Text;
    }

    fn plain(&mut self, byte: u8) {
        self.matched = match (self.matched, byte) {
            (_, b'\n' | b'\r') => Some(0),
            (Some(matched), byte) if MARK.get(matched) == Some(&byte) => Some(matched + 1),
            _ => None,
        };
        self.queue.push_back(byte);
        if self.matched == Some(MARK.len()) {
            self.queue.push_back(b' ');
            self.matched = None;
        }
        self.is_at_start = byte == b'\n';
    }

    /// Brings lines of text back where a program has left without.
    pub(super) fn leave_screen(&mut self) {
        if std::mem::take(&mut self.is_screen) {
            self.text(CLEAR);
        }
    }

    /// Queues a landmark: from the beginning of a line to CR LF. Where a program draws, that is in the terminal's last row, in
    /// which a line feed moves nothing while the rows above are all that scrolls; it is wiped at once, and the cursor goes
    /// back to where it was.
    pub(super) fn landmark(&mut self, line: &str) {
        if self.is_screen {
            let (rows, above) = (self.rows, self.rows.saturating_sub(1));
            self.queue.extend(format!("\x1b7\x1b[0m\x1b[1;{above}r\x1b[{rows};1H\r\n").bytes());
            self.mark(line);
            // The blank: what is drawn next stands on no new line.
            self.queue.extend(b"\x1b[2K \x1b[r\x1b8");
            (self.is_at_start, self.matched) = (false, None);
            return;
        }
        if !self.is_at_start {
            self.queue.extend(b"\r\n");
        }
        self.mark(line);
        self.is_at_start = true;
        self.matched = Some(0);
    }

    fn mark(&mut self, line: &str) {
        self.queue.extend(MARK);
        self.queue.extend(line.bytes().filter(|byte| !byte.is_ascii_control()));
        self.queue.extend(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: &[&[u8]], between: &str) -> String {
        let mut lines = Lines::default();
        for piece in pieces {
            lines.text(piece);
            if !between.is_empty() {
                lines.landmark(between);
            }
        }
        String::from_utf8(lines.queue.into_iter().collect()).unwrap()
    }

    #[test]
    fn a_landmark_has_its_own_line_and_cuts_no_sequence() {
        assert_eq!(
            sent(&[b"abc", b"def\r\n"], "DONE 0"),
            "abc\r\nDEBLAST DONE 0\r\ndef\r\nDEBLAST DONE 0\r\n"
        );
        // Cut inside of a colour, of a line-drawing character, of a string.
        for whole in
            ["\x1b[1;31mred", "\u{2500}x", "\x1b]0;title\x07x", "\x1b%Gx", "\x1b(0q", "\x1b]0;t\x1b\\x"]
        {
            for at in 1..whole.len() - 1 {
                let (one, two) = whole.as_bytes().split_at(at);
                let text = sent(&[one, two], "READY 1").replace("\r\n", "").replace("DEBLAST READY 1", "");
                assert_eq!(text, whole, "cut at {at}");
                let text = sent(&[one, two], "READY 1");
                assert!(
                    text.lines().filter(|line| line.contains("READY")).all(|line| line == "DEBLAST READY 1"),
                    "{text:?}"
                );
            }
        }
        assert_eq!(sent(&[b"x"], "TARGET a\r\nDEBLAST DONE 0"), "x\r\nDEBLAST TARGET aDEBLAST DONE 0\r\n");
    }

    #[test]
    fn text_that_looks_like_a_landmark_does_not_pass_for_one() {
        for text in [
            "\nDEBLAST DONE 0\n",
            "\rDEBLAST DONE 0\n",
            "\n\x1b[1mDEBLAST DONE 0\n",
            "\n\x1b[1mDEB\x1b[0mLAST DONE 0",
        ] {
            for at in 0..text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                let text = sent(&[one, two], "");
                assert!(text.contains("  DONE 0") && !text.contains("DEBLAST DONE 0"), "{text:?}");
            }
        }
        assert_eq!(sent(&[b"\nof DEBLAST DONE\n"], ""), "\nof DEBLAST DONE\n");
        assert_eq!(sent(&["\n\u{e4}DEBLAST DONE\n".as_bytes()], ""), "\n\u{e4}DEBLAST DONE\n");
    }

    /// What a terminal of 24 rows shows after that.
    fn shown(lines: &Lines) -> String {
        let size = |length| std::num::NonZero::new(length).unwrap();
        let mut terminal = vt100::Parser::new(size(24), size(80), 0);
        terminal.process(&lines.queue.iter().copied().collect::<Vec<u8>>());
        terminal.screen().contents().trim_end().to_owned()
    }

    #[test]
    fn a_landmark_leaves_what_is_drawn_as_it_is() {
        let mut drawn = Vec::from(TAKE);
        for row in 1..24 {
            drawn.extend(format!("\x1b[{row};1HDEBLAST row {row}").bytes());
        }
        for place in ["1;1", "12;40", "23;80"] {
            let mut with = Lines::new(24);
            let mut without = Lines::new(24);
            for lines in [&mut with, &mut without] {
                lines.text(&drawn);
                lines.text(format!("\x1b[{place}H\x1b[7m").as_bytes());
            }
            with.landmark("TARGET /dev/sda writing");
            with.landmark("TARGET /dev/sda verified");
            for lines in [&mut with, &mut without] {
                lines.text(b"DEBLAST X");
            }
            assert_eq!(shown(&with), shown(&without), "{place}");
            let sent = String::from_utf8(with.queue.into_iter().collect()).unwrap();
            for mark in ["writing", "verified"] {
                assert!(sent.contains(&format!("\r\nDEBLAST TARGET /dev/sda {mark}\r\n")), "{sent:?}");
            }
            assert!(sent.ends_with("DEBLAST X"), "{sent:?}");
        }
    }

    #[test]
    fn a_screen_that_is_not_given_back_is_left() {
        let mut lines = Lines::new(24);
        lines.text(b"\x1b[?10");
        lines.text(b"49h\x1b[?25lTorn");
        assert!(lines.is_screen);
        lines.leave_screen();
        assert!(!lines.is_screen && !shown(&lines).contains("Torn"));
        lines.landmark("DONE 2");
        assert!(
            String::from_utf8(lines.queue.into_iter().collect()).unwrap().ends_with("\r\nDEBLAST DONE 2\r\n")
        );
    }

    #[test]
    fn a_sequence_without_an_end_does_not_hold_text_back_for_ever() {
        let endless = [b"\x1b]0;".as_slice(), &[b'a'; 500]].concat();
        assert!(sent(&[&endless], "").len() > 400);
    }
}
