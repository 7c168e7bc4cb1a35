//! Every screen at three sizes, in ASCII and with box drawing, against files in tests/tui/. `scripts/refresh-screens`
//! writes them anew; what has changed is then seen as a difference.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::style::Color;

use crate::cleanup::shown::Kind;
use crate::event::Event;
use crate::tui::app::{App, News, Overlay, Screen};
use crate::tui::fixture::{Played, done, proposal, run};
use crate::tui::keys::Press;
use crate::tui::screens::render;
use crate::tui::theme::{Palette, Theme};

const SIZES: [(u16, u16); 3] = [(60, 18), (80, 25), (132, 43)];

/// Every screen and everything that stands above one, by name.
fn all() -> Vec<(&'static str, Played)> {
    let with = |mut played: Played, keys: &str| {
        played.keys(keys);
        played
    };
    let mut none = Played::new();
    none.hear(News::Found(Vec::new()));
    let mut looking = Played::seen(false);
    looking.hear(News::Looking(1));
    looking.hear(News::Event(Event::Progress {
        what: "reading the file table",
        done: 3 << 20,
        total: 8 << 20,
    }));
    let mut findings = Played::seen(false);
    findings.press(Press::Enter);
    findings.press(Press::Down);
    let mut asleep = Played::seen(false);
    asleep.keys("c");
    let mut discarding = proposal(Kind::Clean);
    discarding.discards = true;
    asleep.ask(discarding);
    asleep.keys("ydisc");
    let mut undone = Played::cleaned();
    undone.hear(News::Looked(0, Box::new(done("cleaned")), vec![run(false)]));
    undone.keys("u");
    let runs = std::mem::replace(&mut undone, Played::cleaned());
    let parts = || {
        let mut played = Played::cleaned();
        played.hear(News::Looked(0, Box::new(done("cleaned")), vec![run(false)]));
        played.keys("u");
        played.press(Press::Enter);
        played
    };
    let mut undo_asked = parts();
    undo_asked.press(Press::Down);
    undo_asked.press(Press::Enter);
    undo_asked.ask(proposal(Kind::Undo));
    let mut undone = parts();
    undone.press(Press::Enter);
    undone.ask(proposal(Kind::Undo));
    undone.keys("y");
    undone.hear(News::Ended(Box::new(done("undone"))));
    let mut gone = Played::writing();
    gone.hear(News::Gone(None));
    vec![
        ("finding", Played::new()),
        ("no disk", none),
        ("looking", looking),
        ("looked at", Played::seen(false)),
        ("a run that was cut", Played::seen(true)),
        ("findings", findings),
        ("plan is made", with(Played::seen(false), "c")),
        ("plan", Played::asked()),
        ("a session is given up", asleep),
        ("switches", with(Played::asked(), "s")),
        ("writing", Played::writing()),
        ("stop?", with(Played::writing(), "q")),
        ("verifying", Played::verifying()),
        ("report", Played::cleaned()),
        ("runs", runs),
        ("parts", parts()),
        ("plan of an undo", undo_asked),
        ("report of an undo", undone),
        ("log", with(Played::cleaned(), "l")),
        ("help", with(Played::seen(false), "?")),
        ("power off?", {
            let mut played = Played::cleaned();
            played.app.live = true;
            with(played, "o")
        }),
        ("leave?", with(Played::seen(false), "q")),
        ("place of the record", with(Played::seen(false), "p/media/stick/records")),
        ("the work is gone", gone),
    ]
}

fn drawn(app: &mut App, (width, height): (u16, u16), unicode: bool) -> Vec<String> {
    app.theme.unicode = unicode;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect()
}

#[test]
fn every_screen_is_as_it_was_seen() {
    let refresh = std::env::var_os("DEBLAST_REFRESH").is_some();
    let mut differing = Vec::new();
    for size in SIZES {
        for unicode in [false, true] {
            let mut text = String::new();
            for (name, mut played) in all() {
                writeln!(text, "##### {name}").unwrap();
                for line in drawn(&mut played.app, size, unicode) {
                    assert!(unicode || line.is_ascii(), "{name}: {line}");
                    writeln!(text, "{line}").unwrap();
                }
            }
            let kind = if unicode { "unicode" } else { "ascii" };
            let path = format!("{}/tests/tui/{}x{}-{kind}.txt", env!("CARGO_MANIFEST_DIR"), size.0, size.1);
            if refresh {
                std::fs::write(&path, &text).unwrap();
            }
            let seen = std::fs::read_to_string(&path).unwrap_or_default();
            if seen != text {
                let at = seen.lines().zip(text.lines()).position(|(a, b)| a != b);
                let line = at.and_then(|at| text.lines().nth(at));
                differing.push(format!("{path}, line {:?}: {line:?}", at.map(|at| at + 1)));
            }
        }
    }
    assert!(differing.is_empty(), "scripts/refresh-screens writes them anew:\n{}", differing.join("\n"));
}

/// A terminal of any size is drawn on without a word lost outside; below the smallest a sentence says so.
#[test]
fn any_size_is_drawn() {
    for (_, mut played) in all() {
        for size in [
            (1, 1),
            (5, 40),
            (59, 18),
            (60, 17),
            (60, 18),
            (61, 19),
            (100, 37),
            (109, 25),
            (110, 18),
            (250, 80),
        ] {
            let lines = drawn(&mut played.app, size, true).join(" ");
            let lines = lines.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_small = size.0 < 60 || size.1 < 18;
            if size.0 > 30 && size.1 > 4 {
                assert_eq!(lines.contains("Deblast needs 60 and 18"), is_small, "{size:?}: {lines}");
            }
        }
    }
}

/// The whole of a text is reached by its page keys, word by word, on the smallest terminal too.
#[test]
fn no_word_of_a_text_is_out_of_reach() {
    let words = |lines: &[String]| -> BTreeSet<String> {
        lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
    };
    for (name, mut played) in all() {
        let is_list = matches!(
            played.app.screen,
            Screen::Disks | Screen::Findings | Screen::Switches | Screen::Runs | Screen::Parts | Screen::Work
        );
        if is_list || !matches!(played.app.overlay, None | Some(Overlay::Help(_))) {
            continue;
        }
        played.press(Press::Home);
        let mut reached = BTreeSet::new();
        for _ in 0..60 {
            reached.extend(words(&drawn(&mut played.app, (60, 18), false)));
            played.press(Press::PageDown);
        }
        // The same text where all of it is in sight; what is broken in the middle of a word is put together here.
        let whole = words(&drawn(&mut played.app, (69, 300), false));
        let lost: Vec<&String> =
            whole.difference(&reached).filter(|word| word.len() < 30 && !word.contains("--")).collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
    }
}

/// Nothing is told by colour alone: whichever are used, the same words stand there.
#[test]
fn colour_tells_nothing_alone() {
    for (name, mut played) in all() {
        let texts = [Palette::Colour, Palette::HighContrast, Palette::Mono].map(|palette| {
            played.app.theme = Theme { unicode: false, palette };
            let mut terminal = Terminal::new(TestBackend::new(80, 25)).unwrap();
            terminal.draw(|frame| render(frame, &played.app)).unwrap();
            let buffer = terminal.backend().buffer();
            let is_coloured = |cell: &Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
            assert_eq!(buffer.content().iter().any(is_coloured), palette != Palette::Mono, "{name}");
            if palette == Palette::HighContrast {
                assert!(buffer.content().iter().all(|cell| cell.bg == Color::Black), "{name}: all on black");
            }
            buffer.content().iter().map(Cell::symbol).collect::<String>()
        });
        assert!(texts.iter().all(|text| *text == texts[0]), "{name}");
    }
}
