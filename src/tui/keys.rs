//! The one list of keys: the footer, the help and the README's table are made from it.

/// A key, apart from any terminal library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Char(char),
    /// Ctrl-C, which is `q` wherever that is no letter of a text.
    Break,
    F(u8),
    Enter,
    Esc,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Redraw,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Help,
    Clean,
    Undo,
    Report,
    Switches,
    Log,
    LookAgain,
    Save,
    Batch,
    Store,
    Theme,
    PowerOff,
    Yes,
    Open,
    Back,
    Up,
    Down,
    Less,
    More,
    PageUp,
    PageDown,
    First,
    Last,
    Redraw,
}

/// One line of the list.
pub(super) struct Binding {
    /// What it asks for.
    pub(super) action: Action,
    /// The keys that do.
    pub(super) keys: &'static [Press],
    /// The keys as they are shown.
    pub(super) shown: &'static str,
    /// For the footer, in a word.
    pub(super) word: &'static str,
    /// For the help.
    pub(super) help: &'static str,
}

const fn binding(
    action: Action,
    keys: &'static [Press],
    shown: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { action, keys, shown, word, help }
}

/// All of them.
pub(super) const KEYS: &[Binding] = &[
    binding(
        Action::Yes,
        &[Press::Char('y')],
        "y",
        "carry out",
        "say yes to the plan that is shown; no other key does",
    ),
    binding(
        Action::Open,
        &[Press::Enter],
        "Enter",
        "open",
        "open what is chosen, or go on where nothing changes",
    ),
    binding(
        Action::Clean,
        &[Press::Char('c'), Press::F(2), Press::Char('2')],
        "c, F2, 2",
        "clean",
        "plan a clean of the disk; the plan is shown first",
    ),
    binding(
        Action::Undo,
        &[Press::Char('u'), Press::F(3), Press::Char('3')],
        "u, F3, 3",
        "undo",
        "the earlier runs of this disk, to take one back",
    ),
    binding(
        Action::Report,
        &[Press::Char('r'), Press::F(4), Press::Char('4')],
        "r, F4, 4",
        "report",
        "the last report on the disk",
    ),
    binding(
        Action::Switches,
        &[Press::Char('s'), Press::F(5), Press::Char('5')],
        "s, F5, 5",
        "switches",
        "decide how a clean is done",
    ),
    binding(
        Action::Log,
        &[Press::Char('l'), Press::F(6), Press::Char('6')],
        "l, F6, 6",
        "log",
        "all that has happened, line by line",
    ),
    binding(
        Action::LookAgain,
        &[Press::Char('f'), Press::F(7), Press::Char('7')],
        "f, F7, 7",
        "find again",
        "look again which disks are attached, and at each",
    ),
    binding(
        Action::Save,
        &[Press::Char('w'), Press::F(8), Press::Char('8')],
        "w, F8, 8",
        "save",
        "write the report into a folder that you name",
    ),
    binding(
        Action::Store,
        &[Press::Char('p'), Press::F(9), Press::Char('9')],
        "p, F9, 9",
        "place of record",
        "have the record of the next run go elsewhere",
    ),
    binding(
        Action::Batch,
        &[Press::Char('b')],
        "b",
        "batch file",
        "write deblast.toml, by which the live image repeats this clean and asks nothing",
    ),
    binding(
        Action::PowerOff,
        &[Press::Char('o')],
        "o",
        "power off",
        "switch the machine off; asks first, and is there only in the live image",
    ),
    binding(Action::Theme, &[Press::Char('t')], "t", "", "colours, high contrast, or no colour"),
    binding(Action::Up, &[Press::Up, Press::BackTab], "Up, Shift-Tab", "", "the line above"),
    binding(Action::Down, &[Press::Down, Press::Tab], "Down, Tab", "", "the line below"),
    binding(Action::Less, &[Press::Left], "Left", "", "the choice before, of a switch"),
    binding(Action::More, &[Press::Right], "Right", "change", "the choice behind, of a switch"),
    binding(Action::PageUp, &[Press::PageUp], "Page Up", "", "text: a page back"),
    binding(
        Action::PageDown,
        &[Press::PageDown, Press::Char(' ')],
        "Page Down, blank",
        "",
        "text: a page on",
    ),
    binding(Action::Redraw, &[Press::Redraw], "Ctrl-L", "", "draw anew a screen that has missed a part"),
    binding(Action::First, &[Press::Home], "Home", "", "to the top"),
    binding(Action::Last, &[Press::End], "End", "", "to the end"),
    binding(
        Action::Help,
        &[Press::Char('?'), Press::F(1), Press::Char('1')],
        "?, F1, 1",
        "help",
        "all keys, and what this screen does and does not do",
    ),
    binding(
        Action::Back,
        &[Press::Char('q'), Press::Esc, Press::Break],
        "q, Esc",
        "back",
        "back; at the list of disks: leave",
    ),
];

/// What a key asks for.
pub(super) fn action(press: Press) -> Option<Action> {
    KEYS.iter().find(|binding| binding.keys.contains(&press)).map(|binding| binding.action)
}

/// How an action is shown in a footer: its first key and a word; none for those that need no telling.
pub(super) fn short(action: Action) -> Option<(&'static str, &'static str)> {
    let binding = KEYS.iter().find(|binding| binding.action == action)?;
    let key = binding.shown.split(',').next().unwrap_or(binding.shown);
    (!binding.word.is_empty()).then_some((key, binding.word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_and_enter_says_no_yes() {
        let mut seen = Vec::new();
        for binding in KEYS {
            for key in binding.keys {
                assert!(!seen.contains(key), "{key:?} twice");
                seen.push(*key);
            }
        }
        assert_eq!(action(Press::Char('y')), Some(Action::Yes));
        assert_eq!(action(Press::Enter), Some(Action::Open));
        let yes = KEYS.iter().find(|binding| binding.action == Action::Yes).unwrap();
        assert_eq!(yes.keys, [Press::Char('y')]);
    }

    #[test]
    fn digits_double_the_function_keys() {
        for number in 1..=9_u8 {
            let digit = char::from(b'0' + number);
            assert_eq!(action(Press::Char(digit)), action(Press::F(number)), "F{number}");
            assert!(action(Press::F(number)).is_some(), "F{number}");
        }
    }

    #[test]
    fn the_readme_lists_the_same_keys() {
        let readme = include_str!("../../README.md");
        for binding in KEYS {
            let row = format!("| {} | {} |", binding.shown, binding.help);
            assert!(readme.contains(&row), "the README lacks: {row}");
        }
    }
}
