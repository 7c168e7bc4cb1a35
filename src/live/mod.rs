//! The live image, as its init starts it: finds the DEBLAST medium, reads what is asked for, runs that on the screen and the
//! serial line alike, and leaves as asked.
//!
//! It decides nothing about a disk: it starts this same program as a technician would type it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode as FileMode, OFlags, mknodat};

use crate::cleanup::report_text::printable;
use crate::cli::configuration::{CONFIGURATION, End, Hooks, Mode, Wishes, words};
use crate::error::{Context as _, Error, Result};
use crate::volume::Roots;

mod consoles;
mod end;
mod lines;
mod medium;
mod mirror;
mod parameters;
mod program;
mod setup;
mod storage;

use consoles::Consoles;
use medium::{Known, Machine};
use parameters::Parameters;
use program::{
    Medium, applet, arguments, hook_path, in_a_session, killed_for_memory, outcome, too_small_for_practice,
    unattended,
};

/// Where what lives as long as this machine runs is kept.
const STATE: &str = "/run/deblast";
/// What init sets, so that nobody starts this on a machine at work.
const STARTED_BY_INIT: &str = "DEBLAST_LIVE";
/// How long something that a screen will cover may be read.
const READING: Duration = Duration::from_secs(20);

/// Runs the live image. Returns only where a shell was asked for; else the machine is switched off or restarted.
///
/// # Errors
/// This is not the live image, or something that nothing can go on without is missing.
pub fn execute() -> Result<u8> {
    if std::env::var_os(STARTED_BY_INIT).is_none() {
        let why = "this is started by the live image's own init, and switches the machine off";
        return Err(Error::refused("run as the live image", why).hint("use scan or clean"));
    }
    // Ctrl-Alt-Del ends us; init then releases the medium and restarts.
    let _ = std::fs::write("/proc/sys/kernel/cad_pid", std::process::id().to_string());
    let line = std::fs::read_to_string("/proc/cmdline").doing("read the kernel's parameters")?;
    let parameters = Parameters::read(&line);
    let mut names = vec!["tty1".to_owned(), "ttyS0".to_owned()];
    for console in &parameters.consoles {
        if !console.is_empty() && !["tty", "tty0"].contains(&console.as_str()) && !names.contains(console) {
            names.push(console.clone());
        }
    }
    let consoles = Consoles::open(Path::new("/dev"), &names, &parameters.consoles);
    let landmarks = Path::new(STATE).join("landmarks");
    let live = Live {
        consoles,
        state: STATE.into(),
        program: std::env::current_exe().doing("find this program")?,
        fifo: fifo(&landmarks)?,
        landmarks,
        medium: None,
        hooks: Hooks::default(),
        reports: Vec::new(),
        wants_off: false,
        is_noted: false,
    };
    let machine = Machine { roots: Roots::default(), dev: "/dev".into() };
    live.go(&machine, parameters)
}

/// A pipe by name, which is read without waiting and stays open when a writer goes.
fn fifo(path: &Path) -> Result<File> {
    const DOING: &str = "make the pipe for landmarks";
    mknodat(CWD, path, FileType::Fifo, FileMode::RUSR | FileMode::WUSR, 0)
        .map_err(std::io::Error::from)
        .doing(DOING)?;
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    File::options().read(true).write(true).custom_flags(flags).open(path).doing(DOING)
}

struct Live {
    consoles: Consoles,
    state: PathBuf,
    program: PathBuf,
    landmarks: PathBuf,
    fifo: File,
    medium: Option<Medium>,
    hooks: Hooks,
    /// Reports that were on the medium before the run.
    reports: Vec<String>,
    /// The program that ran has asked for the machine to be switched off.
    wants_off: bool,
    /// Something was said that somebody should have read before a screen covers it.
    is_noted: bool,
}

impl Live {
    fn go(mut self, machine: &Machine, parameters: Parameters) -> Result<u8> {
        let version = env!("CARGO_PKG_VERSION");
        self.say(&format!("\nDeblast {version}, live image. Looking for disks.\n"));
        self.find_medium(machine, parameters.medium.as_deref());
        self.consoles.landmark(&format!("READY {version}"));

        let kernel = parameters.wishes;
        let mut problems = parameters.problems;
        let end_unless_told = kernel.end.unwrap_or(End::Ask);
        let (wishes, end) = match self.configuration() {
            Ok(file) => {
                let wishes = kernel.with_file(file);
                let end = wishes.end.unwrap_or(End::Ask);
                (wishes, end)
            }
            Err(problem) => {
                problems.push(problem);
                // Half a configuration is none.
                (kernel, end_unless_told)
            }
        };
        for problem in &problems {
            self.say_error(problem);
        }
        if let Some(name) = &wishes.keymap
            && let Err(problem) = setup::load_keymap(name)
        {
            self.say_error(&problem);
        }
        if parameters.net.is_some() {
            let told =
                setup::start_network(&self.state).unwrap_or_else(|problem| format!("error: {problem}"));
            self.say(&format!("{}\n", printable(&told)));
        }
        self.hooks = wishes.hooks.clone();
        loop {
            let code = match (wishes.mode, problems.is_empty()) {
                (Some(Mode::Shell), _) => return self.leave_to_a_shell(),
                // Somebody sits there and was told.
                (Some(Mode::Guided), _) | (None, true) => self.guided(&wishes)?,
                (Some(Mode::Practice), _) => self.practice(&wishes)?,
                (Some(Mode::Batch), true) => self.batch(&wishes)?,
                (Some(Mode::Watch), true) => self.watch(&wishes)?,
                (Some(Mode::Batch | Mode::Watch) | None, false) => {
                    self.say("Because of that nothing is run, and no disk was touched.\n");
                    2
                }
            };
            self.done(code);
            let next = match std::mem::take(&mut self.wants_off) {
                true => Next::Leave { is_restart: false },
                false => self.how_to_end(end),
            };
            match next {
                Next::Again => {}
                Next::Shell => return self.leave_to_a_shell(),
                Next::Leave { is_restart } => {
                    self.release_leftovers();
                    if self.medium.is_some()
                        && let Err(problem) = end::release_medium(&self.mount_point())
                    {
                        self.say_error(&problem);
                    }
                    end::leave(self.consoles, is_restart)?;
                    // The kernel does not come back from that.
                    return Ok(0);
                }
            }
        }
    }

    /// The screens wipe what stands there. Where that should be read first, they wait a while; for ever would hold up whoever
    /// has gone for the next machine.
    fn let_read(&mut self) {
        if std::mem::take(&mut self.is_noted) {
            let seconds = READING.as_secs();
            self.say(&format!("\nAny key goes on; by itself in {seconds} seconds.\n"));
            self.consoles.wait_for_key(READING);
        }
    }

    fn say(&mut self, words: &str) {
        self.consoles.say(words);
    }

    fn say_error(&mut self, problem: &Error) {
        self.is_noted = true;
        self.say(&format!("error: {}\n", printable(&problem.to_string())));
    }

    /// A run that was killed may have left the patient's volume mounted; nobody else would write it out.
    fn release_leftovers(&mut self) {
        if let Err(problem) = crate::volume::mount::release_leftovers() {
            self.say_error(&problem);
        }
    }

    fn mount_point(&self) -> PathBuf {
        self.state.join("medium")
    }

    /// Waits for storage, finds the medium, says which it is before anything is read from it, and mounts it.
    fn find_medium(&mut self, machine: &Machine, booted: Option<&str>) {
        let mut known = Known::default();
        let waited = storage::wait(machine, booted, &mut known);
        for missing in &waited.missing {
            self.say(&format!("waited for storage, and go on without it: {missing}\n"));
        }
        self.is_noted |= !waited.missing.is_empty();
        let found = machine.find_medium(booted, &mut known);
        for line in &found.words {
            self.say(&format!("{}\n", printable(line)));
        }
        self.is_noted |= found.is_noted;
        let Some(volume) = found.volume else { return };
        let point = self.mount_point();
        match end::mount_medium(&volume, &point) {
            Ok(is_writable) => {
                if !is_writable {
                    self.say("the medium is write-protected: no store and no reports can be kept on it\n");
                    self.is_noted = true;
                }
                self.medium = Some(Medium { point, is_writable });
            }
            Err(problem) => self.say_error(&problem),
        }
    }

    fn configuration(&self) -> Result<Wishes> {
        let Some(medium) = &self.medium else { return Ok(Wishes::default()) };
        let path = medium.point.join(CONFIGURATION);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                Wishes::read(&text).map_err(|e| e.device(&path).hint("correct it on another machine"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Wishes::default()),
            Err(e) => Err(Error::io("read the configuration", e).device(path)),
        }
    }

    /// Runs `deblast` with these words in the mirrored terminal, and returns its exit code. One that asks somebody may ask
    /// for the machine to be switched off.
    fn deblast(&mut self, words: Vec<OsString>, may_ask: bool) -> Result<u8> {
        let mut command = in_a_session(&self.program);
        command.args(words);
        let before = killed_for_memory();
        let ended = self.mirrored(command)?;
        for want in &ended.wants {
            if want == "poweroff" && may_ask {
                self.wants_off = true;
            } else {
                self.say(&format!("a request that is not known here is ignored: {}\n", printable(want)));
            }
        }
        let (code, told) = outcome(ended.status, killed_for_memory() > before);
        if let Some(told) = told {
            self.say(&format!(
                "\nerror: {told}. What it was writing is in its journal, and the next run with the same store takes it \
                 back first.\n"
            ));
            self.release_leftovers();
        }
        Ok(code)
    }

    fn mirrored(&mut self, mut command: Command) -> Result<mirror::Ended> {
        command.env_remove(STARTED_BY_INIT).env("TERM", "linux").env("LANG", "C.UTF-8");
        mirror::run(&mut self.consoles, command, &self.fifo)
    }

    fn batch(&mut self, wishes: &Wishes) -> Result<u8> {
        let options = match &wishes.options {
            Some(options) => words(options)?,
            None => vec!["scan".to_owned()],
        };
        self.unattended(options)
    }

    /// Batch with one command, which need not be said.
    fn watch(&mut self, wishes: &Wishes) -> Result<u8> {
        let mut options = wishes.options.as_deref().map(words).transpose()?.unwrap_or_default();
        if options.first().is_none_or(|word| word != "watch") {
            options.insert(0, "watch".to_owned());
        }
        self.unattended(options)
    }

    fn unattended(&mut self, options: Vec<String>) -> Result<u8> {
        if let Some(why) = unattended(&options) {
            self.say(&format!(
                "error: deblast.options: {why}. Because of that nothing is run, and no disk was touched.\n"
            ));
            return Ok(2);
        }
        self.before();
        if let Err(why) = self.hook(self.hooks.before.clone().as_deref(), None)? {
            self.say(&format!(
                "error: hooks.before: {why}. Because of that nothing is run, and no disk was touched.\n"
            ));
            return Ok(2);
        }
        let words = arguments(&options, self.medium.as_ref(), &self.landmarks);
        let code = self.deblast(words, false)?;
        self.after(code)?;
        Ok(code)
    }

    fn guided(&mut self, wishes: &Wishes) -> Result<u8> {
        if wishes.options.is_some() {
            self.say("deblast.options are for mode batch: guided mode does not use them\n");
            self.is_noted = true;
        }
        self.before();
        if let Err(why) = self.hook(self.hooks.before.clone().as_deref(), None)? {
            self.say(&format!("error: hooks.before: {why}\n"));
            self.is_noted = true;
        }
        self.let_read();
        let code = self.deblast(program::guided(self.medium.as_ref(), &self.landmarks), true)?;
        self.after(code)?;
        Ok(code)
    }

    /// The screens over the training disk: nothing of the medium counts but what the keyboard is.
    fn practice(&mut self, wishes: &Wishes) -> Result<u8> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").doing("read how much memory there is")?;
        if let Some(why) = too_small_for_practice(&meminfo) {
            self.say(&format!("{why}.\n"));
            return Ok(2);
        }
        if wishes.options.is_some() || wishes.hooks != Hooks::default() {
            self.say("deblast.options and hooks are not for mode practice: it does not use them\n");
            self.is_noted = true;
        }
        self.let_read();
        self.deblast(program::practice(&self.landmarks), true)
    }

    fn after(&mut self, code: u8) -> Result<()> {
        if let Err(why) = self.hook(self.hooks.after.clone().as_deref(), Some(code))? {
            self.say(&format!("error: hooks.after: {why}\n"));
        }
        Ok(())
    }

    fn before(&mut self) {
        self.reports = self.medium.as_ref().map(Medium::report_names).unwrap_or_default();
        self.tell_of_signatures();
    }

    fn tell_of_signatures(&mut self) {
        let Some(medium) = &self.medium else { return };
        let (files, others) = medium.signatures();
        for file in files {
            self.say(&format!("signatures: {}\n", printable(&file.display().to_string())));
        }
        for name in others {
            let name = printable(&name);
            self.say(&format!("signatures/{name} is left out: it is no .toml, .hdb or .hsb\n"));
        }
    }

    /// Runs a hook, where one is named. The inner error says why it counts as failed.
    fn hook(&mut self, named: Option<&str>, code: Option<u8>) -> Result<Result<(), String>> {
        let (Some(named), Some(medium)) = (named, self.medium.clone()) else { return Ok(Ok(())) };
        let path = match hook_path(&medium, named) {
            Ok(path) => path,
            Err(why) => return Ok(Err(why)),
        };
        let sh = applet("sh");
        let mut command = in_a_session(Path::new(sh.get_program()));
        command.args(sh.get_args()).arg(&path).current_dir(&medium.point);
        command.env("DEBLAST_MEDIUM", &medium.point);
        command.env("DEBLAST_STORE", medium.store()).env("DEBLAST_REPORTS", medium.reports());
        if let Some(code) = code {
            command.env("DEBLAST_EXIT_CODE", code.to_string());
            command.env("DEBLAST_REPORT", medium.new_report(&self.reports).unwrap_or_default());
        }
        let status = self.mirrored(command)?.status;
        Ok(if status.success() { Ok(()) } else { Err(format!("{named:?} ended with {status}")) })
    }

    /// The last landmark; init says it where we could not.
    fn done(&mut self, code: u8) {
        self.consoles.landmark(&format!("DONE {code}"));
        let _ = File::create(self.state.join("done"));
        self.consoles.drain();
    }

    fn how_to_end(&mut self, end: End) -> Next {
        match end {
            End::Poweroff => return Next::Leave { is_restart: false },
            End::Reboot => return Next::Leave { is_restart: true },
            End::Ask => {}
        }
        loop {
            let question = "\nWhat now? 1 switch off, 2 restart, 3 again, 4 shell: ";
            match self.consoles.ask(question).as_str() {
                "1" => return Next::Leave { is_restart: false },
                "2" => return Next::Leave { is_restart: true },
                "3" => return Next::Again,
                "4" => return Next::Shell,
                _ if self.consoles.0.is_empty() => return Next::Shell,
                _ => {}
            }
        }
    }

    fn leave_to_a_shell(mut self) -> Result<u8> {
        self.release_leftovers();
        let kept = if self.medium.is_some() { " The medium is mounted at /run/deblast/medium." } else { "" };
        self.say(&format!(
            "\nThis is a shell.{kept} 'poweroff' unmounts it and switches off, 'reboot' restarts.\n"
        ));
        self.consoles.send();
        Ok(0)
    }
}

/// What comes after a run.
enum Next {
    Again,
    Shell,
    Leave { is_restart: bool },
}

#[cfg(test)]
mod tests;
