//! How a destination reports that there was no response.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{net::TcpListener, time::timeout};

use super::{
    api::Reply,
    orders::sample_order,
    report::{ConformanceReport, holds},
    subject::{Answered, Subject, a_call, attempt, describe},
};
use crate::{
    destination::Destination,
    http_client::{AttemptError, Failure},
};

/// The worker's deadline for an attempt, much shortened.
const DEADLINE: Duration = Duration::from_millis(200);

pub(super) async fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut ConformanceReport) -> io::Result<()> {
    // Bound and released: nothing listens there now.
    let nobody = format!("http://{}", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?);
    report.note("a refused connection is transient, and its error shows no address or secret", {
        unanswered(subject, &nobody).await
    });

    for (what, reply) in [
        ("a connection reset instead of a response", Reply::Reset),
        ("a connection closed instead of a response", Reply::Bytes(b"")),
        ("a connection closed within the head of a response", Reply::Bytes(b"HTTP/1.1 200 So\r\nContent-Le")),
        ("a response that is not HTTP", Reply::Bytes(b"\x00\x01\x02 220 mail.example ESMTP\r\n\r\n")),
    ] {
        subject.api.reply_with(reply);
        let found = unanswered(subject, subject.api.base()).await;
        report.note(format!("{what} is transient after one call, and its error shows no address or secret"), found);
    }

    report.note(
        "an API that does not respond is abandoned at the deadline, and can be called again",
        hanging(subject).await,
    );
    Ok(())
}

/// Whether an attempt on the API at this address ends as one without a response must.
async fn unanswered<D: Destination>(subject: &Subject<'_, D>, base: &str) -> Result<(), String> {
    let destination = subject.made(base)?;
    let answered = if base == subject.api.base() {
        subject.one_call(&destination, &sample_order(), &a_call()).await?.0
    } else {
        attempt(&destination, &sample_order(), &a_call()).await?
    };
    let error = error_of(&answered)?;
    subject.hides_secrets(error)?;
    let authority = base.trim_start_matches("http://");
    holds(!error.contains(authority) && !error.contains("://"), || format!("{error:?} shows the address"))
}

/// The error of a failure without a response.
fn error_of(answered: &Answered) -> Result<&str, String> {
    match answered {
        Err(AttemptError {
            failure: Failure::Unreached | Failure::Unanswered,
            status: None,
            error: Some(error),
            ..
        }) if !error.is_empty() => Ok(error),
        other => Err(format!("expected no response, and an error\nfound    {}", describe(other))),
    }
}

async fn hanging<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    subject.api.reply_with(Reply::Silence);
    if let Ok(answered) = timeout(DEADLINE, attempt(&destination, &sample_order(), &a_call())).await {
        return Err(format!("it ended without a response: {}", describe(&answered?)));
    }
    subject.api.reply_with(Reply::status(200));
    let (answered, _) = subject.one_call(&destination, &sample_order(), &a_call()).await?;
    holds(answered.is_ok(), || format!("the next attempt was {}", describe(&answered)))
}
