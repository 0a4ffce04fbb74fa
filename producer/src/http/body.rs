//! The bytes of a request, with a bound on their number, on the time they take, and on the memory
//! that all of them take together.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::problem::{BODY_TOO_LARGE, BUSY, Problem, REQUEST_TIMEOUT, UNREADABLE_BODY};

/// Largest body, in bytes.
pub(super) const MAX_BYTES: usize = 256 * 1_024;
/// How long a body may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Up to here a body is gathered without asking; it is what a connection buffers anyway.
const SMALL_BYTES: usize = 8 * 1_024;
/// How many larger bodies are gathered at a time: 16 MiB together.
const LARGE_BODIES: usize = 64;
/// Largest body of a batch, in bytes.
pub(super) const MAX_BATCH_BYTES: usize = 4 * 1_024 * 1_024;
/// How many batches are gathered and answered at a time: 16 MiB together, and what is read out of them,
/// which is about three times as much.
const LARGE_BATCHES: usize = 4;
/// How long a further one waits for its turn, before it is refused.
const TURN: Duration = Duration::from_secs(1);
/// How much of a body that is refused is read and thrown away, so that its sender, who writes
/// before reading, finds the answer and not a broken connection.
const MAX_DISCARDED: usize = 1_024 * 1_024;
/// How long that may take.
const DISCARD: Duration = Duration::from_secs(1);

/// Reads bodies; one for all requests of a kind.
#[derive(Debug)]
pub(super) struct BodyReader {
    max_bytes: usize,
    large_bodies: Semaphore,
}

/// A larger body's turn: as long as it is kept, the bound holds for what was made of the body too.
pub(super) type Turn<'r> = Option<SemaphorePermit<'r>>;

impl BodyReader {
    /// Of single orders.
    pub(super) fn new() -> Self {
        Self { max_bytes: MAX_BYTES, large_bodies: Semaphore::new(LARGE_BODIES) }
    }

    /// Of batches.
    pub(super) fn of_batches() -> Self {
        Self { max_bytes: MAX_BATCH_BYTES, large_bodies: Semaphore::new(LARGE_BATCHES) }
    }

    /// Reads one body whole. Cancelling it leaves the rest unread.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        self.read_in_turn(headers, body).await.map(|(body, _)| body)
    }

    /// The same, with the turn that it was read in. Cancelling it leaves the rest unread.
    pub(super) async fn read_in_turn(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, Turn<'_>), Problem> {
        if body.size_hint().lower() > self.max_bytes as u64 && headers.contains_key(header::EXPECT) {
            // The sender asked first and has sent nothing yet.
            return Err(self.too_large());
        }
        let mut chunks = body.into_data_stream();
        let gathered = timeout(DEADLINE, self.gather(&mut chunks)).await;
        let body =
            gathered.map_err(|_| Problem::new(&REQUEST_TIMEOUT, "the body was not complete after 10 seconds"))?;
        match body? {
            Some(body) => Ok(body),
            None => {
                discard_rest(chunks).await;
                Err(self.too_large())
            }
        }
    }

    /// The body, or `None` where it is too large.
    async fn gather(&self, chunks: &mut BodyDataStream) -> Result<Option<(Bytes, Turn<'_>)>, Problem> {
        // Nearly every body comes in one piece, which is not copied.
        let Some(first) = next(chunks).await? else { return Ok(Some((Bytes::new(), None))) };
        let mut gathered = None::<BytesMut>;
        let mut permit = None;
        let mut len = first.len();
        while len <= self.max_bytes {
            let Some(chunk) = next(chunks).await? else {
                return Ok(Some((gathered.map_or(first, BytesMut::freeze), permit)));
            };
            len += chunk.len();
            if len > SMALL_BYTES && permit.is_none() {
                let Ok(Ok(large)) = timeout(TURN, self.large_bodies.acquire()).await else {
                    return Err(Problem::new(&BUSY, "too many large bodies are being read"));
                };
                permit = Some(large);
            }
            gathered.get_or_insert_with(|| BytesMut::from(first.as_ref())).extend_from_slice(&chunk);
        }
        Ok(None)
    }

    fn too_large(&self) -> Problem {
        Problem::new(&BODY_TOO_LARGE, format!("the body has more than {} bytes", self.max_bytes))
    }
}

async fn next(chunks: &mut BodyDataStream) -> Result<Option<Bytes>, Problem> {
    let unreadable = |_| Problem::new(&UNREADABLE_BODY, "the body ended early or was framed wrongly");
    chunks.next().await.transpose().map_err(unreadable)
}

/// Reads over a body that is refused for its headers, up to a bound. Cancelling it is harmless.
pub(super) async fn discard(headers: &HeaderMap, body: Body) {
    // A sender who asks first is told no by the answer, and sends nothing.
    if !headers.contains_key(header::EXPECT) {
        discard_rest(body.into_data_stream()).await;
    }
}

async fn discard_rest(mut chunks: BodyDataStream) {
    let mut discarded = 0;
    let reading = async {
        while let (true, Some(Ok(chunk))) = (discarded < MAX_DISCARDED, chunks.next().await) {
            discarded += chunk.len();
        }
    };
    // Whether it ends, fails or takes too long: the answer is the same.
    let _ = timeout(DISCARD, reading).await;
}
