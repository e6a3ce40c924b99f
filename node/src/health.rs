//! `/metrics` and `/_healthz`, on a loopback address alone: they tell who is connected how often, and ask nobody for a password.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::server::Health;

/// Questions at once. Those of a monitor come one by one.
const AT_ONCE: usize = 16;

/// How long a question may take to be asked.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// How the node is, as it was when it was last looked at.
#[derive(Debug, Default)]
pub struct Vital(Mutex<Option<Health>>);

impl Vital {
    /// Remembers how it is.
    pub fn set(&self, health: Health) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    /// How it was.
    #[must_use]
    pub fn get(&self) -> Option<Health> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What answers. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and answers, on the current runtime.
    ///
    /// # Errors
    /// What the system said; `invalid input` for an address that others can reach.
    pub async fn start(address: SocketAddr, metrics: Arc<Metrics>, vital: Arc<Vital>) -> io::Result<Self> {
        if !address.ip().to_canonical().is_loopback() {
            let message = format!("expected a loopback address, found {}", address.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, metrics, vital));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>, vital: Arc<Vital>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Taken first, so that those who do not ask wait in the system's queue and not here.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // No more files, for example: they come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, vital) = (Arc::clone(&metrics), Arc::clone(&vital));
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &metrics, &vital);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            let _ = tokio::time::timeout(PATIENCE * 3, connection).await;
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, metrics: &Arc<Metrics>, vital: &Vital) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
        }
        (&Method::GET | &Method::HEAD, "/_healthz") => {
            let (status, body) = health(vital.get());
            (status, "application/json", body)
        }
        (_, "/metrics" | "/_healthz") => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "/metrics or /_healthz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A node whose storage or agent is away still serves whoever is connected, and restarting it would not help: that is `degraded`, and an
/// answer all the same. Only one that does not listen is not there.
fn health(health: Option<Health>) -> (StatusCode, String) {
    let Some(health) = health.filter(|h| h.listening) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"down\"}\n".to_owned());
    };
    let status = if health.agent && health.storage { "ok" } else { "degraded" };
    let Health { agent, storage, connections, satellites, .. } = health;
    let body = format!(
        "{{\"status\":\"{status}\",\"storage\":{storage},\"agent\":{agent},\"connections\":{connections},\"satellites\":{satellites}}}\n"
    );
    (StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn it_answers_on_loopback_and_nowhere_else() {
        let (metrics, vital) = (Arc::new(Metrics::default()), Arc::new(Vital::default()));
        let outside = Server::start(([0, 0, 0, 0], 0).into(), Arc::clone(&metrics), Arc::clone(&vital)).await;
        assert!(outside.is_err_and(|e| e.kind() == io::ErrorKind::InvalidInput));
        let server = Server::start(([127, 0, 0, 1], 0).into(), metrics, Arc::clone(&vital)).await.expect("started");
        let at = server.address();
        assert!(ask(at, "GET /_healthz HTTP/1.1").await.starts_with("HTTP/1.1 503 "));
        vital.set(Health { listening: true, agent: false, storage: true, connections: 3, satellites: 2 });
        let degraded = ask(at, "GET /_healthz HTTP/1.1").await;
        assert!(
            degraded.starts_with("HTTP/1.1 200 ")
                && degraded.contains("\"status\":\"degraded\"")
                && degraded.contains("\"connections\":3")
        );
        let metrics = ask(at, "GET /metrics HTTP/1.1").await;
        assert!(metrics.contains("application/openmetrics-text") && metrics.contains("hivemind_storage_up 1"));
        assert!(ask(at, "POST /metrics HTTP/1.1").await.starts_with("HTTP/1.1 405 "));
        assert!(ask(at, "GET / HTTP/1.1").await.starts_with("HTTP/1.1 404 "));
    }

    /// Those who connect and ask nothing do not keep others out for ever.
    #[tokio::test]
    async fn silent_connections_are_given_up() {
        let server = Server::start(([127, 0, 0, 1], 0).into(), Arc::default(), Arc::default()).await.expect("started");
        let mut silent = Vec::new();
        for _ in 0..AT_ONCE {
            silent.push(TcpStream::connect(server.address()).await.expect("connected"));
        }
        assert!(ask(server.address(), "GET /metrics HTTP/1.1").await.contains("200 OK"));
    }
}
