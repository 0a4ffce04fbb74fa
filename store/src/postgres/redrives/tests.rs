//! The conformance suite.

use std::sync::Arc;

use ::tests::postgres::fresh_database;
use tokio_util::task::TaskTracker;

use super::super::{PostgresAddress, PostgresDesk, Shared};
use crate::{Desk, conformance::redrives, testing::names};

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let database = fresh_database().await.unwrap();
                let address = PostgresAddress::parse(database.url()).unwrap();
                let shared = Shared::open(address, &TaskTracker::new()).await.unwrap();
                let mut writer = shared.writer(&names(["north", "south"]));
                let desk: Arc<dyn Desk> = Arc::new(PostgresDesk::new(shared));
                redrives::$name(&mut writer, &desk).await;
            }
        )*
    };
}

conforms!(
    a_redrive_sends_what_was_dead_when_it_was_created_and_ends_with_it,
    a_redrive_obeys_and_a_forgotten_key_is_refused_unless_forced,
    a_repeated_key_returns_its_redrive_even_if_an_earlier_version_stored_it,
    an_order_is_kept_while_a_redrive_has_a_dead_letter_of_it,
    what_is_pending_is_found_by_where_it_was_seen,
);
