//! The hives of an install: which file is the one that Windows loads, whether it may be written, and the keys that the
//! checks want.

use std::collections::BTreeMap;

use super::{HiveExam, InstallExam};
use crate::change::HiveRole;
use crate::checks::{KeyEvidence, Mirror, Wants};
use crate::cleanup::hive_file::{self, HiveFile, Replayed};
use crate::error::{Error, Result};
use crate::hive::check::{Class, check};
use crate::hive::read::Key;
use crate::path::{RegPath, WinPath};
use crate::volume::{FileFacts, FileSystem};
use crate::windows::control_set::Select;
use crate::windows::install::{config_hive, is_user_hive};
use crate::windows::pending;

impl InstallExam {
    /// Reads the hives of the machine, one at a time in memory: SOFTWARE first, since it tells whether there is a mirror of
    /// SYSTEM to be read.
    pub(super) fn read_hives(
        &mut self,
        volume: &dyn FileSystem,
        mut claimants: BTreeMap<HiveRole, Vec<FileFacts>>,
        wants: &Wants,
    ) {
        for role in [HiveRole::Software, HiveRole::System] {
            // SYSTEM is asked for what else could be done: a verdict rests on SOFTWARE.
            let needed = role == HiveRole::Software;
            let claimants = claimants.remove(&role).unwrap_or_default();
            if claimants.is_empty() {
                let why = format!("{}\\system32\\config has no file {role}", self.evidence.root);
                self.unread(role, needed, why);
                continue;
            }
            match the_hive(volume, claimants, &self.evidence.root, &role) {
                Ok(facts) => self.read_file(volume, (role, needed), facts, wants),
                // Needed or not: on a volume that contradicts itself no edit of this install is safe.
                Err(why) => self.unread(role, true, why),
            }
        }
        let claimants = claimants.remove(&HiveRole::SystemAlternate).unwrap_or_default();
        // Of a Windows that does not tell which it is, a mirror that lies there counts.
        if self.evidence.identity.keeps_alternate().unwrap_or(!claimants.is_empty()) {
            self.evidence.mirror = self.read_mirror(volume, claimants, wants);
            if let Mirror::Unusable(why) = &self.evidence.mirror {
                self.notes.retain(|note| !note.ends_with(why));
                self.notes.push(format!("SYSTEM.ALT is left alone: {why}"));
            }
        }
    }

    fn read_mirror(&mut self, volume: &dyn FileSystem, claimants: Vec<FileFacts>, wants: &Wants) -> Mirror {
        let role = HiveRole::SystemAlternate;
        let facts = match the_hive(volume, claimants, &self.evidence.root, &role) {
            Ok(facts) => facts,
            Err(why) => return Mirror::Unusable(why),
        };
        self.read_file(volume, (role.clone(), false), facts, wants);
        if let Some(why) = self.evidence.unread_hives.get(&role) {
            return Mirror::Unusable(why.clone());
        }
        let exam = self.hives.get(&role);
        if let Some(why) = exam.and_then(|exam| exam.unwritable.clone()) {
            return Mirror::Unusable(why);
        }
        // Windows has a log for it as little as for SYSTEM; a dirty one is the kernel's to write anew.
        if let Some(Replayed { why, .. }) = exam.and_then(|exam| exam.replayed.as_ref()) {
            return Mirror::Unusable(format!("it is dirty ({why})"));
        }
        Mirror::Usable
    }

    /// Reads the hives of users, one at a time in memory. One that cannot be read stops nothing.
    pub(super) fn read_user_hives<'a>(
        &mut self,
        volume: &dyn FileSystem,
        files: impl Iterator<Item = &'a FileFacts>,
        wants: &Wants,
    ) {
        let mut claimants: BTreeMap<WinPath, Vec<FileFacts>> = BTreeMap::new();
        for facts in files.filter(|facts| !facts.is_orphan) {
            if let Some(path) = facts.paths.iter().find(|path| is_user_hive(path)) {
                claimants.entry(path.clone()).or_default().push(facts.clone());
            }
        }
        for (path, claimants) in claimants {
            let role = HiveRole::User(path.clone());
            match the_file(volume, claimants, &path) {
                Ok(facts) => self.read_file(volume, (role, false), FileFacts { path, ..facts }, wants),
                Err(why) => self.unread(role, false, why),
            }
        }
    }

    /// Reads one hive, and keeps what came of it.
    fn read_file(
        &mut self,
        volume: &dyn FileSystem,
        (role, needed): (HiveRole, bool),
        facts: FileFacts,
        wants: &Wants,
    ) {
        let log = hive_file::find_log(volume, &facts.path).unwrap_or_else(|error| {
            let words =
                format!("the log of {} could not be looked up, so no backup of it is kept", facts.path);
            self.notes.push(format!("{words}: {error}"));
            None
        });
        let mut exam =
            HiveExam { log, facts, sha256: None, replayed: None, problems: Vec::new(), unwritable: None };
        let fits = hive_file::refuse_lack(&exam.facts);
        // Memory is this machine's lack, and no state of that Windows: another one tells all, so this one says nothing.
        let needed = needed || fits.is_err();
        let read = fits.and_then(|()| self.read_hive(volume, (&role, needed), &mut exam, wants));
        if let Err(error) = read {
            self.unread(role.clone(), needed, error.to_string());
            exam.unwritable.get_or_insert(error.to_string());
        }
        self.hives.insert(role, exam);
    }

    fn unread(&mut self, role: HiveRole, needed: bool, why: String) {
        let words = format!("{role} could not be read: {why}");
        if needed {
            self.problems.push(words)
        } else {
            self.notes.push(words)
        }
        self.evidence.unread_hives.insert(role, why);
    }

    fn read_hive(
        &mut self,
        volume: &dyn FileSystem,
        (role, needed): (&HiveRole, bool),
        exam: &mut HiveExam,
        wants: &Wants,
    ) -> Result<()> {
        let HiveFile { hive, sha256, replayed } = hive_file::read(volume, &exam.facts)?;
        exam.sha256 = Some(sha256);
        if let Some(Replayed { pages, why }) = &replayed {
            self.notes.push(format!(
                "{} is dirty ({why}); it is read as its transaction log completes it ({pages} pages)",
                exam.facts.path
            ));
        }
        exam.replayed = replayed;
        exam.problems = check(&hive);
        if let Some(problem) = exam.problems.iter().find(|problem| problem.class == Class::Structure) {
            let why = format!("{} is damaged, and an edit could harm it: {problem}", exam.facts.path);
            // What the damage hides may be what starts the worm.
            if needed {
                self.problems.push(why.clone())
            } else {
                self.notes.push(why.clone())
            }
            exam.unwritable = Some(why);
        } else if let Err(error) = volume.extents(exam.facts.id) {
            exam.unwritable = Some(error.path(&exam.facts.path).to_string());
        }
        let mut sets = Vec::new();
        match role {
            HiveRole::Software => self.evidence.identity.read_software(&hive)?,
            HiveRole::System => {
                let select = Select::read(&hive)?;
                self.evidence.identity.read_system(&hive, &select)?;
                self.session_manager = select.in_default(pending::KEY);
                sets = select.sets().collect();
                self.evidence.select = select;
            }
            HiveRole::SystemAlternate => {
                let select = Select::read(&hive)?;
                let is_known = !self.evidence.unread_hives.contains_key(&HiveRole::System);
                if is_known && select != self.evidence.select {
                    let why = "its Select names other control sets than that of SYSTEM";
                    return Err(Error::refused("take it for a mirror of SYSTEM", why).path(&exam.facts.path));
                }
                sets = select.sets().collect();
            }
            HiveRole::User(_) => {}
        }
        let wanted = wants.keys.iter().flat_map(|want| want.paths_in(role, &sets));
        let mut found = Vec::new();
        for path in wanted.chain(self.session_manager.clone().filter(|_| !sets.is_empty())) {
            let parts: Vec<&str> = path.parts().collect();
            matching(hive.root()?, RegPath::default(), &parts, &mut found)?;
        }
        for (path, key) in found {
            self.evidence.keys.insert((role.clone(), path), KeyEvidence::of(&key)?);
        }
        Ok(())
    }
}

/// The keys that a path with `*` for any part leads to, with their paths as they stand in the hive.
fn matching<'a>(
    key: Key<'a>,
    at: RegPath,
    parts: &[&str],
    found: &mut Vec<(RegPath, Key<'a>)>,
) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push((at, key));
        return Ok(());
    };
    if *part == "*" {
        for subkey in key.subkeys()? {
            let at = at.join(&subkey.name());
            matching(subkey, at, rest, found)?;
        }
        return Ok(());
    }
    match key.subkey(part)? {
        Some(subkey) => matching(subkey, at.join(part), rest, found),
        None => Ok(()),
    }
}

/// The one file that the file table and the directories agree on to be a hive of the machine; else why there is none.
fn the_hive(
    volume: &dyn FileSystem,
    claimants: Vec<FileFacts>,
    root: &WinPath,
    role: &HiveRole,
) -> Result<FileFacts, String> {
    // Of a file with several names, the one that Windows opens.
    let is_hive =
        |path: &&WinPath| config_hive(path).is_some_and(|found| found == (root.clone(), role.clone()));
    let path = claimants.iter().flat_map(|facts| &facts.paths).find(is_hive).cloned();
    let path = path.ok_or_else(|| format!("{root}\\system32\\config has no file {role}"))?;
    the_file(volume, claimants, &path)
}

/// The one file that is at a path by the file table and by the directories. Windows opens a hive by the directories; a
/// record that merely claims the path may be a leftover of damage, and is not what it loads.
fn the_file(
    volume: &dyn FileSystem,
    mut claimants: Vec<FileFacts>,
    path: &WinPath,
) -> Result<FileFacts, String> {
    let Some(facts) = claimants.pop() else { return Err(format!("there is no file {path}")) };
    if !claimants.is_empty() {
        let ids: Vec<String> = claimants.iter().chain([&facts]).map(|file| file.id.to_string()).collect();
        return Err(format!(
            "{path} is claimed by more than one file ({}); have that Windows check the volume (chkdsk /f), then scan again",
            ids.join(", ")
        ));
    }
    let words = |found: String| {
        format!(
            "the file table has {path} as {}, and the directory {found}; have that Windows check the volume \
             (chkdsk /f), then scan again",
            facts.id
        )
    };
    match volume.find(path) {
        Ok(Some(found)) if found.id == facts.id => Ok(facts),
        Ok(Some(found)) => Err(words(format!("has {} there", found.id))),
        Ok(None) => Err(words("does not have it".to_owned())),
        Err(error) => Err(words(format!("cannot be searched for it: {error}"))),
    }
}
