//! Digests of file contents. The one owner of the md-5, sha1 and sha2 crates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
// md-5 and sha1 use the same `digest` traits as sha2.
use sha2::Digest as _;

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $algorithm:ty, $label:literal, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The digest of a whole slice.
            pub fn of(bytes: &[u8]) -> Self {
                Self(<$algorithm>::digest(bytes).into())
            }

            /// The raw bytes, as the algorithm gives them.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, ":{}"), self)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                hex::<$length>(text)
                    .map(Self)
                    .ok_or_else(|| format!("expected {} hex digits of {}, found {text:?}", $length * 2, $label))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// An MD5 digest: the only one published for the real worm, hence still here.
    Md5, md5::Md5, "md5", 16
}
digest_type! {
    /// A SHA-1 digest.
    Sha1, sha1::Sha1, "sha1", 20
}
digest_type! {
    /// A SHA-256 digest.
    Sha256, sha2::Sha256, "sha256", 32
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != N * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

/// All digests of one content, with its length in bytes: what a signature is matched against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Length of the content in bytes.
    pub size: u64,
    /// MD5 of the content.
    pub md5: Md5,
    /// SHA-1 of the content.
    pub sha1: Sha1,
    /// SHA-256 of the content.
    pub sha256: Sha256,
}

impl Digests {
    /// All digests of a whole slice.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Computes all digests in one pass over content that arrives in pieces.
#[derive(Default)]
pub struct Hasher {
    size: u64,
    md5: md5::Md5,
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.md5.update(bytes);
        self.sha1.update(bytes);
        self.sha256.update(bytes);
    }

    /// The digests of all pieces in their order.
    pub fn finish(self) -> Digests {
        Digests {
            size: self.size,
            md5: Md5(self.md5.finalize().into()),
            sha1: Sha1(self.sha1.finalize().into()),
            sha256: Sha256(self.sha256.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers: RFC 1321, RFC 3174 and FIPS 180-2 for "abc".
    #[test]
    fn known_answers() {
        let d = Digests::of(b"abc");
        assert_eq!(d.size, 3);
        assert_eq!(d.md5.to_string(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(d.sha1.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(d.sha256.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(d.sha256, Sha256::of(b"abc"));
    }

    #[test]
    fn text_round_trip_and_refusal() {
        let d = Md5::of(b"x");
        assert_eq!(d.to_string().parse(), Ok(d));
        assert!("zz".parse::<Md5>().is_err());
        assert!("+1".repeat(16).parse::<Md5>().is_err(), "a sign is no hex digit");
    }
}
