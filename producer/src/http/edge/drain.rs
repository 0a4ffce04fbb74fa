//! Draining refused requests. A client that writes its whole request before it reads must find the
//! response, not a broken connection: what it still sends is read and thrown away, up to a bound.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{StatusCode, header},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::{Frame, SizeHint};
use tokio::{sync::oneshot, time::timeout};

/// Most bytes that are thrown away.
const MAX_BYTES: usize = 1_024 * 1_024;
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// What a handler may leave unread of a request's body.
pub(super) struct Rest {
    /// `None` if there is no body.
    back: Option<oneshot::Receiver<Unread>>,
    /// Whether the client asked whether to send the body.
    expects: bool,
}

impl Rest {
    /// Lends the body to the handler of the request.
    pub(super) fn of(request: Request) -> (Request, Self) {
        if request.body().is_end_stream() {
            return (request, Self { back: None, expects: false });
        }
        let expects = request.headers().contains_key(header::EXPECT);
        let (owner, back) = oneshot::channel();
        let request = request.map(|body| Body::new(Lent { body: Some(body), begun: false, owner: Some(owner) }));
        (request, Self { back: Some(back), expects })
    }

    /// Drains it if the request was refused. Cancelling it is harmless.
    pub(super) async fn drain(self, response: StatusCode) {
        let refused = response.is_client_error() || response.is_server_error();
        // A body that did not arrive in time has had its time.
        if refused
            && response != StatusCode::REQUEST_TIMEOUT
            && let Some(Unread { body, begun }) = self.back.and_then(|mut back| back.try_recv().ok())
            // A client that asked whether to send, and was not asked to continue, sends nothing.
            && (begun || !self.expects)
        {
            discard(body).await;
        }
    }
}

/// Reads a body to its end or its bounds.
async fn discard(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut discarded = 0;
    let reading = async {
        while let (true, Some(Ok(chunk))) = (discarded < MAX_BYTES, chunks.next().await) {
            discarded += chunk.len();
        }
    };
    // The response is the same, whether it ends, fails or takes too long.
    let _ = timeout(DEADLINE, reading).await;
}

/// A body in the hands of a handler. Dropped before its end, it goes back to its owner.
struct Lent {
    /// `None` once it has ended or failed.
    body: Option<Body>,
    /// Whether reading has begun.
    begun: bool,
    owner: Option<oneshot::Sender<Unread>>,
}

/// A body that came back.
struct Unread {
    body: Body,
    begun: bool,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(owner)) = (self.body.take(), self.owner.take()) {
            // Whoever waits no longer needs it.
            drop(owner.send(Unread { body, begun: self.begun }));
        }
    }
}
