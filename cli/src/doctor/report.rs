//! What was found, by process: errors first, each with its remedy.

use std::io;

use serde::{Deserialize, Serialize};

use crate::output::{Paint, Screen, clean, count, paint_of};

/// One finding, of the process or of this side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Finding {
    check: String,
    #[serde(default)]
    subject: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// One process.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) service: Option<String>,
    pub(super) server: String,
    pub(super) unreachable: bool,
    pub(super) findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn ok(check: &str, subject: &str, detail: &str) -> Self {
        let (check, subject, detail) = (check.to_owned(), subject.to_owned(), detail.to_owned());
        Self { check, subject, status: "ok".to_owned(), detail, remedy: None }
    }

    pub(super) fn warning(check: &str, subject: &str, detail: &str, remedy: &str) -> Self {
        let status = "warning".to_owned();
        Self { status, remedy: Some(remedy.to_owned()), ..Self::ok(check, subject, detail) }
    }

    pub(super) fn error(check: &str, subject: &str, detail: &str, remedy: &str) -> Self {
        Self { status: "error".to_owned(), ..Self::warning(check, subject, detail, remedy) }
    }

    /// The worst first; what is not known comes before what is well.
    fn rank(&self) -> u8 {
        match &*self.status {
            "error" => 0,
            "warning" => 1,
            "ok" => 3,
            _ => 2,
        }
    }
}

/// Shows them; what is well is only counted, unless `verbose`.
///
/// # Errors
/// As [`Screen::line`].
pub(super) fn show(reports: &[Report], verbose: bool, screen: Screen) -> io::Result<()> {
    for report in reports {
        let service = clean(report.service.as_deref().unwrap_or("process"));
        let server = screen.paint(Paint::Dim, &report.server);
        screen.line(format_args!("{}  {server}", screen.paint(Paint::Bold, &service)))?;
        let mut findings: Vec<_> = report.findings.iter().collect();
        findings.sort_by_key(|finding| finding.rank());
        for finding in findings.iter().filter(|finding| verbose || finding.status != "ok") {
            one(finding, &report.server, screen)?;
        }
        let well = findings.iter().filter(|finding| finding.status == "ok").count();
        if !verbose && well > 0 {
            let mark = screen.paint(Paint::Good, "✓");
            screen.line(format_args!("  {mark} {} ok", count(well as u64, "check")))?;
        }
        screen.line("")?;
    }
    let number = |status: &str| {
        let all = reports.iter().flat_map(|report| &report.findings);
        all.filter(|finding| finding.status == status).count() as u64
    };
    let (errors, warnings) = (number("error"), number("warning"));
    let paint = if errors > 0 {
        Paint::Bad
    } else if warnings > 0 {
        Paint::Waiting
    } else {
        Paint::Good
    };
    let processes = count(reports.len() as u64, "process").replace("processs", "processes");
    let sum = format!("{processes}: {}, {}", count(errors, "error"), count(warnings, "warning"));
    screen.line(screen.paint(paint, &sum))
}

fn one(finding: &Finding, server: &str, screen: Screen) -> io::Result<()> {
    let Finding { check, subject, status, detail, remedy } = finding;
    let mark = match &**status {
        "ok" => "✓",
        "error" => "✗",
        _ => "!",
    };
    let mark = screen.paint(paint_of(status), mark);
    let check = screen.paint(paint_of(status), &clean(check));
    // The process itself stands in the heading.
    let subject = if subject == server { String::new() } else { screen.paint(Paint::Bold, &clean(subject)) };
    screen.line(format!("  {mark} {check}  {subject}").trim_end())?;
    screen.wrapped("      ", detail).into_iter().try_for_each(|line| screen.line(line))?;
    if let Some(remedy) = remedy {
        let lines = screen.wrapped("      ", &format!("→ {remedy}"));
        lines.into_iter().try_for_each(|line| screen.line(screen.paint(Paint::Dim, &line)))?;
    }
    Ok(())
}
