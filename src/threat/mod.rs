//! What worms look like: signatures as data, builtin ones and those that the technician adds, and how a file or a
//! registry value is matched against them.
//!
//! A name never proves anything by itself; only a digest, with the size where one is given, confirms.

mod toml_file;

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::digest::{Digests, Md5, Sha1, Sha256};
use crate::error::{Context, Error, Result};
use crate::finding::Grade;
use crate::path::{fold_name, same_name};

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

/// All signatures of a run.
pub struct Signatures {
    list: Vec<Signature>,
    names: HashSet<String>,
    run_values: HashSet<String>,
    sizes: HashSet<u64>,
}

impl Signatures {
    /// The builtin ones.
    pub fn builtin() -> Result<Self> {
        let text: Vec<u8> = BUILTIN.iter().map(|byte| byte ^ BUILTIN_KEY).collect();
        let text = String::from_utf8(text).map_err(|e| Error::library("read the builtin signatures", e))?;
        let mut signatures = Self {
            list: Vec::new(),
            names: HashSet::new(),
            run_values: HashSet::new(),
            sizes: HashSet::new(),
        };
        signatures.extend(toml_file::parse(&text).doing("read the builtin signatures")?);
        Ok(signatures)
    }

    /// Adds those of a TOML file of the technician's.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let is = |kind: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(kind));
        if is("hdb") || is("hsb") {
            return Err(Error::refused("read the signatures", "ClamAV hash sets are not read yet")
                .device(path)
                .hint(
                    "give TOML, with size and digest in a [[signature]] each; see fixtures/practice.toml",
                ));
        }
        const DOING: &str = "read the signatures";
        let node = std::fs::metadata(path).doing(DOING).map_err(|e| e.device(path))?;
        if !node.is_file() {
            return Err(Error::refused(DOING, "it is no plain file").device(path));
        }
        if node.len() > MAX_SIGNATURES {
            return Err(Error::refused(DOING, "it is larger than 16 MiB").device(path));
        }
        let text = std::fs::read_to_string(path).doing(DOING).map_err(|e| e.device(path))?;
        let list = toml_file::parse(&text).map_err(|e| e.device(path))?;
        self.extend(list);
        Ok(())
    }

    fn extend(&mut self, more: Vec<Signature>) {
        for signature in more {
            self.names.extend(signature.names.iter().map(|name| fold_name(name)));
            self.run_values.extend(signature.run_values.iter().map(|name| fold_name(name)));
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

    /// Names of registry values that are worth a look.
    pub fn knows_run_value(&self, name: &str) -> bool {
        self.run_values.contains(&fold_name(name))
    }

    /// Sizes in bytes of files that are worth a digest, whatever their name.
    pub fn knows_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    /// The best match by digest, with the grade that it proves.
    pub fn by_digest(&self, digests: &Digests) -> Option<(&Signature, Grade)> {
        self.list
            .iter()
            .filter_map(|signature| Some((signature, signature.grade_of(digests)?)))
            .min_by_key(|(_, grade)| *grade)
    }

    /// The first signature that has this file name.
    pub fn by_name(&self, name: &str) -> Option<&Signature> {
        self.list.iter().find(|s| s.names.iter().any(|known| same_name(known, name)))
    }

    /// The first signature that has this name of a registry value.
    pub fn by_run_value(&self, name: &str) -> Option<&Signature> {
        self.list.iter().find(|s| s.run_values.iter().any(|known| same_name(known, name)))
    }
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
        assert!(signatures.knows_name("MSBlast.EXE") && signatures.knows_size(6176));
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
        let grade = |s: &Signatures| s.by_digest(&digests).map(|(_, grade)| grade);
        assert_eq!(grade(&entry("size=8", &md5, "confirmed")), Some(Grade::Confirmed));
        assert_eq!(grade(&entry("", &sha256, "confirmed")), Some(Grade::Confirmed));
        assert_eq!(grade(&entry("", &md5, "confirmed")), Some(Grade::Suspect), "MD5 without a size");
        assert_eq!(grade(&entry("size=9", &md5, "confirmed")), None, "another size");
        assert_eq!(grade(&entry("size=8", &md5, "suspect")), Some(Grade::Suspect));
        assert_eq!(grade(&entry("size=8", "", "confirmed")), None, "no digest, no match");
    }
}
