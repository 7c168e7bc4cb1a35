//! `deblast.toml`: what a live image does unasked. Read by the image, written from a guided run that is to be repeated.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Result};

/// Its name, at the root of the medium.
pub(crate) const CONFIGURATION: &str = "deblast.toml";

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Screens; nothing is written without a yes.
    Guided,
    /// The given options, with nobody there.
    Batch,
    /// The screens over a training disk in memory; no other disk is looked at.
    Practice,
    /// Every disk that appears, by the given options.
    Watch,
    /// A shell.
    Shell,
}

/// What happens afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// A question.
    Ask,
    /// Switch off.
    Poweroff,
    /// Restart.
    Reboot,
}

/// Programs of the technician's around a run: paths on the medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hooks {
    /// Before it.
    pub(crate) before: Option<String>,
    /// After it.
    pub(crate) after: Option<String>,
}

impl Hooks {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What one place asks for; what is none is not said there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wishes {
    /// What runs.
    pub(crate) mode: Option<Mode>,
    /// As typed after `deblast`.
    pub(crate) options: Option<String>,
    /// What happens afterwards.
    pub(crate) end: Option<End>,
    /// Name of a keyboard map.
    pub(crate) keymap: Option<String>,
    /// Programs around the run.
    #[serde(default, skip_serializing_if = "Hooks::is_none")]
    pub(crate) hooks: Hooks,
}

impl Wishes {
    /// Reads the text of `deblast.toml`: unknown keys, unknown words and values of another type are refused, with line,
    /// what was expected and what stands there.
    ///
    /// # Errors
    /// In those words.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let wishes: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            Error::library("read the configuration", format!("{place}{}", e.message()))
        })?;
        if let Some(options) = &wishes.options {
            words(options)?;
        }
        Ok(wishes)
    }

    /// A batch that types these words behind `deblast` and switches the machine off.
    ///
    /// # Errors
    /// One of them holds a NUL.
    pub(crate) fn batch(typed: &[String]) -> Result<Self> {
        let options = shlex::try_join(typed.iter().map(String::as_str))
            .map_err(|e| Error::refused("write the configuration", e.to_string()))?;
        Ok(Self {
            mode: Some(Mode::Batch),
            options: Some(options),
            end: Some(End::Poweroff),
            ..Self::default()
        })
    }

    /// These, and from `other` what these do not say.
    #[must_use]
    fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            options: self.options.or(other.options),
            end: self.end.or(other.end),
            keymap: self.keymap.or(other.keymap),
            hooks: Hooks {
                before: self.hooks.before.or(other.hooks.before),
                after: self.hooks.after.or(other.hooks.after),
            },
        }
    }

    /// The kernel's, completed by the file of the medium. Whoever asks for guided mode or practice at boot wants it
    /// whatever that file says: then no hook of it runs, and its end does not cut the machine off.
    #[must_use]
    pub(crate) fn with_file(self, file: Self) -> Self {
        let taken = match self.mode {
            Some(Mode::Guided | Mode::Practice) => Self { keymap: file.keymap, ..Self::default() },
            _ => file,
        };
        self.or(taken)
    }

    /// The text of `deblast.toml` for them.
    fn text(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::library("write the configuration", e))
    }

    /// Writes them as `deblast.toml` into a folder. One that is there is kept beside it, under the path that is returned.
    ///
    /// # Errors
    /// The folder is missing, full or read-only; then the earlier file is where it was.
    pub(crate) fn save(&self, folder: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
        const DOING: &str = "write the configuration";
        let path = folder.join(CONFIGURATION);
        let new = folder.join("deblast.new");
        let text = self.text()?;
        let write = || -> std::io::Result<Option<PathBuf>> {
            // Left by a power cut, and nobody's.
            let mut file = File::create(&new)?;
            file.write_all(TITLE.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            let earlier = (1_u32..).map(|number| folder.join(format!("deblast-{number}.toml")));
            let kept = match path.symlink_metadata().is_ok() {
                true => earlier.into_iter().find(|name| name.symlink_metadata().is_err()),
                false => None,
            };
            if let Some(kept) = &kept {
                std::fs::rename(&path, kept)?;
            }
            std::fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(kept)
        };
        let kept = write().doing(DOING).map_err(|e| {
            // Half of it would be found by nobody but us.
            let _ = std::fs::remove_file(&new);
            e.device(folder).hint("name a folder that is there and can be written")
        })?;
        Ok((path, kept))
    }
}

/// What a text of `deblast.toml` becomes when it is read and written again; for the tests of bad input.
///
/// # Errors
/// It is no such text.
#[doc(hidden)]
pub fn read_and_write(text: &str) -> Result<String> {
    Wishes::read(text)?.text()
}

const TITLE: &str = "# Saved from a guided run. On the DEBLAST medium, the live image does this at its next start, unasked.\n";

/// Options as a shell would split them.
///
/// # Errors
/// A quote is not closed.
pub(crate) fn words(options: &str) -> Result<Vec<String>> {
    let split = shlex::split(options);
    split.ok_or_else(|| {
        Error::refused("split the options", format!("expected every quote closed, found {options:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_taken_whole_or_not() {
        let text = "mode = 'batch'\noptions = 'clean --yes'\nend = 'poweroff'\nkeymap = 'de'\n[hooks]\nbefore = 'a.sh'\n";
        let wishes = Wishes::read(text).unwrap();
        assert_eq!((wishes.mode, wishes.hooks.before.as_deref()), (Some(Mode::Batch), Some("a.sh")));
        for (text, told) in [
            ("mode = 'batch'\nmoed = 'x'", ["line 2", "moed", "expected"]),
            ("mode = 'bacth'", ["line 1", "bacth", "`batch`"]),
            ("\n\noptions = 3", ["line 3", "3", "string"]),
            ("[hooks]\nbefor = 'x'", ["line 2", "befor", "`before`"]),
            ("mode = ", ["line 1", "read", "configuration"]),
            ("options = \"clean 'x\"", ["quote closed", "clean", "split"]),
        ] {
            let words = Wishes::read(text).unwrap_err().to_string();
            assert!(told.iter().all(|part| words.contains(part)), "{text}: {words}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let typed = ["clean", "--yes", "--store", "/media/x y/it's", "--signatures", "a\"b\\.toml"];
        let typed: Vec<String> = typed.map(str::to_owned).to_vec();
        let wishes = Wishes::batch(&typed).unwrap();
        assert_eq!(words(wishes.options.as_deref().unwrap()).unwrap(), typed);
        let (path, kept) = wishes.save(folder.path()).unwrap();
        assert_eq!(kept, None);
        let read = || Wishes::read(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read(), wishes);
        let first = std::fs::read(&path).unwrap();
        std::fs::write(folder.path().join("deblast-1.toml"), "older").unwrap();
        let other = Wishes { hooks: Hooks { after: Some("b.sh".to_owned()), before: None }, ..wishes };
        let (_, kept) = other.save(folder.path()).unwrap();
        let kept = kept.unwrap();
        assert_eq!(
            (kept.file_name().unwrap().to_str(), std::fs::read(&kept).unwrap()),
            (Some("deblast-2.toml"), first)
        );
        assert_eq!(read(), other);
        assert_eq!(std::fs::read_to_string(folder.path().join("deblast-1.toml")).unwrap(), "older");
        let missing = folder.path().join("missing");
        let words = other.save(&missing).unwrap_err().to_string();
        assert!(words.contains("missing") && !missing.exists(), "{words}");
        assert!(Wishes::batch(&["a\0b".to_owned()]).is_err());
    }
}
