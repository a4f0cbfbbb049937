//! The queue between requests and standard output, bounded in bytes.
//!
//! A thread of its own writes the lines, so that a reader that stalls does not stall the gateway. When the queue is full,
//! lines are dropped and counted; the next line that is written after them says how many.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of lines that wait to be written.
pub(super) const MAX_QUEUED_BYTES: usize = 8 << 20;
/// How long the end of the process waits until the queue is written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The lines that all queues of the process have dropped.
static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of lines that were dropped since the process started.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED_LINES.load(Relaxed)
}

/// The producers' end of the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    queued_bytes: AtomicUsize,
    dropped_lines: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

/// Writes the lines that are left when it is dropped.
#[derive(Debug)]
pub struct FlushGuard(Queue);

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let (done, flushed) = channel();
        if self.0.sender.send(Message::Flush(done)).is_ok() {
            // A reader that stalls must not keep the process from ending.
            let _ = flushed.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Starts the thread that writes to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Queue, FlushGuard)> {
    let (sender, messages) = channel();
    let queue = Queue { sender, counts: Arc::default() };
    let counts = queue.counts.clone();
    thread::Builder::new().name("log-writer".to_owned()).spawn(move || write(out, &messages, &counts))?;
    Ok((queue.clone(), FlushGuard(queue)))
}

fn write(mut out: impl Write, messages: &Receiver<Message>, counts: &Counts) {
    for message in messages {
        match message {
            Message::Line(line) => {
                // Nobody is left to hear of an error of standard output.
                let _ = out.write_all(&line);
                counts.queued_bytes.fetch_sub(line.len(), Relaxed);
            }
            Message::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let dropped = counts.dropped_lines.swap(0, Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped because standard output did not keep up");
        }
    }
}

impl Queue {
    fn send(&self, line: &[u8]) {
        let room = |queued: usize| queued.checked_add(line.len()).filter(|bytes| *bytes <= MAX_QUEUED_BYTES);
        if self.counts.queued_bytes.fetch_update(Relaxed, Relaxed, room).is_err()
            || self.sender.send(Message::Line(line.to_vec())).is_err()
        {
            self.counts.dropped_lines.fetch_add(1, Relaxed);
            DROPPED_LINES.fetch_add(1, Relaxed);
        }
    }
}

/// The writer of one line: the formatter writes each line in one call.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A writer that blocks until its line is taken.
    struct Blocking(SyncSender<Vec<u8>>);

    impl Write for Blocking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn blocking() -> (Queue, FlushGuard, Receiver<Vec<u8>>) {
        let (send, lines) = sync_channel(0);
        let (queue, guard) = start(Blocking(send)).unwrap();
        (queue, guard, lines)
    }

    #[test]
    fn drops_lines_beyond_the_bound_and_never_blocks() {
        let (mut queue, _guard, lines) = blocking();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            queue.write_all(&line).unwrap();
        }
        assert_eq!(queue.counts.dropped_lines.load(Relaxed), 12);
        assert!(queue.counts.queued_bytes.load(Relaxed) <= MAX_QUEUED_BYTES);
        let written = lines.iter().take(8).map(|line| line.len()).sum::<usize>();
        assert_eq!(written, MAX_QUEUED_BYTES);
        drop(lines);
    }

    #[test]
    fn writes_what_is_left_at_the_end() {
        let (mut queue, guard, lines) = blocking();
        queue.write_all(b"one").unwrap();
        queue.write_all(b"two").unwrap();
        let reader = thread::spawn(move || lines.iter().take(2).collect::<Vec<_>>());
        drop(guard);
        assert_eq!(reader.join().unwrap(), [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_stalls() {
        let (mut queue, guard, _lines) = blocking();
        queue.write_all(b"one").unwrap();
        drop(guard);
    }
}
