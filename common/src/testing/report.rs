//! The report: which sentences of the contract hold for a destination.

use std::fmt;

/// The result of the conformance suite for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConformanceReport {
    destination: &'static str,
    kept: Vec<String>,
    broken: Vec<BrokenSentence>,
}

/// A sentence that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenSentence {
    /// The sentence.
    pub sentence: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl ConformanceReport {
    pub(super) fn new(destination: &'static str) -> Self {
        Self { destination, kept: Vec::new(), broken: Vec::new() }
    }

    /// Notes a sentence, and whether it holds.
    pub(super) fn note(&mut self, sentence: impl Into<String>, holds: Result<(), String>) -> bool {
        let sentence = sentence.into();
        match holds {
            Ok(()) => self.kept.push(sentence),
            Err(detail) => {
                self.broken.push(BrokenSentence { sentence, detail });
                return false;
            }
        }
        true
    }

    /// The sentences that hold, in the order of the checks.
    #[must_use]
    pub fn kept(&self) -> &[String] {
        &self.kept
    }

    /// The sentences that do not hold, in the order of the checks.
    #[must_use]
    pub fn broken(&self) -> &[BrokenSentence] {
        &self.broken
    }
}

impl fmt::Display for ConformanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, kept, broken } = self;
        if broken.is_empty() {
            writeln!(f, "{destination:?} keeps the contract of a destination:")?;
            return kept.iter().try_for_each(|sentence| writeln!(f, "  {sentence}"));
        }
        let checked = kept.len() + broken.len();
        writeln!(f, "{destination:?} breaks {} of {checked} sentences of its contract:", broken.len())?;
        for BrokenSentence { sentence, detail } in broken {
            writeln!(f, "\n  {sentence}")?;
            detail.lines().try_for_each(|line| writeln!(f, "      {line}"))?;
        }
        Ok(())
    }
}

/// Whether two things are equal, or how they differ.
pub(super) fn equal<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(found: T, expected: U) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("expected {expected:?}\nfound    {found:?}")) }
}

/// Whether something is true, or what was found instead.
pub(super) fn holds(is_true: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if is_true { Ok(()) } else { Err(found()) }
}
