//! The body of a request, with a bound on its bytes, on the time it takes, and on the memory that all
//! bodies take together.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{BodyDataStream, HttpBody as _},
    extract::{FromRequest, OptionalFromRequest, Request},
    http::header,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    faults::Faults,
    headers,
    json::{self, Shape},
    problem::{BODY_TOO_LARGE, BUSY, Problem, REQUEST_TIMEOUT, UNREADABLE_BODY},
};
use crate::http::Api;

/// Largest body, in bytes.
pub(in crate::http) const MAX_BYTES: usize = 256 * 1_024;
/// Largest body of a batch, in bytes.
pub(in crate::http) const MAX_BATCH_BYTES: usize = 4 * 1_024 * 1_024;
/// How long a body may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A body up to this size needs no permit; it is what a connection buffers anyway.
const SMALL_BYTES: usize = 8 * 1_024;
/// How many larger bodies are read at a time: 16 MiB together.
const LARGE_BODIES: usize = 64;
/// How many batches are read and answered at a time: 16 MiB together, and about three times as much for
/// what is read out of them.
const LARGE_BATCHES: usize = 4;
/// How long a further one waits for a permit before it is refused.
const PERMIT_WITHIN: Duration = Duration::from_secs(1);

/// A body that is read as JSON; `S` says how.
#[derive(Debug)]
pub(in crate::http) struct Json<S: Payload>(pub(in crate::http) S::Out);

/// What a body is to be.
pub(in crate::http) trait Payload: Shape {
    /// Refuses JSON that is something else.
    fn invalid(faults: Faults) -> Problem;
}

impl<S: Payload> FromRequest<Arc<Api>> for Json<S> {
    type Rejection = Problem;

    /// Cancelling it leaves the rest of the body unread.
    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        headers::json_body(request.headers())?;
        let (body, _) = api.limits.bodies.read(request).await?;
        parse::<S>(&body)
    }
}

/// An empty body is `None`, whatever its media type.
impl<S: Payload> OptionalFromRequest<Arc<Api>> for Json<S> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Option<Self>, Problem> {
        let json = headers::json_body(request.headers());
        let (body, _) = api.limits.bodies.read(request).await?;
        if body.is_empty() {
            return Ok(None);
        }
        json.and_then(|()| parse::<S>(&body)).map(Some)
    }
}

/// Reads a body as JSON.
pub(in crate::http) fn parse<S: Payload>(body: &[u8]) -> Result<Json<S>, Problem> {
    json::read::<S>(body).map(Json).map_err(|unread| unread.problem(S::invalid))
}

/// Reads bodies; one for all requests of a kind.
#[derive(Debug)]
pub(in crate::http) struct BodyReader {
    max_bytes: usize,
    large_bodies: Arc<Semaphore>,
}

/// What a larger body needs. While it is kept, it also bounds what was made of the body.
pub(in crate::http) type Permit = Option<OwnedSemaphorePermit>;

impl BodyReader {
    /// For all bodies but those of batches.
    pub(in crate::http) fn new() -> Self {
        Self { max_bytes: MAX_BYTES, large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)) }
    }

    /// For batches.
    pub(in crate::http) fn for_batches() -> Self {
        Self { max_bytes: MAX_BATCH_BYTES, large_bodies: Arc::new(Semaphore::new(LARGE_BATCHES)) }
    }

    /// Reads a whole body. Cancelling it leaves the rest unread.
    pub(in crate::http) async fn read(&self, request: Request) -> Result<(Bytes, Permit), Problem> {
        let asks_first = request.headers().contains_key(header::EXPECT);
        let body = request.into_body();
        if asks_first && body.size_hint().lower() > self.max_bytes as u64 {
            // The client has not sent anything yet.
            return Err(self.too_large());
        }
        let read = timeout(DEADLINE, self.gather(body.into_data_stream())).await;
        read.map_err(|_| Problem::new(&REQUEST_TIMEOUT, "the body was not complete after 10 seconds"))?
    }

    async fn gather(&self, mut chunks: BodyDataStream) -> Result<(Bytes, Permit), Problem> {
        // Nearly every body comes in one piece, which is not copied.
        let Some(first) = next(&mut chunks).await? else { return Ok((Bytes::new(), None)) };
        let mut gathered = None::<BytesMut>;
        let mut permit = None;
        let mut len = first.len();
        while len <= self.max_bytes {
            let Some(chunk) = next(&mut chunks).await? else {
                return Ok((gathered.map_or(first, BytesMut::freeze), permit));
            };
            len += chunk.len();
            if len > SMALL_BYTES && permit.is_none() {
                let Ok(Ok(large)) = timeout(PERMIT_WITHIN, Arc::clone(&self.large_bodies).acquire_owned()).await else {
                    return Err(Problem::new(&BUSY, "too many large bodies are being read"));
                };
                permit = Some(large);
            }
            gathered.get_or_insert_with(|| BytesMut::from(first.as_ref())).extend_from_slice(&chunk);
        }
        Err(self.too_large())
    }

    fn too_large(&self) -> Problem {
        Problem::new(&BODY_TOO_LARGE, format!("the body has more than {} bytes", self.max_bytes))
    }
}

async fn next(chunks: &mut BodyDataStream) -> Result<Option<Bytes>, Problem> {
    let unreadable = |_| Problem::new(&UNREADABLE_BODY, "the body ended early or was framed incorrectly");
    chunks.next().await.transpose().map_err(unreadable)
}
