//! Hash sets as ClamAV reads them: `.hdb` and `.hsb`, a line `digest:size:name[:least level[:greatest level]]`. Which
//! algorithm it is the digest's length tells, in either kind of file. Source: ClamAV manual, "File hash signatures";
//! what its 1.4 takes and refuses was tried with `clamscan -d`, and tests/signatures.rs tries it again.
//!
//! A set may have millions of lines: an entry is held in 28 to 44 bytes beside its name, sorted by digest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Digests, Md5, Sha1, Sha256};
use crate::error::{Context as _, Error, Result};
use crate::finding::Grade;

/// Larger files are not read, in bytes: entries are held in memory.
const MAX_FILE: u64 = 1 << 30;
/// A longer line is none of a hash set, in bytes.
const MAX_LINE: u64 = 1024;
/// The longest name in bytes: its length is held in one.
const MAX_NAME: usize = 255;
/// ClamAV takes entries without a size from this functionality level on, and wants it said.
const ANY_SIZE_LEVEL: u32 = 73;
/// How many problems of a file are told one by one.
const MOST_PROBLEMS: usize = 100;

/// Whether a file of this name is taken for a hash set.
pub fn is_hash_set(path: &Path) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case("hdb") || own.eq_ignore_ascii_case("hsb"))
}

/// Entries of any number of files.
#[derive(Default)]
pub struct HashSets {
    md5: Table<16>,
    sha1: Table<20>,
    sha256: Table<32>,
    /// Each once: a byte of length, then the name. Neighbours with one name share it.
    names: Vec<u8>,
    last_name: u32,
    /// Each file with the number of lines in all files before it.
    files: Vec<(PathBuf, u32)>,
    lines: u32,
    /// Sizes in bytes of the files that an entry describes, sorted.
    sizes: Arc<[u32]>,
}

/// One line of a hash set, as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    digest: Digest,
    /// None: of any size.
    size: Option<u32>,
    name: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Digest {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

/// Why a line cannot be used.
#[derive(Debug)]
pub struct Problem {
    /// Counted from 1; 0 is the file as a whole.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What reading a file came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Lines that can be used, by algorithm: MD5, SHA-1, SHA-256.
    pub entries: [u64; 3],
    /// How many of them have no size.
    pub any_size: u64,
    /// How many of those are no proof, being MD5 or SHA-1.
    pub weak: u64,
    /// The first 100 problems.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: u64,
}

impl Outcome {
    fn problem(&mut self, line: u64, what: String) {
        self.problem_count += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { line, what });
        }
    }
}

/// An entry that a file's digests agree with.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What the set calls it.
    pub name: &'a str,
    /// The set.
    pub file: &'a Path,
    /// The line in it, counted from 1.
    pub line: u32,
    /// Size in bytes; none: any.
    pub size: Option<u32>,
    /// What it proves.
    pub grade: Grade,
}

impl HashSets {
    /// Reads a file and keeps its entries, problems or not; [`Self::finish`] makes them ready for use.
    ///
    /// # Errors
    /// It cannot be read, is no plain file, or too large.
    pub fn add(&mut self, path: &Path) -> Result<Outcome> {
        const DOING: &str = "read the hash set";
        let node = std::fs::metadata(path).doing(DOING).map_err(|e| e.device(path))?;
        if !node.is_file() {
            return Err(Error::refused(DOING, "it is no plain file").device(path));
        }
        if node.len() > MAX_FILE {
            return Err(Error::refused(DOING, "it is larger than 1 GiB").device(path).hint("split it"));
        }
        let file = File::open(path).doing(DOING).map_err(|e| e.device(path))?;
        self.add_lines(path, BufReader::new(file))
    }

    /// The same of lines that lie anywhere; `path` is only told.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn add_lines(&mut self, path: &Path, mut reader: impl BufRead) -> Result<Outcome> {
        const DOING: &str = "read the hash set";
        self.files.push((path.to_owned(), self.lines));
        let (mut outcome, mut number, mut line) = (Outcome::default(), 0, Vec::new());
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if read.doing(DOING).map_err(|e| e.device(path))? == 0 {
                break;
            }
            number += 1;
            if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
                outcome.problem(number, format!("expected a line of less than {MAX_LINE} bytes"));
                skip_line(&mut reader).doing(DOING).map_err(|e| e.device(path))?;
                continue;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            // All of them, as ClamAV does: one that stayed would be part of a name.
            while line.last() == Some(&b'\r') {
                line.pop();
            }
            match parse(&line) {
                Ok(None) => {}
                Ok(Some(entry)) => self.keep(number, &entry, &mut outcome),
                Err(what) => outcome.problem(number, what),
            }
        }
        self.lines = self.lines.saturating_add(u32::try_from(number).unwrap_or(u32::MAX));
        if outcome.entries == [0; 3] && outcome.problem_count == 0 {
            outcome.problem(0, "it holds no entry".to_owned());
        }
        Ok(outcome)
    }

    fn keep(&mut self, number: u64, line: &Line<'_>, outcome: &mut Outcome) {
        let at = self.lines.checked_add(u32::try_from(number).unwrap_or(u32::MAX));
        let (Some(at), Some(name)) = (at, self.intern(line.name)) else {
            return outcome.problem(number, "there are too many entries; 4 GiB of them are held".to_owned());
        };
        let size = line.size.unwrap_or(0);
        let algorithm = match &line.digest {
            Digest::Md5(digest) => self.md5.push(*digest.as_bytes(), size, name, at, 0),
            Digest::Sha1(digest) => self.sha1.push(*digest.as_bytes(), size, name, at, 1),
            Digest::Sha256(digest) => self.sha256.push(*digest.as_bytes(), size, name, at, 2),
        };
        if let Some(count) = outcome.entries.get_mut(algorithm) {
            *count += 1;
        }
        outcome.any_size += u64::from(line.size.is_none());
        outcome.weak += u64::from(line.size.is_none() && algorithm < 2);
    }

    /// The place of a name.
    fn intern(&mut self, name: &str) -> Option<u32> {
        if !self.names.is_empty() && self.name_at(self.last_name) == name {
            return Some(self.last_name);
        }
        self.last_name = u32::try_from(self.names.len()).ok()?;
        self.names.push(u8::try_from(name.len()).ok()?);
        self.names.extend_from_slice(name.as_bytes());
        Some(self.last_name)
    }

    fn name_at(&self, place: u32) -> &str {
        let place = place as usize;
        let length = self.names.get(place).copied().map_or(0, usize::from);
        let bytes = self.names.get(place + 1..place + 1 + length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Sorts what was added.
    pub fn finish(&mut self) {
        self.md5.finish();
        self.sha1.finish();
        self.sha256.finish();
        self.names.shrink_to_fit();
        let mut sizes: Vec<u32> = self
            .md5
            .sizes()
            .chain(self.sha1.sizes())
            .chain(self.sha256.sizes())
            .filter(|&s| s != 0)
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        self.sizes = sizes.into();
    }

    /// Sizes in bytes of the files that are described, sorted.
    pub fn sizes(&self) -> Arc<[u32]> {
        self.sizes.clone()
    }

    /// How many entries have no size, so that they are of use only where every program is hashed.
    pub fn any_size(&self) -> u64 {
        let none = |sizes: &mut dyn Iterator<Item = u32>| sizes.filter(|&size| size == 0).count() as u64;
        none(&mut self.md5.sizes()) + none(&mut self.sha1.sizes()) + none(&mut self.sha256.sizes())
    }

    /// The best entry that agrees with a file's digests and size.
    pub fn find(&self, digests: &Digests) -> Option<Entry<'_>> {
        let md5 = self.md5.find(digests.md5.as_bytes(), digests.size).map(|row| (row, false));
        let sha1 = self.sha1.find(digests.sha1.as_bytes(), digests.size).map(|row| (row, false));
        let sha256 = self.sha256.find(digests.sha256.as_bytes(), digests.size).map(|row| (row, true));
        let found = [sha256, sha1, md5].into_iter().flatten();
        found.map(|((size, name, line), strong)| self.entry(size, name, line, strong)).min_by_key(|e| e.grade)
    }

    /// All entries, in the order of their digests, as hexadecimal digits.
    pub fn entries(&self) -> impl Iterator<Item = (String, Entry<'_>)> {
        let md5 = self.md5.rows.iter().map(|r| (hex(&r.digest), self.entry(r.size, r.name, r.line, false)));
        let sha1 = self.sha1.rows.iter().map(|r| (hex(&r.digest), self.entry(r.size, r.name, r.line, false)));
        let sha256 =
            self.sha256.rows.iter().map(|r| (hex(&r.digest), self.entry(r.size, r.name, r.line, true)));
        md5.chain(sha1).chain(sha256)
    }

    /// A size and a digest prove, and SHA-256 alone does. Of files with one MD5 or SHA-1 more can be made.
    fn entry(&self, size: u32, name: u32, line: u32, strong: bool) -> Entry<'_> {
        let index = self.files.partition_point(|(_, before)| *before < line).saturating_sub(1);
        let none: (&Path, u32) = (Path::new(""), 0);
        let (file, before) = self.files.get(index).map_or(none, |(file, before)| (file.as_path(), *before));
        let grade = if size != 0 || strong { Grade::Confirmed } else { Grade::Suspect };
        let size = (size != 0).then_some(size);
        Entry { name: self.name_at(name), file, line: line - before, size, grade }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn skip_line(reader: &mut impl std::io::BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

/// One line without its end; none for a comment.
fn parse(line: &[u8]) -> Result<Option<Line<'_>>, String> {
    if line.first() == Some(&b'#') {
        return Ok(None);
    }
    let line =
        std::str::from_utf8(line).map_err(|_| "expected text, found bytes that are none".to_owned())?;
    let fields: Vec<&str> = line.splitn(7, ':').collect();
    let (digest, size, name, levels) = match fields.as_slice() {
        [digest, size, name, levels @ ..] if levels.len() <= 2 => (*digest, *size, *name, levels),
        _ => {
            return Err(format!(
                "expected digest:size:name and at most two levels, found {} field{}",
                fields.len(),
                if fields.len() == 1 { "" } else { "s" }
            ));
        }
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| digits)
    };
    let mut least = None;
    for (index, level) in levels.iter().enumerate() {
        let level =
            number(level).ok_or_else(|| format!("expected a functionality level, found {level:?}"))?;
        least = if index == 0 { Some(level) } else { least };
    }
    let size = match size {
        "*" if least.is_some_and(|level| level >= ANY_SIZE_LEVEL) => None,
        "*" => {
            return Err(format!(
                "expected a functionality level of {ANY_SIZE_LEVEL} or more behind the name, since the size is *"
            ));
        }
        size => match number(size) {
            Some(0) => return Err("expected a size above 0: an empty file is nobody's".to_owned()),
            // ClamAV's own bound.
            Some(size) if size < u32::MAX => Some(size),
            _ => return Err(format!("expected a size in bytes below 4 GiB, or *, found {size:?}")),
        },
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("expected a name of 1 to {MAX_NAME} bytes, found {}", name.len()));
    }
    let bad = |what: String| if digest.len() <= 80 { what } else { "a digest that is too long".to_owned() };
    let digest = match digest.len() {
        32 => Digest::Md5(digest.parse().map_err(bad)?),
        40 => Digest::Sha1(digest.parse().map_err(bad)?),
        64 => Digest::Sha256(digest.parse().map_err(bad)?),
        length => return Err(format!("expected 32, 40 or 64 hex digits, found a digest of {length} bytes")),
    };
    let empty = Digests::of(b"");
    if digest == Digest::Md5(empty.md5)
        || digest == Digest::Sha1(empty.sha1)
        || digest == Digest::Sha256(empty.sha256)
    {
        return Err("it is the digest of no bytes at all: every empty file would match".to_owned());
    }
    Ok(Some(Line { digest, size, name }))
}

/// Entries of one algorithm, sorted by digest and then by size, those without one (0) last.
struct Table<const N: usize> {
    rows: Vec<Row<N>>,
}

#[derive(Clone, Copy)]
struct Row<const N: usize> {
    digest: [u8; N],
    size: u32,
    name: u32,
    line: u32,
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<const N: usize> Table<N> {
    fn push(&mut self, digest: [u8; N], size: u32, name: u32, line: u32, algorithm: usize) -> usize {
        self.rows.push(Row { digest, size, name, line });
        algorithm
    }

    fn finish(&mut self) {
        self.rows.sort_unstable_by_key(|row| (row.digest, row.size.wrapping_sub(1), row.line));
        self.rows.dedup_by_key(|row| (row.digest, row.size));
        self.rows.shrink_to_fit();
    }

    fn sizes(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.size)
    }

    fn find(&self, digest: &[u8; N], size: u64) -> Option<(u32, u32, u32)> {
        let first = self.rows.partition_point(|row| row.digest < *digest);
        let same = self.rows.get(first..)?.iter().take_while(|row| row.digest == *digest);
        let mut same = same.filter(|row| row.size == 0 || u64::from(row.size) == size);
        same.next().map(|row| (row.size, row.name, row.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(text: &str) -> (HashSets, Outcome) {
        let file = tempfile::Builder::new().suffix(".hsb").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut sets = HashSets::default();
        let outcome = sets.add(file.path()).unwrap();
        sets.finish();
        (sets, outcome)
    }

    #[test]
    fn an_entry_is_found_by_each_algorithm_and_only_with_its_size() {
        let d = Digests::of(b"stand-in");
        for digest in [d.md5.to_string(), d.sha1.to_string(), d.sha256.to_string().to_uppercase()] {
            let (found, outcome) = sets(&format!("# comment\n{digest}:8:Test.A\r\n"));
            assert_eq!(outcome.problem_count, 0, "{:?}", outcome.problems);
            let entry = found.find(&d).unwrap();
            assert_eq!((entry.name, entry.line, entry.grade), ("Test.A", 2, Grade::Confirmed));
            assert_eq!(&*found.sizes(), [8]);
            assert!(sets(&format!("{digest}:9:Test.A")).0.find(&d).is_none(), "another size");
            assert!(found.find(&Digests::of(b"stand-is")).is_none(), "other bytes of that size");
        }
    }

    #[test]
    fn without_a_size_only_sha_256_proves_and_a_sized_entry_goes_first() {
        let d = Digests::of(b"stand-in");
        let grade = |text: &str| sets(text).0.find(&d).map(|entry| (entry.name.to_owned(), entry.grade));
        let told = |name: &str, grade| Some((name.to_owned(), grade));
        assert_eq!(grade(&format!("{}:*:A:73", d.md5)), told("A", Grade::Suspect));
        assert_eq!(grade(&format!("{}:*:A:73", d.sha1)), told("A", Grade::Suspect));
        assert_eq!(grade(&format!("{}:*:A:73:255", d.sha256)), told("A", Grade::Confirmed));
        let both = format!("{}:*:A:73\n{}:8:B", d.md5, d.md5);
        assert_eq!(grade(&both), told("B", Grade::Confirmed));
        let (found, outcome) = sets(&both);
        assert_eq!((found.any_size(), outcome.any_size, outcome.weak), (1, 1, 1));
    }

    #[test]
    fn no_end_of_a_line_becomes_part_of_a_name() {
        let d = Digests::of(b"stand-in");
        let (found, outcome) = sets(&format!("{}:8:Test.A\r\r\n", d.md5));
        assert_eq!((found.find(&d).unwrap().name, outcome.problem_count), ("Test.A", 0));
        assert_eq!(sets("\r\n").1.problem_count, 1, "an empty line is no entry");
    }

    #[test]
    fn lines_are_those_of_their_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.hdb"), folder.path().join("b.hsb"));
        let (one, two) = (Digests::of(b"1"), Digests::of(b"2"));
        std::fs::write(&a, format!("{}:1:One\n", one.md5)).unwrap();
        std::fs::write(&b, format!("# x\n{}:1:Two\n{}:1:One\n", two.sha1, one.sha256)).unwrap();
        let mut sets = HashSets::default();
        sets.add(&a).unwrap();
        sets.add(&b).unwrap();
        sets.finish();
        let entry = sets.find(&two).unwrap();
        assert_eq!((entry.file, entry.line, entry.name), (b.as_path(), 2, "Two"));
        let mut places: Vec<_> = sets.entries().map(|(_, e)| (e.file, e.line, e.name)).collect();
        places.sort();
        assert_eq!(places, [(a.as_path(), 1, "One"), (b.as_path(), 2, "Two"), (b.as_path(), 3, "One")]);
    }

    #[test]
    fn every_bad_line_is_told_with_its_number_and_the_good_ones_stay() {
        let d = Digests::of(b"stand-in");
        let good = format!("{}:8:Good", d.sha1);
        let long = format!("{}:8:{}", d.sha1, "x".repeat(5000));
        let bad = [
            "",
            "nonsense",
            &format!("{}:8", d.md5),
            &format!("{}:8:", d.md5),
            &format!("{}:8:A:1:2:3", d.md5),
            &format!("{}:*:A", d.md5),
            &format!("{}:*:A:72", d.md5),
            &format!("{}:0:A", d.md5),
            &format!("{}:-1:A", d.md5),
            &format!("{}:+8:A", d.md5),
            &format!("{}:0x8:A", d.md5),
            &format!("{}:4294967295:A", d.md5),
            &format!("{}:8:A:x", d.md5),
            &format!("{}0:8:A", d.md5),
            &format!("z{}:8:A", &d.md5.to_string()[1..]),
            &format!("{}:*:A:73", Digests::of(b"").sha256),
            &long,
        ];
        for line in bad {
            let (found, outcome) = sets(&format!("{good}\n{line}\n{good}.2\n"));
            let lines: Vec<u64> = outcome.problems.iter().map(|problem| problem.line).collect();
            assert_eq!(lines, [2], "{line}: {:?}", outcome.problems);
            assert_eq!(outcome.entries, [0, 2, 0], "{line}");
            assert_eq!(
                found.find(&d).map(|entry| entry.name),
                Some("Good"),
                "the first of two with one digest"
            );
        }
        for empty in ["", "# only a comment\n"] {
            assert!(sets(empty).1.problems[0].what.contains("no entry"), "{empty}");
        }
    }
}
