//! Event logs of Windows NT 4.0 to Server 2003 (`SysEvent.Evt`): the records that can be found in one, whatever state
//! Windows left it in. Source: libyal's documentation of the Windows Event Log (EVT) format.

use jiff::Timestamp;

use crate::volume::bytes::{len_of, slice_at, u16_at, u32_at};

const SIGNATURE: &[u8] = b"LfLe";
/// Fixed part of a record, in bytes.
const FIXED: usize = 56;
/// A record longer than this, in bytes, is damage: Windows' event logging service takes no message nearly as long.
const LONGEST: usize = 1 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When it was written.
    pub written: Option<Timestamp>,
    /// The identifier as event viewers show it: the low 16 bits.
    pub id: u16,
    /// Who wrote it.
    pub source: String,
    /// What the message has in the place of its variables.
    pub strings: Vec<String>,
}

/// All records that are whole, in the order of the file, which a log that has wrapped begins in its middle. A log that
/// was not closed has a header that lags behind, so it is not asked. None lies in another, so that what is told is never
/// longer than the log.
pub fn records(log: &[u8]) -> impl Iterator<Item = EventRecord> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < log.len() {
            let found = record_at(log, at);
            at += found.as_ref().map_or(4, |(_, length)| *length);
            if let Some((record, _)) = found {
                return Some(record);
            }
        }
        None
    })
}

/// The record there, and its length in bytes, a multiple of four.
fn record_at(log: &[u8], at: usize) -> Option<(EventRecord, usize)> {
    if slice_at(log, at + 4, 4)? != SIGNATURE {
        return None;
    }
    let length = len_of(u64::from(u32_at(log, at)?));
    let record = slice_at(log, at, length)
        .filter(|_| (FIXED + 1..=LONGEST).contains(&length) && length.is_multiple_of(4))?;
    if u32_at(record, length - 4) != u32_at(log, at) {
        return None;
    }
    let count = usize::from(u16_at(record, 26)?);
    let strings = record.get(len_of(u64::from(u32_at(record, 36)?))..)?;
    let record = EventRecord {
        written: Timestamp::from_second(i64::from(u32_at(record, 16)?)).ok(),
        id: u16_at(record, 20)?,
        source: texts(record.get(FIXED..)?).next()?,
        strings: texts(strings).take(count).collect(),
    };
    Some((record, length))
}

/// Texts that each end in a NUL.
fn texts(bytes: &[u8]) -> impl Iterator<Item = String> + '_ {
    let mut units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    std::iter::from_fn(move || {
        let mut text = Vec::new();
        loop {
            match units.next()? {
                0 => return Some(String::from_utf16_lossy(&text)),
                unit => text.push(unit),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u32, source: &str, strings: &[&str]) -> Vec<u8> {
        let mut out = vec![0; FIXED];
        let wide =
            |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        out.extend(wide(source));
        out.extend(wide("MACHINE"));
        let offset = out.len() as u32;
        strings.iter().for_each(|text| out.extend(wide(text)));
        out.resize(out.len().next_multiple_of(4), 0);
        let length = (out.len() + 4) as u32;
        out.extend(length.to_le_bytes());
        for (at, value) in [(0, length), (16, 1_060_621_200), (20, id), (36, offset)] {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        out[4..8].copy_from_slice(SIGNATURE);
        out[26..28].copy_from_slice(&(strings.len() as u16).to_le_bytes());
        out
    }

    #[test]
    fn records_are_found_behind_a_header_that_lags_and_around_torn_ones() {
        let mut log = vec![0x30, 0, 0, 0];
        log.extend(SIGNATURE);
        log.resize(0x30, 1);
        log.extend(record(
            0xC000_1B77,
            "Service Control Manager",
            &["Remote Procedure Call (RPC)", "1", "60000"],
        ));
        let mut torn = record(1, "x", &[]);
        torn.truncate(torn.len() - 4);
        log.extend(torn);
        log.extend(record(6005, "EventLog", &[]));
        let found: Vec<EventRecord> = records(&log).collect();
        assert_eq!(found.iter().map(|r| r.id).collect::<Vec<_>>(), [7031, 6005]);
        assert_eq!(found[0].source, "Service Control Manager");
        assert_eq!(found[0].strings, ["Remote Procedure Call (RPC)", "1", "60000"]);
        assert_eq!(found[0].written.unwrap().to_string(), "2003-08-11T17:00:00Z");
    }

    /// A log made so that each record holds all that follow would otherwise be told many times over.
    #[test]
    fn a_record_inside_another_is_part_of_its_text() {
        let inner = record(7031, "inner", &["RPC"]);
        let text: String =
            char::decode_utf16(inner.as_chunks::<2>().0.iter().map(|p| u16::from_le_bytes(*p)))
                .map(|unit| unit.unwrap_or('?'))
                .collect();
        let mut log = record(7031, "outer", &[&text]);
        assert!((0..log.len()).any(|at| log[at..].starts_with(&inner)), "it is in there whole");
        log.extend(record(6005, "EventLog", &[]));
        let sources: Vec<String> = records(&log).map(|record| record.source).collect();
        assert_eq!(sources, ["outer", "EventLog"]);
        // one that is too long to be true is none, and what lies in it is found
        let long = "x".repeat(LONGEST / 2);
        let log = [record(7031, "long", &[&long]), inner].concat();
        assert_eq!(records(&log).map(|record| record.source).collect::<Vec<_>>(), ["inner"]);
    }

    #[test]
    fn lengths_that_lie_do_no_harm() {
        for length in [0_u32, 8, 56, 57, u32::MAX] {
            let mut log = record(7031, "a", &["b"]);
            log[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(records(&log).count(), 0);
        }
        let mut log = record(7031, "a", &["b"]);
        log[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(records(&log).count(), 0);
    }
}
