//! How dead letters are found.

use super::*;
use crate::{sqlite::open, testing::Scratch};

/// Every filter except the one by order, each alone and all together.
fn filters() -> Vec<Filter> {
    let all = Filter {
        destination: Some("north".parse().unwrap()),
        reason: Some(common::outcome::Reason::Rejected.into()),
        status_code: Some(422),
        error: Some("refused".into()),
        order_id: None,
        from: Some(jiff::Timestamp::UNIX_EPOCH),
        to: Some(jiff::Timestamp::UNIX_EPOCH),
        archived: true,
    };
    let none = Filter::default;
    vec![
        none(),
        Filter { destination: all.destination.clone(), ..none() },
        Filter { reason: all.reason.clone(), ..none() },
        Filter { status_code: all.status_code, ..none() },
        Filter { error: all.error.clone(), ..none() },
        Filter { from: all.from, to: all.to, ..none() },
        Filter { archived: true, ..none() },
        all,
    ]
}

fn plan(connection: &rusqlite::Connection, sql: &str, condition: &Condition<'_>) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut values: Vec<&dyn rusqlite::ToSql> = condition.values.iter().map(|value| *value as _).collect();
    values.push(&51);
    let rows = statement.query_map(values.as_slice(), |row| row.get::<_, String>("detail")).unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_list_reads_the_whole_table() {
    let scratch = Scratch::default();
    let connection = open(scratch.path()).unwrap();
    for filter in filters() {
        let (values, before) = (FilterValues::of(&filter), Some(Uuid::nil()));
        let mut condition = Condition::of(&values);
        let plan_of = |condition: &Condition<'_>| plan(&connection, &letters_sql(condition, false), condition);
        assert!(plan_of(&condition).contains("COVERING INDEX dead_letters_listed"), "{}", plan_of(&condition));
        condition.and("id < ?", &before);
        let further = plan_of(&condition);
        assert!(further.contains("COVERING INDEX dead_letters_listed (id<?)"), "{further}");
        let sorts = further.matches("TEMP B-TREE").count();
        assert!(sorts <= 1, "only the page is sorted: {further}");
    }
    let of_order = Filter { order_id: Some(common::order::OrderId::new()), ..Filter::default() };
    let values = FilterValues::of(&of_order);
    let condition = Condition::of(&values);
    let plan = plan(&connection, &letters_sql(&condition, true), &condition);
    assert!(plan.contains("INDEX dead_letters_by_order (order_id=?)"), "{plan}");
}

#[test]
fn groups_are_counted_from_an_index_in_its_order() {
    let scratch = Scratch::default();
    let connection = open(scratch.path()).unwrap();
    for filter in filters() {
        let values = FilterValues::of(&filter);
        let condition = Condition::of(&values);
        let plan = plan(&connection, &groups_sql(&condition), &condition);
        assert!(plan.contains("COVERING INDEX dead_letters_grouped"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
