//! Files with one JSON object per line.

use std::borrow::Cow;
use std::io::BufRead as _;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::table::{Column, Each, LIST_SEPARATOR, trimmed};
use crate::Result;
use crate::data::raw::Sink;
use crate::data::source::LogFile;

/// Reads a file with one JSON object per line.
pub(super) fn read(
    file: &LogFile,
    columns: &[Column],
    sink: &mut Sink,
    each: &mut Each<'_>,
) -> Result<()> {
    let mut reader = file.open()?;
    let mut buffer = Vec::new();
    let mut line = 0;
    loop {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer).map_err(|e| file.unreadable(e))? == 0 {
            return Ok(());
        }
        line += 1;
        let text = trimmed(&buffer, line == 1);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        match Object(columns).deserialize(&mut json).and_then(|values| {
            json.end()?;
            Ok(values)
        }) {
            Ok(values) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                each(sink, line, &values)?;
            }
            Err(error) => sink.bad(line, "row", format!("no JSON object: {error}"))?,
        }
    }
}

/// The wanted fields of a JSON object, as text.
struct Object<'a>(&'a [Column]);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Vec<String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Vec<String>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let mut values = vec![String::new(); self.0.len()];
        let mut ranks = vec![usize::MAX; self.0.len()];
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            // Of several names of one column, the one that a header would have given wins.
            let ranked = |(slot, c): (usize, &Column)| Some((slot, c.rank(&key)?));
            let found = self.0.iter().enumerate().find_map(ranked);
            match found {
                Some((slot, rank)) if rank < ranks[slot] => {
                    values[slot] = plain(map.next_value()?);
                    ranks[slot] = rank;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

/// A JSON value as a field of a table would have it.
fn plain(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Array(values) => {
            values.into_iter().map(plain).collect::<Vec<_>>().join(LIST_SEPARATOR)
        }
        value => value.to_string(),
    }
}
