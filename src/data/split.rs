//! Scaled movements, ready for batches.

use super::{Movement, Scaler, features};

/// The movements of one split: features and conditions in [-1,1], without padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    pub(super) feature_dim: usize,
    pub(super) condition_dim: usize,
    /// (sum of lengths, F)
    pub(super) features: Vec<f32>,
    /// Where each movement starts, in points, and where the last ends: N + 1.
    pub(super) starts: Vec<usize>,
    /// (N,C)
    pub(super) conditions: Vec<f32>,
    /// N, or none.
    pub(super) movements: Vec<Movement>,
}

impl Split {
    pub(super) fn new(feature_dim: usize, condition_dim: usize) -> Split {
        Split { feature_dim, condition_dim, starts: vec![0], ..Split::default() }
    }

    /// features (length,F), condition (C), both scaled.
    pub(super) fn push(&mut self, features: &[f32], condition: &[f32]) {
        self.features.extend_from_slice(features);
        self.conditions.extend_from_slice(condition);
        self.starts.push(self.features.len() / self.feature_dim);
    }

    /// Movements.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn feature_dim(&self) -> usize {
        self.feature_dim
    }

    pub fn condition_dim(&self) -> usize {
        self.condition_dim
    }

    /// Points of movement i < len().
    pub fn length(&self, i: usize) -> usize {
        self.starts[i + 1] - self.starts[i]
    }

    /// Of all movements.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|i| self.length(i)).collect()
    }

    /// The C condition numbers of movement i < len().
    pub fn condition(&self, i: usize) -> &[f32] {
        &self.conditions[i * self.condition_dim..][..self.condition_dim]
    }

    /// All conditions, (N,C).
    pub fn conditions(&self) -> &[f32] {
        &self.conditions
    }

    /// The first condition number of each movement.
    pub fn first_conditions(&self) -> Vec<f32> {
        (0..self.len()).map(|i| self.condition(i)[0]).collect()
    }

    /// The features of movement i < len(): (length,F), row-major.
    pub fn features(&self, i: usize) -> &[f32] {
        &self.features[self.starts[i] * self.feature_dim..self.starts[i + 1] * self.feature_dim]
    }

    /// The recording behind movement i, where there is one.
    pub fn movement(&self, i: usize) -> Option<&Movement> {
        self.movements.get(i)
    }

    /// The features of movement i < len() mirrored in x and y: (length,F) written to the front of `out`. Exact,
    /// from the recording, where there is one; else `Scaler::mirror` of the scaled features. Without a scaler
    /// nobody knows what the columns mean, and they stay as they are.
    pub fn augmented(&self, i: usize, mirror: (bool, bool), scaler: Option<&Scaler>, out: &mut [f32]) {
        let out = &mut out[..self.length(i) * self.feature_dim];
        match (scaler, self.movement(i)) {
            (Some(scaler), Some(movement)) if mirror != (false, false) => {
                scaler.scale_into(&features(&movement.mirrored(mirror.0, mirror.1).points), out);
            }
            (scaler, _) => {
                out.copy_from_slice(self.features(i));
                if let Some(scaler) = scaler.filter(|_| self.feature_dim == super::FEATURES.len()) {
                    scaler.mirror(out, mirror.0, mirror.1);
                }
            }
        }
    }
}
