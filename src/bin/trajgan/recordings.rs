//! Opening data, and telling what was left out of it.

use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Value, json};
use trajgan::data::{PrepareReport, ReadReport};
use trajgan::eval::kinematics::{COUNT, DEVIATION_SIDE, DURATION, STRAIGHT, kinematics};
use trajgan::eval::stats::{correlation, mean, std};
use trajgan::{Config, Dataset, Model, Movement, Point};

use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::run_folder::RunFolder;
use crate::settings::Settings;

/// Examples of each report that people see; programs get all that the library keeps.
const SHOWN: usize = 5;

/// Reads the data and says what became of it.
pub fn open(path: &Path, settings: &mut Settings, console: Console) -> Result<(Dataset, ReadReport)> {
    let (data, report) = Dataset::open(path, &settings.read)?;
    settings.fit(&data);
    console.line(&format!("{}: {} movements, up to {} points", path.display(), data.len(), data.longest()));
    rejections(&report, console);
    Ok((data, report))
}

/// The data that the command line names, else that of the model's run; read as the run has read it, but for what `set` says.
pub fn of_model(
    model: &Model,
    folder: Option<&RunFolder>,
    data: Option<&Path>,
    set: &[String],
    console: Console,
) -> Result<Dataset> {
    let run = folder.map(RunFolder::config);
    let settings = Settings::reading(set, model.config(), run.as_deref())?;
    let path = match (data, &run) {
        (None, None) => {
            return Err(Failure::Usage(
                "the model lies in no run folder: name its recordings (plot: with --data)".into(),
            ));
        }
        (Some(data), _) => data.to_owned(),
        (None, Some(_)) => settings.data(None)?,
    };
    let (data, report) = Dataset::open(&path, &settings.read)?;
    rejections(&report, console);
    Ok(data)
}

/// Whether the training split is what the model has learnt from. True for a model that has learnt nothing.
pub fn seen(model: &Model, data: &Dataset, config: &Config) -> Result<bool> {
    let Some(known) = model.data() else { return Ok(true) };
    Ok(data.prepare(config, known.scaler.as_ref())?.hash == known.hash)
}

/// Nothing if nothing was rejected.
pub fn rejections(report: &ReadReport, console: Console) {
    if report.rejections() == 0 {
        return;
    }
    console.line(&format!("Rejected: {}", report.rejections()));
    for (kind, count) in &report.counts {
        console.line(&format!("  {count:6}  {kind}"));
    }
    console.line("  for example");
    for rejected in report.rejected.iter().take(SHOWN) {
        console.line(&format!("          {}: {}", rejected.source, rejected.reason));
    }
}

/// What of movements looks like other units than pixels and milliseconds.
pub fn other_units(movements: &[Movement]) -> Vec<String> {
    /// Median steps outside of these, in ms, are hardly those of a pointer: the fastest mice report every 0.125 ms.
    const STEPS_MS: RangeInclusive<f64> = 0.1..=500.0;
    /// Half of all ways are hardly shorter than this.
    const WAY_PX: f64 = 20.0;
    let points = || movements.iter().flat_map(|m| &m.points);
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let extent = |of: fn(&Point) -> f64| {
        let all = points().map(of);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let steps = movements.iter().flat_map(|m| m.points.windows(2)).map(|p| p[1].t_ms - p[0].t_ms);
    let step = median(steps.collect()).filter(|step| !STEPS_MS.contains(step));
    let time = step.map(|step| format!("the usual step is {step} ms: are the times in milliseconds?"));
    let way = median(movements.iter().map(Movement::path_length).collect()).filter(|way| *way < WAY_PX);
    let whole = points().all(|p| p.x.fract() == 0.0 && p.y.fract() == 0.0);
    let (x, y) = (extent(|p| p.x), extent(|p| p.y));
    let small = if (0.0..=2.0).contains(&(x.1 - x.0)) && (0.0..=2.0).contains(&(y.1 - y.0)) {
        Some(format!("x {} to {}, y {} to {}", x.0, x.1, y.0, y.1))
    } else {
        way.filter(|_| !whole).map(|way| format!("half of the movements go no further than {way:.2}"))
    };
    let place = small.map(|small| format!("{small}: are the coordinates in pixels?"));
    time.into_iter().chain(place).collect()
}

/// What a training split tells a closed loop little of. mirrored: it is shown mirror images, too.
pub fn sparse(train: &[&Movement], mirrored: bool) -> Vec<String> {
    /// Of 200 a forest tells generated movements with an AUC of 0.76, of 1000 with 0.62 (benches/FIDELITY.md).
    const FEW: usize = 300;
    const NAMES: [&str; 8] =
        ["right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right"];
    /// Of all movements; an eighth would be even.
    const SHARE: f64 = 0.005;
    let count = train.len();
    let few = format!(
        "{count} training movements, less than {FEW}: what is generated will be told from recordings with ease"
    );
    let mut directions = [0; NAMES.len()];
    for [x, y] in train.iter().map(|m| m.target()).filter(|target| *target != [0.0, 0.0]) {
        let images: &[[f64; 2]] = &[[x, y], [-x, y], [x, -y], [-x, -y]];
        for [x, y] in &images[..if mirrored { 4 } else { 1 }] {
            directions[(y.atan2(*x) / std::f64::consts::FRAC_PI_4).round().rem_euclid(8.0) as usize] += 1;
        }
    }
    let all: usize = directions.iter().sum();
    let rare = |&k: &usize| (directions[k] as f64) < SHARE * all as f64;
    let rare: Vec<&str> = (0..NAMES.len()).filter(rare).map(|k| NAMES[k]).collect();
    let unseen = format!("next to no movement goes {}: there, generated ones are a guess", rare.join(", "));
    let parts = "positions are parts of pixels, and generated ones will be whole: that tells them apart";
    let told = [
        (count < FEW).then_some(few),
        (!rare.is_empty()).then_some(unseen),
        (!in_pixels(train)).then(|| parts.to_owned()),
        mirrored.then(|| one_sided(train)).flatten(),
    ];
    told.into_iter().flatten().collect()
}

/// Whether nearly all positions are whole pixels from the first.
fn in_pixels(movements: &[&Movement]) -> bool {
    let steps = movements.iter().flat_map(|m| m.points.windows(2)).flat_map(|p| [p[1].x - p[0].x, p[1].y - p[0].y]);
    let [whole, all] =
        steps.fold([0, 0], |[whole, all], d| [whole + usize::from((d - d.round()).abs() < 1e-6), all + 1]);
    whole * 100 >= all * 99
}

/// What mirror images would make untrue: that one way takes longer than its mirror image, or that movements bend to one side.
fn one_sided(movements: &[&Movement]) -> Option<String> {
    /// Too few say nothing.
    const FEWEST: usize = 100;
    /// Correlation of durations with the direction; share of movements that bend to one side.
    const TIED: f64 = 0.3;
    const BENT: f64 = 0.75;
    let features: Vec<[f64; COUNT]> = movements.iter().map(|m| kinematics(&m.points, None)).collect();
    let bent = features.iter().filter(|f| f[STRAIGHT] > 20.0).map(|f| f[DEVIATION_SIDE]).filter(|side| *side != 0.0);
    let bent: Vec<f64> = bent.map(|side| f64::from(side > 0.0)).collect();
    let right = mean(&bent);
    let instead = "mirror images make both alike: --set augment_mirror=false keeps it";
    if bent.len() >= FEWEST && !(1.0 - BENT..=BENT).contains(&right) {
        let (share, side) = if right > 0.5 { (right, "right") } else { (1.0 - right, "left") };
        return Some(format!("{:.0} % of the movements bend to the {side} of their way; {instead}", 100.0 * share));
    }
    // Durations beyond what the distance explains.
    let moving = features.iter().zip(movements).filter(|(f, _)| f[STRAIGHT] >= 1.0 && f[DURATION] > 0.0);
    let rows: Vec<([f64; 2], [f64; 2])> =
        moving.map(|(f, m)| ([f[STRAIGHT].ln(), f[DURATION].ln()], m.target().map(|x| x / f[STRAIGHT]))).collect();
    let [distance, time] = [0, 1].map(|k| rows.iter().map(|row| row.0[k]).collect::<Vec<f64>>());
    let slope = if std(&distance) > 0.0 { correlation(&distance, &time) * std(&time) / std(&distance) } else { 0.0 };
    let rest: Vec<f64> = distance.iter().zip(&time).map(|(d, t)| t - slope * d).collect();
    let ways = [("right", "left"), ("down", "up")].into_iter().enumerate().filter_map(|(axis, (ahead, back))| {
        let along: Vec<f64> = rows.iter().map(|row| row.1[axis]).collect();
        let tied = correlation(&along, &rest);
        let of = |sign: f64| {
            let rest = along.iter().zip(&rest).filter(|(along, _)| **along * sign > 0.5).map(|(_, rest)| *rest);
            mean(&rest.collect::<Vec<f64>>())
        };
        let times = (of(1.0) - of(-1.0)).exp();
        let (slow, fast, times) = if times > 1.0 { (ahead, back, times) } else { (back, ahead, 1.0 / times) };
        (rows.len() >= FEWEST && tied.abs() > TIED).then(|| {
            format!("movements that go {slow} take {times:.1} times as long as those that go {fast} as far; {instead}")
        })
    });
    ways.into_iter().next()
}

/// Where the movements went.
pub fn splits(report: &PrepareReport, console: Console) {
    let PrepareReport { too_long, too_short, outliers, train, validation, test, sessions, .. } = report;
    let whole = if *sessions > 0 { format!(" ({sessions} sessions, each in one split)") } else { String::new() };
    console.line(&format!("Split: {train} train, {validation} validation, {test} test{whole}"));
    if too_long + too_short + outliers > 0 {
        let reasons = format!("{too_long} too long, {too_short} too short, {outliers} unlike the others");
        console.line(&format!("Left out: {reasons} (max_seq_len, quality_min_length, quality_z)"));
    }
}

pub fn read_json(report: &ReadReport) -> Value {
    json!({ "read": report.read, "rejected": report.rejections(), "counts": report.counts, "examples": report.rejected })
}
