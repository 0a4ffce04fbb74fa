//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Screen;

/// How often a line is written without a terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);

/// A progress bar. Dropping it clears the bar.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    next_line: Instant,
    last: String,
}

impl Progress {
    /// With this many steps in total.
    pub(crate) fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {wide_bar} {percent:>3}%  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━━─").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, next_line: Instant::now(), last: String::new() }
    }

    /// Shows the position and a text.
    pub(crate) fn set(&mut self, screen: Screen, position: u64, total: u64, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(position);
            bar.set_message(text.to_owned());
        } else if self.last != text && Instant::now() >= self.next_line {
            text.clone_into(&mut self.last);
            self.next_line = Instant::now() + LINE_PERIOD;
            screen.say(text);
        }
    }

    /// Shows a message; the same one only once in a row.
    pub(crate) fn say(&mut self, screen: Screen, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if self.last == text => {}
            None => {
                text.clone_into(&mut self.last);
                screen.say(text);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
