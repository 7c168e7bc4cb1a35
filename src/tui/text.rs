//! Words for people who have read no manual, and text broken into lines.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cleanup::report::InstallReport;
use crate::cleanup::report_text::{printable, title};
use crate::finding::{CheckName, Finding, Grade};

/// What a check is about, for people.
pub(super) fn check_title(check: CheckName) -> &'static str {
    match check {
        CheckName::Autostart => "started with Windows",
        CheckName::WormFile => "worm's file",
        CheckName::Dcom => "DCOM",
        CheckName::PacketFilter => "packet filter",
        CheckName::Patch => "patch",
        CheckName::Companion => "Welchia",
        CheckName::RestorePoint => "restore point",
        CheckName::Traces => "traces",
    }
}

/// What a finding of a check means, after the advisory CA-2003-20 and what is known of the worm.
pub(super) fn check_meaning(check: CheckName) -> &'static str {
    match check {
        CheckName::Autostart => {
            "This value has Windows start the worm each time it starts. Without it the worm's file does nothing by itself."
        }
        CheckName::WormFile => {
            "The worm's own program. It came in through a hole in RPC (135/tcp), was fetched by TFTP (69/udp), and attacks other machines in the same way."
        }
        CheckName::Dcom => {
            "The worm comes in through the DCOM interface of RPC. With DCOM disabled a machine that has no patch is not open to it; programs that need DCOM over the network fail meanwhile."
        }
        CheckName::PacketFilter => {
            "TCP/IP filtering shuts the worm's ports on the machine itself. It is the way where Windows does not act on the DCOM value."
        }
        CheckName::Patch => {
            "MS03-026, or a later update that contains it, closes the hole for good. Nothing else does; all the rest keeps the machine safe until it is installed."
        }
        CheckName::Companion => {
            "W32/Welchia (Nachi) uses the same hole, removes Blaster, and floods networks with pings."
        }
        CheckName::RestorePoint => {
            "System Restore keeps copies of files. A copy of the worm does nothing there, but going back to that restore point brings it back."
        }
        CheckName::Traces => {
            "Something that the worm, or a crash of the attacked service, leaves behind. It can do nothing."
        }
    }
}

/// How sure a grade is, in words.
pub(super) fn grade_meaning(grade: Grade) -> &'static str {
    match grade {
        Grade::Confirmed => {
            "confirmed: size and digest are a known worm's, only the worm writes such a value, or it is a setting that was read"
        }
        Grade::Probable => "probable: name, place and what starts it agree",
        Grade::Suspect => "suspect: something about it is the worm's, not enough to act on unasked",
        Grade::Information => "information: told for completeness, asks for nothing",
    }
}

/// The facts that a finding rests on, a line each.
pub(super) fn evidence(finding: &Finding) -> Vec<String> {
    let facts = &finding.facts;
    let mut lines = Vec::new();
    let mut add = |name: &str, words: Option<String>| {
        lines.extend(words.map(|words| format!("{name}: {}", printable(&words))));
    };
    add("signature", facts.signature.clone());
    add("data", facts.data.clone());
    add("file version", facts.file_version.clone());
    add("MFT record", facts.mft_record.map(|record| record.to_string()));
    add("directory entry", facts.directory_entry.map(|entry| format!("{entry:#x} of the volume")));
    if let Some(digests) = &facts.digests {
        add("size", Some(format!("{} bytes", digests.size)));
        add("MD5", Some(digests.md5.to_string()));
        add("SHA-1", Some(digests.sha1.to_string()));
        add("SHA-256", Some(digests.sha256.to_string()));
    }
    add("name", facts.name.clone());
    add("action", finding.action.clone());
    lines
}

/// Which Windows, where, and the computer's name.
pub(super) fn install_name(install: &InstallReport) -> String {
    let name = install.computer_name.as_deref().map(|name| format!(", computer {name}")).unwrap_or_default();
    printable(&format!("{} in {}{name}", title(install), install.system_root))
}

/// Text in lines of at most `width` columns, broken at blanks; what is too long for a line is broken where it must be,
/// so that nothing is lost. Lines that follow are indented like the first, and a little more.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrap_line(line, width.max(8))).collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let indent = line.chars().take_while(|c| *c == ' ').count().min(width / 2);
    let hanging = " ".repeat((indent + 2).min(width / 2));
    let mut lines = Vec::new();
    let mut current = " ".repeat(indent);
    let mut is_empty = true;
    // A no-break space holds what it stands in together.
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        loop {
            let used = current.width() + usize::from(!is_empty);
            let length = word.width();
            if used + length <= width {
                if !is_empty {
                    current.push(' ');
                }
                current.push_str(word);
                is_empty = false;
                break;
            }
            if is_empty {
                // Longer than a whole line.
                let room = width.saturating_sub(used).max(1);
                let (head, rest) = split(word, room);
                current.push_str(head);
                word = rest;
            }
            lines.push(std::mem::replace(&mut current, hanging.clone()));
            is_empty = true;
        }
    }
    lines.push(current);
    lines
}

/// Splits a text before the column that it may not reach; the first character goes in any case.
fn split(text: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    let past = text.char_indices().skip(1).find(|(at, _)| {
        used = text.get(..*at).unwrap_or_default().width();
        let next = text.get(*at..).and_then(|rest| rest.chars().next()).and_then(|c| c.width()).unwrap_or(0);
        used + next > room
    });
    text.split_at(past.map_or(text.len(), |(at, _)| at))
}

/// A text in at most `width` columns; where something is cut, its last column is the mark.
pub(super) fn fit(text: &str, width: usize, mark: char) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    match width {
        0 => String::new(),
        1 => mark.to_string(),
        _ => {
            let (head, _) = split(text, width - 1);
            let head = if head.width() < width { head } else { "" };
            format!("{head}{mark}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_has_a_mark() {
        assert_eq!(fit("abcdef", 6, '~'), "abcdef");
        assert_eq!(fit("abcdef", 5, '~'), "abcd~");
        assert_eq!(fit("\u{6f22}\u{5b57}\u{6f22}", 4, '~'), "\u{6f22}~");
        assert_eq!(wrap("\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}", 8).len(), 2);
    }

    #[test]
    fn nothing_is_lost_and_nothing_too_long() {
        let text = "  note: the record goes to /var/lib/deblast/and/a/very/long/path/without/any/blank and more\n\nend";
        for width in [8, 12, 20, 40, 200] {
            let lines = wrap(text, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
            let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(squeezed(&lines.concat()), squeezed(text), "{width}");
        }
        assert_eq!(wrap("  a b c d e f g h", 12), ["  a b c d e", "    f g h"]);
    }
}
