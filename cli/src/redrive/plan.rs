//! What a redrive would send, exactly, before anything is sent.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Selection;
use crate::{
    client::{Answer, Client, Request},
    dead_letter::DeadLetter,
    ending::{Ending, Failure},
    output::{Paint, Screen, clean, count},
};

/// A count takes the time it takes.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The answer to a dry run.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    pub(super) matched: u64,
    #[serde(default)]
    sample: Vec<DeadLetter>,
    #[serde(default)]
    refused: Vec<Refused>,
}

/// Dead letters that match and would not be sent.
#[derive(Debug, Deserialize)]
struct Refused {
    reason: String,
    count: u64,
    #[serde(default)]
    detail: Option<String>,
}

/// Shows it.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(selection: &Selection, client: &Client, screen: Screen) -> Result<Ending, Failure> {
    let (answer, plan) = ask(selection.request()?, client).await?;
    if screen.is_json() {
        screen.line(answer.body.trim())?;
    } else {
        lines(&plan, screen).into_iter().try_for_each(|line| screen.line(line))?;
    }
    Ok(Ending::Done)
}

/// Asks for the plan of this request.
///
/// # Errors
/// [`Failure`].
pub(super) async fn ask(mut request: Map<String, Value>, client: &Client) -> Result<(Answer, Plan), Failure> {
    request.insert("dry_run".to_owned(), true.into());
    let request = Request::post(["v1", "redrives"], Value::from(request).to_string()).patience(PATIENCE);
    let answer = client.ask(&request).await?;
    let plan = answer.read()?;
    Ok((answer, plan))
}

/// The plan in words.
pub(super) fn lines(plan: &Plan, screen: Screen) -> Vec<String> {
    let Plan { matched, sample, refused } = plan;
    let mut lines = vec![screen.paint(Paint::Bold, &format!("{} would be sent again", count(*matched, "dead letter")))];
    for letter in sample {
        lines.push(format!("  {}", letter.line(screen)));
    }
    let unseen = matched.saturating_sub(sample.len() as u64);
    if unseen > 0 && !sample.is_empty() {
        lines.push(screen.paint(Paint::Dim, &format!("  and {unseen} more")));
    }
    for Refused { reason, count, detail } in refused {
        let detail = detail.as_deref().map(|detail| format!(" ({})", clean(detail))).unwrap_or_default();
        lines.push(screen.paint(Paint::Waiting, &format!("refused: {count} × {}{detail}", clean(reason))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Colour, Format};

    #[test]
    fn a_plan_tells_the_count_the_sample_and_what_is_refused_and_why() {
        let plan = r#"{"matched": 12, "sample": [{"id": "1", "destination": "n", "reason": "rejected", "status_code": 422}],
                       "refused": [{"reason": "key_expired", "count": 3}], "new": 1}"#;
        let plan: Plan = serde_json::from_str(plan).unwrap();
        let told = lines(&plan, Screen::new(Format::Table, Colour::Never));
        let wanted = [
            "12 dead letters would be sent again",
            "  1  n  422 rejected  ",
            "  and 11 more",
            "refused: 3 × key_expired",
        ];
        assert_eq!(told, wanted);
    }
}
