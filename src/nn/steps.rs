//! Sequences of different lengths, without padding.
//!
//! Rows are ordered by length, longest first, so that those still running at a step are the first ones.
//! A packed tensor (N,·) holds step 0 of all rows, then step 1 of those that have one, and so on.

use crate::order;

/// Which rows run at which step. B rows, T steps, N = sum of the lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// Where each step begins in a packed tensor; one more at the end.
    offsets: Vec<usize>,
    lengths: Vec<usize>,
}

impl Steps {
    /// lengths (B): at least 1 each, never rising.
    pub fn new(lengths: &[usize]) -> Steps {
        assert!(lengths.iter().all(|&n| n > 0) && lengths.is_sorted_by(|a, b| a >= b), "rows go by length");
        let mut offsets = vec![0];
        let mut rows = lengths.len();
        for t in 0..lengths.first().copied().unwrap_or(0) {
            while lengths[rows - 1] <= t {
                rows -= 1;
            }
            offsets.push(offsets[t] + rows);
        }
        Steps { offsets, lengths: lengths.to_vec() }
    }

    /// T: steps of the longest row.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// B
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Rows that run at step t: the first ones.
    pub fn running(&self, t: usize) -> usize {
        self.offsets[t + 1] - self.offsets[t]
    }

    /// N
    pub fn total(&self) -> usize {
        self.offsets[self.len()]
    }

    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Index in packed tensors of a row at a step that it has.
    pub fn at(&self, row: usize, t: usize) -> usize {
        debug_assert!(t < self.lengths[row]);
        self.offsets[t] + row
    }

    /// Range in a packed tensor of step t, at so many numbers a row.
    pub fn step(&self, t: usize, width: usize) -> std::ops::Range<usize> {
        self.offsets[t] * width..self.offsets[t + 1] * width
    }

    /// The packed range of the rows that run at step t, one step earlier.
    pub fn before(&self, t: usize, width: usize) -> std::ops::Range<usize> {
        let start = self.offsets[t - 1];
        start * width..(start + self.running(t)) * width
    }

    /// h (N,width) and initial (B,width) -> the N rows that each step saw as the one before.
    pub fn shifted<'a, R>(&'a self, h: &'a [R], initial: &'a [R], width: usize) -> impl Iterator<Item = &'a [R]> {
        let later = (1..self.len()).flat_map(move |t| h[self.before(t, width)].chunks_exact(width));
        initial[..self.rows() * width].chunks_exact(width).chain(later)
    }
}

/// The rows in the order that [`Steps::new`] asks for; of equal ones the first stays first.
pub fn longest_first(lengths: &[usize]) -> Vec<usize> {
    order::indices(lengths.len(), &|a, b| lengths[b].cmp(&lengths[a]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_rows() {
        assert_eq!(longest_first(&[2, 5, 2, 9, 5]), [3, 1, 4, 0, 2]);
    }

    #[test]
    fn rows_run_until_they_end() {
        let steps = Steps::new(&[3, 2, 2, 1]);
        assert_eq!((steps.len(), steps.rows(), steps.total()), (3, 4, 8));
        assert_eq!([0, 1, 2].map(|t| steps.running(t)), [4, 3, 1]);
        let packed = [0, 10, 20, 30, 1, 11, 21, 2]; // ten times the row, and the step
        assert_eq!((packed[steps.at(2, 1)], &packed[steps.step(1, 1)]), (21, &[1, 11, 21][..]));
        let shifted: Vec<i32> = steps.shifted(&packed, &[7, 8, 9, 6], 1).flatten().copied().collect();
        assert_eq!(shifted, [7, 8, 9, 6, 0, 10, 20, 1]);
    }

    #[test]
    #[should_panic(expected = "rows go by length")]
    fn refuses_unordered_rows() {
        Steps::new(&[2, 3]);
    }
}
