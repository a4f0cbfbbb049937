//! The sockets: accepts, refuses and resets connections, and observes when data has been sent.

use super::link::Link;
use super::record::Record;
use super::serve::serve;
use super::shared::Shared;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

const BACKLOG: u32 = 4096;
/// The pause after a failed accept, which may fail repeatedly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);

/// A socket that counts flushes and controls how it is closed.
#[derive(Debug)]
struct Wire {
    socket: TcpStream,
    link: Arc<Link>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.link.is_reset() {
            // On failure the peer sees a close instead of a reset, which cannot be reported.
            let _ = self.socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Counts a flush. hyper flushes the socket when its own buffer is empty, so all data has been sent.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        if self.link.flushed() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.is_reset() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A command to open or close the port, and the channel for its completion.
pub(super) type Command = (bool, oneshot::Sender<io::Result<()>>);

/// Accepts connections until the commands end; then they all close. `is_shared` says how the port was bound.
pub(super) async fn listen(
    mut listener: TcpListener,
    addr: SocketAddr,
    is_shared: bool,
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut lives = watch::Sender::new(());
    loop {
        let command = tokio::select! {
            accepted = listener.accept() => {
                // An accept fails for a single connection, or when file descriptors run out.
                let Ok((socket, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let _ = socket.set_nodelay(true);
                let open = Open::count(&shared.record);
                tokio::spawn(connection(socket, open, Arc::clone(&shared), lives.subscribe()));
                continue;
            }
            command = commands.recv() => command,
        };
        let Some((up, done)) = command else { return };
        if up {
            let _ = done.send(Ok(()));
            continue;
        }
        // A shared port is bound before the listener goes, so that no other program gets it.
        let early = is_shared.then(|| bind(addr, true));
        drop(listener);
        lives = watch::Sender::new(());
        let held = early.unwrap_or_else(|| bind(addr, false));
        let _ = done.send(held.as_ref().map(|_| ()).map_err(|e| e.kind().into()));
        match refuse(held, addr, is_shared, &mut commands).await {
            Some(again) => listener = again,
            None => return,
        }
    }
}

/// Listens on the port, or on a free one if it is 0.
pub(super) fn listener(port: u16) -> io::Result<TcpListener> {
    bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), is_shared(port))?.listen(BACKLOG)
}

/// Whether several sockets of this program may bind the port: only if the system chooses it. A second program on a
/// configured port fails to start.
pub(super) const fn is_shared(port: u16) -> bool {
    cfg!(unix) && port == 0
}

/// Binds the port. Until the socket listens, connections are refused.
///
/// A shared port can be bound beside its listener, and no other program can use it. `SO_REUSEADDR`, which other ports
/// have for the sake of old connections, would let another program listen on it.
fn bind(addr: SocketAddr, is_shared: bool) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    #[cfg(unix)]
    socket.set_reuseport(is_shared)?;
    socket.set_reuseaddr(!is_shared)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Refuses connections until a command opens the port.
async fn refuse(
    mut held: io::Result<TcpSocket>,
    addr: SocketAddr,
    is_shared: bool,
    commands: &mut mpsc::Receiver<Command>,
) -> Option<TcpListener> {
    loop {
        let (up, done) = commands.recv().await?;
        if !up {
            let _ = done.send(Ok(()));
            continue;
        }
        match held.and_then(|socket| socket.listen(BACKLOG)) {
            Ok(listener) => {
                let _ = done.send(Ok(()));
                return Some(listener);
            }
            Err(error) => {
                let _ = done.send(Err(error));
                held = bind(addr, is_shared);
            }
        }
    }
}

/// Counts an open connection until its task ends.
struct Open {
    record: Arc<Record>,
    link: Arc<Link>,
}

impl Open {
    fn count(record: &Arc<Record>) -> Self {
        let link = Arc::new(Link::new(record.connected()));
        Self { record: Arc::clone(record), link }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.record.disconnected();
    }
}

async fn connection(socket: TcpStream, open: Open, shared: Arc<Shared>, mut life: watch::Receiver<()>) {
    let link = &open.link;
    let wire = Wire { socket, link: Arc::clone(link) };
    let service = service_fn(|request: http::Request<Incoming>| serve(Arc::clone(&shared), Arc::clone(link), request));
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        // The connection ends with an error because of a fault or a disconnect, and both are recorded.
        _ = serving.as_mut() => {}
        _ = life.changed() => link.stop(),
    }
}
