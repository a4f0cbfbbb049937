//! Connections: accepted up to a bound, cut off when their heads are slow, drained in good order.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use berry_tower::error::BoxError;

use http_body_util::Either;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};

use crate::http::connection::{Connection, Serving};

/// The most that is read of a request at once, so also the longest head that is read at all. A long
/// conversation comes in one piece then, which nobody has to join.
const MAX_READ: usize = 400 * 1024;
/// The most headers that are read at all. What is above the gateway's own bound is refused in its
/// own error shape, so this one is wider. Not by more, since room for so many is made for every
/// request.
const MAX_HEADERS: usize = 512;

/// Accepts connections until `closing` becomes true, then waits for those that are open. Each request is answered by
/// `answer`.
pub(crate) async fn serve<A, F, B, O>(
    listener: TcpListener,
    answer: A,
    max_connections: usize,
    mut closing: watch::Receiver<bool>,
) where
    A: Fn(http::Request<Either<Incoming, B>>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<http::Response<O>, Infallible>> + Send + 'static,
    B: 'static,
    O: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { break };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        let (answer, serving) = (answer.clone(), Serving::default());
        let connection = Connection::new(stream, serving.clone());
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            serving.begin();
            request.extensions_mut().insert(serving.clone());
            answer(request.map(Either::Left))
        });
        let connection = http1::Builder::new()
            // The connection has its own, which take no timer for each request.
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_READ)
            .serve_connection(TokioIo::new(connection), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The next connection, with its place; `None` when the listener is broken for good.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // Without a place the next ones wait in the accept queue.
    let place = places.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of files, most likely: they come back as connections end.
                tracing::error!(%error, "connections cannot be accepted; trying again in a second");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
