//! What was asked for on the kernel's command line; its word wins over `deblast.toml` on the medium.

use serde::Deserialize;

use crate::cli::configuration::{Wishes, words};
use crate::error::{Error, Result};

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
    use crate::cli::configuration::{End, Mode};

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
    fn the_kernels_word_wins() {
        let file = "mode = 'batch'\noptions = 'clean --yes'\nend = 'poweroff'\nkeymap = 'de'\n[hooks]\nbefore = 'a.sh'\n";
        let file = Wishes::read(file).unwrap();
        let both = |line: &str| Parameters::read(line).wishes.with_file(file.clone());
        let kernel = both("deblast.mode=shell deblast.keymap=us");
        assert_eq!((kernel.mode, kernel.end), (Some(Mode::Shell), Some(End::Poweroff)));
        assert_eq!((kernel.keymap.as_deref(), kernel.hooks.before.as_deref()), (Some("us"), Some("a.sh")));
        // Guided or practice at boot: whatever the file says.
        for line in ["deblast.mode=guided", "deblast.mode=practice"] {
            let kernel = both(line);
            assert_eq!((kernel.end, kernel.options, kernel.hooks.before), (None, None, None), "{line}");
            assert_eq!(kernel.keymap.as_deref(), Some("de"), "{line}");
        }
        assert_eq!(Wishes::read("mode = 'practice'").unwrap().mode, Some(Mode::Practice));
    }
}
