//! Files that are looked at whatever their name: those of a size that a signature gives, and under `--deep` every
//! program. They may be most of a disk, so that they are read while the file table is, a batch at a time in the order
//! in which their bytes lie, and all but those that a check wants to keep are forgotten at once: memory grows with
//! what is found, not with what is there.

use crate::change::FileId;
use crate::checks::{Check, Content, FileEvidence, Wants};
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::volume::{FileSystem, ReadAt};

/// How many files are put in order at once: enough to go over the disk in long sweeps, and half a MiB.
const BATCH: usize = 16_384;
/// How a program begins.
const MARK: &[u8] = b"MZ";
/// How often a batch tells how far it is.
const STEPS: u64 = 100;

/// Told bytes done and bytes in all.
type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The sweep over one volume.
pub(super) struct Sweep<'a> {
    volume: &'a dyn FileSystem,
    device: &'a dyn ReadAt,
    wants: &'a Wants,
    checks: &'a [Box<dyn Check + 'a>],
    batch: Vec<(FileId, u64)>,
    swept: Swept,
}

/// What it came to.
#[derive(Default)]
pub(super) struct Swept {
    /// The files that a check keeps.
    pub(super) kept: Vec<FileEvidence>,
    unread: u64,
    first_unread: Option<String>,
}

impl Swept {
    /// What could not be read, for the report; none where all could.
    pub(super) fn in_words(&self) -> Option<String> {
        let first = self.first_unread.as_ref()?;
        let files = if self.unread == 1 { "file" } else { "files" };
        Some(format!("{} {files} could not be held against the signatures: {first}", self.unread))
    }
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        volume: &'a dyn FileSystem,
        device: &'a dyn ReadAt,
        wants: &'a Wants,
        checks: &'a [Box<dyn Check + 'a>],
    ) -> Self {
        Self { volume, device, wants, checks, batch: Vec::new(), swept: Swept::default() }
    }

    /// Takes a file of this size in bytes, if it is to be looked at; where a batch is full, that is read.
    pub(super) fn offer(&mut self, id: FileId, size: u64, progress: Progress<'_>) {
        let is_program_perhaps = self.wants.all_programs && size > MARK.len() as u64;
        if is_program_perhaps || self.wants.size(size) {
            self.batch.push((id, size));
        }
        if self.batch.len() >= BATCH {
            self.read_batch(progress);
        }
    }

    /// Reads what is left.
    pub(super) fn finish(mut self, progress: Progress<'_>) -> Swept {
        self.read_batch(progress);
        self.swept
    }

    fn read_batch(&mut self, progress: Progress<'_>) {
        // Resident files, and others that lie in no place of their own, go first.
        let place = |id: FileId| self.volume.extents(id).ok()?.runs.first().map(|run| run.place);
        let mut order: Vec<_> =
            std::mem::take(&mut self.batch).into_iter().map(|(id, size)| (place(id), id, size)).collect();
        order.sort_by_key(|(place, ..)| *place);
        let total: u64 = order.iter().map(|(.., size)| size).sum();
        let (mut done, mut told) = (0, 0);
        for (place, id, size) in order {
            if let Err(error) = self.look(place, id, size) {
                self.swept.unread += 1;
                let path = self.volume.facts(id).ok().flatten().map(|facts| facts.path);
                let error = path.into_iter().fold(error, |error, path| error.path(path));
                self.swept.first_unread.get_or_insert_with(|| error.to_string());
            }
            done += size;
            if done - told > total / STEPS || done == total {
                progress(done, total);
                told = done;
            }
        }
    }

    fn look(&mut self, place: Option<u64>, id: FileId, size: u64) -> Result<()> {
        if !self.wants.size(size) && !self.is_program(place, id)? {
            return Ok(());
        }
        let content = read_content(self.volume, id)?;
        let keeps = self.checks.iter().any(|check| check.keeps(&content));
        if let Some(facts) = if keeps { self.volume.facts(id)? } else { None } {
            self.swept.kept.push(FileEvidence { facts, content: Ok(content) });
        }
        Ok(())
    }

    /// Whether the file begins as a program: of most files no more than these bytes are read.
    fn is_program(&self, place: Option<u64>, id: FileId) -> Result<bool> {
        if let Some(place) = place {
            let mut head = [0; MARK.len()];
            self.device.read_at(place, &mut head)?;
            return Ok(head == MARK);
        }
        let mut head = None;
        let read = self.volume.read_pieces(id, &mut |piece| {
            head.get_or_insert(piece.starts_with(MARK));
            Err(Error::refused("read on", "the beginning is enough"))
        });
        match (head, read) {
            (Some(is_program), _) => Ok(is_program),
            (None, read) => read.map(|()| false),
        }
    }
}

/// Reads a whole file once, for its digests and for what else its bytes tell.
pub(super) fn read_content(volume: &dyn FileSystem, id: FileId) -> Result<Content> {
    let (mut hasher, mut head) = (Hasher::default(), Vec::new());
    let mut all_zero = true;
    volume.read_pieces(id, &mut |piece| {
        hasher.update(piece);
        all_zero = all_zero && piece.iter().all(|&byte| byte == 0);
        let missing = 512_usize.saturating_sub(head.len());
        head.extend(piece.iter().take(missing));
        Ok(())
    })?;
    let digests = hasher.finish();
    Ok(Content {
        all_zero: all_zero && digests.size > 0,
        first_sector_zero: !head.is_empty() && head.iter().all(|&byte| byte == 0),
        executable: head.starts_with(MARK),
        digests,
    })
}
