//! What was asked for: on the kernel's command line, and in `deblast.toml` on the medium; the kernel's word wins.

use serde::Deserialize;

use crate::error::{Error, Result};

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Screens; nothing is written without a yes.
    Guided,
    /// The given options, with nobody there.
    Batch,
    /// The screens over a training disk in memory; no other disk is looked at.
    Practice,
    /// Every disk that appears; not built yet.
    Watch,
    /// A shell.
    Shell,
}

/// What happens afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    /// A question.
    Ask,
    /// Switch off.
    Poweroff,
    /// Restart.
    Reboot,
}

/// Programs of the technician's around a run: paths on the medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    /// Before it.
    pub(super) before: Option<String>,
    /// After it.
    pub(super) after: Option<String>,
}

/// What one place asks for; what is none is not said there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wishes {
    /// What runs.
    pub(super) mode: Option<Mode>,
    /// As typed after `deblast`.
    pub(super) options: Option<String>,
    /// What happens afterwards.
    pub(super) end: Option<End>,
    /// Name of a keyboard map.
    pub(super) keymap: Option<String>,
    /// Programs around the run.
    #[serde(default)]
    pub(super) hooks: Hooks,
}

/// What the kernel's command line says.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// What may stand in `deblast.toml` too.
    pub(super) wishes: Wishes,
    /// ID of the image booted from.
    pub(super) medium: Option<String>,
    /// How to bring up a network.
    pub(super) net: Option<String>,
    /// Consoles that the kernel writes to: `ttyS0`, in the order given.
    pub(super) consoles: Vec<String>,
    /// What was not understood.
    pub(super) problems: Vec<Error>,
}

const DOING: &str = "use a kernel parameter";
const HINT: &str = "change it in the boot menu (key e) or in the boot loader's configuration";

impl Parameters {
    /// Reads `/proc/cmdline`. What is not understood is kept as a problem: the rest still counts for what is shown.
    pub(super) fn read(line: &str) -> Self {
        let mut read = Self::default();
        for word in split(line) {
            let (key, value) = word.split_once('=').unwrap_or((&word, ""));
            if key == "console" {
                let name = value.split(',').next().unwrap_or("").to_owned();
                read.consoles.push(name);
            } else if let Some(key) = key.strip_prefix("deblast.")
                && let Err(problem) = read.take(key, value)
            {
                read.problems.push(problem);
            }
        }
        read
    }

    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        let owned = Some(value.to_owned());
        match key {
            "mode" => self.wishes.mode = Some(choice(key, value, "guided, batch, practice, watch or shell")?),
            "end" => self.wishes.end = Some(choice(key, value, "ask, poweroff or reboot")?),
            "options" => {
                words(value)?;
                self.wishes.options = owned;
            }
            "keymap" => self.wishes.keymap = owned,
            "medium" => self.medium = owned,
            // `deblast.net=` with nothing behind it is no network.
            "net" if value.is_empty() => self.net = None,
            "net" if value == "dhcp" => self.net = owned,
            "net" => return Err(wrong(key, "dhcp, or nothing", value)),
            _ => {
                return Err(wrong(
                    key,
                    "deblast.mode, .options, .end, .keymap, .net or .medium",
                    &format!("deblast.{key}"),
                ));
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, expected: &str, found: &str) -> Error {
    let why = format!("expected {expected}, found {found:?}");
    Error::refused(DOING, why).path(format!("deblast.{key}")).hint(HINT)
}

/// One of the words that the same key has in `deblast.toml`.
fn choice<T: for<'a> Deserialize<'a>>(key: &str, value: &str, expected: &str) -> Result<T> {
    let value_as_toml = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(value);
    T::deserialize(value_as_toml).map_err(|_| wrong(key, expected, value))
}

/// Reads `deblast.toml`: unknown keys, unknown words and values of another type are refused, with line, what was
/// expected and what stands there.
///
/// # Errors
/// In those words.
pub(super) fn read_toml(text: &str) -> Result<Wishes> {
    let wishes: Wishes = toml::from_str(text).map_err(|e| {
        let line = e.span().map(|span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        Error::library("read the configuration", format!("{place}{}", e.message()))
    })?;
    if let Some(options) = &wishes.options {
        words(options)?;
    }
    Ok(wishes)
}

impl Wishes {
    /// The kernel's, completed by the file of the medium. Whoever asks for guided mode or practice at boot wants it whatever
    /// that file says: then no hook of it runs, and its end does not cut the machine off.
    #[must_use]
    pub(super) fn with_file(self, file: Self) -> Self {
        let taken = match self.mode {
            Some(Mode::Guided | Mode::Practice) => Self { keymap: file.keymap, ..Self::default() },
            _ => file,
        };
        self.or(taken)
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
}

/// Options as a shell would split them.
///
/// # Errors
/// A quote is not closed.
pub(super) fn words(options: &str) -> Result<Vec<String>> {
    let split = shlex::split(options);
    split.ok_or_else(|| {
        Error::refused("split the options", format!("expected every quote closed, found {options:?}"))
    })
}

/// The parameters as the kernel tells them apart: blanks separate, but between double quotes. GRUB puts a parameter with
/// a blank in quotes as a whole, and a backslash before quotes and backslashes inside it.
fn split(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut word, mut is_quoted, mut has_word) = (String::new(), false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => (is_quoted, has_word) = (!is_quoted, true),
            '\\' if chars.peek().is_some_and(|next| ['"', '\'', '\\'].contains(next)) => {
                word.extend(chars.next());
                has_word = true;
            }
            c if c.is_whitespace() && !is_quoted => {
                if has_word {
                    found.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            c => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        found.push(word);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_the_kernel_and_grub_put_them() {
        let wanted = "clean --yes '/dev/disk by/x'";
        for line in [
            "quiet deblast.options=\"clean --yes '/dev/disk by/x'\" ro\n",
            "quiet \"deblast.options=clean --yes '/dev/disk by/x'\" ro\n",
            r#"quiet "deblast.options=clean --yes \'/dev/disk by/x\'" ro"#,
        ] {
            let read = Parameters::read(line);
            assert!(read.problems.is_empty(), "{line}: {:?}", read.problems);
            assert_eq!(read.wishes.options.as_deref(), Some(wanted), "{line}");
        }
        assert_eq!(words(wanted).unwrap(), ["clean", "--yes", "/dev/disk by/x"]);
        let last = Parameters::read(
            "deblast.end=ask deblast.end=reboot deblast.net= console=tty0 console=ttyS1,9600",
        );
        assert_eq!(last.wishes.end, Some(End::Reboot));
        assert_eq!(last.net, None);
        assert_eq!(last.consoles, ["tty0", "ttyS1"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, told) in [
            ("deblast.mode=bacth", ["deblast.mode", "guided, batch, practice", "bacth"]),
            ("deblast.end=off", ["deblast.end", "poweroff", "off"]),
            ("deblast.moed=batch", ["deblast.moed", "expected", "boot menu"]),
            ("deblast.net=static", ["deblast.net", "dhcp", "static"]),
            ("deblast.options=\"clean 'x\"", ["split the options", "quote closed", "clean 'x"]),
        ] {
            let read = Parameters::read(line);
            let [problem] = read.problems.as_slice() else { panic!("{line}: {:?}", read.problems) };
            let words = problem.to_string();
            assert!(told.iter().all(|part| words.contains(part)), "{line}: {words}");
            assert!(!words.contains("offset"), "{words}");
        }
        assert!(Parameters::read("quiet ro root=/dev/sda1 deblastx=1").problems.is_empty());
    }

    #[test]
    fn the_configuration_is_taken_whole_or_not() {
        let text = "mode = 'batch'\noptions = 'clean --yes'\nend = 'poweroff'\nkeymap = 'de'\n[hooks]\nbefore = 'a.sh'\n";
        let wishes = read_toml(text).unwrap();
        assert_eq!(wishes.mode, Some(Mode::Batch));
        let both = |line: &str| Parameters::read(line).wishes.with_file(wishes.clone());
        let kernel = both("deblast.mode=shell deblast.keymap=us");
        assert_eq!((kernel.mode, kernel.end), (Some(Mode::Shell), Some(End::Poweroff)));
        assert_eq!((kernel.keymap.as_deref(), kernel.hooks.before.as_deref()), (Some("us"), Some("a.sh")));
        // Guided or practice at boot: whatever the file says.
        for line in ["deblast.mode=guided", "deblast.mode=practice"] {
            let kernel = both(line);
            assert_eq!((kernel.end, kernel.options, kernel.hooks.before), (None, None, None), "{line}");
            assert_eq!(kernel.keymap.as_deref(), Some("de"), "{line}");
        }
        assert_eq!(read_toml("mode = 'practice'").unwrap().mode, Some(Mode::Practice));
        for (text, told) in [
            ("mode = 'batch'\nmoed = 'x'", ["line 2", "moed", "expected"]),
            ("mode = 'bacth'", ["line 1", "bacth", "`batch`"]),
            ("\n\noptions = 3", ["line 3", "3", "string"]),
            ("[hooks]\nbefor = 'x'", ["line 2", "befor", "`before`"]),
            ("mode = ", ["line 1", "read", "configuration"]),
            ("options = \"clean 'x\"", ["quote closed", "clean", "split"]),
        ] {
            let words = read_toml(text).unwrap_err().to_string();
            assert!(told.iter().all(|part| words.contains(part)), "{text}: {words}");
        }
    }
}
