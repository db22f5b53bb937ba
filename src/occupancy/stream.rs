//! The stream of changes as a follower reads it.

use std::fmt;
use std::str::FromStr;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::live::decode;
use crate::lots::capacity::CapacityRow;

/// Milliseconds that a read waits in Redis for something new; also how often a quiet stream
/// proves that it is alive.
const BLOCK_MS: u32 = 1_000;

/// Entries in one read.
const ENTRIES_MAX: u32 = 500;

/// The id of an entry: milliseconds and a number within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId(u64, u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Not the id of a stream's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for StreamId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let number = |part: &str| part.parse().map_err(|_not_a_number| NotAnId);
        let (millis, rest) = text.split_once('-').ok_or(NotAnId)?;
        Ok(StreamId(number(millis)?, number(rest)?))
    }
}

/// One batch of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its number, one more than that of the entry before.
    pub n: u64,
    /// The rows that changed; `true` marks a correction, taken whatever its version.
    pub rows: Vec<(bool, CapacityRow)>,
}

/// Where a follower stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last entry seen.
    pub id: StreamId,
    /// Its number.
    pub n: u64,
}

/// Why following has to begin anew.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Redis failed.
    #[error("the stream could not be read")]
    Redis(#[from] redis::RedisError),
    /// An entry that we did not write, or entries are missing.
    #[error("the stream is not whole")]
    NotWhole,
}

/// The end of the stream at this moment.
pub async fn end(
    conn: &mut MultiplexedConnection,
    stream: &str,
    counter: &str,
) -> Result<Position, StreamError> {
    let last: Value = redis::cmd("XREVRANGE")
        .arg(stream)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(conn)
        .await?;
    if let Value::Array(entries) = &last
        && let Some(last) = entries.first()
    {
        let (id, n) = head_of(last).ok_or(StreamError::NotWhole)?;
        return Ok(Position { id, n });
    }
    let n: Option<u64> = redis::cmd("GET").arg(counter).query_async(conn).await?;
    Ok(Position { id: StreamId::default(), n: n.unwrap_or(0) })
}

/// Entries after `after`, waiting a moment for the first; empty when there are none.
pub async fn read_after(
    conn: &mut MultiplexedConnection,
    stream: &str,
    after: Position,
) -> Result<Vec<StreamEntry>, StreamError> {
    let answer: Value = redis::cmd("XREAD")
        .arg("COUNT")
        .arg(ENTRIES_MAX)
        .arg("BLOCK")
        .arg(BLOCK_MS)
        .arg("STREAMS")
        .arg(stream)
        .arg(after.id.to_string())
        .query_async(conn)
        .await?;
    let entries = entries_of(&answer).ok_or(StreamError::NotWhole)?;
    let whole = (after.n.saturating_add(1)..).zip(&entries).all(|(n, entry)| n == entry.n);
    if whole { Ok(entries) } else { Err(StreamError::NotWhole) }
}

fn entries_of(answer: &Value) -> Option<Vec<StreamEntry>> {
    let streams = match answer {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => streams,
        _ => return None,
    };
    let Value::Array(stream) = streams.first()? else { return None };
    let Value::Array(entries) = stream.get(1)? else { return None };
    entries.iter().map(entry_of).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn fields_of(entry: &Value) -> Option<(StreamId, &[Value])> {
    let Value::Array(parts) = entry else { return None };
    let id = text(parts.first()?)?.parse().ok()?;
    let Value::Array(fields) = parts.get(1)? else { return None };
    Some((id, fields))
}

fn head_of(entry: &Value) -> Option<(StreamId, u64)> {
    let (id, fields) = fields_of(entry)?;
    let n = (text(fields.first()?)? == "n").then_some(fields.get(1)?)?;
    Some((id, text(n)?.parse().ok()?))
}

fn entry_of(entry: &Value) -> Option<StreamEntry> {
    let (id, n) = head_of(entry)?;
    let (_, fields) = fields_of(entry)?;
    let rows = fields.get(2..)?.chunks(2).map(|pair| {
        let forced = match text(pair.first()?)? {
            "r" => false,
            "f" => true,
            _ => return None,
        };
        Some((forced, decode(text(pair.get(1)?)?)?))
    });
    Some(StreamEntry { id, n, rows: rows.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1764230400123-0", Some(StreamId(1_764_230_400_123, 0)))]
    #[case("1764230400123", None)]
    #[case("a-0", None)]
    #[case("", None)]
    #[case("-", None)]
    fn ids_are_two_numbers(#[case] text: &str, #[case] id: Option<StreamId>) {
        assert_eq!(text.parse().ok(), id);
        assert!(id.is_none_or(|id| id.to_string() == text));
    }

    #[test]
    fn ids_are_ordered_by_their_numbers() {
        let id = |text: &str| text.parse::<StreamId>().unwrap();
        assert!(id("9-10") < id("10-9"));
        assert!(id("10-9") < id("10-10"));
    }
}
