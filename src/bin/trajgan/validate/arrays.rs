//! A folder of arrays, split by split.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use trajgan::config::MAX_STEPS;
use trajgan::data::{FEATURES, Split};
use trajgan::{Config, Dataset, Result};

use super::{FileReport, spread};
use crate::console::shown;
use crate::settings::Settings;

/// Scaled numbers may pass 1 by rounding.
const ROUNDING: f32 = 1e-4;

pub fn check(folder: &Path, settings: &Settings) -> Vec<FileReport> {
    match splits(folder, settings) {
        Ok(reports) => reports,
        Err(error) => vec![FileReport {
            path: shown(folder),
            unusable: vec![error.to_string()],
            summary: "cannot be used".into(),
            ..FileReport::default()
        }],
    }
}

fn splits(folder: &Path, settings: &Settings) -> Result<Vec<FileReport>> {
    let (data, _) = Dataset::open(folder, &settings.read)?;
    // As they are: nothing filtered.
    let config = Config {
        feature_dim: data.feature_dim(),
        condition_dim: data.condition_dim(),
        max_seq_len: MAX_STEPS,
        quality_z: 0.0,
        quality_min_length: 0,
        ..settings.config.clone()
    };
    let prepared = data.prepare(&config, None)?;
    let mut seen = HashSet::new();
    let named = [("train", &prepared.train), ("val", &prepared.validation), ("test", &prepared.test)];
    let mut reports: Vec<FileReport> = named
        .into_iter()
        .map(|(name, split)| {
            let mut report = FileReport { path: shown(&folder.join(format!("X_{name}.npy"))), ..FileReport::default() };
            for letter in ["X", "C", "L"] {
                if let Some(shape) = shape(&folder.join(format!("{letter}_{name}.npy"))) {
                    report.fact(&format!("{letter}_shape"), shape);
                }
            }
            describe(&mut report, split, &mut seen);
            report
        })
        .collect();
    if prepared.scaler.is_none() {
        let speaks = "a model of it speaks features, not pixels";
        let note = match data.feature_dim() {
            f if f == FEATURES.len() => format!("no limits (scaler.json or normalization_params.npy): {speaks}"),
            f => format!("{f} features, which are not the eight of movements: {speaks}"),
        };
        reports[0].warnings.push(note);
    }
    Ok(reports)
}

fn describe(report: &mut FileReport, split: &Split, seen: &mut HashSet<Vec<u32>>) {
    let mut lengths: Vec<f64> = split.lengths().iter().map(|&l| l as f64).collect();
    let Some(lengths) = spread(&mut lengths) else {
        report.summary = "empty".into();
        report.warnings.push("no movements".into());
        return;
    };
    let f = split.feature_dim();
    let mut limits = vec![[f32::INFINITY, f32::NEG_INFINITY]; f];
    let mut copies = 0;
    for i in 0..split.len() {
        for row in split.features(i).chunks_exact(f) {
            for (limit, &v) in limits.iter_mut().zip(row) {
                *limit = [limit[0].min(v), limit[1].max(v)];
            }
        }
        copies += usize::from(!seen.insert(split.features(i).iter().map(|v| v.to_bits()).collect()));
    }
    let name = |k: usize| if f == FEATURES.len() { FEATURES[k].to_owned() } else { format!("feature {k}") };
    for (k, [low, high]) in limits.iter().enumerate() {
        report.fact(&name(k), vec![*low, *high]);
        if *low < -1.0 - ROUNDING || *high > 1.0 + ROUNDING {
            report.unusable.push(format!("{} is {low} to {high}, expected -1 to 1", name(k)));
        } else if low == high {
            report.warnings.push(format!("{} is always {low}", name(k)));
        }
    }
    let conditions = split.conditions().iter();
    let (low, high) = conditions.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &c| (a.min(c), b.max(c)));
    if low < -1.0 - ROUNDING || high > 1.0 + ROUNDING {
        report.warnings.push(format!("conditions are {low} to {high}, expected -1 to 1"));
    }
    if copies > 0 {
        report.warnings.push(format!("{copies} movements are the same as others"));
    }
    report.fact("movements", split.len());
    report.fact("points", lengths.to_vec());
    report.fact("conditions", vec![low, high]);
    report.fact("duplicates", copies);
    report.summary = format!(
        "{} movements, {} to {} points, {f} features, conditions {low:.3} to {high:.3}",
        split.len(),
        lengths[0],
        lengths[2],
    );
}

/// As the header of an .npy file that has been read says it.
fn shape(path: &Path) -> Option<Vec<usize>> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
    let text = String::from_utf8_lossy(&start);
    let (_, rest) = text.split_once("'shape': (")?;
    Some(rest.split_once(')')?.0.split(',').filter_map(|extent| extent.trim().parse().ok()).collect())
}
