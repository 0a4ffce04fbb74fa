//! The findings by process: errors first, each with its remedy.

use std::io;

use common::{
    doctor::{Finding, Status},
    word::Word,
};
use serde::Serialize;

use crate::output::{Paint, Screen, clean, count, paint_of};

/// One process.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) service: Option<String>,
    pub(super) server: String,
    pub(super) unreachable: bool,
    pub(super) findings: Vec<Finding>,
}

/// The worst first; an unknown status comes before one that is in order.
fn rank(finding: &Finding) -> u8 {
    match finding.status {
        Word::Known(Status::Error) => 0,
        Word::Known(Status::Warning) => 1,
        Word::Other(_) => 2,
        Word::Known(Status::Ok) => 3,
    }
}

/// Shows them; what is in order is only counted, unless `verbose`.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(reports: &[Report], verbose: bool, screen: Screen) -> io::Result<()> {
    for report in reports {
        let service = clean(report.service.as_deref().unwrap_or("process"));
        let server = screen.paint(Paint::Dim, &report.server);
        screen.line(format_args!("{}  {server}", screen.paint(Paint::Bold, &service)))?;
        let mut findings: Vec<_> = report.findings.iter().collect();
        findings.sort_by_key(|finding| rank(finding));
        for finding in findings.iter().filter(|finding| verbose || finding.status != Status::Ok) {
            one(finding, &report.server, screen)?;
        }
        let in_order = findings.iter().filter(|finding| finding.status == Status::Ok).count();
        if !verbose && in_order > 0 {
            let mark = screen.paint(Paint::Good, "✓");
            screen.line(format_args!("  {mark} {} ok", count(in_order as u64, "check")))?;
        }
        screen.line("")?;
    }
    let number = |status: Status| {
        let all = reports.iter().flat_map(|report| &report.findings);
        all.filter(|finding| finding.status == status).count() as u64
    };
    let (errors, warnings) = (number(Status::Error), number(Status::Warning));
    let paint = if errors > 0 {
        Paint::Bad
    } else if warnings > 0 {
        Paint::Waiting
    } else {
        Paint::Good
    };
    let processes = if reports.len() == 1 { "1 process".to_owned() } else { format!("{} processes", reports.len()) };
    let sum = format!("{processes}: {}, {}", count(errors, "error"), count(warnings, "warning"));
    screen.line(screen.paint(paint, &sum))
}

fn one(finding: &Finding, server: &str, screen: Screen) -> io::Result<()> {
    let Finding { check, subject, status, detail, remedy } = finding;
    let mark = match status {
        Word::Known(Status::Ok) => "✓",
        Word::Known(Status::Error) => "✗",
        _ => "!",
    };
    let paint = paint_of(status.as_str());
    let (mark, check) = (screen.paint(paint, mark), screen.paint(paint, &clean(check.as_str())));
    // The heading names the process already.
    let subject = if subject == server { String::new() } else { screen.paint(Paint::Bold, &clean(subject)) };
    screen.line(format!("  {mark} {check}  {subject}").trim_end())?;
    screen.wrapped("      ", detail).into_iter().try_for_each(|line| screen.line(line))?;
    if let Some(remedy) = remedy {
        let lines = screen.wrapped("      ", &format!("→ {remedy}"));
        lines.into_iter().try_for_each(|line| screen.line(screen.paint(Paint::Dim, &line)))?;
    }
    Ok(())
}
