//! One process, seen from outside: does it answer, is it ready, what does it find, is its clock right.

use std::time::Duration;

use common::{
    doctor::{Check, Examination, Finding},
    health::{ComponentReport, ComponentStatus, HealthReport, Readiness},
    word::Word,
};
use jiff::Timestamp;
use reqwest::StatusCode;

use super::report::Report;
use crate::{
    client::{Client, Request, Response},
    exit::Failure,
};

/// Clocks may differ by this much, in milliseconds.
const MAX_DIFFERENCE: i64 = 5_000;
/// An examination has its own deadline, 20 s.
const EXTRA_TIME: Duration = Duration::from_secs(25);

const NOT_TANDEM: &str = "make sure that this is the address of a process of Tandem";

/// What only this command checks: whether the process answers.
fn process() -> Word<Check> {
    Word::Other("process".to_owned())
}

/// What only this command checks: what the process says at `/readyz`.
fn ready() -> Word<Check> {
    Word::Other("ready".to_owned())
}

/// Examines a process. One that does not answer has a report, too.
///
/// # Errors
/// A failure that has nothing to do with the process.
pub(super) async fn examine(client: &Client) -> Result<Report, Failure> {
    let server = client.server();
    let mut report = Report { service: None, server: server.clone(), unreachable: false, findings: Vec::new() };
    match client.send_any(&Request::get(["readyz"])).await {
        Ok(response) => report.findings.extend(readiness(&response, &server)),
        Err(Failure::Unreachable { cause, .. }) => {
            let remedy = "start the process, or correct its address (--url, --worker: its HTTP_ADDR)";
            report.findings.push(Finding::error(process(), &server, format!("does not answer: {cause}"), remedy));
            report.unreachable = true;
            return Ok(report);
        }
        Err(fault) => return Err(fault),
    }
    let sent_at = Timestamp::now();
    match client.send_any(&Request::get(["v1", "doctor"]).extra_time(EXTRA_TIME)).await {
        Ok(response) if response.status == StatusCode::NOT_FOUND => report.findings.push(Finding::warning(
            process(),
            &server,
            "has no doctor",
            "the process is older than this command line: upgrade it",
        )),
        Ok(response) => match response.read::<Examination>() {
            Ok(examination) => {
                report.findings.push(clock(&server, examination.checked_at, sent_at, Timestamp::now()));
                report.findings.extend(examination.findings);
                report.service = Some(examination.service.into_owned());
            }
            Err(fault) => {
                report.findings.push(Finding::error(process(), &server, fault.to_string(), NOT_TANDEM));
            }
        },
        Err(Failure::Unreachable { cause, .. }) => {
            let detail = format!("answers, but not to the doctor: {cause}");
            let remedy = "try again; if it happens again, check the log of the process";
            report.findings.push(Finding::error(process(), &server, detail, remedy));
        }
        Err(fault) => return Err(fault),
    }
    Ok(report)
}

/// What `/readyz` says, component by component.
fn readiness(response: &Response, server: &str) -> Vec<Finding> {
    let Ok(health) = response.read::<HealthReport>() else {
        let detail = format!("/readyz answers {}, but not as a process of Tandem does", response.status);
        return vec![Finding::error(ready(), server, detail, NOT_TANDEM)];
    };
    let mut findings = Vec::new();
    for (name, ComponentReport { status, reason }) in health.components {
        if status == ComponentStatus::Up {
            continue;
        }
        let detail = format!("{name} is {status}: {}", reason.as_deref().unwrap_or("no reason given"));
        let remedy = "the findings below name the cause if it persists; the log of the process shows when it began";
        // A degraded process is ready: it catches up later.
        findings.push(if health.status == Readiness::NotReady {
            Finding::error(ready(), server, detail, remedy)
        } else {
            Finding::warning(ready(), server, detail, remedy)
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ready(), server, health.status.as_str()));
    }
    findings
}

/// Compares the clocks. The process read its own between `sent` and `received`, or up to a second earlier: an
/// examination may be shared.
fn clock(server: &str, theirs: Timestamp, sent: Timestamp, received: Timestamp) -> Finding {
    let (theirs, sent, received) = (theirs.as_millisecond(), sent.as_millisecond(), received.as_millisecond());
    let earliest = sent - 1_000;
    let difference = if theirs < earliest { theirs - earliest } else { (theirs - received).max(0) };
    if difference.abs() <= MAX_DIFFERENCE {
        return Finding::ok(Check::Clock, server, "agrees with the clock here");
    }
    let side = if difference > 0 { "ahead of" } else { "behind" };
    Finding::warning(
        Check::Clock,
        server,
        format!("is {} s {side} the clock here", difference.abs() / 1_000),
        "synchronise both machines (chronyd, systemd-timesyncd): orders and attempts bear the times of these clocks",
    )
}

#[cfg(test)]
mod tests {
    use common::doctor::Status;
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn clocks_agree_within_five_seconds_of_the_exchange() {
        let sent: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let received = sent + SignedDuration::from_secs(20);
        let (ok, warning) = (Status::Ok, Status::Warning);
        for (seconds, status) in [(-7, warning), (-6, ok), (0, ok), (20, ok), (25, ok), (26, warning)] {
            let found = clock("s", sent + SignedDuration::from_secs(seconds), sent, received);
            assert_eq!(found.status, status, "{seconds}: {found:?}");
        }
    }

    #[test]
    fn a_component_that_is_down_is_an_error_only_if_the_process_is_not_ready() {
        let response = |status: &str| Response {
            status: StatusCode::OK,
            headers: Default::default(),
            body: format!(
                r#"{{"status": "{status}", "components": {{"relay": {{"status": "down", "reason": "no broker"}},
                     "store": {{"status": "up"}}}}}}"#
            ),
        };
        for (status, wanted) in [("degraded", Status::Warning), ("not_ready", Status::Error)] {
            let findings = readiness(&response(status), "s");
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].status, wanted);
            assert!(findings[0].detail.contains("relay is down: no broker"));
        }
    }
}
