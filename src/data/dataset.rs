//! A set of movements to learn from: pushed one by one, read from files, or a folder of prepared arrays.

use std::path::Path;

use super::features::{check_condition, check_range};
use super::readers::{self, ReadOptions, ReadReport, v4};
use super::{Movement, Scaler, recording};
use crate::error::{Error, Result, try_push};

/// Movements with their conditions, or a V4 folder's splits with their scaled features.
#[derive(Clone, Debug)]
pub struct Dataset {
    condition_dim: usize,
    pub(super) movements: Vec<Movement>,
    /// (N,C) raw, where movements bring their own.
    pub(super) conditions: Option<Vec<f64>>,
    pub(super) arrays: Option<v4::Folder>,
}

impl Dataset {
    /// An empty set whose conditions have so many numbers, 1 or more.
    pub fn new(condition_dim: usize) -> Dataset {
        Dataset { condition_dim: condition_dim.max(1), movements: Vec::new(), conditions: None, arrays: None }
    }

    /// Adds a movement. `condition`, C numbers in units of the caller's own, is given with every movement or
    /// with none; none is for C = 1, and then `Config::condition` says what the condition is.
    pub fn push(&mut self, movement: Movement, condition: Option<&[f64]>) -> Result<()> {
        if self.arrays.is_some() {
            let problem = "the set is a folder of prepared arrays, which no movement can be added to".into();
            return Err(Error::State { call: "push", problem });
        }
        // Movement::new's rules, for movements that were put together by hand.
        recording::check(&movement.points)?;
        check_range(&movement.points)?;
        match condition {
            None if self.condition_dim != 1 => {
                return Err(Error::argument("condition", "missing", format!("{} numbers", self.condition_dim)));
            }
            None if self.conditions.is_some() => {
                return Err(Error::argument("condition", "missing", "one, as the movements before had"));
            }
            None => {}
            Some(_) if self.conditions.is_none() && !self.movements.is_empty() => {
                return Err(Error::argument("condition", "given", "none, as the movements before had none"));
            }
            Some(numbers) => {
                if numbers.len() != self.condition_dim {
                    let got = format!("{} numbers", numbers.len());
                    return Err(Error::argument("condition", got, format!("{} numbers", self.condition_dim)));
                }
                check_condition(numbers)?;
            }
        }
        // Room for the condition before the movement comes: they come together or not at all.
        if let (Some(all), Some(own)) = (&mut self.conditions, condition) {
            let bytes = size_of_val(own);
            all.try_reserve(own.len()).map_err(|_| Error::Memory { bytes, purpose: "conditions" })?;
        }
        try_push(&mut self.movements, movement, "movements")?;
        if let Some(own) = condition {
            self.conditions.get_or_insert_default().extend(own);
        }
        Ok(())
    }

    /// Whether there is a folder of arrays of features, of the V4 kind.
    pub fn is_arrays(path: &Path) -> bool {
        v4::is_folder(path)
    }

    /// Reads a file or folder: a V4 folder (one with X_train.npy), or recordings as .json, .jsonl, .csv (each
    /// also .gz) and Balabit session files, in folders up to 8 deep. The report says what was refused and why;
    /// it is an error if nothing is left.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<(Dataset, ReadReport)> {
        options.check()?;
        if Dataset::is_arrays(path) {
            let arrays = v4::read(path, options)?;
            let data = Dataset { arrays: Some(arrays), ..Dataset::new(1) };
            let data = Dataset { condition_dim: data.arrays.as_ref().map_or(1, |a| a.condition_dim), ..data };
            if data.is_empty() {
                return Err(Error::format(path, "X_train.npy", "has no movements, nor have the other splits"));
            }
            let report = ReadReport { read: data.len(), ..ReadReport::default() };
            return Ok((data, report));
        }
        let found = readers::read(path, options)?;
        let condition_dim = found.entries.first().and_then(|(_, c)| c.as_ref()).map_or(1, Vec::len);
        let mut data = Dataset::new(condition_dim);
        for (movement, condition) in found.entries {
            data.push(movement, condition.as_deref())?;
        }
        Ok((data, found.report))
    }

    /// Movements, of all splits.
    pub fn len(&self) -> usize {
        match &self.arrays {
            Some(arrays) => arrays.splits.iter().map(|rows| rows.lengths.len()).sum(),
            None => self.movements.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn condition_dim(&self) -> usize {
        self.condition_dim
    }

    /// Whether the movements, or arrays, bring conditions of whatever meaning, rather than those of `Config::condition`.
    pub fn has_conditions(&self) -> bool {
        self.arrays.is_some() || self.conditions.is_some()
    }

    /// 8, but for a folder of arrays that have another number.
    pub fn feature_dim(&self) -> usize {
        self.arrays.as_ref().map_or(super::FEATURES.len(), |arrays| arrays.feature_dim)
    }

    /// The longest movement in points; 0 if there is none.
    pub fn longest(&self) -> usize {
        match &self.arrays {
            Some(arrays) => arrays.splits.iter().flat_map(|rows| &rows.lengths).copied().max().unwrap_or(0),
            None => self.movements.iter().map(|m| m.points.len()).max().unwrap_or(0),
        }
    }

    /// Raw movements; none for a folder of arrays.
    pub fn movements(&self) -> &[Movement] {
        &self.movements
    }

    /// The limits that a folder of arrays was scaled with, if it brings them.
    pub fn scaler(&self) -> Option<&Scaler> {
        self.arrays.as_ref().and_then(|arrays| arrays.scaler.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Point;

    fn movement() -> Movement {
        Movement::new((0..4).map(|i| Point { x: i as f64, y: 0.0, t_ms: i as f64 }).collect()).unwrap()
    }

    #[test]
    fn conditions_come_with_all_movements_or_with_none() {
        let mut own = Dataset::new(2);
        assert!(own.push(movement(), None).is_err());
        assert!(own.push(movement(), Some(&[1.0])).is_err());
        assert!(own.push(movement(), Some(&[1.0, f64::NAN])).is_err());
        assert!(own.is_empty() && own.conditions.is_none());
        own.push(movement(), Some(&[1.0, 2.0])).unwrap();
        assert_eq!((own.len(), own.condition_dim()), (1, 2));
        let mut none = Dataset::new(1);
        none.push(movement(), None).unwrap();
        assert!(none.push(movement(), Some(&[1.0])).is_err());
        let mut one = Dataset::new(1);
        one.push(movement(), Some(&[1.0])).unwrap();
        assert!(one.push(movement(), None).is_err());
    }

    #[test]
    fn a_movement_put_together_by_hand_is_checked() {
        let mut bad = movement();
        bad.points[3].t_ms = 0.0;
        let message = Dataset::new(1).push(bad, None).unwrap_err().to_string();
        assert_eq!(message, "points[3].t_ms is 0, expected more than the 2 before it");
    }
}
