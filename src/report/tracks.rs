//! Movements as pictures show them, and where they come from: a split of the data, the model's reconstructions of it,
//! and what the model makes for the same wishes.

use crate::config::DecoderKind;
use crate::data::features::{COS_H, DX, DY, SIN_H, SPEED};
use crate::data::{FEATURES, Movement, Point, Scaler, Split, features};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sample::SampleOptions;

/// Curves of one movement. Points in pixels and milliseconds, or what features say where no pixels are known: then
/// all is in scaled units, over steps.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Offsets from the start; y grows downwards.
    pub path: Vec<[f64; 2]>,
    /// Time and speed.
    pub speed: Vec<[f64; 2]>,
    /// Time and the way's direction in degrees, clockwise from the right.
    pub heading: Vec<[f64; 2]>,
    /// Scaled features, a row a point.
    pub features: Vec<[f32; 8]>,
}

impl Track {
    /// The features are those that the scaler makes of the points.
    pub fn of_points(points: &[Point], scaler: &Scaler) -> Track {
        let scaled = scaler.scale(&features(points));
        Track { features: rows(&scaled), ..Track::of_way(points) }
    }

    /// Scaled features (n,8), with pixels where there is a scaler.
    pub fn of_features(scaled: &[f32], scaler: Option<&Scaler>) -> Track {
        let features = rows(scaled);
        if let Some(scaler) = scaler {
            return Track { features, ..Track::of_way(&scaler.points(scaled)) };
        }
        let curve = |of: &dyn Fn(&[f32; 8]) -> f64| {
            (0u32..).zip(&features).map(|(step, row)| [f64::from(step), of(row)]).collect::<Vec<_>>()
        };
        let speed = curve(&|row| f64::from(row[SPEED]));
        let heading = curve(&|row| f64::from(row[SIN_H]).atan2(f64::from(row[COS_H])).to_degrees());
        let path = features.iter().map(|row| [row[DX], row[DY]].map(f64::from)).collect();
        Track { path, speed, heading, features }
    }

    fn of_way(points: &[Point]) -> Track {
        let Some(&first) = points.first() else { return Track::default() };
        let mut track =
            Track { path: points.iter().map(|p| [p.x - first.x, p.y - first.y]).collect(), ..Track::default() };
        for p in points.windows(2) {
            let (dx, dy, dt) = (p[1].x - p[0].x, p[1].y - p[0].y, p[1].t_ms - p[0].t_ms);
            let time = (p[0].t_ms + p[1].t_ms) / 2.0 - first.t_ms;
            track.speed.push([time, dx.hypot(dy) / dt]);
            // Who stands still has no direction.
            if dx != 0.0 || dy != 0.0 {
                track.heading.push([time, dy.atan2(dx).to_degrees()]);
            }
        }
        track
    }
}

fn rows(scaled: &[f32]) -> Vec<[f32; 8]> {
    scaled.as_chunks().0.to_vec()
}

/// Some movements of a split.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Scaled features, length x 8 each.
    features: Vec<Vec<f32>>,
    /// None for arrays.
    movements: Vec<Option<Movement>>,
    /// Scaled, n x C.
    conditions: Vec<f32>,
}

impl Examples {
    /// At most `count`, spread evenly from the smallest condition to the largest.
    pub fn of(split: &Split, count: usize) -> Examples {
        let mut order: Vec<usize> = (0..split.len()).collect();
        order.sort_by(|&a, &b| split.condition(a)[0].total_cmp(&split.condition(b)[0]));
        let kept = count.min(order.len());
        let chosen: Vec<usize> = (0..kept).map(|k| order[(2 * k + 1) * order.len() / (2 * kept)]).collect();
        Examples {
            features: chosen.iter().map(|&i| split.features(i).to_vec()).collect(),
            movements: chosen.iter().map(|&i| split.movement(i).cloned()).collect(),
            conditions: chosen.iter().flat_map(|&i| split.condition(i).to_vec()).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.features.len()
    }

    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Points of each.
    pub fn lengths(&self, model: &Model) -> Vec<usize> {
        self.features.iter().map(|x| x.len() / model.config().feature_dim).collect()
    }

    /// Each one's first condition, in the units of the data where the model knows them.
    pub fn conditions(&self, model: &Model) -> Vec<f64> {
        self.raw_conditions(model).into_iter().step_by(model.config().condition_dim).collect()
    }

    fn raw_conditions(&self, model: &Model) -> Vec<f64> {
        match scaler(model) {
            Some(scaler) => scaler.unscale_condition(&self.conditions),
            None => self.conditions.iter().map(|&c| f64::from(c)).collect(),
        }
    }

    /// As recorded.
    pub fn tracks(&self, model: &Model) -> Vec<Track> {
        let track = |(x, movement): (&Vec<f32>, &Option<Movement>)| match (movement, scaler(model)) {
            (Some(movement), Some(scaler)) => Track::of_points(&movement.points, scaler),
            (_, scaler) => Track::of_features(x, scaler),
        };
        self.features.iter().zip(&self.movements).map(track).collect()
    }

    /// Summaries, n x S.
    pub fn summaries(&self, model: &Model) -> Result<ndarray::Array2<f32>> {
        match model.config().decoder {
            DecoderKind::V6 => model.encode_features(&self.features, 0),
            DecoderKind::ClosedLoop => model.encode(&self.recorded()?, 0),
        }
    }

    /// What the autoencoder makes of them.
    pub fn rebuilt(&self, model: &Model, options: &SampleOptions) -> Result<Vec<Track>> {
        let z = self.summaries(model)?;
        match model.config().decoder {
            DecoderKind::V6 => {
                let rows = model.decode_features(z.view(), &self.lengths(model), options.threads)?;
                Ok(rows.iter().map(|x| Track::of_features(x, scaler(model))).collect())
            }
            DecoderKind::ClosedLoop => tracks(model, &model.walk_summaries(z.view(), &self.targets()?, options)?),
        }
    }

    /// New movements for the same conditions, or to the same targets.
    pub fn made(&self, model: &Model, options: &SampleOptions) -> Result<Vec<Track>> {
        match model.config().decoder {
            DecoderKind::V6 => {
                let (x, lengths) = model.generate_features(self.len(), Some(&self.raw_conditions(model)), options)?;
                let row = |(x, n): (ndarray::ArrayView2<f32>, usize)| {
                    let scaled: Vec<f32> = x.outer_iter().take(n).flat_map(|row| row.to_vec()).collect();
                    Track::of_features(&scaled, scaler(model))
                };
                Ok(x.outer_iter().zip(lengths).map(row).collect())
            }
            DecoderKind::ClosedLoop => tracks(model, &model.walk(&self.targets()?, options)?),
        }
    }

    fn recorded(&self) -> Result<Vec<Movement>> {
        let all: Option<Vec<Movement>> = self.movements.iter().cloned().collect();
        all.ok_or_else(|| Error::argument("data set", "arrays of features", "recordings in pixels and milliseconds"))
    }

    fn targets(&self) -> Result<Vec<[i32; 2]>> {
        Ok(self.recorded()?.iter().map(|m| m.target().map(|x| x as i32)).collect())
    }
}

/// Movements that the model makes, as [`Model::generate`]; features where it knows no pixels.
pub fn generated(
    model: &Model,
    count: usize,
    conditions: Option<&[f64]>,
    options: &SampleOptions,
) -> Result<Vec<Track>> {
    drawable(model)?;
    if scaler(model).is_some() {
        return tracks(model, &model.generate(count, conditions, options)?);
    }
    let (x, lengths) = model.generate_features(count, conditions, options)?;
    let row = |(x, n): (ndarray::ArrayView2<f32>, usize)| {
        Track::of_features(&x.outer_iter().take(n).flat_map(|row| row.to_vec()).collect::<Vec<_>>(), None)
    };
    Ok(x.outer_iter().zip(lengths).map(row).collect())
}

/// Refuses features of the caller's own: they say nothing of a path.
pub fn drawable(model: &Model) -> Result<()> {
    match model.config().feature_dim {
        8 => Ok(()),
        n => {
            let problem = format!("its movements have {n} features of their own, not {}", FEATURES.join(", "));
            Err(Error::State { call: "plot", problem })
        }
    }
}

fn tracks(model: &Model, movements: &[Movement]) -> Result<Vec<Track>> {
    let scaler = model.scaler("plot")?;
    Ok(movements.iter().map(|m| Track::of_points(&m.points, scaler)).collect())
}

/// None: the model speaks features only.
pub fn scaler(model: &Model) -> Option<&Scaler> {
    model.data().and_then(|data| data.scaler.as_ref())
}
