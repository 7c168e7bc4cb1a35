//! What may be typed without a command: on a terminal, the guided way through a clean.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

use super::{Color, Cure, Options, Reading, StoreArg, Task, cure};
use crate::error::{Error, Result};
use crate::policy::{Hibernation, Policy};
use crate::practice::Practice;
use crate::store::Store;

/// The options.
#[derive(Debug, ClapArgs)]
pub(super) struct GuidedArgs {
    /// With no command, on a terminal: guided through the disks, or those that are named
    #[arg(value_name = "TARGET")]
    targets: Vec<PathBuf>,
    /// Numbered questions, line by line: for screen readers and bare terminals (as where TERM is dumb)
    #[arg(long)]
    plain: bool,
    /// Guided on a practice disk, which is in this program: nothing real is touched, and all of it is removed in the end. What --store and --report-dir say does not count then
    #[arg(long, conflicts_with = "targets")]
    practice: bool,
    /// How the guided screens look; t changes it there
    #[arg(long, value_enum, default_value_t)]
    theme: ThemeArg,
    /// The live image has started this: the machine may be switched off from here
    #[arg(long, hide = true, requires = "landmarks")]
    live: bool,
    /// Where the live image's writable medium is mounted
    #[arg(long, hide = true, value_name = "DIR", requires = "live")]
    medium: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    cure: Cure,
    #[command(flatten)]
    store: StoreArg,
}

/// How the guided screens look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Colours where the terminal has them and NO_COLOR is not set.
    #[default]
    Auto,
    /// Colours.
    Colour,
    /// Bright on black, for eyes and screens that need it.
    HighContrast,
    /// No colour.
    Mono,
}

choice!(ThemeArg => Theme {
    #[default] Auto => Theme::Auto,
    Colour => Theme::Colour,
    HighContrast => Theme::HighContrast,
    Mono => Theme::Mono,
});

/// How somebody is guided.
#[derive(Clone, Debug)]
pub struct GuidedTask {
    /// By numbered questions.
    pub plain: bool,
    /// Nothing at all was typed, so that help is the answer where there is no terminal.
    pub bare: bool,
    /// On the practice disk alone.
    pub practice: bool,
    /// How the screens look.
    pub theme: Theme,
    /// The machine may be switched off from here.
    pub live: bool,
    /// Where the live image's writable medium is mounted.
    pub medium: Option<PathBuf>,
}

impl GuidedArgs {
    pub(super) fn resolve(self, options: &mut Options) -> Result<()> {
        let Self { targets, plain, practice, theme, live, medium, reading, cure, store } = self;
        // A command that was mistyped reads like a target; a disk that is not there is worth the same words.
        if let Some(missing) = targets.iter().find(|target| !target.exists()) {
            return Err(Error::refused("start", "there is no such command, disk or image")
                .device(missing)
                .hint("deblast --help lists the commands"));
        }
        options.take_reading(reading);
        options.take_store(store);
        options.policy = cure.meaning();
        let theme = match (theme.meaning(), options.color) {
            (Theme::Auto, Color::Never) => Theme::Mono,
            (Theme::Auto, Color::Always) => Theme::Colour,
            (named, _) => named,
        };
        let bare = !plain && !practice && targets.is_empty();
        options.task = Task::Guided(GuidedTask { plain, bare, practice, theme, live, medium });
        options.targets = targets;
        Ok(())
    }
}

impl Options {
    /// The same for the practice disk alone: record and reports stay in its folder.
    #[must_use]
    pub fn for_practice(&self, practice: &Practice) -> Self {
        let mut options = self.job(Task::Scan);
        options.targets = vec![practice.disk().to_owned()];
        options.store = Store::at(practice.folder().join("store"));
        options.store_named = true;
        options.places.reports = Some(practice.folder().join("reports"));
        options.signatures.push(practice.signatures().to_owned());
        options
    }

    /// A clean as decided here, as it is typed behind `deblast` where nobody is asked. What the live image adds by itself
    /// from its medium is left out. So are the disks, whose names may be others where this is read, and the giving up of a
    /// hibernated session, which is asked for disk by disk.
    ///
    /// # Errors
    /// A place that was named is not on the medium, so that the live image would not find it at its next start; or it cannot
    /// be written down.
    pub fn as_batch(&self, medium: Option<&Path>) -> Result<Vec<String>> {
        const DOING: &str = "write down what repeats this clean";
        let adds = |name: &str, path: &Path| medium.is_some_and(|medium| medium.join(name) == path);
        let mut words = vec!["clean".to_owned(), "--yes".to_owned()];
        words.extend(cure::typed(&Policy { hibernation: Hibernation::Refuse, ..self.policy.clone() }));
        words.extend(self.deep.then(|| "--deep".to_owned()));
        let mut add = |option: &str, path: &Path| {
            // It is read in another folder than this one.
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            if medium.is_some_and(|medium| !whole.starts_with(medium)) {
                let why = format!(
                    "{option} {} is not on the medium, and is gone at the next start",
                    whole.display()
                );
                return Err(Error::refused(DOING, why).hint("have it lie on the medium"));
            }
            let Some(text) = whole.to_str() else {
                return Err(Error::refused(DOING, "its name is no text").device(&whole).hint("rename it"));
            };
            words.extend([option.to_owned(), text.to_owned()]);
            Ok(())
        };
        for file in &self.signatures {
            if !file.parent().is_some_and(|folder| adds("signatures", folder)) {
                add("--signatures", file)?;
            }
        }
        let store = &self.store;
        if self.store_named && !store.is_on_patient() && !adds("store", store.root()) {
            add("--store", store.root())?;
        }
        if let Some(folder) = self.places.reports.as_deref().filter(|folder| !adds("reports", folder)) {
            add("--report-dir", folder)?;
        }
        if store.is_on_patient() {
            words.extend(["--store", "disk"].map(str::to_owned));
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Args, Ask};

    fn resolve(words: &[&str]) -> Options {
        Args::try_parse_from(["deblast"].iter().chain(words)).unwrap().resolve().unwrap()
    }

    /// Whatever is decided, the words say it: they are read back as the same.
    #[test]
    fn a_guided_run_is_told_in_the_words_of_a_batch() {
        let decided = [
            "--dcom",
            "leave",
            "--packet-filter",
            "on",
            "--suspects",
            "quarantine",
            "--companions",
            "--restore-points",
            "quarantine",
            "--remove",
            "never",
            "--hibernation",
            "discard",
            "--deep",
            "--signatures",
            "/m/signatures/own.toml",
            "--signatures",
            "/m/more/a b.hdb",
        ];
        let guided =
            resolve(&[&decided[..], &["--store", "/m/store", "--report-dir", "/m/reports"]].concat());
        let words = guided.as_batch(Some(Path::new("/m"))).unwrap();
        let refs: Vec<&str> = words.iter().map(String::as_str).collect();
        let batch = resolve(&refs);
        assert!(matches!(batch.task, Task::Clean) && batch.ask == Ask::Yes && batch.deep);
        // A session is given up disk by disk, by a word, and by no file.
        assert_eq!(guided.policy.hibernation, Hibernation::Discard);
        assert_eq!(batch.policy, Policy { hibernation: Hibernation::Refuse, ..guided.policy.clone() });
        assert_eq!(batch.signatures, [PathBuf::from("/m/more/a b.hdb")]);
        assert!(!batch.store_named && batch.places.reports.is_none(), "{words:?}");
        // Elsewhere than in the live image nothing is added by anybody.
        let words = guided.as_batch(None).unwrap();
        assert!(
            words.contains(&"/m/store".to_owned()) && words.contains(&"/m/signatures/own.toml".to_owned())
        );
        assert_eq!(resolve(&[]).as_batch(None).unwrap(), ["clean", "--yes"]);
        let on_disk = resolve(&["--store", "disk"]).as_batch(Some(Path::new("/m")));
        assert_eq!(on_disk.unwrap(), ["clean", "--yes", "--store", "disk"]);
        // What lies in this machine's memory is gone when it is switched off.
        let words = resolve(&["--store", "/tmp/store"]).as_batch(Some(Path::new("/m"))).unwrap_err();
        assert!(words.to_string().contains("--store /tmp/store is not on the medium"), "{words}");
    }

    #[test]
    fn a_theme_is_named_or_follows_the_colour() {
        for (words, theme) in [
            (&[][..], Theme::Auto),
            (&["--color", "never"], Theme::Mono),
            (&["--color", "always"], Theme::Colour),
            (&["--theme", "high-contrast", "--color", "never"], Theme::HighContrast),
        ] {
            let Task::Guided(task) = resolve(words).task else { panic!("{words:?}") };
            assert_eq!(task.theme, theme, "{words:?}");
        }
        // Only who can switch the machine off may be asked to.
        assert!(Args::try_parse_from(["deblast", "--live"]).is_err());
    }
}
