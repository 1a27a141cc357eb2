//! TensorBoard's event files: protocol buffers (tensorflow/core/util/event.proto, framework/summary.proto) in records
//! with checksums (TFRecord). Only what is written here is known here: scalars, pictures, histograms.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::canvas::Picture;

/// One entry of an event.
pub enum Value<'a> {
    Scalar(f32),
    Image(&'a Picture),
    Histogram(&'a [f32]),
}

pub struct EventFile {
    file: File,
}

impl EventFile {
    /// A new file in `folder`, named as TensorBoard wants it.
    pub fn create(folder: &Path) -> io::Result<EventFile> {
        let mut attempt = 0;
        loop {
            let name = format!("events.out.tfevents.{}.trajgan.{}.{attempt}", now() as u64, std::process::id());
            match File::create_new(folder.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                file => {
                    let mut events = EventFile { file: file? };
                    let mut version = Message::default();
                    version.bytes(3, b"brain.Event:2");
                    events.event(0, version)?;
                    return Ok(events);
                }
            }
        }
    }

    /// One event with its entries.
    pub fn write(&mut self, step: u64, entries: &[(&str, Value)]) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, value) in entries {
            let mut entry = Message::default();
            entry.bytes(1, tag.as_bytes());
            match value {
                Value::Scalar(x) => entry.float(2, *x),
                Value::Image(picture) => entry.bytes(4, &image(picture).0),
                Value::Histogram(numbers) => entry.bytes(5, &histogram(numbers).0),
            }
            summary.bytes(1, &entry.0);
        }
        let mut body = Message::default();
        body.bytes(5, &summary.0);
        self.event(step, body)
    }

    fn event(&mut self, step: u64, body: Message) -> io::Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        event.varint(2, step);
        event.0.extend(body.0);
        let length = (event.0.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.0.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length));
        record.extend(&event.0);
        record.extend(masked_crc(&event.0));
        // One call, so that a reader meets whole records.
        self.file.write_all(&record)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// TFRecord's: rotated, and moved by a constant, since checksums of checksums are weak.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn image(picture: &Picture) -> Message {
    const RGB: u64 = 3;
    let mut message = Message::default();
    message.varint(1, picture.height.into());
    message.varint(2, picture.width.into());
    message.varint(3, RGB);
    message.bytes(4, &picture.png);
    message
}

/// HistogramProto with buckets of equal width. Numbers that are not finite are left out.
fn histogram(numbers: &[f32]) -> Message {
    const BUCKETS: usize = 30;
    let finite: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite()).collect();
    let (low, high) = finite.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let (low, high) = if finite.is_empty() { (0.0, 0.0) } else { (low, high) };
    let width = if high > low { (high - low) / BUCKETS as f64 } else { 1.0 };
    let mut counts = [0.0; BUCKETS];
    finite.iter().for_each(|x| counts[(((x - low) / width) as usize).min(BUCKETS - 1)] += 1.0);
    let limits: [f64; BUCKETS] = std::array::from_fn(|i| low + width * (i + 1) as f64);
    let mut message = Message::default();
    message.double(1, low);
    message.double(2, high);
    message.double(3, finite.len() as f64);
    message.double(4, finite.iter().sum());
    message.double(5, finite.iter().map(|x| x * x).sum());
    message.doubles(6, &limits);
    message.doubles(7, &counts);
    message
}

/// A protocol buffer in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    /// kind: 0 varint, 1 eight bytes, 2 counted bytes, 5 four bytes.
    fn key(&mut self, field: u64, kind: u64) {
        self.raw_varint(field << 3 | kind);
    }

    fn varint(&mut self, field: u64, v: u64) {
        self.key(field, 0);
        self.raw_varint(v);
    }

    fn double(&mut self, field: u64, v: f64) {
        self.key(field, 1);
        self.0.extend(v.to_le_bytes());
    }

    fn float(&mut self, field: u64, v: f32) {
        self.key(field, 5);
        self.0.extend(v.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn doubles(&mut self, field: u64, numbers: &[f64]) {
        let packed: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed);
    }
}
