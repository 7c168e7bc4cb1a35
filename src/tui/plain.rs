//! The guided way as numbered questions, line by line: for screen readers, bare terminals, and serial lines that are
//! typed on by a script. Blank answers change nothing; only `y` is yes.

mod talk;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use crate::cleanup::report_text::{explain, headline, hole_words, printable, step_parts};
use crate::cleanup::undo::Only;
use crate::cli::{GuidedTask, Options};
use crate::error::Result;
use crate::finding::{CheckName, Finding, Grade};
use crate::tui::End;
use crate::tui::disk::{DiskView, PARTS, exit_code};
use crate::tui::switches::{PLACES, SWITCHES, Way, ways};
use crate::tui::text::{check_meaning, check_title, evidence, grade_meaning, install_name};
use crate::tui::work::{Done, Work};
use crate::volume::mount::is_stopped;
use talk::Talk;

/// Guides by questions on standard output, answered on standard input.
pub(super) fn execute(options: &Options, task: &GuidedTask) -> Result<(u8, End)> {
    let work = Work::new(options, task)?;
    let talk = Talk::new(std::io::stdin().lock(), std::io::stdout());
    Guide { work, talk, disks: Vec::new(), task }.run()
}

const SWITCH_OFF: &str = "switch this machine off";

/// The verdict in a word.
fn word(disk: &DiskView) -> String {
    disk.report().map(|report| headline(report).word).unwrap_or_default()
}

/// Where the guide goes next.
enum Next {
    Disk(usize),
    Disks,
    Find,
    Leave(End),
}

/// What can be done with a disk.
#[derive(Clone, Copy)]
enum Act {
    TakeBack,
    Details,
    Clean,
    Undo,
    Switches,
    Store,
    Save,
    LookAgain,
    Disks,
    Batch,
    SwitchOff,
}

struct Guide<'a, R, W> {
    work: Work,
    talk: Talk<R, W>,
    disks: Vec<DiskView>,
    task: &'a GuidedTask,
}

impl<R: BufRead, W: Write> Guide<'_, R, W> {
    fn run(mut self) -> Result<(u8, End)> {
        self.talk.say(&format!(
            "Deblast {}: removes W32/Blaster from Windows disks that are not running.\nEach question is answered with a \
             number or a letter, and Enter. Nothing is written to a disk before its plan was shown and answered with y.",
            env!("CARGO_PKG_VERSION")
        ));
        if self.task.practice {
            self.talk.say(
                "\nPRACTICE. The disk is a file that was made for it; nothing real is touched, and all of it is removed when \
                 you leave.",
            );
        }
        let mut next = Next::Find;
        loop {
            if is_stopped() {
                self.talk.say("\nA signal has ended Deblast.");
                return Ok((2, End::Stay));
            }
            next = match next {
                Next::Find => self.find()?,
                Next::Disks => self.choose_disk(),
                Next::Disk(index) => match self.at_disk(index) {
                    Ok(next) => next,
                    // The folder for reports may be full, or its stick pulled: told, and the next thing may be done.
                    Err(error) => {
                        self.talk.say(&format!("\nNot done: {}", printable(&error.to_string())));
                        Next::Disk(index)
                    }
                },
                Next::Leave(end) => return Ok((exit_code(&self.disks), end)),
            }
        }
    }

    fn find(&mut self) -> Result<Next> {
        self.talk.say("\nStep 1 of 6, Find: which disks are attached.");
        let found = self.work.find()?;
        self.talk.say(match found.len() {
            0 => "No disk is attached but those that this machine uses.",
            _ => "\nStep 2 of 6, Inspect. This only reads: no byte of a disk is written.",
        });
        self.disks.clear();
        for path in found {
            let mut disk = DiskView::at(path);
            self.look(&mut disk)?;
            self.disks.push(disk);
        }
        (1..).zip(&self.disks).for_each(|(number, disk)| self.tell(number, disk));
        Ok(if self.disks.len() == 1 { Next::Disk(0) } else { Next::Disks })
    }

    fn look(&mut self, disk: &mut DiskView) -> Result<()> {
        let (done, runs) = self.work.look(&disk.path, &mut self.talk.teller())?;
        self.tell_where(&done);
        disk.looked(done, runs);
        Ok(())
    }

    /// One disk: its verdict, its Windows installs, and what was found that counts.
    fn tell(&self, number: usize, disk: &DiskView) {
        let Some((report, target)) = disk.report().zip(disk.target()) else { return };
        let (name, head) = (disk.name(), headline(report));
        let mut text = format!(
            "\nDisk {number}: {name}\n  {}: {} - {}\n",
            head.label,
            head.word,
            printable(&head.sentence)
        );
        for line in target.note.iter().chain(&target.remarks) {
            text.push_str(&format!("  {}\n", printable(line)));
        }
        for install in &target.installs {
            let verdict = install.verdict;
            text.push_str(&format!("  {}\n    {verdict}: {}\n", install_name(install), explain(verdict)));
            for problem in &install.problems {
                text.push_str(&format!("    {}\n", printable(problem)));
            }
            for state in &install.volume.state {
                text.push_str(&format!("    {}\n", printable(state)));
            }
            let counts = |finding: &&Finding| finding.grade != Grade::Information;
            for finding in install.findings.iter().filter(counts) {
                text.push_str(&format!(
                    "    {}: {}: {}\n      where: {}\n",
                    finding.grade,
                    check_title(finding.check),
                    printable(&finding.what),
                    printable(&finding.place)
                ));
            }
        }
        let problems =
            target.installs.iter().flat_map(|install| install.problems.iter().chain(&install.volume.state));
        self.ways_here(&mut text, problems.chain(&target.note).map(String::as_str));
        if disk.may_lift_protection() {
            text.push_str("  The patch is in: undo takes the protection alone back.\n");
        }
        if let Some(run) = disk.unfinished() {
            text.push_str(&format!("  The run {} on this disk was cut. Take it back first.\n", run.id));
        }
        self.talk.say(&text);
    }

    /// What can be decided in the list below about obstacles that these words tell of.
    fn ways_here<'w>(&self, text: &mut String, words: impl IntoIterator<Item = &'w str>) {
        for way in ways(words) {
            text.push_str(&match way {
                Way::Store => format!("  Here: another place for the record: {PLACES}.\n"),
                Way::Switch(switch) => {
                    format!("  Here: decide how a clean is done, and there: {}.\n", switch.name)
                }
            });
        }
    }

    fn tell_where(&self, done: &Done) {
        done.files.iter().for_each(|file| self.talk.say(&format!("report: {}", file.display())));
        done.records
            .iter()
            .for_each(|place| self.talk.say(&format!("record of the run: {}", printable(place))));
        done.troubles
            .iter()
            .for_each(|words| self.talk.say(&format!("NOT WRITTEN DOWN: {}", printable(words))));
    }

    /// Shows a numbered list and has one of it chosen; none: `q`, which leads where `out` says.
    fn choose(&self, heading: &str, items: &[String], out: &str) -> Option<usize> {
        let mut text = format!("\n{heading}\n");
        (1..)
            .zip(items)
            .for_each(|(number, item): (usize, _)| text.push_str(&format!("  {number}  {item}\n")));
        text.push_str(&format!("  q  {out}\n"));
        self.talk.say(&text);
        loop {
            let answer = self.talk.ask(&format!("A number from 1 to {}, or q:", items.len()))?;
            match answer.parse::<usize>() {
                Ok(number) if (1..=items.len()).contains(&number) => return Some(number - 1),
                _ if answer == "q" => return None,
                _ => self.talk.say("That is none of them; nothing was done."),
            }
        }
    }

    fn choose_disk(&self) -> Next {
        let mut items: Vec<String> = self
            .disks
            .iter()
            .map(|disk| format!("{}: {}", printable(&disk.path.display().to_string()), word(disk)))
            .collect();
        items.push("look again which disks are attached".to_owned());
        items.extend(self.task.live.then(|| SWITCH_OFF.to_owned()));
        match self.choose("Which disk?", &items, "leave") {
            Some(index) if index < self.disks.len() => Next::Disk(index),
            Some(index) if index == self.disks.len() => Next::Find,
            Some(_) => self.switch_off().unwrap_or(Next::Disks),
            None => Next::Leave(End::Stay),
        }
    }

    /// Does one thing with a disk.
    fn at_disk(&mut self, index: usize) -> Result<Next> {
        let Some(disk) = self.disks.get(index) else { return Ok(Next::Disks) };
        let mut acts = Vec::new();
        if let Some(run) = disk.unfinished() {
            acts.push((
                Act::TakeBack,
                format!("take back the run {}, which was cut (do this first)", run.id),
            ));
        }
        acts.push((Act::Details, "details: all that was found, with its evidence".to_owned()));
        acts.push((Act::Clean, "plan a clean; the plan is shown before anything is written".to_owned()));
        acts.push((Act::Undo, "undo an earlier run of the store".to_owned()));
        acts.push((Act::Switches, "decide how a clean is done".to_owned()));
        // Nothing of a practice outlives it.
        if !self.task.practice {
            acts.push((Act::Store, format!("where the record goes: {}", printable(&self.work.store()))));
            acts.push((Act::Save, "save this report in a folder".to_owned()));
        }
        acts.push((Act::LookAgain, "look at this disk again".to_owned()));
        acts.push(match self.disks.len() {
            1 => (Act::Disks, "look again which disks are attached".to_owned()),
            _ => (Act::Disks, "another disk".to_owned()),
        });
        if !self.task.practice {
            acts.push((
                Act::Batch,
                "write deblast.toml, which repeats this clean and asks nothing".to_owned(),
            ));
        }
        acts.extend(self.task.live.then(|| (Act::SwitchOff, SWITCH_OFF.to_owned())));
        let practice = if self.task.practice { "PRACTICE: " } else { "" };
        let path = printable(&disk.path.display().to_string());
        let heading = format!("{practice}{path}: {}. What next?", word(disk));
        let items: Vec<String> = acts.iter().map(|(_, words)| words.clone()).collect();
        let Some(act) = self.choose(&heading, &items, "leave").and_then(|at| acts.get(at)) else {
            return Ok(Next::Leave(End::Stay));
        };
        match act.0 {
            Act::TakeBack => self.take_back(index)?,
            Act::Details => self.details(index),
            Act::Clean => self.clean(index)?,
            Act::Undo => self.undo(index)?,
            Act::Switches => self.switches(),
            Act::Store => self.move_store(),
            Act::Save => self.save(index),
            Act::LookAgain => self.look_again(index)?,
            Act::Disks if self.disks.len() == 1 => return Ok(Next::Find),
            Act::Disks => return Ok(Next::Disks),
            Act::Batch => self.save_batch(),
            Act::SwitchOff => return Ok(self.switch_off().unwrap_or(Next::Disk(index))),
        }
        Ok(Next::Disk(index))
    }

    /// Asks once; only `y` is yes.
    fn switch_off(&self) -> Option<Next> {
        let yes = self
            .talk
            .ask("Switch this machine off? Type y for yes; anything else, and Enter alone, does not:");
        (yes? == "y").then_some(Next::Leave(End::PowerOff))
    }

    fn details(&self, index: usize) {
        let Some(target) = self.disks.get(index).and_then(DiskView::target) else { return };
        let mut text = String::new();
        let mut explained: Vec<CheckName> = Vec::new();
        for install in &target.installs {
            text.push_str(&format!("\n{}\n", install_name(install)));
            let [patch, dcom, filter] = hole_words(&install.hole);
            text.push_str(&format!("  patch: {patch}; DCOM: {dcom}; packet filter: {filter}\n"));
            install.notes.iter().for_each(|note| text.push_str(&format!("  {}\n", printable(note))));
            for finding in &install.findings {
                let what = printable(&finding.what);
                text.push_str(&format!("  {}: {}: {what}\n", finding.grade, check_title(finding.check)));
                text.push_str(&format!("    where: {}\n", printable(&finding.place)));
                text.push_str(&format!("    why: {}\n", printable(&finding.why)));
                evidence(finding).iter().for_each(|line| text.push_str(&format!("    {line}\n")));
                if !explained.contains(&finding.check) {
                    explained.push(finding.check);
                }
            }
        }
        text.push_str("\nWhat that means:\n");
        for check in explained {
            text.push_str(&format!("  {}: {}\n", check_title(check), check_meaning(check)));
        }
        text.push_str("\nHow sure a finding is:\n");
        for grade in [Grade::Confirmed, Grade::Probable, Grade::Suspect, Grade::Information] {
            text.push_str(&format!("  {}\n", grade_meaning(grade)));
        }
        self.talk.say(&text);
    }

    fn clean(&mut self, index: usize) -> Result<()> {
        let Some(path) = self.disks.get(index).map(|disk| disk.path.clone()) else { return Ok(()) };
        self.talk.say("\nThe plan is made from the disk as it is now. This only reads.\n");
        let talk = &self.talk;
        let done = self.work.clean(&path, &mut |proposal| talk.confirm(proposal), &mut talk.teller())?;
        self.finish(index, done);
        Ok(())
    }

    fn take_back(&mut self, index: usize) -> Result<()> {
        let run = self.disks.get(index).and_then(DiskView::unfinished).map(|run| run.id.clone());
        match run {
            Some(id) => self.undo_run(index, &id, Only::All),
            None => Ok(()),
        }
    }

    fn undo(&mut self, index: usize) -> Result<()> {
        if self.disks.get(index).is_some_and(|disk| disk.stale) {
            self.look_again(index)?;
        }
        let Some(disk) = self.disks.get(index) else { return Ok(()) };
        let runs = disk.offered_runs();
        if runs.is_empty() {
            let store = printable(&self.work.store());
            self.talk
                .say(&format!("\nNo run of the store {store} belongs to this disk: nothing can be undone."));
            return Ok(());
        }
        let items: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let Some(run) = self
            .choose("Which run is taken back? The newest is first.", &items, "back")
            .and_then(|at| runs.get(at))
        else {
            return Ok(());
        };
        let id = run.id.clone();
        // Half of it is no state to leave a disk in: there is nothing to choose.
        if run.unfinished {
            return self.undo_run(index, &id, Only::All);
        }
        let parts = PARTS.map(|(_, word, consequence)| format!("{word}: {consequence}"));
        match self.choose("What of it?", &parts, "back").and_then(|at| PARTS.get(at)) {
            Some((only, _, _)) => self.undo_run(index, &id, *only),
            None => Ok(()),
        }
    }

    fn undo_run(&mut self, index: usize, id: &str, only: Only) -> Result<()> {
        let Some(path) = self.disks.get(index).map(|disk| disk.path.clone()) else { return Ok(()) };
        self.talk.say("\nThe plan is made from the disk as it is now. This only reads.\n");
        let talk = &self.talk;
        let done =
            self.work.undo(&path, (id, only), &mut |proposal| talk.confirm(proposal), &mut talk.teller())?;
        self.finish(index, done);
        Ok(())
    }

    /// Tells how a run ended.
    fn finish(&mut self, index: usize, done: Done) {
        if done.declined {
            self.talk.say("\nNot carried out: no byte was written.");
            return;
        }
        let head = headline(&done.report);
        let mut text = format!(
            "\nStep 6 of 6, Report.\n{}: {} - {}\n",
            head.label,
            head.word,
            printable(&head.sentence)
        );
        if let Some(now) = &head.now {
            text.push_str(&format!("The disk now: {}\n", printable(now)));
        }
        self.ways_here(&mut text, done.report.reasons.iter().map(String::as_str));
        let target = done.report.targets.first();
        for remark in target.iter().flat_map(|target| target.note.iter().chain(&target.remarks)) {
            text.push_str(&format!("  {}\n", printable(remark)));
        }
        if !done.report.changes.is_empty() {
            text.push_str("What was done:\n");
        }
        for change in &done.report.changes {
            text.push_str(&format!("  {}: {}\n", change.outcome, printable(&change.path)));
            for words in change.what.iter().chain(&change.why) {
                text.push_str(&format!("    {}\n", printable(words)));
            }
        }
        if !done.report.next_steps.is_empty() {
            text.push_str("Next steps:\n");
        }
        for (number, step) in (1..).zip(&done.report.next_steps) {
            let parts: Vec<String> = step_parts(step).map(|(_, part)| printable(part)).collect();
            text.push_str(&format!("  {number}. {}\n", parts.join("\n     ").trim_end()));
        }
        self.talk.say(&text);
        self.tell_where(&done);
        if let Some(disk) = self.disks.get_mut(index) {
            disk.treated(done);
        }
    }

    fn switches(&mut self) {
        loop {
            let policy = self.work.policy().clone();
            let items: Vec<String> = SWITCHES
                .iter()
                .map(|switch| {
                    let chosen = switch.chosen(&policy).map(|choice| (choice.word, choice.consequence));
                    let (word, consequence) = chosen.unwrap_or_default();
                    format!("{}: {word}: {consequence}", switch.name)
                })
                .collect();
            let Some(switch) = self
                .choose("Which of these is decided otherwise?", &items, "done")
                .and_then(|at| SWITCHES.get(at))
            else {
                return;
            };
            let choices: Vec<String> = switch
                .choices
                .iter()
                .map(|choice| format!("{}: {}", choice.word, choice.consequence))
                .collect();
            let chosen = self
                .choose(&format!("{}?", switch.name), &choices, "back")
                .and_then(|at| switch.choices.get(at));
            if let Some(choice) = chosen {
                let mut policy = policy;
                (choice.set)(&mut policy);
                self.work.set_policy(policy);
                self.talk.say(&format!("{}: {}.", switch.name, choice.word));
            }
        }
    }

    fn move_store(&mut self) {
        self.talk.say(&format!("\nUndo needs the record: {PLACES}."));
        match self.talk.ask("The folder for it, or Enter to leave it as it is:") {
            Some(place) if !place.is_empty() => {
                self.work.set_store(PathBuf::from(place));
                self.disks.iter_mut().for_each(|disk| disk.stale = true);
                self.talk.say(&format!("The record goes to {}.", printable(&self.work.store())));
            }
            _ => self.talk.say("It stays as it is."),
        }
    }

    fn save(&self, index: usize) {
        let Some(report) = self.disks.get(index).and_then(DiskView::report) else { return };
        let reports = self.task.medium.as_ref().map(|medium| medium.join("reports"));
        let asked = "The folder for the report, never on the disk that is cleaned";
        let Some(folder) = self.folder(asked, reports.as_deref()) else { return };
        match Work::save(report, &folder) {
            Ok(files) => files.iter().for_each(|file| self.talk.say(&format!("report: {}", file.display()))),
            Err(error) => self.talk.say(&format!("Not saved: {}", printable(&error.to_string()))),
        }
    }

    fn save_batch(&self) {
        self.talk.say(
            "\ndeblast.toml repeats a clean as decided, on every disk that is found, without a plan or a question, and \
             switches off. The live image does what it says where it lies on the DEBLAST medium.",
        );
        let medium = self.task.medium.as_deref();
        let Some(folder) = self.folder("The folder for it", medium) else { return };
        match self.work.save_batch(&folder) {
            Ok(words) => {
                words.iter().for_each(|words| self.talk.say(&format!("saved: {}", printable(words))))
            }
            Err(error) => self.talk.say(&format!("Not saved: {}", printable(&error.to_string()))),
        }
    }

    /// A folder that is typed, or the usual one by Enter where there is one. None: nothing is to be saved.
    fn folder(&self, what: &str, usual: Option<&Path>) -> Option<PathBuf> {
        let (enter, none) = match usual {
            Some(folder) => (format!("Enter for {}", printable(&folder.display().to_string())), "n"),
            None => ("Enter".to_owned(), ""),
        };
        let otherwise = if usual.is_some() { ", n for none" } else { " for none" };
        let answer = self.talk.ask(&format!("{what}; {enter}{otherwise}:"))?;
        match answer.as_str() {
            _ if answer == none => {
                self.talk.say("Nothing was saved.");
                None
            }
            "" => usual.map(Path::to_owned),
            typed => Some(PathBuf::from(typed)),
        }
    }

    fn look_again(&mut self, index: usize) -> Result<()> {
        let Some(path) = self.disks.get(index).map(|disk| disk.path.clone()) else { return Ok(()) };
        self.talk.say("\nStep 2 of 6, Inspect. This only reads: no byte of a disk is written.");
        let mut disk = DiskView::at(path);
        self.look(&mut disk)?;
        self.tell(index + 1, &disk);
        if let Some(seen) = self.disks.get_mut(index) {
            *seen = disk;
        }
        Ok(())
    }
}
