//! Handing a request over to a connection that may be ending.

#![expect(clippy::disallowed_types, reason = "of one connection, held while its channel is pushed to or dropped")]

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use pin_project::{pin_project, pinned_drop};

/// Orders the requests that are handed over to a connection's task before or after the end of that
/// task.
///
/// hyper sends them through a channel of tokio's. A message that is being pushed while the receiver
/// is dropped stays in the channel until the last sender is dropped, too. The request that waits for
/// its answer holds a sender, so it would wait for itself, until its deadline.
#[derive(Clone, Debug, Default)]
pub(super) struct Handover(Arc<Mutex<()>>);

impl Handover {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request over by this call.
    pub(super) fn send<T>(&self, send: impl FnOnce() -> T) -> T {
        let _sending = self.lock();
        send()
    }

    /// Wraps the future of a connection, which owns the receiver.
    pub(super) const fn drive<C>(self, connection: C) -> Driven<C> {
        Driven { connection: Some(connection), handover: self }
    }
}

/// The future of a connection, dropped while no request is being handed over.
#[pin_project(PinnedDrop)]
pub(super) struct Driven<C> {
    #[pin]
    connection: Option<C>,
    handover: Handover,
}

impl<C: Future> Future for Driven<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.project().connection.as_pin_mut().map_or(Poll::Pending, |connection| connection.poll(cx))
    }
}

#[pinned_drop]
impl<C> PinnedDrop for Driven<C> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _ending = this.handover.lock();
        this.connection.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Ready, ready},
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;

    /// A connection that counts how often it was dropped while requests could be handed over.
    struct Ending(Handover, Arc<AtomicUsize>, Ready<()>);

    impl Future for Ending {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            Pin::new(&mut self.2).poll(cx)
        }
    }

    impl Drop for Ending {
        fn drop(&mut self) {
            self.1.fetch_add(1 + 10 * usize::from(self.0.0.try_lock().is_ok()), SeqCst);
        }
    }

    #[tokio::test]
    async fn a_connection_ends_while_no_request_is_handed_over() {
        let (handover, dropped) = (Handover::default(), Arc::<AtomicUsize>::default());
        let connection = || Ending(handover.clone(), dropped.clone(), ready(()));
        let driven = || handover.clone().drive(connection());
        driven().await;
        tokio::spawn(driven()).await.unwrap();
        drop(driven());
        assert_eq!(dropped.load(SeqCst), 3);
        assert!(handover.send(|| handover.0.try_lock().is_err()));
        assert!(handover.0.try_lock().is_ok());
    }
}
