//! One connection through the proxy, from its two ends to its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

use super::{
    Counters,
    weather::{
        Direction::{self, ToClient, ToServer},
        Weather, is_cut, pass,
    },
};

const CHUNK: usize = 16 * 1024;

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
            pass(&mut weather, ToClient).await;
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
    let up = copy(client_read, server_write, ToServer, weather.clone(), &counters.bytes_up);
    let down = copy(server_read, client_write, ToClient, weather.clone(), &counters.bytes_down);
    match tokio::try_join!(up, down) {
        Ok(_) => End::Closed,
        Err(end) => end,
    }
}

/// Forwards one direction, to its end.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
    bytes: &AtomicU64,
) -> Result<(), End> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| End::Broken)?;
        pass(&mut weather, direction).await;
        if read == 0 {
            // The end of one direction is not that of the other.
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        to.write_all(&buffer[..read]).await.map_err(|_| End::Broken)?;
        bytes.fetch_add(read as u64, Relaxed);
    }
}
