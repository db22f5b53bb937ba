//! API keys of operators' devices.
//!
//! A key is 256 random bits, shown once; the database keeps its SHA-256, which is enough because
//! there is no dictionary to try. Servers remember a good key for half a minute, so a revoked one
//! dies within that time.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Device, opaque};

const PREFIX: &str = "ipk_";
/// How long a revoked key may still work.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Devices one server remembers; a city has some thousands.
const REMEMBERED_MAX: u64 = 20_000;

/// An API key in the clear: only when it is made and in a request.
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// A new key from fresh random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Whether a bearer credential claims to be an API key at all.
    pub fn looks_like_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads what a device sent; `None` if we never write such a thing.
    pub fn parse(text: &str) -> Option<Self> {
        opaque::read(PREFIX, text).map(Self)
    }

    /// What the device keeps.
    pub fn expose(&self) -> String {
        opaque::write(PREFIX, &self.0)
    }

    /// What the database keeps.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

/// The good keys that this server saw lately.
pub struct KnownKeys(moka::sync::Cache<[u8; 32], Device>);

impl Default for KnownKeys {
    fn default() -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(REMEMBERED)
                .build(),
        )
    }
}

impl KnownKeys {
    /// The device behind a key's hash, if it was seen lately.
    pub fn get(&self, hash: &[u8; 32]) -> Option<Device> {
        self.0.get(hash)
    }

    /// Remembers a key that the database knows.
    pub fn remember(&self, hash: [u8; 32], device: Device) {
        self.0.insert(hash, device);
    }
}
