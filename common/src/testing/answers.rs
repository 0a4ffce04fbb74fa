//! How a destination classifies responses.

use std::{
    io,
    time::{Duration, SystemTime},
};

use super::{
    api::{Api, HUGE_BODY_BYTES, Reply},
    orders::sample_order,
    report::{ConformanceReport, equal, holds},
    subject::{Answered, PATIENCE, Subject, a_call, describe},
};
use crate::{
    destination::Destination,
    http_client::{AttemptError, Failure},
};

/// What a response means: `None` is a success.
type Meaning = Option<Failure>;

const SUCCESS: Meaning = None;
const REJECTED: Meaning = Some(Failure::Rejected);

/// Statuses and what they mean, without redirects.
const STATUSES: [(Meaning, &[u16]); 6] = [
    (SUCCESS, &[200, 201, 202, 203, 204, 206]),
    (Some(Failure::Failed), &[408, 500, 501, 502, 503, 504, 507, 508]),
    (Some(Failure::Throttled), &[429]),
    (Some(Failure::InProgress), &[409, 425]),
    (Some(Failure::Unauthorized), &[401, 403]),
    (REJECTED, &[300, 304, 400, 402, 404, 405, 406, 410, 411, 412, 413, 414, 415, 418, 421, 422, 423, 428, 431, 451]),
];
/// Statuses that redirect.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Bodies that must not matter, because the status decides.
const BODIES: [(&str, Meaning, u16, &[u8]); 3] = [
    ("a 200 whose body is cut off is a success", SUCCESS, 200, b"HTTP/1.1 200 So\r\nContent-Length: 9\r\n\r\n{"),
    ("a 422 whose body is cut off is a rejection", REJECTED, 422, b"HTTP/1.1 422 So\r\nContent-Length: 9\r\n\r\n{"),
    (
        "a 200 whose body is not what it claims to be is a success",
        SUCCESS,
        200,
        b"HTTP/1.1 200 So\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n<xml",
    ),
];

pub(super) async fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut ConformanceReport) -> io::Result<()> {
    for (meaning, statuses) in STATUSES {
        let kept = all_mean(subject, meaning, statuses, &[]).await;
        report.note(format!("{} {}, after one call", listed(statuses), verb(meaning)), kept);
    }
    let elsewhere = Api::start().await?;
    let location = [("Location", format!("{}/elsewhere", elsewhere.base()))];
    let kept = all_mean(subject, REJECTED, &REDIRECTS, &location).await;
    let followed = elsewhere.take_requests().len();
    let kept = kept.and_then(|()| holds(followed == 0, || format!("{followed} redirects were followed")));
    report.note(format!("{} {}, and not followed", listed(&REDIRECTS), verb(REJECTED)), kept);

    for status in [429, 503] {
        let read = retry_after(subject, status, "7").await;
        let kept = read.and_then(|read| equal(read, Some(Duration::from_secs(7))));
        report.note(format!("Retry-After of a {status} reaches the worker"), kept);
    }
    report.note("Retry-After may be a date", date(subject).await);
    let garbage = retry_after(subject, 503, "soon").await;
    report.note("an invalid Retry-After counts as absent", garbage.and_then(|found| equal(found, None)));

    for (sentence, meaning, status, bytes) in BODIES {
        subject.api.reply_with(Reply::Bytes(bytes));
        report.note(sentence, answered(subject).await.and_then(|found| means(&found, meaning, status)));
    }
    subject.api.reply_with(Reply::Stall(b"HTTP/1.1 200 So\r\nContent-Length: 9\r\n\r\n{"));
    let stalled = answered(subject).await.and_then(|found| means(&found, SUCCESS, 200));
    report.note("a 200 whose body stalls is a success, and is not waited for until the deadline", stalled);
    report.note("a response of 32 MiB is a success, and is not read to its end", huge(subject).await);
    Ok(())
}

fn listed(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn verb(meaning: Meaning) -> String {
    match meaning {
        None => "are a success".to_owned(),
        Some(failure) => format!("mean {failure:?}"),
    }
}

async fn all_mean<D: Destination>(
    subject: &Subject<'_, D>,
    meaning: Meaning,
    statuses: &[u16],
    headers: &[(&'static str, String)],
) -> Result<(), String> {
    let mut broken: Vec<(String, Vec<u16>)> = Vec::new();
    for &status in statuses {
        subject.api.reply_with(Reply::Status(status, headers.to_vec()));
        let Err(detail) = answered(subject).await.and_then(|found| means(&found, meaning, status)) else { continue };
        // Many fail in the same way, and are reported together.
        let detail = detail.replace(&format!(", with status {status}"), "");
        match broken.iter_mut().find(|(known, _)| *known == detail) {
            Some((_, statuses)) => statuses.push(status),
            None => broken.push((detail, vec![status])),
        }
    }
    let lines: Vec<_> = broken.iter().map(|(detail, statuses)| format!("{}: {detail}", listed(statuses))).collect();
    holds(lines.is_empty(), || format!("{}\n`HttpClient::send` classifies responses", lines.join("\n")))
}

async fn answered<D: Destination>(subject: &Subject<'_, D>) -> Result<Answered, String> {
    let destination = subject.made(subject.api.base())?;
    subject.one_call(&destination, &sample_order(), &a_call()).await.map(|(answered, _)| answered)
}

/// Whether an attempt ended with this meaning and reports this status.
fn means(found: &Answered, expected: Meaning, status: u16) -> Result<(), String> {
    let (meaning, reported) = match found {
        Ok(reported) => (SUCCESS, Some(reported.as_u16())),
        Err(AttemptError { failure, status, .. }) => (Some(*failure), *status),
    };
    holds((meaning, reported) == (expected, Some(status)), || format!("found {}", describe(found)))
}

async fn retry_after<D: Destination>(
    subject: &Subject<'_, D>,
    status: u16,
    value: &str,
) -> Result<Option<Duration>, String> {
    subject.api.reply_with(Reply::Status(status, vec![("Retry-After", value.to_owned())]));
    match answered(subject).await? {
        Err(AttemptError { retry_after, .. }) => Ok(retry_after),
        other => Err(format!("a response of {status} was {}", describe(&other))),
    }
}

async fn date<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    let read = retry_after(subject, 503, &date).await?;
    // A date has no fractions, and some of the time has passed.
    let near = read.is_some_and(|delay| (20..=30).contains(&delay.as_secs()));
    holds(near, || format!("expected about 30 s\nfound    {read:?}"))
}

async fn huge<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    subject.api.reply_with(Reply::Huge);
    means(&answered(subject).await?, SUCCESS, 200)?;
    let sent = tokio::time::timeout(PATIENCE, subject.api.huge_sent()).await;
    let sent = sent.map_err(|_| "the connection stays open, and the response is not read".to_owned())?;
    holds(sent < HUGE_BODY_BYTES, || format!("all {sent} bytes were read"))
}
