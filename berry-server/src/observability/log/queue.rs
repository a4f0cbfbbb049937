//! The queue between requests and standard output, bounded in bytes.
//!
//! A thread of its own writes the lines, so that a reader that stalls does not stall the gateway. When the queue is full,
//! lines are dropped and counted; the next line that is written after them says how many.

use std::{
    io::{self, Write},
    iter,
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
/// The size at which a batch of lines is written.
const BATCH_BYTES: usize = 64 << 10;
/// The pause between two batches.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the end of the process waits until the queue is written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The lines that all queues of the process have dropped.
static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of lines that were dropped since the process started.
#[cfg(feature = "observability")]
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

/// Writes lines in batches: a pause after each keeps a busy gateway from waking this thread for every line.
fn write(mut out: impl Write, messages: &Receiver<Message>, counts: &Counts) {
    let mut batch = Vec::new();
    while let Ok(first) = messages.recv() {
        for message in iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => {
                    write_batch(&mut out, &mut batch, counts);
                    let _ = out.flush();
                    let _ = done.send(());
                }
            }
            if batch.len() >= BATCH_BYTES {
                write_batch(&mut out, &mut batch, counts);
            }
        }
        write_batch(&mut out, &mut batch, counts);
        let dropped = counts.dropped_lines.swap(0, Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped because standard output did not keep up");
        }
        thread::sleep(PAUSE);
    }
}

fn write_batch(out: &mut impl Write, batch: &mut Vec<u8>, counts: &Counts) {
    // An error of standard output cannot be reported anywhere.
    let _ = out.write_all(batch);
    counts.queued_bytes.fetch_sub(batch.len(), Relaxed);
    batch.clear();
    batch.shrink_to(BATCH_BYTES);
}

impl Queue {
    fn send(&self, line: &[u8]) {
        let queued = self.counts.queued_bytes.fetch_add(line.len(), Relaxed);
        let has_room = queued.saturating_add(line.len()) <= MAX_QUEUED_BYTES;
        if !has_room || self.sender.send(Message::Line(line.to_vec())).is_err() {
            self.counts.queued_bytes.fetch_sub(line.len(), Relaxed);
            self.counts.dropped_lines.fetch_add(1, Relaxed);
            DROPPED_LINES.fetch_add(1, Relaxed);
        }
    }
}

/// The writer of one line: the formatter writes each line in one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
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
        let (queue, _guard, lines) = blocking();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            queue.send(&line);
        }
        assert_eq!(queue.counts.dropped_lines.load(Relaxed), 12);
        assert!(queue.counts.queued_bytes.load(Relaxed) <= MAX_QUEUED_BYTES);
        let written = lines.iter().take(8).map(|line| line.len()).sum::<usize>();
        assert_eq!(written, MAX_QUEUED_BYTES);
        drop(lines);
    }

    #[test]
    fn writes_what_is_left_at_the_end() {
        let (queue, guard, lines) = blocking();
        queue.send(b"one");
        queue.send(b"two");
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            while read.len() < 6 {
                read.extend(lines.recv().unwrap());
            }
            read
        });
        drop(guard);
        assert_eq!(reader.join().unwrap(), b"onetwo");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_stalls() {
        let (queue, guard, _lines) = blocking();
        queue.send(b"one");
        drop(guard);
    }
}
