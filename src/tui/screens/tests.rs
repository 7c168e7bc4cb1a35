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
use crate::finding::PatchState;
use crate::tui::app::{App, News, Overlay, Screen};
use crate::tui::fixture::{Played, done, proposal, refused, run, setup};
use crate::tui::keys::{KEYS, Press};
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
    let mut so_far = Played::new();
    so_far.hear(News::Found(vec!["/dev/sda".into()]));
    so_far.hear(News::Looking(0));
    for event in [
        Event::Volume { start: 0x7e00, filesystem: "NTFS 3.1".to_owned() },
        Event::Install { root: r"\WINDOWS".to_owned(), product: "Microsoft Windows XP".to_owned() },
        Event::Found {
            grade: "confirmed".to_owned(),
            what: r"a file of B at \WINDOWS\system32\x.exe".to_owned(),
        },
        Event::Progress { what: "reading hives", done: 1 << 20, total: 8 << 20 },
    ] {
        so_far.hear(News::Event(event));
    }
    let mut unread = Played::seen(false);
    unread.keys("c");
    unread.hear(News::Asked(Box::new(proposal(Kind::Clean))));
    let mut obstacle = Played::seen(false);
    obstacle.keys("c");
    obstacle.hear(News::Ended(Box::new(refused())));
    obstacle.hear(News::Free);
    let mut patched = Played::new();
    patched.hear(News::Found(vec!["/dev/sda".into()]));
    let mut fixed = done("cleaned");
    fixed.report.targets[0].installs[0].hole.patch = PatchState::Fixed;
    patched.hear(News::Looked(0, Box::new(fixed), vec![run(false)]));
    patched.hear(News::Free);
    let practice = |mut played: Played| {
        played.app.is_practice = true;
        played
    };
    let on_medium = |keys| {
        let mut setup = setup();
        (setup.live, setup.medium) = (true, Some("/run/deblast/medium".into()));
        with(Played::cleaned_by(setup), keys)
    };
    vec![
        ("finding", Played::new()),
        ("found so far", so_far),
        ("a plan that nobody can have read yet", unread),
        ("an obstacle", obstacle),
        ("the patch is in", patched),
        ("practice: looked at", practice(Played::seen(false))),
        ("practice: plan", practice(Played::asked())),
        ("practice: report", practice(Played::cleaned())),
        ("stopping", with(Played::writing(), "qs")),
        ("batch file", on_medium("b")),
        ("save the report", on_medium("w")),
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

/// Whoever practises is told so by every screen and whatever stands above it.
#[test]
fn practice_is_marked_everywhere() {
    for (name, mut played) in all() {
        played.app.is_practice = true;
        for size in SIZES {
            let lines = drawn(&mut played.app, size, false);
            assert!(lines[0].contains("PRACTICE"), "{name}: {}", lines[0]);
        }
    }
}

/// The footer offers no key that does nothing.
#[test]
fn every_key_of_the_footer_does_something() {
    let state = |played: &Played| {
        let app = &played.app;
        let shown = (app.screen, app.overlay.clone(), app.selected, app.policy.clone(), app.theme);
        (shown, played.effects.len())
    };
    for (index, (name, played)) in all().into_iter().enumerate() {
        if played.app.overlay.is_some() {
            continue;
        }
        for action in played.app.offers() {
            let Some(binding) = KEYS.iter().find(|binding| binding.action == action) else { continue };
            if binding.word.is_empty() {
                continue;
            }
            let (_, mut played) = all().swap_remove(index);
            let before = state(&played);
            played.press(binding.keys[0]);
            assert_ne!(state(&played), before, "{name}: {}", binding.shown);
        }
    }
}

/// Nothing is told by colour alone: whichever are used, the same words stand there.
#[test]
fn colour_tells_nothing_alone() {
    for (name, mut played) in all() {
        let texts = [Palette::Colour, Palette::HighContrast, Palette::Mono].map(|palette| {
            played.app.theme = Theme { unicode: false, dark: false, palette };
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
