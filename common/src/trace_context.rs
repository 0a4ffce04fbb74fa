//! W3C trace context: enough of it to carry a request's trace id through store, broker and calls.

use std::fmt;

use uuid::Uuid;

/// A `traceparent` (W3C Trace Context, version 00): the trace and the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// The length of its text form.
    pub const LEN: usize = 55;

    /// The root of a new trace, not sampled, for a request without one.
    #[must_use]
    pub fn root() -> Self {
        Self { trace_id: random_u128(), parent_id: random_u64(), flags: 0 }
    }

    /// Reads the header. `None` if the standard says to ignore it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        // A later version may append fields after a dash; the first four stay where they are.
        if !text.is_ascii() || bytes.len() < Self::LEN {
            return None;
        }
        let version = hex(&text[0..2])?;
        let exact = bytes.len() == Self::LEN;
        if version == 0xff || (version == 0 && !exact) || (!exact && bytes[Self::LEN] != b'-') {
            return None;
        }
        if [2, 35, 52].iter().any(|&dash| bytes[dash] != b'-') {
            return None;
        }
        let trace_id = hex(&text[3..35])?;
        let parent_id = u64::try_from(hex(&text[36..52])?).ok()?;
        let flags = u8::try_from(hex(&text[53..55])?).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags })
    }

    /// The same trace with a new parent id, for the next hop.
    #[must_use]
    pub fn child(self) -> Self {
        Self { parent_id: random_u64(), ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// Lower-case hexadecimal only: the standard forbids upper case.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

fn random_u128() -> u128 {
    Uuid::new_v4().as_u128()
}

/// Never zero: the low half of a version 4 UUID has its variant bits set.
fn random_u64() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_standard_survives_a_round_trip() {
        assert_eq!(TraceParent::parse(SAMPLE).map(|parent| parent.to_string()).as_deref(), Some(SAMPLE));
    }

    #[test]
    fn what_the_standard_forbids_is_ignored() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cüb7ad6b716920333-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
        assert!(TraceParent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
    }

    #[test]
    fn a_child_has_the_same_trace_and_another_parent_id() {
        let root = TraceParent::root();
        let child = root.child();
        assert_eq!(child.trace_id, root.trace_id);
        assert_ne!(child.parent_id, root.parent_id);
    }
}
