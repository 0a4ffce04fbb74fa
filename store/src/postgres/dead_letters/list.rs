//! Lists and groups of dead letters. A part of a filter that is not given is null.

use common::{origin::Origin, outcome::Reason};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    super::{fault::Fault, session::Session},
    stored,
};
use crate::{
    DeadLetter, Filter, Group,
    columns::{parse_origin, unsigned},
    dead_letters::stored::{containing, reason, time},
};

/// The inner part looks at an index alone: rows are wide.
pub(super) const LETTERS: &str = r"
    SELECT id, order_id, destination, state, reason, status_code, error, failed_at, key_used_at, attempts,
        parent, redrives, archived_at, note
    FROM dead_letters WHERE id IN (
        SELECT id FROM dead_letters
        WHERE state = 'dead' AND (archived_at IS NOT NULL) = $1
            AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
            AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ILIKE $5)
            AND ($6::uuid IS NULL OR order_id = $6) AND ($7::bigint IS NULL OR failed_at >= $7)
            AND ($8::bigint IS NULL OR failed_at < $8) AND ($9::uuid IS NULL OR id < $9)
        ORDER BY id DESC LIMIT $10)
    ORDER BY id DESC";

pub(super) const GROUPS: &str = r#"
    SELECT destination, reason, status_code, error, count(*), min(failed_at), max(failed_at), max(id::text)::uuid
    FROM dead_letters
    WHERE state = 'dead' AND (archived_at IS NOT NULL) = $1
        AND ($2::text IS NULL OR destination = $2) AND ($3::text IS NULL OR reason = $3)
        AND ($4::integer IS NULL OR status_code = $4) AND ($5::text IS NULL OR error ILIKE $5)
        AND ($6::uuid IS NULL OR order_id = $6) AND ($7::bigint IS NULL OR failed_at >= $7)
        AND ($8::bigint IS NULL OR failed_at < $8)
        AND ($9::text IS NULL OR (destination COLLATE "C", reason COLLATE "C", coalesce(status_code, -1), coalesce(error, '') COLLATE "C")
            > ($9, $10::text, $11::integer, $12::text))
    GROUP BY destination, reason, status_code, error
    ORDER BY destination COLLATE "C", reason COLLATE "C", status_code NULLS FIRST, error COLLATE "C" NULLS FIRST
    LIMIT $13"#;

const CAUSE: &str =
    "SELECT destination, reason, coalesce(status_code, -1), coalesce(error, '') FROM dead_letters WHERE id = $1";

/// The values of a filter.
struct Values<'a> {
    archived: bool,
    destination: Option<&'a str>,
    reason: Option<&'static str>,
    status_code: Option<i32>,
    error: Option<String>,
    order_id: Option<Uuid>,
    from: Option<i64>,
    to: Option<i64>,
}

impl<'a> Values<'a> {
    fn of(filter: &'a Filter) -> Self {
        Self {
            archived: filter.archived,
            destination: filter.destination.as_ref().map(Origin::as_str),
            reason: filter.reason.map(Reason::as_str),
            status_code: filter.status_code.map(i32::from),
            error: filter.error.as_deref().map(containing),
            order_id: filter.order_id.map(|order_id| order_id.0),
            from: filter.from.map(Timestamp::as_microsecond),
            to: filter.to.map(Timestamp::as_microsecond),
        }
    }
}

pub(super) async fn letters(
    session: &Session,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Fault> {
    let Values { archived, destination, reason, status_code, error, order_id, from, to } = Values::of(filter);
    let limit = i64::from(limit);
    let rows = session
        .query(
            LETTERS,
            &[&archived, &destination, &reason, &status_code, &error, &order_id, &from, &to, &before, &limit],
        )
        .await?;
    rows.iter().map(|row| Ok(stored(row)?.letter()?)).collect()
}

pub(super) async fn groups(
    session: &Session,
    filter: &Filter,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Group>, Fault> {
    let Values { archived, destination, reason: of_reason, status_code, error, order_id, from, to } =
        Values::of(filter);
    let limit = i64::from(limit);
    // One that was removed meanwhile, with all that was sent again long ago: the list begins anew.
    let after = match after {
        Some(after) => session.query_first(CAUSE, &[&after]).await?,
        None => None,
    };
    let cause: (Option<String>, Option<String>, Option<i32>, Option<String>) = match after {
        Some(row) => (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?),
        None => (None, None, None, None),
    };
    let rows = session
        .query(
            GROUPS,
            &[
                &archived,
                &destination,
                &of_reason,
                &status_code,
                &error,
                &order_id,
                &from,
                &to,
                &cause.0,
                &cause.1,
                &cause.2,
                &cause.3,
                &limit,
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let status_code: Option<i32> = row.try_get(2)?;
            Ok(Group {
                origin: parse_origin(row.try_get(0)?)?,
                reason: reason(row.try_get(1)?)?,
                status_code: status_code.and_then(|code| u16::try_from(code).ok()),
                error: row.try_get(3)?,
                count: unsigned(row.try_get(4)?),
                first_failed_at: time(row.try_get(5)?)?,
                last_failed_at: time(row.try_get(6)?)?,
                sample_id: row.try_get(7)?,
            })
        })
        .collect()
}
