//! What worms look like: signatures as data, builtin ones and those that the technician adds, and how a file or a
//! registry value is matched against them.
//!
//! A name never proves anything by itself; only a digest, with the size where one is given, confirms.

mod hash_set;
mod toml_file;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::digest::{Digests, Md5, Sha1, Sha256};
use crate::error::{Context, Error, Result};
use crate::finding::Grade;
use crate::path::{fold_name, same_name};
pub use hash_set::{Entry, HashSets, Outcome, Problem, is_hash_set};

/// `builtin.toml`, encoded by the build script; see there why.
const BUILTIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/builtin.bin"));
/// The build script's key.
const BUILTIN_KEY: u8 = 0x5d;

/// A larger file of signatures is not read: it would be held in memory as a whole.
const MAX_SIGNATURES: u64 = 16 << 20;

/// One known worm, or one variant of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Family, as CERT names it.
    pub family: String,
    /// Variant.
    #[serde(default)]
    pub variant: String,
    /// What others call it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Base names of its files.
    #[serde(default)]
    pub names: Vec<String>,
    /// Whether harmless programs use the same names of files, so that such a name alone says next to nothing.
    #[serde(default)]
    pub common_names: bool,
    /// The only folder, below the system root, in which these names are its own.
    pub folder: Option<String>,
    /// Keys of the services that start it.
    #[serde(default)]
    pub services: Vec<String>,
    /// What it is to the cure.
    #[serde(default)]
    pub role: Role,
    /// Names of the registry values that start it.
    #[serde(default)]
    pub run_values: Vec<String>,
    /// Whether harmless programs use the same names of registry values, so that such a name alone says nothing.
    #[serde(default)]
    pub common_run_values: bool,
    /// Size of its file in bytes.
    pub size: Option<u64>,
    /// MD5 of its file.
    pub md5: Option<Md5>,
    /// SHA-1 of its file.
    pub sha1: Option<Sha1>,
    /// SHA-256 of its file.
    pub sha256: Option<Sha256>,
    /// What an agreeing digest proves.
    #[serde(default = "confirmed")]
    pub grade: SignatureGrade,
    /// Where each fact of it comes from.
    pub source: String,
}

fn confirmed() -> SignatureGrade {
    SignatureGrade::Confirmed
}

/// What a signature's subject is to the cure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Cured.
    #[default]
    Worm,
    /// Another worm that came by the same hole, with names that are Windows' own elsewhere: neither its names nor its
    /// services count for the checks of the worm.
    Companion,
}

/// What an agreeing digest proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureGrade {
    /// The file is this worm.
    Confirmed,
    /// The source is not good enough to act on by default.
    Suspect,
}

impl Signature {
    /// `W32/Blaster A (alias, alias)`.
    pub fn title(&self) -> String {
        let mut title = format!("{} {}", self.family, self.variant).trim_end().to_owned();
        if !self.aliases.is_empty() {
            title.push_str(&format!(" ({})", self.aliases.join(", ")));
        }
        title
    }

    /// Whether its files go by this base name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|known| same_name(known, name))
    }

    fn has_run_value(&self, name: &str) -> bool {
        self.run_values.iter().any(|known| same_name(known, name))
    }

    /// The grade of a file whose digests agree with all that this signature gives; none where they do not, or where
    /// it gives no digest at all. Without a size to agree too, the digest alone is a suspicion at most for MD5 and
    /// SHA-1, for which colliding files can be made.
    fn grade_of(&self, digests: &Digests) -> Option<Grade> {
        let has_digest = self.md5.is_some() || self.sha1.is_some() || self.sha256.is_some();
        let agrees = has_digest
            && self.size.is_none_or(|size| size == digests.size)
            && self.md5.is_none_or(|md5| md5 == digests.md5)
            && self.sha1.is_none_or(|sha1| sha1 == digests.sha1)
            && self.sha256.is_none_or(|sha256| sha256 == digests.sha256);
        let proves = self.size.is_some() || self.sha256.is_some();
        agrees.then_some(match self.grade {
            SignatureGrade::Confirmed if proves => Grade::Confirmed,
            _ => Grade::Suspect,
        })
    }
}

impl SignatureGrade {
    /// As files of signatures spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Suspect => "suspect",
        }
    }
}

/// What a file's digests agree with.
#[derive(Clone, Copy, Debug)]
pub enum Match<'a> {
    /// A signature, and what the agreement proves.
    Signature(&'a Signature, Grade),
    /// A line of a hash set.
    Entry(Entry<'a>),
}

impl<'a> Match<'a> {
    /// What the agreement proves.
    pub fn grade(&self) -> Grade {
        match self {
            Self::Signature(_, grade) => *grade,
            Self::Entry(entry) => entry.grade,
        }
    }

    /// Whether it is a signature of a companion, whose files the checks of the worm pass over.
    pub fn is_companion(&self) -> bool {
        matches!(self, Self::Signature(signature, _) if signature.role == Role::Companion)
    }

    /// The family; of a hash set's line its name.
    pub fn family(&self) -> &'a str {
        match self {
            Self::Signature(signature, _) => &signature.family,
            Self::Entry(entry) => entry.name,
        }
    }

    /// Family, variant and aliases; of a hash set's line its name and place.
    pub fn title(&self) -> String {
        match self {
            Self::Signature(signature, _) => signature.title(),
            Self::Entry(Entry { name, file, line, .. }) => {
                let file =
                    file.file_name().map_or(Cow::Borrowed("a hash set"), |name| name.to_string_lossy());
                format!("{name} ({file}, line {line})")
            }
        }
    }
}

/// All signatures of a run.
pub struct Signatures {
    list: Vec<Signature>,
    hash_sets: HashSets,
    names: HashSet<String>,
    run_values: HashSet<String>,
    sizes: HashSet<u64>,
    deep: bool,
}

impl Signatures {
    /// The builtin ones.
    pub fn builtin() -> Result<Self> {
        let text: Vec<u8> = BUILTIN.iter().map(|byte| byte ^ BUILTIN_KEY).collect();
        let text = String::from_utf8(text).map_err(|e| Error::library("read the builtin signatures", e))?;
        let mut signatures = Self {
            list: Vec::new(),
            hash_sets: HashSets::default(),
            names: HashSet::new(),
            run_values: HashSet::new(),
            sizes: HashSet::new(),
            deep: false,
        };
        signatures.extend(toml_file::parse(&text).doing("read the builtin signatures")?);
        Ok(signatures)
    }

    /// Adds those of a file of the technician's: a ClamAV hash set by its ending (.hdb, .hsb), else TOML.
    ///
    /// # Errors
    /// The file cannot be read, or not all of it be used; the first thing that is wrong, with its line.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        if is_hash_set(path) {
            let outcome = self.hash_sets.add(path)?;
            self.hash_sets.finish();
            return match outcome.problems.first() {
                None => Ok(()),
                Some(Problem { line, what }) => {
                    let place = if *line == 0 { String::new() } else { format!("line {line}: ") };
                    let hint = "deblast signatures check tells all that is wrong with it";
                    Err(Error::library("use the hash set", format!("{place}{what}")).device(path).hint(hint))
                }
            };
        }
        let list = toml_file::parse(&read_text(path)?).map_err(|e| e.device(path))?;
        self.extend(list);
        Ok(())
    }

    /// Asks for a digest of every program, not only of files of a known size or name.
    pub fn set_deep(&mut self, deep: bool) {
        self.deep = deep;
    }

    /// Whether every program is hashed.
    pub fn deep(&self) -> bool {
        self.deep
    }

    /// How many digests are of use only where every program is hashed, because no size comes with them.
    pub fn any_size(&self) -> u64 {
        self.hash_sets.any_size()
    }

    /// Lines of hash sets.
    pub fn hash_sets(&self) -> &HashSets {
        &self.hash_sets
    }

    fn extend(&mut self, more: Vec<Signature>) {
        for signature in more {
            if signature.role == Role::Worm {
                self.names.extend(signature.names.iter().map(|name| fold_name(name)));
                self.run_values.extend(signature.run_values.iter().map(|name| fold_name(name)));
            }
            let has_digest =
                signature.md5.is_some() || signature.sha1.is_some() || signature.sha256.is_some();
            self.sizes.extend(signature.size.filter(|_| has_digest));
            self.list.push(signature);
        }
    }

    /// All of them.
    pub fn list(&self) -> &[Signature] {
        &self.list
    }

    /// Base names of files that are worth a look.
    pub fn knows_name(&self, name: &str) -> bool {
        self.names.contains(&fold_name(name))
    }

    /// Those names, folded.
    pub fn names(&self) -> &HashSet<String> {
        &self.names
    }

    /// Names of registry values that are worth a look.
    pub fn knows_run_value(&self, name: &str) -> bool {
        self.run_values.contains(&fold_name(name))
    }

    /// Sizes in bytes of files that are worth a digest, whatever their name: those of signatures.
    pub fn sizes(&self) -> &HashSet<u64> {
        &self.sizes
    }

    /// The same of hash sets, sorted: there may be as many as lines, and all who ask share them.
    pub fn sizes_of_hash_sets(&self) -> Arc<[u32]> {
        self.hash_sets.sizes()
    }

    /// The best match by digest.
    pub fn by_digest(&self, digests: &Digests) -> Option<Match<'_>> {
        let signatures = self
            .list
            .iter()
            .filter_map(|signature| Some(Match::Signature(signature, signature.grade_of(digests)?)));
        let entry = self.hash_sets.find(digests).map(Match::Entry);
        signatures.chain(entry).min_by_key(Match::grade)
    }

    /// The signatures whose names count for the checks of the worm.
    fn worms(&self) -> impl Iterator<Item = &Signature> {
        self.list.iter().filter(|s| s.role == Role::Worm)
    }

    /// The first signature that has this file name.
    pub fn by_name(&self, name: &str) -> Option<&Signature> {
        self.worms().find(|s| s.has_name(name))
    }

    /// The first signature that has this name of a registry value.
    pub fn by_run_value(&self, name: &str) -> Option<&Signature> {
        self.worms().find(|s| s.has_run_value(name))
    }

    /// The signature that a value of this name, which starts a program of that name, is known by. Names that harmless
    /// programs use too say something only where one signature has both of them.
    pub fn by_value_and_program(&self, value: &str, program: &str) -> Option<&Signature> {
        let both = self.worms().find(|s| s.has_run_value(value) && s.has_name(program));
        let telling_value = || self.worms().any(|s| !s.common_run_values && s.has_run_value(value));
        let telling_program = || self.worms().find(|s| !s.common_names && s.has_name(program));
        both.or_else(|| telling_program().filter(|_| telling_value()))
    }
}

/// A file of signatures as text.
fn read_text(path: &Path) -> Result<String> {
    const DOING: &str = "read the signatures";
    let node = std::fs::metadata(path).doing(DOING).map_err(|e| e.device(path))?;
    if !node.is_file() {
        return Err(Error::refused(DOING, "it is no plain file").device(path));
    }
    if node.len() > MAX_SIGNATURES {
        return Err(Error::refused(DOING, "it is larger than 16 MiB").device(path));
    }
    std::fs::read_to_string(path).doing(DOING).map_err(|e| e.device(path))
}

/// Signatures out of the text of a TOML file.
///
/// # Errors
/// Not all of it can be used; the first thing that is wrong, with its line.
pub fn parse_signatures(text: &str) -> Result<Vec<Signature>> {
    toml_file::parse(text)
}

/// What is wrong with a file of signatures or a hash set, before it is used.
///
/// # Errors
/// It cannot be read.
pub fn check_file(path: &Path) -> Result<Outcome> {
    if is_hash_set(path) {
        return HashSets::default().add(path);
    }
    let text = read_text(path)?;
    Ok(toml_file::check(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Signatures {
        let mut signatures = Signatures::builtin().unwrap();
        signatures.extend(toml_file::parse(text).unwrap());
        signatures
    }

    #[test]
    fn builtin_ones_have_sources_and_no_placeholder_digest() {
        let signatures = Signatures::builtin().unwrap();
        assert!(signatures.list().len() >= 9);
        assert!(signatures.list().iter().all(|s| s.source.len() > 20 && !s.names.is_empty()));
        assert!(signatures.knows_name("MSBlast.EXE") && signatures.sizes().contains(&6176));
        assert!(signatures.knows_run_value("Windows Auto Update"));
        let traps = ["59735ded0ae61947b297bce4cc8893aacbe08a99ba65ee013fdc60b7b6f1617c"];
        assert!(
            signatures
                .list()
                .iter()
                .all(|s| s.sha256.is_none_or(|d| !traps.contains(&d.to_string().as_str())))
        );
    }

    #[test]
    fn only_digest_and_size_together_confirm() {
        let digests = Digests::of(b"stand-in");
        let entry = |size: &str, digest: &str, grade: &str| {
            made(&format!(
                "[[signature]]\nfamily='X'\nnames=['x.exe']\n{size}\n{digest}\ngrade='{grade}'\nsource='test'"
            ))
        };
        let md5 = format!("md5='{}'", digests.md5);
        let sha256 = format!("sha256='{}'", digests.sha256);
        let grade = |s: &Signatures| s.by_digest(&digests).map(|found| found.grade());
        assert_eq!(grade(&entry("size=8", &md5, "confirmed")), Some(Grade::Confirmed));
        assert_eq!(grade(&entry("", &sha256, "confirmed")), Some(Grade::Confirmed));
        assert_eq!(grade(&entry("", &md5, "confirmed")), Some(Grade::Suspect), "MD5 without a size");
        assert_eq!(grade(&entry("size=9", &md5, "confirmed")), None, "another size");
        assert_eq!(grade(&entry("size=8", &md5, "suspect")), Some(Grade::Suspect));
        assert_eq!(grade(&entry("size=8", "", "confirmed")), None, "no digest, no match");
    }

    #[test]
    fn every_sourced_name_is_known_and_windows_own_are_not() {
        let signatures = Signatures::builtin().unwrap();
        let worm = ["msblast", "penis32", "teekids", "mspatch", "mslaugh", "enbiei", "eschlp", "svchosthlp"];
        let beside = ["index", "root32", "nstask32", "winlogin", "wuaumgr", "msconfig35"];
        for name in worm.iter().chain(&beside) {
            assert!(signatures.by_name(&format!("{name}.exe")).is_some(), "{name}");
        }
        for name in beside.iter().chain(&["mspatch"]) {
            assert!(signatures.by_name(&format!("{name}.exe")).unwrap().common_names, "{name}");
        }
        // Welchia's names are in its own folder alone; the check of the companion asks for them there.
        assert!(!signatures.knows_name("svchost.exe") && !signatures.knows_name("dllhost.exe"));
        let welchia = signatures.list().iter().find(|s| s.role == Role::Companion).unwrap();
        assert_eq!(welchia.folder.as_deref(), Some(r"system32\wins"));
        assert_eq!(welchia.services, ["RpcPatch", "RpcTftpd"]);
    }

    #[test]
    fn common_names_agree_only_inside_one_signature() {
        let signatures = Signatures::builtin().unwrap();
        let family = |value: &str, program: &str| {
            signatures.by_value_and_program(value, program).map(|s| format!("{} {}", s.family, s.variant))
        };
        let told = |name: &str| Some(name.to_owned());
        assert_eq!(family("windows auto update", "MSBLAST.EXE"), told("W32/Blaster A"));
        assert_eq!(family("Nonton Antivirus", "mspatch.exe"), told("W32/Blaster D"));
        assert_eq!(family("Helper", "eschlp.exe"), told("W32/Blaster T"));
        assert_eq!(family("Microsoft Inet Xp..", "msblast.exe"), told("W32/Blaster A"), "mixed, and telling");
        for (value, program) in [
            ("Helper", "winlogin.exe"),
            ("MSConfig", "index.exe"),
            ("windows auto update", "root32.exe"),
            ("Helper", "msblast.exe"),
        ] {
            assert_eq!(family(value, program), None, "{value} {program}");
        }
    }

    #[test]
    fn the_best_of_signature_and_hash_set_counts() {
        let digests = Digests::of(b"stand-in");
        let mut signatures = made(&format!(
            "[[signature]]\nfamily='X'\nsize=8\nmd5='{}'\ngrade='suspect'\nsource='test'",
            digests.md5
        ));
        assert_eq!(signatures.by_digest(&digests).unwrap().grade(), Grade::Suspect);
        let file = tempfile::Builder::new().suffix(".hsb").tempfile().unwrap();
        std::fs::write(file.path(), format!("{}:8:Y\n", digests.sha1)).unwrap();
        signatures.add_file(file.path()).unwrap();
        let found = signatures.by_digest(&digests).unwrap();
        assert_eq!((found.grade(), found.family()), (Grade::Confirmed, "Y"));
        assert_eq!(&*signatures.sizes_of_hash_sets(), [8]);
        std::fs::write(file.path(), "broken\n").unwrap();
        assert!(signatures.add_file(file.path()).unwrap_err().to_string().contains("line 1"));
    }
}
