//! A report that was stored: read back, and told apart into sound, damaged, and not ours to read.
//!
//! A validator for JSON Schema in the binary was weighed and left out: it is many times this size, and the types that
//! wrote the document say the same. The hash is over all of it as it stands, members that this version does not know
//! included; so a report of another version is judged as its own version would.

use jiff::Timestamp;
use serde_json::Value;

use super::{Report, SCHEMA, hash_of};

/// What the name of a schema begins with, before its number.
const SCHEMA_NAME: &str = "deblast.report/";

/// What a file that should hold a report does hold.
#[derive(Debug)]
pub enum Stored {
    /// A report, with every member that its schema requires, as its hash says.
    Sound(Box<Report>),
    /// It can be read, but it is not as it was written.
    Altered {
        /// The report as it stands now.
        report: Box<Report>,
        /// What does not fit, as a sentence without a full stop.
        why: String,
    },
    /// It cannot be read as a report: why, as a sentence without a full stop.
    Broken(String),
    /// A report of a later schema, which this version cannot judge: its name.
    Later(String),
}

impl Stored {
    /// Reads the bytes of a file.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Self::Broken(
                "it is empty: the run that made the file did not come to its report".to_owned(),
            );
        }
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) if error.is_eof() => {
                return Self::Broken(format!("its end is missing ({error})"));
            }
            Err(error) => return Self::Broken(format!("it is no JSON document ({error})")),
        };
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(name) if is_later(name) => return Self::Later(name.to_owned()),
            Some(name) => return Self::Broken(format!("expected the schema {SCHEMA}, found {name}")),
            None => return Self::Broken(format!("expected the schema {SCHEMA}, found none")),
        }
        let report: Report = match serde_json::from_value(value.clone()) {
            Ok(report) => report,
            Err(error) => return Self::Broken(format!("it is not as {SCHEMA} says: {error}")),
        };
        if let Some(what) = misfit(&report) {
            return Self::Broken(format!("it is not as {SCHEMA} says: {what}"));
        }
        let found = match hash_of(value) {
            Ok(found) => found,
            Err(error) => return Self::Broken(error.to_string()),
        };
        let report = Box::new(report);
        if found == report.hash {
            Self::Sound(report)
        } else {
            let why = format!("expected the hash {}, found {found}", report.hash);
            Self::Altered { report, why }
        }
    }
}

/// What no type of ours says and the schema does, as far as something shown rests on it.
fn misfit(report: &Report) -> Option<&'static str> {
    let is_time = |told: &str| told.parse::<Timestamp>().is_ok();
    if !is_time(&report.started) || !is_time(&report.finished) {
        Some("a time of the run is none")
    } else if report.exit_code > 2 {
        Some("no run ends with that exit code")
    } else if !report.options.is_object() {
        Some("what was asked is no object")
    } else {
        None
    }
}

/// Whether this names a schema with a higher number than ours.
fn is_later(name: &str) -> bool {
    let number = |name: &str| name.strip_prefix(SCHEMA_NAME)?.parse::<u32>().ok();
    number(name) > number(SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_number_is_later() {
        assert!(is_later("deblast.report/2") && is_later("deblast.report/10"));
        for name in ["deblast.report/1", "deblast.report/0", "deblast.report/", "deblast.report/x", "x/2"] {
            assert!(!is_later(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_report_is_told() {
        let told = |bytes: &[u8]| match Stored::of(bytes) {
            Stored::Broken(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(told(b"").contains("empty"));
        assert!(told(b"{\"schema\":").contains("its end is missing"));
        assert!(told(b"\xff\xfe").contains("no JSON"));
        assert!(told(b"[]").contains("found none"));
        assert!(told(b"{\"schema\":\"other\"}").contains("found other"));
        assert!(told(b"{\"schema\":\"deblast.report/1\"}").contains("missing field"));
        assert!(
            matches!(Stored::of(b"{\"schema\":\"deblast.report/2\"}"), Stored::Later(name) if name.ends_with('2'))
        );
    }
}
