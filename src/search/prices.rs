//! Prices of a stay that begins now, for many lots at once.
//!
//! What holds at a lot changes rarely, and what a stay costs by a version only with the minute.
//! Each thread remembers both, so that a search looks twenty prices up instead of working them
//! out: which version holds at which lot, until lots, tariffs or the day change; what each version
//! asks for a stay of so many minutes, until the minute changes.

use std::cell::RefCell;
use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::kernel::clock::business_day;
use crate::kernel::ids::TariffVersionId;
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;
use crate::occupancy::index::{Index, LotNo};
use crate::tariffs::book::TariffBook;
use crate::tariffs::{self, TariffRules};

/// Lengths of stay remembered in one minute; a caller who tries out every length gets no more.
const STAYS_MAX: usize = 256;

/// What a stay costs at a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The fare.
    pub amount: Vnd,
    /// By which version of which tariff.
    pub version: TariffVersionId,
}

/// A version as this thread numbered it, and what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    NotAsked,
    Nothing,
    Version(u32),
}

/// The prices asked for in one minute for stays of one length, by number of version.
type Amounts = Vec<Option<Result<Vnd, ()>>>;

#[derive(Default)]
struct Memory {
    /// Serial numbers of the index and the book.
    serials: (u64, u64),
    minute: i64,
    day: Option<Date>,
    versions: Vec<(TariffVersionId, std::sync::Arc<TariffRules>)>,
    numbers: HashMap<TariffVersionId, u32>,
    /// What holds at each lot, by class.
    holds: HashMap<VehicleClass, Vec<Holds>>,
    amounts: HashMap<u32, Amounts>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// The prices of one search.
pub struct Prices<'s> {
    index: &'s Index,
    book: &'s TariffBook,
    class: VehicleClass,
    start: Timestamp,
    stop: Timestamp,
    stay_minutes: u32,
    memory: Memory,
    holds: Vec<Holds>,
    amounts: Amounts,
}

impl<'s> Prices<'s> {
    /// Prices of a stay of so many minutes that begins in this minute.
    pub fn new(
        index: &'s Index,
        book: &'s TariffBook,
        class: VehicleClass,
        now: Timestamp,
        stay_minutes: u32,
    ) -> Prices<'s> {
        // Taken out of the thread and put back when done: a search never waits in between, so
        // nobody else on this thread misses it.
        let mut memory = MEMORY.take();
        let minute = now.as_second().div_euclid(60);
        memory.renew((index.serial(), book.serial()), minute, now);
        let mut holds = memory.holds.remove(&class).unwrap_or_default();
        holds.resize(index.len(), Holds::NotAsked);
        let amounts = memory.amounts.remove(&stay_minutes).unwrap_or_default();
        let start = Timestamp::from_second(minute * 60).unwrap_or(now);
        let stay = jiff::SignedDuration::from_mins(i64::from(stay_minutes));
        let stop = start.checked_add(stay).unwrap_or(start);
        Prices { index, book, class, start, stop, stay_minutes, memory, holds, amounts }
    }

    /// The price at a lot; none where no tariff applies.
    pub fn of(&mut self, lot: LotNo) -> Option<Price> {
        let known = self.holds.get(lot).copied().unwrap_or(Holds::Nothing);
        let holds = if known == Holds::NotAsked { self.ask(lot) } else { known };
        let Holds::Version(number) = holds else { return None };
        let number = usize::try_from(number).ok()?;
        let (version, rules) = self.memory.versions.get(number)?;
        if self.amounts.len() <= number {
            self.amounts.resize(number + 1, None);
        }
        let known = self.amounts.get_mut(number)?;
        let amount = known.get_or_insert_with(|| {
            tariffs::amount(rules, self.start, self.stop).map_err(|_cannot_be_priced| ())
        });
        amount.ok().map(|amount| Price { amount, version: *version })
    }

    fn ask(&mut self, lot: LotNo) -> Holds {
        let day = self.memory.day.unwrap_or_else(|| business_day(self.start));
        let entry = self.index.entry(lot);
        let version = entry.and_then(|entry| self.book.on_day(entry.id, self.class, day));
        let holds = match version {
            None => Holds::Nothing,
            Some(version) => {
                let versions = &mut self.memory.versions;
                let number = *self.memory.numbers.entry(version.id).or_insert_with(|| {
                    versions.push((version.id, std::sync::Arc::clone(&version.rules)));
                    u32::try_from(versions.len() - 1).unwrap_or(u32::MAX)
                });
                Holds::Version(number)
            }
        };
        if let Some(place) = self.holds.get_mut(lot) {
            *place = holds;
        }
        holds
    }
}

impl Drop for Prices<'_> {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.holds.insert(self.class, std::mem::take(&mut self.holds));
        if memory.amounts.len() < STAYS_MAX {
            memory.amounts.insert(self.stay_minutes, std::mem::take(&mut self.amounts));
        }
        MEMORY.set(memory);
    }
}

impl Memory {
    /// Forgets what no longer holds.
    fn renew(&mut self, serials: (u64, u64), minute: i64, now: Timestamp) {
        if self.serials == serials && self.minute == minute {
            return;
        }
        let day = Some(business_day(now));
        if self.serials != serials || self.day != day {
            self.holds.clear();
            self.versions.clear();
            self.numbers.clear();
        }
        self.amounts.clear();
        (self.serials, self.minute, self.day) = (serials, minute, day);
    }
}
