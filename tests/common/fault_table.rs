//! The tables of docs/faults.md: each row that a test finds must stand there, and `DEBLAST_CUTS` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use crate::common;
use crate::cut_disk::in_parallel;
use crate::cut_story::chosen;
use crate::fault_scene::{Ended, Scene, Wanted, Whole, in_words, meet, place, whole};
use crate::stage::{Call, Fate};

/// A row of the table without what is counted: where the fault was met, and how the run ended.
type Row = (&'static str, Ended);

/// Which calls met which faults.
type Met = BTreeSet<(String, &'static str)>;

#[derive(Default)]
pub(crate) struct Table(Mutex<(BTreeMap<Row, Met>, Vec<String>)>);

impl Table {
    fn meet(&self, whole: &Whole, wanted: Wanted, nth: usize, fate: Fate) {
        let met = meet(whole, wanted, nth, fate);
        let mut inner = self.0.lock().unwrap();
        match met {
            Ok((call, ended)) => {
                let kind = format!("{:?}", call.kind).to_lowercase();
                inner.0.entry((place(&call), ended)).or_default().insert((kind, in_words(fate)));
            }
            Err(why) => inner.1.push(why),
        }
    }

    /// Prints the rows, and holds them against the document, or writes them there.
    fn close(self, heading: &str, may_write: bool) {
        let (rows, wrong) = self.0.into_inner().unwrap();
        let mut text = String::new();
        for ((place, ended), met) in &rows {
            let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (kind, fate) in met {
                of.entry(fate).or_default().insert(kind);
            }
            let join = |kinds: &BTreeSet<&str>| kinds.iter().copied().collect::<Vec<_>>().join(", ");
            let of: Vec<String> =
                of.iter().map(|(fate, kinds)| format!("{fate} ({})", join(kinds))).collect();
            let Ended { exit, told, disk, next } = ended;
            text.push_str(&format!("| {place} | {} | {exit} | {told} | {disk} | {next} |\n", of.join("; ")));
        }
        println!("{heading}\n{text}");
        wrong.iter().take(12).for_each(|why| println!("  WRONG {why:.9000}"));
        assert!(wrong.is_empty(), "{} faults end wrong, see above", wrong.len());
        assert!(!rows.is_empty());
        let document = Path::new(common::ROOT).join("docs/faults.md");
        if may_write && std::env::var_os("DEBLAST_CUTS").is_some() {
            write_section(&document, heading, &text);
        }
        let document = std::fs::read_to_string(document).unwrap();
        let (_, section) =
            document.split_once(&format!("## {heading}\n")).expect("its heading in docs/faults.md");
        let section = section.split("\n## ").next().unwrap();
        let strange: Vec<String> = rows
            .iter()
            .flat_map(|(row, met)| met.iter().map(move |(kind, fate)| (row, kind, fate)))
            .filter(|((place, ended), kind, fate)| !is_told(section, place, ended, kind, fate))
            .map(|told| format!("{told:?}"))
            .collect();
        assert!(strange.is_empty(), "docs/faults.md does not tell of it:\n{}", strange.join("\n"));
    }
}

/// Puts a table below its heading.
fn write_section(document: &Path, heading: &str, rows: &str) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let old = std::fs::read_to_string(document).unwrap();
    let heading = format!("## {heading}\n");
    let (before, rest) = old.split_once(&heading).expect("its heading in docs/faults.md");
    let (words, table) = rest.split_once("\n| where |").unwrap();
    let after = table.split_once("\n\n").map_or("", |(_, after)| after);
    let head = "| where | fault (calls) | exit code | what the user is told | the disk | the next run |";
    let end = if after.is_empty() { String::new() } else { format!("\n{after}") };
    let new = format!("{before}{heading}{words}\n{head}\n|---|---|---|---|---|---|\n{rows}{end}");
    std::fs::write(document, new).unwrap();
}

/// Whether a section of the document has a row that says this.
fn is_told(section: &str, place: &str, ended: &Ended, kind: &str, fate: &str) -> bool {
    section.lines().filter(|line| line.starts_with("| ")).any(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[of, faults, exit, told, disk, next] = cells.as_slice() else { return false };
        let ends = [exit, told, disk, next] == [&ended.exit, &ended.told, ended.disk, ended.next];
        if fate.starts_with("SIG") {
            // Where between two calls a signal is heard is the scheduler's to say.
            return ends;
        }
        let same = of == place && ends;
        same && faults.split("; ").any(|fault| {
            let (name, kinds) = fault.split_once(" (").unwrap_or((fault, ""));
            name == fate && kinds.trim_end_matches(')').split(", ").any(|known| known == kind)
        })
    })
}

/// Has calls of these scenes meet each fate that `fates` has for them, about so many of each unless all are asked for, and
/// holds what became of them against the table below this heading. The first scene's rows are the table; the others, the
/// same on another file system, must be told by it.
pub(crate) fn tell(heading: &str, scenes: &[(Scene, usize)], wanted: Wanted, fates: fn(&Call) -> Vec<Fate>) {
    for (number, (scene, most)) in scenes.iter().enumerate() {
        let Some(whole) = whole(*scene) else { return };
        // In turn, so that a sample has all kinds.
        let calls = whole.played.calls.iter().filter(|call| wanted(call)).enumerate();
        let all: Vec<(usize, Fate)> =
            calls.flat_map(|(nth, call)| fates(call).into_iter().map(move |fate| (nth, fate))).collect();
        let is_chosen = chosen(all.len(), *most);
        let count = all.len();
        let some: Vec<(usize, Fate)> =
            all.into_iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, one)| one).collect();
        println!("{} on {}: {count} faults, {} of them tried", scene.command, scene.made.0, some.len());
        let table = Table::default();
        in_parallel(&some, |_, (nth, fate)| table.meet(whole, wanted, *nth, *fate));
        table.close(heading, number == 0);
    }
}
