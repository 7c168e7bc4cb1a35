//! The words of `deblast hive` and what they mean.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::change::{ValueData, ValueType, utf16_bytes};
use crate::error::{Error, Result};
use crate::path::RegPath;

const EXIT_CODES: &str = "Exit codes: 0 done, found, or sound; 1 no such key or value, or problems found; 2 refused, \
unreadable, or wrong usage.";

/// Read, check, recover or edit one registry hive file
///
/// For any hive of Windows NT 4.0 to 2003 (later ones can be read too): SOFTWARE, SYSTEM, NTUSER.DAT and so on, as a
/// plain file. A KEY is a path from the hive's own root, which has no name in it:
/// 'Microsoft\Windows\CurrentVersion\Run' in SOFTWARE, 'ControlSet001\Services' in SYSTEM, '' for the root itself.
/// Letter case makes no difference.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(super) struct HiveArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell every problem, one a line: class, offset in the file, words
    ///
    /// Class `structure` is what makes an edit unsafe: base block, bins, cells, references. Class `other` is the rest:
    /// counts, order, hints and hashes. Windows XP deletes what it finds corrupt when it starts, without a word.
    #[command(after_help = EXIT_CODES)]
    Check {
        #[command(flatten)]
        hive: FileArg,
    },
    /// Complete a dirty hive from its transaction log, as Windows would
    ///
    /// Replays a log of Windows NT 4.0 to 7 (SOFTWARE.LOG, NTUSER.DAT.LOG1). A log that does not apply to this hive
    /// is refused, and why is said. The log is only read.
    #[command(after_help = EXIT_CODES)]
    Recover {
        #[command(flatten)]
        hive: FileArg,
        /// Write the completed hive here, a new file, and leave FILE as it is
        #[arg(short, long, value_name = "OUT", conflicts_with = "backup")]
        output: Option<PathBuf>,
        #[command(flatten)]
        backup: BackupArg,
    },
    /// List a key's subkeys (with a backslash behind them) and its values (name, type, data)
    #[command(after_help = EXIT_CODES)]
    List {
        #[command(flatten)]
        hive: FileArg,
        /// The key, from the root of the hive; '' for the root
        #[arg(default_value = "")]
        key: String,
    },
    /// Print type and data of one value, or of all values of a key
    ///
    /// One value: type, tab, data. All: name, tab, type, tab, data. A multi-sz has a line for each string, a binary
    /// is hexadecimal, control characters are escaped.
    #[command(after_help = EXIT_CODES)]
    Get {
        #[command(flatten)]
        hive: FileArg,
        /// The key, from the root of the hive; '' for the root
        key: String,
        /// The value; '' for the default one
        name: Option<String>,
    },
    /// Set a value, or create it
    #[command(after_help = "Examples:\n  deblast hive set software 'Microsoft\\Ole' EnableDCOM sz N\n  \
        deblast hive set NTUSER.DAT 'Software\\Mine' Colours multi-sz red green --create-key\n  \
        deblast hive set system 'ControlSet001\\Services\\x' Start dword 0x4\n\nA text that begins with - goes behind \
        --.\n\nExit codes: 0 done, found, or sound; 1 no such key; 2 refused, unreadable, or wrong usage.")]
    Set {
        #[command(flatten)]
        hive: FileArg,
        /// The key, from the root of the hive; '' for the root
        key: String,
        /// The value; '' for the default one
        name: String,
        /// Its type
        #[arg(value_enum, value_name = "TYPE")]
        kind: KindArg,
        /// The data: a text; texts, for multi-sz; a number, decimal or 0x…; bytes in hexadecimal
        #[arg(value_name = "DATA", num_args = 0..)]
        data: Vec<String>,
        /// Make the key, and those above it, where they are missing
        #[arg(long)]
        create_key: bool,
        #[command(flatten)]
        backup: BackupArg,
    },
    /// Delete one value
    #[command(after_help = EXIT_CODES)]
    Delete {
        #[command(flatten)]
        hive: FileArg,
        /// The key, from the root of the hive; '' for the root
        key: String,
        /// The value; '' for the default one
        name: String,
        #[command(flatten)]
        backup: BackupArg,
    },
}

#[derive(Debug, ClapArgs)]
struct FileArg {
    /// The hive
    file: PathBuf,
    /// Its transaction log, for a hive that is dirty; may be given several times, the one that applies is taken
    #[arg(long = "log", value_name = "LOG")]
    logs: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
struct BackupArg {
    /// Where the hive as it was is copied first, a new file; none: no copy [default: FILE.bak]
    #[arg(long, value_name = "FILE|none")]
    backup: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// REG_SZ: a text
    Sz,
    /// REG_EXPAND_SZ: a text with %variables%
    ExpandSz,
    /// REG_MULTI_SZ: any number of texts
    MultiSz,
    /// REG_DWORD: a number of 32 bits
    Dword,
    /// REG_BINARY: bytes, as hexadecimal digits; blanks, commas and colons between bytes are passed over
    Binary,
}

/// What is to be done with one hive file.
#[derive(Debug)]
pub struct HiveTask {
    /// The hive.
    pub file: PathBuf,
    /// Transaction logs that may be its.
    pub logs: Vec<PathBuf>,
    /// What is done.
    pub verb: HiveVerb,
}

/// What is done with a hive file.
#[derive(Debug)]
pub enum HiveVerb {
    /// Tell every problem.
    Check,
    /// Complete it from its log.
    Recover(Target),
    /// List a key.
    List(RegPath),
    /// Print one value, or all.
    Get(RegPath, Option<String>),
    /// Set a value.
    Set {
        /// Of this key.
        key: RegPath,
        /// With this name.
        name: String,
        /// To this.
        to: ValueData,
        /// Missing keys are made.
        create_key: bool,
        /// The copy of the hive as it was.
        backup: Backup,
    },
    /// Delete a value.
    Delete {
        /// Of this key.
        key: RegPath,
        /// With this name.
        name: String,
        /// The copy of the hive as it was.
        backup: Backup,
    },
}

/// Where a completed hive goes.
#[derive(Debug)]
pub enum Target {
    /// Into the file itself.
    InPlace(Backup),
    /// Into a new file.
    NewFile(PathBuf),
}

/// Where the hive as it was is copied before it is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Backup {
    /// Nowhere.
    None,
    /// Here, a new file.
    File(PathBuf),
}

impl HiveArgs {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// Data that does not fit its type; recover without a log.
    pub(super) fn resolve(self) -> Result<HiveTask> {
        let (hive, verb) = match self.verb {
            Verb::Check { hive } => (hive, HiveVerb::Check),
            Verb::Recover { hive, output, backup } => {
                if hive.logs.is_empty() {
                    return Err(Error::refused("complete the hive", "no transaction log is given")
                        .hint("it lies beside the hive, as FILE.LOG or FILE.LOG1; give it with --log"));
                }
                let target = match output {
                    Some(file) => Target::NewFile(file),
                    None => Target::InPlace(backup.meaning(&hive)),
                };
                (hive, HiveVerb::Recover(target))
            }
            Verb::List { hive, key } => (hive, HiveVerb::List(RegPath::new(&key))),
            Verb::Get { hive, key, name } => (hive, HiveVerb::Get(RegPath::new(&key), name)),
            Verb::Set { hive, key, name, kind, data, create_key, backup } => {
                let to = kind.data(&data)?;
                let (key, backup) = (RegPath::new(&key), backup.meaning(&hive));
                (hive, HiveVerb::Set { key, name, to, create_key, backup })
            }
            Verb::Delete { hive, key, name, backup } => {
                let backup = backup.meaning(&hive);
                (hive, HiveVerb::Delete { key: RegPath::new(&key), name, backup })
            }
        };
        Ok(HiveTask { file: hive.file, logs: hive.logs, verb })
    }
}

impl BackupArg {
    fn meaning(self, hive: &FileArg) -> Backup {
        match self.backup {
            Some(none) if none.as_os_str() == "none" => Backup::None,
            Some(file) => Backup::File(file),
            None => {
                let mut name = hive.file.clone().into_os_string();
                name.push(".bak");
                Backup::File(name.into())
            }
        }
    }
}

impl KindArg {
    /// The data that the words after the type mean.
    fn data(self, words: &[String]) -> Result<ValueData> {
        const DOING: &str = "read the data";
        let one = || match words {
            [one] => Ok(one.as_str()),
            _ => {
                let why = format!("expected one word of data for this type, found {}", words.len());
                Err(Error::refused(DOING, why).hint("put a text with blanks in quotes"))
            }
        };
        let text = |kind, text: &str| ValueData { kind, data: ValueData::sz(text).data };
        Ok(match self {
            Self::Sz => text(ValueType::SZ, one()?),
            Self::ExpandSz => text(ValueType::EXPAND_SZ, one()?),
            Self::MultiSz => {
                if words.iter().any(String::is_empty) {
                    let why = "an empty text among those of a multi-sz would end the list there";
                    return Err(Error::refused(DOING, why));
                }
                let units = words.iter().flat_map(|word| word.encode_utf16().chain([0])).chain([0]);
                ValueData { kind: ValueType::MULTI_SZ, data: utf16_bytes(units) }
            }
            Self::Dword => {
                let word = one()?;
                let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
                let number = match hexadecimal {
                    // from_str_radix would take a sign.
                    Some(digits) if digits.starts_with('+') => None,
                    Some(digits) => u32::from_str_radix(digits, 16).ok(),
                    None => word.parse().ok(),
                };
                let number = number.ok_or_else(|| {
                    let why = format!("expected a number from 0 to 4294967295 or 0xffffffff, found {word:?}");
                    Error::refused(DOING, why)
                })?;
                ValueData { kind: ValueType::DWORD, data: number.to_le_bytes().to_vec() }
            }
            Self::Binary => {
                let digits: String =
                    words.concat().chars().filter(|c| !matches!(c, ' ' | ',' | ':')).collect();
                if let Some(wrong) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
                    return Err(Error::refused(
                        DOING,
                        format!("expected hexadecimal digits, found {wrong:?}"),
                    ));
                }
                if digits.len() % 2 == 1 {
                    let why = format!("expected two digits a byte, found {} digits", digits.len());
                    return Err(Error::refused(DOING, why));
                }
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                let data = digits.as_bytes().chunks_exact(2).filter_map(byte).collect();
                ValueData { kind: ValueType::BINARY, data }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(kind: KindArg, words: &[&str]) -> Result<ValueData, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        kind.data(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn data_of_each_type() {
        use KindArg::{Binary, Dword, ExpandSz, MultiSz, Sz};
        let read = |kind, words: &[&str]| data(kind, words).unwrap().data;
        assert_eq!(data(Sz, &["N"]).unwrap(), ValueData::sz("N"));
        assert_eq!(data(ExpandSz, &["N"]).unwrap().kind, ValueType::EXPAND_SZ);
        assert_eq!(read(MultiSz, &["a", "b"]), [97, 0, 0, 0, 98, 0, 0, 0, 0, 0]);
        assert_eq!(read(MultiSz, &[]), [0, 0]);
        assert_eq!(read(Dword, &["4294967295"]), [0xFF; 4]);
        assert_eq!(read(Dword, &["0x10"]), [16, 0, 0, 0]);
        assert_eq!(read(Binary, &["00ff", "a:b,c 0"]), [0, 0xFF, 0xAB, 0xC0]);
        assert!(read(Binary, &[""]).is_empty());
    }

    #[test]
    fn data_that_does_not_fit_is_refused_in_words() {
        use KindArg::{Binary, Dword, MultiSz, Sz};
        for (kind, words, why) in [
            (Sz, &[][..], "one word of data for this type, found 0"),
            (Sz, &["a", "b"], "found 2 (put a text with blanks in quotes)"),
            (MultiSz, &["a", ""], "would end the list there"),
            (
                Dword,
                &["4294967296"],
                "expected a number from 0 to 4294967295 or 0xffffffff, found \"4294967296\"",
            ),
            (Dword, &["-1"], "found \"-1\""),
            (Dword, &["0x+1"], "found \"0x+1\""),
            (Binary, &["0g"], "expected hexadecimal digits, found 'g'"),
            (Binary, &["123"], "expected two digits a byte, found 3 digits"),
        ] {
            let error = data(kind, words).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
