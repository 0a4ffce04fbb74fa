//! Redrives as they are shown.

use store::{Plan, Redrive, Refused, Selection};

use super::dead_letter;

/// What a redrive would send.
pub(crate) fn plan(Plan { matched, sample, refused }: Plan) -> api::Plan {
    let sample = sample.into_iter().map(dead_letter::item).collect();
    api::Plan { matched, sample, refused: refused.into_iter().map(self::refused).collect() }
}

/// A redrive, and how far it is.
pub(crate) fn redrive(redrive: Redrive) -> api::Redrive {
    let progress = redrive.progress;
    api::Redrive {
        id: redrive.id.to_string(),
        status: redrive.status.into(),
        detail: redrive.detail,
        filter: match redrive.selection {
            Selection::Filter(filter) => Some(dead_letter::filter(filter)),
            Selection::Ids(_) => None,
        },
        rate: redrive.rate,
        concurrency: redrive.concurrency,
        stop_after_failed_share: redrive.stop_after_failed_share,
        edited: redrive.edited,
        new_key: redrive.new_key,
        matched: redrive.matched,
        sent: progress.sent + progress.delivered + progress.dead_lettered,
        delivered: progress.delivered,
        dead_lettered: progress.dead_lettered,
        cancelled: progress.cancelled,
        remaining: progress.queued + progress.under_way(),
        refused: redrive.refused.into_iter().map(refused).collect(),
        created_at: redrive.created_at,
        updated_at: redrive.updated_at,
    }
}

fn refused(Refused { reason, count }: Refused) -> api::Refused {
    api::Refused { reason: reason.into(), count }
}
