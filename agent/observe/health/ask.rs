//! One question over HTTP, without credentials, with a deadline, and an answer that is read up to a limit.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::facts::health::Answer;
use crate::facts::{Blind, Observed};

/// Of an answer, head included.
const MOST: u64 = 4096;

/// GETs `path` at an address.
pub(super) async fn get(address: SocketAddr, path: &str, deadline: Duration) -> Observed<Answer> {
    let until = Instant::now() + deadline;
    let seconds = deadline.as_secs();
    let mut stream = match timeout_at(until, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unconnected(&error),
        Err(_) => return Observed::Known(Answer::NoConnection(seconds)),
    };
    let question = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: nodetriage\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    let exchanged = timeout_at(until, async {
        stream.write_all(question.as_bytes()).await?;
        read(&mut stream).await
    });
    Observed::Known(match exchanged.await {
        Ok(Ok(bytes)) => answer(&bytes),
        Ok(Err(error)) => Answer::NotHttp(format!("hangs up: {error}")),
        Err(_) => Answer::Silent(seconds),
    })
}

/// Up to the end of what is sent, or of the limit.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(MOST).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// What a failed connect says. What our own sandbox forbids says nothing of the node.
fn unconnected(error: &io::Error) -> Observed<Answer> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Observed::Known(Answer::Refused),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => Observed::Known(Answer::NoRoute(words(error))),
        _ => Observed::Unknown(Blind::new(format!("cannot connect: {}", words(error)))),
    }
}

/// The kernel's words without the number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let Some(status) = status else {
        return Answer::NotHttp(if bytes.is_empty() { "hangs up without an answer".to_owned() } else { "answers something else than HTTP".to_owned() });
    };
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    // A chunked body begins with the length of its first chunk.
    let chunked = text.split_once("\r\n\r\n").is_some_and(|(head, _)| head.to_ascii_lowercase().contains("transfer-encoding: chunked"));
    let line = body.lines().nth(usize::from(chunked)).unwrap_or_default();
    let mut line: String = line.chars().filter(|c| !c.is_control()).collect();
    line.truncate(line.floor_char_boundary(Answer::MOST));
    Answer::Http { status, body: line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_http_is_told_and_the_rest_is_cut() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Answer::Http { status: 200, body: "ok".to_owned() });
        assert_eq!(answer(b"HTTP/1.0 500 Oh\r\n\r\nno\x1b[0m\nmore"), Answer::Http { status: 500, body: "no[0m".to_owned() });
        assert_eq!(
            answer(b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhung\r\n0\r\n\r\n"),
            Answer::Http { status: 503, body: "hung".to_owned() }
        );
        assert!(matches!(answer(b"SSH-2.0-OpenSSH_9.2\r\n"), Answer::NotHttp(_)));
        assert!(matches!(answer(b""), Answer::NotHttp(_)));
        assert!(matches!(answer(b"HTTP/1.\xff\xff\xff\xff"), Answer::NotHttp(_)));
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "ä".repeat(4000).into_bytes()].concat();
        let Answer::Http { body, .. } = answer(&long) else { panic!("it is HTTP") };
        assert!(body.len() <= Answer::MOST, "{}", body.len());
    }
}
