//! Gradients of an arena of parameters.

use std::ops::{Deref, DerefMut, Range};

use super::params::{Layout, Matrix, To};
use crate::backend::cpu::Real;

/// An arena of gradients. What comes first to a matrix is written there, and what comes later is added: large as they are,
/// matrices need no clearing. All else is cleared and added to.
#[derive(Clone, Debug, Default)]
pub struct Gradients<R> {
    arena: Vec<R>,
    /// With each: whether anything has come.
    matrices: Vec<(Matrix, bool)>,
}

impl<R: Real> Gradients<R> {
    /// All zero.
    pub fn new(layout: &Layout) -> Self {
        let matrices = layout.matrices.iter().map(|&matrix| (matrix, false)).collect();
        Gradients { arena: vec![R::ZERO; layout.len()], matrices }
    }

    /// Begins anew in a range of the arena, that of a network. Its gradients are complete after [`Gradients::finish`]. layout:
    /// the same every time.
    pub fn start(&mut self, layout: &Layout, range: &Range<usize>) {
        if self.arena.len() != layout.len() {
            *self = Gradients::new(layout);
        }
        for (matrix, begun) in self.matrices.iter_mut().filter(|(m, _)| range.contains(&m.offset)) {
            // Whoever adds to a matrix that has not begun shall be seen.
            if cfg!(debug_assertions) {
                fill(&mut self.arena, matrix, R::from_f64(f64::NAN));
            }
            *begun = false;
        }
        for vector in layout.entries.iter().filter(|e| e.shape.len() == 1 && range.contains(&e.offset)) {
            self.arena[vector.range()].fill(R::ZERO);
        }
    }

    /// The arena, with zeros in the matrices of a range to which nothing has come.
    pub fn finish(&mut self, range: &Range<usize>) -> &mut [R] {
        for (matrix, _) in self.matrices.iter().filter(|(m, begun)| range.contains(&m.offset) && !begun) {
            fill(&mut self.arena, matrix, R::ZERO);
        }
        &mut self.arena
    }

    /// The arena, to add to a matrix there.
    pub fn of(&mut self, matrix: &Matrix) -> &mut [R] {
        if self.begin(matrix) == To::Write {
            fill(&mut self.arena, matrix, R::ZERO);
        }
        &mut self.arena
    }

    /// What a product is to do with what a matrix holds. A second one is to add.
    pub(super) fn begin(&mut self, matrix: &Matrix) -> To {
        let begun = std::mem::replace(&mut self.matrices[matrix.index].1, true);
        if begun { To::Add } else { To::Write }
    }
}

fn fill<R: Real>(arena: &mut [R], matrix: &Matrix, value: R) {
    let rows = arena[matrix.offset..].chunks_mut(matrix.stride).take(matrix.outputs);
    rows.for_each(|row| row[..matrix.inputs].fill(value));
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
        let [a, b, _] = layout.blocks("abc".into(), 2, [2, 1, 1], Initial::Zeros);
        let bias = layout.vector("bias".into(), 2, Initial::Zeros);
        let range = 0..layout.len();
        layout.matrix("other".into(), 1, 1, Initial::Zeros);
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
    }
}
