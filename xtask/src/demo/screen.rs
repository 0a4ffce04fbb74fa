//! What the demo shows: on a terminal with colours, spinners and bars, elsewhere as plain lines.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines are made for the narrowest common terminal.
const WIDTH: usize = 78;
/// The column of names at the left of a line.
const NAME_WIDTH: usize = 13;
const TICK: Duration = Duration::from_millis(100);
/// How often bars are shown where they can only be lines.
const PLAIN_PERIOD: Duration = Duration::from_secs(1);

/// Where the demo is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    live: bool,
    spins: bool,
}

/// How a text is shown; nothing on a screen without colours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    Bold,
    Dim,
    Good,
    Waiting,
    Bad,
}

/// Bars under the lines that are written meanwhile.
pub(super) struct Bars {
    screen: Screen,
    drawn: Option<(MultiProgress, Vec<ProgressBar>)>,
    names: Vec<String>,
    of: u64,
    begun: Instant,
    next_line: Duration,
}

impl Screen {
    /// Standard output, as it is.
    pub(super) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let colours = set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb");
        let live = std::io::stdout().is_terminal() && colours;
        Self { live, spins: live }
    }

    /// The same screen for a step that writes to it by itself.
    pub(super) fn without_spinner(self) -> Self {
        Self { spins: false, ..self }
    }

    /// A line.
    pub(super) fn line(self, text: impl Display) {
        // Nobody may be listening any more, which is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// A heading, with space above.
    pub(super) fn heading(self, text: &str) {
        self.line(format_args!("\n{}", self.paint(Paint::Bold, text)));
    }

    /// Something that may take a while: it returns what to say of it.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) async fn step<T>(self, name: &str, work: impl Future<Output = Result<(T, String)>>) -> Result<T> {
        let begun = Instant::now();
        let spinner = self.spins.then(|| spinner(name));
        let done = work.await;
        drop(spinner);
        let (value, said) = done.inspect_err(|_| self.stepped(Paint::Bad, "✗", name, "", begun))?;
        self.stepped(Paint::Good, "✓", name, &said, begun);
        Ok(value)
    }

    fn stepped(self, paint: Paint, mark: &str, name: &str, said: &str, begun: Instant) {
        let took = took(begun.elapsed());
        let width = WIDTH - NAME_WIDTH - 4;
        let mark = self.paint(paint, mark);
        let space = width.saturating_sub(said.chars().count());
        let took = self.paint(Paint::Dim, &format!("{took:>space$}"));
        self.line(format_args!("  {mark} {name:NAME_WIDTH$}{said}{took}"));
    }

    /// A moment of a story: when, who, what.
    pub(super) fn moment(self, at: Duration, who: &str, what: impl Display) -> String {
        let at = self.paint(Paint::Dim, &format!("{:>9}", took(at)));
        format!("{at}  {who:NAME_WIDTH$}{what}")
    }

    /// Bars that count to `of`, each with its name.
    pub(super) fn bars(self, names: &[&str], of: u64) -> Bars {
        let drawn = self.live.then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
            let template = format!("  {{prefix:{NAME_WIDTH}}}{{bar:40.cyan/dim}} {{human_pos:>6}} of {{human_len}}");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let style = style.progress_chars("━━─");
            let bars = names.iter().map(|name| {
                let bar = all.add(ProgressBar::new(of).with_style(style.clone()).with_prefix((*name).to_owned()));
                bar.tick();
                bar
            });
            let bars = bars.collect();
            (all, bars)
        });
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Bars { screen: self, drawn, names, of, begun: Instant::now(), next_line: PLAIN_PERIOD }
    }

    /// The text in its colour, where there are colours.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Good => "32",
            Paint::Waiting => "33",
            Paint::Bad => "31",
        };
        if self.live && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Bars {
    /// How far each of them is.
    pub(super) fn set(&mut self, positions: &[u64]) {
        if let Some((_, bars)) = &self.drawn {
            bars.iter().zip(positions).for_each(|(bar, position)| bar.set_position(*position));
            return;
        }
        let elapsed = self.begun.elapsed();
        let done = positions.iter().all(|position| *position >= self.of);
        if elapsed >= self.next_line || done {
            self.next_line = if done { Duration::MAX } else { elapsed + PLAIN_PERIOD };
            let texts = self.names.iter().zip(positions).map(|(name, position)| format!("{name} {}", count(*position)));
            let texts = texts.collect::<Vec<_>>().join(" · ");
            self.screen.line(self.screen.moment(elapsed, "", format_args!("{texts} of {}", count(self.of))));
        }
    }

    /// Something that happened meanwhile.
    pub(super) fn moment(&self, paint: Paint, who: &str, what: &str) {
        let text = self.screen.moment(self.begun.elapsed(), who, self.screen.paint(paint, what));
        match &self.drawn {
            // A line that cannot be written is a screen that nobody looks at.
            Some((all, _)) => drop(all.println(text)),
            None => self.screen.line(text),
        }
    }

    /// Leaves them as they are.
    pub(super) fn finish(mut self) {
        for bar in self.drawn.take().iter().flat_map(|(_, bars)| bars) {
            bar.abandon();
        }
    }
}

impl Drop for Bars {
    /// After Ctrl-C the terminal's own `^C` has moved the cursor out of the bars, and drawing once more would miss them.
    fn drop(&mut self) {
        std::mem::forget(self.drawn.take());
    }
}

/// Gone when it is dropped.
struct Spinner(ProgressBar);

fn spinner(name: &str) -> Spinner {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    let style = ProgressStyle::with_template("  {spinner} {msg}  {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    spinner.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
    spinner.set_message(name.to_owned());
    spinner.enable_steady_tick(TICK);
    Spinner(spinner)
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A length of time, as short as it can be read.
pub(super) fn took(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.2} s", time.as_secs_f64()),
        seconds => format!("{} m {:02} s", seconds / 60, seconds % 60),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        assert_eq!(took(Duration::from_millis(3)), "3 ms");
        assert_eq!(took(Duration::from_millis(1_284)), "1.28 s");
        assert_eq!(took(Duration::from_secs(72)), "1 m 12 s");
    }
}
