//! Gradients of an arena of parameters.

use std::ops::{Deref, DerefMut, Range};

use super::params::{Layout, Matrix, To};
use crate::backend::cpu::Real;

/// An arena of gradients. What comes first to a matrix is written there, and what comes later is added: large as they are,
/// matrices need no clearing. All else is cleared and added to.
#[derive(Clone, Debug, Default)]
pub struct Gradients<R> {
    arena: Vec<R>,
    matrices: Vec<Matrix>,
    vectors: Vec<Range<usize>>,
    /// Of each matrix: whether anything has come.
    begun: Vec<bool>,
}

impl<R: Real> Gradients<R> {
    /// All zero.
    pub fn new(layout: &Layout) -> Self {
        let vectors = layout.entries.iter().filter(|e| e.shape.len() == 1).map(|e| e.range()).collect();
        let matrices = layout.matrices().to_vec();
        Gradients { arena: vec![R::ZERO; layout.len()], begun: vec![false; matrices.len()], matrices, vectors }
    }

    /// Begins anew in a range of the arena, that of a network. Its gradients are complete after [`Gradients::finish`]. layout:
    /// the same every time.
    pub fn start(&mut self, layout: &Layout, range: &Range<usize>) {
        if self.arena.len() != layout.len() {
            *self = Gradients::new(layout);
        }
        for i in 0..self.matrices.len() {
            if range.contains(&self.matrices[i].offset) {
                // Whoever adds to a matrix that has not begun shall be seen.
                if cfg!(debug_assertions) {
                    self.fill_matrix(i, R::from_f64(f64::NAN));
                }
                self.begun[i] = false;
            }
        }
        for vector in self.vectors.iter().filter(|v| range.contains(&v.start)) {
            self.arena[vector.clone()].fill(R::ZERO);
        }
    }

    /// Zeros in the matrices of a range to which nothing has come.
    pub fn finish(&mut self, range: &Range<usize>) {
        for i in 0..self.matrices.len() {
            if range.contains(&self.matrices[i].offset) && !self.begun[i] {
                self.fill_matrix(i, R::ZERO);
            }
        }
    }

    fn fill_matrix(&mut self, i: usize, value: R) {
        let Matrix { offset, stride, outputs, inputs, .. } = self.matrices[i];
        let rows = self.arena[offset..].chunks_mut(stride).take(outputs);
        rows.for_each(|row| row[..inputs].fill(value));
    }

    /// The arena, to add to a matrix there.
    pub fn of(&mut self, matrix: &Matrix) -> &mut [R] {
        if self.begin(matrix) == To::Write {
            self.fill_matrix(matrix.index(), R::ZERO);
        }
        &mut self.arena
    }

    /// What a product is to do with what a matrix holds. A second one is to add.
    pub(super) fn begin(&mut self, matrix: &Matrix) -> To {
        let begun = std::mem::replace(&mut self.begun[matrix.index()], true);
        if begun { To::Add } else { To::Write }
    }
}

impl<R> Deref for Gradients<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.arena
    }
}

impl<R> DerefMut for Gradients<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.arena
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Isa;
    use crate::nn::params::Initial;

    /// What a step before has left is in no gradient of the next one: of a block written, a block added to, a block that
    /// nothing came to, and a vector; another network's stay.
    #[test]
    fn nothing_is_left_of_a_step_before() {
        let mut layout = Layout::default();
        let [a, b, c] = layout.blocks("abc".into(), 2, [2, 1, 1], Initial::Zeros);
        let bias = layout.vector("bias".into(), 2, Initial::Zeros);
        let range = 0..layout.len();
        let other = layout.matrix("other".into(), 1, 1, Initial::Zeros);
        let mut grads = Gradients::<f64>::new(&layout);
        grads.fill(9.0);
        grads.start(&layout, &range);
        for _ in 0..2 {
            a.gradient(Isa::detect(), &[1.0, 2.0], &[3.0, 4.0], &mut grads);
        }
        grads.of(&b)[b.offset] += 5.0;
        bias.of_mut(&mut grads)[1] += 6.0;
        grads.finish(&range);
        assert_eq!(grads[..], [6.0, 8.0, 5.0, 0.0, 12.0, 16.0, 0.0, 0.0, 0.0, 6.0, 9.0]);
        let _ = (c, other);
    }
}
