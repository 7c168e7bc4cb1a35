//! Third step: from findings to actions. All changes of one hive become one action, so a hive is written once; every
//! sector that a run will write is known here, before anybody says yes.

use std::collections::BTreeMap;

use crate::change::{Change, FileChange, FileId, HiveRole, Purpose, ValueChange, VolumeId};
use crate::checks::Check;
use crate::cleanup::compressed;
use crate::cleanup::hibernation;
use crate::cleanup::inspect::{Exam, InstallExam, Opened, VolumeExam};
use crate::cleanup::names::{asked_for, pending_deletions};
use crate::cleanup::remove_now::{self, Unlink};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::finding::{Bearing, CheckName, Outcome, PatchState, Subject};
use crate::hive::check::Problem;
use crate::hive::edit::Edit;
use crate::path::WinPath;
use crate::policy::{Hibernation, Policy, Remove, Situation};
use crate::store::journal::{Intent, Side};
use crate::store::quarantine::name_of;
use crate::volume::{Extents, FileFacts, Storage};
use crate::windows::install::ProductType;

mod hives;

pub(super) use hives::edit_for_undo;

const SECTOR: u64 = 512;
/// A file larger than this is not quarantined: its bytes are held in memory, on machines that may have 64 MiB.
const MAX_QUARANTINE: u64 = 16 << 20;

/// What a run would do to one patient.
#[derive(Default)]
pub struct Plan {
    /// The volumes that it writes.
    pub volumes: Vec<VolumeId>,
    /// What it does, in its order: files first, then SOFTWARE, then SYSTEM.
    pub actions: Vec<Action>,
    /// What the technician should know before saying yes.
    pub notes: Vec<String>,
    /// What becomes of the names of files made inert where no change of this plan has Windows delete them, by install
    /// and finding.
    pub names: Vec<((usize, usize), String)>,
    /// The files that lose their names through a mount, once all else is verified.
    pub unlinks: Vec<Unlink>,
    /// The live hibernation files that stop nothing: this plan gives their sessions up, or takes back a run that has given
    /// up others. Volume of the exam, and file.
    pub discards: Vec<(usize, FileId)>,
}

/// One file that is written.
pub struct Action {
    /// Index into the plan's volumes.
    pub volume: usize,
    /// Index of the volume in the exam that the plan was made from.
    pub exam_volume: usize,
    /// Path of the file.
    pub path: WinPath,
    /// Its identity.
    pub id: FileId,
    /// Where it lies; of a compressed file its clusters, one after the other.
    pub extents: Extents,
    /// Whether NTFS keeps it compressed.
    pub compressed: bool,
    /// Digest of its content as inspected; none where it could not be read, and then only taking back is possible.
    pub before: Option<Sha256>,
    /// What is changed, each with the findings that asked for it, as indexes of install and finding.
    pub changes: Vec<(Change, Vec<(usize, usize)>)>,
    /// How.
    pub kind: ActionKind,
    /// The writes, with groups counted from 0 and without the file's index.
    pub writes: Vec<Write>,
}

/// How a file is written.
#[derive(Clone, Debug)]
pub enum ActionKind {
    /// Its first sector overwritten with zeros, so that a hibernated session is given up.
    Discard,
    /// Overwritten with zeros, its first sector first, after its bytes are in quarantine.
    MakeInert,
    /// Given its bytes back from the quarantine of an earlier run, its first sector last.
    Restore,
    /// Taken back sector by sector, as an earlier run's journal names them; needs no journal of its own, since
    /// whatever cuts it, each sector holds one of the versions that that journal names.
    WriteBack {
        /// Digest of the file before that run.
        before_run: Sha256,
    },
    /// Edited as a hive.
    EditHive {
        /// The edits.
        edits: Vec<Edit>,
        /// Digest of the logical tree as it must be afterwards.
        expected_tree: Sha256,
        /// What the checker says of it, before and afterwards.
        problems: Vec<Problem>,
    },
}

/// One write of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Group inside the action.
    pub group: u32,
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// Length in bytes.
    pub length: u64,
    /// What is there before.
    pub before: Content,
    /// What is there afterwards.
    pub after: Content,
}

/// What a place holds; like a journal's side, but of a run that may have no folder yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zero bytes.
    Zeros,
    /// Bytes of the action's own file, from this offset on, which this run puts in quarantine.
    Own(u64),
    /// Bytes in the quarantine of an earlier run.
    Earlier(Side),
    /// Nothing that can be read: only before a write that takes back.
    Unreadable,
}

impl Content {
    /// The same as a journal has it, for the run with this id and the file with this index in its journal.
    /// None for what cannot be read, which no journal of its own ever names.
    pub fn side(&self, run_id: &str, file: usize) -> Option<Side> {
        Some(match self {
            Self::Bytes(bytes) => Side::Bytes(bytes.clone()),
            Self::Zeros => Side::Zeros,
            Self::Own(offset) => {
                Side::Quarantined { run: run_id.to_owned(), name: name_of(file), offset: *offset }
            }
            Self::Earlier(side) => side.clone(),
            Self::Unreadable => return None,
        })
    }
}

/// A plan that the technician has said yes to. Made by [`confirm`] alone; the only thing that apply takes.
pub struct ConfirmedPlan(Plan);

impl ConfirmedPlan {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.0
    }
}

/// Shows the plan to whoever decides.
pub fn confirm(plan: Plan, decide: &mut dyn FnMut(&Plan) -> bool) -> Result<ConfirmedPlan, Box<Plan>> {
    if decide(&plan) { Ok(ConfirmedPlan(plan)) } else { Err(Box::new(plan)) }
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.unlinks.is_empty()
    }

    /// All changes, in their order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.actions.iter().flat_map(|action| action.changes.iter().map(|(change, _)| change))
    }

    /// The actions that a journal of this plan's own must name: its files, by their index.
    pub fn journalled(&self) -> impl Iterator<Item = (usize, &Action)> {
        self.actions.iter().filter(|action| !matches!(action.kind, ActionKind::WriteBack { .. })).enumerate()
    }

    /// The writes of the journalled actions as a journal has them, for the run with this id.
    pub fn intents(&self, run_id: &str) -> Vec<Intent> {
        let mut intents = Vec::new();
        let mut first_group = 0;
        for (file, action) in self.journalled() {
            for write in &action.writes {
                let sides = write.before.side(run_id, file).zip(write.after.side(run_id, file));
                intents.extend(sides.map(|(before, after)| Intent {
                    group: first_group + write.group,
                    file,
                    place: write.place,
                    length: write.length,
                    before,
                    after,
                }));
            }
            first_group += action.writes.iter().map(|write| write.group + 1).max().unwrap_or(0);
        }
        intents
    }

    /// Notes that the names of inert files stay, and why; nothing else of the cure depends on them.
    fn names_stay(&mut self, asked: impl IntoIterator<Item = (usize, usize)>, why: &str) {
        self.notes.push(format!("the inert file's name stays: {why}"));
        self.names.extend(asked.into_iter().map(|asked| (asked, format!("stays: {why}"))));
    }

    /// Index of a volume in this plan, added where it is new.
    pub(super) fn volume(&mut self, id: VolumeId) -> usize {
        self.volumes.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.volumes.push(id);
            self.volumes.len() - 1
        })
    }
}

/// Makes the plan for one patient, and notes in the findings what is planned for each and what is left and why.
/// `now` is a FILETIME, for the hives' timestamps.
pub fn plan(exam: &mut Exam, checks: &[Box<dyn Check + '_>], policy: &Policy, now: u64) -> Plan {
    let mut plan = Plan::default();
    let mut actions = Vec::new();
    let mut asleep = exam.volumes.iter().filter_map(|volume| volume.asleep.as_ref());
    let mut discards = Vec::new();
    let forbidden = exam.forbidden().or_else(|| match (policy.hibernation, asleep.next()) {
        (_, None) => None,
        (Hibernation::Refuse, Some(asleep)) => Some(asleep.in_words()),
        (Hibernation::Discard, Some(_)) => match hibernation::discard(exam, &mut plan) {
            Ok(actions) => {
                discards = actions;
                None
            }
            Err(why) => Some(why),
        },
    });
    let mut first_install = 0;
    for (exam_volume, volume) in exam.volumes.iter_mut().enumerate() {
        let VolumeExam { opened: Some(opened), id: Some(id), installs, .. } = volume else { continue };
        for (index, install) in installs.iter_mut().enumerate() {
            let place = Place { exam_volume, volume: *id, opened, install: first_install + index };
            match plan_install(install, &place, checks, policy, now, (&mut plan, forbidden.as_deref())) {
                Ok(planned) => actions.extend(planned),
                Err(why) => {
                    for finding in install.findings.iter_mut().filter(|f| f.outcome == Outcome::Planned) {
                        finding.outcome = Outcome::Left;
                    }
                    install.refused = Some(format!("this Windows was left as it is: {why}"));
                }
            }
        }
        first_install += installs.len();
    }
    // Everything inert before the first hive is touched, over all installs.
    actions.sort_by_key(|action| !matches!(action.kind, ActionKind::MakeInert));
    if actions.is_empty() && plan.unlinks.is_empty() {
        // No session is given up for nothing.
        return Plan { names: plan.names, ..Plan::default() };
    }
    plan.actions = discards;
    plan.actions.extend(actions);
    plan
}

/// Where an install lies.
struct Place<'a> {
    exam_volume: usize,
    volume: VolumeId,
    opened: &'a Opened,
    install: usize,
}

impl Place<'_> {
    /// Refuses a file that the second reader finds otherwise: what is written to it could not be verified afterwards.
    fn agree(&self, id: FileId, sha256: Sha256, max: u64) -> Result<()> {
        let theirs = self.opened.files.read_again(id, max)?;
        if Sha256::of(&theirs) == sha256 {
            return Ok(());
        }
        let why =
            "a second reader of the volume finds other bytes in it, so what is written could not be verified";
        Err(Error::refused("plan to write the file", why))
    }

    /// One sector of the volume as it is now.
    fn read(&self, place: u64) -> Result<Vec<u8>> {
        let mut sector = vec![0; SECTOR as usize];
        self.opened.reader.read_at(place, &mut sector)?;
        Ok(sector)
    }
}

/// A value change with the findings that asked for it.
pub(super) type Wanted = (ValueChange, Vec<(usize, usize)>);

fn plan_install(
    install: &mut InstallExam,
    place: &Place<'_>,
    checks: &[Box<dyn Check + '_>],
    policy: &Policy,
    now: u64,
    (plan, forbidden): (&mut Plan, Option<&str>),
) -> Result<Vec<Action>, String> {
    let patch = install.findings.iter().find_map(|finding| match finding.bearing {
        Bearing::Patch(state) => Some(state),
        _ => None,
    });
    let identity = &install.evidence.identity;
    let policy = policy.settled(Situation {
        patch: patch.unwrap_or(PatchState::NotEstablished),
        honours_enable_dcom: identity.honours_enable_dcom(),
        is_workstation: identity.product_type == Some(ProductType::Workstation),
    });
    let obstacle = match policy.remove {
        Remove::Now => remove_now::obstacle(place.opened.files.as_ref()),
        Remove::AtBoot | Remove::Never => None,
    };
    let unlink_now = policy.remove == Remove::Now && obstacle.is_none();
    let mut unlinks: Vec<Unlink> = Vec::new();
    let inert_before: Vec<Option<(FileFacts, FileChange)>> = (0..install.findings.len())
        .map(|index| remove_now::inert_already(install, index))
        .map(|found| found.map(|(facts, change)| (facts.clone(), change)))
        .collect();
    let mut files: Vec<(FileChange, (usize, usize))> = Vec::new();
    let mut values: BTreeMap<HiveRole, Vec<Wanted>> = BTreeMap::new();
    for (index, finding) in install.findings.iter_mut().enumerate() {
        let changes: Vec<Change> =
            checks.iter().flat_map(|check| cure_own(check.as_ref(), finding, &policy)).collect();
        if changes.is_empty() {
            let inert = inert_before.get(index).and_then(Option::as_ref).filter(|_| unlink_now);
            let asked = (place.install, index);
            if let Some(unlink) =
                inert.and_then(|(facts, change)| Unlink::of(facts, change, place.exam_volume, asked))
            {
                finding.action = Some(unlink.in_words());
                finding.outcome = Outcome::Planned;
                unlinks.push(unlink);
                continue;
            }
            if finding.subject != Subject::Nothing && finding.grade != crate::finding::Grade::Information {
                finding.outcome = Outcome::Left;
                finding.why.push_str("; left by policy");
            }
            continue;
        }
        finding.action = Some(changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        finding.outcome = Outcome::Planned;
        for change in changes {
            match change {
                Change::File(change) => files.push((change, (place.install, index))),
                Change::Hibernation(_) => {}
                Change::Value(change) => {
                    values
                        .entry(change.hive.clone())
                        .or_default()
                        .push((change, vec![(place.install, index)]));
                }
            }
        }
    }
    if files.is_empty() && values.is_empty() && unlinks.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(why) = obstacle.filter(|_| !files.is_empty()) {
        plan.notes.push(format!(
            "names cannot be removed now: {why}; Windows deletes them at its next start instead"
        ));
    }
    // Half a cure is none: where the registry cannot be judged, or a hive that the cure needs cannot be written,
    // nothing of this install is touched.
    if let Some(why) = forbidden.map(str::to_owned).or_else(|| install.problems.first().cloned()) {
        return Err(why);
    }
    // The other hives cost only what is to be changed in them.
    if values.contains_key(&HiveRole::Software)
        && let Some(why) = install.hives.get(&HiveRole::Software).and_then(|hive| hive.unwritable.clone())
    {
        return Err(why);
    }
    let (mut inert, mut with_names) = (Vec::new(), Vec::new());
    for (change, asked) in files {
        // A restore point's change.log names its files; System Restore removes both together.
        if install.findings.get(asked.1).is_some_and(|finding| finding.check == CheckName::RestorePoint) {
            match make_inert(&change, place, plan, asked) {
                Ok(action) => with_names.push(action),
                Err(error) => leave(install, asked, &error.to_string()),
            }
            continue;
        }
        let facts = install.evidence.files.iter().find(|file| file.facts.id == change.id);
        let facts = facts.map(|file| file.facts.clone());
        let unlink = facts.as_ref().and_then(|facts| Unlink::of(facts, &change, place.exam_volume, asked));
        let is_resident = facts.is_some_and(|facts| facts.storage == Storage::Resident);
        match (unlink, is_resident) {
            (Some(unlink), true) if unlink_now => {
                let unlink = Unlink { keeps_bytes: true, ..unlink };
                if let Some(finding) = install.findings.get_mut(asked.1) {
                    finding.action = Some(unlink.in_words());
                }
                unlinks.push(unlink);
            }
            (unlink, _) => match make_inert(&change, place, plan, asked) {
                Ok(action) => {
                    match unlink {
                        Some(unlink) if unlink_now => unlinks.push(unlink),
                        None if unlink_now => plan.names_stay([asked], "no folder leads to it"),
                        _ => {}
                    }
                    inert.push(action);
                }
                Err(error) if is_resident => {
                    leave(install, asked, &format!("{error}; --remove now can take it out with its record"));
                }
                Err(error) => leave(install, asked, &error.to_string()),
            },
        }
    }
    if !unlink_now && policy.remove != Remove::Never {
        match pending_deletions(install, &inert) {
            Ok(names) => {
                for asked in names.already {
                    let words = "pending: an entry that was there before this run has Windows delete it";
                    plan.names.push((asked, words.to_owned()));
                }
                if !names.lost.is_empty() {
                    plan.names_stay(names.lost, "no folder leads to it, so Windows could not find it");
                }
                if let Some(change) = names.change {
                    values.entry(HiveRole::System).or_default().push(change);
                }
            }
            Err(why) => plan.names_stay(inert.iter().flat_map(asked_for), &why),
        }
    }
    if !with_names.is_empty() {
        let why = "change.log of its restore point names it, and System Restore removes both together";
        plan.names_stay(with_names.iter().flat_map(asked_for).collect::<Vec<_>>(), why);
    }
    let mut actions = inert;
    actions.append(&mut with_names);
    for (role, wanted) in values {
        let all = wanted.clone();
        let left = match hives::edit(install, &role, wanted, place, now, plan) {
            Ok((edits, left)) => {
                actions.extend(edits);
                left
            }
            Err(why) if role == HiveRole::Software => return Err(why),
            Err(why) => all.into_iter().map(|wanted| (wanted, why.clone())).collect(),
        };
        for ((change, asked), why) in left {
            match change.purpose {
                // The worm is inert and the rest is cured without it.
                Purpose::NameRemoval => plan.names_stay(asked, &why),
                _ => asked.into_iter().for_each(|asked| leave(install, asked, &why)),
            }
        }
    }
    for unlink in unlinks {
        let volume = plan.volume(place.volume);
        plan.unlinks.push(Unlink { volume, ..unlink });
    }
    Ok(actions)
}

/// The cures of one check for one finding of its own.
fn cure_own(check: &dyn Check, finding: &crate::finding::Finding, policy: &Policy) -> Vec<Change> {
    if check.name() == finding.check { check.cure(finding, policy) } else { Vec::new() }
}

fn leave(install: &mut InstallExam, (_, finding): (usize, usize), why: &str) {
    if let Some(finding) = install.findings.get_mut(finding) {
        finding.outcome = Outcome::Left;
        // One reason for many values is told once.
        let words = format!("; left: {why}");
        if !finding.why.contains(&words) {
            finding.why.push_str(&words);
        }
    }
}

fn make_inert(
    change: &FileChange,
    place: &Place<'_>,
    plan: &mut Plan,
    asked: (usize, usize),
) -> Result<Action> {
    let size = change.digests.size;
    if size > MAX_QUARANTINE {
        let why = format!(
            "it has {size} bytes, and they are held in memory: more than {MAX_QUARANTINE} are not taken"
        );
        return Err(Error::refused("quarantine the file", why).path(&change.path));
    }
    let by_hand = "delete it by hand on its own Windows, kept off every network";
    let extents = place.opened.files.allocation(change.id).map_err(|e| e.path(&change.path).hint(by_hand))?;
    place.agree(change.id, change.digests.sha256, size).map_err(|e| e.path(&change.path).hint(by_hand))?;
    let compressed = compressed::is_compressed(place.opened, change.id)?;
    let writes = match compressed {
        true => compressed::zeros(place.opened, &extents)?,
        false => zeros(place, &extents)?,
    };
    Ok(Action {
        volume: plan.volume(place.volume),
        exam_volume: place.exam_volume,
        path: change.path.clone(),
        id: change.id,
        extents,
        compressed,
        before: Some(change.digests.sha256),
        changes: vec![(Change::File(change.clone()), vec![asked])],
        kind: ActionKind::MakeInert,
        writes,
    })
}

/// The writes that make a plain file inert.
fn zeros(place: &Place<'_>, extents: &Extents) -> Result<Vec<Write>> {
    // Behind the initialised size the file reads as zeros already, and nothing of it is on the disk.
    let end = extents.size.min(extents.initialised);
    let whole = end - end % SECTOR;
    let mut writes = Vec::new();
    for piece in extents.sectors(0..whole)? {
        let zeros = |group, skip: u64, length| Write {
            group,
            place: piece.place + skip,
            length,
            before: Content::Own(piece.file_offset + skip),
            after: Content::Zeros,
        };
        // Sector 0 has a group of its own: from there on the file cannot start.
        if piece.file_offset == 0 {
            writes.push(zeros(0, 0, SECTOR));
            if piece.length > SECTOR {
                writes.push(zeros(1, SECTOR, piece.length - SECTOR));
            }
        } else {
            writes.push(zeros(1, 0, piece.length));
        }
    }
    if end > whole {
        // In the last sector only the bytes up to the file's end change.
        let place_of = extents.place(whole, SECTOR)?;
        let before = place.read(place_of)?;
        let mut after = before.clone();
        after.iter_mut().take(usize::try_from(end - whole).unwrap_or(0)).for_each(|byte| *byte = 0);
        let group = u32::from(whole > 0);
        writes.push(Write {
            group,
            place: place_of,
            length: SECTOR,
            before: Content::Bytes(before),
            after: Content::Bytes(after),
        });
    }
    Ok(writes)
}
