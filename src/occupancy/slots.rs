//! The numbers of one lot and class in memory: written now and then, read thousands of times a
//! second by all threads, without a lock.
//!
//! A slot is a sequence lock over plain atomics: the writer makes `turn` odd, writes, makes it
//! even; a reader that sees an odd or changed `turn` reads again. Every field is an atomic, so a
//! torn read is impossible by construction and only has to be noticed.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use jiff::Timestamp;

use crate::lots::capacity::{Observed, Snapshot};

/// Bits of one count; capacities end at 100,000.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;
const NOT_OBSERVED: u32 = u32::MAX;

/// One lot and class.
#[derive(Debug)]
pub struct Slot {
    turn: AtomicU32,
    observed: AtomicU32,
    /// Capacity, held and in use.
    counts: AtomicU64,
    observed_at_us: AtomicI64,
    version: AtomicI64,
}

impl Slot {
    /// A slot with its first numbers.
    pub fn new(first: &Snapshot) -> Slot {
        let slot = Slot {
            turn: AtomicU32::new(0),
            observed: AtomicU32::new(NOT_OBSERVED),
            counts: AtomicU64::new(0),
            observed_at_us: AtomicI64::new(0),
            version: AtomicI64::new(i64::MIN),
        };
        slot.write(first);
        slot
    }

    /// The numbers.
    pub fn read(&self) -> Snapshot {
        loop {
            let before = self.turn.load(Ordering::Acquire);
            let counts = self.counts.load(Ordering::Relaxed);
            let observed = self.observed.load(Ordering::Relaxed);
            let at = self.observed_at_us.load(Ordering::Relaxed);
            let version = self.version.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == before {
                return unpack(counts, observed, at, version);
            }
            spin_loop();
        }
    }

    /// Takes newer numbers; false when what is here is as new.
    pub fn offer(&self, new: &Snapshot) -> bool {
        let turn = self.lock();
        let newer = new.version > self.version.load(Ordering::Relaxed);
        if newer {
            self.write(new);
        }
        self.unlock(turn);
        newer
    }

    /// Takes numbers whatever their version: a correction of a wrong copy.
    pub fn force(&self, new: &Snapshot) {
        let turn = self.lock();
        self.write(new);
        self.unlock(turn);
    }

    /// Takes numbers in place of a version known to be wrong, if that is still here.
    pub fn correct(&self, new: &Snapshot, wrong_version: i64) {
        let turn = self.lock();
        if self.version.load(Ordering::Relaxed) == wrong_version {
            self.write(new);
        }
        self.unlock(turn);
    }

    fn lock(&self) -> u32 {
        loop {
            let turn = self.turn.load(Ordering::Relaxed);
            if turn.is_multiple_of(2)
                && self
                    .turn
                    .compare_exchange_weak(
                        turn,
                        turn.wrapping_add(1),
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                // The odd turn must be visible before the new numbers are.
                fence(Ordering::Release);
                return turn;
            }
            spin_loop();
        }
    }

    fn unlock(&self, turn: u32) {
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    fn write(&self, new: &Snapshot) {
        let count = |number: u32| u64::from(number).min(MASK);
        let counts =
            count(new.capacity) | (count(new.held) << BITS) | (count(new.in_use) << (2 * BITS));
        self.counts.store(counts, Ordering::Relaxed);
        let (observed, at) = new
            .observed
            .map_or((NOT_OBSERVED, 0), |seen| (seen.occupied, seen.at.as_microsecond()));
        self.observed.store(observed, Ordering::Relaxed);
        self.observed_at_us.store(at, Ordering::Relaxed);
        self.version.store(new.version, Ordering::Relaxed);
    }
}

fn unpack(counts: u64, observed: u32, at_us: i64, version: i64) -> Snapshot {
    let count = |shift: u32| u32::try_from((counts >> shift) & MASK).unwrap_or(0);
    let at = Timestamp::from_microsecond(at_us).unwrap_or_default();
    Snapshot {
        capacity: count(0),
        held: count(BITS),
        in_use: count(2 * BITS),
        observed: (observed != NOT_OBSERVED).then_some(Observed { occupied: observed, at }),
        version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn numbers(n: u32) -> Snapshot {
        Snapshot {
            capacity: n,
            held: n,
            in_use: n,
            observed: (!n.is_multiple_of(2)).then(|| Observed {
                occupied: n,
                at: Timestamp::from_microsecond(i64::from(n)).unwrap(),
            }),
            version: i64::from(n),
        }
    }

    #[test]
    fn the_newer_version_wins_in_any_order() {
        let slot = Slot::new(&numbers(5));
        assert!(!slot.offer(&numbers(4)));
        assert!(!slot.offer(&numbers(5)));
        assert!(slot.offer(&numbers(7)));
        assert_eq!(slot.read(), numbers(7));
        slot.force(&numbers(3));
        assert_eq!(slot.read(), numbers(3));
    }

    #[test]
    fn a_reader_never_sees_half_a_change() {
        let slot = Arc::new(Slot::new(&numbers(1)));
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (slot, done) = (Arc::clone(&slot), Arc::clone(&done));
                std::thread::spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let seen = slot.read();
                        assert_eq!(seen, numbers(seen.capacity));
                    }
                })
            })
            .collect();
        for n in 2..50_000 {
            assert!(slot.offer(&numbers(n)));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    }
}
