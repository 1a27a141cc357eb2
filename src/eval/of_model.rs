//! A model against the test split of a data set.

use ndarray::Axis;

use super::evaluate::FEWEST;
use super::obedience::Asked;
use super::sequences::OwnedSequences;
use super::{EvalOptions, FeatureSets, Inputs, Report, SummarySets, evaluate};
use crate::config::{ConditionKind, DecoderKind};
use crate::data::{Dataset, Movement, Point, Prepared, Scaler, Split};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sample::SampleOptions;

impl Model {
    /// Judges the model: as many movements as the test split of `data` has, asked for the same, against the test split,
    /// and beside it real against real. The splits are those of training with the same data and config. Of a model that
    /// knows no pixels, because it has learnt from arrays without limits, features and summaries are judged.
    ///
    /// # Errors
    /// `State` for a model that has not trained; as [`evaluate`] for too few movements.
    pub fn evaluate(&self, data: &Dataset, options: &EvalOptions) -> Result<Report> {
        let known = self.known_data("evaluate")?;
        let prepared = data.prepare(self.config(), known.scaler.as_ref())?;
        enough(&prepared.test)?;
        let Ok(scaler) = self.scaler("evaluate") else { return self.evaluate_features(&prepared, options) };
        let (train, held_out) = (movements(&prepared.train, scaler)?, movements(&prepared.test, scaler)?);
        let sampling = self.sampling(options);
        let (generated, summaries, [real_features, generated_features]) = match self.config().decoder {
            DecoderKind::ClosedLoop => {
                let (walks, summaries) = self.like(&held_out, &sampling)?;
                let [real, made] = [&held_out, &walks].map(|side| OwnedSequences::of_movements(side, scaler));
                (walks, summaries, [real?, made?])
            }
            // Its features are what it learns and draws: speeds and turns need not be those of its steps.
            DecoderKind::V6 => {
                let [real, made] = self.feature_sets(&prepared, &sampling)?;
                let drawn = (0..held_out.len()).map(|i| scaler.points(made.view().row(i)));
                let drawn = drawn.map(|points| Movement { points, ..Movement::default() }).collect();
                (drawn, self.draw_summaries(prepared.test.conditions(), &sampling)?, [real, made])
            }
        };
        let z_real = self.encode(&held_out, options.threads)?;
        let z_real: Vec<f32> = z_real.iter().copied().collect();
        let asked = self.asked(data, &prepared, &held_out);
        let width = self.config().summary_dim;
        let inputs = Inputs {
            train: &train,
            held_out: &held_out,
            generated: &generated,
            asked: asked.as_deref(),
            mirrored: self.config().augment_mirror,
            features: Some(FeatureSets { real: real_features.view(), generated: generated_features.view() }),
            summaries: Some(SummarySets { real: &z_real, generated: &summaries, width }),
        };
        let walks = self.config().decoder == DecoderKind::ClosedLoop;
        let took_all_points = walks.then(|| self.out_of_points(generated.iter().map(|m| m.points.len())));
        Ok(Report { took_all_points, ..evaluate(&inputs, options)? })
    }

    fn sampling(&self, options: &EvalOptions) -> SampleOptions {
        SampleOptions { seed: options.seed, threads: options.threads, ..self.sample_options() }
    }

    fn evaluate_features(&self, prepared: &Prepared, options: &EvalOptions) -> Result<Report> {
        let (test, sampling) = (&prepared.test, self.sampling(options));
        let [real, generated] = self.feature_sets(prepared, &sampling)?;
        let rows: Vec<Vec<f32>> = (0..test.len()).map(|i| test.features(i).to_vec()).collect();
        let z_real: Vec<f32> = self.encode_features(&rows, options.threads)?.into_iter().collect();
        let z_made = self.draw_summaries(test.conditions(), &sampling)?;
        let inputs = Inputs {
            features: Some(FeatureSets { real: real.view(), generated: generated.view() }),
            summaries: Some(SummarySets { real: &z_real, generated: &z_made, width: self.config().summary_dim }),
            ..Inputs::default()
        };
        evaluate(&inputs, options)
    }

    /// Scaled features of the test split, and as many rows that the model draws for its conditions.
    fn feature_sets(&self, prepared: &Prepared, options: &SampleOptions) -> Result<[OwnedSequences; 2]> {
        let (test, width) = (&prepared.test, self.config().feature_dim);
        let (made, lengths) = self.generate_features(test.len(), Some(&raw_conditions(prepared)), options)?;
        let row = |i: usize| made.index_axis(Axis(0), i).iter().copied().take(lengths[i] * width).collect::<Vec<f32>>();
        let real = OwnedSequences::of_rows(test.lengths(), width, |i| test.features(i))?;
        Ok([real, OwnedSequences::of_rows(lengths.clone(), width, row)?])
    }

    /// Walks to the targets of the held-out movements, and the summaries (n,S) that they were made from.
    fn like(&self, held_out: &[Movement], options: &SampleOptions) -> Result<(Vec<Movement>, Vec<f32>)> {
        let targets: Vec<[i32; 2]> = held_out.iter().map(|m| m.target().map(|x| x as i32)).collect();
        let (walks, samples): (Vec<_>, Vec<_>) = self.walks(&targets, options)?.into_iter().unzip();
        let summaries = self.target_summaries(&targets, &samples, options)?;
        Ok((walks, summaries))
    }

    /// What each generated movement was asked to be, where that is known to be a straight distance.
    fn asked(&self, data: &Dataset, prepared: &Prepared, held_out: &[Movement]) -> Option<Vec<Asked>> {
        let closed_loop = self.config().decoder == DecoderKind::ClosedLoop;
        let straight = self.config().condition == ConditionKind::Straight && !data.has_conditions();
        let of_movement = |m: &Movement| {
            let [x, y] = m.target();
            Asked { distance_px: m.straight_distance(), duration_ms: None, target: Some(Point { x, y, t_ms: 0.0 }) }
        };
        // Within the training movements' range, where held-out ones may not be.
        let of_condition = |distance_px: f64| Asked { distance_px, duration_ms: None, target: None };
        match closed_loop {
            true => Some(held_out.iter().map(of_movement).collect()),
            false => straight.then(|| raw_conditions(prepared).into_iter().map(of_condition).collect()),
        }
    }
}

fn enough(test: &Split) -> Result<()> {
    if test.len() < FEWEST {
        return Err(Error::argument("test split", format!("{} movements", test.len()), format!("{FEWEST} or more")));
    }
    Ok(())
}

/// Those of the test split, as `generate` takes them.
fn raw_conditions(prepared: &Prepared) -> Vec<f64> {
    let scaled = prepared.test.conditions();
    match &prepared.scaler {
        Some(scaler) => {
            scaled.chunks(prepared.test.condition_dim()).flat_map(|c| scaler.unscale_condition(c)).collect()
        }
        None => scaled.iter().map(|&x| f64::from(x)).collect(),
    }
}

/// The recordings of a split, or what its features say that they were.
fn movements(split: &Split, scaler: &Scaler) -> Result<Vec<Movement>> {
    let movement = |i: usize| match split.movement(i) {
        Some(movement) => Ok(movement.clone()),
        None => Movement::new(scaler.points(split.features(i))),
    };
    let all: Result<Vec<Movement>> = (0..split.len()).filter(|&i| split.length(i) >= 3).map(movement).collect();
    match all {
        Ok(all) if all.len() == split.len() => Ok(all),
        Ok(all) => Err(Error::argument("movements of 3 points or more", all.len(), format!("all {}", split.len()))),
        Err(error) => Err(error),
    }
}
