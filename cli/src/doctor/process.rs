//! One process, from the outside: does it answer, is it ready, what does it find, is its time right.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;

use super::report::{Finding, Report};
use crate::{
    client::{Answer, Client, Request},
    ending::Failure,
};

/// Clocks further apart than this are told.
const MOST_APART: i64 = 5_000;
/// An examination has a deadline of its own, 20 s.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(25);

/// The answer of `/readyz`.
#[derive(Debug, Deserialize)]
struct Readiness {
    status: String,
    #[serde(default)]
    components: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
struct Component {
    status: String,
    #[serde(default)]
    reason: Option<String>,
}

/// The answer of `/v1/doctor`.
#[derive(Debug, Deserialize)]
struct Examination {
    checked_at: Timestamp,
    service: String,
    #[serde(default)]
    findings: Vec<Finding>,
}

/// Examines it. A process that does not answer is a report too.
///
/// # Errors
/// What is no matter of this process.
pub(super) async fn examine(client: &Client) -> Result<Report, Failure> {
    let server = client.server();
    let mut report = Report { service: None, server: server.clone(), unreachable: false, findings: Vec::new() };
    match client.ask_anything(&Request::get(["readyz"])).await {
        Ok(answer) => report.findings.extend(readiness(&answer, &server)),
        Err(Failure::Unreachable { cause, .. }) => {
            let remedy = "start the process, or correct its address (--url, --worker: its HTTP_ADDR)";
            report.findings.push(Finding::error("process", &server, &format!("does not answer: {cause}"), remedy));
            report.unreachable = true;
            return Ok(report);
        }
        Err(fault) => return Err(fault),
    }
    let asked = Timestamp::now();
    match client.ask_anything(&Request::get(["v1", "doctor"]).patience(PATIENCE)).await {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => report.findings.push(Finding::warning(
            "process",
            &server,
            "has no doctor",
            "the process is older than this command line: upgrade it",
        )),
        Ok(answer) => match answer.read::<Examination>() {
            Ok(examination) => {
                report.findings.push(clock(&server, examination.checked_at, asked, Timestamp::now()));
                report.findings.extend(examination.findings);
                report.service = Some(examination.service);
            }
            Err(fault) => {
                let remedy = "make sure that this is the address of a process of Tandem";
                report.findings.push(Finding::error("process", &server, &fault.to_string(), remedy));
            }
        },
        Err(Failure::Unreachable { cause, .. }) => {
            let detail = format!("answers, but not to the doctor: {cause}");
            let remedy = "ask again; if it stays so, look at the log of the process";
            report.findings.push(Finding::error("process", &server, &detail, remedy));
        }
        Err(fault) => return Err(fault),
    }
    Ok(report)
}

/// What `/readyz` says, part by part.
fn readiness(answer: &Answer, server: &str) -> Vec<Finding> {
    let Ok(readiness) = answer.read::<Readiness>() else {
        let detail = format!("/readyz answers {} and says nothing of Tandem", answer.status);
        return vec![Finding::error(
            "ready",
            server,
            &detail,
            "make sure that this is the address of a process of Tandem",
        )];
    };
    let mut findings = Vec::new();
    for (name, Component { status, reason }) in readiness.components {
        if status == "up" {
            continue;
        }
        let detail = format!("{name} is {status}: {}", reason.as_deref().unwrap_or("no reason given"));
        let remedy = "the findings below name the cause, if it still lasts; the log of the process tells when it began";
        // Degraded is ready: it makes up for it later.
        findings.push(if readiness.status == "not_ready" {
            Finding::error("ready", server, &detail, remedy)
        } else {
            Finding::warning("ready", server, &detail, remedy)
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("ready", server, &readiness.status));
    }
    findings
}

/// Its time and ours. It was somewhere between `asked` and `answered` when it looked at its clock, or up to a second
/// before: an examination may be shared.
fn clock(server: &str, theirs: Timestamp, asked: Timestamp, answered: Timestamp) -> Finding {
    let (theirs, asked, answered) = (theirs.as_millisecond(), asked.as_millisecond(), answered.as_millisecond());
    let apart = if theirs < asked - 1_000 { theirs - (asked - 1_000) } else { (theirs - answered).max(0) };
    if apart.abs() <= MOST_APART {
        return Finding::ok("clock", server, "agrees with the clock here");
    }
    let side = if apart > 0 { "ahead of" } else { "behind" };
    Finding::warning(
        "clock",
        server,
        &format!("is {} s {side} the clock here", apart.abs() / 1_000),
        "synchronise both machines (chronyd, systemd-timesyncd): times of orders and attempts are told by these clocks",
    )
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn clocks_agree_within_five_seconds_however_long_the_answer_took() {
        let asked: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let answered = asked + SignedDuration::from_secs(20);
        for (seconds, status) in [(-7, "warning"), (-6, "ok"), (0, "ok"), (20, "ok"), (25, "ok"), (26, "warning")] {
            let found = clock("s", asked + SignedDuration::from_secs(seconds), asked, answered);
            assert_eq!(found.status, status, "{seconds}: {found:?}");
        }
    }

    #[test]
    fn what_is_down_is_an_error_only_if_the_process_is_not_ready() {
        let answer = |status: &str| Answer {
            status: StatusCode::OK,
            headers: Default::default(),
            body: format!(
                r#"{{"status": "{status}", "components": {{"relay": {{"status": "down", "reason": "no broker"}},
                     "store": {{"status": "up"}}}}}}"#
            ),
        };
        for (status, wanted) in [("degraded", "warning"), ("not_ready", "error")] {
            let findings = readiness(&answer(status), "s");
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].status, wanted);
            assert!(findings[0].detail.contains("relay is down: no broker"));
        }
    }
}
