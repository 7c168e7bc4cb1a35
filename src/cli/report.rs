//! The words of `deblast report` and what they mean.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

const EXIT_OF_SHOW: &str =
    "Exit codes: 0 shown; 1 shown, but it is not as it was written; 2 unreadable, or wrong usage.";
const EXIT_OF_MERGE: &str = "Exit codes: 0 all reports are sound; 1 one or more are not as they were written, and say so in \
the table; 2 a file is no report or unreadable, none was found, or wrong usage.";
const EXIT_OF_CHECK: &str = "Exit codes: 0 all sound; 1 one or more damaged; 2 one or more unreadable or of a later \
schema, none found, or wrong usage.";

/// Show a stored report as text or as a page to print, merge many into one table, or check them for damage
#[derive(Debug, ClapArgs)]
pub(super) struct ReportArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show one report: NAME.json of --report-dir, or report.json of a run's folder
    #[command(after_help = EXIT_OF_SHOW)]
    Show {
        /// The report, as JSON
        file: PathBuf,
        /// As text, as the JSON document that it is, or as one HTML page that can be printed
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Check each report against its schema and its hash
    ///
    /// The hash finds damage; it proves no author. Whoever changes a report can change its hash too.
    #[command(after_help = EXIT_OF_CHECK)]
    Check {
        /// A report, a folder of reports (every .json in it), a run's folder, or a store (report.json of each run)
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Merge many reports into one table: CSV for a spreadsheet, one HTML page that names first what needs a person
    ///
    /// Of several reports on one disk the newest counts. Folders are looked through with all in them.
    #[command(after_help = EXIT_OF_MERGE)]
    Merge {
        /// Reports, and folders that hold some at any depth: stores, folders of --report-dir, copies of sticks
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// Write the CSV into this new file; without --csv and --html it goes to standard output
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
        /// Write the page into this new file
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

/// How a report is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For the screen.
    #[default]
    Text,
    /// The document as it is stored.
    Json,
    /// One page for a browser or a printer.
    Html,
}

/// What is to be done with which reports.
#[derive(Debug)]
pub enum ReportTask {
    /// Show one.
    Show {
        /// Where it is stored.
        file: PathBuf,
        /// How.
        format: ReportFormat,
    },
    /// Merge files and folders.
    Merge {
        /// Where they are.
        paths: Vec<PathBuf>,
        /// New file for the CSV.
        csv: Option<PathBuf>,
        /// New file for the page.
        html: Option<PathBuf>,
    },
    /// Check files and folders.
    Check {
        /// Where they are.
        paths: Vec<PathBuf>,
    },
}

impl ReportArgs {
    pub(super) fn resolve(self) -> ReportTask {
        match self.verb {
            Verb::Show { file, format } => ReportTask::Show { file, format },
            Verb::Merge { paths, csv, html } => ReportTask::Merge { paths, csv, html },
            Verb::Check { paths } => ReportTask::Check { paths },
        }
    }
}
