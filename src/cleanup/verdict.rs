//! The one rule for verdicts and exit codes. Nothing else derives either.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::finding::{Bearing, CheckName, DcomState, FilterState, Finding, Grade, Outcome, PatchState};

/// What is to be said of an install, or of a run: from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing found, hole closed.
    Clean,
    /// Found or open, cured, verified.
    Cleaned,
    /// No worm, hole open.
    Exposed,
    /// A worm or its start is left.
    Infected,
    /// Something needed could not be read, or a run was refused.
    Undetermined,
    /// A cure was tried and not verified.
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Cleaned => "cleaned",
            Self::Exposed => "exposed",
            Self::Infected => "infected",
            Self::Undetermined => "undetermined",
            Self::Failed => "failed",
        })
    }
}

/// Whether the hole is open, from the three findings that tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The patch.
    pub patch: PatchState,
    /// DCOM.
    pub dcom: DcomState,
    /// The packet filter.
    pub filter: FilterState,
}

impl Hole {
    /// What findings tell of it; what none tells is not established.
    pub fn of(findings: &[Finding]) -> Self {
        let mut hole = Self {
            patch: PatchState::NotEstablished,
            dcom: DcomState::NotEstablished,
            filter: FilterState::NotEstablished,
        };
        for finding in findings {
            match finding.bearing {
                Bearing::Patch(state) => hole.patch = state,
                Bearing::Dcom(state) => hole.dcom = state,
                Bearing::Filter(state) => hole.filter = state,
                Bearing::Infection | Bearing::RestorableCopy | Bearing::Unreadable | Bearing::Nothing => {}
            }
        }
        hole
    }

    /// Closed iff patched, or DCOM off where that is honoured, or the filter established as on everywhere.
    pub fn is_closed(self) -> bool {
        self.patch == PatchState::Fixed || self.dcom == DcomState::Off || self.filter == FilterState::On
    }
}

/// All that the verdict on one install rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was found first, with the outcomes of what was done about it.
    pub before: &'a [Finding],
    /// What was found by inspecting again, if something was done.
    pub after: Option<&'a [Finding]>,
    /// Something needed could not be read, the run was refused, or two readers disagree.
    pub undetermined: bool,
}

impl Facts<'_> {
    fn now(&self) -> &[Finding] {
        self.after.unwrap_or(self.before)
    }

    /// The verdict: the worst that applies.
    pub fn verdict(&self) -> Verdict {
        let has = |findings: &[Finding], bearing| findings.iter().any(|finding| finding.bearing == bearing);
        let infected = |findings: &[Finding]| {
            findings.iter().any(|finding| {
                finding.bearing == Bearing::Infection
                    && finding.grade <= Grade::Probable
                    && matches!(
                        finding.check,
                        CheckName::Autostart | CheckName::WormFile | CheckName::Companion
                    )
            })
        };
        if self.before.iter().any(|finding| finding.outcome == Outcome::Failed) {
            Verdict::Failed
        } else if self.undetermined
            || has(self.before, Bearing::Unreadable)
            || has(self.now(), Bearing::Unreadable)
        {
            Verdict::Undetermined
        } else if infected(self.now()) {
            Verdict::Infected
        } else if !Hole::of(self.now()).is_closed() {
            Verdict::Exposed
        } else if infected(self.before)
            || !Hole::of(self.before).is_closed()
            || self.before.iter().any(|finding| finding.outcome == Outcome::Verified)
        {
            Verdict::Cleaned
        } else {
            Verdict::Clean
        }
    }

    /// Suspects and restorable copies that are there still: they change no verdict, and are counted.
    pub fn suspects(&self) -> usize {
        let left = |finding: &&Finding| {
            finding.bearing == Bearing::RestorableCopy
                || (finding.grade == Grade::Suspect && finding.bearing == Bearing::Nothing)
        };
        self.now().iter().filter(left).count()
    }
}

/// The verdict of a run from those of all its installs, and whether any target or volume could not be judged.
pub fn of_run(installs: &[Verdict], unread: bool) -> Verdict {
    let nothing = installs.is_empty().then_some(Verdict::Undetermined);
    let unread = unread.then_some(Verdict::Undetermined);
    installs.iter().copied().chain(nothing).chain(unread).max().unwrap_or(Verdict::Undetermined)
}

/// The exit code of a scan or clean.
pub fn exit_code(verdict: Verdict, suspects: usize) -> u8 {
    match verdict {
        Verdict::Clean | Verdict::Cleaned => u8::from(suspects > 0),
        Verdict::Exposed | Verdict::Infected => 1,
        Verdict::Undetermined | Verdict::Failed => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Facts as Evidence, Subject};

    fn finding(check: CheckName, grade: Grade, bearing: Bearing, outcome: Outcome) -> Finding {
        Finding {
            check,
            grade,
            what: String::new(),
            place: String::new(),
            facts: Evidence::default(),
            action: None,
            outcome,
            why: String::new(),
            bearing,
            subject: Subject::Nothing,
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Infection {
        None,
        Confirmed,
        Probable,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Cure {
        NotTried,
        Verified,
        Failed,
        Refused,
    }

    /// A second thing found of the worm, beside the one that the cure of the table is about.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Other {
        None,
        Left,
        Failed,
    }

    /// One row of the table.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        /// Whether there is a Windows at all.
        windows: bool,
        infection: Infection,
        cure: Cure,
        other: Other,
        patch: PatchState,
        dcom: DcomState,
        filter: FilterState,
        suspects: usize,
        /// A cure that was carried out also turned DCOM off.
        closes: bool,
    }

    /// Each row so far, once with each of these.
    fn with<T: Copy>(rows: &[Case], values: &[T], set: impl Fn(&mut Case, T)) -> Vec<Case> {
        let one = |row: &Case, value: T| {
            let mut row = *row;
            set(&mut row, value);
            row
        };
        rows.iter()
            .flat_map(|row| values.iter().map(move |value| (row, *value)))
            .map(|(r, v)| one(r, v))
            .collect()
    }

    /// Every combination of Windows or none, infection, outcomes of the cure, patch, DCOM, filter and suspects, against
    /// the words of the interface written out a second time.
    #[test]
    fn every_combination() {
        let (patch, dcom, filter) =
            (PatchState::NotEstablished, DcomState::NotEstablished, FilterState::NotEstablished);
        let rows = [Case {
            windows: true,
            infection: Infection::None,
            cure: Cure::NotTried,
            other: Other::None,
            patch,
            dcom,
            filter,
            suspects: 0,
            closes: false,
        }];
        let rows = with(&rows, &[true, false], |row, windows| row.windows = windows);
        let infections = [Infection::None, Infection::Confirmed, Infection::Probable];
        let rows = with(&rows, &infections, |row, infection| row.infection = infection);
        let cures = [Cure::NotTried, Cure::Verified, Cure::Failed, Cure::Refused];
        let rows = with(&rows, &cures, |row, cure| row.cure = cure);
        let rows = with(&rows, &[Other::None, Other::Left, Other::Failed], |row, other| row.other = other);
        let patches = [PatchState::Fixed, PatchState::Vulnerable, patch];
        let rows = with(&rows, &patches, |row, patch| row.patch = patch);
        let states = [DcomState::Off, DcomState::OffNotHonoured, DcomState::On, dcom];
        let rows = with(&rows, &states, |row, dcom| row.dcom = dcom);
        let filters = [FilterState::On, FilterState::Off, filter];
        let rows = with(&rows, &filters, |row, filter| row.filter = filter);
        let rows = with(&rows, &[0, 1], |row, suspects| row.suspects = suspects);
        let rows = with(&rows, &[false, true], |row, closes| row.closes = closes);
        assert_eq!(rows.len(), 2 * 3 * 4 * 3 * 3 * 4 * 3 * 2 * 2);
        let mut seen = std::collections::BTreeSet::new();
        for row in rows {
            let (verdict, code) = run(row);
            assert_eq!((verdict, code), expected(row), "{row:?}");
            seen.insert(verdict);
        }
        assert_eq!(seen.len(), 6, "every verdict occurs");
    }

    /// What the interface says of a row, told without the rule.
    fn expected(row: Case) -> (Verdict, u8) {
        let closed_before =
            row.patch == PatchState::Fixed || row.dcom == DcomState::Off || row.filter == FilterState::On;
        let done = matches!(row.cure, Cure::Verified | Cure::Failed);
        let closed = closed_before || (done && row.closes);
        let infected = row.infection != Infection::None;
        let verdict = match (row.cure, row.other) {
            _ if !row.windows => Verdict::Undetermined,
            (_, Other::Failed) => Verdict::Failed,
            (Cure::Failed, _) if infected => Verdict::Failed,
            (Cure::Refused, _) => Verdict::Undetermined,
            (_, Other::Left) => Verdict::Infected,
            (Cure::NotTried, _) if infected => Verdict::Infected,
            _ if !closed => Verdict::Exposed,
            _ if done && (infected || !closed_before) => Verdict::Cleaned,
            _ => Verdict::Clean,
        };
        let code = match verdict {
            Verdict::Clean | Verdict::Cleaned if row.suspects == 0 => 0,
            Verdict::Undetermined | Verdict::Failed => 2,
            _ => 1,
        };
        (verdict, code)
    }

    /// Builds the findings of one row and asks the rule.
    fn run(row: Case) -> (Verdict, u8) {
        let Case { windows, infection, cure, other, patch, dcom, filter, suspects, closes } = row;
        if !windows {
            let verdict = of_run(&[], false);
            return (verdict, exit_code(verdict, suspects));
        }
        let done = matches!(cure, Cure::Verified | Cure::Failed);
        let outcome = match cure {
            Cure::NotTried => Outcome::None,
            Cure::Verified => Outcome::Verified,
            Cure::Failed => Outcome::Failed,
            Cure::Refused => Outcome::Left,
        };
        let grade = if infection == Infection::Probable { Grade::Probable } else { Grade::Confirmed };
        let worm = finding(CheckName::WormFile, grade, Bearing::Infection, outcome);
        let hole = |dcom| {
            [
                finding(CheckName::Patch, Grade::Information, Bearing::Patch(patch), Outcome::None),
                finding(CheckName::Dcom, Grade::Confirmed, Bearing::Dcom(dcom), Outcome::None),
                finding(CheckName::PacketFilter, Grade::Information, Bearing::Filter(filter), Outcome::None),
            ]
        };
        let doubt = finding(CheckName::WormFile, Grade::Suspect, Bearing::Nothing, Outcome::Left);
        let mut before: Vec<Finding> = hole(dcom).to_vec();
        let mut after = hole(if closes { DcomState::Off } else { dcom }).to_vec();
        if infection != Infection::None {
            before.push(worm.clone());
            if cure == Cure::Failed {
                after.push(worm);
            }
        }
        if other != Other::None {
            let outcome = if other == Other::Left { Outcome::Left } else { Outcome::Failed };
            let start = finding(CheckName::Autostart, Grade::Confirmed, Bearing::Infection, outcome);
            before.push(start.clone());
            after.push(start);
        }
        before.extend(std::iter::repeat_n(doubt.clone(), suspects));
        after.extend(std::iter::repeat_n(doubt, suspects));
        let after = done.then_some(after.as_slice());
        let facts = Facts { before: &before, after, undetermined: cure == Cure::Refused };
        let verdict = of_run(&[facts.verdict()], false);
        (verdict, exit_code(verdict, facts.suspects()))
    }

    #[test]
    fn no_windows_and_unread_volumes_are_undetermined() {
        assert_eq!(of_run(&[], false), Verdict::Undetermined);
        assert_eq!(of_run(&[Verdict::Clean], true), Verdict::Undetermined);
        assert_eq!(of_run(&[Verdict::Failed], true), Verdict::Failed);
        assert_eq!(of_run(&[Verdict::Clean, Verdict::Exposed, Verdict::Cleaned], false), Verdict::Exposed);
        assert_eq!(exit_code(Verdict::Undetermined, 3), 2);
    }

    #[test]
    fn information_and_unreadable_things() {
        let inert = finding(CheckName::WormFile, Grade::Information, Bearing::Nothing, Outcome::None);
        let dcom = finding(CheckName::Dcom, Grade::Information, Bearing::Dcom(DcomState::Off), Outcome::None);
        let before = [inert, dcom.clone()];
        let facts = Facts { before: &before, after: None, undetermined: false };
        assert_eq!(
            (facts.verdict(), facts.suspects()),
            (Verdict::Clean, 0),
            "an inert file is never counted"
        );
        let unread = [finding(CheckName::WormFile, Grade::Suspect, Bearing::Unreadable, Outcome::None), dcom];
        let facts = Facts { before: &unread, after: None, undetermined: false };
        assert_eq!((facts.verdict(), facts.suspects()), (Verdict::Undetermined, 0));
    }
}
