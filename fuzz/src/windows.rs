//! Files that Windows wrote, as a patient may hold them.

use deblast::change::{ValueData, ValueType};
use deblast::windows::pending::Pending;
use deblast::windows::{boot_ini, command_line, event_log, file_version, prefetch, recycle_bin};

use super::{Choices, number, put};

/// The version of a program: it ends, and where one is told it is told of the same bytes with more behind them.
pub fn pe_version(data: &[u8]) {
    let _ = file_version::read(data);
    // Over a program that is whole, so that what is behind the headers is reached.
    let whole = super::seeds::program();
    let mut bytes = whole.clone();
    let mut choices = Choices(data);
    let mut patches = 0;
    while !choices.0.is_empty() && patches < 40 {
        let at = choices.below(bytes.len());
        let count = usize::from(choices.byte() % 8) + 1;
        put(&mut bytes, at, choices.bytes(count));
        patches += 1;
    }
    put(&mut bytes, 0, b"MZ");
    put(&mut bytes, 60, &whole[60..64]);
    let header = number(&whole, 60) as usize;
    put(&mut bytes, header, &whole[header..header + 6]);
    put(&mut bytes, header + 24, &whole[header + 24..header + 26]);
    if let Ok(version) = file_version::read(&bytes) {
        assert_eq!(version.to_string().split('.').count(), 4);
        let longer = [&bytes[..], &[0; 64]].concat();
        assert_eq!(
            file_version::read(&longer).ok(),
            Some(version),
            "bytes behind the last section change nothing"
        );
    }
}

/// boot.ini, event log, prefetch names, the Recycle Bin's lists, pending renames, command lines: bounded by what they are
/// read from.
pub fn small_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for entry in boot_ini::parse(data) {
        assert!(entry.title.len() <= text.len() && entry.root.as_str().len() <= text.len());
    }
    let mut told = 0;
    for record in event_log::records(data) {
        told += record.source.len() + record.strings.iter().map(String::len).sum::<usize>();
    }
    // A unit of UTF-16 is at most three bytes of UTF-8.
    assert!(told <= data.len() * 3, "no more is told than there is: {told} bytes of {}", data.len());
    // The same records where the log stands behind other bytes.
    let shifted = [&[0; 8][..], data].concat();
    let count = event_log::records(data).count();
    assert_eq!(event_log::records(&shifted).count(), count);
    if let Some((program, hash)) = prefetch::parse_name(&text) {
        assert!(!program.is_empty());
        assert_eq!(prefetch::parse_name(&format!("{program}-{hash:08X}.pf")), Some((program, hash)));
        let _ = prefetch::path_of("WINDOWS\\system32", program, hash);
    }
    let paths = recycle_bin::deleted_paths(data);
    assert!(paths.len() <= data.len() / 280);
    let value = ValueData { kind: ValueType::MULTI_SZ, data: data.to_vec() };
    if let Ok(mut pending) = Pending::parse(&value) {
        assert_eq!(pending.to_value(), value, "written as it was read");
        let (before, source) = (pending.clone(), "\\??\\C:\\a file of our own");
        if !pending.deletes(source) {
            pending.append(source);
            assert!(pending.deletes(source));
            assert_eq!(Pending::parse(&pending.to_value()).as_ref(), Ok(&pending));
            assert!(pending.withdraw(source));
            assert_eq!(pending, before, "taken back");
        }
    }
    for name in command_line::program_names(&text) {
        assert!(name.len() <= text.len() + 4);
    }
}
