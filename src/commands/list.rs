//! `deblast list`: disks, volumes and Windows installs. Reads only, and judges nothing.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use crate::cleanup::discover::{Patient, targets};
use crate::cleanup::hibernation::Asleep;
use crate::cleanup::inspect::{Exam, inspect};
use crate::cleanup::report_text::{human_size, printable};
use crate::disk::{Table, attached};
use crate::error::{Context, Result};
use crate::volume::Roots;

/// Prints a paragraph for each target. 0 when all could be read, 2 when something could not.
///
/// # Errors
/// The attached disks cannot be listed, or standard output not be written.
pub fn execute(named: &[PathBuf]) -> Result<u8> {
    let mut text = String::new();
    let mut all_read = true;
    let list = targets(named)?;
    let attached = if named.is_empty() { attached(&Roots::default())? } else { Vec::new() };
    if list.is_empty() {
        text.push_str("no disk is attached but those that this machine uses\n");
    }
    for path in list {
        let looked = Patient::open_to_list(&path)
            .and_then(|patient| Ok((inspect(&patient, &[], &mut |_| {})?, patient)));
        match looked {
            Ok((exam, patient)) => {
                all_read &= patient.disk.table != Table::Unreadable
                    && exam.volumes.iter().all(|volume| volume.problem.is_none());
                text.push_str(&describe(&patient, &exam));
            }
            Err(error) => {
                all_read = false;
                text.push_str(&format!("{}\n  {}\n", path.display(), printable(&error.to_string())));
            }
        }
    }
    for disk in attached {
        // It is not looked at, but a disk that is missing in the list would be looked for.
        if let Some(why) = disk.in_use {
            let (path, size) = (disk.path.display(), human_size(disk.size));
            text.push_str(&format!("{path}  {size}\n  in use: {}\n", printable(&why)));
        }
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.doing("print")?,
    }
    Ok(if all_read { 0 } else { 2 })
}

fn describe(patient: &Patient, exam: &Exam) -> String {
    let disk = &patient.disk;
    let identity: Vec<String> =
        [&disk.model, &disk.serial].into_iter().flatten().map(|text| printable(text)).collect();
    let identity = if identity.is_empty() { String::new() } else { format!(", {}", identity.join(", ")) };
    let removable = if disk.removable { ", removable" } else { "" };
    let mut text = format!(
        "{}  {}{identity}{removable}
",
        disk.path.display(),
        human_size(disk.size)
    );
    // What is told twice of a disk is no less told once.
    let mut told = BTreeSet::new();
    for note in disk.notes.iter().filter(|note| told.insert(*note)) {
        text.push_str(&format!("  {}\n", printable(note)));
    }
    for why in &exam.forbids_writing {
        text.push_str(&format!("  {}\n", printable(why)));
    }
    for (partition, volume) in disk.partitions.iter().zip(&exam.volumes) {
        let version = volume.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
        let active = if partition.bootable { ", active" } else { "" };
        text.push_str(&format!(
            "  {} at {:#x}, {}: {}{active}; {}{version}\n",
            partition.number,
            partition.start,
            human_size(partition.size),
            partition.kind,
            volume.filesystem
        ));
        let remarks = volume.state.iter().chain(&volume.problem).chain(&volume.forbids_writing);
        let mut told = BTreeSet::new();
        let asleep = volume.asleep.as_ref().map(Asleep::in_words);
        remarks
            .chain(&asleep)
            .filter(|remark| told.insert(*remark))
            .for_each(|remark| text.push_str(&format!("     {}\n", printable(remark))));
        for install in &volume.installs {
            let identity = &install.evidence.identity;
            let name = identity.computer_name.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
            text.push_str(&format!(
                "     Windows: {} in {}{}\n",
                printable(&identity.title()),
                printable(&install.evidence.root.to_string()),
                printable(&name)
            ));
        }
    }
    text
}
