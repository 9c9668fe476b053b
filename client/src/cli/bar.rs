//! How far long work is (operations.md O18): a bar for each step on a terminal, else one line of JSON every few seconds. Goes to stderr, and
//! knows numbers and names of steps, never what is worked on.

use super::answer::say;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pause between two words on progress where there is no terminal.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// In a person's words.
    name: &'static str,
    /// Whether its units are bytes.
    bytes: bool,
}

impl Step {
    /// A step whose units are counted.
    pub(super) const fn of(name: &'static str) -> Self {
        Self { name, bytes: false }
    }

    /// A step whose units are bytes.
    pub(super) const fn of_bytes(name: &'static str) -> Self {
        Self { name, bytes: true }
    }
}

/// The step under way, shown.
#[derive(Default)]
pub(super) struct Bar(Mutex<Option<Shown>>);

struct Shown {
    step: Step,
    done: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Bar {
    /// `by` more units of a step are done, of so many where that is known; another step than before begins anew.
    pub(super) fn tell(&self, step: Step, by: u64, of: Option<u64>) {
        let mut held = self.held();
        if held.as_ref().is_none_or(|s| s.step != step) {
            held.take().and_then(|s| s.bar).inspect(ProgressBar::finish_and_clear);
            *held = Some(Shown { step, done: 0, bar: std::io::stderr().is_terminal().then(|| bar(step, of)), told: Instant::now() });
        }
        let Some(shown) = held.as_mut() else { return };
        shown.done += by;
        match &shown.bar {
            Some(bar) => bar.inc(by),
            None if shown.told.elapsed() >= TOLD_EVERY => {
                shown.told = Instant::now();
                say(&json!({ "step": step.name, "done": shown.done, "of": of }).to_string());
            }
            None => {}
        }
    }

    /// The same items, each told of as it is taken.
    pub(super) fn each<T>(&self, step: Step, items: impl ExactSizeIterator<Item = T>) -> impl Iterator<Item = T> {
        let of = u64::try_from(items.len()).ok();
        items.inspect(move |_| self.tell(step, 1, of))
    }

    /// Nothing is shown any more.
    pub(super) fn end(&self) {
        self.held().take().and_then(|s| s.bar).inspect(ProgressBar::finish_and_clear);
    }

    fn held(&self) -> MutexGuard<'_, Option<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}

fn bar(step: Step, of: Option<u64>) -> ProgressBar {
    let unit = if step.bytes { "{bytes}/{total_bytes}, {bytes_per_sec}" } else { "{pos}/{len}" };
    let style = ProgressStyle::with_template(&format!("{{msg:24}} {{bar:40}} {unit}, {{eta}} left"));
    ProgressBar::new(of.unwrap_or(0)).with_message(step.name).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_told_and_a_new_step_begins_at_nothing() {
        let (first, second) = (Step::of("first"), Step::of("second"));
        let bar = Bar::default();
        let done = |bar: &Bar| bar.held().as_ref().map(|s| (s.step.name, s.done));
        assert_eq!(bar.each(first, [1, 2, 3].iter()).copied().sum::<i32>(), 6);
        assert_eq!(done(&bar), Some(("first", 3)));
        bar.tell(first, 5, None);
        assert_eq!(done(&bar), Some(("first", 8)));
        bar.tell(second, 1, Some(2));
        assert_eq!(done(&bar), Some(("second", 1)));
        bar.end();
        assert_eq!(done(&bar), None);
    }
}
