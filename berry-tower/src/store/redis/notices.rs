//! Messages between the processes, over a channel of the store. Nothing waits for them.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_core::Stream;
use redis::{Client, Msg, RedisError, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, sleep, timeout},
};

use super::{
    config::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT},
    connection::reason,
};
use crate::store::{Notice, NoticeListener};

/// The number of messages that wait to be sent; more are dropped.
const QUEUE: usize = 256;
/// The time between two messages by which a process finds out whether it still hears the channel.
const ECHO: Duration = Duration::from_secs(5);
/// A channel on which nothing was heard for this long is opened anew.
const SILENCE: Duration = Duration::from_secs(15);
/// The wait before a channel is opened anew.
const REOPEN: Duration = Duration::from_secs(1);
/// The topic of the messages that a process sends itself.
const ECHO_TOPIC: &str = "echo";

type Listeners = Arc<ArcSwap<Vec<Arc<NoticeListener>>>>;

/// The channel, which is opened when it is first used.
pub(super) struct Notices {
    route: Route,
    runtime: Handle,
    listeners: Listeners,
    outbox: OnceLock<Sender<Notice>>,
}

/// The channel and who speaks on it.
#[derive(Clone)]
struct Route {
    /// Each node of a cluster passes messages on to all others, so that any of them will do.
    nodes: Arc<[Client]>,
    channel: Arc<str>,
    process: Arc<str>,
}

impl Notices {
    pub(super) fn new(nodes: Vec<Client>, prefix: &str, process: &str, runtime: Handle) -> Self {
        // Channels are common to all databases of a server, counters are not.
        let database = nodes.first().map_or(0, |node| node.get_connection_info().redis_settings().db());
        let channel = format!("{prefix}:{database}:notices").into();
        let route = Route { nodes: nodes.into(), channel, process: process.into() };
        Self { route, runtime, listeners: Listeners::default(), outbox: OnceLock::new() }
    }

    fn outbox(&self) -> &Sender<Notice> {
        self.outbox.get_or_init(|| {
            let (sender, outbox) = channel(QUEUE);
            self.runtime.spawn(run(self.route.clone(), outbox, self.listeners.clone()));
            sender
        })
    }

    pub(super) fn announce(&self, notice: Notice) {
        // A message that finds no place may be lost, like any other.
        let _ = self.outbox().try_send(notice);
    }

    pub(super) fn listen(&self, listener: NoticeListener) {
        let listener = Arc::new(listener);
        self.listeners.rcu(|all| all.iter().cloned().chain([listener.clone()]).collect::<Vec<_>>());
        self.outbox();
    }
}

/// Why a channel was closed.
enum Closed {
    /// The store was dropped.
    Ended,
    Failed(RedisError),
    Silent,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the store was dropped"),
            Self::Failed(error) => f.write_str(&reason(error)),
            Self::Silent => f.write_str("it does not answer in time"),
        }
    }
}

impl From<RedisError> for Closed {
    fn from(error: RedisError) -> Self {
        Self::Failed(error)
    }
}

/// Keeps the channel open until the store is dropped.
async fn run(route: Route, mut outbox: Receiver<Notice>, listeners: Listeners) {
    let mut was_open = true;
    for node in route.nodes.iter().cycle() {
        let opened = Instant::now();
        let Err(closed) = converse(node, &route, &mut outbox, &listeners).await else { return };
        if matches!(closed, Closed::Ended) {
            return;
        }
        // One line for each outage.
        if was_open || opened.elapsed() > SILENCE {
            tracing::info!(reason = %closed, "replicas do not hear of each other's backends and keys at once");
        }
        was_open = false;
        sleep(REOPEN).await;
        // What was to be said meanwhile is old.
        while outbox.try_recv().is_ok() {}
        if outbox.is_closed() {
            return;
        }
    }
}

async fn in_time<T>(limit: Duration, future: impl Future<Output = Result<T, RedisError>> + Send) -> Result<T, Closed> {
    timeout(limit, future).await.map_err(|_| Closed::Silent)?.map_err(Closed::Failed)
}

/// What has happened on an open channel.
enum Event {
    Heard(Option<Msg>),
    Send(Option<Notice>),
    Pause,
}

/// Sends and hears messages until the channel fails.
async fn converse(
    node: &Client,
    route: &Route,
    outbox: &mut Receiver<Notice>,
    listeners: &Listeners,
) -> Result<(), Closed> {
    let mut speaking = in_time(CONNECT_TIMEOUT, node.get_multiplexed_async_connection()).await?;
    let mut hearing = in_time(CONNECT_TIMEOUT, node.get_async_pubsub()).await?;
    in_time(RESPONSE_TIMEOUT, hearing.subscribe(&*route.channel)).await?;
    let mut messages = hearing.into_on_message();
    let (mut heard, mut echoed) = (Instant::now(), Instant::now());
    loop {
        let next = poll_fn(|cx| {
            if let std::task::Poll::Ready(message) = Pin::new(&mut messages).poll_next(cx) {
                return std::task::Poll::Ready(Event::Heard(message));
            }
            outbox.poll_recv(cx).map(Event::Send)
        });
        match timeout(ECHO.saturating_sub(echoed.elapsed()), next).await.unwrap_or(Event::Pause) {
            Event::Heard(None) => return Err(Closed::Silent),
            Event::Heard(Some(message)) => {
                heard = Instant::now();
                if let Some(notice) = message.get_payload::<String>().ok().and_then(|text| read(&text, &route.process))
                {
                    listeners.load().iter().for_each(|listener| listener(&notice));
                }
            }
            Event::Send(None) => return Err(Closed::Ended),
            Event::Send(Some(notice)) => send(&mut speaking, route, &notice).await?,
            Event::Pause if heard.elapsed() > SILENCE => return Err(Closed::Silent),
            Event::Pause => {
                echoed = Instant::now();
                send(&mut speaking, route, &Notice::new(ECHO_TOPIC, "")).await?;
            }
        }
    }
}

async fn send(speaking: &mut MultiplexedConnection, route: &Route, notice: &Notice) -> Result<(), Closed> {
    let text = format!("{} {} {}", route.process, notice.topic(), notice.text());
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(&*route.channel).arg(text);
    in_time(RESPONSE_TIMEOUT, publish.query_async::<i64>(speaking)).await.map(drop)
}

/// Reads a message; `None` if this process has sent it.
fn read(text: &str, process: &str) -> Option<Notice> {
    let (from, rest) = text.split_once(' ')?;
    let (topic, text) = rest.split_once(' ')?;
    (from != process && topic != ECHO_TOPIC).then(|| Notice::new(topic, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_process_itself_are_not_heard() {
        let text = "p-1 paused 500 a b c";
        assert_eq!(read(text, "p-2"), Some(Notice::new("paused", "500 a b c")));
        assert_eq!(read("p-1 keys ", "p-2"), Some(Notice::new("keys", "")));
        for ignored in [(text, "p-1"), ("p-1 echo ", "p-2"), ("nonsense", "p-2"), ("", "p-2")] {
            assert_eq!(read(ignored.0, ignored.1), None, "{ignored:?}");
        }
    }
}
