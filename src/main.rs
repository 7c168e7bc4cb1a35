//! Parses, chooses a front end, prints one error with its chain, returns the exit code; nothing else.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use deblast::cli::{Args, GuidedTask, Task};

fn main() -> ExitCode {
    let options = match Args::parse().resolve() {
        Ok(options) => options,
        Err(error) => return fail(&error),
    };
    let done = match &options.task {
        Task::Guided(GuidedTask { bare: true, .. }) if !deblast::tui::may_ask() => {
            let _ = Args::command().print_help();
            return ExitCode::from(2);
        }
        Task::Guided(task) => deblast::tui::execute(&options, task),
        Task::Hive(task) => deblast::commands::hive::execute(task),
        Task::Signatures(task) => deblast::commands::signatures::execute(task),
        Task::Filter(task) => deblast::commands::filter::execute(task),
        Task::Report(task) => deblast::commands::report::execute(task),
        Task::Shells(task) => deblast::commands::shells::execute(task),
        Task::Live => deblast::live::execute(),
        Task::List => deblast::commands::list::execute(&options.targets),
        Task::Watch { present } if deblast::tui::board::is_for(&options) => {
            deblast::tui::board::execute(&options, *present)
        }
        Task::Watch { present } => deblast::bench::execute(&options, *present),
        Task::Scan | Task::Clean | Task::Undo { .. } | Task::ListRuns => deblast::batch::execute(&options),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

fn fail(error: &deblast::error::Error) -> ExitCode {
    // Parts of it may come from the patient's disk.
    eprintln!("deblast: {}", deblast::cleanup::report_text::printable(&error.to_string()));
    ExitCode::from(2)
}
