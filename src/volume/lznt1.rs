//! LZNT1, the compression of NTFS: one compression unit from its chunks.
//!
//! A unit is a row of chunks, each for 4 KiB of the file: a 16-bit header (bits 0 to 11 the length of what follows less
//! 1, bit 15 set where that is compressed), then the bytes as they are, or groups of a flag byte and eight tokens. A
//! token is one literal byte or a 16-bit pair of distance and length, whose split moves with the place in the chunk. A
//! header of 0 ends the unit. What the chunks do not fill is zeros. Source: the Linux-NTFS documentation
//! ("Compression"); MS-XCA 2.5.

/// What one chunk stands for, in bytes.
pub(super) const CHUNK: usize = 4096;
const LENGTH: u16 = 0x0fff;
const COMPRESSED: u16 = 0x8000;

/// Why a unit cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where in the compressed bytes.
    pub(super) at: usize,
    pub(super) expected: &'static str,
    pub(super) found: &'static str,
}

/// Decodes chunks until `out` is full or the chunks end; the rest of `out` is zeros.
pub(super) fn decode(input: &[u8], out: &mut [u8]) -> Result<(), Damage> {
    out.fill(0);
    let mut at = 0;
    for chunk in out.chunks_mut(CHUNK) {
        // The clusters end with the last chunk, or a header of 0 stands behind it.
        let Some(header) = input.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes)
        else {
            return Ok(());
        };
        if header == 0 {
            return Ok(());
        }
        let length = usize::from(header & LENGTH) + 1;
        let Some(body) = input.get(at + 2..at + 2 + length) else {
            let (expected, found) = ("a chunk that ends inside its unit", "one that is longer");
            return Err(Damage { at, expected, found });
        };
        if header & COMPRESSED == 0 {
            if length > CHUNK {
                let (expected, found) = ("a stored chunk of at most 4096 bytes", "a longer one");
                return Err(Damage { at, expected, found });
            }
            chunk.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        } else {
            decode_chunk(body, chunk).map_err(|damage| Damage { at: at + 2 + damage.at, ..damage })?;
        }
        at += 2 + length;
    }
    Ok(())
}

/// Decodes the tokens of one chunk. `out` may be shorter than a chunk where the file ends in it.
fn decode_chunk(body: &[u8], out: &mut [u8]) -> Result<(), Damage> {
    let (mut at, mut done) = (0, 0);
    // The whole chunk is decoded, wanted or not: a token beyond the wanted end is no damage.
    let mut chunk = [0; CHUNK];
    while let Some(&flags) = body.get(at) {
        at += 1;
        for bit in 0..8 {
            if at >= body.len() {
                break;
            }
            if flags >> bit & 1 == 0 {
                let (Some(to), Some(&literal)) = (chunk.get_mut(done), body.get(at)) else {
                    return Err(too_long(at));
                };
                *to = literal;
                (at, done) = (at + 1, done + 1);
                continue;
            }
            let Some(pair) = body.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes)
            else {
                let (expected, found) = ("a pair of 16 bits", "the end of the chunk");
                return Err(Damage { at, expected, found });
            };
            let shift = length_bits(done);
            let distance = usize::from(pair >> shift) + 1;
            let length = usize::from(pair & ((1 << shift) - 1)) + 3;
            let Some(from) = done.checked_sub(distance) else {
                let (expected, found) = ("a distance inside the chunk", "one before its beginning");
                return Err(Damage { at, expected, found });
            };
            if done + length > CHUNK {
                return Err(too_long(at));
            }
            // Byte by byte: source and target may overlap, which repeats what lies between.
            for step in 0..length {
                let byte = chunk.get(from + step).copied().unwrap_or(0);
                if let Some(to) = chunk.get_mut(done + step) {
                    *to = byte;
                }
            }
            (at, done) = (at + 2, done + length);
        }
    }
    out.iter_mut().zip(&chunk).for_each(|(to, from)| *to = *from);
    Ok(())
}

fn too_long(at: usize) -> Damage {
    Damage { at, expected: "tokens for 4096 bytes at most", found: "more" }
}

/// How many low bits of a pair are its length, with `done` bytes of the chunk before it: 12 up to place 16, then one
/// fewer at each doubling.
fn length_bits(done: usize) -> u32 {
    let mut bits = 12;
    let mut reach = 16;
    while reach < done && bits > 4 {
        reach *= 2;
        bits -= 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compressed chunk with its header.
    fn chunk(body: &[u8]) -> Vec<u8> {
        let header = 0xb000 | u16::try_from(body.len() - 1).unwrap();
        [&header.to_le_bytes()[..], body].concat()
    }

    fn decoded(input: &[u8], length: usize) -> Result<Vec<u8>, Damage> {
        let mut out = vec![0xee; length];
        decode(input, &mut out).map(|()| out)
    }

    /// The example of MS-XCA 3.2 (a text whose pairs have two splits).
    #[test]
    fn the_example_of_the_published_description() {
        let input = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01,
            0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24,
            0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48,
            0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let text = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# \
            G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let out = decoded(&input, CHUNK).unwrap();
        assert_eq!(String::from_utf8_lossy(&out[..text.len()]), String::from_utf8_lossy(text));
        assert!(out[text.len()..].iter().all(|&byte| byte == 0), "the rest of the chunk is zeros");
    }

    #[test]
    fn each_chunk_begins_at_its_4_kib_and_a_header_of_zero_ends_the_unit() {
        let mut input = chunk(&[0, b'a', b'b']);
        input.extend([0xff, 0x3f]);
        input.extend(vec![b's'; CHUNK]);
        input.extend(chunk(&[0b10, b'x', 0xfc, 0x0f]));
        input.extend([0, 0, 1, 2, 3]);
        let out = decoded(&input, 4 * CHUNK).unwrap();
        assert_eq!(&out[..3], b"ab\0");
        assert!(out[CHUNK..2 * CHUNK].iter().all(|&byte| byte == b's'), "a stored chunk");
        assert!(out[2 * CHUNK..3 * CHUNK].iter().all(|&byte| byte == b'x'), "a pair that repeats itself");
        assert!(out[3 * CHUNK..].iter().all(|&byte| byte == 0));
        assert_eq!(decoded(&input, 2).unwrap(), b"ab", "a file that ends in the first chunk");
        assert_eq!(decoded(&[0; 4096], CHUNK).unwrap(), [0; CHUNK], "a unit that was made zeros");
        assert_eq!(decoded(&[], CHUNK).unwrap(), [0; CHUNK]);
    }

    #[test]
    fn the_split_of_a_pair_moves_at_16_32_and_so_on() {
        let splits =
            [(1, 12), (16, 12), (17, 11), (32, 11), (33, 10), (1024, 6), (1025, 5), (2049, 4), (4095, 4)];
        for (done, bits) in splits {
            assert_eq!(length_bits(done), bits, "{done}");
        }
    }

    #[test]
    fn damage_is_named_at_its_place() {
        let mut second = chunk(&[0, b'a']);
        let first = second.len();
        second.extend(chunk(&[1, 0, 0]));
        let damage = decoded(&second, 2 * CHUNK).unwrap_err();
        assert_eq!((damage.at, damage.found), (first + 3, "one before its beginning"));
        assert_eq!(decoded(&[0xff, 0xbf, 0], CHUNK).unwrap_err().found, "one that is longer");
        let damage = decoded(&chunk(&[2, b'a', 7]), CHUNK).unwrap_err();
        assert_eq!((damage.at, damage.found), (4, "the end of the chunk"));
        // 1 literal and 4098 of the same are more than a chunk.
        assert_eq!(decoded(&chunk(&[2, b'a', 0xff, 0x0f]), CHUNK).unwrap_err().found, "more");
        let literals: Vec<u8> = [&[0][..], &[b'x'; 8]].concat().repeat(455);
        assert_eq!(literals.len(), 4095);
        assert!(decoded(&chunk(&literals), CHUNK).is_ok());
    }
}
