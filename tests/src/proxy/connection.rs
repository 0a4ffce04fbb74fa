//! One connection through the proxy, from its two ends to its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    Counters,
    weather::{Weather, is_cut, pass},
};

const CHUNK: usize = 16 * 1024;
/// Chunks under way on a slow line, per direction.
const UNDER_WAY: usize = 256;

/// Why a connection ended.
enum End {
    /// Both sides had said all they had to say.
    Closed,
    /// One side broke it off: the other is to hear of it.
    Broken,
    /// It was cut on purpose.
    Cut,
}

pub(super) async fn connection(
    mut client: TcpStream,
    upstream: &str,
    mut weather: watch::Receiver<Weather>,
    born: u64,
    counters: &Counters,
) {
    let mut server = None;
    let end = tokio::select! {
        () = is_cut(weather.clone(), born) => End::Cut,
        end = async {
            pass(&mut weather).await;
            let Ok(stream) = TcpStream::connect(upstream).await else { return End::Broken };
            forward(&mut client, server.insert(stream), &weather, counters).await
        } => end,
    };
    if matches!(end, End::Cut) {
        counters.cuts.fetch_add(1, Relaxed);
    }
    if !matches!(end, End::Closed) {
        // With no time to linger, closing sends a reset.
        let _ = client.set_zero_linger();
        if let Some(server) = &server {
            let _ = server.set_zero_linger();
        }
    }
}

async fn forward(
    client: &mut TcpStream,
    server: &mut TcpStream,
    weather: &watch::Receiver<Weather>,
    counters: &Counters,
) -> End {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
    let up = direction(client_read, server_write, weather.clone(), &counters.bytes_up, false);
    let down = direction(server_read, client_write, weather.clone(), &counters.bytes_down, true);
    match tokio::try_join!(up, down) {
        Ok(_) => End::Closed,
        Err(end) => end,
    }
}

/// One direction, to its end. Reader and writer are apart, so that latency costs no bandwidth.
async fn direction(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
    bytes: &AtomicU64,
    limited: bool,
) -> Result<(), End> {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let latency = weather.clone();
    let reader = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).await.map_err(|_| End::Broken)?;
            if read == 0 {
                return Ok(());
            }
            let due = Instant::now() + latency.borrow().latency;
            if send.send((due, buffer[..read].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let writer = async {
        let mut answered = (0, 0);
        while let Some((due, mut chunk)) = receive.recv().await {
            sleep_until(due).await;
            let now = pass(&mut weather).await;
            let mut cut = false;
            if let (true, Some(limit)) = (limited, now.limit) {
                if answered.0 != now.limit_set {
                    answered = (now.limit_set, 0);
                }
                let left = usize::try_from(limit - answered.1).unwrap_or(usize::MAX);
                cut = chunk.len() >= left;
                chunk.truncate(left);
                answered.1 += chunk.len() as u64;
            }
            to.write_all(&chunk).await.map_err(|_| End::Broken)?;
            bytes.fetch_add(chunk.len() as u64, Relaxed);
            if cut {
                return Err(End::Cut);
            }
        }
        // The end of one direction is not that of the other.
        to.shutdown().await.map_err(|_| End::Broken)
    };
    tokio::try_join!(reader, writer).map(drop)
}
