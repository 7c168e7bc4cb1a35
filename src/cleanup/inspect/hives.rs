//! The hives of an install: which file is the one that Windows loads, whether it may be written, and the keys that the
//! checks want.

use std::collections::BTreeMap;

use super::{HiveExam, InstallExam};
use crate::change::HiveRole;
use crate::checks::{KeyEvidence, Mirror, Wants};
use crate::cleanup::hive_file::{self, HiveFile, Replayed};
use crate::error::Result;
use crate::hive::check::{Class, check};
use crate::hive::read::Key;
use crate::path::{RegPath, WinPath};
use crate::volume::{FileFacts, FileSystem};
use crate::windows::control_set::Select;
use crate::windows::install::config_hive;
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
        if self.evidence.identity.keeps_alternate() {
            let claimants = claimants.remove(&HiveRole::SystemAlternate).unwrap_or_default();
            self.evidence.mirror = self.read_mirror(volume, claimants, wants);
            if let Mirror::Unusable(why) = &self.evidence.mirror {
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
        let unread = self.evidence.unread_hives.get(&role).cloned();
        let unwritable = self.hives.get(&role).and_then(|exam| exam.unwritable.clone());
        unread.or(unwritable).map_or(Mirror::Usable, Mirror::Unusable)
    }

    /// Reads the hives of users, one at a time in memory. One that cannot be read stops nothing.
    pub(super) fn read_user_hives(&mut self, volume: &dyn FileSystem, files: &[FileFacts], wants: &Wants) {
        for facts in files {
            let role = HiveRole::User(facts.path.clone());
            self.read_file(volume, (role, false), facts.clone(), wants);
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
        if let Err(error) = self.read_hive(volume, (&role, needed), &mut exam, wants) {
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
            HiveRole::SystemAlternate => sets = Select::read(&hive)?.sets().collect(),
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

/// The one file that the file table and the directories agree on to be a hive; else why there is none. Windows opens a
/// hive by the directories; a record that merely claims the path may be a leftover of damage, and is not what it loads.
fn the_hive(
    volume: &dyn FileSystem,
    mut claimants: Vec<FileFacts>,
    root: &WinPath,
    role: &HiveRole,
) -> Result<FileFacts, String> {
    let none = || format!("{root}\\system32\\config has no file {role}");
    let Some(facts) = claimants.pop() else { return Err(none()) };
    // Of a file with several names, the one that Windows opens.
    let is_hive =
        |path: &&WinPath| config_hive(path).is_some_and(|found| found == (root.clone(), role.clone()));
    let path = facts.paths.iter().find(is_hive).unwrap_or(&facts.path);
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
