//! Secrets of a development run: made once at random, kept where only their owner may read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use rand::Rng as _;

use super::layout::{Layout, write_private};

/// Name and value pairs in `<var>/dev/secrets`.
pub(super) struct Secrets {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads what an earlier run made.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn open(layout: &Layout) -> anyhow::Result<Self> {
        let path = layout.dev.join("secrets");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("cannot read the secrets"),
        };
        let values = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self { path, values })
    }

    /// The secret of that name: 256 random bits in hexadecimal, so that no shell and no option
    /// parser finds a sign of its own in it.
    ///
    /// # Errors
    /// When a new one cannot be kept.
    pub(super) fn get(&mut self, name: &str) -> anyhow::Result<String> {
        self.get_or_make(name, || {
            let mut bytes = [0_u8; 32];
            rand::rng().fill_bytes(&mut bytes);
            hex::encode(bytes)
        })
    }

    /// The secret of that name, made by `make` if there is none yet; one line.
    ///
    /// # Errors
    /// When a new one cannot be kept.
    pub(super) fn get_or_make(
        &mut self,
        name: &str,
        make: impl FnOnce() -> String,
    ) -> anyhow::Result<String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        let value = make();
        self.values.insert(name.to_owned(), value.clone());
        let lines: Vec<String> =
            self.values.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        write_private(&self.path, &lines.concat()).context("cannot keep the secrets")?;
        Ok(value)
    }
}
