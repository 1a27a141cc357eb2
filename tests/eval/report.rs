//! The evaluation as a whole: what must be told apart is, what must not be is not.

use crate::support::{balabit, straight_bot, toy};
use trajgan::eval::compare::compare;
use trajgan::eval::distances::{kolmogorov_smirnov, wasserstein};
use trajgan::eval::floor::halves;
use trajgan::eval::kinematics::STRAIGHT;
use trajgan::eval::memorisation::memorisation;
use trajgan::eval::obedience::Asked;
use trajgan::eval::report::{Rating, Scale};
use trajgan::eval::resample::Grid;
use trajgan::eval::sequences::Sequences;
use trajgan::eval::stats::interquartile_range;
use trajgan::eval::{EvalOptions, FeatureSets, Inputs, SummarySets, evaluate};
use trajgan::rng::{Rng, Stream};
use trajgan::{Config, Control, Dataset, Device, Model, Movement, Stage, TrainOptions};

const OPTIONS: EvalOptions = EvalOptions { seed: 1, threads: 2, quick: true };

fn some<'a>(movements: &[&'a Movement], indices: &[usize], count: usize, seed: u64) -> Vec<&'a Movement> {
    let order = Rng::new(seed, Stream::Split, 0).permutation(indices.len());
    order.into_iter().take(count).map(|i| movements[indices[i]]).collect()
}

/// Halves of the recordings, whole sessions to one side, every user on both: they are nearly alike, and nobody copied.
#[test]
fn real_against_real_by_session() {
    let Some(all) = balabit() else { return };
    let all: Vec<&Movement> = all.iter().collect();
    for round in 0..2 {
        let (a, b) = halves(&all, 1, round);
        let (x, y) = (some(&all, &a, 1000, 1), some(&all, &b, 1000, 2));
        let got = compare(&x, &y, Grid::common(&x, &y), &OPTIONS).unwrap();
        println!("round {round}: {:?}", got.recorded.each_ref().map(|t| t.auc));
        for judge in got.recorded.iter().chain(got.resampled.iter().flatten()) {
            assert!((0.45..=0.60).contains(&judge.auc.value), "round {round}: {:?}", judge.auc);
        }
        let train = some(&all, &a, 2500, 3);
        let (held_out, as_generated) = y.split_at(500);
        let m = memorisation(&train, false, held_out, as_generated, &OPTIONS);
        println!("round {round}: {m:?}");
        assert!(m.near_copies < 0.01 && m.memorised == Some(false), "round {round}: {m:?}");
        assert!(m.near_copies_floor < 0.01 && m.duplicates < 0.01, "round {round}: {m:?}");
    }
}

/// Distances of a feature are in units of the real side's spread, whichever has more; scores are of being generated.
#[test]
fn distances_are_in_real_units() {
    let (real, mut made) = (toy(30, 1), toy(30, 2));
    made.iter_mut().flat_map(|m| &mut m.points).for_each(|p| (p.x, p.y) = (3.0 * p.x, 3.0 * p.y));
    let (x, y): (Vec<&Movement>, Vec<&Movement>) = (real.iter().collect(), made.iter().collect());
    let got = compare(&x, &y, Grid::common(&x, &y), &OPTIONS).unwrap();
    let lengths = |side: &[&Movement]| side.iter().map(|m| m.straight_distance()).collect::<Vec<f64>>();
    let (x, y) = (lengths(&x), lengths(&y));
    assert!((got.wasserstein[STRAIGHT] - wasserstein(&x, &y) / interquartile_range(&x)).abs() < 1e-9);
    assert_eq!(got.ks[STRAIGHT].0, kolmogorov_smirnov(&x, &y));
    let (of_real, of_made) = got.recorded[0].scores.split_at(30);
    assert!(of_made.iter().sum::<f64>() > of_real.iter().sum());
}

#[test]
fn straight_constant_speed_bot_is_told_on_recordings() {
    let Some(all) = balabit() else { return };
    let all: Vec<&Movement> = all.iter().collect();
    let (a, b) = halves(&all, 1, 0);
    let real = some(&all, &a, 500, 1);
    let bots: Vec<Movement> = some(&all, &b, 500, 2).into_iter().map(straight_bot).collect();
    let bots: Vec<&Movement> = bots.iter().collect();
    let got = compare(&real, &bots, Grid::common(&real, &bots), &OPTIONS).unwrap();
    for judge in got.recorded.iter().chain(got.resampled.iter().flatten()) {
        assert!(judge.auc.value > 0.99, "{:?}", judge.auc);
    }
    assert!(got.mmd_test.p < 0.01 && got.neighbours.coverage < 0.5, "{:?} {:?}", got.mmd_test, got.neighbours);
}

/// The training set itself, as it is and with half a pixel of noise, is memorised; its like is not.
#[test]
fn training_set_fed_back_is_memorised() {
    let (train, held_out, fresh) = (toy(600, 1), toy(200, 2), toy(200, 3));
    let noisy: Vec<Movement> = train[..200]
        .iter()
        .map(|m| {
            let mut rng = Rng::new(m.points.len() as u64, Stream::Demo, 7);
            let mut m = m.clone();
            m.points.iter_mut().for_each(|p| p.x += 0.5 * rng.normal());
            m
        })
        .collect();
    let judge = |generated: &[Movement], mirrored: bool| {
        let [t, h, g] = [&train[..], &held_out, generated].map(|side| side.iter().collect::<Vec<_>>());
        memorisation(&t, mirrored, &h, &g, &OPTIONS)
    };
    let copied = judge(&train[..200], false);
    assert!(copied.memorised == Some(true) && copied.near_copies == 1.0 && copied.median_distance == 0.0, "{copied:?}");
    let mirror_of = |m: &Movement| {
        let mut m = m.clone();
        m.points.iter_mut().for_each(|p| p.x = -p.x);
        m
    };
    let mirrors: Vec<Movement> = noisy.iter().map(mirror_of).collect();
    assert_eq!([false, true].map(|seen| judge(&mirrors, seen).memorised), [Some(false), Some(true)]);
    let noisy = judge(&noisy, false);
    assert!(noisy.memorised == Some(true) && noisy.near_copies > 0.5, "{noisy:?}");
    let fresh = judge(&fresh, false);
    assert!(fresh.memorised == Some(false) && fresh.near_copies < 0.02, "{fresh:?}");
    let few: Vec<Movement> = (0..200).map(|i| held_out[i % 20].clone()).collect();
    let few = judge(&few, false);
    assert!(few.duplicates == 1.0 && few.duplicates_floor < 0.02, "{few:?}");
}

fn toy_report(generated: &[Movement], threads: usize) -> trajgan::eval::Report {
    let (train, held_out) = (toy(160, 1), toy(120, 2));
    let ask = |m: &Movement| Asked { distance_px: m.straight_distance(), duration_ms: Some(300.0), target: None };
    let asked: Vec<Asked> = generated.iter().map(ask).collect();
    let inputs = Inputs { train: &train, held_out: &held_out, generated, asked: Some(&asked), ..Inputs::default() };
    evaluate(&inputs, &EvalOptions { threads, ..OPTIONS }).unwrap()
}

#[test]
fn same_seed_same_report_whatever_the_threads() {
    let generated = toy(120, 3);
    let first = toy_report(&generated, 1);
    let (json, text, html) = (first.to_json().unwrap(), first.to_text(), first.to_html());
    for threads in [2, 3, 8] {
        let again = toy_report(&generated, threads);
        assert_eq!(again, first, "{threads} threads");
        assert_eq!(
            (again.to_json().unwrap(), again.to_text(), again.to_html()),
            (json.clone(), text.clone(), html.clone())
        );
    }
}

#[test]
fn ratings_follow_the_floor() {
    let alike = toy_report(&toy(120, 3), 2);
    let auc = alike.score("forest_auc").unwrap();
    assert!(auc.rating <= Rating::Good && (0.3..0.7).contains(&auc.value), "{auc:?}");
    assert!(alike.memorisation.as_ref().unwrap().memorised == Some(false) && alike.obedience[0].relative_spread < 1e-9);
    let bots: Vec<Movement> = toy(120, 3).iter().map(straight_bot).collect();
    let bots = toy_report(&bots, 2);
    let auc = bots.score("forest_auc").unwrap();
    assert!(auc.rating == Rating::Poor && auc.value > 0.99, "{auc:?}");
    // No permutation gets as far: one in 200 is the least that 199 of them can say.
    assert_eq!(bots.features[0].ks_p, 1.0 / 200.0);
    assert!(bots.features.is_sorted_by(|a, b| a.ks - a.ks_floor >= b.ks - b.ks_floor));
    assert!(bots.worst().all(|f| f.ks > 0.5), "{:?}", bots.worst().collect::<Vec<_>>());
    let odds = |value, floors: &[f64]| Rating::of(value, Scale::Odds(0.5), floors, 0.01);
    assert_eq!([0.2, 0.55, 0.59].map(|v| odds(v, &[0.48, 0.52])), [Rating::Excellent, Rating::Good, Rating::NeedsWork]);
    // However easily real ones are told apart, certainty is poor.
    assert_eq!([0.8, 0.9, 1.0].map(|v| odds(v, &[0.8])), [Rating::Excellent, Rating::Good, Rating::Poor]);
    let plain = |value| Rating::of(value, Scale::Plain(1.0), &[1.05], 0.1);
    assert_eq!([0.9, 0.75, 0.6, 0.4].map(plain), [Rating::Excellent, Rating::Good, Rating::NeedsWork, Rating::Poor]);
}

/// Up to once, three and five times as far from the ideal as the floor, to either side.
#[test]
fn ratings_have_these_edges() {
    use Rating::{Excellent, Good, NeedsWork, Poor};
    let of = |scale: Scale, floor: f64, values: [f64; 7]| values.map(|value| Rating::of(value, scale, &[floor], 0.01));
    let expected = [Excellent, Excellent, Good, Good, NeedsWork, NeedsWork, Poor];
    assert_eq!(of(Scale::Plain(0.0), 1.0, [0.5, 1.0, 1.1, 3.0, 3.1, 5.0, 5.1]), expected);
    assert_eq!(of(Scale::Plain(0.0), -1.0, [-0.5, -1.0, -1.1, -3.0, -3.1, -5.0, -5.1]), expected);
    let powers = [0.5, 0.99, 1.1, 2.9, 3.1, 4.9, 5.1].map(|k| 2f64.powf(k));
    assert_eq!(
        (of(Scale::Ratio(1.0), 0.5, powers), of(Scale::Ratio(1.0), 2.0, powers.map(|v| 1.0 / v))),
        (expected, expected)
    );
    let odds = |k: f64| 1.0 / (1.0 + (-0.2 * k).exp());
    let chances = [0.5, 0.99, 1.1, 2.9, 3.1, 4.9, 5.1].map(odds);
    assert_eq!(of(Scale::Odds(0.5), odds(1.0), chances), expected);
    assert_eq!(
        of(Scale::Odds(0.5), odds(1.0), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5]),
        [Excellent; 7],
        "worse than by chance"
    );
    // The resolution is the least that a floor can be.
    assert_eq!(Rating::of(0.01, Scale::Plain(0.0), &[0.0], 0.01), Excellent);
    assert_eq!(Rating::of(0.02, Scale::Plain(0.0), &[0.001, 0.0], 0.01), Good);
}

#[test]
fn json_and_text_hold_the_numbers() {
    let report = toy_report(&toy(120, 3), 2);
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["scores"].as_array().unwrap().len(), report.scores.len());
    assert_eq!(json["features"][0]["name"], report.features[0].name);
    assert!(json["memorisation"]["memorised"] == false && json["sizes"]["generated"] == 120);
    let text = report.to_text();
    for word in
        ["Evaluation Report", "forest_auc", "Memorisation: not memorised", "Fitts generated", "0.50-0.55", "Asked for"]
    {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
    println!("{text}");
}

/// A condition that recordings bring may be anything: only what is known to be a distance is held against distances.
#[test]
fn own_conditions_are_not_taken_for_distances() {
    let small = Config { encoder_hidden_dim: 4, decoder_hidden_dim: 4, expander_hidden_dim: 4, ..Config::default() };
    let config =
        Config { max_seq_len: 60, latent_dim: 4, summary_dim: 4, batch_size: 8, stage1_iterations: 1, ..small };
    let config = Config { stage2_iterations: 1, quality_z: 0.0, ..config };
    for own in [false, true] {
        let mut data = Dataset::new(1);
        for m in toy(160, 4) {
            let condition = [m.duration_ms()];
            data.push(m, own.then_some(&condition[..])).unwrap();
        }
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        let options = TrainOptions { config: config.clone(), threads: 2, seed: 1 };
        for stage in [Stage::Autoencoder, Stage::Gan] {
            model.train(&data, stage, &options, &mut |_, _| Control::Continue).unwrap();
        }
        assert_eq!(model.evaluate(&data, &OPTIONS).unwrap().obedience.is_empty(), own);
    }
}

/// Nothing to compare with is no good score.
#[test]
fn says_what_it_could_not_judge() {
    let (held_out, generated) = (toy(120, 2), toy(120, 3));
    let inputs = Inputs { held_out: &held_out, generated: &generated, ..Inputs::default() };
    let mut report = evaluate(&inputs, &OPTIONS).unwrap();
    report.scores[0].floors.clear();
    assert_eq!((report.memorisation.as_ref().unwrap().memorised, report.scores[0].floor()), (None, None));
    let (text, html) = (report.to_text(), report.to_html());
    assert!(text.contains("Memorisation: not judged") && !text.contains("near-copies"), "{text}");
    assert!(html.contains("<div class=\"card\"><h3>memorisation</h3><p>not judged"), "{html}");
    assert!(text.lines().any(|l| l.starts_with("forest_auc ") && l.contains(" -  ")), "{text}");
    assert!(html.contains("; floor not known</p>"), "{html}");
}

#[test]
fn too_little_is_an_error_that_says_so() {
    let (some, few) = (toy(40, 1), toy(5, 2));
    let wrong = |inputs: Inputs| evaluate(&inputs, &OPTIONS).unwrap_err().to_string();
    let base = Inputs { held_out: &some, generated: &some, ..Inputs::default() };
    assert_eq!(wrong(Inputs { generated: &few, ..base }), "generated.len() is 5, expected 20 or more");
    let asked = [Asked::default(); 3];
    let message = wrong(Inputs { asked: Some(&asked), ..base });
    assert_eq!(message, "asked.len() is 3, expected 40, one for each generated movement");
}

const WAVE_STEPS: usize = 24;

/// (n,WAVE_STEPS,3): a noisy sine, its cosine, and the rhythm itself; padded with nonsense, which must not count.
fn waves(count: usize, speed: f32, seed: u64) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Rng::new(seed, Stream::Demo, 1);
    let (mut values, mut lengths) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (phase, length) = (rng.range(0.0, std::f64::consts::TAU) as f32, 12 + rng.below(13));
        for t in 0..WAVE_STEPS {
            let angle = phase + speed * t as f32;
            let noise = 0.1 * rng.normal() as f32;
            values.extend([angle.sin() + noise, angle.cos(), if t < length { speed } else { 9.0 }]);
        }
        lengths.push(length);
    }
    (values, lengths)
}

/// Whole sessions to one side would leave the other fewer than it takes, though there are enough movements.
#[test]
fn uneven_sessions_are_enough() {
    let mut held_out = toy(28, 2);
    for (i, movement) in held_out.iter_mut().enumerate() {
        movement.session = Some(if i < 20 { "long" } else { "short" }.into());
    }
    let generated = toy(28, 3);
    let (values, lengths) = waves(28, 0.4, 1);
    let side = Sequences { values: &values, lengths: &lengths, steps: WAVE_STEPS, features: 3 };
    let features = Some(FeatureSets { real: side, generated: side });
    let inputs = Inputs { held_out: &held_out, generated: &generated, features, ..Inputs::default() };
    assert!(evaluate(&inputs, &OPTIONS).unwrap().score("mmd").is_some());
}

/// A report with the LSTM judges on waves of these two speeds.
fn judged(speeds: [f32; 2], count: usize, threads: usize) -> trajgan::eval::Report {
    let movements = toy(200, 1);
    let [(real, real_lengths), (made, made_lengths)] =
        [(speeds[0], 1), (speeds[1], 2)].map(|(v, seed)| waves(count, v, seed));
    let side = |values, lengths| Sequences { values, lengths, steps: WAVE_STEPS, features: 3 };
    let features = FeatureSets { real: side(&real, &real_lengths), generated: side(&made, &made_lengths) };
    let summaries = SummarySets { real: &real[..6 * count], generated: &made[..6 * count], width: 6 };
    let (features, summaries) = (Some(features), Some(summaries));
    let base = Inputs { held_out: &movements, generated: &movements, ..Inputs::default() };
    evaluate(&Inputs { features, summaries, ..base }, &EvalOptions { threads, ..OPTIONS }).unwrap()
}

/// The seed's scores and the LSTM judges: alike is near chance and near the floor, another rhythm is found out.
#[test]
fn judges_tell_rhythms_apart() {
    let [alike, other] = [0.4, 0.8].map(|speed| judged([0.4, speed], 200, 2));
    let value = |r: &trajgan::eval::Report, name: &str| r.score(name).unwrap_or_else(|| panic!("no {name}")).value;
    println!("{}\n{}", alike.to_text(), other.to_text());
    assert!(value(&alike, "discriminative_accuracy") < 0.7 && value(&other, "discriminative_accuracy") > 0.9);
    assert!(value(&other, "predictive_ratio") > 2.0 * value(&alike, "predictive_ratio"));
    assert!(value(&other, "predictive_mae") > 1.3 * value(&alike, "predictive_mae"));
    assert!(value(&other, "temporal_diff") > 5.0 * value(&alike, "temporal_diff"));
    assert!(value(&alike, "range_overlap") > 0.9 && value(&alike, "latent_coverage") > 0.8);
    assert_eq!(other.judges.as_ref().map(|j| j.verdict.accuracy.values.len()), Some(3));
}

#[test]
fn judges_do_not_depend_on_threads() {
    let [one, three] = [1, 3].map(|threads| judged([0.4, 0.8], 30, threads));
    assert!(one.judges.is_some() && one == three);
}
