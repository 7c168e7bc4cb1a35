//! `deblast signatures`: what is known of worms, and a look at a file of signatures before it is relied on.

use std::fmt::Write as _;
use std::path::Path;

use crate::cleanup::report_text::printable;
use crate::cli::SignaturesTask;
use crate::error::Result;
use crate::threat::{Outcome, Role, Signature, Signatures, check_file, is_hash_set};

/// Does what the task says. 0: listed, or nothing wrong; 1: problems were found; 2: a file could not be read.
///
/// # Errors
/// A file that is to be listed cannot be used; standard output cannot be written.
pub fn execute(task: &SignaturesTask) -> Result<u8> {
    match task {
        SignaturesTask::List(files) => {
            let mut signatures = Signatures::builtin()?;
            for file in files {
                signatures.add_file(file)?;
            }
            list(&signatures)
        }
        SignaturesTask::Check(files) => {
            let mut worst = 0;
            for file in files {
                worst = worst.max(check(file)?);
            }
            Ok(worst)
        }
    }
}

fn list(signatures: &Signatures) -> Result<u8> {
    let texts = signatures.list().iter().map(describe);
    texts.chain([String::new()]).try_for_each(|text| super::print(&text))?;
    let mut text = String::new();
    for (digest, entry) in signatures.hash_sets().entries() {
        let size = entry.size.map_or_else(|| "any size".to_owned(), |size| format!("{size} bytes"));
        let place = format!("{}, line {}", entry.file.display(), entry.line);
        text.push_str(&printable(&format!("{}  {digest}  {size}  {}  {place}", entry.name, entry.grade)));
        text.push('\n');
        if text.len() > 1 << 16 {
            super::print(&text)?;
            text.clear();
        }
    }
    super::print(&text)?;
    Ok(0)
}

fn describe(signature: &Signature) -> String {
    let name = format!("{} {}", signature.family, signature.variant);
    let mut text = format!("{}\n", printable(name.trim_end()));
    let mut row = |label: &str, words: String| {
        if !words.is_empty() {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  {label:<10}{}", printable(&words));
        }
    };
    let common = |names: &[String], common: bool| match common && !names.is_empty() {
        true => format!("{} (harmless programs use them too)", names.join(", ")),
        false => names.join(", "),
    };
    row("aliases", signature.aliases.join(", "));
    row("names", common(&signature.names, signature.common_names));
    row("folder", signature.folder.clone().unwrap_or_default());
    row("values", common(&signature.run_values, signature.common_run_values));
    row("services", signature.services.join(", "));
    row("size", signature.size.map(|size| format!("{size} bytes")).unwrap_or_default());
    row("md5", signature.md5.map(|digest| digest.to_string()).unwrap_or_default());
    row("sha1", signature.sha1.map(|digest| digest.to_string()).unwrap_or_default());
    row("sha256", signature.sha256.map(|digest| digest.to_string()).unwrap_or_default());
    let has_digest = signature.md5.is_some() || signature.sha1.is_some() || signature.sha256.is_some();
    row(
        "grade",
        match (has_digest, signature.role) {
            (true, _) => format!("{}, where the digests agree", signature.grade.name()),
            (false, Role::Worm) => {
                "no digest is known: probable at most, by name, place and value".to_owned()
            }
            (false, Role::Companion) => {
                "no digest is known; a companion: not judged by the checks of the worm".to_owned()
            }
        },
    );
    row("source", signature.source.clone());
    text.push('\n');
    text
}

fn check(file: &Path) -> Result<u8> {
    let outcome = match check_file(file) {
        Ok(outcome) => outcome,
        Err(error) => {
            tell(&error.device(file).to_string());
            return Ok(2);
        }
    };
    let mut text = String::new();
    let name = file.display().to_string();
    for problem in &outcome.problems {
        let place = if problem.line == 0 { "-".to_owned() } else { problem.line.to_string() };
        let _ = writeln!(text, "{}\t{place}\t{}", printable(&name), printable(&problem.what));
    }
    super::print(&text)?;
    remark(file, &outcome);
    Ok(u8::from(outcome.problem_count > 0))
}

/// What is right about it, on standard error.
fn remark(file: &Path, outcome: &Outcome) {
    let Outcome { entries: [md5, sha1, sha256], any_size, weak, problems, problem_count } = outcome;
    let told = problems.len() as u64;
    if *problem_count > told {
        tell(&format!("{}: {} more problems", file.display(), problem_count - told));
    }
    let what = if is_hash_set(file) { "lines" } else { "signatures" };
    tell(&format!("{}: {what} with MD5 {md5}, SHA-1 {sha1}, SHA-256 {sha256}", file.display()));
    if *any_size > 0 {
        tell(&format!("{}: {any_size} of any size: looked for under --deep alone", file.display()));
    }
    if *weak > 0 {
        tell(&format!(
            "{}: {weak} of these with MD5 or SHA-1: a match is a suspect, since files can be made to collide",
            file.display()
        ));
    }
}

fn tell(words: &str) {
    eprintln!("deblast: {}", printable(words));
}
