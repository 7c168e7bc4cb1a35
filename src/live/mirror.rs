//! Runs a program in a terminal of its own, which all consoles show and any of them types into.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, OptionalActions, tcgetattr, tcsetattr, tcsetwinsize};

use super::consoles::{Consoles, timespec};
use crate::error::{Context as _, Result};

const DOING: &str = "open a terminal for the program";
/// How often the program is looked after where nothing happens.
const LOOK: Duration = Duration::from_millis(250);
/// How long after its end what it has left running is listened to.
const LEFT_RUNNING: Duration = Duration::from_secs(2);
/// How long that may take to end when it is told to.
const ENDING: Duration = Duration::from_millis(500);
const ENDED: &str = "\n[a program that was left running in the background was ended]\n";
/// More than a terminal holds: what comes then is written by somebody who was not ended.
const MOST_HELD: usize = 128 << 10;
/// Keys typed that the program has not read: more are dropped.
const MOST_TYPED: usize = 4096;
/// How long the rest of a key's sequence is waited for: a slow line brings one byte after the other, and its first alone is
/// another key.
const SEQUENCE: Duration = Duration::from_millis(60);
/// What a line at `landmarks` begins with that is no landmark but a request to whoever runs the program.
const WANT: &str = "WANT ";

/// How a program has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// What it has asked for, in its words.
    pub(super) wants: Vec<String>,
}

/// Runs the command to its end; what it writes goes to all consoles, what is typed on any to it, and each line that
/// arrives at `landmarks` becomes a landmark, or is a request. What it has left running in the background is ended soon after: it would
/// hold up all that follows, and keep the medium from being unmounted.
///
/// # Errors
/// It cannot be started. However it ends, that is its status.
pub(super) fn run(consoles: &mut Consoles, mut command: Command, landmarks: &File) -> Result<Ended> {
    let (master, slave) = terminal(consoles)?;
    let other = || slave.try_clone().doing(DOING);
    command.stdin(Stdio::from(other()?)).stdout(Stdio::from(other()?)).stderr(Stdio::from(other()?));
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().doing(format!("start {name}"))?;
    // Only the program may hold the other end, or its end would not be seen.
    drop((command, slave));
    spare_ourselves(&child);
    let mut running = Running {
        child,
        master: File::from(master),
        landmarks,
        line: Vec::new(),
        wants: Vec::new(),
        typed: Vec::new(),
        typed_at: Instant::now(),
        shown: 0,
    };
    let status = running.mirror(consoles)?;
    Ok(Ended { status, wants: running.wants })
}

fn terminal(consoles: &Consoles) -> Result<(OwnedFd, OwnedFd)> {
    let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&master)?;
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        tcsetwinsize(&slave, consoles.size())?;
        let mut modes = tcgetattr(&slave)?;
        // So a program that draws knows how much it can send.
        if let Some(speed) = consoles.speed() {
            modes.set_speed(speed)?;
        }
        // Rubbing out takes a character, not a byte.
        modes.input_modes |= InputModes::IUTF8;
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok((master, slave))
    };
    open().map_err(std::io::Error::from).doing(DOING)
}

/// Where memory runs out the program ends, not we who tell of it.
fn spare_ourselves(child: &Child) {
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "500");
}

struct Running<'a> {
    child: Child,
    master: File,
    landmarks: &'a File,
    /// The landmark that has arrived so far.
    line: Vec<u8>,
    /// What was asked for.
    wants: Vec<String>,
    /// What was typed and not taken yet.
    typed: Vec<u8>,
    /// When the last of it was.
    typed_at: Instant,
    /// How much was passed on.
    shown: usize,
}

impl Running<'_> {
    fn mirror(&mut self, consoles: &mut Consoles) -> Result<ExitStatus> {
        let mut ended = None;
        let mut is_open = true;
        let mut end: Option<Instant> = None;
        // What may still come once those left running were ended.
        let mut held = None;
        loop {
            consoles.push();
            if !consoles.is_behind() {
                is_open = is_open && self.show(consoles);
            }
            self.tell(consoles);
            if consoles.takes_again() {
                self.redraw();
            }
            let typed = consoles.typed();
            if !typed.is_empty() {
                self.typed_at = Instant::now();
            }
            let room = MOST_TYPED.saturating_sub(self.typed.len());
            self.typed.extend(typed.into_iter().take(room));
            self.feed();
            if ended.is_some()
                && !consoles.is_behind()
                && !(is_open && self.show(consoles) && self.has_more())
            {
                // What it told last is there by now.
                self.tell(consoles);
                break;
            }
            if ended.is_none() {
                ended = self.child.try_wait().doing("wait for the program")?;
                end = ended.map(|_| Instant::now());
            }
            if held.is_none() && end.is_some_and(|end| end.elapsed() >= LEFT_RUNNING) {
                if self.end_those_left() {
                    consoles.say(ENDED);
                }
                held = Some(self.shown.saturating_add(MOST_HELD));
            }
            if held.is_some_and(|held| self.shown >= held) {
                consoles.say("\n[cut here: a program that was left running writes on]\n");
                break;
            }
            if ended.is_none() {
                self.wait(consoles, is_open);
            } else if consoles.is_behind() {
                consoles.wait(LOOK);
            }
        }
        if held.is_none() && self.end_those_left() {
            consoles.say(ENDED);
        }
        consoles.leave_screens();
        consoles.drain();
        match ended {
            Some(status) => Ok(status),
            None => self.child.wait().doing("wait for the program"),
        }
    }

    /// Has a program that draws draw all of it anew: that is what a change of the terminal's size means to it.
    fn redraw(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::WINCH);
    }

    /// Ends what the program has left running: the session that it led. True: there was something.
    fn end_those_left(&self) -> bool {
        let group = Pid::from_child(&self.child);
        let begun = Instant::now();
        // Gone by itself, or by the kernel's word at its leader's end.
        while kill_process_group(group, Signal::HUP).is_ok() {
            if begun.elapsed() >= ENDING {
                return kill_process_group(group, Signal::KILL).is_ok();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Passes on what the program has written. False: the last to hold its terminal is gone.
    fn show(&mut self, consoles: &mut Consoles) -> bool {
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.shown = self.shown.saturating_add(count);
                consoles.text(bytes.get(..count).unwrap_or_default());
                consoles.push();
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn has_more(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        let found = poll(&mut polled, timespec(Duration::ZERO).as_ref());
        found.is_ok_and(|count| count > 0) && polled.iter().any(|fd| fd.revents().contains(PollFlags::IN))
    }

    fn tell(&mut self, consoles: &mut Consoles) {
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = self.landmarks.read(&mut bytes) {
            for &byte in bytes.get(..count).unwrap_or_default() {
                if byte == b'\n' {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                    match line.strip_prefix(WANT) {
                        Some(want) => self.wants.push(want.trim().to_owned()),
                        None => consoles.landmark(&line),
                    }
                } else {
                    self.line.push(byte);
                }
            }
        }
    }

    /// How much of what was typed can be passed on: a sequence that has begun is held for a moment.
    fn whole(&self) -> usize {
        if self.typed_at.elapsed() >= SEQUENCE {
            return self.typed.len();
        }
        let begun = begun_sequence(&self.typed);
        self.typed.len() - begun
    }

    fn feed(&mut self) {
        loop {
            let whole = self.whole();
            let Some(bytes) = self.typed.get(..whole).filter(|bytes| !bytes.is_empty()) else { break };
            match self.master.write(bytes) {
                Ok(taken @ 1..) => drop(self.typed.drain(..taken)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
    }

    fn wait(&self, consoles: &Consoles, is_open: bool) {
        let mut polled = consoles.polled();
        polled.push(PollFd::new(self.landmarks, PollFlags::IN));
        let mut wants = PollFlags::empty();
        wants.set(PollFlags::IN, !consoles.is_behind());
        wants.set(PollFlags::OUT, self.whole() > 0);
        let limit = if self.typed.is_empty() { LOOK } else { SEQUENCE };
        // A terminal that nobody holds any more would be reported for ever.
        if is_open && !wants.is_empty() {
            polled.push(PollFd::from_borrowed_fd(self.master.as_fd(), wants));
        }
        let _ = poll(&mut polled, timespec(limit).as_ref());
    }
}

/// How many of the last bytes typed are a key's sequence that has not come to its end: `ESC`, `ESC [` with what may stand
/// before the last letter, `ESC O`.
fn begun_sequence(typed: &[u8]) -> usize {
    let Some(from) = typed.iter().rposition(|&byte| byte == 0x1b) else { return 0 };
    match typed.get(from + 1..).unwrap_or_default() {
        [] | [b'O'] => typed.len() - from,
        [b'[', rest @ ..] if rest.iter().all(|byte| (0x20..0x40).contains(byte) || *byte == b'[') => {
            typed.len() - from
        }
        _ => 0,
    }
}
