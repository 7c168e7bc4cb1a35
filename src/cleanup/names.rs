//! How the names of files made inert go away: by an entry in SYSTEM that has Windows delete them at its next start, and
//! how that entry is withdrawn.

use crate::change::{HiveRole, Purpose, ValueChange, ValueData, ValueEdit};
use crate::cleanup::inspect::InstallExam;
use crate::cleanup::plan::{Action, Wanted};
use crate::windows::pending::{self, Pending};

/// The findings that asked for an action.
pub(super) fn asked_for(action: &Action) -> impl Iterator<Item = (usize, usize)> {
    action.changes.iter().flat_map(|(_, asked)| asked).copied()
}

/// What becomes of the names of files made inert.
#[derive(Default)]
pub(super) struct Deletions {
    /// The change that has Windows delete them, if one is needed.
    pub(super) change: Option<Wanted>,
    /// The findings of those that Windows deletes without it.
    pub(super) already: Vec<(usize, usize)>,
    /// The findings of those that have no path that Windows could follow.
    pub(super) lost: Vec<(usize, usize)>,
}

/// How the names of files made inert go away; an error says why none of them does.
pub(super) fn pending_deletions(install: &InstallExam, inert: &[Action]) -> Result<Deletions, String> {
    let mut names = Deletions::default();
    if inert.is_empty() {
        return Ok(names);
    }
    let drive = install.evidence.identity.drive.ok_or("SystemRoot does not tell the drive's letter")?;
    let hive = install.hives.get(&HiveRole::System).ok_or("there is no SYSTEM hive")?;
    if let Some(why) = &hive.unwritable {
        return Err(why.clone());
    }
    let key =
        install.session_manager.clone().ok_or("Select does not name the control set of the next start")?;
    let found = install
        .evidence
        .key(&HiveRole::System, &key)
        .ok_or_else(|| format!("SYSTEM has no key {key}"))?
        .value(pending::VALUE);
    let before = match found {
        None => None,
        Some(Ok(data)) => Some(data.clone()),
        Some(Err(why)) => return Err(why.clone()),
    };
    let mut list = before.as_ref().map(Pending::parse).transpose()?.unwrap_or_default();
    let (mut pairs, mut asked) = (Vec::new(), Vec::new());
    for action in inert {
        let file = install.evidence.files.iter().find(|file| file.facts.id == action.id);
        let Some(file) = file.filter(|file| !file.facts.is_orphan) else {
            names.lost.extend(asked_for(action));
            continue;
        };
        let mut added = false;
        for path in &file.facts.paths {
            let source = pending::nt_path(drive, path);
            if !list.deletes(&source) {
                list.append(&source);
                pairs.push(source);
                added = true;
            }
        }
        if added { &mut asked } else { &mut names.already }.extend(asked_for(action));
    }
    if pairs.is_empty() {
        return Ok(names);
    }
    let change = ValueChange {
        hive: HiveRole::System,
        key,
        name: pending::VALUE.to_owned(),
        before,
        edit: ValueEdit::Set { to: list.to_value() },
        purpose: Purpose::NameRemoval,
        pairs,
    };
    names.change = Some((change, asked));
    Ok(names)
}

/// The value that a list of ours would have without our pairs, and whether it held any of them. None: deleted.
pub(super) fn without_pairs(
    change: &ValueChange,
    now: &ValueData,
) -> Result<(Option<ValueData>, bool), String> {
    let mut list = Pending::parse(now)?;
    let withdrawn = change.pairs.iter().filter(|pair| list.withdraw(pair)).count();
    let gone = list.is_empty() && change.before.is_none();
    Ok(((!gone).then(|| list.to_value()), withdrawn > 0))
}
