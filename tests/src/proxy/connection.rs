//! One connection through the proxy.

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
    faults::{
        Direction::{self, ToClient, ToServer},
        Faults, is_cut, pass,
    },
};

const CHUNK: usize = 16 * 1024;

/// Why a connection ended.
enum End {
    /// Both sides closed it.
    Closed,
    /// One side broke it, which the other side must see.
    Broken,
    /// It was cut on purpose.
    Cut,
}

pub(super) async fn connection(
    mut client: TcpStream,
    upstream: &str,
    mut faults: watch::Receiver<Faults>,
    born: u64,
    counters: &Counters,
) {
    let mut server = None;
    let end = tokio::select! {
        () = is_cut(faults.clone(), born) => End::Cut,
        end = async {
            pass(&mut faults, ToClient).await;
            let Ok(stream) = TcpStream::connect(upstream).await else { return End::Broken };
            forward(&mut client, server.insert(stream), &faults, counters).await
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
    faults: &watch::Receiver<Faults>,
    counters: &Counters,
) -> End {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_read, client_write), (server_read, server_write)) = (client.split(), server.split());
    let up = copy(client_read, server_write, ToServer, faults.clone(), &counters.bytes_up);
    let down = copy(server_read, client_write, ToClient, faults.clone(), &counters.bytes_down);
    match tokio::try_join!(up, down) {
        Ok(_) => End::Closed,
        Err(end) => end,
    }
}

/// Forwards one direction until it ends.
async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut faults: watch::Receiver<Faults>,
    bytes: &AtomicU64,
) -> Result<(), End> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| End::Broken)?;
        pass(&mut faults, direction).await;
        if read == 0 {
            // The other direction may go on.
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        to.write_all(&buffer[..read]).await.map_err(|_| End::Broken)?;
        bytes.fetch_add(read as u64, Relaxed);
    }
}
