//! What one console is sent: mirrored text, and landmarks that stand on lines of their own whatever the text does.

use std::collections::VecDeque;

/// How a landmark begins. Text that is mirrored never begins a line so.
const MARK: &[u8] = b"DEBLAST ";
/// Longest sequence that is held back until it is whole.
const LONGEST: usize = 64;

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
}

impl Lines {
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

    /// Queues a landmark: from the beginning of a line to CR LF.
    pub(super) fn landmark(&mut self, line: &str) {
        if !self.is_at_start {
            self.queue.extend(b"\r\n");
        }
        self.queue.extend(MARK);
        self.queue.extend(line.bytes().filter(|byte| !byte.is_ascii_control()));
        self.queue.extend(b"\r\n");
        self.is_at_start = true;
        self.matched = Some(0);
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

    #[test]
    fn a_sequence_without_an_end_does_not_hold_text_back_for_ever() {
        let endless = [b"\x1b]0;".as_slice(), &[b'a'; 500]].concat();
        assert!(sent(&[&endless], "").len() > 400);
    }
}
