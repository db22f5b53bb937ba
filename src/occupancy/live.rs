//! The live picture in Redis: one hash per lot and class, and a stream of changes.
//!
//! Keys: `occ:{lot}:{class}` with the fields `v` (version) and `r` (the row as text), the stream
//! `occupancy`, and `occupancy:n`, which numbers the stream's entries without a gap, so that a
//! follower notices what it missed. All of it is a copy of `lot_capacity` and can be made again.

use std::sync::LazyLock;

use jiff::Timestamp;
use redis::{Script, Value};

use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::{CapacityRow, Observed, Snapshot};
use crate::platform::redis::{Redis, RedisDown};

/// Rows in one call of the script: Redis does nothing else meanwhile (about 3 µs a row).
pub const BATCH_MAX: usize = 500;

/// Entries that the stream keeps: a follower that missed more reads Postgres instead.
const STREAM_ENTRIES: u32 = 10_000;

/// Writes each row whose version is newer than the one there, numbers the batch and appends it to
/// the stream. A key that holds anything else than our hash is replaced.
///
/// KEYS: stream, counter, one hash per row. ARGV: stream length, then per row version, text and
/// the stored version that may be overwritten although it is not older (empty: none).
static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local entry = {}
        for i = 3, #KEYS do
            local a = (i - 3) * 3 + 2
            local stored = redis.pcall('HGET', KEYS[i], 'v')
            if type(stored) == 'table' then
                redis.call('DEL', KEYS[i])
                stored = false
            end
            local known = tonumber(stored or '') or -1
            local forced = ARGV[a + 2] ~= '' and stored == ARGV[a + 2]
            if tonumber(ARGV[a]) > known or forced then
                redis.call('HSET', KEYS[i], 'v', ARGV[a], 'r', ARGV[a + 1])
                entry[#entry + 1] = forced and 'f' or 'r'
                entry[#entry + 1] = ARGV[a + 1]
            end
        end
        if #entry > 0 then
            local n = redis.call('INCR', KEYS[2])
            redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'n', n, unpack(entry))
        end
        return #entry / 2
        ",
    )
});

/// A row to be written, and the stored version that it may replace although it is not older.
#[derive(Debug, Clone)]
pub struct Write {
    /// The row.
    pub row: CapacityRow,
    /// The stored version, as text, known to be wrong.
    pub replaces: Option<String>,
}

impl From<CapacityRow> for Write {
    fn from(row: CapacityRow) -> Write {
        Write { row, replaces: None }
    }
}

/// What Redis holds for a lot and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Missing,
    /// A row; its version as text, to be named when it has to be replaced.
    Row(Snapshot, String),
    /// Something that is not a row of this lot and class.
    Broken(String),
}

fn hash_key(redis: &Redis, lot: LotId, class: VehicleClass) -> String {
    redis.key(&format!("occ:{lot}:{class}"))
}

/// The key of the stream of changes.
pub fn stream_key(redis: &Redis) -> String {
    redis.key("occupancy")
}

/// The key of the counter that numbers the stream's entries.
pub fn counter_key(redis: &Redis) -> String {
    redis.key("occupancy:n")
}

/// Writes rows that are newer than what is there and appends them to the stream; the number
/// written.
pub async fn publish(redis: &Redis, writes: &[Write]) -> Result<u64, RedisDown> {
    let mut written = 0;
    for batch in writes.chunks(BATCH_MAX) {
        let mut call = PUBLISH.prepare_invoke();
        call.key(stream_key(redis)).key(counter_key(redis)).arg(STREAM_ENTRIES);
        for write in batch {
            call.key(hash_key(redis, write.row.lot_id, write.row.class))
                .arg(write.row.now.version)
                .arg(encode(&write.row))
                .arg(write.replaces.as_deref().unwrap_or_default());
        }
        written += redis.run::<u64>(&call).await?;
    }
    Ok(written)
}

/// What Redis holds for some lots and classes, in the order asked.
pub async fn read(redis: &Redis, keys: &[(LotId, VehicleClass)]) -> Result<Vec<Stored>, RedisDown> {
    let mut stored = Vec::with_capacity(keys.len());
    for batch in keys.chunks(BATCH_MAX) {
        let mut pipe = redis::pipe();
        // A key of a wrong type is an answer about that key, not a failure of all.
        pipe.ignore_errors();
        for (lot, class) in batch {
            pipe.cmd("HMGET").arg(hash_key(redis, *lot, *class)).arg("v").arg("r");
        }
        let answers: Vec<Value> = redis.ask_all(&pipe).await?;
        for ((lot, class), answer) in batch.iter().zip(answers) {
            stored.push(stored_of(*lot, *class, &answer));
        }
    }
    Ok(stored)
}

fn stored_of(lot: LotId, class: VehicleClass, answer: &Value) -> Stored {
    let Value::Array(fields) = answer else { return Stored::Broken(String::new()) };
    let text = |at: usize| match fields.get(at) {
        Some(Value::BulkString(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    match (text(0), text(1)) {
        (None, None) => Stored::Missing,
        (Some(version), Some(row)) => match decode(&row) {
            Some(row)
                if row.lot_id == lot
                    && row.class == class
                    && row.now.version.to_string() == version =>
            {
                Stored::Row(row.now, version)
            }
            _ => Stored::Broken(version),
        },
        (version, _) => Stored::Broken(version.unwrap_or_default()),
    }
}

/// A row as text: `lot|class|version|capacity|held|in_use|observed|observed_at_us`, the last two
/// empty when no device has counted.
pub fn encode(row: &CapacityRow) -> String {
    let now = &row.now;
    let (observed, at) = now.observed.map_or_else(Default::default, |seen| {
        (seen.occupied.to_string(), seen.at.as_microsecond().to_string())
    });
    format!(
        "{}|{}|{}|{}|{}|{}|{observed}|{at}",
        row.lot_id, row.class, now.version, now.capacity, now.held, now.in_use
    )
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub fn decode(text: &str) -> Option<CapacityRow> {
    let mut parts = text.split('|');
    let lot_id = parts.next()?.parse().ok()?;
    let class = parts.next()?.parse().ok()?;
    let version = parts.next()?.parse().ok()?;
    let capacity = parts.next()?.parse().ok()?;
    let held = parts.next()?.parse().ok()?;
    let in_use = parts.next()?.parse().ok()?;
    let (observed, at) = (parts.next()?, parts.next()?);
    let observed = if observed.is_empty() && at.is_empty() {
        None
    } else {
        let at = Timestamp::from_microsecond(at.parse().ok()?).ok()?;
        Some(Observed { occupied: observed.parse().ok()?, at })
    };
    let now = Snapshot { capacity, held, in_use, observed, version };
    parts.next().is_none().then_some(CapacityRow { lot_id, class, now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = CapacityRow> {
        let observed = proptest::option::of((0_u32..100_000, 0_i64..4_000_000_000_000_000));
        (any::<u128>(), 0_i64.., 0_u32..100_000, 0_u32..100_000, 0_u32..100_000, observed).prop_map(
            |(id, version, capacity, held, in_use, observed)| CapacityRow {
                lot_id: LotId::from_uuid(uuid::Uuid::from_u128(id)),
                class: VehicleClass::Motorbike,
                now: Snapshot {
                    capacity,
                    held,
                    in_use,
                    observed: observed.map(|(occupied, at)| Observed {
                        occupied,
                        at: Timestamp::from_microsecond(at).unwrap(),
                    }),
                    version,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn rows_survive_the_way_through_redis(row in row()) {
            prop_assert_eq!(decode(&encode(&row)), Some(row));
        }

        #[test]
        fn anything_else_is_no_row(text in "[0-9a-f|-]{0,80}") {
            prop_assert_eq!(decode(&text), None);
        }
    }
}
