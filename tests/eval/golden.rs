//! The seed's scores against stored numbers (`metrics.safetensors`, made by the executable specification).

use std::path::PathBuf;

use crate::skip;
use crate::support;
use safetensors::SafeTensors;
use trajgan::eval::sequences::{Sequences, distribution_metrics, equal_lengths, latent_metrics};

/// Stored as f32, computed in f64: half a unit in the last place of numbers below 1, and a little.
const TOLERANCE: f64 = 1e-6;

fn folder() -> Option<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let named = std::env::var_os("TRAJGAN_GOLDEN").map(PathBuf::from);
    let places = named.into_iter().chain([own, support::shared("golden")]);
    places.into_iter().find(|p| p.join("metrics.safetensors").exists())
}

#[test]
fn golden_metrics() {
    let Some(folder) = folder() else {
        skip::skipped("no metrics.safetensors in $TRAJGAN_GOLDEN, tests/golden or ../shared/golden");
        return;
    };
    let bytes = std::fs::read(folder.join("metrics.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let floats: Vec<f32> =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (floats, tensor.shape().to_vec())
    };
    let (real, real_shape) = get("in/real");
    let (fake, fake_shape) = get("in/fake");
    let lengths = |shape: &[usize]| vec![shape[1]; shape[0]];
    let (real_lengths, fake_lengths) = (lengths(&real_shape), lengths(&fake_shape));
    let of = |values, lengths, shape: &[usize]| Sequences { values, lengths, steps: shape[1], features: shape[2] };
    let (x, y) = (of(&real, &real_lengths, &real_shape), of(&fake, &fake_lengths, &fake_shape));
    let d = distribution_metrics(x, y, 2).unwrap();
    let (zr, z_shape) = get("in/z_real");
    let l = latent_metrics(&zr, &get("in/z_fake").0, z_shape[1], 2).unwrap();
    for (name, got) in [
        ("mmd", d.mmd),
        ("mean_diff", d.mean_diff),
        ("std_diff", d.std_diff),
        ("temporal_diff", d.temporal_diff),
        ("latent_mmd", l.latent_mmd),
        ("latent_mean_diff", l.latent_mean_diff),
        ("latent_std_diff", l.latent_std_diff),
        ("latent_coverage", l.range_overlap),
    ] {
        let expected = f64::from(get(&format!("out/{name}")).0[0]);
        assert!((got - expected).abs() < TOLERANCE, "{name} is {got}, expected {expected}");
    }
}

/// What lies beyond a row's length does not count, and equal lengths are equal.
#[test]
fn padding_does_not_count() {
    let (n, steps, features) = (7, 9, 3);
    let values: Vec<f32> = (0..n * steps * features).map(|i| (i as f32 * 0.7).sin()).collect();
    let lengths: Vec<usize> = (0..n).map(|i| 3 + i % 5).collect();
    let mut dirty = values.clone();
    for (i, row) in dirty.chunks_exact_mut(steps * features).enumerate() {
        row[lengths[i] * features..].fill(9.0);
    }
    let of = |values| Sequences { values, lengths: &lengths, steps, features };
    let apart = distribution_metrics(of(&values), of(&dirty), 1).unwrap();
    assert_eq!((apart.mmd, apart.mean_diff, apart.std_diff, apart.temporal_diff), (0.0, 0.0, 0.0, 0.0));

    let longer = vec![9usize; 7];
    let (a, b) = equal_lengths(of(&values), Sequences { lengths: &longer, ..of(&values) }, 5);
    assert_eq!((a.lengths.len(), &a.lengths), (5, &b.lengths));
    assert_eq!(a.lengths, [3, 4, 4, 5, 7], "evenly over 3 3 4 4 5 6 7");
    assert!(Sequences { lengths: &longer[..3], ..of(&values) }.check("x").is_err());
    assert!(distribution_metrics(of(&values), Sequences { lengths: &[0; 7], ..of(&values) }, 1).is_err());
    let mut broken = values.clone();
    broken[27] = f32::NAN;
    let message = of(&broken).check("x").unwrap_err().to_string();
    assert_eq!(message, "x.values[27] is NaN, expected a finite number");
}
