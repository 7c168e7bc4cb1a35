//! The program that a command line in the registry starts, as far as it can be told without running Windows.

use std::collections::HashSet;

/// The longest command line that Windows takes, in characters (CreateProcess); counted in bytes here.
const LONGEST: usize = 32_767;
/// The longest base name of a file, in characters.
const LONGEST_NAME: usize = 255;

/// The base names that the command's program may have, folded no further than they stand: of `"C:\a b\c.exe" /x`
/// it is `c.exe`. Unquoted, Windows tries each prefix that ends before a blank, so each of them is given, shortest
/// first. A name without an extension is given with `.exe` too, as Windows adds it.
///
/// A value may be as long as a hive; no command line is longer than `LONGEST`, and no base name than `LONGEST_NAME`.
pub fn program_names(command: &str) -> Vec<String> {
    let command = command.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let command = command.get(..command.floor_char_boundary(LONGEST)).unwrap_or(command);
    let paths: Vec<&str> = match command.strip_prefix('"') {
        Some(quoted) => vec![quoted.split('"').next().unwrap_or(quoted)],
        None => command
            .char_indices()
            .filter(|(_, c)| c.is_whitespace())
            .filter_map(|(end, _)| command.get(..end))
            .chain([command])
            .collect(),
    };
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for path in paths {
        let name = path.rsplit(['\\', '/', ':']).next().unwrap_or(path).trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            continue;
        }
        let mut add = |name: String| {
            if seen.insert(name.clone()) {
                names.push(name);
            }
        };
        add(name.to_owned());
        if !name.contains('.') {
            add(format!("{name}.exe"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_in_what_worms_wrote() {
        let first = |command: &str| program_names(command).into_iter().next();
        assert_eq!(first("a.exe").as_deref(), Some("a.exe"));
        assert_eq!(first("  C:\\WINDOWS\\System32\\a.exe /fstart").as_deref(), Some("a.exe"));
        assert_eq!(first("\"C:\\Program Files\\X\\a.exe\" -x").as_deref(), Some("a.exe"));
        assert_eq!(
            first("a.exe I just want to say hello").as_deref(),
            Some("a.exe"),
            "a tail behind the name"
        );
        assert_eq!(first("%SystemRoot%\\system32\\a.exe").as_deref(), Some("a.exe"));
        assert_eq!(first("\\\\server\\share\\a.exe").as_deref(), Some("a.exe"));
        assert_eq!(first("C:a.exe").as_deref(), Some("a.exe"));
        assert_eq!(first(""), None);
        assert_eq!(first("\"").as_deref(), None);
        assert!(program_names("C:\\Program Files\\a.exe").contains(&"a.exe".to_owned()), "unquoted blank");
        assert_eq!(program_names("a"), ["a", "a.exe"]);
    }
}
