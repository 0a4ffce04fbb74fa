use crate::{conformance::dead_letters, postgres::scratch::PostgresScratch};

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let scratch = PostgresScratch::new().await;
                dead_letters::$name(&mut scratch.open(), &scratch.desk()).await;
            }
        )*
    };
}

conforms!(
    a_dead_letter_is_stored_once_and_ends_its_delivery,
    a_report_is_waited_for_and_corrects_when_it_comes_late,
    a_dead_letter_tells_what_the_ledger_knows,
    what_names_no_order_is_kept_too,
    dead_letters_are_found_and_counted_by_their_cause,
    an_archived_one_leaves_the_list_until_it_is_put_back,
    a_lineage_leads_to_the_first_failure,
);
