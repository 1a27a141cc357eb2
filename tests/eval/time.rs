//! The whole evaluation on recordings, as a user would run it, and how long it takes; only where TRAJGAN_SLOW is set,
//! one at a time (--test-threads 1). Leaves the page for eyes where TRAJGAN_EVAL_PAGE says.

use std::time::Instant;

use crate::skip;
use crate::support::{balabit, toy};
use trajgan::Movement;
use trajgan::data::Scaler;
use trajgan::eval::floor::{halves, pick};
use trajgan::eval::obedience::Asked;
use trajgan::eval::sequences::OwnedSequences;
use trajgan::eval::{EvalOptions, FeatureSets, Inputs, Report, evaluate};
use trajgan::rng::{Rng, Stream};

/// Two threads are not busy all the time.
const SPARE: f64 = 1.3;

/// Of this process on all cores, where Linux tells: other programs on a shared machine do not count.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Toy movements judged against recordings of other sessions: they are found out.
fn judged(count: usize, quick: bool) -> Option<(Report, f64)> {
    let all = balabit()?;
    let all: Vec<&Movement> = all.iter().collect();
    let (a, b) = halves(&all, 1, 0);
    let some = |side: Vec<usize>, count| {
        let picked = pick(side, count, &mut Rng::new(1, Stream::Split, 0));
        picked.into_iter().map(|i| all[i].clone()).collect::<Vec<_>>()
    };
    let (train, held_out, generated) = (some(a, 4000), some(b, count), toy(count, 3));
    let refs: Vec<&Movement> = train.iter().collect();
    let conditions: Vec<f64> = train.iter().map(Movement::straight_distance).collect();
    let scaler = Scaler::fit(&refs, &conditions, 1, false).unwrap();
    let [real, made] = [&held_out, &generated].map(|side| OwnedSequences::of_movements(side, &scaler).unwrap());
    let ask = |m: &Movement| Asked { distance_px: m.straight_distance() * 1.05, duration_ms: None, target: None };
    let asked: Vec<Asked> = generated.iter().map(ask).collect();
    let inputs = Inputs {
        train: &train,
        held_out: &held_out,
        generated: &generated,
        asked: Some(&asked),
        features: Some(FeatureSets { real: real.view(), generated: made.view() }),
        summaries: None,
        mirrored: true,
    };
    let (start, busy) = (Instant::now(), cpu_seconds());
    let report = evaluate(&inputs, &EvalOptions { seed: 1, threads: 2, quick }).unwrap();
    let wall = start.elapsed().as_secs_f64();
    let seconds = cpu_seconds().zip(busy).map_or(wall, |(after, before)| wall.min((after - before) / 2.0 * SPARE));
    println!("{wall:.1} s, on two cores of our own at most {seconds:.1} s\n{}", report.to_text());
    if let Some(path) = std::env::var_os("TRAJGAN_EVAL_PAGE") {
        std::fs::write(path, report.to_html()).unwrap();
    }
    Some((report, seconds))
}

/// Not where time is short.
fn wanted() -> bool {
    let wanted = std::env::var_os("TRAJGAN_SLOW").is_some();
    if !wanted {
        skip::skipped("a measurement (TRAJGAN_SLOW=1 runs it)");
    }
    wanted
}

#[test]
fn quick_takes_half_a_minute_at_most() {
    let Some((report, seconds)) = wanted().then(|| judged(500, true)).flatten() else { return };
    assert!(seconds < 30.0, "{seconds} s");
    assert!(report.score("forest_auc").unwrap().value > 0.95);
}

#[test]
fn full_takes_five_minutes_at_most() {
    let Some((report, seconds)) = wanted().then(|| judged(2000, false)).flatten() else { return };
    assert!(seconds < 300.0, "{seconds} s");
    assert!(report.score("forest_auc").unwrap().value > 0.95);
}
