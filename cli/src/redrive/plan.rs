//! What a redrive would send, exactly, before anything is sent.

use std::time::Duration;

use api::{NewRedrive, Plan, Refused};

use super::SelectionArgs;
use crate::{
    client::{Client, Request, Response, to_json},
    dead_letter,
    exit::{Exit, Failure},
    output::{Paint, Screen, clean, count},
    results::document,
};

/// Counting many dead letters takes longer than other requests.
pub(super) const EXTRA_TIME: Duration = Duration::from_secs(60);

/// Shows the plan.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(selection: &SelectionArgs, client: &Client, screen: Screen) -> Result<Exit, Failure> {
    let response = request(selection.request()?, client).await?;
    document(&response, screen, |plan, screen| lines(plan, screen).into_iter().try_for_each(|line| screen.line(line)))?;
    Ok(Exit::Success)
}

/// Requests the plan of this redrive.
///
/// # Errors
/// [`Failure`].
pub(super) async fn request(redrive: NewRedrive, client: &Client) -> Result<Response, Failure> {
    let body = to_json(&NewRedrive { dry_run: Some(true), ..redrive })?;
    client.send(&Request::post(["v1", "redrives"], body).extra_time(EXTRA_TIME)).await
}

/// The plan in words.
pub(super) fn lines(plan: &Plan, screen: Screen) -> Vec<String> {
    let Plan { matched, sample, refused } = plan;
    let mut lines = vec![screen.paint(Paint::Bold, &format!("{} would be sent again", count(*matched, "dead letter")))];
    lines.extend(sample.iter().map(|letter| format!("  {}", dead_letter::line(letter, screen))));
    let more = matched.saturating_sub(sample.len() as u64);
    if more > 0 && !sample.is_empty() {
        lines.push(screen.paint(Paint::Dim, &format!("  and {more} more")));
    }
    for Refused { reason, count } in refused {
        lines.push(screen.paint(Paint::Waiting, &format!("refused: {count} × {}", clean(reason.as_str()))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Colour, Format};

    #[test]
    fn a_plan_shows_the_count_a_sample_and_what_is_refused() {
        let plan = r#"{"matched": 12, "refused": [{"reason": "key_expired", "count": 3}], "new": 1, "sample": [{"id": "1",
            "order_id": null, "destination": "n", "reason": "rejected", "status_code": 422, "error": null,
            "failed_at": "2026-11-24T06:00:00Z", "attempts": [], "redrives": 0, "archived": false}]}"#;
        let plan: Plan = serde_json::from_str(plan).unwrap();
        let lines = lines(&plan, Screen::new(Format::Table, Colour::Never));
        let wanted = [
            "12 dead letters would be sent again",
            "  1  n  422 rejected  2026-11-24T06:00:00.000Z",
            "  and 11 more",
            "refused: 3 × key_expired",
        ];
        assert_eq!(lines, wanted);
    }
}
