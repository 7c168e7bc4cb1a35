//! Words of others, such as names on a patient's disk, shown so that nothing acts on them.

use serde::Serialize;

/// Whether it shows nothing by itself, but changes how what is around it is shown or broken: marks of direction,
/// joiners, separators of lines, tags.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Whether it can be shown as it is: a terminal or a page neither acts on it nor shows nothing for it.
pub(crate) fn is_plain(c: char) -> bool {
    !c.is_control() && !is_unseen(c)
}

/// Text from the patient's disk with everything that a terminal would act on made visible.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = is_plain(c);
            let escaped = (!plain).then(|| c.escape_unicode());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// A value as JSON on one line, the same as printable text: JSON itself leaves characters raw that some terminals obey.
///
/// # Errors
/// It cannot be written as JSON.
pub fn to_json<T: Serialize>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| escaped(&json))
}

/// The same over several lines, indented.
///
/// # Errors
/// It cannot be written as JSON.
pub fn to_json_pretty<T: Serialize>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| escaped(&json))
}

/// JSON with what is not plain as escapes. Its own signs are ASCII, so such characters stand in its strings alone.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_plain(c) || c == '\n' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_holds_nothing_that_acts() {
        let text = "a\u{1b}[2J\u{9b}m\u{7f}\u{202e}\u{e0041}\u{feff}\n\t\"\\ \u{6f22}\u{1f41b}";
        for json in [to_json(&text).unwrap(), to_json_pretty(&vec![text]).unwrap()] {
            assert!(json.chars().all(|c| is_plain(c) || c == '\n'), "{json:?}");
            assert!(json.contains('\u{6f22}'), "what can be read stays as it is: {json}");
        }
        assert_eq!(serde_json::from_str::<String>(&to_json(&text).unwrap()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Vec<String>>(&to_json_pretty(&[text]).unwrap()).unwrap(), [text]);
        assert_eq!(to_json(&"\u{e0041}").unwrap(), "\"\\udb40\\udc41\"");
    }
}
