use std::{convert::Infallible, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{clock::Clock, *};

const MAX: usize = 262_144;

/// A valid order of exactly this many bytes.
fn of_size(bytes: usize) -> String {
    VALID.to_owned() + &" ".repeat(bytes - VALID.len())
}

fn in_pieces(body: &str, piece: usize) -> Body {
    let pieces: Vec<_> = body.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
    Body::from_stream(stream::iter(pieces).map(Ok::<_, Infallible>))
}

#[tokio::test]
async fn a_body_of_256_kib_is_accepted_and_a_byte_more_is_not() {
    let bench = Bench::new().await;
    assert_eq!(bench.place(&[], of_size(MAX)).await.status, 202);
    assert_refused(&bench.place(&[], of_size(MAX + 1)).await, 413, "body-too-large");
    for piece in [1_000, 8_192, MAX] {
        assert_eq!(bench.place(&[], in_pieces(&of_size(MAX), piece)).await.status, 202);
        assert_refused(&bench.place(&[], in_pieces(&of_size(MAX + 1), piece)).await, 413, "body-too-large");
    }
}

#[tokio::test]
async fn a_wrong_content_length_does_not_matter() {
    let bench = Bench::new().await;
    let lie = ("Content-Length", "10");
    assert_refused(&bench.place(&[lie], in_pieces(&of_size(MAX + 1), 1_000)).await, 413, "body-too-large");
    assert_eq!(bench.place(&[lie], in_pieces(VALID, 7)).await.status, 202);
}

#[tokio::test]
async fn a_body_in_pieces_is_read_as_one() {
    let bench = Bench::new().await;
    for piece in [1, 2, 7, VALID.len()] {
        assert_eq!(bench.place(&[], in_pieces(VALID, piece)).await.status, 202);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out_after_10_seconds() {
    let bench = Bench::new().await;
    let began = Instant::now();
    let dripping = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    let answer = bench.place(&[], Body::from_stream(dripping.boxed())).await;
    assert_refused(&answer, 408, "request-timeout");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(answer.header("Connection"), Some("close"));
}

#[tokio::test(start_paused = true)]
async fn large_bodies_that_never_end_leave_room_for_small_ones() {
    let clock = Clock::hold();
    let bench = Bench::new().await;
    let stuck = || {
        let piece = Bytes::from(vec![b' '; 10_000]);
        let pieces = stream::iter([piece.clone(), piece]).map(Ok::<_, Infallible>).chain(stream::pending());
        bench.place(&[], Body::from_stream(pieces))
    };
    let stuck = futures_util::future::join_all((0..65).map(|_| stuck()));
    let small = async {
        clock.pass(1).await;
        let small = bench.place(&[], in_pieces(VALID, 7)).await;
        clock.pass(9).await;
        small
    };
    let (stuck, small) = tokio::join!(stuck, small);
    assert_eq!(small.status, 202);
    let mut problems: Vec<_> = stuck.iter().map(Answer::problem).collect();
    problems.sort();
    problems.dedup();
    assert_eq!(problems, ["busy", "request-timeout"]);
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    let bench = Bench::new().await;
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
    assert_refused(&bench.place(&[], Body::from_stream(broken)).await, 400, "unreadable-body");
}

/// Over a socket: a client that writes everything before it reads must find the response all the same.
#[tokio::test]
async fn a_client_that_sends_too_much_receives_the_reason() {
    let server = common::http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (http_addr, shutdown) = (server.http_addr(), CancellationToken::new());
    let bench = Bench::new().await;
    let serving = server.run(bench.router.clone(), shutdown.clone(), Duration::from_secs(5));
    let asking = async {
        for (size, media_type, expect, status) in [
            (MAX, "application/json", "", "202"),
            (MAX + 1, "application/json", "", "413"),
            (1_000_000, "application/json", "", "413"),
            (1_000_000, "text/plain", "", "415"),
            (10_000_000, "application/json", "Expect: 100-continue\r\n", "413"),
            (10_000_000, "text/plain", "Expect: 100-continue\r\n", "415"),
        ] {
            let mut stream = TcpStream::connect(http_addr).await.unwrap();
            let head = format!(
                "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{expect}\
                 Content-Length: {size}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            if expect.is_empty() {
                stream.write_all(of_size(size).as_bytes()).await.unwrap();
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{size}: {answer}");
        }
        shutdown.cancel();
    };
    tokio::join!(serving, asking);
}
