//! Movements into files: .npz, .csv or .jsonl by the name, written whole or not at all.

use std::fmt::Write as _;
use std::io::{self, Cursor};
use std::path::Path;

use ndarray::{Array1, Array2, Array3, Axis};
use ndarray_npy::NpzWriter;
use serde_json::json;
use trajgan::data::{FEATURES, Scaler};
use trajgan::files::write_whole;
use trajgan::{Error, Model, Point, SampleOptions};

use crate::failure::{Failure, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Npz,
    Csv,
    JsonLines,
}

impl Format {
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => Ok(Format::Npz),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl") => Ok(Format::JsonLines),
            _ => Err(Failure::Usage(format!("{}: expected a name in .npz, .csv or .jsonl", path.display()))),
        }
    }
}

/// Samples as drawn: one batch.
struct Batch {
    /// (n,T,F) scaled, 0 beyond the length.
    features: Array3<f32>,
    lengths: Vec<usize>,
    /// (n,C) scaled.
    conditions: Array2<f32>,
}

/// Draws movements into a file. `only_features`: scaled features instead of points.
pub fn write(
    model: &Model,
    path: &Path,
    count: usize,
    conditions: Option<&[f64]>,
    options: &SampleOptions,
    only_features: bool,
) -> Result<()> {
    let format = Format::of(path)?;
    let scaler = model.data().and_then(|d| d.scaler.as_ref()).filter(|_| !only_features);
    if scaler.is_none() && !only_features && format != Format::Npz {
        let problem = "the model has learnt from arrays without limits: it has no points, ask for --features";
        return Err(Failure::Work(problem.into()));
    }
    if format == Format::Npz {
        let bytes = npz(&draw(model, count, conditions, options)?, scaler)?;
        return Ok(write_whole(path, |out| out.write_all(&bytes))?);
    }
    // In pieces, since text of many movements would not fit in memory: sample i is the same in any piece.
    let mut failed = None;
    let written = write_whole(path, |out| {
        if format == Format::Csv {
            let columns = if scaler.is_some() { "t_ms,x,y".to_owned() } else { columns(model) };
            writeln!(out, "movement,{columns}")?;
        }
        let dim = model.config().condition_dim;
        for start in (0..count).step_by(PIECE) {
            let n = PIECE.min(count - start);
            let conditions = conditions.map(|c| &c[start * dim..(start + n) * dim]);
            let options = SampleOptions { first: options.first + start as u64, ..options.clone() };
            let batch = draw(model, n, conditions, &options).map_err(|error| {
                failed = Some(error);
                io::Error::other("sampling failed")
            })?;
            for i in 0..n {
                let text = match format {
                    Format::Csv => csv(&batch, i, start + i, scaler),
                    _ => json_line(&batch, i, scaler),
                };
                out.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(written?),
    }
}

const PIECE: usize = 4096;

fn draw(model: &Model, count: usize, conditions: Option<&[f64]>, options: &SampleOptions) -> trajgan::Result<Batch> {
    let (features, lengths) = model.generate_features(count, conditions, options)?;
    Ok(Batch { features, lengths, conditions: model.sample_conditions(count, conditions, options)? })
}

impl Batch {
    /// Scaled features (length,F) of sample i.
    fn row(&self, i: usize) -> Vec<f32> {
        let f = self.features.dim().2;
        self.features.index_axis(Axis(0), i).iter().take(self.lengths[i] * f).copied().collect()
    }
}

/// Arrays as in the V4 layout: X (n,T,F), C (n) or (n,C), L (n); and points (n,T,3) of x, y in pixels and t in ms.
fn npz(batch: &Batch, scaler: Option<&Scaler>) -> Result<Vec<u8>> {
    let fail = |e: ndarray_npy::WriteNpzError| Failure::Work(format!("npz: {e}"));
    let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
    npz.add_array("X", &batch.features).map_err(fail)?;
    match batch.conditions.dim().1 {
        1 => npz.add_array("C", &batch.conditions.column(0).to_owned()).map_err(fail)?,
        _ => npz.add_array("C", &batch.conditions).map_err(fail)?,
    }
    let lengths: Array1<i32> = batch.lengths.iter().map(|&l| l as i32).collect();
    npz.add_array("L", &lengths).map_err(fail)?;
    if let Some(scaler) = scaler {
        let (n, steps, _) = batch.features.dim();
        let mut points = Array3::<f64>::zeros((n, steps, 3));
        for (i, mut movement) in points.outer_iter_mut().enumerate() {
            for (p, mut out) in scaler.points(&batch.row(i)).iter().zip(movement.outer_iter_mut()) {
                out.iter_mut().zip([p.x, p.y, p.t_ms]).for_each(|(out, v)| *out = v);
            }
        }
        npz.add_array("points", &points).map_err(fail)?;
    }
    Ok(npz.finish().map_err(fail)?.into_inner())
}

fn columns(model: &Model) -> String {
    let f = model.config().feature_dim;
    if f == FEATURES.len() { FEATURES.join(",") } else { (0..f).map(|k| format!("f{k}")).collect::<Vec<_>>().join(",") }
}

fn csv(batch: &Batch, i: usize, number: usize, scaler: Option<&Scaler>) -> String {
    let (row, mut text) = (batch.row(i), String::new());
    // Writing to a string does not fail.
    match scaler {
        Some(scaler) => {
            for p in scaler.points(&row) {
                let _ = writeln!(text, "{number},{:.3},{:.3},{:.3}", p.t_ms, p.x, p.y);
            }
        }
        None => {
            for step in row.chunks_exact(batch.features.dim().2) {
                let numbers: Vec<String> = step.iter().map(f32::to_string).collect();
                let _ = writeln!(text, "{number},{}", numbers.join(","));
            }
        }
    }
    text
}

/// `wanted` is the condition, in the units of the data where they are known.
fn json_line(batch: &Batch, i: usize, scaler: Option<&Scaler>) -> String {
    let condition: Vec<f32> = batch.conditions.row(i).to_vec();
    let row = batch.row(i);
    let line = match scaler {
        Some(scaler) => {
            let points = scaler.points(&row);
            let column = |of: fn(&Point) -> f64| points.iter().map(|p| thousandth(of(p))).collect::<Vec<_>>();
            let wanted: Vec<f64> = scaler.unscale_condition(&condition).into_iter().map(thousandth).collect();
            json!({ "x": column(|p| p.x), "y": column(|p| p.y), "t": column(|p| p.t_ms), "wanted": wanted })
        }
        None => {
            let steps: Vec<&[f32]> = row.chunks_exact(batch.features.dim().2).collect();
            json!({ "features": steps, "wanted": condition })
        }
    };
    format!("{line}\n")
}

/// More digits of a pixel or millisecond tell nothing.
fn thousandth(v: f64) -> f64 {
    (v * 1000.0).round() / 1000.0
}

/// A file of condition numbers: C a line, separated by commas or blanks.
pub fn read_conditions(path: &Path, dim: usize) -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path, e))?;
    let mut numbers = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", i + 1);
        let before = numbers.len();
        for word in line.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            let number = word.parse().map_err(|_| Error::format(path, &place, format!("{word} is no number")))?;
            numbers.push(number);
        }
        if numbers.len() - before != dim {
            let problem = format!("{} numbers, expected {dim}", numbers.len() - before);
            return Err(Error::format(path, place, problem).into());
        }
    }
    if numbers.is_empty() {
        return Err(Error::format(path, "conditions", "the file has none").into());
    }
    Ok(numbers)
}
