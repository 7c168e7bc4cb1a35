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
        // Its own words come with a picture of the line.
        let line = e.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        Error::library("read the signatures", format!("{place}{}", e.message()))
            .hint("each [[signature]] needs family, source, and names or a digest with its size; see fixtures/practice.toml")
    })?;
    for (i, s) in file.signature.iter().enumerate() {
        let doing = || format!("use signature {} of {:?}", i + 1, s.family);
        let has_digest = s.md5.is_some() || s.sha1.is_some() || s.sha256.is_some();
        if s.names.is_empty() && s.run_values.is_empty() && !has_digest {
            return Err(Error::refused(doing(), "it has no names, no run_values and no digest"));
        }
        // Only files of a known size or name are hashed.
        if has_digest && s.size.is_none() && s.names.is_empty() {
            return Err(Error::refused(doing(), "no file would ever be held against its digest")
                .hint("give the file's size in bytes beside the digest, or names"));
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
