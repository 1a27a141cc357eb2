//! Prepared data as a folder that NumPy and `Dataset::open` read: the V4 layout with its limits as JSON.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::prepare::Prepared;
use super::readers::{npy, v4};
use super::scaler::CLIPPED;
use super::{FEATURES, Scaler, Split};
use crate::error::{Error, Result};
use crate::files::write_whole;

impl Prepared {
    /// All that [`Prepared::export`] writes.
    pub fn file_names() -> Vec<String> {
        let arrays = v4::SPLITS.iter().flat_map(|split| ["X", "C", "L"].map(|letter| array(letter, split)));
        arrays.chain([v4::SCALER, v4::NOTES].map(str::to_owned)).collect()
    }

    /// Writes X_, C_ and L_ of train, val and test (float32 (N,T,F), float32 (N) or (N,C), int32 (N); T the
    /// longest length), scaler.json where there is a scaler, and normalization.json to read. Each file is
    /// written beside its place and then renamed, so that a file is the old one or the new one.
    pub fn export(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let splits = [&self.train, &self.validation, &self.test];
        let longest = splits.iter().flat_map(|split| split.lengths()).max().unwrap_or(1);
        for (split, name) in splits.into_iter().zip(v4::SPLITS) {
            write_split(split, name, longest, folder)?;
        }
        if let Some(scaler) = &self.scaler {
            write_json(&folder.join(v4::SCALER), &json!(scaler))?;
        } else {
            // Limits of what was here before do not fit these features.
            [v4::SCALER, v4::PARAMS].iter().try_for_each(|name| remove_old(&folder.join(name)))?;
        }
        let mut notes = json!({ "quality_filtered": true, "counts": self.report, "train_sha256": self.hash });
        if let Some(scaler) = &self.scaler {
            notes["features"] = limits(scaler);
            notes["condition"] = json!({ "min": scaler.condition_min, "max": scaler.condition_max });
        }
        write_json(&folder.join(v4::NOTES), &notes)
    }
}

/// Where it is there.
fn remove_old(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// The limits of each feature by its name.
fn limits(scaler: &Scaler) -> Value {
    let mut features = Map::new();
    for (i, name) in FEATURES.iter().enumerate() {
        let mut limits = json!({ "min": scaler.min[i], "max": scaler.max[i] });
        if let Some(k) = CLIPPED.iter().position(|&column| column == i) {
            limits["clip_low"] = scaler.clip_low[k].into();
            limits["clip_high"] = scaler.clip_high[k].into();
        }
        features.insert((*name).to_owned(), limits);
    }
    Value::Object(features)
}

fn array(letter: &str, split: &str) -> String {
    format!("{letter}_{split}.npy")
}

fn write_split(split: &Split, name: &str, longest: usize, folder: &Path) -> Result<()> {
    let (n, f, c) = (split.len(), split.feature_dim(), split.condition_dim());
    let path = |letter: &str| folder.join(array(letter, name));
    write_whole(&path("X"), |out| {
        out.write_all(&npy::header("<f4", &[n, longest, f]))?;
        let padding = vec![0; longest * f * 4];
        for i in 0..n {
            let row = split.features(i);
            for value in row {
                out.write_all(&value.to_le_bytes())?;
            }
            out.write_all(&padding[row.len() * 4..])?;
        }
        Ok(())
    })?;
    write_whole(&path("C"), |out| {
        let shape = if c == 1 { vec![n] } else { vec![n, c] };
        out.write_all(&npy::header("<f4", &shape))?;
        split.conditions().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    })?;
    write_whole(&path("L"), |out| {
        out.write_all(&npy::header("<i4", &[n]))?;
        split.lengths().iter().try_for_each(|&length| out.write_all(&(length as i32).to_le_bytes()))
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_whole(path, |out| Ok(serde_json::to_writer_pretty(out, value)?))
}
