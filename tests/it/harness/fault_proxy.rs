use std::{io, time::Duration};

use anyhow::Result;
use tests::{
    proxy::FaultProxy,
    waiting::{PATIENCE, within},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

const A_WHILE: Duration = Duration::from_millis(150);

/// A server that echoes everything.
struct Echo {
    address: String,
    server: JoinHandle<()>,
}

impl Echo {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Ok(Self { address, server })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn exchange(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut received = vec![0; text.len()];
    stream.read_exact(&mut received).await?;
    Ok(received)
}

#[tokio::test]
async fn a_proxy_forwards_and_counts_what_passes() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = FaultProxy::start(&echo.address)?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert_eq!(exchange(&mut stream, b"hello").await?, b"hello");
    stream.shutdown().await?;
    assert_eq!(stream.read(&mut [0]).await?, 0, "the end of a stream is forwarded");
    let evidence = proxy.evidence();
    assert_eq!((evidence.connections, evidence.bytes_up, evidence.bytes_down, evidence.cuts), (1, 5, 5, 0));
    Ok(())
}

#[tokio::test]
async fn a_cut_resets_open_connections_and_takes_new_ones() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = FaultProxy::start(&echo.address)?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    exchange(&mut stream, b"hello").await?;
    proxy.cut().await?;
    let reset = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.evidence().cuts, 1);
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert_eq!(exchange(&mut stream, b"again").await?, b"again");
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_down_refuses_until_it_heals() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = FaultProxy::start(&echo.address)?;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        exchange(&mut stream, b"hello").await?;
        proxy.down().await?;
        assert!(stream.read(&mut [0]).await.is_err());
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        proxy.heal().await?;
    }
    Ok(())
}

#[tokio::test]
async fn refusing_leaves_open_connections_alone() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = FaultProxy::start(&echo.address)?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    exchange(&mut stream, b"hello").await?;
    proxy.refuse().await?;
    assert!(TcpStream::connect(proxy.address()).await.is_err());
    assert_eq!(exchange(&mut stream, b"still here").await?, b"still here");
    Ok(())
}

#[tokio::test]
async fn a_black_hole_holds_data_back_until_it_heals() -> Result<()> {
    let echo = Echo::start().await?;
    let proxy = FaultProxy::start(&echo.address)?;
    let mut old = TcpStream::connect(proxy.address()).await?;
    exchange(&mut old, b"hello").await?;
    proxy.black_hole().await?;
    let mut new = TcpStream::connect(proxy.address()).await?;
    assert!(timeout(A_WHILE, exchange(&mut old, b"old")).await.is_err());
    assert!(timeout(A_WHILE, exchange(&mut new, b"new")).await.is_err());
    proxy.heal().await?;
    let mut received = [0; 3];
    within("the echo", PATIENCE, old.read_exact(&mut received), String::new).await??;
    assert_eq!(&received, b"old");
    within("the echo", PATIENCE, new.read_exact(&mut received), String::new).await??;
    assert_eq!(&received, b"new");
    Ok(())
}

#[tokio::test]
async fn a_muted_client_still_hears_the_server() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(&listener.local_addr()?.to_string())?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    let (mut server, _) = listener.accept().await?;
    proxy.mute().await?;
    client.write_all(b"question").await?;
    server.write_all(b"answer").await?;
    let mut received = [0; 6];
    within("the answer", PATIENCE, client.read_exact(&mut received), String::new).await??;
    assert_eq!(&received, b"answer");
    assert_eq!(proxy.evidence().bytes_up, 0);
    proxy.heal().await?;
    let mut question = [0; 8];
    within("the question", PATIENCE, server.read_exact(&mut question), String::new).await??;
    Ok(())
}
