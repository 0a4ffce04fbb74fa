//! Redrives, laid out for people.

use std::io;

use api::{Redrive, RedriveStatus, Refused, Word};

use crate::{
    exit::Exit,
    output::{Cell, Column, Paint, Screen, Shown, clean, members, paint_of},
};

/// The columns of a list.
pub(super) const COLUMNS: [Column; 8] = [
    Column::new("REDRIVE"),
    Column::new("STATUS"),
    Column::number("MATCHED"),
    Column::number("SENT"),
    Column::number("DELIVERED"),
    Column::number("DEAD"),
    Column::number("LEFT"),
    Column::squeezed("STARTED"),
];

/// A row of a list.
pub(super) fn row(redrive: &Redrive, screen: Screen) -> Vec<Cell> {
    let Redrive { matched, sent, delivered, dead_lettered, remaining, .. } = redrive;
    let mut row = vec![Cell::new(&redrive.id), Cell::status(redrive.status.as_str())];
    row.extend([matched, sent, delivered, dead_lettered, remaining].map(|number| Cell::new(number.to_string())));
    row.push(Cell::dim(screen.time(redrive.created_at)));
    row
}

/// The exit code for a redrive: success only if it has delivered everything.
pub(super) fn exit(redrive: &Redrive) -> Exit {
    match redrive.status {
        Word::Known(RedriveStatus::Completed) if redrive.dead_lettered == 0 => Exit::Success,
        Word::Known(RedriveStatus::Running | RedriveStatus::Paused) => Exit::Pending,
        _ => Exit::Unsuccessful,
    }
}

/// The progress, in a line.
pub(super) fn progress(redrive: &Redrive) -> String {
    let Redrive { status, matched, sent, delivered, dead_lettered, .. } = redrive;
    let dead = if *dead_lettered > 0 { format!(" · {dead_lettered} dead again") } else { String::new() };
    format!("{} · {sent} of {matched} sent · {delivered} delivered{dead}", clean(status.as_str()))
}

/// Shows a redrive.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(Shown { known: redrive, more }: &Shown<Redrive>, screen: Screen) -> io::Result<()> {
    let status = redrive.status.as_str();
    screen.field("redrive", screen.paint(Paint::Bold, &clean(&redrive.id)))?;
    screen.field("status", screen.paint(paint_of(status), &clean(status)))?;
    for (name, number) in [("matched", redrive.matched), ("sent", redrive.sent), ("delivered", redrive.delivered)] {
        screen.field(name, number)?;
    }
    let paint = if redrive.dead_lettered > 0 { Paint::Bad } else { Paint::Plain };
    screen.field("dead again", screen.paint(paint, &redrive.dead_lettered.to_string()))?;
    screen.field("remaining", redrive.remaining)?;
    if redrive.cancelled > 0 {
        screen.field("cancelled", redrive.cancelled)?;
    }
    for Refused { reason, count } in &redrive.refused {
        screen.field("refused", format_args!("{count} × {}", clean(reason.as_str())))?;
    }
    screen.field("started", screen.moment(redrive.created_at))?;
    screen.field("updated", screen.moment(redrive.updated_at))?;
    if let Some(detail) = &redrive.detail {
        screen.field("detail", clean(detail))?;
    }
    if let Some(filter) = &redrive.filter {
        screen.field("filter", clean(&serde_json::to_string(filter)?))?;
    }
    screen.field("rate", format_args!("{} per second", redrive.rate))?;
    screen.field("concurrency", redrive.concurrency)?;
    screen.field("stop after", format_args!("{} of the last ones failed again", redrive.stop_after_failed_share))?;
    for (name, is_set) in [("edited", redrive.edited), ("new key", redrive.new_key)] {
        if is_set {
            screen.field(name, "yes")?;
        }
    }
    members(more, screen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redrive(status: &str, dead_lettered: u64) -> Redrive {
        let json = format!(
            r#"{{"id": "1", "status": "{status}", "detail": null, "filter": null, "rate": 50, "concurrency": 100,
                 "stop_after_failed_share": 0.5, "edited": false, "new_key": false, "matched": 9, "sent": 5,
                 "delivered": 4, "dead_lettered": {dead_lettered}, "cancelled": 0, "remaining": 4, "refused": [],
                 "created_at": "2026-11-24T06:00:00Z", "updated_at": "2026-11-24T06:00:00Z", "new": 1}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn only_a_redrive_that_delivered_everything_is_a_success() {
        for (status, dead_lettered, wanted) in [
            ("completed", 0, Exit::Success),
            ("completed", 1, Exit::Unsuccessful),
            ("stopped", 0, Exit::Unsuccessful),
            ("cancelled", 0, Exit::Unsuccessful),
            ("a_new_word", 0, Exit::Unsuccessful),
            ("running", 0, Exit::Pending),
            ("paused", 1, Exit::Pending),
        ] {
            assert_eq!(exit(&redrive(status, dead_lettered)), wanted, "{status}");
        }
    }

    #[test]
    fn progress_fits_a_line() {
        assert_eq!(progress(&redrive("running", 1)), "running · 5 of 9 sent · 4 delivered · 1 dead again");
    }
}
