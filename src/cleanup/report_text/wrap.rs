//! Long lines of the report broken for a screen: at blanks, never inside a path, a quotation or a command.

/// Columns of a line, where it can be broken.
pub(super) const WIDTH: usize = 100;
/// Stands for a blank that must not be broken at; control characters never reach the report otherwise.
const GLUE: char = '\u{1}';

/// Breaks every line; `whole` are texts that stay whole, blanks and all.
pub(super) fn wrap(text: &str, whole: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        wrap_line(&mut out, line, whole);
    }
    out
}

fn wrap_line(out: &mut String, line: &str, whole: &[String]) {
    let words = line.trim_start();
    // Commands to copy, and data as Windows has it, stay on one line.
    if line.chars().count() <= WIDTH || words.starts_with("deblast ") || words.starts_with("data: ") {
        out.push_str(line);
        out.push('\n');
        return;
    }
    let indent = line.chars().count() - words.chars().count();
    let numbered = words.split_once(". ").filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit()));
    let hang = indent + numbered.map_or(2, |(number, _)| number.len() + 2);
    let mut kept = words.to_owned();
    for text in whole.iter().filter(|text| text.contains(' ')) {
        kept = kept.replace(text.as_str(), &text.replace(' ', &GLUE.to_string()));
    }
    let (mut column, mut first) = (indent, true);
    out.push_str(&" ".repeat(indent));
    for piece in pieces(&kept) {
        let length = piece.chars().count();
        if !first && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(hang));
            column = hang;
        } else if !first {
            out.push(' ');
            column += 1;
        }
        out.push_str(&piece.replace(GLUE, " "));
        column += length;
        first = false;
    }
    out.push('\n');
}

/// What stands between the blanks that may be broken at.
fn pieces(text: &str) -> Vec<String> {
    let tokens: Vec<&str> = text.split(' ').collect();
    let mut pieces: Vec<String> = Vec::new();
    // Where the path, quotation or bracket that has begun ends.
    let mut glued_to = 0;
    for (index, token) in tokens.iter().enumerate() {
        let rest = tokens.get(index + 1..).unwrap_or_default();
        let end = [end_of_path(token, rest), end_of_pair(token, rest)].into_iter().flatten().max();
        match pieces.last_mut().filter(|_| index != 0 && index <= glued_to) {
            Some(piece) => {
                piece.push(' ');
                piece.push_str(token);
            }
            None => pieces.push((*token).to_owned()),
        }
        glued_to = glued_to.max(end.map_or(0, |end| index + end));
    }
    pieces
}

/// How many words on a path goes that has begun in this one: names of folders have blanks.
fn end_of_path(token: &str, rest: &[&str]) -> Option<usize> {
    let start = token.trim_start_matches(['(', '"', '\'']);
    let separator = if start.contains('\\') {
        '\\'
    } else if start.starts_with('/') {
        '/'
    } else {
        return None;
    };
    let ends = |token: &str| token.ends_with([',', ';', ':', ')', ']']);
    if ends(token) {
        return None;
    }
    let within = rest.iter().take(6).position(|token| ends(token)).map_or(6, |end| end + 1);
    let goes_on = |token: &&str| token.find(separator).is_some_and(|at| at > 0);
    rest.iter().take(within).rposition(goes_on).map(|at| at + 1)
}

/// How many words on a quotation or bracket ends that has begun in this one.
fn end_of_pair(token: &str, rest: &[&str]) -> Option<usize> {
    let is_open = |open: char, close: char| match open == close {
        true => token.matches(open).count() % 2 == 1,
        false => token.rfind(open).is_some_and(|at| !token.get(at..).unwrap_or_default().contains(close)),
    };
    let end = |(open, close): (char, char)| {
        is_open(open, close).then(|| rest.iter().position(|token| token.contains(close)).map(|at| at + 1))?
    };
    [('"', '"'), ('[', ']')].into_iter().filter_map(end).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_and_paths_are_not() {
        let prose = "word ".repeat(60);
        let broken = wrap(&format!("  3. {prose}"), &[]);
        assert!(broken.lines().count() > 2 && broken.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(broken.lines().skip(1).all(|line| line.starts_with("     word")), "{broken}");
        for whole in [
            r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Image File Execution [windows auto update]",
            r"\Documents and Settings\All Users\Start Menu\x.exe",
            "/media/my stick/the store",
            r#"REG_SZ "two words""#,
        ] {
            for length in 60..100 {
                let line = format!("{} {whole} and more words", "x".repeat(length));
                let known = ["/media/my stick/the store".to_owned()];
                let broken = wrap(&line, &known);
                let part = whole.strip_prefix("REG_SZ ").unwrap_or(whole);
                let part = part.split(" [").next().unwrap();
                let part = part.strip_suffix(" Execution").unwrap_or(part);
                assert!(broken.contains(part), "{broken}");
                assert_eq!(
                    broken.split_whitespace().collect::<Vec<_>>(),
                    line.split_whitespace().collect::<Vec<_>>()
                );
            }
        }
        let command = format!("     deblast clean --store {} x", "/a b".repeat(40));
        assert_eq!(wrap(&command, &[]), format!("{command}\n"));
        assert_eq!(wrap("a\n\nb\n", &[]), "a\n\nb\n");
    }
}
