//! How close generated movements are to real ones, always beside the floor: real against real.
//!
//! Knows no model, but for `of_model`: movements, scaled features and summaries come in as plain arrays.

pub mod boost;
pub mod compare;
pub mod cross;
pub mod density_ratio;
pub mod distances;
pub mod evaluate;
pub mod fitts;
pub mod floor;
pub mod forest;

mod html;
pub mod judges;
pub mod kernel;
pub mod kinematics;
pub mod memorisation;
pub mod neighbours;
pub mod networks;
pub mod obedience;
mod of_model;
pub mod parallel;
pub mod pictures;
pub mod report;
pub mod resample;
mod seed_scores;
pub mod sequences;
pub mod stats;

mod svg;
mod text;

pub use evaluate::{EvalOptions, FeatureSets, Inputs, SummarySets, evaluate};
pub use report::Report;

/// Ranges of the random stream `Evaluation`, so that no two uses share a number.
mod steps {
    pub const KS: u64 = 1 << 32;
    pub const MMD: u64 = 2 << 32;
    pub const FOLDS: u64 = 3 << 32;
    pub const FOREST: u64 = 4 << 32;
    pub const SPLIT: u64 = 5 << 32;
    pub const PICK: u64 = 6 << 32;
    pub const JUDGE: u64 = 7 << 32;
}
