//! The two ends of the conversation: what is said, asked and answered, a line each.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use crate::cleanup::report_text::human_size;
use crate::cleanup::shown::{Kind, Proposal, line_of};
use crate::event::Event;
use crate::tui::disk::DISCARD;
use crate::tui::text::wrap;

/// Columns of a line: the terminal may be a serial one, which does not tell.
const WIDTH: usize = 78;
/// A line about progress now and then is enough to listen to.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// The two ends of the conversation. What cannot be written is not read either, so it is never taken for a yes.
pub(super) struct Talk<R, W> {
    input: RefCell<R>,
    output: RefCell<W>,
    broken: RefCell<bool>,
}

impl<R: BufRead, W: Write> Talk<R, W> {
    pub(super) fn new(input: R, output: W) -> Self {
        Self { input: RefCell::new(input), output: RefCell::new(output), broken: RefCell::new(false) }
    }

    pub(super) fn say(&self, text: &str) {
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
    pub(super) fn ask(&self, question: &str) -> Option<String> {
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
    pub(super) fn confirm(&self, proposal: &Proposal) -> bool {
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
    pub(super) fn teller(&self) -> impl FnMut(Event) + use<'_, R, W> {
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
