//! Features, scaler and mirror against the stored numbers of preprocess.py and against each other.

mod skip;

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::SafeTensors;
use trajgan::data::{Dataset, ReadOptions, Scaler, features};
use trajgan::{Config, Movement, Point};

fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        skip::skipped(format_args!("{} is not there", path.display()));
        return None;
    }
    Some(path)
}

/// The folder of TRAJGAN_GOLDEN, the project's own, or the shared one: the first that has the file.
fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("TRAJGAN_GOLDEN").map(PathBuf::from);
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let found = [folder, Some(own)].into_iter().flatten().map(|f| f.join("features.safetensors"));
    found.into_iter().find(|f| f.exists()).or_else(|| shared("golden/features.safetensors"))
}

fn f64s(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F64, "{name}");
    tensor.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn f32s(file: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn features_and_scaler_are_those_of_preprocess_py() {
    let Some(path) = golden() else { return };
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let params: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["scaler"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases = file.names().iter().filter(|n| n.ends_with("/x") && n.starts_with("in/")).count();
    assert_eq!(cases, 24);
    let movement = |i: usize| {
        let [x, y, t] = ["x", "y", "t"].map(|k| f64s(&file, &format!("in/{i}/{k}")));
        let points = x.iter().zip(&y).zip(&t).map(|((&x, &y), &t_ms)| Point { x, y, t_ms });
        Movement::new(points.collect()).unwrap()
    };
    let movements: Vec<Movement> = (0..cases).map(movement).collect();
    let paths: Vec<f64> = movements.iter().map(Movement::path_length).collect();
    let scaler = Scaler::fit(&movements.iter().collect::<Vec<_>>(), &paths, 1, false).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    for (i, name) in trajgan::data::FEATURES.iter().enumerate() {
        let limits = [&params[format!("{name}_min")], &params[format!("{name}_max")]].map(|v| v.as_f64().unwrap());
        assert!(close(scaler.min[i], limits[0]) && close(scaler.max[i], limits[1]), "{name}");
    }
    for (i, name) in ["speed", "accel", "ang_vel"].iter().enumerate() {
        let clip = &params["clip_params"];
        assert!(close(scaler.clip_low[i], clip[format!("{name}_low")].as_f64().unwrap()), "{name}");
        assert!(close(scaler.clip_high[i], clip[format!("{name}_high")].as_f64().unwrap()), "{name}");
    }
    assert!(close(scaler.condition_min[0], params["actual_dist_min"].as_f64().unwrap()));
    assert!(close(scaler.condition_max[0], params["actual_dist_max"].as_f64().unwrap()));
    for (i, movement) in movements.iter().enumerate() {
        let rows = features(&movement.points);
        let expected = f64s(&file, &format!("out/{i}/features"));
        assert_eq!(expected.len(), rows.len() * 8);
        for (at, (&a, &b)) in rows.as_flattened().iter().zip(&expected).enumerate() {
            assert!(close(a, b), "movement {i}, point {}, column {}: {a} {b}", at / 8, at % 8);
        }
        let scaled = f32s(&file, &format!("out/{i}/scaled"));
        for (at, (&a, &b)) in scaler.scale(&rows).iter().zip(&scaled).enumerate() {
            assert!((a - b).abs() <= 1e-6, "movement {i}, point {}, column {}: {a} {b}", at / 8, at % 8);
        }
    }
    let conditions = f32s(&file, "out/condition");
    for (a, b) in scaler.scale_condition(&paths).iter().zip(&conditions) {
        assert!((a - b).abs() <= 1e-6, "{a} {b}");
    }
}

/// Whole pixels and ms, no repeated positions: like a recording.
fn made_up(seed: u64, n: usize) -> Movement {
    let mut rng = trajgan::rng::Rng::new(seed, trajgan::rng::Stream::Demo, 0);
    let (mut x, mut y, mut t) = (100.0, 200.0, 5.0);
    let mut points = vec![Point { x, y, t_ms: t }];
    for _ in 1..n {
        x += 1.0 + rng.below(30) as f64;
        y += rng.below(21) as f64 - 10.0;
        t += 8.0 + rng.below(9) as f64;
        points.push(Point { x, y, t_ms: t });
    }
    Movement::new(points).unwrap()
}

fn fitted(movements: &[Movement], mirror: bool) -> Scaler {
    let straight: Vec<f64> = movements.iter().map(Movement::straight_distance).collect();
    Scaler::fit(&movements.iter().collect::<Vec<_>>(), &straight, 1, mirror).unwrap()
}

#[test]
fn scaled_features_become_the_points_again() {
    let movements: Vec<Movement> = (0..50).map(|i| made_up(i, 10 + i as usize)).collect();
    let scaler = fitted(&movements, true);
    for movement in &movements {
        let points = scaler.points(&scaler.scale(&features(&movement.points)));
        assert_eq!(points.len(), movement.points.len());
        let first = movement.points[0];
        for (got, p) in points.iter().zip(&movement.points) {
            // Half a unit of float32 of a range of 2 in each position; the time is a sum of such errors.
            assert!((got.x - (p.x - first.x)).abs() < 1e-4 && (got.y - (p.y - first.y)).abs() < 1e-4);
            assert!((got.t_ms - (p.t_ms - first.t_ms)).abs() < 1e-3, "{} {}", got.t_ms, p.t_ms);
        }
        assert!(points.windows(2).all(|p| p[1].t_ms > p[0].t_ms));
    }
    // Whatever a network gives, time rises.
    let nonsense = vec![-1.0; 80];
    assert!(scaler.points(&nonsense).windows(2).all(|p| p[1].t_ms > p[0].t_ms));
    let conditions = scaler.scale_condition(&[scaler.condition_max[0], 2.0 * scaler.condition_max[0]]);
    assert!(conditions[0] == 1.0 && conditions[1] > 1.0);
    let back = scaler.unscale_condition(&conditions);
    assert!((back[1] / scaler.condition_max[0] - 2.0).abs() < 1e-6);
}

#[test]
fn a_mirrored_movement_has_mirrored_features() {
    let movements: Vec<Movement> = (0..50).map(|i| made_up(i, 10 + i as usize)).collect();
    let scaler = fitted(&movements, true);
    // Fitted with mirror images is fitted on the mirror images.
    let mut all = movements.clone();
    for flip in [(true, false), (false, true), (true, true)] {
        all.extend(movements.iter().map(|m| m.mirrored(flip.0, flip.1)));
    }
    let explicit = fitted(&all, false);
    for column in 0..8 {
        let range = explicit.max[column] - explicit.min[column];
        assert!((scaler.min[column] - explicit.min[column]).abs() < 1e-9 * range, "{column}");
        assert!((scaler.max[column] - explicit.max[column]).abs() < 1e-9 * range, "{column}");
    }
    for (x, y) in [(true, false), (false, true), (true, true), (false, false)] {
        let sign = |flip: bool| if flip { -1.0 } else { 1.0 };
        let signs = [sign(x), sign(y), 1.0, 1.0, sign(y), sign(x), sign(x != y), 1.0];
        for movement in &movements {
            let rows = features(&movement.points);
            let mirrored = features(&movement.mirrored(x, y).points);
            for (a, b) in rows.iter().zip(&mirrored) {
                for k in 0..8 {
                    assert!(
                        (a[k] * signs[k] - b[k]).abs() <= 1e-9 * a[k].abs().max(1.0),
                        "{x} {y} {k}: {} {}",
                        a[k],
                        b[k]
                    );
                }
            }
            let mut scaled = scaler.scale(&rows);
            scaler.mirror(&mut scaled, x, y);
            for (a, b) in scaled.iter().zip(scaler.scale(&mirrored)) {
                assert!((a - b).abs() < 1e-6, "{x} {y}: {a} {b}");
            }
        }
    }
}

#[test]
fn augmentation_is_exact_with_a_recording_and_stays_in_range_without() {
    let mut data = Dataset::new(1);
    (0..40).for_each(|i| data.push(made_up(i, 20), None).unwrap());
    let config = Config { quality_z: 0.0, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    let scaler = prepared.scaler.as_ref().unwrap();
    let train = &prepared.train;
    let mut out = vec![9.0; 200 * 8];
    for i in 0..train.len() {
        train.augmented(i, (true, false), Some(scaler), &mut out);
        let expected = scaler.scale(&features(&train.movement(i).unwrap().mirrored(true, false).points));
        assert_eq!(out[..expected.len()], expected);
        assert_eq!(out[expected.len()], 9.0);
        train.augmented(i, (false, false), Some(scaler), &mut out);
        assert_eq!(&out[..expected.len()], train.features(i));
        train.augmented(i, (true, true), None, &mut out);
        assert_eq!(&out[..expected.len()], train.features(i));
    }
    // The same without recordings, from a folder.
    let folder = tempfile::tempdir().unwrap();
    prepared.export(folder.path()).unwrap();
    let (arrays, _) = Dataset::open(folder.path(), &ReadOptions::default()).unwrap();
    let again = arrays.prepare(&config, None).unwrap();
    for i in 0..train.len() {
        assert!(again.train.movement(i).is_none());
        let mut exact = vec![0.0; train.features(i).len()];
        train.augmented(i, (true, true), Some(scaler), &mut exact);
        again.train.augmented(i, (true, true), again.scaler.as_ref(), &mut out);
        assert!(exact.iter().zip(&out).all(|(a, b)| (a - b).abs() < 1e-6 && b.abs() <= 1.0));
    }
}

/// Of a model that goes on with other arrays: what its limits cannot hold is at the limit.
#[test]
fn conditions_beyond_a_models_limits_are_at_them() {
    let mut data = Dataset::new(1);
    (0..40).for_each(|i| data.push(made_up(i, 10 + i as usize), None).unwrap());
    let config = Config { quality_z: 0.0, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prepared.export(folder.path()).unwrap();
    let (arrays, _) = Dataset::open(folder.path(), &ReadOptions::default()).unwrap();
    let mut narrow = prepared.scaler.clone().unwrap();
    narrow.condition_max[0] = 0.5 * (narrow.condition_min[0] + narrow.condition_max[0]);
    for again in [data.prepare(&config, Some(&narrow)).unwrap(), arrays.prepare(&config, Some(&narrow)).unwrap()] {
        let conditions = again.train.conditions();
        assert!(conditions.iter().all(|c| c.abs() <= 1.0) && conditions.iter().filter(|c| **c == 1.0).count() > 3);
    }
}

#[test]
fn lengths_and_hash_tell_training_sets_apart() {
    let set = |seeds: std::ops::Range<u64>| {
        let mut data = Dataset::new(1);
        seeds.for_each(|i| data.push(made_up(i, 12 + i as usize % 30), None).unwrap());
        data.prepare(&Config::default(), None).unwrap()
    };
    let (a, b, c) = (set(0..100), set(0..100), set(1..101));
    assert_eq!(a, b);
    assert_eq!(a.hash.len(), 64);
    assert_ne!(a.hash, c.hash);
    let counts: BTreeMap<usize, usize> = (0..1000).fold(BTreeMap::new(), |mut counts, i| {
        *counts.entry(a.lengths.draw(0.3, f64::from(i) / 1000.0)).or_default() += 1;
        counts
    });
    assert!(counts.keys().all(|&length| (12..42).contains(&length)), "{counts:?}");
}
