//! A WebSocket that one task owns.
//!
//! The frames are tungstenite's; who waits for what is decided here. Reading never waits for writing: what is to be sent is put into a
//! buffer that is emptied whenever there is nothing to read, so one task serves both directions and a burst goes out in one system
//! call. And an idle connection holds next to nothing: the buffers of a large message are given back when it is gone.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::close::Close;

/// What is read at once, and what an idle connection keeps for it.
const READ_BUFFER: usize = 4096;

/// With so much to be sent, sending comes before reading and before sealing more.
const SEND_FIRST: usize = 64 << 10;

/// What has waited so long is sent before more is read: whoever sends one message after another, each of which takes its time, would
/// hear nothing otherwise as long as it does.
const LATE: Duration = Duration::from_millis(5);

/// A buffer for sending that has grown beyond this is given back when it is empty.
const KEEP: usize = 4096;

/// A reason fits one control frame.
const LONGEST_REASON: usize = 123;

/// A WebSocket, the server's side of it.
pub(crate) struct Socket<S> {
    stream: S,
    protocol: WebSocketContext,
    out: Out,
    /// The last large message: while it is held, what is read next gets a small buffer of its own.
    large: Option<Bytes>,
}

/// What is to be sent.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    sent: usize,
    /// Since when something waits, if something does.
    since: Option<Instant>,
    /// How many bytes were sent in all: it moves while the other end reads.
    progress: u64,
}

impl Out {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn is_late(&self) -> bool {
        self.waiting() > 0 && self.since.is_some_and(|since| since.elapsed() >= LATE)
    }

    fn put(&mut self, header: &FrameHeader, payload: &[u8]) {
        self.since.get_or_insert_with(Instant::now);
        // Writing to a vector does not fail.
        let _ = header.format(payload.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(payload);
    }
}

/// What tungstenite reads from and writes to: the stream as far as it is ready, and the buffer.
struct Bridge<'a, 'c, 'w, S> {
    stream: &'a mut S,
    out: &'a mut Out,
    cx: &'c mut Context<'w>,
}

impl<S: AsyncRead + Unpin> Read for Bridge<'_, '_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut buf) {
            Poll::Ready(Ok(())) => Ok(buf.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S> Write for Bridge<'_, '_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket after its upgrade, and what was read beyond that. No message may be longer than `longest` bytes.
    pub(crate) fn new(stream: S, read: Vec<u8>, longest: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let protocol = WebSocketContext::from_partially_read(read, Role::Server, Some(config));
        Self { stream, protocol, out: Out::default(), large: None }
    }

    /// No message may be longer than this from now on.
    pub(crate) fn allow(&mut self, longest: usize) {
        self.protocol.set_config(|config| {
            config.max_message_size = Some(longest);
            config.max_frame_size = Some(longest);
        });
    }

    /// The next message; what is to be sent is sent meanwhile. Nothing is lost if this is dropped.
    pub(crate) async fn read(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.read_or_room().await? {
                return Ok(message);
            }
        }
    }

    /// The same; `None` when there was no room before and is again, for who has more to send. They are to [read](Self::read_now) before
    /// they put more in: otherwise nothing is read as long as there is more.
    pub(crate) async fn read_or_room(&mut self) -> Result<Option<Message>, Error> {
        let was_full = !self.has_room();
        let turn = |cx: &mut Context<'_>| -> Poll<Result<Option<Message>, Error>> {
            if was_full {
                ready!(self.poll_send(cx))?;
                return Poll::Ready(Ok(None));
            }
            self.poll_read(cx).map_ok(Some)
        };
        std::future::poll_fn(turn).await
    }

    /// The next message if it is there.
    pub(crate) async fn read_now(&mut self) -> Result<Option<Message>, Error> {
        std::future::poll_fn(|cx| match self.poll_read(cx) {
            Poll::Ready(read) => Poll::Ready(read.map(Some)),
            Poll::Pending => Poll::Ready(Ok(None)),
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        if self.out.is_late() {
            let _ = self.poll_send(cx)?;
        }
        let mut bridge = Bridge { stream: &mut self.stream, out: &mut self.out, cx };
        let read = self.protocol.read(&mut bridge);
        self.large = None;
        match read {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.out.waiting() > 0 {
                    // Whatever comes of it, reading goes on when there is something to read.
                    let _ = self.poll_send(cx)?;
                }
                Poll::Pending
            }
            Ok(Message::Binary(payload)) if payload.len() > READ_BUFFER => {
                self.large = Some(payload.clone());
                Poll::Ready(Ok(Message::Binary(payload)))
            }
            other => Poll::Ready(other),
        }
    }

    /// Sends what is to be sent.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx)).await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.waiting() > 0 {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out.bytes[self.out.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.sent += sent;
            self.out.progress += sent as u64;
        }
        self.out.sent = 0;
        self.out.since = None;
        if self.out.bytes.capacity() > KEEP {
            self.out.bytes = Vec::new();
        } else {
            self.out.bytes.clear();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Whether more may be put in before it is sent.
    pub(crate) fn has_room(&self) -> bool {
        self.out.waiting() < SEND_FIRST
    }

    /// What waits to be sent, and how much was sent so far.
    pub(crate) fn progress(&self) -> (usize, u64) {
        (self.out.waiting(), self.out.progress)
    }

    /// Puts a text message into what is to be sent.
    pub(crate) fn put_text(&mut self, text: &[u8]) {
        self.out.put(&header(Data::Text), text);
    }

    /// Puts a binary message into what is to be sent.
    pub(crate) fn put_binary(&mut self, bytes: &[u8]) {
        self.out.put(&header(Data::Binary), bytes);
    }

    /// Puts a ping into what is to be sent.
    pub(crate) fn put_ping(&mut self) {
        let header = FrameHeader {
            opcode: OpCode::Control(tokio_tungstenite::tungstenite::protocol::frame::coding::Control::Ping),
            ..FrameHeader::default()
        };
        self.out.put(&header, &[]);
    }

    /// Ends the connection: tells the other end why, and waits a little, `patience` at most, for it to end too. What it still sends is dropped, but read: a
    /// socket that is closed with something unread takes back what was sent.
    pub(crate) async fn close(&mut self, close: &Close, patience: Duration) {
        let frame = CloseFrame { code: CloseCode::from(close.code), reason: shortened(&close.reason).into() };
        let put = std::future::poll_fn(|cx| {
            let mut bridge = Bridge { stream: &mut self.stream, out: &mut self.out, cx };
            // An answer, if the other end was first. What cannot be said any more need not be.
            let _ = self.protocol.close(&mut bridge, Some(frame.clone()));
            Poll::Ready(())
        });
        put.await;
        let _ = tokio::time::timeout(patience, self.part()).await;
    }

    async fn part(&mut self) -> io::Result<()> {
        self.send().await?;
        self.stream.shutdown().await?;
        let mut dropped = vec![0; READ_BUFFER];
        while self.stream.read(&mut dropped).await? > 0 {}
        Ok(())
    }
}

fn header(data: Data) -> FrameHeader {
    FrameHeader { opcode: OpCode::Data(data), ..FrameHeader::default() }
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;

    use super::*;

    const LONGEST: usize = 65_535;

    async fn pair(capacity: usize) -> (Socket<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (server, client) = tokio::io::duplex(capacity);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (Socket::new(server, Vec::new(), LONGEST), client)
    }

    #[tokio::test]
    async fn messages_pass_both_ways_and_pings_are_answered() {
        let (mut server, mut client) = pair(1 << 20).await;
        client.send(Message::Ping("there?".into())).await.expect("sent");
        client.send(Message::binary(vec![7; LONGEST])).await.expect("sent");
        client.send(Message::text("hello")).await.expect("sent");
        assert_eq!(server.read().await.expect("read"), Message::Ping("there?".into()));
        assert_eq!(server.read().await.expect("read").len(), LONGEST);
        assert_eq!(server.read().await.expect("read"), Message::text("hello"));
        server.put_text(b"one");
        server.put_binary(&vec![9; 70_000]);
        server.put_ping();
        server.send().await.expect("sent");
        let mut got = Vec::new();
        for _ in 0..4 {
            got.push(client.next().await.expect("open").expect("read"));
        }
        let expected =
            [Message::Pong("there?".into()), Message::text("one"), Message::binary(vec![9; 70_000]), Message::Ping(Bytes::new())];
        assert_eq!(got, expected);
        assert_eq!((server.out.waiting(), server.out.bytes.capacity()), (0, 0), "given back");
    }

    /// Each message takes its time, and the next one is always there already.
    #[tokio::test]
    async fn who_sends_without_a_rest_is_answered_meanwhile() {
        let (mut server, mut client) = pair(1 << 20).await;
        for _ in 0..100 {
            client.send(Message::text("and another thing")).await.expect("sent");
        }
        let mut answered = 0;
        for _ in 0..100 {
            server.read().await.expect("read");
            server.put_text(b"no");
            tokio::time::sleep(LATE).await;
            answered += usize::from(futures_util::FutureExt::now_or_never(client.next()).is_some());
        }
        assert!(answered > 90, "{answered} of 100");
    }

    #[tokio::test]
    async fn too_long_a_message_is_refused_before_it_is_there() {
        let (mut server, mut client) = pair(1 << 20).await;
        server.allow(1000);
        client.send(Message::binary(vec![7; 1001])).await.expect("sent");
        assert!(matches!(server.read().await, Err(Error::Capacity(_))));
    }

    #[tokio::test]
    async fn a_close_arrives_although_the_other_end_still_sends() {
        let (mut server, mut client) = pair(1 << 20).await;
        for _ in 0..10 {
            client.send(Message::text("and another thing")).await.expect("sent");
        }
        let reason = "ü".repeat(80);
        let end = async { server.close(&Close::new(Close::POLICY, reason), Duration::from_secs(5)).await };
        let (got, ()) = tokio::join!(client.next(), end);
        let Some(Ok(Message::Close(Some(frame)))) = got else { panic!("{got:?}") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "ü".repeat(61).as_str()));
    }

    #[tokio::test]
    async fn who_has_more_to_send_hears_when_there_is_room_again() {
        let (mut server, mut client) = pair(1 << 10).await;
        server.put_binary(&vec![1; 2 * SEND_FIRST]);
        let (room, got) = tokio::join!(server.read_or_room(), client.next());
        assert!(matches!(room, Ok(None)) && got.is_some_and(|got| got.is_ok()), "{room:?}");
        assert!(server.has_room());
    }

    #[tokio::test]
    async fn an_end_that_does_not_read_holds_up_nobody() {
        let (mut server, client) = pair(64).await;
        server.put_binary(&vec![1; 2 * SEND_FIRST]);
        assert!(!server.has_room());
        assert!(futures_util::FutureExt::now_or_never(server.read()).is_none());
        let (waiting, sent) = server.progress();
        assert!(waiting > SEND_FIRST && sent == 64);
        drop(client);
        assert!(server.read().await.is_err());
    }
}
