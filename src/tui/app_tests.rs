//! What messages make of the state, and which effects come out.

use std::path::PathBuf;
use std::time::Duration;

use crate::cleanup::shown::Kind;
use crate::cleanup::undo::Only;
use crate::event::Event;
use crate::policy::{Dcom, Policy};
use crate::tui::app::{Effect, Entry, Job, Msg, News, Overlay, Screen, Stage};
use crate::tui::fixture::{Played, RUN, done, proposal, run, setup};
use crate::tui::keys::Press;

fn clean() -> Effect {
    Effect::Start(Job::Clean(PathBuf::from("/dev/sda"), Policy::default()))
}

#[test]
fn two_keys_from_the_look_to_the_clean() {
    let mut played = Played::seen(false);
    played.keys("c");
    assert_eq!((played.effects.as_slice(), played.app.screen), (&[clean()][..], Screen::Plan));
    played.ask(proposal(Kind::Clean));
    played.keys("y");
    assert_eq!(played.effects[1..], [Effect::Answer(true)]);
    assert_eq!((played.app.screen, played.app.step()), (Screen::Work, 3));
    let played = Played::verifying();
    assert_eq!(played.app.step(), 4);
    let played = Played::cleaned();
    assert_eq!((played.app.screen, played.app.step(), played.app.exit_code()), (Screen::Report, 5, 2));
}

/// Whatever is pressed but `y`, from whichever screen, nothing is answered with yes.
#[test]
fn only_y_is_yes() {
    let others = (' '..='~').filter(|c| *c != 'y').map(Press::Char);
    let named =
        [Press::Enter, Press::Tab, Press::Down, Press::Right, Press::End, Press::PageDown, Press::Backspace];
    for press in others.chain(named).chain((1..=12).map(Press::F)) {
        let mut played = Played::asked();
        played.press(press);
        played.press(Press::Enter);
        assert!(!played.effects.contains(&Effect::Answer(true)), "{press:?}");
    }
    let mut played = Played::asked();
    (0..100).for_each(|_| played.press(Press::Enter));
    assert_eq!(played.effects, [clean()]);
    assert_eq!(played.app.screen, Screen::Plan);
    // Nor before there is a plan.
    let mut played = Played::seen(false);
    played.keys("cyyy");
    assert_eq!(played.effects, [clean()]);
}

#[test]
fn a_session_is_given_up_for_its_word_alone() {
    for (word, goes) in
        [("discard", true), ("", false), ("y", false), ("Discard", false), ("discardx", false)]
    {
        let mut played = Played::seen(false);
        played.keys("c");
        let mut asked = proposal(Kind::Clean);
        asked.discards = true;
        played.ask(asked);
        played.keys("y");
        assert_eq!(played.app.overlay, Some(Overlay::Entry(Entry::Word, String::new())));
        played.keys(word);
        played.press(Press::Enter);
        assert_eq!(played.effects.contains(&Effect::Answer(true)), goes, "{word:?}");
        assert_eq!(matches!(played.app.overlay, Some(Overlay::Note(_))), !goes, "{word:?}");
    }
}

#[test]
fn leaving_a_plan_answers_no_and_says_so() {
    for press in [Press::Char('q'), Press::Esc] {
        let mut played = Played::asked();
        played.press(press);
        assert_eq!(played.effects, [clean(), Effect::Answer(false)]);
        assert!(
            matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("no byte was written"))
        );
        let mut declined = done("found");
        declined.declined = true;
        played.hear(News::Ended(Box::new(declined)));
        assert_eq!(played.app.screen, Screen::Disks);
    }
    // Left before it was there: the answer is no when it comes.
    let mut played = Played::seen(false);
    played.keys("cq");
    played.hear(News::Asked(Box::new(proposal(Kind::Clean))));
    assert_eq!(played.effects, [clean(), Effect::Answer(false)]);
    played.hear(News::Free);
    assert_eq!((played.app.screen, played.app.is_idle()), (Screen::Disks, true));
    // Or it ended without any question: that does not tear anybody from where they have gone.
    let mut played = Played::seen(false);
    played.keys("cq");
    played.hear(News::Ended(Box::new(done("cleaned"))));
    assert_eq!(played.app.screen, Screen::Disks);
}

#[test]
fn switches_make_a_new_plan() {
    let mut played = Played::asked();
    played.keys("s");
    assert_eq!(played.effects[1..], [Effect::Answer(false)]);
    played.press(Press::Right);
    played.press(Press::Right);
    assert_eq!(played.app.policy.dcom, Dcom::Leave);
    // The declined plan ends while the switches are shown: that changes nothing.
    let mut declined = done("found");
    declined.declined = true;
    played.hear(News::Ended(Box::new(declined)));
    assert_eq!(played.app.screen, Screen::Switches);
    played.keys("q");
    let policy = Policy { dcom: Dcom::Leave, ..Policy::default() };
    assert_eq!(played.effects.last(), Some(&Effect::Start(Job::Clean(PathBuf::from("/dev/sda"), policy))));
    assert_eq!(played.app.screen, Screen::Plan);
}

#[test]
fn while_it_writes_q_asks() {
    let mut played = Played::writing();
    played.keys("q");
    assert_eq!(played.app.overlay, Some(Overlay::Stop));
    played.press(Press::Enter);
    assert_eq!((&played.app.overlay, played.effects.contains(&Effect::Stop)), (&None, false));
    played.keys("qs");
    assert!(played.effects.contains(&Effect::Stop));
    assert!(!played.effects.contains(&Effect::Leave));
    // What is being verified is not stopped any more.
    let mut played = Played::verifying();
    played.keys("qs");
    assert!(!played.effects.contains(&Effect::Stop));
    let mut played = Played::writing();
    played.keys("qqqqqq");
    assert!(!played.effects.contains(&Effect::Leave));
}

#[test]
fn leaving_takes_two_keys() {
    let mut played = Played::seen(false);
    played.keys("q");
    played.press(Press::Enter);
    assert_eq!(played.effects, []);
    played.keys("qq");
    assert_eq!(played.effects, [Effect::Leave]);
}

#[test]
fn the_machine_is_switched_off_where_it_may_be_and_never_by_enter() {
    let mut played = Played::cleaned();
    played.keys("oo");
    assert!(!played.effects.contains(&Effect::PowerOff), "not on somebody's own machine");
    let live = || {
        let mut played = Played::cleaned();
        played.app.live = true;
        played
    };
    let mut played = live();
    played.keys("o");
    assert_eq!(played.app.overlay, Some(Overlay::PowerOff));
    played.press(Press::Enter);
    played.keys("oyoq");
    assert!(!played.effects.contains(&Effect::PowerOff));
    played.tell(Msg::Key(Press::Char('o')));
    played.tell(Msg::Burst(Press::Char('o')));
    assert!(!played.effects.contains(&Effect::PowerOff), "no noise of a line");
    played.keys("oo");
    assert_eq!(played.effects.last(), Some(&Effect::PowerOff));
    // Not while anything is written, read again, or looked at.
    for mut played in [Played::asked(), Played::writing(), Played::verifying()] {
        played.app.live = true;
        played.keys("oo");
        assert!(!played.effects.contains(&Effect::PowerOff));
    }
}

/// A `y` that was typed before the plan could be read is no answer to it; nor is one in the midst of other keys.
#[test]
fn a_yes_counts_once_the_plan_was_seen() {
    let mut played = Played::seen(false);
    played.keys("cy");
    played.hear(News::Asked(Box::new(proposal(Kind::Clean))));
    played.keys("y");
    played.tell(Msg::Drawn);
    played.now += Duration::from_millis(250);
    played.keys("y");
    assert_eq!(played.effects, [clean()]);
    played.now += Duration::from_millis(100);
    played.tell(Msg::Burst(Press::Char('y')));
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("does not count")));
    played.press(Press::Enter);
    assert_eq!(played.effects, [clean()]);
    // The words stood above the plan, whose time begins anew.
    played.keys("y");
    played.tell(Msg::Drawn);
    played.now += Duration::from_millis(350);
    assert_eq!(played.effects, [clean()]);
    played.keys("y");
    assert_eq!(played.effects, [clean(), Effect::Answer(true)]);
}

#[test]
fn a_run_that_was_cut_comes_first() {
    let mut played = Played::seen(true);
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains(RUN)));
    assert_eq!(played.app.exit_code(), 2);
    played.press(Press::Enter);
    played.keys("u");
    played.press(Press::Enter);
    let undo = Effect::Start(Job::Undo(PathBuf::from("/dev/sda"), RUN.to_owned(), Only::All));
    assert_eq!(played.effects, [undo]);
}

#[test]
fn an_undo_offers_the_protection_first() {
    let mut played = Played::cleaned();
    played.keys("u");
    // The runs were listed before this clean: the disk is read anew.
    let look = Effect::Start(Job::Look(0, PathBuf::from("/dev/sda")));
    assert_eq!((played.effects.last(), played.app.screen), (Some(&look), Screen::Runs));
    played.hear(News::Looking(0));
    played.hear(News::Looked(0, Box::new(done("cleaned")), vec![run(false)]));
    played.hear(News::Free);
    played.press(Press::Enter);
    assert_eq!(played.app.screen, Screen::Parts);
    played.press(Press::Enter);
    let undo = Effect::Start(Job::Undo(PathBuf::from("/dev/sda"), RUN.to_owned(), Only::Protection));
    assert_eq!(played.effects.last(), Some(&undo));
}

#[test]
fn a_worker_that_is_gone_is_a_failure() {
    let mut played = Played::writing();
    played.hear(News::Gone(None));
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("taken back first")));
    assert_eq!(played.app.exit_code(), 2);
    let mut played = Played::asked();
    played.hear(News::Failed("the stick is full".to_owned()));
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("the stick is full")));
    assert!(played.app.running.is_none());
}

#[test]
fn whoever_has_a_dead_worker_can_leave() {
    let mut played = Played::writing();
    played.hear(News::Gone(Some("panicked at x.rs".to_owned())));
    let words = match &played.app.overlay {
        Some(Overlay::Note(words)) => words.clone(),
        other => panic!("{other:?}"),
    };
    assert!(words.contains(RUN) && words.contains("panicked at x.rs"), "where the record is: {words}");
    played.press(Press::Enter);
    played.keys("cuf");
    assert!(!played.effects.iter().skip(2).any(|effect| matches!(effect, Effect::Start(_))));
    played.keys("qq");
    assert_eq!((played.effects.last(), played.app.exit_code()), (Some(&Effect::Leave), 2));
    assert!(played.app.last_words().is_some_and(|words| words.contains(RUN)));
}

/// Between two looks nothing else begins, though no disk is being read at that moment.
#[test]
fn a_job_that_is_not_over_lets_no_other_begin() {
    let mut played = Played::new();
    played.hear(News::Found(vec!["/dev/sda".into(), "/dev/sdb".into()]));
    played.hear(News::Looking(0));
    played.hear(News::Looked(0, Box::new(done("found")), Vec::new()));
    played.keys("cf");
    assert_eq!((played.effects.as_slice(), played.app.screen), (&[][..], Screen::Disks));
    played.hear(News::Looking(1));
    played.hear(News::Looked(1, Box::new(done("found")), Vec::new()));
    played.hear(News::Free);
    played.keys("c");
    assert_eq!(played.effects, [clean()]);
}

/// What is typed is not taken away by news; they are told behind it.
#[test]
fn news_wait_for_what_is_typed() {
    let mut played = Played::cleaned();
    played.keys("w/a");
    played.press(Press::Enter);
    played.hear(News::Saved(Err("the stick is full".to_owned())));
    played.hear(News::Free);
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("full")));
    played.press(Press::Enter);
    played.keys("w/b");
    played.hear(News::Saved(Ok(vec!["/a/x.json".to_owned()])));
    assert_eq!(played.app.overlay, Some(Overlay::Entry(Entry::Save, "/b".to_owned())));
    played.press(Press::Esc);
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("/a/x.json")));
}

#[test]
fn back_leads_where_one_came_from() {
    let mut played = Played::seen(false);
    played.press(Press::Enter);
    played.press(Press::Down);
    for (key, screen) in [
        ('r', Screen::Report),
        ('l', Screen::Log),
        ('q', Screen::Report),
        ('q', Screen::Findings),
        ('c', Screen::Plan),
    ] {
        played.keys(&key.to_string());
        assert_eq!(played.app.screen, screen, "{key}");
        assert!(screen != Screen::Findings || played.app.selected == 1, "as it was left");
    }
    played.ask(proposal(Kind::Clean));
    played.keys("lq");
    assert_eq!(played.app.screen, Screen::Plan);
    played.keys("y");
    assert_eq!(played.effects.last(), Some(&Effect::Answer(true)));
}

/// The log is read while the disk is written: it stays where somebody reads, and goes on where they read its end.
#[test]
fn the_log_is_scrolled_while_the_disk_is_written() {
    let mut played = Played::writing();
    let more = |played: &mut Played| {
        (0..40).for_each(|n| played.hear(News::Event(Event::Note { text: n.to_string() })));
        played.app.reach.most.set(played.app.log.len());
    };
    more(&mut played);
    assert_eq!(played.app.scroll, usize::MAX);
    played.press(Press::PageUp);
    let here = played.app.scroll;
    assert!(here < played.app.log.len());
    more(&mut played);
    assert_eq!(played.app.scroll, here);
    played.press(Press::End);
    more(&mut played);
    assert_eq!(played.app.scroll, usize::MAX);
}

/// Nobody says yes to what cannot be seen; leaving is possible.
#[test]
fn a_terminal_that_is_too_small_takes_q_alone() {
    let mut played = Played::asked();
    played.app.is_too_small.set(true);
    played.keys("ysl");
    assert_eq!((played.effects.as_slice(), played.app.screen), (&[clean()][..], Screen::Plan));
    played.keys("qq");
    assert_eq!(played.effects.last(), Some(&Effect::Leave));
    let mut played = Played::writing();
    played.app.is_too_small.set(true);
    played.keys("qq");
    assert!(!played.effects.contains(&Effect::Leave), "not while the disk is written");
}

/// Ctrl-C is `q` where that is a key, and no letter where it would be one.
#[test]
fn ctrl_c_leaves_a_prompt_and_types_nothing() {
    let mut played = Played::seen(false);
    played.keys("sb/media");
    assert_eq!(played.app.overlay, Some(Overlay::Entry(Entry::Batch, "/media".to_owned())));
    played.press(Press::Break);
    assert_eq!((&played.app.overlay, played.app.screen), (&None, Screen::Switches));
    played.press(Press::Break);
    assert_eq!(played.app.screen, Screen::Disks);
}

#[test]
fn a_run_is_saved_as_the_file_that_repeats_it() {
    let mut setup = setup();
    setup.medium = Some(PathBuf::from("/medium"));
    let mut played = Played::cleaned_by(setup);
    played.keys("sqb");
    assert_eq!(played.app.screen, Screen::Report);
    assert_eq!(played.app.overlay, Some(Overlay::Entry(Entry::Batch, "/medium".to_owned())));
    played.press(Press::Enter);
    let batch = Effect::Start(Job::Batch(Policy::default(), PathBuf::from("/medium")));
    assert_eq!(played.effects.last(), Some(&batch));
    let mut played = Played::seen(false);
    played.keys("s");
    played.press(Press::Right);
    played.keys("b/media/stick");
    played.press(Press::Enter);
    let policy = Policy { dcom: Dcom::Disable, ..Policy::default() };
    let batch = Effect::Start(Job::Batch(policy, PathBuf::from("/media/stick")));
    assert_eq!(played.effects.last(), Some(&batch));
    // What is for practice is for no real disk.
    let mut played = Played::cleaned();
    played.app.is_practice = true;
    played.keys("b");
    assert_eq!(played.app.overlay, None);
}

#[test]
fn a_stop_is_asked_for_once() {
    let mut played = Played::writing();
    played.keys("qsq");
    assert!(matches!(&played.app.overlay, Some(Overlay::Note(words)) if words.contains("taken back")));
    played.keys("s");
    assert_eq!(played.effects.iter().filter(|effect| **effect == Effect::Stop).count(), 1);
}

#[test]
fn keys_do_what_the_footer_says_and_nothing_else() {
    // While a disk is looked at, no clean begins.
    let mut played = Played::seen(false);
    played.hear(News::Looking(1));
    played.keys("cup");
    assert_eq!((played.effects.as_slice(), played.app.screen), (&[][..], Screen::Disks));
    assert_eq!(played.app.running.as_ref().map(|running| running.stage), Some(Stage::Reading));
    // Digits double the function keys.
    for press in [Press::Char('2'), Press::F(2)] {
        let mut played = Played::seen(false);
        played.press(press);
        assert_eq!(played.effects, [clean()]);
    }
}

/// A plan that came while something stood above it was not seen: its time begins when it can be.
#[test]
fn a_plan_that_nobody_saw_is_not_carried_out() {
    let mut played = Played::seen(false);
    played.keys("c");
    played.keys("?");
    played.hear(News::Asked(Box::new(proposal(Kind::Clean))));
    assert!(!played.app.awaits_drawing(), "help stands above it");
    played.now += Duration::from_secs(5);
    // The first key closes the help.
    played.keys("yy");
    assert!(!played.effects.contains(&Effect::Answer(true)));
    assert!(played.app.awaits_drawing());
    played.tell(Msg::Drawn);
    played.keys("y");
    assert!(!played.effects.contains(&Effect::Answer(true)), "too soon");
    played.now += Duration::from_secs(1);
    // Help above it again: again it must be seen first.
    played.keys("?qy");
    assert!(!played.effects.contains(&Effect::Answer(true)));
    played.tell(Msg::Drawn);
    played.now += Duration::from_secs(1);
    played.keys("y");
    assert!(played.effects.contains(&Effect::Answer(true)));
}
