//! Agreement with scipy and scikit-learn on the same arrays, where a Python has them: $TRAJGAN_PYTHON or python3.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::skip;
use serde_json::{Value, json};
use trajgan::eval::cross::{FOLDS, Learner, folds, two_sample};
use trajgan::eval::distances::{kolmogorov_smirnov, wasserstein};
use trajgan::eval::forest::{MIN_LEAF, TREES, Table};
use trajgan::eval::kernel::Rows;
use trajgan::eval::neighbours::prdc;
use trajgan::eval::stats::{auc, quantile, sorted};
use trajgan::rng::{Rng, Stream};

/// Sums of some hundred numbers in f64.
const EXACT: f64 = 1e-6;
/// Two forests of 200 trees differ by their random numbers.
const FOREST: f64 = 0.02;
/// scikit-learn's leaves have no ridge and its splits another score.
const BOOST: f64 = 0.03;

const WIDTH: usize = 9;

fn reference(input: &Value) -> Option<Value> {
    let python = std::env::var("TRAJGAN_PYTHON").unwrap_or_else(|_| "python3".into());
    let probe = Command::new(&python).args(["-c", "import numpy, scipy, sklearn"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        skip::skipped(format_args!("{python} cannot import numpy, scipy and sklearn (set TRAJGAN_PYTHON)"));
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/eval_reference.py");
    let mut child = Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Rows whose columns differ a little, in location, spread, correlation, and some with ties.
fn sample(n: usize, shift: f64, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed, Stream::Demo, 0);
    let row = |_| {
        let common = rng.normal();
        let mut row: Vec<f64> = (0..WIDTH).map(|_| 0.5 * common + rng.normal()).collect();
        row[0] += 0.6 * shift;
        row[1] *= 1.0 + 0.5 * shift;
        row[2] = row[2].round();
        row[3] = (row[3] + 0.3 * shift).abs().floor();
        row
    };
    (0..n).flat_map(row).collect()
}

fn near(expected: &Value, name: &str, got: f64, tolerance: f64) {
    let expected = expected[name].as_f64().unwrap();
    println!("{name}: {got} {expected}");
    assert!((got - expected).abs() <= tolerance, "{name} is {got}, expected {expected}");
}

#[test]
fn agrees_with_scipy_and_scikit_learn() {
    let (real, fake) = (sample(300, 0.0, 1), sample(260, 1.0, 2));
    let column = |rows: &[f64], k: usize| rows.iter().skip(k).step_by(WIDTH).copied().collect::<Vec<f64>>();
    let (r, f) = (Rows { values: &real, width: WIDTH }, Rows { values: &fake, width: WIDTH });
    let labels: Vec<bool> = (0..r.len() + f.len()).map(|i| i >= r.len()).collect();
    let fold = folds(&labels, &[], FOLDS, 1);
    let nested = |rows: Rows| (0..rows.len()).map(|i| rows.row(i).to_vec()).collect::<Vec<_>>();
    // A column without ties and one with many.
    let columns = [1, 3];
    let input = json!({
        "columns": columns, "real": nested(r), "fake": nested(f), "k": 5,
        "folds": fold, "trees": TREES, "min_leaf": MIN_LEAF,
    });
    let Some(expected) = reference(&input) else { return };
    for (k, expected) in columns.into_iter().zip(expected["columns"].as_array().unwrap()) {
        let (x, y) = (column(&real, k), column(&fake, k));
        near(expected, "ks", kolmogorov_smirnov(&x, &y), EXACT);
        near(expected, "w1", wasserstein(&x, &y), EXACT);
        let scores = [&x[..], &y].concat();
        let first: Vec<bool> = (0..scores.len()).map(|i| i < x.len()).collect();
        near(expected, "auc", auc(&scores, &first).value, EXACT);
        for (q, expected) in [0.05, 0.25, 0.5, 0.75, 0.95].iter().zip(expected["percentiles"].as_array().unwrap()) {
            assert!((quantile(&sorted(&x), *q) - expected.as_f64().unwrap()).abs() < EXACT);
        }
    }
    let near_to = prdc(r, f, 5, 2);
    near(&expected, "precision", near_to.precision, EXACT);
    near(&expected, "recall", near_to.recall, EXACT);
    near(&expected, "density", near_to.density, EXACT);
    near(&expected, "coverage", near_to.coverage, EXACT);
    let table = Table::new(Rows { values: &[&real[..], &fake].concat(), width: WIDTH });
    let judge = |learner| two_sample(&table, &labels, &fold, learner, 1, 2).auc.value;
    near(&expected, "forest", judge(Learner::Forest), FOREST);
    near(&expected, "boost", judge(Learner::Boost), BOOST);
}
