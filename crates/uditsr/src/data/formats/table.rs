//! Rows and columns of any file; here of those with separators.

use std::borrow::Cow;
use std::io::{self, BufRead};

use csv::ByteRecord;

use crate::data::raw::Sink;
use crate::data::source::LogFile;
use crate::{Error, Result};

/// More columns than any format has.
const MAX_COLUMNS: usize = 16;

/// A column that an importer wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Our name.
    pub(super) name: &'static str,
    /// Other names that it goes by, compared without case, spaces and marks.
    pub(super) aliases: &'static [&'static str],
    /// Whether a file without it is an error.
    pub(super) required: bool,
}

impl Column {
    pub(super) const fn required(name: &'static str, aliases: &'static [&'static str]) -> Self {
        Self { name, aliases, required: true }
    }

    pub(super) const fn optional(name: &'static str, aliases: &'static [&'static str]) -> Self {
        Self { name, aliases, required: false }
    }

    /// Place of a name among our name and the aliases, none if it is not one of them.
    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        let mut names = std::iter::once(&self.name).chain(self.aliases);
        names.position(|own| same_name(own, name))
    }

    /// Position in a header; our name is looked for first, then the aliases in their order.
    fn find<S: AsRef<str>>(&self, header: &[S]) -> Option<usize> {
        let mut names = std::iter::once(&self.name).chain(self.aliases);
        names.find_map(|name| header.iter().position(|found| same_name(name, found.as_ref())))
    }
}

fn same_name(a: &str, b: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = char> {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
    }
    plain(a).eq(plain(b))
}

/// How fields are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) separator: Separator,
    pub(super) header: Header,
    pub(super) encoding: Encoding,
}

/// What stands between fields.
#[derive(Debug, Clone, Copy)]
pub(super) enum Separator {
    /// Comma, with quotes around fields that have one.
    Comma,
    /// This text, without any quoting.
    Plain(&'static str),
}

/// What the first line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// The names of the columns.
    Names,
    /// Perhaps the names; the columns come in the order in which they are wanted.
    Positions,
}

/// Bytes to characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    /// UTF-8, and Latin-1 where it is not.
    Utf8OrLatin1,
}

impl Layout {
    pub(super) const CSV: Self =
        Self { separator: Separator::Comma, header: Header::Names, encoding: Encoding::Utf8 };
    pub(super) const TSV: Self = Self { separator: Separator::Plain("\t"), ..Self::CSV };
}

/// What is done with each row: its line and the wanted columns, empty where there is none.
pub(super) type Each<'a> = dyn FnMut(&mut Sink, u64, &[&str]) -> Result<()> + 'a;

/// Reads a file by the ending of its name.
pub(super) fn read_any(
    file: &LogFile,
    columns: &[Column],
    sink: &mut Sink,
    each: &mut Each<'_>,
) -> Result<()> {
    match file.extension().as_str() {
        "csv" => read(file, Layout::CSV, columns, sink, each),
        "tsv" | "tab" => read(file, Layout::TSV, columns, sink, each),
        "jsonl" | "ndjson" | "json" => super::json::read(file, columns, sink, each),
        #[cfg(feature = "parquet")]
        "parquet" => super::parquet::read(file, columns, sink, each),
        #[cfg(not(feature = "parquet"))]
        "parquet" => Err(file.malformed("this program was built without the feature `parquet`")),
        _ if looks_like_csv(file)? => read(file, Layout::CSV, columns, sink, each),
        ending => {
            Err(file
                .malformed(format!("expected .csv, .tsv, .jsonl or .parquet, found `.{ending}`")))
        }
    }
}

/// Whether the first line of a file whose name does not tell has commas.
fn looks_like_csv(file: &LogFile) -> Result<bool> {
    let mut line = Vec::new();
    let mut start = io::Read::take(file.open()?, 1 << 16);
    start.read_until(b'\n', &mut line).map_err(|source| file.unreadable(source))?;
    Ok(line.contains(&b',') && !line.starts_with(b"{"))
}

/// Reads a file of separated fields.
pub(super) fn read(
    file: &LogFile,
    layout: Layout,
    columns: &[Column],
    sink: &mut Sink,
    each: &mut Each<'_>,
) -> Result<()> {
    let fail = |source| file.unreadable(source);
    let mut records = Records::open(file, layout.separator)?;
    let mut record = ByteRecord::new();
    let mut pending = None;
    let (positions, width) = match layout.header {
        Header::Names => {
            if records.next(&mut record).map_err(fail)?.is_none() {
                return Err(file.malformed("an empty file, expected a header"));
            }
            let names: Vec<Cow<'_, str>> = record.iter().map(String::from_utf8_lossy).collect();
            (positions(file, columns, &names)?, record.len())
        }
        Header::Positions => {
            let Some(line) = records.next(&mut record).map_err(fail)? else { return Ok(()) };
            let first = String::from_utf8_lossy(record.get(0).unwrap_or_default()).into_owned();
            if columns[0].find(&[first]).is_none() {
                pending = Some(line);
            }
            ((0..columns.len()).map(Some).collect(), columns.len())
        }
    };
    loop {
        let line = match pending.take() {
            Some(line) => line,
            None => match records.next(&mut record).map_err(fail)? {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        if record.len() != width && layout.header == Header::Names {
            sink.bad(line, "row", format!("{} fields, the header has {width}", record.len()))?;
            continue;
        }
        let fields = positions.iter().map(|p| p.and_then(|p| record.get(p)).unwrap_or_default());
        let mut values = [""; MAX_COLUMNS];
        let mut wrong = None;
        for (slot, field) in fields.clone().enumerate() {
            match std::str::from_utf8(field) {
                Ok(text) => values[slot] = text,
                Err(_) => wrong = Some(slot),
            }
        }
        match (wrong, layout.encoding) {
            (None, _) => each(sink, line, &values[..columns.len()])?,
            (Some(slot), Encoding::Utf8) => sink.bad(line, columns[slot].name, "not UTF-8")?,
            (Some(_), Encoding::Utf8OrLatin1) => {
                let latin = |field: &[u8]| match std::str::from_utf8(field) {
                    Ok(text) => text.to_owned(),
                    Err(_) => field.iter().map(|&byte| char::from(byte)).collect(),
                };
                let texts: Vec<String> = fields.map(latin).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                each(sink, line, &texts)?;
            }
        }
    }
}

/// Where each wanted column is.
pub(super) fn positions<S: AsRef<str>>(
    file: &LogFile,
    columns: &[Column],
    header: &[S],
) -> Result<Vec<Option<usize>>> {
    let find = |column: &Column| match column.find(header) {
        None if column.required => {
            let names: Vec<&str> = header.iter().map(AsRef::as_ref).collect();
            let also = match column.aliases {
                [] => String::new(),
                aliases => format!(" (or `{}`)", aliases.join("`, `")),
            };
            Err(file.malformed(format!(
                "no column `{}`{also}, the header has `{}`",
                column.name,
                names.join("`, `")
            )))
        }
        found => Ok(found),
    };
    columns.iter().map(find).collect()
}

/// Records of a file with separators.
enum Records {
    Quoted(csv::Reader<Box<dyn BufRead>>),
    Plain { reader: Box<dyn BufRead>, separator: &'static str, line: u64, buffer: Vec<u8> },
}

impl Records {
    fn open(file: &LogFile, separator: Separator) -> Result<Self> {
        let reader = file.open()?;
        Ok(match separator {
            Separator::Comma => Self::Quoted(
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader),
            ),
            Separator::Plain(separator) => {
                Self::Plain { reader, separator, line: 0, buffer: Vec::new() }
            }
        })
    }

    /// The next record and its line, none at the end. Empty lines are no records.
    fn next(&mut self, record: &mut ByteRecord) -> io::Result<Option<u64>> {
        match self {
            Self::Quoted(reader) => {
                let more = reader.read_byte_record(record)?;
                Ok(more.then(|| record.position().map_or(0, csv::Position::line)))
            }
            Self::Plain { reader, separator, line, buffer } => loop {
                buffer.clear();
                if reader.read_until(b'\n', buffer)? == 0 {
                    return Ok(None);
                }
                *line += 1;
                let text = trimmed(buffer, *line == 1);
                if text.is_empty() {
                    continue;
                }
                record.clear();
                split(text, separator.as_bytes(), |field| record.push_field(field));
                return Ok(Some(*line));
            },
        }
    }
}

/// A line without its end and, in the first, without the mark of UTF-8.
pub(super) fn trimmed(line: &[u8], is_first: bool) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
}

fn split(mut text: &[u8], separator: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some(at) = text.windows(separator.len()).position(|window| window == separator) {
        each(&text[..at]);
        text = &text[at + separator.len()..];
    }
    each(text);
}

/// What stands between the elements of a list in one field.
pub(super) const LIST_SEPARATOR: &str = "|";

/// A weight: a number, true or false; nothing is 1.
pub(super) fn weight(text: &str) -> Result<f32, &'static str> {
    match text.trim() {
        "" | "true" | "True" | "TRUE" => Ok(1.0),
        "false" | "False" | "FALSE" => Ok(0.0),
        text => text.parse().map_err(|_| "not a number"),
    }
}

/// The numbers of a list like `[20, 34, 3]`, with or without brackets and quotes.
pub(super) fn number_list(text: &str) -> Result<Vec<u32>, String> {
    let inner = text.trim().trim_matches(['"', '\'']).trim();
    let inner = inner.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(inner).trim();
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let number = |part: &str| {
        let part = part.trim().trim_matches(['"', '\'']);
        part.parse().map_err(|_| format!("expected numbers like [20, 34], found `{part}`"))
    };
    inner.split(',').map(number).collect()
}

/// Numbers as a text whose words they are.
pub(super) fn number_words(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The error of a file whose name says nothing to a format with fixed names.
pub(super) fn unknown_file(file: &LogFile, expected: &str) -> Error {
    file.malformed(format!("not a file of this format, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(number_list("[20, 34, 3]"), Ok(vec![20, 34, 3]));
        assert_eq!(number_list("['20', '34']"), Ok(vec![20, 34]));
        assert_eq!(number_list("\"[7]\""), Ok(vec![7]));
        assert_eq!(number_list("[]"), Ok(vec![]));
        assert!(number_list("[1, x]").is_err());
        assert!(number_list("[-1]").is_err());
    }

    #[test]
    fn names_are_compared_without_case_and_marks() {
        assert!(same_name("user_id", "User ID"));
        assert!(same_name("user_id", "userId"));
        assert!(!same_name("user_id", "user"));
    }
}
