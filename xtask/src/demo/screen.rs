//! What the demo shows: with colours and bars on a terminal, as plain lines elsewhere.

use std::{
    fmt::Display,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use console::style;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines fit the narrowest common terminal.
const WIDTH: usize = 78;
/// The column of names at the left of a line.
const NAME_WIDTH: usize = 13;
const TICK: Duration = Duration::from_millis(100);
/// How often progress is shown without a terminal.
const PLAIN_PERIOD: Duration = Duration::from_secs(1);

/// Prints a line.
pub(super) fn line(text: impl Display) {
    // No reason to stop if nobody reads it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a heading, with space above.
pub(super) fn heading(text: &str) {
    line(format_args!("\n{}", style(text).bold()));
}

/// Runs a step with a spinner; the step returns its value and what to say about it.
///
/// # Errors
/// Those of `work`.
pub(super) async fn step<T>(name: &str, work: impl Future<Output = Result<(T, String)>>) -> Result<T> {
    let spinner = ProgressBar::new_spinner().with_message(name.to_owned());
    spinner.enable_steady_tick(TICK);
    let work = async {
        let done = work.await;
        spinner.finish_and_clear();
        done
    };
    plain_step(name, work).await
}

/// The same without a spinner, for a step that prints its own progress.
///
/// # Errors
/// Those of `work`.
pub(super) async fn plain_step<T>(name: &str, work: impl Future<Output = Result<(T, String)>>) -> Result<T> {
    let start = Instant::now();
    let done = work.await;
    let (mark, said) = match &done {
        Ok((_, said)) => (style("✓").green(), said.as_str()),
        Err(_) => (style("✗").red(), ""),
    };
    let space = (WIDTH - NAME_WIDTH - 4).saturating_sub(said.chars().count());
    let took = style(format!("{:>space$}", took(start.elapsed()))).dim();
    line(format_args!("  {mark} {name:NAME_WIDTH$}{said}{took}"));
    done.map(|(value, _)| value)
}

/// A step of an order: when, who, what.
pub(super) fn moment(at: Duration, who: &str, what: impl Display) -> String {
    format!("{}  {who:NAME_WIDTH$}{what}", style(format!("{:>9}", took(at))).dim())
}

/// A length of time in a readable unit.
pub(super) fn took(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.2} s", time.as_secs_f64()),
        seconds => format!("{} m {:02} s", seconds / 60, seconds % 60),
    }
}

/// Bars that count up to the same number, below the lines that are printed in the meantime. They stay when they are
/// dropped.
pub(super) struct Bars {
    all: MultiProgress,
    bars: Vec<ProgressBar>,
    start: Instant,
    next_line: Duration,
}

impl Bars {
    pub(super) fn new(names: &[&'static str], of: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let template = format!("  {{prefix:{NAME_WIDTH}}}{{bar:40.cyan/dim}} {{human_pos:>6}} of {{human_len}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.progress_chars("━━─");
        let bar = |name: &&'static str| all.add(ProgressBar::new(of).with_style(style.clone()).with_prefix(*name));
        let bars = names.iter().map(bar).collect();
        Self { all, bars, start: Instant::now(), next_line: PLAIN_PERIOD }
    }

    /// Shows how far each of them is.
    pub(super) fn set(&mut self, positions: &[u64]) {
        self.bars.iter().zip(positions).for_each(|(bar, position)| bar.set_position(*position));
        if self.all.is_hidden() && self.start.elapsed() >= self.next_line {
            self.next_line += PLAIN_PERIOD;
            let bars = self.bars.iter().map(|bar| format!("{} {}", bar.prefix(), HumanCount(bar.position())));
            self.moment("", bars.collect::<Vec<_>>().join(" · "));
        }
    }

    /// Prints something that happened.
    pub(super) fn moment(&self, who: &str, what: impl Display) {
        self.all.suspend(|| line(moment(self.start.elapsed(), who, what)));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_a_readable_unit() {
        assert_eq!(took(Duration::from_millis(3)), "3 ms");
        assert_eq!(took(Duration::from_millis(1_284)), "1.28 s");
        assert_eq!(took(Duration::from_secs(72)), "1 m 12 s");
    }
}
