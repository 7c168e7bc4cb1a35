//! The one error type: what we were doing, where, why it failed, and what the technician can do.
//!
//! Finer types were weighed and left out: nothing here recovers by kind of error; a person reads it, with its
//! chain on one line. Each layer adds its place with [`Context`]; none drops the cause.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What a fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure, told for a person.
#[derive(Debug)]
pub struct Error {
    /// A verb phrase that fits behind "cannot": `read the base block`.
    pub doing: String,
    /// Where it happened.
    pub at: Box<At>,
    /// Why.
    pub cause: Cause,
    /// What the technician can do, as a sentence without a full stop; empty where nothing sensible is known.
    pub hint: String,
}

/// A place: as much of it as the layer that failed knew.
#[derive(Debug, Default, Clone)]
pub struct At {
    /// Device node or image file, or any other file of the host.
    pub device: Option<PathBuf>,
    /// Path inside the volume, or key inside the hive, as text.
    pub path: Option<String>,
    /// Byte offset in whatever the innermost of the two above names. Shown in hex.
    pub offset: Option<u64>,
}

/// Why something failed.
#[derive(Debug)]
pub enum Cause {
    /// The operating system refused or failed.
    Io(io::Error),
    /// A structure is not as its format says.
    Mismatch {
        /// What the format asks for.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// We could, but must not; or cannot yet. A sentence without a full stop.
    Refused(String),
    /// An error of a layer below, with its own place.
    Inner(Box<Error>),
    /// An error of a library.
    Library(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A structure that is not as its format says, at a byte offset.
    pub fn mismatch(
        doing: impl Into<String>,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let cause = Cause::Mismatch { expected: expected.into(), found: found.into() };
        Self { doing: doing.into(), at: Box::default(), cause, hint: String::new() }.offset(offset)
    }

    /// Something that must not be done, or cannot be done yet.
    pub fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            at: Box::default(),
            cause: Cause::Refused(why.into()),
            hint: String::new(),
        }
    }

    /// A failure of the operating system.
    pub fn io(doing: impl Into<String>, cause: io::Error) -> Self {
        Self { doing: doing.into(), at: Box::default(), cause: Cause::Io(cause), hint: String::new() }
    }

    /// A failure reported by a library.
    pub fn library(
        doing: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            doing: doing.into(),
            at: Box::default(),
            cause: Cause::Library(cause.into()),
            hint: String::new(),
        }
    }

    /// Names the device, image or host file, unless a device is named already.
    #[must_use]
    pub fn device(mut self, device: impl Into<PathBuf>) -> Self {
        self.at.device.get_or_insert(device.into());
        self
    }

    /// Names the path inside the volume or hive, unless one is named already.
    #[must_use]
    pub fn path(mut self, path: impl fmt::Display) -> Self {
        self.at.path.get_or_insert(path.to_string());
        self
    }

    /// Names the byte offset, unless one is named already.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.at.offset.get_or_insert(offset);
        self
    }

    /// Says what the technician can do, unless an inner layer knew better.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.hint.is_empty() {
            self.hint = hint.into();
        }
        self
    }

    /// Wraps this error in the step that failed because of it.
    #[must_use]
    pub fn within(self, doing: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            at: Box::default(),
            cause: Cause::Inner(Box::new(self)),
            hint: String::new(),
        }
    }

    /// Whether the operating system's word is at the bottom of it: a disk that cannot be read, not one that holds nonsense.
    pub fn is_io(&self) -> bool {
        match &self.cause {
            Cause::Io(_) => true,
            Cause::Inner(inner) => inner.is_io(),
            Cause::Mismatch { .. } | Cause::Refused(_) | Cause::Library(_) => false,
        }
    }

    /// The innermost hint of the chain, if any layer gave one.
    pub fn best_hint(&self) -> Option<&str> {
        let inner = if let Cause::Inner(inner) = &self.cause { inner.best_hint() } else { None };
        inner.or_else(|| (!self.hint.is_empty()).then_some(self.hint.as_str()))
    }

    /// Everything but the hints: used where the hint is shown apart.
    pub fn without_hint(&self) -> String {
        let mut text = format!("cannot {}", self.doing);
        let mut at = Vec::new();
        if let Some(device) = &self.at.device {
            at.push(device.display().to_string());
        }
        if let Some(path) = &self.at.path {
            at.push(path.clone());
        }
        if let Some(offset) = self.at.offset {
            at.push(format!("offset {offset:#x}"));
        }
        if !at.is_empty() {
            text.push_str(&format!(" ({})", at.join(", ")));
        }
        match &self.cause {
            Cause::Io(e) => text.push_str(&format!(": {e}")),
            Cause::Mismatch { expected, found } => {
                text.push_str(&format!(": expected {expected}, found {found}"));
            }
            Cause::Refused(why) => text.push_str(&format!(": {why}")),
            Cause::Inner(inner) => text.push_str(&format!(": {}", inner.without_hint())),
            Cause::Library(e) => {
                // Libraries draw pictures over several lines; an error is one line here.
                let told = e.to_string();
                let lines: Vec<&str> = told.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                text.push_str(&format!(": {}", lines.join("; ")));
            }
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_hint())?;
        match self.best_hint() {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(e) => Some(e),
            Cause::Inner(e) => Some(e),
            Cause::Library(e) => Some(e.as_ref()),
            Cause::Mismatch { .. } | Cause::Refused(_) => None,
        }
    }
}

/// Adds what we were doing to an error of the operating system or of a layer below.
pub trait Context<T> {
    /// Turns the error into one of ours, `doing` being a verb phrase that fits behind "cannot".
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|e| Error::io(doing, e))
    }
}

impl<T> Context<T> for Result<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.within(doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_chain_place_and_hint() {
        let e = Error::mismatch("read the base block", 0x1fc, "checksum 0x1", "0x2")
            .device("/dev/sda1")
            .path("\\WINDOWS\\system32\\config\\software")
            .hint("restore the hive from a backup")
            .within("inspect the install");
        assert_eq!(
            e.to_string(),
            "cannot inspect the install: cannot read the base block (/dev/sda1, \
             \\WINDOWS\\system32\\config\\software, offset 0x1fc): expected checksum 0x1, found 0x2 \
             (restore the hive from a backup)"
        );
    }
}
