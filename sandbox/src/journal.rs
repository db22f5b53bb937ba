//! The sandbox's own append-only file: one JSON line per event, on disk before it is answered.
//!
//! One thread writes; whatever piled up while it was syncing goes out with the next sync, so many
//! payments share one `fsync`. A line cut in half by a crash was never answered and is dropped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::accounts::{Order, Refund};
use crate::provider::Outcome;

const LOCK_RETRY: Duration = Duration::from_millis(50);

/// One line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// An order was opened.
    Opened {
        /// The order.
        order: Order,
    },
    /// The customer chose.
    Decided {
        /// The order's id.
        order_id: String,
        /// What the customer chose.
        outcome: Outcome,
        /// The gateway's number for it; 0 when there was no transaction.
        gateway_no: u64,
        /// When.
        at: Timestamp,
    },
    /// The merchant knows (or never will): no more calls for this decision.
    Notified {
        /// The order's id.
        order_id: String,
        /// Which decision of the order, from 1.
        decision: u32,
        /// `accepted`, `dropped` or `gave_up`.
        result: String,
        /// When.
        at: Timestamp,
    },
    /// A refund was accepted.
    Refunded {
        /// The refund.
        refund: Refund,
    },
}

/// The writing end: lines get a number when they are queued, and are durable when
/// [`Journal::durable`] has been reached by that number.
#[derive(Debug)]
pub struct Journal {
    sender: mpsc::Sender<String>,
    queued: u64,
    durable: watch::Receiver<u64>,
    #[cfg_attr(not(test), expect(dead_code, reason = "joined by tests that reopen the file"))]
    writer: thread::JoinHandle<()>,
}

impl Journal {
    /// Opens the file for this process alone, and reads what it holds. Waits for up to `patience`
    /// for a process that is just ending.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use by another sandbox, or is damaged anywhere but
    /// in an unfinished last line.
    pub fn open(path: &Path, patience: Duration) -> anyhow::Result<(Self, Vec<Event>)> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot open the books {}", path.display()))?;
        lock(&file, patience)
            .with_context(|| format!("another sandbox has the books {}", path.display()))?;
        let events = read_events(&mut file)
            .with_context(|| format!("cannot read the books {}", path.display()))?;
        file.sync_all().context("cannot sync the books")?;
        let (sender, receiver) = mpsc::channel();
        let (durable_sender, durable) = watch::channel(0);
        let writer = thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_lines(&mut file, &receiver, &durable_sender))
            .context("cannot start the journal's thread")?;
        Ok((Self { sender, queued: 0, durable, writer }, events))
    }

    /// Queues one event and returns its number. Call it under the lock that guards the state, so
    /// that the file has the same order as the changes.
    ///
    /// # Errors
    /// When the event cannot be written as JSON or the writer has died.
    pub fn append(&mut self, event: &Event) -> anyhow::Result<u64> {
        let mut line = serde_json::to_string(event)?;
        line.push('\n');
        self.sender.send(line).context("the journal's thread has ended")?;
        self.queued = self.queued.saturating_add(1);
        Ok(self.queued)
    }

    /// The number of the last event queued.
    pub const fn queued(&self) -> u64 {
        self.queued
    }

    /// Tells how many events are on disk.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    #[cfg(test)]
    fn close(self) {
        drop(self.sender);
        self.writer.join().unwrap();
    }
}

fn lock(file: &File, patience: Duration) -> Result<(), TryLockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                thread::sleep(LOCK_RETRY);
            }
            result => return result,
        }
    }
}

fn read_events(file: &mut File) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut reader = BufReader::new(&mut *file);
    reader.seek(SeekFrom::Start(0))?;
    let mut good_bytes: u64 = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let number = events.len().saturating_add(1);
        let event =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is damaged"))?;
        events.push(event);
        good_bytes = good_bytes.saturating_add(u64::try_from(read)?);
    }
    file.set_len(good_bytes)?;
    Ok(events)
}

fn write_lines(file: &mut File, lines: &mpsc::Receiver<String>, durable: &watch::Sender<u64>) {
    let mut batch = String::new();
    while let Ok(first) = lines.recv() {
        batch.clear();
        let mut count: u64 = 0;
        for line in std::iter::once(first).chain(lines.try_iter()) {
            batch.push_str(&line);
            count = count.saturating_add(1);
        }
        if let Err(error) = file.write_all(batch.as_bytes()).and_then(|()| file.sync_data()) {
            // A gateway that cannot write its books must not go on answering.
            tracing::error!(%error, "cannot write the books; stopping");
            std::process::exit(1);
        }
        durable.send_modify(|n| *n = n.saturating_add(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified(decision: u32) -> Event {
        let at = Timestamp::UNIX_EPOCH;
        Event::Notified { order_id: "o".into(), decision, result: "accepted".into(), at }
    }

    #[test]
    fn a_half_written_last_line_is_dropped_and_damage_inside_is_refused() {
        let path = std::env::temp_dir().join(format!("journal-{:x}", rand::random::<u64>()));
        let (mut journal, events) = Journal::open(&path, Duration::ZERO).unwrap();
        assert!(events.is_empty());
        journal.append(&notified(1)).unwrap();
        journal.append(&notified(2)).unwrap();
        assert!(Journal::open(&path, Duration::ZERO).is_err(), "the books are locked");
        journal.close();

        let whole = std::fs::read(&path).unwrap();
        let cut = [&whole[..], br#"{"event":"noti"#].concat();
        std::fs::write(&path, &cut).unwrap();
        let (mut journal, events) = Journal::open(&path, Duration::ZERO).unwrap();
        assert_eq!(events.len(), 2);
        journal.append(&notified(3)).unwrap();
        journal.close();
        let (journal, events) = Journal::open(&path, Duration::ZERO).unwrap();
        assert_eq!(events.len(), 3);
        journal.close();

        let damaged = [b"{}\n", &whole[..]].concat();
        std::fs::write(&path, damaged).unwrap();
        assert!(Journal::open(&path, Duration::ZERO).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
