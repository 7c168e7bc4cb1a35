//! How far a longer piece of work is, how fast it goes, and how long it takes still. The clock is the caller's.

use std::time::Duration;

use crate::cleanup::report_text::human_size;

/// How far a longer piece of work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, in words.
    pub what: &'static str,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// When it began.
    pub since: Duration,
}

impl Progress {
    /// Where it is now, which goes on from where it was: it began then, unless it is another piece of work.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        (what, done, total): (&'static str, u64, u64),
        now: Duration,
    ) -> Self {
        let same = before.filter(|progress| progress.what == what && progress.done <= done);
        Self { what, done, total, since: same.map_or(now, |progress| progress.since) }
    }

    /// Bytes a second, and the time that is left in words; none before that can be told.
    pub fn pace(&self, now: Duration) -> Option<(u64, String)> {
        let passed = now.saturating_sub(self.since).as_secs();
        let rate = self.done.checked_div(passed).filter(|rate| passed >= 2 && *rate > 0)?;
        let seconds = self.total.saturating_sub(self.done) / rate;
        let time = match seconds {
            0..60 => format!("{seconds} s"),
            60..5400 => format!("{} min", seconds.div_ceil(60)),
            _ => format!("{} h", seconds.div_ceil(3600)),
        };
        Some((rate, time))
    }

    /// How fast, and how long still; none before that can be told.
    pub fn in_words(&self, now: Duration) -> Option<String> {
        let (rate, time) = self.pace(now)?;
        Some(format!("{} a second, about {time} left", human_size(rate)))
    }
}
