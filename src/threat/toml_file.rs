//! Signatures written as TOML: `[[signature]]` tables with the fields of [`Signature`].

use serde::Deserialize;

use super::{Outcome, Problem, Signature};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    #[serde(default)]
    signature: Vec<Signature>,
}

/// Reads the whole text; refuses unknown fields, malformed digests, and entries that could never match anything.
pub(super) fn parse(text: &str) -> Result<Vec<Signature>> {
    const HINT: &str = "each [[signature]] needs family, source, and names or a digest with its size; see fixtures/practice.toml";
    let list = read(text).map_err(|problem| {
        let Problem { line, what } = problem;
        let place = if line == 0 { String::new() } else { format!("line {line}: ") };
        Error::library("read the signatures", format!("{place}{what}")).hint(HINT)
    })?;
    for (index, signature) in list.iter().enumerate() {
        if let Some((why, hint)) = useless(signature) {
            let doing = format!("use signature {} of {:?}", index + 1, signature.family);
            return Err(Error::refused(doing, why).hint(hint));
        }
    }
    Ok(list)
}

/// What is wrong with the text. What is no TOML, or no signature in it, ends the look: nothing behind it can be told.
pub(super) fn check(text: &str) -> Outcome {
    let mut outcome = Outcome::default();
    match read(text) {
        Err(problem) => outcome.problems.push(problem),
        Ok(list) => {
            let mut lines =
                text.lines().zip(1..).filter(|(line, _)| line.trim_start().starts_with("[[signature]]"));
            for signature in &list {
                let line = lines.next().map_or(0, |(_, number)| number);
                if let Some((why, hint)) = useless(signature) {
                    let what = format!("{:?}: {why}; {hint}", signature.family);
                    outcome.problems.push(Problem { line, what });
                }
            }
            let count = |has: fn(&Signature) -> bool| list.iter().filter(|s| has(s)).count() as u64;
            outcome.entries =
                [count(|s| s.md5.is_some()), count(|s| s.sha1.is_some()), count(|s| s.sha256.is_some())];
            if list.is_empty() {
                outcome.problems.push(Problem { line: 0, what: "it holds no [[signature]]".to_owned() });
            }
        }
    }
    outcome.problem_count = outcome.problems.len() as u64;
    outcome
}

fn read(text: &str) -> Result<Vec<Signature>, Problem> {
    let file: SignatureFile = toml::from_str(text).map_err(|e| {
        // Its own words come with a picture of the line.
        let line =
            e.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        Problem { line: line.map_or(0, |line| line as u64), what: e.message().to_owned() }
    })?;
    Ok(file.signature)
}

/// Why a signature could never match anything, and what to do; none where it could.
fn useless(s: &Signature) -> Option<(&'static str, &'static str)> {
    let has_digest = s.md5.is_some() || s.sha1.is_some() || s.sha256.is_some();
    if s.names.is_empty() && s.run_values.is_empty() && !has_digest {
        return Some(("it has no names, no run_values and no digest", "give what it is known by"));
    }
    // Only files of a known size or name are hashed.
    if has_digest && s.size.is_none() && s.names.is_empty() {
        return Some((
            "no file would ever be held against its digest",
            "give the file's size in bytes beside the digest, or names; or a line of a .hsb of any size, and --deep",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_not_be_meant() {
        let bad = [
            "[[signature]]\nfamily='X'\nsource='y'",
            "[[signature]]\nfamily='X'\nnames=['a']",
            "[[signature]]\nfamily='X'\nnames=['a']\nsource='y'\nmd5='12'",
            "[[signature]]\nfamily='X'\nnames=['a']\nsource='y'\nsha265='12'",
            "[[signatures]]\nfamily='X'\nnames=['a']\nsource='y'",
            "not toml",
            // A digest that no file would be looked at for.
            "[[signature]]\nfamily='X'\nsource='y'\nmd5='00112233445566778899aabbccddeeff'",
            "[[signature]]\nfamily='X'\nsource='y'\nrun_values=['v']\nmd5='00112233445566778899aabbccddeeff'",
        ];
        for text in bad {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("signature"), "{text}: {error}");
        }
        let digest = "[[signature]]\nfamily='X'\nsource='y'\nmd5='00112233445566778899aabbccddeeff'";
        assert!(parse(digest).unwrap_err().to_string().contains("size in bytes"));
        for more in ["size=8", "names=['a']"] {
            assert_eq!(parse(&format!("{digest}\n{more}")).unwrap().len(), 1, "{more}");
        }
        assert_eq!(parse("").unwrap().len(), 0);
    }
}
