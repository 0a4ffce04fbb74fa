//! What happens when there is no answer.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{net::TcpListener, time::timeout};

use super::{
    api::Answer,
    orders::sample_order,
    report::{Report, holds},
    subject::{Answered, Subject, a_call, attempt, describe},
};
use crate::destination::{AttemptError, Destination};

/// The worker's deadline around an attempt, much shortened.
const DEADLINE: Duration = Duration::from_millis(200);

pub(super) async fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut Report) -> io::Result<()> {
    // Taken and given back: nobody listens there now.
    let nobody = format!("http://{}", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?);
    report.note("a refused connection is transient, in words without address or secret", {
        unanswered(subject, &nobody).await
    });

    for (what, answer) in [
        ("a connection reset instead of an answer", Answer::Reset),
        ("a connection closed instead of an answer", Answer::Bytes(b"")),
        ("a connection closed within the head of an answer", Answer::Bytes(b"HTTP/1.1 200 So\r\nContent-Le")),
        ("an answer that is no HTTP", Answer::Bytes(b"\x00\x01\x02 220 mail.example ESMTP\r\n\r\n")),
    ] {
        subject.api.answer_by(answer);
        let found = unanswered(subject, subject.api.base()).await;
        report.note(format!("{what} is transient after one call, in words without address or secret"), found);
    }

    report.note("an API that does not answer is left at the deadline, and can be called again", hanging(subject).await);
    Ok(())
}

/// That an attempt on the API at this address ends as one without an answer does.
async fn unanswered<D: Destination>(subject: &Subject<'_, D>, base: &str) -> Result<(), String> {
    let destination = subject.made(base)?;
    let answered = if base == subject.api.base() {
        subject.one_call(&destination, &sample_order(), &a_call()).await?.0
    } else {
        attempt(&destination, &sample_order(), &a_call()).await?
    };
    let error = words(&answered)?;
    subject.hides_secrets(error)?;
    let authority = base.trim_start_matches("http://");
    holds(!error.contains(authority) && !error.contains("://"), || format!("the address stands in {error:?}"))
}

/// The words of a transient failure without a status.
fn words(answered: &Answered) -> Result<&str, String> {
    match answered {
        Err(AttemptError::Transient { status: None, error: Some(error), .. }) if !error.is_empty() => Ok(error),
        other => Err(format!("wanted transient, without status, with an error\nfound  {}", describe(other))),
    }
}

async fn hanging<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let destination = subject.made(subject.api.base())?;
    subject.api.answer_by(Answer::Silence);
    if let Ok(answered) = timeout(DEADLINE, attempt(&destination, &sample_order(), &a_call())).await {
        return Err(format!("without an answer it ended all the same: {}", describe(&answered?)));
    }
    subject.api.answer_by(Answer::status(200));
    let (answered, _) = subject.one_call(&destination, &sample_order(), &a_call()).await?;
    holds(answered.is_ok(), || format!("the next attempt was {}", describe(&answered)))
}
