//! Memory that products and cells work in.

use std::ops::{Deref, DerefMut};

use super::lanes::LANES;

/// Sixteen numbers in line with the cache's lines: a load or store of them is one access, not two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) [T; LANES]);

/// A slice that begins with a line of the cache, and that keeps its memory when its length changes.
#[derive(Debug)]
pub struct Buffer<T> {
    lines: Vec<Line<T>>,
    len: usize,
}

impl<T: Clone> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { lines: self.lines.clone(), len: self.len }
    }

    /// Keeps its memory.
    fn clone_from(&mut self, from: &Self) {
        self.lines.clone_from(&from.lines);
        self.len = from.len;
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { lines: Vec::new(), len: 0 }
    }
}

impl<T: Copy + Default> Buffer<T> {
    pub fn zeros(len: usize) -> Buffer<T> {
        Buffer { lines: vec![Line([T::default(); LANES]); len.div_ceil(LANES)], len }
    }

    /// Sets its length. What it holds then is for the caller to write.
    pub fn fit(&mut self, len: usize) -> &mut [T] {
        self.lines.resize(len.div_ceil(LANES), Line([T::default(); LANES]));
        self.len = len;
        self
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn extend_from_slice(&mut self, more: &[T]) {
        let old = self.len;
        self.fit(old + more.len())[old..].copy_from_slice(more);
    }
}

impl<'a, T> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        const { assert!(size_of::<Line<T>>() == LANES * size_of::<T>(), "a gap") };
        // SAFETY: lines are numbers without a gap, and len of them are there.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        const { assert!(size_of::<Line<T>>() == LANES * size_of::<T>(), "a gap") };
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_with_a_line_and_keeps_what_it_is_given() {
        let mut b = Buffer::zeros(3);
        assert_eq!(b[..], [0.0f32; 3]);
        b.extend_from_slice(&std::array::from_fn::<_, 20, _>(|x| x as f32));
        b.extend_from_slice(&[7.0]);
        assert_eq!((b.len(), b[3], b[22], b[23]), (24, 0.0, 19.0, 7.0));
        assert!(b.as_ptr().cast::<Line<f32>>().is_aligned());
        b.clear();
        assert!(b.is_empty() && b.fit(40).len() == 40);
        let (mut other, at) = (b.clone(), b.as_ptr());
        other[39] = 5.0;
        b.clone_from(&other);
        assert_eq!((b.as_ptr(), b[39]), (at, 5.0));
    }
}
