//! The board of bench mode: a row for each socket, with the disk in it, what Windows it holds, how far it is, and in large letters
//! what came of it.
//!
//! ```text
//! Deblast 0.1.0  bench                         2 PASS   1 LOOK   0 FAIL   1 at work
//! ── 1  usb 1-2.3 ─────────────────────────────────────────────────────────────────
//! ST380011A 5JV1ABCD, /dev/sdb, 74 GiB                       ####   ###   ####  ####
//! Windows XP SP1                                             #   # #   # #     #
//! CLEANED: found, cured, and verified on the disk            ####  #####  ###   ###
//! it may be pulled                                           #     #   #     #     #
//!                                                            #     #   # ####  ####
//! q end   t colours
//! ```

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::cleanup::bench::{Board, Mark, Row, Step};
use crate::cleanup::report_text::{human_size, printable};
use crate::tui::screens::pane::{Painter, below};
use crate::tui::theme::{Theme, Tone};

/// Rows that a large letter takes, and columns of four of them.
const LARGE: (u16, u16) = (5, 23);

/// Draws the whole terminal; `scroll`: rows that are left out at the top.
pub(in crate::tui) fn render(frame: &mut Frame<'_>, board: &Board<'_>, (theme, scroll): (Theme, usize)) {
    let area = frame.area();
    frame.buffer_mut().set_style(area, theme.ground());
    let mut painter = Painter { buffer: frame.buffer_mut(), theme };
    let head = format!(
        "Deblast {}  bench   {} PASS   {} LOOK   {} FAIL   {} at work",
        env!("CARGO_PKG_VERSION"),
        board.count(Mark::Pass),
        board.count(Mark::Look),
        board.count(Mark::Fail),
        board.at_work()
    );
    painter.line(area, 0, &head, theme.style(Tone::Strong));
    let foot = match (board.closed, board.at_work()) {
        (None, _) => "q end   t colours   Up, Down".to_owned(),
        (Some(why), 0) => format!("No further disk is begun: {}.   q leave", printable(why)),
        (Some(why), _) => {
            format!(
                "No further disk is begun: {}.   q again: stop, and take back what is half written",
                printable(why)
            )
        }
    };
    painter.line(area, area.height.saturating_sub(1), &foot, theme.style(Tone::Strong));
    let body = Rect { height: area.height.saturating_sub(2), ..below(area, 1) };
    if board.rows.is_empty() {
        let words = "Waiting for disks: each that is plugged in is worked on.";
        painter.line(body, 1, words, theme.style(Tone::Plain));
        return;
    }
    let rows = u16::try_from(board.rows.len()).unwrap_or(u16::MAX);
    let height = (body.height / rows.max(1)).clamp(1, LARGE.0 + 1);
    for (index, row) in board.rows.iter().skip(scroll).enumerate() {
        let y = u16::try_from(index).unwrap_or(u16::MAX).saturating_mul(height);
        if y + height > body.height {
            break;
        }
        let area = Rect { y: body.y + y, height, ..body };
        if height == 1 {
            one_line(&mut painter, area, row, board.now)
        } else {
            several(&mut painter, area, row, board.now)
        }
    }
}

fn tone(row: &Row) -> Tone {
    match row.mark {
        Some(Mark::Pass) => Tone::Good,
        Some(Mark::Look) => Tone::Caution,
        Some(Mark::Fail) => Tone::Bad,
        None if row.step == Step::Writes => Tone::Bad,
        None => Tone::Plain,
    }
}

/// The disk by what is printed on it.
pub(in crate::tui) fn who(row: &Row) -> String {
    let disk = &row.disk;
    let known = [disk.model.as_deref(), disk.serial.as_deref()];
    let label: Vec<&str> = known.into_iter().flatten().collect();
    let label = if label.is_empty() { "a disk without a name".to_owned() } else { label.join(" ") };
    printable(&format!("{label}, {}, {}", disk.path.display(), human_size(disk.size)))
}

/// What is done now, and how far it is.
fn doing(row: &Row, now: Duration) -> String {
    if !row.is_there {
        return if row.mark.is_some() { "removed" } else { row.step.word() }.to_owned();
    }
    match &row.progress {
        Some(progress) => {
            let percent = progress.done.saturating_mul(100) / progress.total.max(1);
            let left = progress.pace(now).map(|(_, left)| format!(", {left} left")).unwrap_or_default();
            format!("{}: {} {percent} %{left}", row.step.word(), progress.what)
        }
        None => match row.step {
            Step::Writes => "WRITING: leave it plugged in".to_owned(),
            Step::Over => "done: it may be pulled".to_owned(),
            step => step.word().to_owned(),
        },
    }
}

fn one_line(painter: &mut Painter<'_>, area: Rect, row: &Row, now: Duration) {
    let mark = row.mark.map_or("    ", Mark::word);
    let what = if row.words.is_empty() { doing(row, now) } else { row.words.clone() };
    let text = format!("{:>2} {mark} {}  {}", row.slot, who(row), printable(&what));
    painter.line(area, 0, &text, painter.theme.style(tone(row)));
}

fn several(painter: &mut Painter<'_>, area: Rect, row: &Row, now: Duration) {
    let inner = painter.rule(area, &format!("{}  {}", row.slot, row.disk.socket));
    let is_large = inner.height >= LARGE.0 && inner.width >= 3 * LARGE.1;
    let aside = if is_large { LARGE.1 + 1 } else { 7 };
    let text = Rect { width: inner.width.saturating_sub(aside), ..inner };
    let style = |tone| painter.theme.style(tone);
    let windows = match (row.windows.is_empty(), row.step) {
        (false, _) => row.windows.join("; "),
        (true, Step::Over) => "no Windows".to_owned(),
        (true, _) => String::new(),
    };
    let (plain, strong, own) = (style(Tone::Plain), style(Tone::Strong), style(tone(row)));
    let bar = row
        .progress
        .as_ref()
        .map(|progress| painter.theme.bar(progress.done, progress.total, usize::from(text.width).min(40)));
    let lines = [
        (who(row), strong),
        (doing(row, now), if row.step == Step::Writes { own } else { plain }),
        (printable(&row.words), own),
        (printable(&windows), plain),
        (bar.unwrap_or_default(), plain),
    ];
    let lines = lines.into_iter().filter(|(line, _)| !line.is_empty());
    for (y, (line, style)) in (0..).zip(lines) {
        painter.line(text, y, &line, style);
    }
    let Some(mark) = row.mark else { return };
    let at = Rect { x: text.x + text.width + 1, width: aside - 1, ..inner };
    if is_large {
        let dot = if painter.theme.unicode { "█" } else { "#" };
        for (y, line) in (0..).zip(large(mark)) {
            painter.line(at, y, line.trim_end().replace('#', dot).as_str(), own);
        }
    } else {
        painter.line(at, 0, mark.word(), own);
    }
}

/// The word in letters of five by five.
fn large(mark: Mark) -> [String; 5] {
    let letters = mark.word().chars().map(letter);
    letters.fold([const { String::new() }; 5], |lines, letter| {
        let mut letter = letter.iter();
        lines.map(|line| format!("{line}{} ", letter.next().copied().unwrap_or_default()))
    })
}

fn letter(letter: char) -> [&'static str; 5] {
    match letter {
        'P' => ["#### ", "#   #", "#### ", "#    ", "#    "],
        'A' => [" ### ", "#   #", "#####", "#   #", "#   #"],
        'S' => [" ####", "#    ", " ### ", "    #", "#### "],
        'L' => ["#    ", "#    ", "#    ", "#    ", "#####"],
        'O' => [" ### ", "#   #", "#   #", "#   #", " ### "],
        'K' => ["#   #", "#  # ", "###  ", "#  # ", "#   #"],
        'F' => ["#####", "#    ", "#### ", "#    ", "#    "],
        'I' => ["#####", "  #  ", "  #  ", "  #  ", "#####"],
        _ => ["     "; 5],
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::disk::Plugged;
    use crate::event::Event;
    use crate::tui::fixture::done;
    use crate::tui::theme::Palette;

    fn row(slot: usize, serial: &str) -> Row {
        let disk = Plugged {
            path: format!("/dev/sd{}", char::from(b'a' + u8::try_from(slot).unwrap())).into(),
            sequence: None,
            socket: format!("usb 1-{slot}"),
            size: 80 << 30,
            model: Some("ST380011A".to_owned()),
            serial: Some(serial.to_owned()),
            in_use: None,
        };
        let mut row = Row::new(slot as u64, slot, disk);
        row.begin();
        row
    }

    fn rows() -> Vec<Row> {
        let event = |done| Event::Progress { what: "reading the file table", done, total: 8 << 20 };
        let mut looking = row(1, "5JV1");
        looking.hear(&event(1 << 20), Duration::from_secs(0));
        looking.hear(&event(4 << 20), Duration::from_secs(4));
        let mut writing = row(2, "5JV2");
        writing.hear(&Event::StoreReady { folder: "/s".into() }, Duration::from_secs(0));
        let mut over = row(3, "5JV3\u{1b}[2J");
        over.hear(&Event::Install { root: "W".to_owned(), product: "Windows XP".to_owned() }, Duration::ZERO);
        over.end(&done("cleaned").report, None);
        let mut pulled = row(4, "5JV4");
        pulled.pulled();
        vec![looking, writing, over, pulled]
    }

    fn drawn(rows: &[Row], (width, height): (u16, u16), closed: Option<&str>) -> String {
        let theme = Theme { unicode: false, dark: false, palette: Palette::Mono };
        let board = Board { rows, closed, now: Duration::from_secs(4) };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(frame, &board, (theme, 0))).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_board_tells_each_disk_and_its_result_at_every_size() {
        for size in [(60, 18), (80, 25), (132, 43)] {
            let screen = drawn(&rows(), size, None);
            for words in [
                "1 PASS   0 LOOK   1 FAIL   3 at work",
                "5JV1",
                "5JV2",
                "5JV3",
                "5JV4",
                "WRITING",
                "50 %",
                "4 s left",
                "PULLED TOO EARLY",
                "q end",
            ] {
                assert!(screen.contains(words), "{words}\n{screen}");
            }
            assert!(!screen.contains('\u{1b}'), "{screen}");
            // No word of writing where the disk is gone.
            assert_eq!(screen.matches("WRITING").count(), 1, "{screen}");
            // Letters that can be read across a bench, where there is room for them.
            let is_large = screen.contains("####   ###   ####  ####");
            assert_eq!(is_large, size.1 >= 43, "{screen}");
            assert!(is_large || (screen.contains("PASS") && screen.contains("FAIL")), "{screen}");
        }
    }

    #[test]
    fn large_letters_fit_into_their_place() {
        for mark in [Mark::Pass, Mark::Look, Mark::Fail] {
            let widest = large(mark).iter().map(|line| line.trim_end().len()).max();
            assert!(widest <= Some(usize::from(LARGE.1)), "{mark:?}");
        }
    }

    #[test]
    fn many_disks_have_a_line_each_and_an_end_says_why() {
        let rows: Vec<Row> = (1..=20).map(|slot| row(slot, &format!("S{slot}X"))).collect();
        let screen = drawn(&rows, (80, 25), Some("the record cannot be written any more"));
        assert!(rows.iter().all(|row| screen.contains(row.disk.serial.as_deref().unwrap())), "{screen}");
        assert!(
            screen.contains("No further disk is begun: the record cannot be written any more"),
            "{screen}"
        );
        assert!(drawn(&[], (80, 25), None).contains("Waiting for disks"));
    }
}
