//! The idempotency key of a delivery.

use uuid::Uuid;

use crate::{destination::Name, event::EventId};

/// The key that a destination sees. It depends on the event and the destination alone, so that every
/// attempt, redelivery, restart and redrive sends the same one.
///
/// It is the version 5 UUID (RFC 9562) of the destination's name in the namespace of the event's id.
#[must_use]
pub fn key(event: EventId, destination: &Name) -> Uuid {
    Uuid::new_v5(&event.0, destination.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::NotAName;

    #[test]
    fn event_and_destination_determine_the_key() -> Result<(), NotAName> {
        let (north, south) = ("north".parse()?, "south".parse()?);
        let event = EventId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
        // Literal on purpose: a change of this value breaks every delivery in progress.
        assert_eq!(key(event, &north).to_string(), "7fb947b5-5108-5298-9cc0-227b96ac85e6");
        assert_ne!(key(event, &north), key(event, &south));
        assert_ne!(key(event, &north), key(EventId::fresh(), &north));
        Ok(())
    }
}
