//! Recordings, file by file.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use trajgan::data::{ReadReport, StepCodec};
use trajgan::{Dataset, Error, Movement};

use super::{FileReport, spread};
use crate::console::shown;
use crate::failure::{Failure, Result};
use crate::settings::Settings;
use crate::{recordings, run_folder};

/// Of folders within folders, as the reader's.
const MAX_DEPTH: usize = 8;
/// Kinds of rejection that mean damage; others are movements left out on purpose.
const DAMAGE: [&str; 4] = ["broken file", "broken line", "broken row", "unknown kind of file"];

/// Movements seen so far, as their numbers.
type Seen = HashSet<Vec<u64>>;

pub fn check(path: &Path, settings: &Settings) -> Result<Vec<FileReport>> {
    let mut files = Vec::new();
    if fs::metadata(path).map_err(|e| Failure::io(path, e))?.is_dir() {
        list(path, 0, &mut files)?;
    } else {
        files.push(path.to_owned());
    }
    if files.is_empty() {
        return Err(Error::format(path, "folder", "is empty, expected recordings").into());
    }
    let mut seen = Seen::new();
    let mut reports: Vec<FileReport> = files.into_iter().map(|file| check_file(file, settings, &mut seen)).collect();
    reports.extend(check_together(path, &reports));
    Ok(reports)
}

/// What is wrong with the folder though not with a file of it: training takes movements with conditions like the first's.
fn check_together(folder: &Path, files: &[FileReport]) -> Option<FileReport> {
    let facts = files.iter().map(|file| &file.facts);
    let mut kinds = facts.filter_map(|facts| Some((facts.get("condition_dim"), facts.get("movements")?.as_u64()?)));
    let (first, _) = kinds.next()?;
    let more: u64 = kinds.filter(|(condition, _)| *condition != first).map(|(_, movements)| movements).sum();
    let mut report = FileReport { path: shown(folder), summary: "all files together".into(), ..Default::default() };
    report.warnings.push(format!("left out, condition unlike the first movement's: {more}"));
    (more > 0).then_some(report)
}

/// Folders that are too deep are listed themselves.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for path in run_folder::entries(folder)? {
        if path.is_dir() && depth < MAX_DEPTH {
            list(&path, depth + 1, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(path: PathBuf, settings: &Settings, seen: &mut Seen) -> FileReport {
    let mut report = FileReport { path: shown(&path), ..FileReport::default() };
    let too_deep = || Error::format(&path, "folder", format!("is nested more than {MAX_DEPTH} deep"));
    let opened = if path.is_dir() { Err(too_deep()) } else { Dataset::open(&path, &settings.read) };
    match opened {
        Ok((data, read)) => {
            describe(&mut report, data.movements(), seen);
            if data.has_conditions() {
                report.fact("condition_dim", data.condition_dim());
            }
            clock(&mut report, data.movements(), settings);
            too_long(&mut report, data.movements(), settings.config.max_seq_len);
            rejected(&mut report, &read);
        }
        Err(error) => {
            report.summary = "cannot be used".into();
            report.unusable.push(error.to_string());
        }
    }
    report
}

fn describe(report: &mut FileReport, movements: &[Movement], seen: &mut Seen) {
    let all = || movements.iter().flat_map(|m| &m.points);
    let mut lengths: Vec<f64> = movements.iter().map(|m| m.points.len() as f64).collect();
    let mut durations: Vec<f64> = movements.iter().map(Movement::duration_ms).collect();
    let mut distances: Vec<f64> = movements.iter().map(Movement::straight_distance).collect();
    let steps = || movements.iter().flat_map(|m| m.points.windows(2));
    let mut dts: Vec<f64> = steps().map(|p| p[1].t_ms - p[0].t_ms).collect();
    let still = steps().filter(|p| p[0].x == p[1].x && p[0].y == p[1].y).count();
    let whole = all().all(|p| (p.t_ms - p.t_ms.round()).abs() < 1e-6);
    let pixels = all().all(|p| p.x.fract() == 0.0 && p.y.fract() == 0.0);
    let copies = movements.iter().filter(|m| !seen.insert(numbers(m))).count();
    let spreads = [spread(&mut lengths), spread(&mut durations), spread(&mut distances), spread(&mut dts)];
    let [Some(lengths), Some(durations), Some(distances), Some(dts)] = spreads else { return };
    let range = |values: &mut Vec<f64>| spread(values).unwrap_or_default();
    let x = range(&mut all().map(|p| p.x).collect());
    let y = range(&mut all().map(|p| p.y).collect());
    report.fact("movements", movements.len());
    for (name, values) in [
        ("points", lengths),
        ("duration_ms", durations),
        ("distance_px", distances),
        ("step_ms", dts),
        ("x", x),
        ("y", y),
    ] {
        report.fact(name, values.to_vec());
    }
    report.fact("rate_hz", 1000.0 / dts[1]);
    report.fact("whole_ms", whole);
    report.fact("whole_pixels", pixels);
    report.fact("repeated_positions", still);
    report.fact("duplicates", copies);
    report.summary = format!(
        "{} movements, {} to {} points, {:.0} to {:.0} px, {:.0} to {:.0} ms, {:.0} Hz ({} ms clock)",
        movements.len(),
        lengths[0],
        lengths[2],
        distances[0],
        distances[2],
        durations[0],
        durations[2],
        1000.0 / dts[1],
        if whole { "whole" } else { "fractional" },
    );
    report.warnings.extend(recordings::other_units(movements));
    if copies > 0 {
        report.warnings.push(format!("{copies} movements are the same as others"));
    }
}

/// What training leaves out of what could be read.
fn too_long(report: &mut FileReport, movements: &[Movement], most: usize) {
    let count = movements.iter().filter(|m| m.points.len() > most).count();
    let said = format!("left out of training, more points than max_seq_len, {most}: {count}");
    match count {
        0 => {}
        _ if count == movements.len() => report.unusable.push(said),
        _ => report.warnings.push(said),
    }
}

/// As the closed-loop decoder sees it.
fn clock(report: &mut FileReport, movements: &[Movement], settings: &Settings) {
    let (all, config): (Vec<&Movement>, _) = (movements.iter().collect(), &settings.config);
    match StepCodec::fit(&all, config.step_magnitudes, config.tick_classes) {
        Ok(codec) => {
            report.fact("clock_ms", codec.tick_ms);
            report.fact("reports_rest", codec.repeats);
        }
        Err(error) => report.warnings.push(format!("not for the closed-loop decoder: {error}")),
    }
}

fn numbers(movement: &Movement) -> Vec<u64> {
    let start = movement.points.first().copied().unwrap_or_default();
    movement.points.iter().flat_map(|p| [p.x, p.y, p.t_ms - start.t_ms]).map(f64::to_bits).collect()
}

fn rejected(report: &mut FileReport, read: &ReadReport) {
    if read.rejections() == 0 {
        return;
    }
    report.fact("rejected", serde_json::json!(read.counts));
    for (kind, count) in &read.counts {
        let line = format!("{kind}: {count}");
        let damage = DAMAGE.contains(&kind.as_str());
        if damage { report.unusable.push(line) } else { report.warnings.push(format!("left out, {line}")) }
    }
    if let Some(first) = read.rejected.first() {
        let list = if report.unusable.is_empty() { &mut report.warnings } else { &mut report.unusable };
        list.push(format!("the first: {}: {}", first.source, first.reason));
    }
}
