//! Movements into files: .npz, .csv or .jsonl by the name, written whole or not at all.

use std::io::{self, Cursor};
use std::ops::Range;
use std::path::Path;

use ndarray::{Array1, Array3};
use ndarray_npy::NpzWriter;
use serde_json::json;
use trajgan::config::DecoderKind;
use trajgan::data::FEATURES;
use trajgan::files::write_whole;
use trajgan::{Error, Model, Point, SampleOptions};
use zip::CompressionMethod::Stored;
use zip::write::SimpleFileOptions;

use crate::console;
use crate::failure::{Failure, Result, read_text};

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

/// What to draw.
pub struct Order<'a> {
    pub model: &'a Model,
    pub count: usize,
    /// count x C, or drawn from the training data.
    pub conditions: Option<&'a [f64]>,
    pub options: SampleOptions,
    /// Scaled features instead of points.
    pub features: bool,
}

impl Order<'_> {
    /// Draws the movements into a file. How many of the closed loop's took all points that there are: their last steps go to
    /// their targets, whatever is left.
    pub fn write(&self, path: &Path) -> Result<usize> {
        let format = Format::of(path)?;
        let pixels = self.model.data().is_some_and(|d| d.scaler.is_some());
        if format == Format::Npz {
            let (bytes, forced) = self.npz(pixels && !self.features)?;
            write_whole(path, |out| out.write_all(&bytes))?;
            return Ok(forced);
        }
        let mut forced = 0;
        console::watch_interrupts()?;
        let (mut failed, before) = (None, console::interrupted());
        let written = write_whole(path, |out| {
            if format == Format::Csv {
                writeln!(out, "movement,{}", if self.features { columns(self.model) } else { "t_ms,x,y".into() })?;
            }
            // In pieces, since text of many movements would not fit in memory: sample i is the same in any piece.
            for start in (0..self.count).step_by(PIECE) {
                if console::interrupted() && !before {
                    failed = Some(Failure::Work(format!("interrupted; {} is as it was", path.display())));
                    return Err(io::Error::other("interrupted"));
                }
                let piece = self.piece(start..self.count.min(start + PIECE));
                let (text, more) = piece.text(format, start).map_err(|error| {
                    failed = Some(error.into());
                    io::Error::other("sampling failed")
                })?;
                forced += more;
                out.write_all(text.as_bytes())?;
            }
            Ok(())
        });
        match failed {
            Some(failure) => Err(failure),
            None => Ok(written.map(|()| forced)?),
        }
    }

    fn piece(&self, range: Range<usize>) -> Order<'_> {
        let dim = self.model.config().condition_dim;
        let first = self.options.first.wrapping_add(range.start as u64);
        let conditions = self.conditions.map(|c| &c[range.start * dim..range.end * dim]);
        Order { count: range.len(), conditions, options: SampleOptions { first, ..self.options.clone() }, ..*self }
    }

    /// Movements as text, and how many were forced; `number`: of the first of them.
    fn text(&self, format: Format, number: usize) -> trajgan::Result<(String, usize)> {
        let Order { model, count, conditions, options, .. } = self;
        let wanted = model.sample_conditions(*count, *conditions, options)?;
        let scaler = model.data().and_then(|d| d.scaler.as_ref());
        let wanted = |i: usize| {
            let row = wanted.row(i);
            let numbers = || row.iter().map(|&c| f64::from(c));
            match (model.config().decoder, scaler) {
                (DecoderKind::ClosedLoop, _) => numbers().map(thousandth).collect(),
                (DecoderKind::V6, Some(scaler)) => {
                    scaler.unscale_condition(&row.to_vec()).into_iter().map(thousandth).collect()
                }
                (DecoderKind::V6, None) => numbers().collect::<Vec<_>>(),
            }
        };
        if self.features {
            let (x, lengths) = model.generate_features(*count, *conditions, options)?;
            let forced = self.model.out_of_points(lengths.iter().copied());
            let rows = x.outer_iter().zip(lengths).enumerate();
            let text = rows.map(|(i, (x, length))| {
                let rows: Vec<Vec<f32>> = x.outer_iter().take(length).map(|row| row.to_vec()).collect();
                match format {
                    Format::Csv => rows.iter().map(|row| csv_line(number + i, row)).collect(),
                    _ => format!("{}\n", json!({ "features": rows, "wanted": wanted(i) })),
                }
            });
            return Ok((text.collect(), forced));
        }
        let movements = model.generate(*count, *conditions, options)?;
        let text = movements.iter().enumerate().map(|(i, m)| match format {
            Format::Csv => {
                let line = |p: &Point| csv_line(number + i, &[p.t_ms, p.x, p.y].map(thousandth));
                m.points.iter().map(line).collect()
            }
            _ => {
                let column = |of: fn(&Point) -> f64| m.points.iter().map(|p| thousandth(of(p))).collect::<Vec<_>>();
                let (x, y, t) = (column(|p| p.x), column(|p| p.y), column(|p| p.t_ms));
                format!("{}\n", json!({ "x": x, "y": y, "t": t, "wanted": wanted(i) }))
            }
        });
        Ok((text.collect(), self.model.out_of_points(movements.iter().map(|m| m.points.len()))))
    }

    /// Arrays as in the V4 layout: X (n,T,F) and C (n) or (n,C) scaled, but closed-loop: C (n) in px, L (n); and points (n,T,3)
    /// of x, y in pixels and t in ms, 0 beyond the length. And how many were forced.
    fn npz(&self, with_points: bool) -> Result<(Vec<u8>, usize)> {
        let Order { model, count, conditions, options, .. } = self;
        let fail = |e: ndarray_npy::WriteNpzError| Failure::Work(format!("npz: {e}"));
        let options_of_parts = SimpleFileOptions::default().compression_method(Stored).large_file(true);
        let mut npz = NpzWriter::new_with_options(Cursor::new(Vec::new()), options_of_parts);
        let (x, lengths) = model.generate_features(*count, *conditions, options)?;
        npz.add_array("X", &x).map_err(fail)?;
        let wanted = model.sample_conditions(*count, *conditions, options)?;
        match wanted.dim().1 {
            1 => npz.add_array("C", &wanted.column(0).to_owned()).map_err(fail)?,
            _ => npz.add_array("C", &wanted).map_err(fail)?,
        }
        let forced = self.model.out_of_points(lengths.iter().copied());
        let lengths: Array1<i32> = lengths.iter().map(|&l| l as i32).collect();
        npz.add_array("L", &lengths).map_err(fail)?;
        if with_points {
            let mut points = Array3::<f64>::zeros((*count, x.dim().1, 3));
            let movements = model.generate(*count, *conditions, options)?;
            for (m, mut rows) in movements.iter().zip(points.outer_iter_mut()) {
                for (p, mut row) in m.points.iter().zip(rows.outer_iter_mut()) {
                    row.iter_mut().zip([p.x, p.y, p.t_ms]).for_each(|(out, v)| *out = v);
                }
            }
            npz.add_array("points", &points).map_err(fail)?;
        }
        Ok((npz.finish().map_err(fail)?.into_inner(), forced))
    }
}

const PIECE: usize = 4096;

/// What --count asks for so many times, if there is room for it.
pub fn repeated<T: Clone>(value: T, count: usize) -> Result<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count)
        .map_err(|_| Failure::Usage(format!("--count {count}: there is no memory for so many")))?;
    all.resize(count, value);
    Ok(all)
}

fn columns(model: &Model) -> String {
    let f = model.config().feature_dim;
    if f == FEATURES.len() { FEATURES.join(",") } else { (0..f).map(|k| format!("f{k}")).collect::<Vec<_>>().join(",") }
}

fn csv_line<T: ToString>(number: usize, row: &[T]) -> String {
    let numbers: Vec<String> = row.iter().map(T::to_string).collect();
    format!("{number},{}\n", numbers.join(","))
}

/// More digits of a pixel or millisecond tell nothing.
pub fn thousandth(v: f64) -> f64 {
    (v * 1000.0).round() / 1000.0
}

/// A file of condition numbers: C a line, separated by commas or blanks.
pub fn read_conditions(path: &Path, dim: usize) -> Result<Vec<f64>> {
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
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
