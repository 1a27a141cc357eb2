//! A folder of padded, scaled arrays in the V4 layout: X_{split}.npy (N,T,F), C_{split}.npy (N) or (N,C),
//! L_{split}.npy (N) for train, val and test, with the limits they were scaled with: ours in scaler.json, or
//! V4's in normalization_params.npy.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{ReadOptions, npy, pickle};
use crate::config::MAX_STEPS;
use crate::data::scaler::CLIPPED;
use crate::data::{FEATURES, Scaler};
use crate::error::{Error, Result, try_zeroed};
use crate::files::open_regular;

pub(crate) const SPLITS: [&str; 3] = ["train", "val", "test"];
pub(crate) const SCALER: &str = "scaler.json";
pub(crate) const NOTES: &str = "normalization.json";
pub(crate) const PARAMS: &str = "normalization_params.npy";
const MAX_JSON: u64 = 1 << 20;

/// One split, without padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// The movements' features one after the other: (sum of lengths, F).
    pub features: Vec<f32>,
    pub lengths: Vec<usize>,
    /// (N,C) scaled.
    pub conditions: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folder {
    pub feature_dim: usize,
    pub condition_dim: usize,
    pub splits: [Rows; 3],
    pub scaler: Option<Scaler>,
    /// `Prepared::export` wrote it: the quality filter has been there.
    pub filtered: bool,
}

pub(crate) fn is_folder(path: &Path) -> bool {
    path.join("X_train.npy").is_file()
}

pub(crate) fn read(folder: &Path, options: &ReadOptions) -> Result<Folder> {
    let mut shape: Option<(usize, usize, usize)> = None; // T, F, C
    let mut splits: [Rows; 3] = Default::default();
    for (rows, name) in splits.iter_mut().zip(SPLITS) {
        let (read, found) = read_split(folder, name, options)?;
        let expected = shape.get_or_insert(found);
        let parts = [("T", found.0, expected.0), ("F", found.1, expected.1)];
        if let Some((letter, got, wanted)) = parts.into_iter().find(|p| p.1 != p.2) {
            let problem = format!("{letter} is {got}, expected {wanted} as in X_train.npy");
            return Err(Error::format(array(folder, "X", name), "shape", problem));
        }
        if found.2 != expected.2 {
            let problem = format!("C is {}, expected {} as in C_train.npy", found.2, expected.2);
            return Err(Error::format(array(folder, "C", name), "shape", problem));
        }
        *rows = read;
    }
    let (_, feature_dim, condition_dim) = shape.unwrap_or_default();
    let scaler = if feature_dim == FEATURES.len() { scaler(folder, condition_dim)? } else { None };
    let notes = folder.join(NOTES);
    let notes = if notes.exists() { json(&notes)? } else { serde_json::Value::Null };
    let filtered = notes["quality_filtered"].as_bool().unwrap_or(false);
    Ok(Folder { feature_dim, condition_dim, splits, scaler, filtered })
}

fn array(folder: &Path, letter: &str, split: &str) -> PathBuf {
    folder.join(format!("{letter}_{split}.npy"))
}

fn read_split(folder: &Path, split: &str, options: &ReadOptions) -> Result<(Rows, (usize, usize, usize))> {
    let [x_path, c_path, l_path] = ["X", "C", "L"].map(|letter| array(folder, letter, split));
    for path in [&x_path, &c_path, &l_path] {
        let size = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
        if size > options.max_bytes {
            return Err(Error::format(path, "size", format!("is above {} bytes", options.max_bytes)));
        }
    }
    let x = npy::read(&x_path, &npy::FLOATS, &[3])?;
    let c = npy::read(&c_path, &npy::FLOATS, &[1, 2])?;
    let l = npy::read(&l_path, &npy::WHOLE, &[1])?;
    let (n, t, f) = (x.shape[0], x.shape[1], x.shape[2]);
    if !(1..=MAX_STEPS).contains(&t) || f == 0 {
        let problem = format!("is {:?}, expected (N,T,F) with T 1 to {MAX_STEPS} and F 1 or more", x.shape);
        return Err(Error::format(&x_path, "shape", problem));
    }
    for (path, array) in [(&c_path, &c), (&l_path, &l)] {
        if array.shape[0] != n {
            let problem = format!("N is {}, expected {n} as in X_{split}.npy", array.shape[0]);
            return Err(Error::format(path, "shape", problem));
        }
    }
    let condition_dim = c.shape.get(1).copied().unwrap_or(1);
    if condition_dim == 0 {
        return Err(Error::format(&c_path, "shape", "C is 0, expected 1 or more"));
    }
    let lengths = lengths(&l, t, &l_path)?;
    let x = floats(x, &x_path)?;
    let mut features = try_zeroed(lengths.iter().sum::<usize>() * f, "features")?;
    let mut to = 0;
    for (i, &length) in lengths.iter().enumerate() {
        let row = &x[i * t * f..][..length * f];
        if let Some(bad) = row.iter().position(|v| !v.is_finite()) {
            let field = format!("[{i},{},{}]", bad / f, bad % f);
            return Err(Error::format(&x_path, field, format!("is {}, expected a finite number", row[bad])));
        }
        features[to..][..row.len()].copy_from_slice(row);
        to += row.len();
    }
    let conditions = floats(c, &c_path)?;
    if let Some(bad) = conditions.iter().position(|v| !v.is_finite()) {
        let problem = format!("is {}, expected a finite number", conditions[bad]);
        return Err(Error::format(&c_path, format!("[{}]", bad / condition_dim), problem));
    }
    Ok((Rows { features, lengths, conditions }, (t, f, condition_dim)))
}

fn lengths(array: &npy::Array, most: usize, path: &Path) -> Result<Vec<usize>> {
    let check = |(i, value): (usize, i64)| match usize::try_from(value) {
        Ok(length) if (1..=most).contains(&length) => Ok(length),
        _ => Err(Error::format(path, format!("[{i}]"), format!("is {value}, expected 1 to {most}"))),
    };
    match &array.values {
        npy::Values::Whole(v) => v.iter().copied().enumerate().map(check).collect(),
        _ => Err(Error::format(path, "dtype", "expected whole numbers")),
    }
}

fn floats(array: npy::Array, path: &Path) -> Result<Vec<f32>> {
    match array.values {
        npy::Values::F32(v) => Ok(v),
        npy::Values::F64(v) => {
            let mut narrow = try_zeroed(v.len(), "arrays")?;
            narrow.iter_mut().zip(v).for_each(|(to, from)| *to = from as f32);
            Ok(narrow)
        }
        _ => Err(Error::format(path, "dtype", "expected floating point numbers")),
    }
}

fn scaler(folder: &Path, condition_dim: usize) -> Result<Option<Scaler>> {
    let (ours, theirs) = (folder.join(SCALER), folder.join(PARAMS));
    let (path, scaler) = if ours.exists() {
        let scaler: Scaler = json(&ours)?;
        (ours, scaler)
    } else if theirs.exists() {
        let scaler = from_params(&pickle::read_numbers(&theirs)?, &theirs)?;
        (theirs, scaler)
    } else {
        return Ok(None);
    };
    scaler.check().map_err(|e| super::in_file(&path, "", e))?;
    if scaler.condition_dim() != condition_dim {
        let problem = format!("is for {} numbers, expected {condition_dim} as in C_train.npy", scaler.condition_dim());
        return Err(Error::format(path, "condition", problem));
    }
    Ok(Some(scaler))
}

fn from_params(params: &BTreeMap<String, f64>, path: &Path) -> Result<Scaler> {
    let get = |name: String| params.get(&name).copied().ok_or_else(|| Error::format(path, name, "is missing"));
    let mut scaler = Scaler {
        min: [0.0; 8],
        max: [0.0; 8],
        clip_low: [0.0; 3],
        clip_high: [0.0; 3],
        condition_min: vec![get("actual_dist_min".into())?],
        condition_max: vec![get("actual_dist_max".into())?],
    };
    for (i, name) in FEATURES.iter().enumerate() {
        scaler.min[i] = get(format!("{name}_min"))?;
        scaler.max[i] = get(format!("{name}_max"))?;
    }
    for (i, column) in CLIPPED.into_iter().enumerate() {
        let name = FEATURES[column];
        scaler.clip_low[i] = get(format!("clip_params.{name}_low"))?;
        scaler.clip_high[i] = get(format!("clip_params.{name}_high"))?;
    }
    Ok(scaler)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(Error::format(path, "size", format!("is above {MAX_JSON} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, "json", e))
}
