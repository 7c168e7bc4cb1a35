//! What every front end shows in the same words: an event as a line, a disk by its name, and what a yes is asked for.

use std::path::Path;

use crate::cleanup::Question;
use crate::cleanup::discover::Patient;
use crate::cleanup::plan::Plan;
use crate::cleanup::report_text::{done_to_the_disk, human_size, printable};
use crate::event::Event;
use crate::volume::signals::Heard;

/// One event as a line; none for those that only move a bar.
pub fn line_of(event: &Event) -> Option<String> {
    Some(match event {
        Event::Target { path, size } => {
            format!("looking at {} ({})", printable(&path.to_string_lossy()), human_size(*size))
        }
        Event::Volume { start, filesystem } => format!("  volume at {start:#x}: {filesystem}"),
        Event::Progress { .. } => return None,
        Event::Install { root, product } => format!("  {} in {}", printable(product), printable(root)),
        Event::Found { grade, what } => format!("    [{grade}] {}", printable(what)),
        Event::StoreReady { folder } => {
            format!("the record is safe in {}; now the disk is written", folder.display())
        }
        Event::Written { path, sectors } => format!("  written: {}, {sectors} sectors", printable(path)),
        Event::Verified { good: true } => "verified: read back from the device, all as planned".to_owned(),
        Event::Verified { good: false } => "NOT VERIFIED: see the report".to_owned(),
        Event::Over { verdict, exit_code, .. } => format!("{verdict}; exit code {exit_code}"),
        Event::Note { text } => format!("note: {}", printable(text)),
    })
}

/// What is told when a signal asks this program to end.
pub fn signal_words(heard: Heard) -> &'static str {
    match heard {
        Heard::Held => {
            "interrupted: what is being written is brought to its end or taken back first; the report comes then"
        }
        Heard::Ends { written: false } => "interrupted: no disk was written",
        Heard::Ends { written: true } => {
            "interrupted: what was written is named by the journal in the store; run again with the same store, and what is \
             half done is taken back first"
        }
    }
}

/// A disk by what can be seen on it: node, size, model and serial number.
pub fn name_of(patient: &Patient) -> String {
    let disk = &patient.disk;
    name(&disk.path, Some(disk.size), disk.model.as_deref(), disk.serial.as_deref())
}

/// The same from its parts, as far as they are known.
pub fn name(path: &Path, size: Option<u64>, model: Option<&str>, serial: Option<&str>) -> String {
    let told = [size.map(human_size), model.map(str::to_owned), serial.map(str::to_owned)];
    let told: Vec<String> = told.into_iter().flatten().collect();
    let more = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    printable(&format!("{}{more}", path.display()))
}

/// What kind of yes is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a cure.
    Clean,
    /// To taking a run back.
    Undo,
    /// To taking back a run that was cut, before anything else.
    TakeBackFirst,
}

/// All that a yes is asked for, in words that may be shown: nothing of it refers to the disk any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What is asked.
    pub kind: Kind,
    /// The disk by its name.
    pub disk: String,
    /// RUN-ID of the run that is taken back.
    pub run_id: Option<String>,
    /// Each file that would be written, with what would be done to it.
    pub files: Vec<(String, Vec<String>)>,
    /// Names that would be removed.
    pub unlinks: Vec<String>,
    /// What would be left, and why.
    pub left: Vec<String>,
    /// What to know before saying yes: where the record goes, and obstacles.
    pub notes: Vec<String>,
    /// What must be said whoever answers.
    pub warning: Option<&'static str>,
    /// Whether the session of a hibernated Windows would be given up.
    pub discards: bool,
}

impl Proposal {
    /// What a question asks about a disk of this name.
    pub fn of(disk: &str, question: &Question<'_>) -> Self {
        let (kind, plan, undo) = match question {
            Question::Clean(plan) => (Kind::Clean, *plan, None),
            Question::Undo(undo) => (Kind::Undo, &undo.plan, Some(undo)),
            Question::TakeBackFirst(undo) => (Kind::TakeBackFirst, &undo.plan, Some(undo)),
        };
        let left = undo.iter().flat_map(|undo| &undo.left);
        Self {
            kind,
            disk: disk.to_owned(),
            run_id: undo.map(|undo| undo.run_id.clone()),
            files: files_of(plan),
            unlinks: plan.unlinks.iter().map(|unlink| printable(&unlink.in_words())).collect(),
            left: left.map(|(change, why)| printable(&format!("{change}: {why}"))).collect(),
            notes: plan.notes.iter().map(|note| printable(note)).collect(),
            warning: question.warning(),
            discards: kind == Kind::Clean && !plan.discards.is_empty(),
        }
    }

    /// As the text that a yes is asked below.
    pub fn text(&self) -> String {
        let mut text = match self.kind {
            Kind::TakeBackFirst => {
                format!("An earlier run on {} was cut. It is taken back before anything else:\n", self.disk)
            }
            Kind::Clean | Kind::Undo => format!("The plan for {}:\n", self.disk),
        };
        let mut add = |mark: &str, words: &str| text.push_str(&format!("  {mark}{words}\n"));
        self.run_id.iter().for_each(|id| add("run ", id));
        self.files.iter().flat_map(|(_, changes)| changes).for_each(|words| add("", words));
        self.unlinks.iter().for_each(|words| add("", words));
        self.left.iter().for_each(|words| add("left: ", words));
        self.notes.iter().for_each(|words| add("note: ", words));
        self.warning.iter().for_each(|words| add("warning: ", words));
        text
    }
}

fn files_of(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let words = |action| done_to_the_disk(action).iter().map(|words| printable(words)).collect();
    plan.actions.iter().map(|action| (printable(&action.path.to_string()), words(action))).collect()
}
