//! TensorBoard event files: protocol buffer messages in TFRecord frames.
//!
//! ```text
//! length: u64 | mask(crc32c(length)): u32 | message | mask(crc32c(message)): u32, little-endian,
//! mask(c) = rotate_right(c, 15) + 0xa282ead8
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use trefoil_core::{Error, Picture, Result, png};

/// `tensorflow.Event`, as far as it is written here.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Unix time in seconds.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Position on the horizontal axis: samples seen.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// `brain.Event:2`, in the first event of a file.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// Values.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
    /// Start of a session: what an earlier one wrote at this step or later is void.
    #[prost(message, optional, tag = "7")]
    pub session_log: Option<SessionLog>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One entry per tag.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
    /// A picture.
    #[prost(message, optional, tag = "4")]
    pub image: Option<Image>,
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Height in pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Width in pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// 3: RGB.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// PNG.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded_image_string: Vec<u8>,
}

/// `tensorflow.SessionLog`.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// 1: start.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Creates `events.out.tfevents.*` in a folder. With `resumed_at`, TensorBoard forgets what earlier
    /// files of the folder say beyond that many samples.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub fn create(folder: &Path, resumed_at: Option<u64>) -> Result<Self> {
        let (path, file) = new_file(folder)?;
        let mut this = Self { file, path };
        let file_version = Some("brain.Event:2".into());
        this.append(&Event { file_version, ..event(0) })?;
        if let Some(samples) = resumed_at {
            let session_log = Some(SessionLog { status: 1 });
            this.append(&Event { session_log, ..event(samples + 1) })?;
        }
        Ok(this)
    }

    /// Adds points to curves.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub fn scalars(&mut self, samples: u64, scalars: &[(&str, f64)]) -> Result<()> {
        let value = |(tag, v): &(&str, f64)| Value {
            tag: (*tag).into(),
            simple_value: Some(*v as f32),
            image: None,
        };
        self.summary(samples, scalars.iter().map(value).collect())
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub fn picture(&mut self, samples: u64, tag: &str, picture: &Picture) -> Result<()> {
        let image = Image {
            height: picture.height() as i32,
            width: picture.width() as i32,
            colorspace: 3,
            encoded_image_string: png::encode(picture, &[])?,
        };
        self.summary(
            samples,
            vec![Value { tag: tag.into(), simple_value: None, image: Some(image) }],
        )
    }

    fn summary(&mut self, samples: u64, value: Vec<Value>) -> Result<()> {
        let summary = Some(Summary { value });
        self.append(&Event { summary, ..event(samples) })
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let record = frame(&event.encode_to_vec());
        let fail = |source| Error::Write { path: self.path.clone(), source };
        // One call, so that a killed process leaves whole records or one that readers wait for.
        self.file.write_all(&record).map_err(fail)
    }
}

/// An empty event of this moment.
fn event(samples: u64) -> Event {
    Event { wall_time: unix_time(), step: samples as i64, ..Event::default() }
}

/// Events of a file, for tools and tests; a record that is cut off ends the list.
///
/// # Errors
/// [`Error::Read`], or [`Error::Format`] when a checksum or a message is wrong.
pub fn read_events(path: &Path) -> Result<Vec<Event>> {
    let bytes = trefoil_core::fs::read(path)?;
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<8>() {
        let size = u64::from_le_bytes(*length) as usize;
        let Some((length_crc, after)) = after.split_first_chunk::<4>() else { break };
        if masked_crc(length) != u32::from_le_bytes(*length_crc) {
            return Err(Error::format(path, format!("record {}: wrong checksum", events.len())));
        }
        let Some((message, after)) = after.split_at_checked(size) else { break };
        let Some((message_crc, after)) = after.split_first_chunk::<4>() else { break };
        if masked_crc(message) != u32::from_le_bytes(*message_crc) {
            return Err(Error::format(path, format!("record {}: wrong checksum", events.len())));
        }
        let event = Event::decode(message).map_err(|e| Error::format(path, e.to_string()))?;
        events.push(event);
        rest = after;
    }
    Ok(events)
}

/// A TFRecord.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked_crc(message).to_le_bytes());
    record
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// A file whose name no other writer has; names sort by time, which is the order TensorBoard reads in.
fn new_file(folder: &Path) -> Result<(PathBuf, File)> {
    let (seconds, process) = (unix_time() as u64, std::process::id());
    let mut number = 0;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.trefoil.{process}.{number:03}");
        let path = folder.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(Error::Write { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame of `b"hello"`, printed by `tensorboard.summary.writer.record_writer.RecordWriter`
    /// (`reference/tfrecord.py`).
    #[test]
    fn frames_equal_those_of_tensorboard() {
        assert_eq!(frame(b"hello"), HELLO);
    }
    const HELLO: [u8; 21] =
        [5, 0, 0, 0, 0, 0, 0, 0, 234, 178, 4, 62, 104, 101, 108, 108, 111, 187, 31, 28, 25];

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), Some(64)).unwrap();
        writer.scalars(128, &[("loss/total", 0.5), ("train/learning_rate", 1e-4)]).unwrap();
        let picture = Picture::filled(3, 2, [10, 20, 30]);
        writer.picture(192, "samples", &picture).unwrap();

        let events = read_events(&writer.path).unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(events[1].step, 65);
        assert_eq!(events[1].session_log, Some(SessionLog { status: 1 }));
        let values = &events[2].summary.as_ref().unwrap().value;
        assert_eq!((events[2].step, values[0].tag.as_str()), (128, "loss/total"));
        assert_eq!((values[0].simple_value, values[1].simple_value), (Some(0.5), Some(1e-4)));
        let image = events[3].summary.as_ref().unwrap().value[0].image.as_ref().unwrap();
        assert_eq!((image.width, image.height), (3, 2));
        assert_eq!(Picture::decode(&image.encoded_image_string, "event").unwrap(), picture);
    }

    #[test]
    fn a_changed_byte_is_found_and_a_cut_record_ends_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), None).unwrap();
        writer.scalars(1, &[("a", 1.0)]).unwrap();
        let mut bytes = std::fs::read(&writer.path).unwrap();
        let copy = folder.path().join("copy");
        std::fs::write(&copy, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read_events(&copy).unwrap().len(), 1);
        let last = bytes.len() - 6;
        bytes[last] ^= 1;
        std::fs::write(&copy, &bytes).unwrap();
        assert!(read_events(&copy).unwrap_err().to_string().contains("record 1"));
    }
}
