//! The command line: what was typed ([`Args`]) and what it means ([`Options`]). Every cross-check of options is here.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::cleanup::ledger::Places;
use crate::cleanup::undo::Only;
use crate::cleanup::{Settings, Which};
use crate::error::Result;
use crate::policy::Policy;
use crate::store::Store;
use crate::threat::Signatures;

/// Spells an option's words out once and gives each its meaning.
macro_rules! choice {
    ($name:ident => $meaning:ty { $($(#[$attribute:meta])* $variant:ident => $value:expr),+ $(,)? }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
        enum $name { $($(#[$attribute])* $variant),+ }

        impl $name {
            fn meaning(self) -> $meaning {
                match self { $(Self::$variant => $value),+ }
            }

            /// How that is typed; none where it need not be, because it is the default.
            #[allow(dead_code, reason = "not every option is written down for another run")]
            fn typed(meaning: $meaning) -> Option<String> {
                let is_it = |word: &&Self| word.meaning() == meaning && **word != Self::default();
                let word = Self::value_variants().iter().find(is_it)?.to_possible_value()?;
                Some(word.get_name().to_owned())
            }
        }
    };
}

pub(crate) mod configuration;
mod cure;
mod guided;
#[doc(hidden)]
pub use configuration::read_and_write as read_and_write_configuration;
mod hive;
mod report;
mod shells;
mod tools;
mod watch;

use cure::Cure;
use guided::GuidedArgs;
pub use guided::{GuidedTask, Theme};
pub use hive::{Backup, HiveTask, HiveVerb, Target};
pub use report::{ReportFormat, ReportTask};
pub use shells::{completions, manual};
pub use tools::{Direction, FilterTask, Format, SignaturesTask};

/// Cleans an offline Windows disk of W32/Blaster: finds the Windows installs on it, shows what is wrong and what it
/// would change, and after a yes removes the worm, disables DCOM, verifies, and can take it all back.
#[derive(Debug, Parser)]
#[command(name = "deblast", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    guided: GuidedArgs,
}

const EXIT_CODES: &str = "Exit codes of scan and clean: 0 clean or cleaned; 1 exposed, infected, or suspects left; \
2 undetermined, failed, or wrong usage.\nExit codes of undo: 0 all of it is as before the run; 1 something was left \
because it has changed since; 2 refused or failed.\nExit codes of list: 0 all was read; 2 something was not.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List disks, volumes and Windows installs; reads only
    List {
        #[command(flatten)]
        targets: Targets,
    },
    /// Inspect and judge; reads only, mounts nothing, leaves every byte as it was
    Scan {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        common: Common,
    },
    /// Inspect, plan, ask for a yes, cure, verify, report
    Clean {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        cure: Cure,
        #[command(flatten)]
        store: StoreArg,
    },
    /// Take back what a run has written, after a plan and a yes
    Undo {
        /// Disk, partition or image that was cleaned
        target: PathBuf,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        consent: Consent,
        /// The run with this id
        #[arg(long, value_name = "ID", conflicts_with = "last")]
        run: Option<String>,
        /// The newest run of which the disk still holds a change (default)
        #[arg(long)]
        last: bool,
        /// List the runs of the store that belong to this disk, and stop
        #[arg(long, conflicts_with_all = ["run", "last", "yes", "dry_run", "json", "report_dir"])]
        list: bool,
        /// What is taken back: all of it, what closed the hole (DCOM), or the files' bytes
        #[arg(long, value_enum, default_value_t)]
        only: OnlyArg,
        #[command(flatten)]
        store: StoreArg,
    },
    Watch(watch::WatchArgs),
    Report(report::ReportArgs),
    Hive(hive::HiveArgs),
    Signatures(tools::SignaturesArgs),
    Filter(tools::FilterArgs),
    Completions(shells::CompletionsArgs),
    Man(shells::ManArgs),
    /// Run the live image: what its init starts
    #[command(hide = true)]
    Live,
}

#[derive(Debug, ClapArgs)]
struct Targets {
    /// Whole disk, partition, or raw image of a disk or volume; none: every attached disk but the system's own
    #[arg(value_name = "TARGET")]
    targets: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct Common {
    /// Print the report as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t)]
    progress: ProgressArg,
    /// Show progress where standard error is no terminal too, as --progress plain does
    #[arg(short, long)]
    verbose: bool,
}

/// How a disk is looked at, and where the report goes.
#[derive(Debug, ClapArgs)]
struct Reading {
    /// Write the report into this folder too, as NAME.json, NAME.txt and NAME.html (to print); nothing is overwritten
    #[arg(long, value_name = "DIR")]
    report_dir: Option<PathBuf>,
    /// Use the signatures of this file beside the builtin ones: TOML, or a ClamAV hash set (.hdb, .hsb); may be given several times
    #[arg(long, value_name = "FILE")]
    signatures: Vec<PathBuf>,
    /// Hash every program, not only files whose name or size a signature gives: finds copies of any size, takes as long as reading all programs
    #[arg(long)]
    deep: bool,
    /// Work on so many disks at once [default: as many as there are and memory allows]; a run that asks, the screens and undo work on one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
    /// Add what happens to this file, as one JSON object a line, with the time and the disk; it is never emptied
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Whether to colour what is shown
    #[arg(long, value_enum, default_value_t)]
    color: ColorArg,
    /// Write a line for each state of a target, and its verdict, into this file: what the live image tells its serial line
    #[arg(long, hide = true, value_name = "FILE")]
    landmarks: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct Consent {
    /// Ask nothing: yes to the plan
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Stop after the plan; no byte is written
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, ClapArgs)]
struct StoreArg {
    /// Where the record of the run is kept; undo needs it. Never on the target, unless this is `disk`: then on the patient's own volume [default: /var/lib/deblast, or ~/.local/state/deblast when not root]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

choice!(OnlyArg => Only {
    #[default] All => Only::All,
    Protection => Only::Protection,
    Files => Only::Files,
});
choice!(ProgressArg => Progress {
    #[default] Auto => Progress::Auto,
    Plain => Progress::Plain,
    Json => Progress::Json,
    None => Progress::None,
});

choice!(ColorArg => Color {
    #[default] Auto => Color::Auto,
    Always => Color::Always,
    Never => Color::Never,
});

/// Whether what is shown is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Where the terminal can, unless NO_COLOR is set.
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// How progress is shown on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Plain on a terminal, none elsewhere.
    Auto,
    /// A line for each thing that happened.
    Plain,
    /// An event a line, as JSON.
    Json,
    /// Nothing.
    None,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// List disks, volumes and installs.
    List,
    /// Inspect and judge.
    Scan,
    /// The whole path.
    Clean,
    /// Take a run back.
    Undo {
        /// Which.
        which: Which,
        /// What of it.
        only: Only,
    },
    /// Clean every disk that appears.
    Watch {
        /// Those too that are there already.
        present: bool,
    },
    /// List the runs that belong to a disk.
    ListRuns,
    /// Show or check stored reports; no other option counts.
    Report(ReportTask),
    /// Do something with one hive file; no other option counts.
    Hive(HiveTask),
    /// List or check signatures; no other option counts.
    Signatures(SignaturesTask),
    /// Print rules for a packet filter; no other option counts.
    Filter(FilterTask),
    /// Print completions or write manual pages; no other option counts.
    Shells(ShellTask),
    /// Run the live image; no other option counts.
    Live,
    /// No command: guide whoever sits at the terminal.
    Guided(GuidedTask),
}

/// What shells and `man` are given.
#[derive(Debug)]
pub enum ShellTask {
    /// What this shell needs to complete words.
    Completions(clap_complete::Shell),
    /// The manual pages, into this folder.
    Man(PathBuf),
}

/// Whether the plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Ask on the terminal.
    Terminal,
    /// Yes.
    Yes,
    /// Stop after the plan.
    DryRun,
}

/// What was meant.
#[derive(Debug)]
pub struct Options {
    /// What is to be done.
    pub task: Task,
    /// To which disks; none: every attached one.
    pub targets: Vec<PathBuf>,
    /// Whether the plan is carried out.
    pub ask: Ask,
    /// What the technician decided.
    pub policy: Policy,
    /// More signatures.
    pub signatures: Vec<PathBuf>,
    /// Hash every program.
    pub deep: bool,
    /// Report as JSON on standard output.
    pub json: bool,
    /// Where reports, log, and the lines of the live image go.
    pub places: Places,
    /// How many disks at once; none: as many as there are and memory allows.
    pub jobs: Option<usize>,
    /// How progress is shown.
    pub progress: Progress,
    /// Whether what is shown is coloured.
    pub color: Color,
    /// Where records are kept.
    pub store: Store,
    /// Whether that place was named.
    pub store_named: bool,
}

impl Args {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// Options that cannot be meant together, or that this version does not have yet.
    pub fn resolve(self) -> Result<Options> {
        let mut options = Options {
            task: Task::List,
            targets: Vec::new(),
            ask: Ask::Terminal,
            policy: Policy::default(),
            signatures: Vec::new(),
            deep: false,
            json: false,
            places: Places::default(),
            jobs: None,
            progress: Progress::Auto,
            color: Color::Auto,
            store: Store::at(default_store()),
            store_named: false,
        };
        let Some(command) = self.command else {
            self.guided.resolve(&mut options)?;
            return Ok(options);
        };
        match command {
            Command::List { targets } => options.targets = targets.targets,
            Command::Scan { targets, common } => {
                options.task = Task::Scan;
                options.targets = targets.targets;
                options.take_common(common);
            }
            Command::Clean { targets, common, consent, cure, store } => {
                options.task = Task::Clean;
                options.targets = targets.targets;
                options.take_common(common);
                options.take_consent(&consent);
                options.take_store(store);
                options.policy = cure.meaning();
            }
            Command::Undo { target, common, consent, run, last: _, list, only, store } => {
                options.task = match (list, run) {
                    (true, _) => Task::ListRuns,
                    (false, Some(id)) => Task::Undo { which: Which::Run(id), only: only.meaning() },
                    (false, None) => Task::Undo { which: Which::Last, only: only.meaning() },
                };
                options.targets = vec![target];
                options.take_common(common);
                options.take_consent(&consent);
                options.take_store(store);
            }
            Command::Watch(watch) => watch.resolve(&mut options)?,
            Command::Report(report) => options.task = Task::Report(report.resolve()),
            Command::Hive(hive) => options.task = Task::Hive(hive.resolve()?),
            Command::Signatures(signatures) => options.task = Task::Signatures(signatures.resolve()),
            Command::Filter(filter) => options.task = Task::Filter(filter.resolve()),
            Command::Completions(asked) => options.task = Task::Shells(ShellTask::Completions(asked.shell)),
            Command::Man(asked) => options.task = Task::Shells(ShellTask::Man(asked.folder)),
            Command::Live => options.task = Task::Live,
        }
        Ok(options)
    }
}

impl Options {
    fn take_common(&mut self, common: Common) {
        let Common { json, reading, progress, verbose } = common;
        self.json = json;
        self.take_reading(reading);
        self.progress = match progress.meaning() {
            Progress::Auto if verbose => Progress::Plain,
            named => named,
        };
    }

    fn take_reading(&mut self, reading: Reading) {
        let Reading { report_dir, signatures, deep, jobs, log, color, landmarks } = reading;
        self.places = Places { reports: report_dir, log, landmarks };
        self.signatures = signatures;
        self.deep = deep;
        self.jobs = jobs.map(usize::from);
        self.color = color.meaning();
    }

    fn take_consent(&mut self, consent: &Consent) {
        self.ask = match (consent.yes, consent.dry_run) {
            (true, _) => Ask::Yes,
            (_, true) => Ask::DryRun,
            _ => Ask::Terminal,
        };
    }

    fn take_store(&mut self, store: StoreArg) {
        if let Some(path) = store.store {
            self.store = store_at(path);
            self.store_named = true;
        }
    }

    /// What a run on these targets needs to know. Reads the signatures.
    ///
    /// # Errors
    /// A signature file cannot be used.
    pub fn settings(&self, targets: Vec<PathBuf>) -> Result<Settings> {
        let mut signatures = Signatures::builtin()?;
        for file in &self.signatures {
            signatures.add_file(file)?;
        }
        signatures.set_deep(self.deep);
        Ok(Settings {
            signatures: signatures.into(),
            targets,
            policy: self.policy.clone(),
            store: self.store.clone(),
            store_named: self.store_named,
            dry_run: self.ask == Ask::DryRun,
            options: self.for_report(),
            clock: Timestamp::now,
            stop: || false,
        })
    }

    /// The options of one job that is done for a guided run.
    #[must_use]
    pub fn job(&self, task: Task) -> Self {
        Self {
            task,
            targets: self.targets.clone(),
            ask: Ask::Terminal,
            policy: self.policy.clone(),
            signatures: self.signatures.clone(),
            places: self.places.clone(),
            store: self.store.clone(),
            ..*self
        }
    }

    /// What was asked, for the report.
    pub fn for_report(&self) -> serde_json::Value {
        let command = match &self.task {
            Task::List => "list",
            Task::Scan => "scan",
            Task::Clean => "clean",
            Task::Undo { .. } | Task::ListRuns => "undo",
            Task::Watch { .. } => "watch",
            Task::Report(_) => "report",
            Task::Hive(_) => "hive",
            Task::Signatures(_) => "signatures",
            Task::Filter(_) => "filter",
            Task::Shells(_) => "shells",
            Task::Live => "live",
            Task::Guided(_) => "guided",
        };
        serde_json::json!({
            "command": command,
            "dry_run": self.ask == Ask::DryRun,
            "policy": self.policy,
            "signatures": self.signatures,
            "deep": self.deep,
            "store": self.store.root(),
            "run": match &self.task {
                Task::Undo { which: Which::Run(id), .. } => Some(id.as_str()),
                Task::Undo { which: Which::Last, .. } => Some("last"),
                _ => None,
            },
            "only": match &self.task {
                Task::Undo { only: Only::All, .. } => Some("all"),
                Task::Undo { only: Only::Protection, .. } => Some("protection"),
                Task::Undo { only: Only::Files, .. } => Some("files"),
                _ => None,
            },
        })
    }
}

/// The store that a technician names: a folder, or `disk`, the patient's own volume.
#[must_use]
pub fn store_at(place: PathBuf) -> Store {
    if place.as_os_str() == "disk" { Store::on_patient() } else { Store::at(place) }
}

/// `/var/lib/deblast` for root, else the user's own place for state.
fn default_store() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("/"));
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    match state {
        _ if is_root => PathBuf::from("/var/lib/deblast"),
        Some(state) => state.join("deblast"),
        None => home.join(".local/state/deblast"),
    }
}

/// What these words behind `deblast` mean.
#[cfg(test)]
pub(crate) fn typed(words: Vec<std::ffi::OsString>) -> Result<Options> {
    let all = std::iter::once("deblast".into()).chain(words);
    Args::try_parse_from(all).map_err(|e| crate::error::Error::library("read the words", e))?.resolve()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::policy::{Dcom, Remove};

    fn resolve(words: &[&str]) -> Result<Options> {
        Args::try_parse_from(["deblast"].iter().chain(words)).unwrap().resolve()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn words_become_meanings() {
        let options = resolve(&["clean", "--yes", "--dcom", "leave", "--store", "/s", "/dev/sdx"]).unwrap();
        assert_eq!(options.ask, Ask::Yes);
        assert_eq!(options.policy.dcom, Dcom::Leave);
        assert!(options.store_named);
        assert_eq!(options.targets, [PathBuf::from("/dev/sdx")]);
        assert!(matches!(
            resolve(&[]).unwrap().task,
            Task::Guided(GuidedTask { plain: false, bare: true, .. })
        ));
        let guided = resolve(&["--plain", "--store", "/s", "--companions", "/dev/null"]).unwrap();
        assert!(matches!(guided.task, Task::Guided(GuidedTask { plain: true, bare: false, .. })));
        assert!(guided.store_named && guided.policy.companions);
        assert!(resolve(&["scna"]).unwrap_err().to_string().contains("no such command"));
        for (words, progress) in [
            (&["scan", "x"][..], Progress::Auto),
            (&["scan", "-v", "--color", "never", "x"], Progress::Plain),
            (&["scan", "-v", "--color", "always", "--progress", "json", "x"], Progress::Json),
        ] {
            assert_eq!(resolve(words).unwrap().progress, progress, "{words:?}");
        }
        let now = resolve(&["clean", "--remove", "now", "x"]).unwrap();
        assert_eq!(now.policy.remove, Remove::Now);
        let undo = resolve(&["undo", "x", "--only", "protection"]).unwrap();
        assert!(matches!(undo.task, Task::Undo { which: Which::Last, only: Only::Protection }));
    }

    #[test]
    fn what_is_not_there_yet_is_refused_in_words() {
        let disk = resolve(&["clean", "--store", "disk", "x"]).unwrap();
        assert!(disk.store.is_on_patient());
        assert!(Args::try_parse_from(["deblast", "clean", "--yes", "--dry-run", "x"]).is_err());
    }
}
