//! The generic cell rate algorithm: one number per caller, the "theoretical arrival time".
//!
//! A caller may do `burst` calls at once and one more per `every_ms` after that. The same rule
//! runs in Redis, where all servers share it, and in each server's memory, where it costs nothing.
//! Time is the application's clock, so that servers agree and tests can move it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::Timestamp;

use crate::platform::redis::{Redis, RedisDown};

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Calls at once.
    pub burst: u32,
    /// One more per so many milliseconds.
    pub every_ms: u32,
}

impl Quota {
    /// `burst` calls within `window_s` seconds, all of them at once if wanted.
    pub const fn per(burst: u32, window_s: u32) -> Self {
        let every_ms =
            window_s.saturating_mul(1_000).wrapping_div(if burst == 0 { 1 } else { burst });
        Self { burst, every_ms: if every_ms == 0 { 1 } else { every_ms } }
    }

    fn step_ms(self) -> i64 {
        i64::from(self.every_ms)
    }

    fn tolerance_ms(self) -> i64 {
        self.step_ms().saturating_mul(i64::from(self.burst.saturating_sub(1)))
    }

    /// The arrival time after one more call, or the milliseconds to wait. A remembered time
    /// further off than a full burst cannot be true (a clock stepped back) and is forgotten.
    fn admit(self, remembered: Option<i64>, now_ms: i64) -> Result<i64, i64> {
        let furthest = now_ms.saturating_add(self.tolerance_ms()).saturating_add(self.step_ms());
        let arrival =
            remembered.filter(|arrival| *arrival <= furthest).unwrap_or(now_ms).max(now_ms);
        let wait = arrival.saturating_sub(self.tolerance_ms()).saturating_sub(now_ms);
        if wait > 0 { Err(wait) } else { Ok(arrival.saturating_add(self.step_ms())) }
    }
}

/// One limit on one caller.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is limited, for whom; holds no phone or name in the clear.
    pub key: String,
    /// How often.
    pub quota: Quota,
}

/// The same limits in Redis: all must admit, and then all are charged; otherwise none is.
/// KEYS: one per limit. ARGV: now in ms, then step and tolerance of each limit in ms.
/// Gives the milliseconds to wait, 0 when admitted.
static SCRIPT: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new(
        r"
        local now = tonumber(ARGV[1])
        local wait = 0
        local arrivals = {}
        for i, key in ipairs(KEYS) do
            local step = tonumber(ARGV[2 * i])
            local tolerance = tonumber(ARGV[2 * i + 1])
            local arrival = tonumber(redis.call('get', key) or now) or now
            if arrival < now or arrival > now + tolerance + step then
                arrival = now
            end
            wait = math.max(wait, arrival - tolerance - now)
            arrivals[i] = arrival + step
        end
        if wait > 0 then
            return wait
        end
        for i, key in ipairs(KEYS) do
            redis.call('set', key, string.format('%d', arrivals[i]), 'px', arrivals[i] - now + 1000)
        end
        return 0
        ",
    )
});

/// Asks Redis. `Ok(Err(ms))` is a refusal with the time to wait.
pub async fn admit_shared(
    redis: &Redis,
    limits: &[Limit],
    now: Timestamp,
) -> Result<Result<(), i64>, RedisDown> {
    let mut call = SCRIPT.prepare_invoke();
    call.arg(now.as_millisecond());
    for limit in limits {
        call.key(redis.key(&format!("limit:{}", limit.key)));
        call.arg(limit.quota.step_ms()).arg(limit.quota.tolerance_ms());
    }
    let wait_ms: i64 = redis.run(&call).await?;
    Ok(if wait_ms > 0 { Err(wait_ms) } else { Ok(()) })
}

const SHARDS: usize = 64;
/// Callers one shard remembers; with 64 shards a quarter of a million, about 6 MB.
const SHARD_CALLERS_MAX: usize = 4_096;

/// One server's own memory of its callers.
pub struct LocalLimits {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<u64, i64>>>,
}

impl Default for LocalLimits {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl LocalLimits {
    /// Charges one call under several limits: all admit, or none is charged. Calls side by side
    /// may pass together; this is the stand-in for Redis, not the limit that guards money.
    pub fn admit_all(&self, limits: &[Limit], now: Timestamp) -> Result<(), i64> {
        let now_ms = now.as_millisecond();
        let wait = |limit: &Limit| {
            let (caller, shard) = self.find(&limit.key)?;
            let arrivals = shard.lock().unwrap_or_else(PoisonError::into_inner);
            limit.quota.admit(arrivals.get(&caller).copied(), now_ms).err()
        };
        if let Some(wait) = limits.iter().filter_map(wait).max() {
            return Err(wait);
        }
        limits.iter().try_for_each(|limit| self.admit_caller(&limit.key, limit.quota, now))
    }

    /// Charges one call to whatever names a caller, without making a text of it.
    pub fn admit_caller(&self, caller: impl Hash, quota: Quota, now: Timestamp) -> Result<(), i64> {
        let Some((caller, shard)) = self.find(caller) else { return Ok(()) };
        let now_ms = now.as_millisecond();
        let mut arrivals = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = quota.admit(arrivals.get(&caller).copied(), now_ms)?;
        if arrivals.len() >= SHARD_CALLERS_MAX {
            arrivals.retain(|_, arrival| *arrival > now_ms);
            // Still full: a flood from countless addresses, which no per-caller limit can stop.
            if arrivals.len() >= SHARD_CALLERS_MAX {
                arrivals.clear();
            }
        }
        arrivals.insert(caller, arrival);
        Ok(())
    }

    /// Callers whose 64-bit hashes meet share a quota; nobody can aim at that.
    fn find(&self, caller: impl Hash) -> Option<(u64, &Mutex<HashMap<u64, i64>>)> {
        let caller = self.hasher.hash_one(caller);
        let shard = self.shards.get(usize::try_from(caller % 64).unwrap_or(0))?;
        Some((caller, shard))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
    }

    fn admit(limits: &LocalLimits, limit: &Limit, now: Timestamp) -> Result<(), i64> {
        limits.admit_caller(&limit.key, limit.quota, now)
    }

    fn limit(key: &str, burst: u32, window_s: u32) -> Limit {
        Limit { key: key.to_owned(), quota: Quota::per(burst, window_s) }
    }

    #[test]
    fn a_burst_passes_and_then_one_per_step() {
        let limits = LocalLimits::default();
        let three = limit("a", 3, 30);
        for _ in 0..3 {
            assert_eq!(admit(&limits, &three, at_ms(0)), Ok(()));
        }
        assert_eq!(admit(&limits, &three, at_ms(0)), Err(10_000));
        assert_eq!(admit(&limits, &three, at_ms(9_999)), Err(1));
        assert_eq!(admit(&limits, &three, at_ms(10_000)), Ok(()));
        assert_eq!(admit(&limits, &three, at_ms(10_000)), Err(10_000));
        assert_eq!(admit(&limits, &limit("b", 3, 30), at_ms(0)), Ok(()));
    }

    #[test]
    fn a_refusal_by_one_limit_charges_no_other() {
        let limits = LocalLimits::default();
        let both = [limit("a", 2, 20), limit("b", 1, 10)];
        assert_eq!(limits.admit_all(&both, at_ms(0)), Ok(()));
        for _ in 0..5 {
            assert_eq!(limits.admit_all(&both, at_ms(0)), Err(10_000));
        }
        assert_eq!(limits.admit_all(&[both[0].clone()], at_ms(0)), Ok(()));
        assert_eq!(limits.admit_all(&[both[0].clone()], at_ms(0)), Err(10_000));
    }

    #[test]
    fn a_clock_that_steps_back_locks_nobody_out() {
        let limits = LocalLimits::default();
        let one = limit("a", 1, 10);
        assert_eq!(admit(&limits, &one, at_ms(1_000_000_000)), Ok(()));
        assert_eq!(admit(&limits, &one, at_ms(0)), Ok(()));
        assert_eq!(admit(&limits, &one, at_ms(0)), Err(10_000));
    }

    #[test]
    fn a_flood_of_callers_does_not_grow_the_memory() {
        let limits = LocalLimits::default();
        for caller in 0..300_000 {
            assert_eq!(admit(&limits, &limit(&caller.to_string(), 2, 60), at_ms(0)), Ok(()));
        }
        let remembered: usize = limits.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(remembered <= SHARDS * SHARD_CALLERS_MAX);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(
            burst in 1_u32..20,
            window_s in 1_u32..100,
            gaps in proptest::collection::vec(0_i64..5_000, 1..200),
        ) {
            let limits = LocalLimits::default();
            let one = limit("a", burst, window_s);
            let (mut now, mut passed) = (0, 0_i64);
            for gap in gaps {
                now += gap;
                passed += i64::from(admit(&limits, &one, at_ms(now)).is_ok());
                prop_assert!(passed <= i64::from(burst) + now / i64::from(one.quota.every_ms));
            }
        }
    }
}
