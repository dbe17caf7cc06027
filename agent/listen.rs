//! Connections: how many, how long, how large. What is answered is the router's business.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time; further ones wait in the kernel's backlog.
const CONNECTIONS: usize = 128;
/// For a request's header to arrive, and for an idle connection to be used again: longer than the minute between two scrapes.
const HEADER: Duration = Duration::from_secs(65);
/// After this a connection is asked to end with the answer it is at, and after [`LAST_ANSWER`] more it is cut: a client that takes
/// its answer slower holds its place from others.
const CONNECTION: Duration = Duration::from_mins(5);
const LAST_ANSWER: Duration = Duration::from_secs(20);
/// Bytes of a connection's buffer, so also of the longest header.
const BUFFER: usize = 16 << 10;

/// Accepts connections for ever.
pub async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    answer(stream, router).await;
                    drop(place);
                });
            }
            // Out of descriptors, or the client is gone already: the next one may fare better.
            Err(error) => {
                tracing::debug!("accept: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = if let Ok(served) = timeout(CONNECTION, connection.as_mut()).await {
        served
    } else {
        connection.as_mut().graceful_shutdown();
        timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
    };
    if let Err(error) = served {
        tracing::debug!("connection: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn it_answers_beside_idle_connections_and_refuses_an_endless_header() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "well" }));
        tokio::spawn(serve(listener, router));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS - 2 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let request = "GET / HTTP/1.1\r\nHost: node1\r\nConnection: close\r\n\r\n";
        assert!(ask(address, request).await.ends_with("well"));
        let endless = format!("GET / HTTP/1.1\r\nHost: node1\r\nX: {}", "x".repeat(2 * BUFFER));
        let answer = ask(address, &endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(ask(address, request).await.ends_with("well"));
    }
}
