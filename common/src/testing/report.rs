//! The report: which sentences of the contract a destination keeps, and which it breaks.

use std::fmt;

/// What was found out about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    destination: &'static str,
    kept: Vec<String>,
    broken: Vec<Broken>,
}

/// A sentence that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The sentence.
    pub sentence: String,
    /// What was wanted and what was found.
    pub detail: String,
}

impl Report {
    pub(super) fn new(destination: &'static str) -> Self {
        Self { destination, kept: Vec::new(), broken: Vec::new() }
    }

    /// Notes a sentence, and whether it holds.
    pub(super) fn note(&mut self, sentence: impl Into<String>, holds: Result<(), String>) -> bool {
        let sentence = sentence.into();
        match holds {
            Ok(()) => self.kept.push(sentence),
            Err(detail) => {
                self.broken.push(Broken { sentence, detail });
                return false;
            }
        }
        true
    }

    /// The sentences that hold, in the order in which they were looked at.
    #[must_use]
    pub fn kept(&self) -> &[String] {
        &self.kept
    }

    /// The sentences that do not hold, in the order in which they were looked at.
    #[must_use]
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, kept, broken } = self;
        if broken.is_empty() {
            writeln!(f, "{destination:?} keeps the contract of a destination:")?;
            return kept.iter().try_for_each(|sentence| writeln!(f, "  {sentence}"));
        }
        let looked_at = kept.len() + broken.len();
        writeln!(f, "{destination:?} breaks {} of {looked_at} sentences of its contract:", broken.len())?;
        for Broken { sentence, detail } in broken {
            writeln!(f, "\n  {sentence}")?;
            detail.lines().try_for_each(|line| writeln!(f, "      {line}"))?;
        }
        Ok(())
    }
}

/// Whether two things are equal, and how they differ.
pub(super) fn equal<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(found: T, wanted: U) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("wanted {wanted:?}\nfound  {found:?}")) }
}

/// Whether something is so, and what is found instead.
pub(super) fn holds(is_so: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(found()) }
}
