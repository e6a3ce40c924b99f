//! What a connection says first: an HTTP request, which asks to become a WebSocket or is answered and done.
//!
//! There is one place, `/`. `/_healthz` answers probes of the same machine, as the Python node's does.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue, SEC_WEBSOCKET_VERSION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// What probes ask for.
const HEALTH: &str = "/_healthz";

/// Request line and headers together, in bytes: an address holds an access key, and browsers send cookies.
const LARGEST_HEAD: usize = 16 << 10;

/// A connection that has become a WebSocket.
pub(crate) struct Upgraded<S> {
    pub(crate) stream: S,
    /// What was read beyond the request.
    pub(crate) read: Vec<u8>,
    /// The query of its address.
    pub(crate) query: String,
}

type Body = String;

/// Reads the request and answers it. `None` if it was another one than to become a WebSocket, and is done.
///
/// # Errors
/// If the connection broke, or what came was not HTTP or not there in time.
pub(crate) async fn upgrade<S>(stream: S, address: IpAddr, head_time: Duration) -> hyper::Result<Option<Upgraded<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(OnceLock::new());
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request: Request<Incoming>| {
            let response = answer(&request, address);
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let _ = asked.set(request.uri().query().unwrap_or_default().to_owned());
            }
            std::future::ready(Ok::<_, Infallible>(response))
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(LARGEST_HEAD.max(8192))
        .serve_connection(TokioIo::new(stream), service);
    let parts = connection.without_shutdown().await?;
    let Some(query) = asked.get() else { return Ok(None) };
    Ok(Some(Upgraded { stream: parts.io.into_inner(), read: parts.read_buf.into(), query: query.clone() }))
}

fn answer(request: &Request<Incoming>, address: IpAddr) -> Response<Body> {
    let mut response = match request.uri().path() {
        "/" if request.method() == Method::GET => match create_response_with_body(request, String::new) {
            Ok(response) => return response,
            Err(error) => no_upgrade(&error),
        },
        HEALTH if request.method() == Method::GET && address.to_canonical().is_loopback() => {
            let mut response = status(StatusCode::NO_CONTENT);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        "/" => {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            response
        }
        _ => status(StatusCode::NOT_FOUND),
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn no_upgrade(error: &Error) -> Response<Body> {
    if !matches!(error, Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) {
        let mut response = status(StatusCode::BAD_REQUEST);
        "HiveMind satellites connect here by WebSocket\n".clone_into(response.body_mut());
        return response;
    }
    let mut response = status(StatusCode::UPGRADE_REQUIRED);
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    async fn ask(from: IpAddr, request: &str) -> (String, Option<Upgraded<DuplexStream>>) {
        let (server, mut client) = tokio::io::duplex(1 << 20);
        client.write_all(request.as_bytes()).await.expect("written");
        let upgraded = upgrade(server, from, Duration::from_secs(60)).await.expect("answered");
        let mut answer = vec![0; 4096];
        let read = client.read(&mut answer).await.expect("an answer");
        answer.truncate(read);
        (String::from_utf8(answer).expect("text"), upgraded)
    }

    fn request(line: &str, headers: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: node\r\n{headers}\r\n")
    }

    #[tokio::test]
    async fn only_the_root_is_a_websocket() {
        let headers = format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n{KEY}");
        let asked = request("GET /?authorization=YTpi", &headers) + "\u{1}\u{2}";
        let (answer, upgraded) = ask(FAR, &asked).await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        let upgraded = upgraded.expect("a WebSocket");
        assert_eq!((upgraded.query.as_str(), upgraded.read.as_slice()), ("authorization=YTpi", [1, 2].as_slice()));
        for (from, line, headers, expected) in [
            (FAR, "GET /other", headers.as_str(), "404"),
            (FAR, "GET /", "", "400"),
            (FAR, "POST /", "", "405"),
            (FAR, "GET /", &headers.replace("13", "8"), "426"),
            (FAR, "GET /_healthz", "", "404"),
            (LOCAL, "GET /_healthz", "", "204"),
            (LOCAL, "POST /_healthz", "", "404"),
        ] {
            let (answer, upgraded) = ask(from, &request(line, headers)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{line} {headers}: {answer}");
            assert!(upgraded.is_none() && answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_or_never_ends_is_not_waited_for() {
        let (answer, _) = {
            let (server, mut client) = tokio::io::duplex(1 << 20);
            let large = request("GET /", &format!("Cookie: {}\r\n", "x".repeat(LARGEST_HEAD)));
            client.write_all(large.as_bytes()).await.expect("written");
            let ended = upgrade(server, FAR, Duration::from_secs(60)).await;
            let mut answer = String::new();
            let _ = client.read_to_string(&mut answer).await;
            (answer, ended)
        };
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let (server, mut client) = tokio::io::duplex(1 << 20);
        client.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("written");
        let Err(error) = upgrade(server, FAR, Duration::from_millis(50)).await else { panic!("not a request yet") };
        assert!(error.is_timeout(), "{error}");
    }
}
