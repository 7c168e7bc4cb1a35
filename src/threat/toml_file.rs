//! Signatures written as TOML: `[[signature]]` tables with the fields of [`Signature`].

use serde::Deserialize;

use super::Signature;
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    #[serde(default)]
    signature: Vec<Signature>,
}

/// Reads the whole text; refuses unknown fields, malformed digests, and entries that could never match anything.
pub(super) fn parse(text: &str) -> Result<Vec<Signature>> {
    let file: SignatureFile = toml::from_str(text).map_err(|e| {
        Error::library("read the signatures", e)
            .hint("each [[signature]] needs family, source and names or a digest; see fixtures/practice.toml")
    })?;
    for (i, s) in file.signature.iter().enumerate() {
        let empty = s.names.is_empty()
            && s.run_values.is_empty()
            && s.md5.is_none()
            && s.sha1.is_none()
            && s.sha256.is_none();
        if empty {
            return Err(Error::mismatch(
                format!("use signature {} of {:?}", i + 1, s.family),
                0,
                "names, run_values or a digest",
                "none of them",
            ));
        }
    }
    Ok(file.signature)
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
        ];
        for text in bad {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("signature"), "{text}: {error}");
        }
        assert_eq!(parse("").unwrap().len(), 0);
    }
}
