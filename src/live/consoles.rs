//! The screen and the serial lines: opened so that none can hold up the others, raw while we have them, restored after.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, Termios, Winsize, tcdrain, tcflush, tcgetattr,
    tcgetwinsize, tcsetattr,
};

use super::lines::Lines;

/// A program that is mirrored waits while this much is queued for one console.
const HIGH: usize = 16 << 10;
/// A console that takes nothing for so long holds nobody up any more: its text is left out until it takes bytes again.
/// Its landmarks are kept.
const STALLED: Duration = Duration::from_secs(10);
/// What a driver holds takes 4.3 seconds at 9600 baud.
const SENT: Duration = Duration::from_secs(5);
/// Size of a terminal on a serial line, which cannot tell.
const SERIAL: (u16, u16) = (80, 24);
/// Its last row is kept for landmarks: they would tear what a program draws there.
const KEPT: u16 = 1;
/// What the kernel's own serial consoles use here.
const SPEED: u32 = 115_200;

/// One console.
pub(super) struct Console {
    file: File,
    lines: Lines,
    is_serial: bool,
    /// Bits a second of a serial line.
    speed: Option<u32>,
    before: Termios,
    /// When it last took bytes, or had none to take.
    moved: Instant,
    /// Whether text was left out.
    is_skipping: bool,
    /// Whether something is missing from what is drawn on it.
    is_torn: bool,
}

/// All consoles that are there.
pub(super) struct Consoles(pub(super) Vec<Console>);

impl Console {
    /// Opens one; none where there is no such terminal.
    fn open(folder: &Path, name: &str, is_kernels: bool) -> Option<Self> {
        // Without waiting for a modem's carrier, and without becoming anybody's controlling terminal.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let flags = i32::try_from(flags).ok()?;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(folder.join(name)).ok()?;
        let before = tcgetattr(&file).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        // tty0 and tty1 are screens, ttyS0, ttyUSB0, ttyAMA0 and hvc0 lines.
        let is_serial =
            !name.strip_prefix("tty").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if is_serial && !is_kernels {
            raw.set_speed(SPEED).ok()?;
        }
        tcsetattr(&file, OptionalActions::Now, &raw).ok()?;
        let speed = is_serial.then(|| raw.output_speed()).filter(|speed| *speed > 0);
        let mut lines = Lines::new(SERIAL.1);
        if !is_serial {
            // Line drawing is sent in UTF-8.
            lines.text(b"\x1b%G");
        }
        let moved = Instant::now();
        Some(Self { file, lines, is_serial, speed, before, moved, is_skipping: false, is_torn: false })
    }

    /// Writes what it takes now. False: it is gone.
    fn push(&mut self) -> bool {
        while !self.lines.queue.is_empty() {
            let (piece, _) = self.lines.queue.as_slices();
            match self.file.write(piece) {
                Ok(0) => return false,
                Ok(taken) => {
                    self.lines.queue.drain(..taken);
                    self.moved = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.moved = Instant::now();
        true
    }

    /// Whether a mirrored program is to wait for it.
    fn is_behind(&self) -> bool {
        self.lines.queue.len() > HIGH && self.moved.elapsed() < STALLED
    }

    fn text(&mut self, bytes: &[u8]) {
        if self.lines.queue.len() > HIGH && self.moved.elapsed() >= STALLED {
            self.is_skipping = true;
            return;
        }
        if std::mem::take(&mut self.is_skipping) {
            // Words would only tear what is drawn some more.
            self.is_torn = self.lines.is_screen;
            if !self.is_torn {
                self.lines.text(b"\r\n[this line was too slow: something is left out here]\r\n");
            }
        }
        self.lines.text(bytes);
    }
}

impl Consoles {
    /// Opens those of the names that exist below `folder`; `kernels` are those that the kernel has set up for itself.
    pub(super) fn open(folder: &Path, names: &[String], kernels: &[String]) -> Self {
        let open = |name: &String| Console::open(folder, name, kernels.contains(name));
        Self(names.iter().filter_map(open).collect())
    }

    /// The speed of the slowest serial line.
    pub(super) fn speed(&self) -> Option<u32> {
        self.0.iter().filter_map(|console| console.speed).min()
    }

    /// Whether one takes bytes again that has missed a part of what is drawn. Tells it once.
    pub(super) fn takes_again(&mut self) -> bool {
        // Each is told, not only the first.
        let torn = self.0.iter_mut().filter_map(|console| std::mem::take(&mut console.is_torn).then_some(()));
        torn.count() > 0
    }

    /// Brings lines of text back where a program has drawn and has not brought them back itself.
    pub(super) fn leave_screens(&mut self) {
        self.0.iter_mut().for_each(|console| console.lines.leave_screen());
    }

    /// How large a terminal all of them can show whole.
    pub(super) fn size(&self) -> Winsize {
        let sizes = self.0.iter().map(|console| match tcgetwinsize(&console.file) {
            Ok(size) if !console.is_serial && size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col, size.ws_row)
            }
            _ => (SERIAL.0, SERIAL.1 - KEPT),
        });
        let (columns, rows) = sizes.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap_or(SERIAL);
        let (ws_col, ws_row) = (columns.max(SERIAL.0), rows.max(SERIAL.1 - KEPT));
        Winsize { ws_col, ws_row, ws_xpixel: 0, ws_ypixel: 0 }
    }

    /// Queues bytes for all, as a terminal program would send them.
    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|console| console.text(bytes));
    }

    /// Shows words of our own, `\n` at the ends of lines.
    pub(super) fn say(&mut self, words: &str) {
        self.text(words.replace('\n', "\r\n").as_bytes());
        self.push();
    }

    /// Queues a landmark for the serial lines.
    pub(super) fn landmark(&mut self, line: &str) {
        self.0
            .iter_mut()
            .filter(|console| console.is_serial)
            .for_each(|console| console.lines.landmark(line));
        self.push();
    }

    /// Whether a mirrored program is to wait until a console has caught up.
    pub(super) fn is_behind(&self) -> bool {
        self.0.iter().any(Console::is_behind)
    }

    /// Writes what the consoles take now; one that fails is dropped.
    pub(super) fn push(&mut self) {
        self.0.retain_mut(Console::push);
    }

    /// What each waits for.
    pub(super) fn polled(&self) -> Vec<PollFd<'_>> {
        let wants = |console: &Console| {
            if console.lines.queue.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
        };
        self.0.iter().map(|console| PollFd::new(&console.file, wants(console))).collect()
    }

    /// What was typed on any of them.
    pub(super) fn typed(&mut self) -> Vec<u8> {
        let mut typed = Vec::new();
        self.0.retain_mut(|console| {
            let mut bytes = [0; 512];
            match console.file.read(&mut bytes) {
                // Raw and without waiting, a terminal with nothing typed would block; nothing at all is its end.
                Ok(0) => false,
                Ok(count) => {
                    typed.extend_from_slice(bytes.get(..count).unwrap_or_default());
                    true
                }
                Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            }
        });
        typed
    }

    /// Waits until one of them can be read or written, at most this long.
    pub(super) fn wait(&self, limit: Duration) {
        let mut polled = self.polled();
        // Interrupted or not: whoever calls looks again.
        let _ = poll(&mut polled, timespec(limit).as_ref());
    }

    /// Writes all that is queued; gives up on a console that takes nothing for long.
    pub(super) fn drain(&mut self) {
        loop {
            self.push();
            let waiting =
                |console: &Console| !console.lines.queue.is_empty() && console.moved.elapsed() < STALLED;
            if !self.0.iter().any(waiting) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes all that is queued and waits until it is on the line: what the driver still holds would be lost with the
    /// power. What a line does not take in time is thrown away, or closing it would wait on.
    pub(super) fn send(&mut self) {
        self.drain();
        let sending = self.0.iter().map(|console| {
            let file = console.file.try_clone().ok().filter(|_| console.lines.queue.is_empty());
            // It knows no limit itself.
            file.map(|file| {
                in_background(move || {
                    let _ = tcdrain(&file);
                })
            })
        });
        let sending: Vec<_> = sending.collect();
        let start = Instant::now();
        for (console, sent) in self.0.iter().zip(sending) {
            let left = SENT.saturating_sub(start.elapsed());
            if sent.is_none_or(|sent| sent.recv_timeout(left).is_err()) {
                let _ = tcflush(&console.file, QueueSelector::OFlush);
            }
        }
    }

    /// Waits until a key is pressed on any of them, no longer than that.
    pub(super) fn wait_for_key(&mut self, limit: Duration) {
        let start = Instant::now();
        loop {
            self.push();
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || self.0.is_empty() || !self.typed().is_empty() {
                return;
            }
            self.wait(left);
        }
    }

    /// Asks all of them one question; the line that is typed on any of them answers it.
    pub(super) fn ask(&mut self, question: &str) -> String {
        self.say(question);
        let mut line = String::new();
        // Nobody can answer where there is no console.
        while !self.0.is_empty() {
            self.wait(Duration::from_secs(1));
            self.push();
            for byte in self.typed() {
                match byte {
                    b'\r' | b'\n' => {
                        self.say("\n");
                        return line.trim().to_owned();
                    }
                    0x08 | 0x7f if line.pop().is_some() => self.say("\x08 \x08"),
                    b' '..=b'~' if line.len() < 60 => {
                        line.push(char::from(byte));
                        self.say(&char::from(byte).to_string());
                    }
                    _ => {}
                }
            }
        }
        line
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        for console in &self.0 {
            let _ = tcsetattr(&console.file, OptionalActions::Now, &console.before);
        }
    }
}

/// Does this in a thread of its own; what is returned receives its end.
fn in_background(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        work();
        let _ = send.send(());
    });
    receive
}

/// A time limit as poll wants it.
pub(super) fn timespec(limit: Duration) -> Option<Timespec> {
    Timespec::try_from(limit).ok()
}
