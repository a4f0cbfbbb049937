//! A client connection that gives a test control over every byte.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Ask, Reply};

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
    Ended,
}

/// A connection to the gateway, kept open between requests.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    buffer: BytesMut,
    framing: Framing,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Returns the error of the connection attempt.
    pub async fn open(addr: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: BytesMut::with_capacity(16 * 1024), framing: Framing::Ended })
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    /// Fails when the gateway has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends a request and reads the whole response. A body that breaks off is reported by
    /// [`Reply::whole`].
    ///
    /// # Errors
    /// Fails when no response head arrives.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Reply> {
        self.send(&ask.bytes()).await?;
        let mut reply = self.head().await?;
        if ask.is_head() {
            self.framing = Framing::Ended;
            reply.whole = true;
            return Ok(reply);
        }
        self.rest(&mut reply).await;
        Ok(reply)
    }

    /// Reads the head of a response.
    ///
    /// # Errors
    /// Fails when the connection closes or the head is not HTTP.
    pub async fn head(&mut self) -> Result<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let head = self.buffer.split_to(end + 4);
        let text = std::str::from_utf8(&head).map_err(|_| invalid("the response head is not text"))?;
        let mut lines = text.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .ok_or_else(|| invalid("the status line is invalid"))?;
        let status: StatusCode = status.parse().map_err(|_| invalid("the status line is invalid"))?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header line is invalid"))?;
            let name: HeaderName = name.parse().map_err(|_| invalid("a header name is invalid"))?;
            headers
                .append(name, HeaderValue::from_str(value.trim()).map_err(|_| invalid("a header value is invalid"))?);
        }
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        self.framing = match (text("content-length").and_then(|n| n.parse().ok()), text("transfer-encoding")) {
            _ if status.is_informational() => Framing::Ended,
            (Some(0), _) => Framing::Ended,
            (Some(length), _) => Framing::Length(length),
            (None, Some(_)) => Framing::Chunked,
            (None, None) => Framing::UntilClosed,
        };
        Ok(Reply { status, headers, body: Vec::new(), whole: self.framing == Framing::Ended })
    }

    /// Reads the rest of the body.
    pub async fn rest(&mut self, reply: &mut Reply) {
        while self.more(reply).await {}
    }

    /// Reads until the body contains the text. Returns false when the body ends without it.
    pub async fn until(&mut self, reply: &mut Reply, text: &str) -> bool {
        while !reply.text().contains(text) {
            if !self.more(reply).await {
                return false;
            }
        }
        true
    }

    /// Reads the next part of the body. Returns whether more may follow.
    pub async fn more(&mut self, reply: &mut Reply) -> bool {
        match self.piece(&mut reply.body).await {
            Ok(true) => true,
            Ok(false) => {
                reply.whole = true;
                false
            }
            Err(_) => {
                reply.whole = false;
                false
            }
        }
    }

    async fn piece(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        match self.framing {
            Framing::Ended => Ok(false),
            Framing::Length(left) => {
                if self.buffer.is_empty() {
                    self.fill().await?;
                }
                let n = left.min(self.buffer.len());
                body.extend_from_slice(&self.buffer.split_to(n));
                self.framing = if left == n { Framing::Ended } else { Framing::Length(left - n) };
                Ok(left > n)
            }
            Framing::UntilClosed => {
                body.extend_from_slice(&self.buffer.split());
                match self.fill().await {
                    Ok(()) => Ok(true),
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
                    Err(e) => Err(e),
                }
            }
            Framing::Chunked => {
                let size = self.line().await?;
                let size = usize::from_str_radix(&size, 16).map_err(|_| invalid("a chunk size is invalid"))?;
                while self.buffer.len() < size + 2 {
                    self.fill().await?;
                }
                body.extend_from_slice(&self.buffer.split_to(size));
                self.buffer.advance(2);
                if size == 0 {
                    self.framing = Framing::Ended;
                }
                Ok(size > 0)
            }
        }
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the gateway closes the connection, and discards what arrives before.
    pub async fn closed(&mut self) {
        while self.fill().await.is_ok() {
            self.buffer.clear();
        }
    }

    /// Sends a request while it waits for the response, for a request that exceeds the socket buffers.
    ///
    /// # Errors
    /// Fails when no response head arrives.
    pub async fn ask_at_length(&mut self, bytes: Vec<u8>) -> Result<Reply> {
        let (mut reader, mut writer) = self.socket.split();
        let mut buffer = BytesMut::new();
        let send = async {
            for piece in bytes.chunks(256 * 1024) {
                if writer.write_all(piece).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let read = async { reader.read_buf(&mut buffer).await };
        tokio::select! {
            read = read => { read?; }
            () = send => {}
        }
        self.buffer.unsplit(buffer);
        // The response has begun, so the rest of the request is not sent.
        let mut reply = self.head().await?;
        self.rest(&mut reply).await;
        Ok(reply)
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
