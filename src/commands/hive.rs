//! `deblast hive`: the hive engine over one plain file, for experts, tests and other people's scripts.
//!
//! Reading verbs open the file for reading only. Writing verbs work out every sector first, copy the file (unless told
//! not to), then overwrite sectors in place, synced group by group, each compared with what it was when it was read;
//! at last the file is read again and must be what was worked out.

use std::path::Path;

use super::print;
use crate::cleanup::report_text::printable;
use crate::cli::{HiveTask, HiveVerb, Target};
use crate::error::{Context as _, Error, Result};
use crate::hive::Hive;
use crate::hive::check::{Class, survey};
use crate::hive::edit::{Edit, Group, Room, edit_within};
use crate::hive::log::{Log, replay, replay_script};
use crate::hive::read::Key;
use crate::hive::tree::{actual_tree, expected_tree};
use crate::path::RegPath;

mod file;
mod text;

/// Most harmless oddities that a check tells one by one.
const MOST_WARNINGS: usize = 20;

/// Does what the task says. 0: done, found, or sound; 1: no such key or value, or problems found.
///
/// # Errors
/// The hive cannot be read, or what was asked is refused; the exit code is then 2.
pub fn execute(task: &HiveTask) -> Result<u8> {
    let before = file::read(&task.file)?;
    let done = match &task.verb {
        HiveVerb::Check => check(task, before),
        HiveVerb::Recover(target) => recover(task, before, target),
        HiveVerb::List(key) => reading(task, before).and_then(|hive| list(&hive, key)),
        HiveVerb::Get(key, name) => reading(task, before).and_then(|hive| get(&hive, key, name.as_deref())),
        HiveVerb::Set { key, name, to, create_key, backup } => {
            let set = Edit::Set { key: key.clone(), value: name.clone(), to: to.clone() };
            change(task, before, set, *create_key, backup)
        }
        HiveVerb::Delete { key, name, backup } => {
            let delete = Edit::Delete { key: key.clone(), value: name.clone() };
            change(task, before, delete, false, backup)
        }
    };
    done.map_err(|error| error.device(&task.file))
}

/// The log among those given that applies to this hive; none when none is given or the hive is clean. A hive whose
/// base block is too bad to tell is asked about too: that may be just what the log mends.
fn log_for(task: &HiveTask, bytes: &[u8]) -> Result<Option<Log>> {
    let clean = Hive::parse(bytes.to_vec()).is_ok_and(|hive| hive.dirty().is_none());
    if clean && !task.logs.is_empty() {
        tell("the hive is clean; no log is needed, and none was used");
    }
    if clean || task.logs.is_empty() {
        return Ok(None);
    }
    applicable(&task.logs, bytes).map(Some)
}

fn applicable(logs: &[impl AsRef<Path>], bytes: &[u8]) -> Result<Log> {
    let mut refused: Option<Error> = None;
    for path in logs.iter().map(AsRef::as_ref) {
        let log = file::read(path).and_then(|bytes| Log::parse(bytes).map_err(|error| error.device(path)));
        let fits = log.and_then(|log| match log.applies_to(bytes) {
            Ok(()) => Ok(log),
            Err(why) => Err(why.device(path)),
        });
        match fits {
            Ok(log) => return Ok(log),
            Err(why) => {
                tell(&why.to_string());
                refused = Some(why);
            }
        }
    }
    Err(refused.unwrap_or_else(|| Error::refused("replay a transaction log", "none is given")))
}

/// The hive for a reading verb: after its log, if one is given; else as it is, and a word about it if it is dirty.
fn reading(task: &HiveTask, bytes: Vec<u8>) -> Result<Hive> {
    if let Some(log) = log_for(task, &bytes)? {
        return Hive::parse(replay(bytes, &log)?);
    }
    let hive = Hive::parse(bytes)?;
    if let Some(why) = hive.dirty() {
        tell(&format!(
            "the hive is dirty ({why}): this is how it stands, without what its transaction log would complete (--log)"
        ));
    }
    Ok(hive)
}

fn check(task: &HiveTask, bytes: Vec<u8>) -> Result<u8> {
    let hive = match log_for(task, &bytes)? {
        Some(log) => {
            tell("this is about the hive as it will be after its transaction log");
            Hive::parse(replay(bytes, &log)?)?
        }
        None => Hive::parse(bytes)?,
    };
    let found = survey(&hive);
    let mut out = String::new();
    for problem in &found.problems {
        let class = if problem.class == Class::Structure { "structure" } else { "other" };
        out.push_str(&format!("{class}\t{:#x}\t{}\n", problem.offset, printable(&problem.what)));
    }
    print(&out)?;
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    // Sound hives of Windows have them, so they are no problems, and change no exit code.
    for warning in found.warnings.iter().take(MOST_WARNINGS) {
        tell(&format!("harmless: {warning}"));
    }
    let more = match found.warnings.len() {
        0 => String::new(),
        warnings => format!(", {} without harm", count(warnings, "remark")),
    };
    let problems = match found.problems.len() {
        0 => "sound".to_owned(),
        problems => count(problems, "problem"),
    };
    tell(&format!(
        "{problems}{more}: version 1.{}, {} keys, {} values, {} bytes free",
        hive.minor(),
        found.keys,
        found.values,
        found.free
    ));
    Ok(u8::from(!found.problems.is_empty()))
}

fn recover(task: &HiveTask, before: Vec<u8>, target: &Target) -> Result<u8> {
    let log = applicable(&task.logs, &before)?;
    match target {
        Target::NewFile(path) => {
            let hive = Hive::parse(replay(before, &log)?)?;
            remark_on(&hive);
            file::write_new(path, hive.as_bytes()).doing("write the completed hive")?;
            tell(&format!("{} pages of the log replayed into {}", log.pages(), path.display()));
        }
        Target::InPlace(backup) => {
            let longer = file::lengthened(&before, log.file_length());
            let groups = replay_script(longer.as_deref().unwrap_or(&before), &log)?;
            let after = Hive::parse(replay(before.clone(), &log)?)?;
            remark_on(&after);
            file::backup(backup, &before)?;
            file::write(&task.file, &groups, after.as_bytes())?;
            tell(&format!("{} pages of the log replayed{}", log.pages(), file::where_it_was(backup)));
        }
    }
    Ok(0)
}

/// A completed hive that has problems all the same is not ours to mend, but the user should know.
fn remark_on(hive: &Hive) {
    if !survey(hive).problems.is_empty() {
        tell(
            "the completed hive has problems, which Windows would meet too; `deblast hive check` tells them",
        );
    }
}

fn list(hive: &Hive, path: &RegPath) -> Result<u8> {
    let Some(key) = found(hive, path)? else { return Ok(1) };
    let mut out = String::new();
    for subkey in key.subkeys()? {
        out.push_str(&format!("{}\\\n", printable(&subkey.name())));
    }
    for value in key.values()? {
        let data = text::in_a_line(&value.data()?);
        out.push_str(&format!("{}\t{}\t{data}\n", text::name(&value.name()), value.kind()));
    }
    print(&out)?;
    Ok(0)
}

fn get(hive: &Hive, path: &RegPath, name: Option<&str>) -> Result<u8> {
    let Some(key) = found(hive, path)? else { return Ok(1) };
    let mut out = String::new();
    match name {
        Some(name) => {
            let Some(value) = key.value(name)? else {
                tell(&format!("{path} has no value {}", text::name(name)));
                return Ok(1);
            };
            out.push_str(&text::lines("", &value.data()?));
        }
        None => {
            for value in key.values()? {
                out.push_str(&text::lines(&format!("{}\t", text::name(&value.name())), &value.data()?));
            }
        }
    }
    print(&out)?;
    Ok(0)
}

/// The key, or a word that there is none.
fn found<'a>(hive: &'a Hive, path: &RegPath) -> Result<Option<Key<'a>>> {
    let key = hive.key(path)?;
    if key.is_none() {
        tell(&format!("there is no key {path}"));
    }
    Ok(key)
}

/// Makes one edit of a value, with the keys that it needs.
fn change(
    task: &HiveTask,
    before: Vec<u8>,
    wanted: Edit,
    create_key: bool,
    backup: &crate::cli::Backup,
) -> Result<u8> {
    let mut groups: Vec<Group> = Vec::new();
    let mut bytes = before.clone();
    if let Some(log) = log_for(task, &bytes)? {
        let longer = file::lengthened(&bytes, log.file_length());
        groups = replay_script(longer.as_deref().unwrap_or(&bytes), &log)?;
        bytes = replay(bytes, &log)?;
    }
    let mut hive = Hive::parse(bytes)?;
    if let Some(why) = hive.dirty() {
        return Err(Error::refused("edit the hive", format!("it is dirty: {why}")).hint(
            "give its transaction log with --log, or start that Windows once and shut it down properly",
        ));
    }
    let problems = survey(&hive).problems;
    if let Some(problem) = problems.iter().find(|problem| problem.class == Class::Structure) {
        return Err(Error::refused(
            "edit the hive",
            format!("it is damaged, and an edit could harm it: {problem}"),
        )
        .hint("`deblast hive check` tells all of it"));
    }
    let mut edits: Vec<Edit> = Vec::new();
    for missing in missing_keys(&hive, wanted.key())? {
        if !create_key {
            let hint = if matches!(wanted, Edit::Set { .. }) { "; --create-key makes it" } else { "" };
            tell(&format!("there is no key {missing}{hint}"));
            return Ok(1);
        }
        edits.push(Edit::CreateKey { key: missing });
    }
    if let Edit::Delete { key, value } = &wanted
        && hive.key(key)?.map(|key| key.value(value)).transpose()?.flatten().is_none()
    {
        tell(&format!("{key} has no value {}", text::name(value)));
        return Ok(1);
    }
    edits.push(wanted);
    let tree = expected_tree(&hive, &edits)?;
    groups.extend(edit_within(&mut hive, &edits, file::now(), Room::Grow)?);
    let after = survey(&hive).problems;
    if actual_tree(&hive, &edits)? != tree || after.iter().any(|problem| !problems.contains(problem)) {
        return Err(Error::refused(
            "edit the hive",
            "what came out is not the edit and nothing else; nothing was written",
        ));
    }
    if groups.is_empty() {
        tell("it is so already; nothing was written");
        return Ok(0);
    }
    file::second_opinion(&hive, edits.last())?;
    file::backup(backup, &before)?;
    file::write(&task.file, &groups, hive.as_bytes())?;
    tell(&format!("done{}", file::where_it_was(backup)));
    Ok(0)
}

/// The keys on the way to this one that do not exist, from above.
fn missing_keys(hive: &Hive, path: &RegPath) -> Result<Vec<RegPath>> {
    let mut missing = Vec::new();
    let mut above = RegPath::default();
    for part in path.parts() {
        above = above.join(part);
        if !missing.is_empty() || hive.key(&above)?.is_none() {
            missing.push(above.clone());
        }
    }
    Ok(missing)
}

/// Remarks go to standard error.
fn tell(words: &str) {
    eprintln!("deblast: {}", printable(words));
}
