//! Somebody who sits at a machine: sees what a terminal on its serial line shows, or its screen, and presses keys.
//!
//! The terminal is emulated by `vt100`, which is not ours: what it shows is what arrives, wherever sequences were cut, so a
//! garbled screen is seen as one. QEMU sends over its serial line as fast as it can; here it carries so many baud.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::machine::{Guest, LIMIT, Machine, Place, TOO_LATE, readable};

/// How long one thing is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bits on the line for one byte: eight, one in front, one behind.
const BITS: u32 = 10;

/// What has come over the line.
struct Seen {
    terminal: vt100::Parser,
    bytes: Vec<u8>,
    is_over: bool,
}

impl Seen {
    fn new() -> Self {
        let size = |length| NonZero::new(length).unwrap();
        Self { terminal: vt100::Parser::new(size(24), size(80), 0), bytes: Vec::new(), is_over: false }
    }

    fn shown(&self) -> String {
        self.terminal.screen().contents()
    }

    fn serial(&self) -> String {
        readable(&String::from_utf8_lossy(&self.bytes))
    }
}

/// Words as they are read, wherever a line ends.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Shared = Arc<(Mutex<Seen>, Condvar)>;

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.0.lock().unwrap_or_else(|e| e.into_inner())
}

/// A machine that is on.
pub(crate) struct Desk {
    command: String,
    child: Child,
    line: UnixStream,
    monitor: UnixStream,
    seen: Shared,
    /// Keys are those of the machine, not those of the terminal.
    pub(crate) is_at_keyboard: bool,
    begun: Instant,
    /// Keys pressed so far.
    pub(crate) pressed: usize,
    told: Vec<String>,
    folder: tempfile::TempDir,
    _place: Place,
}

impl Machine {
    /// Switches it on; `at_menu` does what somebody does before Deblast is ready. The line carries so many baud.
    #[track_caller]
    pub(crate) fn sits(mut self, baud: u32, at_menu: impl Fn(&mut Desk)) -> Desk {
        let folder = self.folder.path();
        let [line, monitor] = ["line", "monitor"].map(|name| folder.join(name));
        self.command.arg("--serial").arg(format!("socket:{}", line.display()));
        self.command.arg("--monitor").arg(&monitor).args(["--timeout", LIMIT]);
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut place = Place::wait();
        for attempt in 1.. {
            for socket in [&line, &monitor] {
                let _ = std::fs::remove_file(socket);
            }
            let mut desk = Desk::new(&mut self.command, [&line, &monitor], baud, place);
            at_menu(&mut desk);
            let ready = desk.until_either("DEBLAST READY", TOO_LATE);
            if ready {
                desk.folder = self.folder;
                return desk;
            }
            assert!(attempt < 4, "the emulated timer came too late each time");
            println!("attempt {attempt}: the emulated timer came too late; once more");
            drop(desk);
            place = Place::wait();
        }
        unreachable!("the last attempt returns")
    }
}

impl Desk {
    fn new(command: &mut Command, [line, monitor]: [&Path; 2], baud: u32, place: Place) -> Self {
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut connect = |path: &Path| loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if begun.elapsed() < Duration::from_secs(60) => {
                    assert!(child.try_wait().unwrap().is_none(), "the machine did not start: {command:?}");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => panic!("{}: {e}", path.display()),
            }
        };
        let (line, monitor) = (connect(line), connect(monitor));
        let seen: Shared = Arc::new((Mutex::new(Seen::new()), Condvar::new()));
        watch(line.try_clone().unwrap(), Arc::clone(&seen), baud);
        Self {
            command: format!("{command:?}"),
            child,
            line,
            monitor,
            seen,
            is_at_keyboard: false,
            begun,
            pressed: 0,
            told: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            _place: place,
        }
    }

    /// What has come of it so far.
    pub(crate) fn so_far(&self) -> Guest {
        let seen = lock(&self.seen);
        let said = format!("{}\nthe terminal shows:\n{}\n", self.told.join("\n"), seen.shown());
        Guest { command: self.command.clone(), came_true: true, said, serial: seen.serial() }
    }

    /// What the terminal shows now; a blank that was drawn and one that was not are the same to see.
    pub(crate) fn shown(&self) -> String {
        let shown = lock(&self.seen).shown();
        shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Bytes that have come over the line.
    pub(crate) fn received(&self) -> usize {
        lock(&self.seen).bytes.len()
    }

    fn tell(&mut self, what: &str) {
        let line = format!("{:.1} s: {what}", self.begun.elapsed().as_secs_f32());
        println!("{line}");
        self.told.push(line);
    }

    /// Waits until that holds; how long it took.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Seen) -> bool) -> Duration {
        let start = Instant::now();
        let mut seen = lock(&self.seen);
        loop {
            if holds(&seen) {
                break;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            if seen.is_over || left.is_zero() {
                let is_over = seen.is_over;
                drop(seen);
                let why = if is_over { "the machine is off" } else { "not in time" };
                self.so_far().fail(&format!("expected {what}; {why}"));
            }
            let step = left.min(Duration::from_millis(200));
            seen = self.seen.1.wait_timeout(seen, step).unwrap_or_else(|e| e.into_inner()).0;
        }
        drop(seen);
        self.tell(what);
        start.elapsed()
    }

    /// Waits until the terminal shows these words; how long it took.
    #[track_caller]
    pub(crate) fn shows(&mut self, words: &str) -> Duration {
        self.until(words, |seen| unbroken(&seen.shown()).contains(words))
    }

    /// Waits until the terminal shows these words no more.
    #[track_caller]
    pub(crate) fn shows_no_more(&mut self, words: &str) -> Duration {
        self.until(&format!("no more: {words}"), |seen| !unbroken(&seen.shown()).contains(words))
    }

    /// Waits until a line has come that begins with that, and ends with this.
    #[track_caller]
    pub(crate) fn hears(&mut self, begin: &str, end: &str) -> Duration {
        self.until(&format!("{begin} ... {end}"), |seen| {
            seen.serial().lines().any(|line| line.starts_with(begin) && line.ends_with(end))
        })
    }

    /// Waits until so many landmarks begin like that.
    #[track_caller]
    pub(crate) fn counts(&mut self, begin: &str, count: usize) -> Duration {
        self.until(&format!("{count} times {begin}"), |seen| {
            seen.serial().lines().filter(|line| line.starts_with(begin)).count() >= count
        })
    }

    /// Waits until one of them has come. True: the first one.
    #[track_caller]
    fn until_either(&mut self, good: &str, bad: &str) -> bool {
        self.until(&format!("{good}, or {bad}"), |seen| {
            let serial = seen.serial();
            serial.contains(good) || serial.contains(bad)
        });
        lock(&self.seen).serial().contains(good)
    }

    /// Presses a key: of the terminal, or of the machine's own keyboard.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.tell(&format!("{key} is pressed"));
        self.pressed += 1;
        let (sent, board) = match key {
            "Enter" => ("\r", "ret"),
            "Down" => ("\x1b[B", "down"),
            "Ctrl-L" => ("\x0c", "ctrl-l"),
            "?" => ("?", "shift-slash"),
            key => (key, key),
        };
        if self.is_at_keyboard {
            self.orders(&format!("sendkey {board}"));
        } else {
            self.line.write_all(sent.as_bytes()).unwrap();
        }
        // A key of the keyboard is held for a tenth of a second; and what comes closer together is typed by nobody.
        std::thread::sleep(Duration::from_millis(300));
        self
    }

    /// Tells QEMU's monitor.
    pub(crate) fn orders(&mut self, command: &str) {
        writeln!(self.monitor, "{command}").unwrap();
    }

    /// A picture of the screen; kept under that name where `DEBLAST_SCREENS` names a folder.
    #[track_caller]
    pub(crate) fn pictures(&mut self, name: &str) -> Vec<u8> {
        // What the terminal has is on the screen as well, but the emulated display is drawn in its own time.
        std::thread::sleep(Duration::from_secs(2));
        let path = self.folder.path().join(name).with_extension("png");
        self.orders(&format!("screendump \"{}\" -f png", path.display()));
        let start = Instant::now();
        let picture = loop {
            let picture = std::fs::read(&path).unwrap_or_default();
            // Whole when its last chunk is there.
            if picture.ends_with(b"IEND\xae\x42\x60\x82") {
                break picture;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no picture of the screen");
            std::thread::sleep(Duration::from_millis(100));
        };
        if let Some(kept) = std::env::var_os("DEBLAST_SCREENS") {
            std::fs::write(Path::new(&kept).join(format!("{name}.png")), &picture).unwrap();
        }
        picture
    }

    /// Waits until the machine has switched itself off.
    #[track_caller]
    pub(crate) fn goes_off(mut self) -> Guest {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                let start = Instant::now();
                while !lock(&self.seen).is_over && start.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                let mut guest = self.so_far();
                guest.came_true = status.success();
                guest.require(status.success(), "that the machine has switched itself off");
                return guest;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.so_far().fail("expected the machine to switch itself off");
    }

    /// Pulls its plug.
    #[track_caller]
    pub(crate) fn loses_power(mut self) -> Guest {
        self.orders("quit");
        let _ = self.child.wait();
        self.so_far()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = writeln!(self.monitor, "quit");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // A signal that run-vm passes on to the machine.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Feeds the terminal with what comes, no sooner than the line would have carried it.
fn watch(mut line: UnixStream, seen: Shared, baud: u32) {
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        // Pieces of a twentieth of a second.
        let most = (baud / BITS / 20).max(1) as usize;
        let mut free = Instant::now();
        while let Ok(count @ 1..) = line.read(&mut bytes[..most]) {
            let now = Instant::now();
            free = free.max(now) + Duration::from_secs(1) * u32::try_from(count).unwrap() * BITS / baud;
            std::thread::sleep(free - now);
            let mut seen_now = lock(&seen);
            seen_now.bytes.extend_from_slice(&bytes[..count]);
            seen_now.terminal.process(&bytes[..count]);
            drop(seen_now);
            seen.1.notify_all();
        }
        lock(&seen).is_over = true;
        seen.1.notify_all();
    });
}
