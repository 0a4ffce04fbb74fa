//! Fingerprints: what identifies a repeated request under its idempotency key.

use sha2::{Digest as _, Sha256};

/// SHA-256 over what a request says, so that white space, the order of fields and the way a string is
/// escaped do not matter.
///
/// A fingerprint is stored with its key and outlives the version that computed it: what goes in, and in
/// which order, is fixed by its name.
#[derive(Debug)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Begins with the name of what is hashed, and the version of how.
    pub(crate) fn new(name: &str) -> Self {
        let mut this = Self(Sha256::new());
        this.add(name);
        this
    }

    /// Adds a text behind its length, so that no two requests run into the same bytes.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    /// Adds a field, if it is set.
    pub(crate) fn add_field(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name);
            self.add(value);
        }
    }

    /// The fingerprint.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
