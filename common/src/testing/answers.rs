//! What an answer means.

use std::{
    io,
    time::{Duration, SystemTime},
};

use super::{
    api::{Answer, Api, HUGE_ANSWER_BYTES},
    orders::sample_order,
    report::{Report, equal, holds},
    subject::{Answered, PATIENCE, Subject, a_call, describe},
};
use crate::destination::{AttemptError, Destination};

/// What an answer may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Success,
    Transient,
    Permanent,
}

use Meaning::{Permanent, Success, Transient};

/// Statuses and what they mean; redirects stand below.
const STATUSES: [(Meaning, &[u16]); 3] = [
    (Success, &[200, 201, 202, 203, 204, 206]),
    (Transient, &[408, 425, 429, 500, 501, 502, 503, 504, 507, 508]),
    (
        Permanent,
        &[
            300, 304, 400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 418, 421, 422, 423, 428,
            431, 451,
        ],
    ),
];
/// Statuses that point elsewhere.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Bodies that are of no interest, because the status is the answer.
const BODIES: [(&str, Meaning, u16, &[u8]); 3] = [
    ("a 200 whose body breaks off is a success", Success, 200, b"HTTP/1.1 200 So\r\nContent-Length: 9\r\n\r\n{"),
    ("a 422 whose body breaks off is permanent", Permanent, 422, b"HTTP/1.1 422 So\r\nContent-Length: 9\r\n\r\n{"),
    (
        "a 200 whose body is not what it claims to be is a success",
        Success,
        200,
        b"HTTP/1.1 200 So\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n<xml",
    ),
];

pub(super) async fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut Report) -> io::Result<()> {
    for (meaning, statuses) in STATUSES {
        let kept = all_mean(subject, meaning, statuses, &[]).await;
        report.note(format!("{} {}, after one call", listed(statuses), verb(meaning)), kept);
    }
    let elsewhere = Api::start().await?;
    let location = [("Location", format!("{}/elsewhere", elsewhere.base()))];
    let kept = all_mean(subject, Permanent, &REDIRECTS, &location).await;
    let followed = elsewhere.take_requests().len();
    let kept = kept.and_then(|()| holds(followed == 0, || format!("{followed} redirects were followed")));
    report.note(format!("{} {}, and not followed", listed(&REDIRECTS), verb(Permanent)), kept);

    for status in [429, 503] {
        let heard = retry_after(subject, status, "7").await;
        let kept = heard.and_then(|heard| equal(heard, Some(Duration::from_secs(7))));
        report.note(format!("Retry-After of a {status} reaches the worker"), kept);
    }
    report.note("Retry-After may be a date", date(subject).await);
    let garbage = retry_after(subject, 503, "soon").await;
    report.note("Retry-After without sense is no wish", garbage.and_then(|found| equal(found, None)));

    for (sentence, meaning, status, bytes) in BODIES {
        subject.api.answer_by(Answer::Bytes(bytes));
        report.note(sentence, answered(subject).await.and_then(|found| means(&found, meaning, status)));
    }
    subject.api.answer_by(Answer::Stall(b"HTTP/1.1 200 So\r\nContent-Length: 9\r\n\r\n{"));
    let stalled = answered(subject).await.and_then(|found| means(&found, Success, 200));
    report.note("a 200 whose body stalls is a success, and is not waited for until the deadline", stalled);
    report.note("an answer of 32 MiB is a success, and is not read to its end", huge(subject).await);
    Ok(())
}

fn listed(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn verb(meaning: Meaning) -> &'static str {
    match meaning {
        Success => "are a success",
        Transient => "are transient",
        Permanent => "are permanent",
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
        subject.api.answer_by(Answer::Status(status, headers.to_vec()));
        let Err(detail) = answered(subject).await.and_then(|found| means(&found, meaning, status)) else { continue };
        // Many break in the same way, and are told of together.
        let detail = detail.replace(&format!(", with status {status}"), "");
        match broken.iter_mut().find(|(known, _)| *known == detail) {
            Some((_, statuses)) => statuses.push(status),
            None => broken.push((detail, vec![status])),
        }
    }
    let lines: Vec<_> = broken.iter().map(|(detail, statuses)| format!("{}: {detail}", listed(statuses))).collect();
    holds(lines.is_empty(), || format!("{}\n`HttpClient::send` tells what an answer means", lines.join("\n")))
}

async fn answered<D: Destination>(subject: &Subject<'_, D>) -> Result<Answered, String> {
    let destination = subject.made(subject.api.base())?;
    subject.one_call(&destination, &sample_order(), &a_call()).await.map(|(answered, _)| answered)
}

/// That an attempt ended as an answer of this status is meant, and tells the status.
fn means(found: &Answered, wanted: Meaning, status: u16) -> Result<(), String> {
    let (meaning, told) = match found {
        Ok(told) => (Success, Some(told.as_u16())),
        Err(AttemptError::Transient { status: told, .. }) => (Transient, *told),
        Err(AttemptError::Permanent { status: told, .. }) => (Permanent, *told),
    };
    holds((meaning, told) == (wanted, Some(status)), || format!("found {}", describe(found)))
}

async fn retry_after<D: Destination>(
    subject: &Subject<'_, D>,
    status: u16,
    value: &str,
) -> Result<Option<Duration>, String> {
    subject.api.answer_by(Answer::Status(status, vec![("Retry-After", value.to_owned())]));
    match answered(subject).await? {
        Err(AttemptError::Transient { retry_after, .. }) => Ok(retry_after),
        other => Err(format!("an answer of {status} was {}", describe(&other))),
    }
}

async fn date<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
    let heard = retry_after(subject, 503, &date).await?;
    // A date has no fractions, and some of the time is over.
    let near = heard.is_some_and(|wish| (20..=30).contains(&wish.as_secs()));
    holds(near, || format!("wanted about 30 s\nfound  {heard:?}"))
}

async fn huge<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    subject.api.answer_by(Answer::Huge);
    means(&answered(subject).await?, Success, 200)?;
    let sent = tokio::time::timeout(PATIENCE, subject.api.huge_sent()).await;
    let sent = sent.map_err(|_| "the connection is held, and the answer waits to be read".to_owned())?;
    holds(sent < HUGE_ANSWER_BYTES, || format!("all {sent} bytes were read"))
}
