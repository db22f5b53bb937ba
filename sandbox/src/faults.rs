//! Faults on demand: what goes wrong with notifications and answers, drawn from a seeded RNG.
//!
//! Every notification draws the same number of values whatever the settings are, so that a seed
//! gives the same decisions again as long as notifications start in the same order.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::provider::Provider;

/// Longest delay that can be asked for; longer is `drop`.
const DELAY_MS_MAX: u64 = 3_600_000;
/// How long a swallowed answer keeps the caller waiting; longer than any sane client's time-out.
const HANG_MS_DEFAULT: u64 = 20_000;
/// How long a reordered notification waits for a later one.
const REORDER_MS_DEFAULT: u64 = 2_000;

/// The body of `PUT /control/faults/{provider}`; what is left out is off.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Probability that a payment's notification is lost for good, without retries.
    pub drop: f64,
    /// Wait before the first call of every notification.
    pub delay_ms: u64,
    /// Probability that a notification's first call is made twice, in parallel.
    pub repeat: f64,
    /// Probability that a notification is held until a later one was answered .
    pub reorder: f64,
    /// How long it waits for a later one; 2 s when left out.
    pub reorder_ms: Option<u64>,
    /// Probability that a forged notification comes before the true one.
    pub forge: f64,
    /// Probability that a query or refund takes effect, but its answer never comes.
    pub timeout_after_charge: f64,
    /// How long such a call hangs before its connection is closed.
    pub hang_ms: Option<u64>,
    /// Probability that an accepted refund is refused by the bank in the end.
    pub refuse_refund: f64,
    /// Start of the random sequence; drawn when left out, and shown in the answer.
    pub seed: Option<u64>,
}

impl Settings {
    fn check(&self) -> Result<(), Problem> {
        let probabilities = [
            ("drop", self.drop),
            ("repeat", self.repeat),
            ("reorder", self.reorder),
            ("forge", self.forge),
            ("timeout_after_charge", self.timeout_after_charge),
            ("refuse_refund", self.refuse_refund),
        ];
        for (name, p) in probabilities {
            // NaN is in no range, so it is refused here too; `random_bool` would panic on it.
            if !(0.0..=1.0).contains(&p) {
                return Err(Problem::bad_request(
                    "bad_fault",
                    format!("`{name}` must be in 0..=1"),
                ));
            }
        }
        let delays = [Some(self.delay_ms), self.reorder_ms, self.hang_ms];
        if delays.into_iter().flatten().any(|ms| ms > DELAY_MS_MAX) {
            let detail = format!("delays are at most {DELAY_MS_MAX} ms");
            return Err(Problem::bad_request("bad_fault", detail));
        }
        Ok(())
    }
}

/// How a forged notification differs from the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// The amount was changed after signing.
    Amount,
    /// The result was turned into its opposite after signing.
    Result,
    /// One digit of the signature was changed.
    Hash,
    /// Signed, but with somebody else's secret.
    Secret,
}

/// What happens to one notification.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Never delivered.
    pub drop: bool,
    /// Wait before the first call.
    pub delay: Duration,
    /// The first call is made twice, in parallel.
    pub repeat: bool,
    /// Held until a later one was answered, or for so long.
    pub reorder: Option<Duration>,
    /// A forged one comes first.
    pub forge: Option<Forgery>,
}

#[derive(Debug)]
struct Dice {
    settings: Settings,
    rng: StdRng,
}

impl Default for Dice {
    fn default() -> Self {
        Self { settings: Settings::default(), rng: StdRng::seed_from_u64(0) }
    }
}

impl Dice {
    fn roll(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }
}

/// The faults of every provider; none until they are asked for.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<Provider, Dice>>);

impl Faults {
    /// Replaces the settings; the answer holds the seed in use.
    pub fn set(&self, provider: Provider, mut settings: Settings) -> Result<Settings, Problem> {
        settings.check()?;
        let seed = settings.seed.unwrap_or_else(rand::random);
        settings.seed = Some(seed);
        let dice = Dice { settings: settings.clone(), rng: StdRng::seed_from_u64(seed) };
        self.lock().insert(provider, dice);
        Ok(settings)
    }

    /// Everything works again.
    pub fn reset(&self, provider: Provider) {
        self.lock().remove(&provider);
    }

    /// The settings in force.
    pub fn get(&self, provider: Provider) -> Settings {
        self.lock().entry(provider).or_default().settings.clone()
    }

    /// Decides the fate of one notification.
    pub fn plan(&self, provider: Provider) -> Plan {
        let mut all = self.lock();
        let dice = all.entry(provider).or_default();
        let Settings { drop, delay_ms, repeat, reorder, forge, reorder_ms, .. } = dice.settings;
        let drop = dice.roll(drop);
        let repeat = dice.roll(repeat);
        let hold = Duration::from_millis(reorder_ms.unwrap_or(REORDER_MS_DEFAULT));
        let reorder = dice.roll(reorder).then_some(hold);
        let forged = dice.roll(forge);
        let forgery = match dice.rng.random_range(0..4_u8) {
            0 => Forgery::Amount,
            1 => Forgery::Result,
            2 => Forgery::Hash,
            _ => Forgery::Secret,
        };
        let delay = Duration::from_millis(delay_ms);
        Plan { drop, delay, repeat, reorder, forge: forged.then_some(forgery) }
    }

    /// Decides whether an answer is swallowed, and for how long the caller waits.
    pub fn hang(&self, provider: Provider) -> Option<Duration> {
        let mut all = self.lock();
        let dice = all.entry(provider).or_default();
        let p = dice.settings.timeout_after_charge;
        let hang = Duration::from_millis(dice.settings.hang_ms.unwrap_or(HANG_MS_DEFAULT));
        dice.roll(p).then_some(hang)
    }

    /// Decides whether the bank will refuse an accepted refund.
    pub fn refuse_refund(&self, provider: Provider) -> bool {
        let mut all = self.lock();
        let dice = all.entry(provider).or_default();
        let p = dice.settings.refuse_refund;
        dice.roll(p)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Provider, Dice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(seed: u64) -> Vec<bool> {
        let faults = Faults::default();
        let settings = Settings { drop: 0.5, seed: Some(seed), ..Settings::default() };
        faults.set(Provider::Vnpay, settings).unwrap();
        (0..64).map(|_| faults.plan(Provider::Vnpay).drop).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        assert_eq!(drops(1), drops(1));
        assert_ne!(drops(1), drops(2));
    }

    #[test]
    fn nothing_goes_wrong_unless_asked() {
        let plan = Faults::default().plan(Provider::Vnpay);
        assert!(!plan.drop && !plan.repeat && plan.reorder.is_none() && plan.forge.is_none());
        assert!(Faults::default().hang(Provider::Vnpay).is_none());
    }

    #[test]
    fn probabilities_outside_zero_to_one_are_refused() {
        for p in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let settings = Settings { repeat: p, ..Settings::default() };
            assert!(Faults::default().set(Provider::Vnpay, settings).is_err(), "{p}");
        }
    }
}
