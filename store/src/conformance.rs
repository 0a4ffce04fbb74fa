//! What every store must do, written once; each database runs it over scratch stores, for orders that are
//! delivered to north and south.

pub(crate) mod orders;
pub(crate) mod lists;
pub(crate) mod dead_letters;
pub(crate) mod redrives;
pub(crate) mod unreadable;
pub(crate) mod waits;

use common::{
    event::{EventId, OrderCreated, OrderCreatedType, now},
    order::{CorrelationId, CustomerId, OrderId},
    outcome::{Attempt, Outcome, OutcomeStatus, Reason},
    status::OrderStatus,
    trace_context::TraceParent,
};
use jiff::Timestamp;

use crate::{Acceptance, Backend, Batch, Desk, Idempotency, Placed, Position};

/// One test for each function of the suite. The scratch store has a `writer` and a `desk`.
macro_rules! conforms {
    ($scratch:expr) => {
        crate::conformance::conforms! { $scratch;
            orders:
                an_accepted_order_waits_in_the_outbox_until_it_is_marked
                a_destination_that_is_ahead_has_its_own_mark
                the_outbox_of_a_destination_holds_what_is_pending_there
                one_key_is_one_order
                the_ledger_keeps_one_truth_per_delivery
                a_failed_transaction_stores_nothing;
            lists:
                every_combination_of_filters_lists_what_matches
                pages_are_stable_while_orders_are_placed
                the_feed_is_in_the_order_of_commits
                an_expired_key_is_as_good_as_new
                only_old_orders_that_are_delivered_everywhere_are_removed;
            dead_letters:
                a_dead_letter_is_stored_once_and_ends_its_delivery
                a_report_is_waited_for_and_corrects_when_it_comes_late
                a_dead_letter_shows_what_the_ledger_knows
                a_dead_letter_without_an_order_is_kept_too
                dead_letters_are_found_and_counted_by_their_cause
                an_archived_dead_letter_leaves_the_list_until_it_is_put_back
                a_lineage_leads_to_the_first_failure;
            redrives:
                a_redrive_sends_what_was_dead_when_it_was_created_and_ends_with_it
                a_redrive_is_controlled_and_a_forgotten_key_refused_unless_forced
                a_repeated_key_returns_its_redrive_even_if_an_earlier_version_stored_it
                an_order_is_kept_while_a_redrive_has_a_dead_letter_of_it
                pending_deliveries_are_found_by_where_they_were_seen_last;
            unreadable:
                a_row_that_cannot_be_read_costs_its_neighbours_nothing
                a_reason_of_a_newer_version_is_kept_everywhere;
            waits:
                a_delivery_shows_its_attempts_while_it_waits
                a_wait_is_published_when_it_is_over_and_dies_with_its_delivery
                a_wait_is_ended_by_request
                many_that_are_due_together_are_paced_and_keep_nobody_waiting
                what_waits_is_not_overdue_until_it_was_published_again
                a_dead_letter_is_listed_with_its_report_and_once
                a_redriven_dead_letter_is_listed_with_its_report_too
                no_end_is_taken_back;
        }
    };
    ($scratch:expr; $($area:ident: $($name:ident)*;)*) => {
        $(mod $area {
            use super::*;

            $(
                #[tokio::test]
                async fn $name() {
                    let scratch = $scratch;
                    crate::conformance::$area::$name(&mut scratch.writer(), &scratch.desk()).await;
                }
            )*
        })*
    };
}

pub(crate) use conforms;

pub(crate) fn placed(key: Option<(&str, u8)>) -> Placed {
    let event = OrderCreated {
        event_type: OrderCreatedType,
        event_id: EventId::fresh(),
        order_id: OrderId::new(),
        customer_id: CustomerId::parse("customer".into()).unwrap(),
        items: serde_json::from_str(r#"[{"product_id":"p","qty":2}]"#).unwrap(),
        correlation_id: CorrelationId::fresh(),
        occurred_at: now(),
    };
    let idempotency = key.map(|(key, fill)| Idempotency {
        scope: String::new(),
        key: key.to_owned(),
        fingerprint: [fill; 32],
        earlier_fingerprint: None,
        expired_up_to: Timestamp::UNIX_EPOCH,
    });
    Placed::new(event, TraceParent::root(), idempotency).unwrap()
}

pub(crate) fn outcome(order: &OrderCreated, destination: &str, status: OutcomeStatus) -> Outcome {
    Outcome {
        event_id: order.event_id,
        order_id: order.order_id,
        correlation_id: order.correlation_id.clone(),
        destination: destination.parse().unwrap(),
        status,
        reason: (status == OutcomeStatus::DeadLettered).then_some(Reason::Rejected.into()),
        attempts: vec![Attempt {
            at: now(),
            duration_ms: 3,
            status_code: Some(422),
            error: None,
            answer: None,
            spent: None,
        }],
        settled_at: now(),
        dead_letter: None,
    }
}

async fn accept(backend: &mut impl Backend, orders: Vec<Placed>) -> Vec<Acceptance> {
    backend.commit(&Batch { orders, ..Batch::default() }).await.unwrap()
}

/// The status of an order, as it is shown.
async fn status(desk: &Desk, order: &OrderCreated) -> OrderStatus {
    desk.order(order.order_id).await.unwrap().unwrap().status()
}

/// The position of an order that is new.
pub(crate) fn position(acceptance: &Acceptance) -> Position {
    match acceptance {
        Acceptance::New(position) => *position,
        other => panic!("not new: {other:?}"),
    }
}
