//! What a repeated idempotency key means.

use common::order::{CorrelationId, OrderId};

use crate::{Acceptance, Idempotency, Placed, Receipt, StoreFault, columns::parse_event};

impl Idempotency {
    /// Whether the stored fingerprint is of the same request, by this version or an earlier one.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        self.fingerprint == stored || self.earlier_fingerprint.is_some_and(|earlier| earlier == stored)
    }
}

/// The order that a key was used for before.
pub(crate) struct Used {
    fingerprint: Vec<u8>,
    order_id: OrderId,
    correlation_id: CorrelationId,
}

impl Used {
    /// The order with its stored event. There is no event if the order was removed as old by a clock that is
    /// ahead: it was delivered, and its correlation id is not known any more.
    pub(crate) fn new(
        fingerprint: Vec<u8>,
        order_id: OrderId,
        event: Option<&[u8]>,
        again: &Placed,
    ) -> Result<Self, StoreFault> {
        let correlation_id = match event {
            Some(event) => parse_event(event)?.correlation_id,
            None => again.correlation_id.clone(),
        };
        Ok(Self { fingerprint, order_id, correlation_id })
    }

    /// The order that came first with this key in the same batch.
    pub(crate) fn just_now(idempotency: &Idempotency, first: &Placed) -> Self {
        let (order_id, correlation_id) = (first.order_id, first.correlation_id.clone());
        Self { fingerprint: idempotency.fingerprint.to_vec(), order_id, correlation_id }
    }
}

/// The answer to an order whose key was used before, and has not expired.
pub(crate) fn repeated(idempotency: &Idempotency, used: &Used) -> Acceptance {
    let Used { fingerprint, order_id, correlation_id } = used;
    if idempotency.matches(fingerprint) {
        let correlation_id = correlation_id.clone();
        Acceptance::Replayed(Receipt { order_id: *order_id, correlation_id, replayed: true })
    } else {
        Acceptance::KeyReused
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_same_request_gets_its_first_answer_and_any_other_is_refused() {
        let (order_id, correlation_id) = (OrderId::new(), CorrelationId::fresh());
        let used = |fill| Used { fingerprint: vec![fill; 32], order_id, correlation_id: correlation_id.clone() };
        let idempotency = Idempotency {
            scope: String::new(),
            key: "k".to_owned(),
            fingerprint: [1; 32],
            earlier_fingerprint: Some([2; 32]),
            expired_up_to: Timestamp::UNIX_EPOCH,
        };
        let receipt = Receipt { order_id, correlation_id: correlation_id.clone(), replayed: true };
        for same in [1, 2] {
            let Acceptance::Replayed(replayed) = repeated(&idempotency, &used(same)) else { panic!("{same}") };
            assert_eq!(replayed, receipt);
        }
        assert!(matches!(repeated(&idempotency, &used(3)), Acceptance::KeyReused));
    }
}
