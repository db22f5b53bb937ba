//! Secrets that say nothing: a prefix that secret scanners can find, then 256 random bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Base64url characters of 32 bytes.
const BODY_CHARS: usize = 43;

/// The text of a secret.
pub fn write(prefix: &str, secret: &[u8; 32]) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(secret))
}

/// The secret of a text; `None` for anything [`write()`] does not write.
pub fn read(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let body = text.strip_prefix(prefix)?;
    // The length first: nobody makes us decode a megabyte.
    if body.len() != BODY_CHARS {
        return None;
    }
    URL_SAFE_NO_PAD.decode(body).ok()?.try_into().ok()
}
