//! Whether DCOM answers remote activation: the way in that CA-2003-20 says to close first (KB825750).

use super::{Check, Evidence, KeyWant, Wants};
use crate::change::{Change, HiveRole, Purpose, ValueData, ValueEdit, ValueType};
use crate::finding::{Bearing, CheckName, DcomState, Facts, Finding, Grade, Outcome, Subject};
use crate::path::{RegPath, same_name};
use crate::policy::{self, Policy};

const VALUE: &str = "EnableDCOM";

pub(super) struct Dcom;

fn key() -> RegPath {
    RegPath::new("Microsoft\\Ole")
}

impl Check for Dcom {
    fn name(&self) -> CheckName {
        CheckName::Dcom
    }

    fn wants(&self) -> Wants {
        Wants { keys: vec![KeyWant::software(key().as_str())], ..Wants::default() }
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        if evidence.unread_hives.contains_key(&HiveRole::Software) {
            return Vec::new();
        }
        let found = evidence.key(&HiveRole::Software, &key()).map(|key| key.value(VALUE));
        let data = match found {
            Some(Some(Ok(data))) => Some(data.clone()),
            _ => None,
        };
        let says_off = data.as_ref().is_some_and(|data| {
            data.kind == ValueType::SZ && data.text().is_some_and(|text| same_name(&text, "N"))
        });
        let honoured = evidence.identity.honours_enable_dcom();
        let (state, grade, what, why) = match found {
            None => (
                DcomState::NotEstablished,
                Grade::Suspect,
                "whether DCOM is off is not established",
                "the key Microsoft\\Ole is missing, which every Windows has; it is not made here".to_owned(),
            ),
            Some(Some(Err(why))) => {
                (DcomState::NotEstablished, Grade::Suspect, "whether DCOM is off is not established", why.clone())
            }
            _ if says_off && honoured == Some(true) => (
                DcomState::Off,
                Grade::Information,
                "DCOM is off",
                "EnableDCOM is N, which this Windows honours".to_owned(),
            ),
            _ if says_off => (
                DcomState::OffNotHonoured,
                Grade::Confirmed,
                "DCOM is off by its value only",
                "EnableDCOM is N, but Windows 2000 acts on it from Service Pack 3 on only, and this one is older or not known"
                    .to_owned(),
            ),
            Some(None) => (
                DcomState::On,
                Grade::Confirmed,
                "DCOM is on",
                "EnableDCOM is missing, which means on".to_owned(),
            ),
            Some(Some(Ok(data))) => {
                (DcomState::On, Grade::Confirmed, "DCOM is on", format!("EnableDCOM is {data}, not REG_SZ \"N\""))
            }
        };
        let why = match (state, honoured) {
            (DcomState::On, Some(false)) => {
                format!("{why}; this Windows 2000 would not act on N before Service Pack 3")
            }
            _ => why,
        };
        vec![Finding {
            check: CheckName::Dcom,
            grade,
            what: what.to_owned(),
            place: format!("SOFTWARE\\{} [{VALUE}]", key()),
            facts: Facts {
                hive: Some("SOFTWARE".to_owned()),
                key: Some(key().to_string()),
                value: Some(VALUE.to_owned()),
                data: data.as_ref().map(ToString::to_string),
                ..Facts::default()
            },
            action: None,
            outcome: Outcome::None,
            why,
            bearing: Bearing::Dcom(state),
            subject: match state {
                DcomState::On => {
                    Subject::Value { hive: HiveRole::Software, key: key(), name: VALUE.to_owned(), data }
                }
                _ => Subject::Nothing,
            },
        }]
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        if policy.dcom != policy::Dcom::Disable {
            return Vec::new();
        }
        let off = ValueEdit::Set { to: ValueData::sz("N") };
        finding.subject.value_change(off, Purpose::Protection).into_iter().collect()
    }
}
