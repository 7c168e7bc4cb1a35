//! What Windows leaves behind when it is stopped: a dirty hive and its transaction log.

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// Gives a base block the checksum that it must have.
pub(crate) fn sum(bytes: &mut [u8]) {
    let sum = (0..508).step_by(4).fold(0, |sum, at| sum ^ word(bytes, at));
    put(bytes, 508, &sum.to_le_bytes());
}

/// What Windows leaves when it is stopped while it writes: a dirty hive, some of whose pages may be written, and the
/// log. Type 2 has single pages dirty (NT 4.0, 2000), type 1 eight at a time (XP).
pub(crate) fn stopped(before: &[u8], after: &[u8], kind: u32) -> (Vec<u8>, Vec<u8>) {
    let mut log = after[..512].to_vec();
    put(&mut log, 28, &kind.to_le_bytes());
    sum(&mut log);
    let bins = word(after, 40) as usize;
    let unit = if kind == 1 { 4096 } else { 512 };
    let mut bitmap = vec![0; bins / 4096];
    let mut pages = Vec::new();
    for at in (0..bins).step_by(unit) {
        let place = 4096 + at..4096 + at + unit;
        if before.get(place.clone()) != Some(&after[place.clone()]) {
            (0..unit / 512).for_each(|page| bitmap[at / 4096] |= 1 << (at / 512 % 8 + page));
            pages.extend_from_slice(&after[place]);
        }
    }
    log.extend_from_slice(b"DIRT");
    log.extend_from_slice(&bitmap);
    log.resize(log.len().next_multiple_of(512), 0);
    log.extend_from_slice(&pages);
    let mut dirty = before.to_vec();
    put(&mut dirty, 4, &word(after, 4).to_le_bytes());
    put(&mut dirty, 12, &after[12..20]);
    sum(&mut dirty);
    (dirty, log)
}
