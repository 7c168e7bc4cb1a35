//! The guided way as numbered questions, line by line: for screen readers, bare terminals, and serial lines that are
//! typed on by a script. Blank answers change nothing; only `y` is yes.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cleanup::ListedRun;
use crate::cleanup::report::{Report, TargetReport};
use crate::cleanup::report_text::{explain, headline, hole_words, human_size, printable, step_parts};
use crate::cleanup::shown::{Kind, Proposal, line_of, name};
use crate::cleanup::undo::Only;
use crate::cli::Options;
use crate::error::Result;
use crate::event::Event;
use crate::finding::{CheckName, Finding, Grade};
use crate::tui::switches::SWITCHES;
use crate::tui::text::{check_meaning, check_title, evidence, grade_meaning, install_name, wrap};
use crate::tui::work::{Done, Work};

/// Columns of a line: the terminal may be a serial one, which does not tell.
const WIDTH: usize = 78;
/// A line about progress now and then is enough to listen to.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// The word that gives a hibernated session up.
const DISCARD: &str = "discard";

/// Guides by questions on standard output, answered on standard input.
pub(super) fn execute(options: &Options) -> Result<u8> {
    let work = Work::new(options)?;
    let talk = Talk::new(std::io::stdin().lock(), std::io::stdout());
    Guide { work, talk, disks: Vec::new() }.run()
}

/// The two ends of the conversation. What cannot be written is not read either, so it is never taken for a yes.
struct Talk<R, W> {
    input: RefCell<R>,
    output: RefCell<W>,
    broken: RefCell<bool>,
}

impl<R: BufRead, W: Write> Talk<R, W> {
    fn new(input: R, output: W) -> Self {
        Self { input: RefCell::new(input), output: RefCell::new(output), broken: RefCell::new(false) }
    }

    fn say(&self, text: &str) {
        let mut output = self.output.borrow_mut();
        for line in wrap(text, WIDTH) {
            if writeln!(output, "{line}").is_err() {
                self.broken.replace(true);
            }
        }
        if output.flush().is_err() {
            self.broken.replace(true);
        }
    }

    /// The answer without the blanks around it; none where nobody can answer any more.
    fn ask(&self, question: &str) -> Option<String> {
        {
            let mut output = self.output.borrow_mut();
            if write!(output, "\n{question} ").and_then(|()| output.flush()).is_err() {
                self.broken.replace(true);
            }
        }
        if *self.broken.borrow() {
            return None;
        }
        let mut answer = String::new();
        match self.input.borrow_mut().read_line(&mut answer) {
            Ok(0) | Err(_) => {
                self.broken.replace(true);
                None
            }
            Ok(_) => Some(answer.trim().to_owned()),
        }
    }

    /// Shows a plan and asks for the yes.
    fn confirm(&self, proposal: &Proposal) -> bool {
        self.say(match proposal.kind {
            Kind::Clean => "\nStep 3 of 6, Plan. Nothing has been written yet.\n",
            Kind::Undo | Kind::TakeBackFirst => {
                "\nThe plan of what is taken back. Nothing has been written yet.\n"
            }
        });
        self.say(&proposal.text());
        if proposal.discards {
            self.say("\nThis gives up a hibernated session: what was open and not saved in it is lost.");
            let asked =
                format!("Type the word {DISCARD} to carry the plan out; anything else writes nothing:");
            return self.ask(&asked).is_some_and(|answer| answer == DISCARD);
        }
        let yes = self
            .ask("Carry this plan out? Type y for yes; anything else, and Enter alone, writes nothing:")
            .is_some_and(|answer| answer == "y");
        if yes {
            let step =
                if proposal.kind == Kind::Clean { "Step 4 of 6, Clean" } else { "The disk is written" };
            self.say(&format!("\n{step}. Do not switch this machine off until the result is told.\n"));
        }
        yes
    }

    /// Tells events as they come; how far something is only now and then.
    fn teller(&self) -> impl FnMut(Event) + use<'_, R, W> {
        let (mut last, mut has_written) = (Instant::now(), false);
        move |event| {
            match event {
                Event::Written { .. } => has_written = true,
                Event::Target { .. } if has_written => {
                    self.say("\nStep 5 of 6, Verify: everything is read again from the device.");
                    has_written = false;
                }
                _ => {}
            }
            if let Event::Progress { what, done, total } = event {
                if last.elapsed() >= PROGRESS_EVERY && total > 0 {
                    last = Instant::now();
                    let percent = done.saturating_mul(100) / total;
                    self.say(&format!("  {what}: {percent} % of {}", human_size(total)));
                }
            } else if let Event::Volume { .. } | Event::Install { .. } | Event::Found { .. } = event {
                // Told at the end of the look, once and in order.
            } else if let Some(line) = line_of(&event) {
                self.say(&line);
            }
        }
    }
}

/// A disk as it was seen last.
struct Seen {
    path: PathBuf,
    report: Report,
    runs: Vec<ListedRun>,
    /// Whether the disk was written since the runs were listed.
    stale: bool,
}

impl Seen {
    fn target(&self) -> Option<&TargetReport> {
        self.report.targets.first()
    }

    fn unfinished(&self) -> Option<&ListedRun> {
        self.runs.iter().find(|run| run.unfinished && !self.stale)
    }
}

/// Where the guide goes next.
enum Next {
    Disk(usize),
    Disks,
    Find,
    Leave,
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
}

struct Guide<R, W> {
    work: Work,
    talk: Talk<R, W>,
    disks: Vec<Seen>,
}

impl<R: BufRead, W: Write> Guide<R, W> {
    fn run(mut self) -> Result<u8> {
        self.talk.say(&format!(
            "Deblast {}: removes W32/Blaster from Windows disks that are not running.\nEach question is answered with a \
             number or a letter, and Enter. Nothing is written to a disk before its plan was shown and answered with y.",
            env!("CARGO_PKG_VERSION")
        ));
        let mut next = Next::Find;
        loop {
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
                Next::Leave => return Ok(self.exit_code()),
            }
        }
    }

    /// The worst of what was told last of each disk; where a run is left unfinished, or there is no disk, nothing can be
    /// said.
    fn exit_code(&self) -> u8 {
        let code = |disk: &Seen| if disk.unfinished().is_some() { 2 } else { disk.report.exit_code };
        self.disks.iter().map(code).max().unwrap_or(2)
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
            let seen = self.look(path)?;
            self.disks.push(seen);
        }
        (1..).zip(&self.disks).for_each(|(number, disk)| self.tell(number, disk));
        Ok(if self.disks.len() == 1 { Next::Disk(0) } else { Next::Disks })
    }

    fn look(&mut self, path: PathBuf) -> Result<Seen> {
        let (done, runs) = self.work.look(&path, &mut self.talk.teller())?;
        self.tell_where(&done);
        Ok(Seen { path, report: done.report, runs, stale: false })
    }

    /// One disk: its verdict, its Windows installs, and what was found that counts.
    fn tell(&self, number: usize, disk: &Seen) {
        let Some(target) = disk.target() else { return };
        let model = (target.disk.model.as_deref(), target.disk.serial.as_deref());
        let name = name(&disk.path, target.size, model.0, model.1);
        let head = headline(&disk.report);
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
        if let Some(run) = disk.unfinished() {
            text.push_str(&format!("  The run {} on this disk was cut. Take it back first.\n", run.id));
        }
        self.talk.say(&text);
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
            .map(|disk| format!("{}: {}", disk.path.display(), headline(&disk.report).word))
            .collect();
        items.push("look again which disks are attached".to_owned());
        match self.choose("Which disk?", &items, "leave") {
            Some(index) if index < self.disks.len() => Next::Disk(index),
            Some(_) => Next::Find,
            None => Next::Leave,
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
        acts.push((Act::Store, format!("where the record goes: {}", printable(&self.work.store()))));
        acts.push((Act::Save, "save this report in a folder".to_owned()));
        acts.push((Act::LookAgain, "look at this disk again".to_owned()));
        acts.push(match self.disks.len() {
            1 => (Act::Disks, "look again which disks are attached".to_owned()),
            _ => (Act::Disks, "another disk".to_owned()),
        });
        let head = headline(&disk.report);
        let heading = format!("{}: {}. What next?", printable(&disk.path.display().to_string()), head.word);
        let items: Vec<String> = acts.iter().map(|(_, words)| words.clone()).collect();
        let Some(act) = self.choose(&heading, &items, "leave").and_then(|at| acts.get(at)) else {
            return Ok(Next::Leave);
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
        }
        Ok(Next::Disk(index))
    }

    fn details(&self, index: usize) {
        let Some(target) = self.disks.get(index).and_then(Seen::target) else { return };
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
        let run = self.disks.get(index).and_then(Seen::unfinished).map(|run| run.id.clone());
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
        let runs: Vec<ListedRun> = disk.runs.iter().filter(|run| run.undo_of.is_none()).cloned().collect();
        if runs.is_empty() {
            let store = printable(&self.work.store());
            self.talk
                .say(&format!("\nNo run of the store {store} belongs to this disk: nothing can be undone."));
            return Ok(());
        }
        let items: Vec<String> = runs.iter().map(ListedRun::to_string).collect();
        let Some(run) = self
            .choose("Which run is taken back? The newest is first.", &items, "back")
            .and_then(|at| runs.get(at))
        else {
            return Ok(());
        };
        let parts = [
            "the protection alone (DCOM, packet filter): the usual step once the patch is in",
            "all of it: the worm and what starts it come back",
            "the bytes of the files alone",
        ];
        let only = match self.choose("What of it?", &parts.map(str::to_owned), "back") {
            Some(0) => Only::Protection,
            Some(1) => Only::All,
            Some(2) => Only::Files,
            _ => return Ok(()),
        };
        self.undo_run(index, &run.id.clone(), only)
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
            disk.report = done.report;
            disk.stale = true;
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
        self.talk.say(
            "\nThe record of a run is what undo needs: a stick or another disk, never the disk that is cleaned.",
        );
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
        let Some(disk) = self.disks.get(index) else { return };
        match self
            .talk
            .ask("The folder for the report, never on the disk that is cleaned; or Enter to save none:")
        {
            Some(folder) if !folder.is_empty() => match Work::save(&disk.report, Path::new(&folder)) {
                Ok(files) => {
                    files.iter().for_each(|file| self.talk.say(&format!("report: {}", file.display())))
                }
                Err(error) => self.talk.say(&format!("Not saved: {}", printable(&error.to_string()))),
            },
            _ => self.talk.say("Nothing was saved."),
        }
    }

    fn look_again(&mut self, index: usize) -> Result<()> {
        let Some(path) = self.disks.get(index).map(|disk| disk.path.clone()) else { return Ok(()) };
        self.talk.say("\nStep 2 of 6, Inspect. This only reads: no byte of a disk is written.");
        let seen = self.look(path)?;
        self.tell(index + 1, &seen);
        if let Some(disk) = self.disks.get_mut(index) {
            *disk = seen;
        }
        Ok(())
    }
}
