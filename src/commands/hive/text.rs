//! Names and data as lines of text, with nothing in them that a terminal would obey.

use crate::change::{ValueData, ValueType, utf16_units};
use crate::cleanup::report_text::printable;

/// Most bytes of binary data in a list.
const MOST: usize = 32;

/// A value's name; the default value has none.
pub(super) fn name(name: &str) -> String {
    if name.is_empty() { "(default)".to_owned() } else { printable(name) }
}

/// Type and data, with `before` on the first line; further lines have as many columns, empty.
pub(super) fn lines(before: &str, value: &ValueData) -> String {
    let columns = "\t".repeat(before.matches('\t').count() + 1);
    let mut out = format!("{before}{}\t", value.kind);
    for (index, part) in parts(value).iter().enumerate() {
        if index > 0 {
            out.push_str(&columns);
        }
        out.push_str(part);
        out.push('\n');
    }
    out
}

/// Data on one line, long binary data shortened.
pub(super) fn in_a_line(value: &ValueData) -> String {
    match texts(value) {
        Some(texts) => texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(" "),
        None if value.dword().is_none() && value.data.len() > MOST => {
            let head = ValueData { kind: value.kind, data: value.data.iter().take(MOST).copied().collect() };
            format!("{}… ({} bytes)", parts(&head).concat(), value.data.len())
        }
        None => parts(value).concat(),
    }
}

/// The lines that show the data, at least one.
fn parts(value: &ValueData) -> Vec<String> {
    if let Some(texts) = texts(value) {
        return if texts.is_empty() { vec![String::new()] } else { texts };
    }
    vec![match value.dword() {
        Some(number) => format!("{number:#010x} ({number})"),
        None => value.data.iter().map(|byte| format!("{byte:02x}")).collect(),
    }]
}

/// The texts, for types that hold text: without the NUL that ends each, others escaped.
fn texts(value: &ValueData) -> Option<Vec<String>> {
    let units: Vec<u16> = utf16_units(&value.data).collect();
    let text = |units: &[u16]| printable(&String::from_utf16_lossy(units));
    match value.kind {
        ValueType::SZ | ValueType::EXPAND_SZ => Some(vec![text(units.strip_suffix(&[0]).unwrap_or(&units))]),
        ValueType::MULTI_SZ => {
            // One NUL ends each string, one more the list; either may be missing.
            let units = units.strip_suffix(&[0, 0]).or(units.strip_suffix(&[0])).unwrap_or(&units);
            if units.is_empty() {
                return Some(Vec::new());
            }
            Some(units.split(|unit| *unit == 0).map(text).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::utf16_bytes;

    fn value(kind: ValueType, text: &str) -> ValueData {
        ValueData { kind, data: utf16_bytes(text.encode_utf16()) }
    }

    #[test]
    fn each_type_has_its_lines() {
        assert_eq!(lines("", &ValueData::sz("a b")), "REG_SZ\ta b\n");
        assert_eq!(lines("", &value(ValueType::SZ, "no NUL")), "REG_SZ\tno NUL\n");
        assert_eq!(lines("", &value(ValueType::SZ, "\u{1b}[2J\0x\0")), "REG_SZ\t\\u{1b}[2J\\u{0}x\n");
        let multi = value(ValueType::MULTI_SZ, "one\0two\0\0");
        assert_eq!(lines("n\t", &multi), "n\tREG_MULTI_SZ\tone\n\t\ttwo\n");
        assert_eq!(lines("", &value(ValueType::MULTI_SZ, "\0")), "REG_MULTI_SZ\t\n");
        assert_eq!(lines("", &value(ValueType::MULTI_SZ, "one")), "REG_MULTI_SZ\tone\n");
        let number = ValueData { kind: ValueType::DWORD, data: vec![16, 0, 0, 0] };
        assert_eq!(lines("", &number), "REG_DWORD\t0x00000010 (16)\n");
        assert_eq!(
            lines("", &ValueData { kind: ValueType::BINARY, data: vec![0, 255] }),
            "REG_BINARY\t00ff\n"
        );
        assert_eq!(in_a_line(&multi), r#""one" "two""#);
        let long = ValueData { kind: ValueType::BINARY, data: vec![0; 33] };
        assert_eq!(in_a_line(&long), format!("{}… (33 bytes)", "00".repeat(32)));
        assert_eq!(name(""), "(default)");
    }
}
