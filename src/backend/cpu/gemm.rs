//! Matrix products on packed right-hand sides.
//!
//! An element of the result is one chain of multiply-adds over k, in order, whatever the number of rows
//! and wherever its row stands in a tile. So a row's result does not depend on its neighbours; nor does that of products by `tiles`,
//! whose sums are of another order.

use std::ops::Range;

use super::buffer::Line;
use super::lanes::{LANES, Lanes, Real, each};
use super::tiles::{self, DEPTH, Parts, split_panel};
use super::vectorised;

/// A k x n matrix in panels of 16 columns, zero-padded: element (i, j) is data[j/16*k + i].0[j%16].
#[derive(Clone, Debug, Default)]
pub struct Packed<R> {
    pub k: usize,
    pub n: usize,
    data: Vec<Line<R>>,
    /// The same numbers in 16 bits each, where they are such: see [`Packed::halve`]. A line is two rows of a panel, a word a
    /// column: see [`two_weights`]. The last row of an odd number is alone, beside zeros.
    half: Vec<Line<u32>>,
    /// The same numbers in two parts each, where they have been split: see [`Packed::split`]. Of every panel k / DEPTH, rounded up.
    tiles: Vec<Parts>,
}

/// Neighbouring columns of a packed matrix.
#[derive(Clone, Copy)]
pub struct Panels<'a, R> {
    pub(super) k: usize,
    pub(super) n: usize,
    rows: &'a [Line<R>],
    half: &'a [Line<u32>],
    pub(super) tiles: &'a [Parts],
}

impl<R: Real> Packed<R> {
    /// Packs b(i, j) = from[i * row_stride + j * column_stride], i < k, j < n. Keeps its memory.
    pub fn pack(&mut self, k: usize, n: usize, from: &[R], row_stride: usize, column_stride: usize) {
        self.fit(k, n);
        for (p, panel) in self.data.chunks_exact_mut(k).enumerate() {
            let width = LANES.min(n - p * LANES);
            for (i, Line(row)) in panel.iter_mut().enumerate() {
                let from = &from[i * row_stride + p * LANES * column_stride..];
                if column_stride == 1 {
                    copy_row(&from[..width], row);
                } else {
                    let last = (width - 1) * column_stride;
                    row[..width].iter_mut().zip(from[..=last].iter().step_by(column_stride)).for_each(|(x, &y)| *x = y);
                    row[width..].fill(R::ZERO);
                }
            }
        }
    }

    /// Packs k rows of n numbers.
    pub fn pack_rows<'a>(&mut self, k: usize, n: usize, rows: &mut impl Iterator<Item = &'a [R]>) {
        self.fit(k, n);
        for (i, from) in rows.take(k).enumerate() {
            for (p, from) in from.chunks(LANES).enumerate() {
                copy_row(from, &mut self.data[p * k + i].0);
            }
        }
    }

    /// Rounds what is packed as [`two_weights`] does and keeps it in that form too. Products with one row then read and
    /// unpack half as much; their results are those of the rounded numbers, as with more rows.
    pub fn halve(&mut self) {
        self.half.clear();
        self.tiles.clear();
        self.half.reserve_exact(self.data.len() / self.k.max(1) * self.k.div_ceil(2));
        for panel in self.data.chunks_exact_mut(self.k.max(1)) {
            for rows in panel.chunks_mut(2) {
                let number = |r: usize, j: usize| rows.get(r).map_or(0.0, |row| row.0[j].to_f64() as f32);
                let words: [u32; LANES] = std::array::from_fn(|j| two_weights(number(0, j), number(1, j)));
                for (r, row) in rows.iter_mut().enumerate() {
                    row.0 = words.map(|word| R::from_f64(f64::from(weights_of(word)[r])));
                }
                self.half.push(Line(words));
            }
        }
    }

    /// Products with what is packed are those of `tiles` from now on, of parts of floats.
    pub fn split(&mut self) {
        self.tiles.clear();
        self.tiles.extend(self.data.chunks_exact(self.k.max(1)).flat_map(split_panel));
    }

    pub fn whole(&self) -> Panels<'_, R> {
        self.columns(0..self.n)
    }

    /// columns: from a multiple of [`LANES`] on.
    pub fn columns(&self, columns: Range<usize>) -> Panels<'_, R> {
        assert!(columns.start.is_multiple_of(LANES) && columns.end <= self.n, "{columns:?} of {}", self.n);
        let (first, end) = (columns.start / LANES, columns.end.div_ceil(LANES));
        let size = if self.half.is_empty() { 0 } else { self.k.div_ceil(2) };
        let turns = if self.tiles.is_empty() { 0 } else { self.k.div_ceil(DEPTH) };
        Panels {
            k: self.k,
            n: columns.len(),
            rows: &self.data[first * self.k..end * self.k],
            half: &self.half[first * size..end * size],
            tiles: &self.tiles[first * turns..end * turns],
        }
    }

    fn fit(&mut self, k: usize, n: usize) {
        (self.k, self.n) = (k, n);
        self.half.clear();
        self.tiles.clear();
        self.data.resize(n.div_ceil(LANES) * k, Line([R::ZERO; LANES]));
    }
}

/// Two numbers in one word, each within 2^-8 of what it was, relative to its size. The lower half is the upper half of the
/// first one's float (a bfloat16). The word as a whole is the second one's float: what the lower half adds to it is
/// made up for in the rounding of the upper half. So one takes a shift to unpack, and the other takes nothing.
pub fn two_weights(first: f32, second: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    let low = u32::from(half::bf16::from_f32(first).to_bits());
    let size = (second.to_bits() & !SIGN).saturating_sub(low) + 0x8000;
    second.to_bits() & SIGN | size & 0xffff_0000 | low
}

/// What [`two_weights`] has made of them.
pub fn weights_of(word: u32) -> [f32; 2] {
    [f32::from_bits(word << 16), f32::from_bits(word)]
}

/// A row of a panel, padded with zeros.
fn copy_row<R: Real>(from: &[R], to: &mut [R; LANES]) {
    match <[R; LANES]>::try_from(from) {
        Ok(whole) => *to = whole, // of known length: no call
        Err(_) => {
            to[..from.len()].copy_from_slice(from);
            to[from.len()..].fill(R::ZERO);
        }
    }
}

/// The left-hand side: element (i, j) is data[i * row_stride + j * column_stride].
#[derive(Clone, Copy)]
pub struct Left<'a, R> {
    pub data: &'a [R],
    pub rows: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, R> Left<'a, R> {
    /// Row-major, rows x columns.
    pub fn rows(data: &'a [R], rows: usize, columns: usize) -> Self {
        Left { data, rows, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a row-major matrix with so many columns: those become the rows.
    pub fn transposed(data: &'a [R], columns: usize) -> Self {
        Left { data, rows: columns, row_stride: 1, column_stride: columns }
    }
}

vectorised! {
    /// a (m,k) b (k,n) -> c (m,n), row stride `c_stride`: c = alpha a b, or c += alpha a b.
    pub fn gemm<R, L>(a: Left<R>, b: Panels<R>, c: &mut [R], c_stride: usize, alpha: R, add: bool) {
        let (m, k, n) = (a.rows, b.k, b.n);
        if m == 0 {
            return;
        }
        assert!(k > 0 && n > 0, "nothing packed");
        assert!(a.data.len() > (m - 1) * a.row_stride + (k - 1) * a.column_stride, "left side too short");
        assert!(n <= c_stride && c.len() >= (m - 1) * c_stride + n, "result too short");
        let to = Target { c_stride, alpha, add };
        if !b.tiles.is_empty() {
            return tiles::product(a, b, c, to);
        }
        match (m, L::WIDE) {
            (1, false) => one_row::<R, L, 4>(a, b, &mut c[..n], to),
            (1, true) => one_row::<R, L, 8>(a, b, &mut c[..n], to),
            // Results of a tile stay in registers: 6 x 16 in twelve of AVX2's sixteen, 12 x 32 in 24 of AVX-512's 32.
            (_, false) => all_rows::<R, L, 6, 1>(a, b, c, to),
            (_, true) => all_rows::<R, L, 12, 2>(a, b, c, to),
        }
    }
}

/// What becomes of a sum: c = alpha sum, or c += alpha sum.
#[derive(Clone, Copy)]
pub(super) struct Target<R> {
    pub c_stride: usize,
    pub alpha: R,
    pub add: bool,
}

impl<R: Real> Target<R> {
    #[inline(always)]
    pub fn finish<L: Lanes<R>>(self, sum: L, c: &mut [R]) {
        let alpha = L::splat(self.alpha);
        if c.len() == LANES {
            let old = if self.add { L::load(c) } else { L::splat(R::ZERO) };
            sum.fma(alpha, old).store(c);
        } else {
            let old = if self.add { L::load_part(c) } else { L::splat(R::ZERO) };
            sum.fma(alpha, old).store_part(c);
        }
    }
}

/// One row of a times all panels, at most MOST (4 or 8) at a time: enough sums to hide the latency of the additions.
#[inline(always)]
fn one_row<R: Real, L: Lanes<R>, const MOST: usize>(a: Left<R>, b: Panels<R>, c: &mut [R], to: Target<R>) {
    let panels = b.n.div_ceil(LANES);
    let groups = panels.div_ceil(MOST);
    for group in 0..groups {
        let (start, end) = (group * panels / groups, (group + 1) * panels / groups);
        let c = &mut c[start * LANES..b.n.min(end * LANES)];
        if b.half.is_empty() {
            let rows = &b.rows[start * b.k..end * b.k];
            row_of_panels::<R, _, L, MOST, 1>(a, rows, b.k, |row| [L::load(&row.0)], c, to);
        } else {
            let size = b.k.div_ceil(2);
            let rows = &b.half[start * size..end * size];
            row_of_panels::<R, _, L, MOST, 2>(a, rows, b.k, |two| L::load_two(&two.0), c, to);
        }
    }
}

/// One row of a times a group of panels of k rows, compiled for each number of panels. A W holds EACH rows.
#[inline(always)]
fn row_of_panels<R: Real, W, L: Lanes<R>, const MOST: usize, const EACH: usize>(
    a: Left<R>,
    panels: &[W],
    k: usize,
    load: impl Fn(&W) -> [L; EACH],
    c: &mut [R],
    to: Target<R>,
) {
    macro_rules! of_panels {
        ($($count:literal)*) => {
            match panels.len() / k.div_ceil(EACH) {
                $($count if $count <= MOST => row_panels::<R, W, L, $count, EACH>(a, panels, k, load, c, to),)*
                count => unreachable!("{count} panels in a group"),
            }
        };
    }
    of_panels!(1 2 3 4 5 6 7 8)
}

/// One row of a times P panels of k rows, which `load` loads EACH at a time.
#[inline(always)]
fn row_panels<R: Real, W, L: Lanes<R>, const P: usize, const EACH: usize>(
    a: Left<R>,
    panels: &[W],
    k: usize,
    load: impl Fn(&W) -> [L; EACH],
    c: &mut [R],
    to: Target<R>,
) {
    /// Lines that are asked for before they are needed. The processor's own guess is lost among so many panels.
    const AHEAD: usize = 16;
    let mut sums = [L::splat(R::ZERO); P];
    let size = panels.len() / P;
    let panels: [&[W]; P] = each(|p| &panels[p * size..][..size]);
    for i in 0..size {
        // Beside the last row of an odd number there is none.
        let x = |at: usize| if at < k { a.data[at * a.column_stride] } else { R::ZERO };
        let x: [L; EACH] = each(|r| L::splat(x(EACH * i + r)));
        for (sum, panel) in sums.iter_mut().zip(panels) {
            prefetch(panel, i + AHEAD);
            // SAFETY: i is below the panel's size.
            let rows = load(unsafe { panel.get_unchecked(i) });
            for (x, row) in x.into_iter().zip(rows) {
                *sum = x.fma(row, *sum);
            }
        }
    }
    for (sum, c) in sums.into_iter().zip(c.chunks_mut(LANES)) {
        to.finish(sum, c);
    }
}

/// Asks for the cache line of a number, which may be beyond the end.
#[inline(always)]
pub(super) fn prefetch<T>(from: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(at).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at);
}

/// All rows of a, at most TILE (6 or 12) at a time, times all panels, P at a time.
#[inline(always)]
fn all_rows<R: Real, L: Lanes<R>, const TILE: usize, const P: usize>(
    a: Left<R>,
    b: Panels<R>,
    c: &mut [R],
    to: Target<R>,
) {
    let (m, panels) = (a.rows, b.n.div_ceil(LANES));
    let count = m.div_ceil(TILE);
    for tile in 0..count {
        // Balanced tiles: 16 rows are 6 + 5 + 5, not 6 + 6 + 4.
        let (start, end) = (tile * m / count, (tile + 1) * m / count);
        let rows = Left { data: &a.data[start * a.row_stride..], rows: end - start, ..a };
        let c = &mut c[start * to.c_stride..];
        let together = panels - panels % P;
        for p in (0..together).step_by(P) {
            tile_rows::<R, L, TILE, P>(rows, b, p, c, to);
        }
        for p in together..panels {
            tile_rows::<R, L, TILE, 1>(rows, b, p, c, to);
        }
    }
}

/// The tile of a's rows and of P panels from p on, compiled for each number of rows.
#[inline(always)]
fn tile_rows<R: Real, L: Lanes<R>, const TILE: usize, const P: usize>(
    a: Left<R>,
    b: Panels<R>,
    p: usize,
    c: &mut [R],
    to: Target<R>,
) {
    macro_rules! of_rows {
        ($($rows:literal)*) => {
            match a.rows {
                $($rows if $rows <= TILE => tile::<R, L, $rows, P>(a, b, p, c, to),)*
                rows => unreachable!("{rows} rows in a tile"),
            }
        };
    }
    of_rows!(1 2 3 4 5 6 7 8 9 10 11 12)
}

/// M rows of a times P panels: M x 16 P results.
#[inline(always)]
fn tile<R: Real, L: Lanes<R>, const M: usize, const P: usize>(
    a: Left<R>,
    b: Panels<R>,
    p: usize,
    c: &mut [R],
    to: Target<R>,
) {
    let k = b.k;
    let panels: [&[Line<R>]; P] = each(|q| &b.rows[(p + q) * k..][..k]);
    assert!(a.data.len() > (M - 1) * a.row_stride + (k - 1) * a.column_stride);
    // One stride is 1 and is compiled in: what is left to compute of the addresses is little.
    let sums = if a.row_stride == 1 {
        // Columns that are asked for before they are needed. Each is in a line or two, too far from the last for the processor
        // to guess. Where columns are 2 KB apart, all lie in two of the cache's sets, which hold sixteen lines: no more than
        // are needed in time, and small tiles are done with a column in a quarter of the time.
        let ahead = if L::WIDE { 12 } else { 4 };
        let ask = |i: usize| {
            let column = (i + ahead) * a.column_stride;
            prefetch(a.data, column);
            prefetch(a.data, column + M - 1);
        };
        // SAFETY: r < M and i < k, checked above for the largest of both.
        sums::<R, L, M, P>(panels, ask, |r, i| unsafe { *a.data.get_unchecked(r + i * a.column_stride) })
    } else {
        let rows: [&[R]; M] = each(|r| &a.data[r * a.row_stride..][..k]);
        // SAFETY: i < k
        sums::<R, L, M, P>(panels, |_| (), |r, i| unsafe { *rows[r].get_unchecked(i) })
    };
    for (r, sums) in sums.into_iter().enumerate() {
        for (q, sum) in sums.into_iter().enumerate() {
            let first = (p + q) * LANES;
            to.finish(sum, &mut c[r * to.c_stride + first..r * to.c_stride + b.n.min(first + LANES)]);
        }
    }
}

/// Sums over i of left(r, i) * row i of every panel; ask(i) comes first.
#[inline(always)]
fn sums<R: Real, L: Lanes<R>, const M: usize, const P: usize>(
    panels: [&[Line<R>]; P],
    ask: impl Fn(usize),
    left: impl Fn(usize, usize) -> R,
) -> [[L; P]; M] {
    let mut sums = [[L::splat(R::ZERO); P]; M];
    for i in 0..panels[0].len() {
        ask(i);
        // SAFETY: i < k, and every panel has k rows.
        let b: [L; P] = each(|q| L::load(&unsafe { panels[q].get_unchecked(i) }.0));
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = L::splat(left(r, i));
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = x.fma(b, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;
    use crate::rng::{Rng, Stream};

    fn numbers<R: Real>(n: usize, seed: u64) -> Vec<R> {
        let mut rng = Rng::new(seed, Stream::Evaluation, 0);
        (0..n).map(|_| R::from_f64(rng.range(-1.0, 1.0))).collect()
    }

    /// Sums of at most 300 products in f32 err by about sqrt(300) ulp.
    const TOLERANCE: f64 = 4e-6;

    fn check<R: Real>(m: usize, k: usize, n: usize, transposed: bool, tolerance: f64) {
        let (a, b, c0): (Vec<R>, Vec<R>, Vec<R>) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
        let left = if transposed { Left::transposed(&a, m) } else { Left::rows(&a, m, k) };
        let mut packed = Packed::default();
        packed.pack(k, n, &b, n, 1);
        for isa in Isa::available() {
            for add in [false, true] {
                let mut c = c0.clone();
                gemm(isa, left, packed.whole(), &mut c, n, R::from_f64(0.5), add);
                for i in 0..m {
                    for j in 0..n {
                        let at = |l: usize| a[i * left.row_stride + l * left.column_stride].to_f64();
                        let sum: f64 = (0..k).map(|l| at(l) * b[l * n + j].to_f64()).sum();
                        let expected = 0.5 * sum + if add { c0[i * n + j].to_f64() } else { 0.0 };
                        let got = c[i * n + j].to_f64();
                        assert!((got - expected).abs() < tolerance, "{m} {k} {n} {isa:?} {got} {expected}");
                    }
                }
            }
        }
    }

    /// Sizes that end inside a tile, a panel, and neither.
    #[test]
    fn agrees_with_plain_sums() {
        for (m, k, n) in [(1, 1, 1), (3, 7, 33), (6, 16, 16), (7, 5, 17), (16, 64, 256), (33, 257, 7)] {
            check::<f32>(m, k, n, false, TOLERANCE);
            check::<f32>(m, k, n, true, TOLERANCE);
            check::<f64>(m, k, n, false, 1e-12);
        }
    }

    #[test]
    fn two_weights_are_near_what_they_were() {
        let mut rng = Rng::new(6, Stream::Evaluation, 0);
        let mut number = || (rng.range(-20.0, 20.0).exp2() * rng.range(-1.0, 1.0).signum()) as f32;
        let mut worst = 0f32;
        for _ in 0..100_000 {
            let (a, b) = (number(), number());
            let [c, d] = weights_of(two_weights(a, b));
            worst = worst.max((c / a - 1.0).abs()).max((d / b - 1.0).abs());
        }
        assert!(worst <= 1.0 / 256.0, "{worst}");
        assert_eq!(two_weights(0.0, 0.0), 0);
        assert_eq!(weights_of(two_weights(-1.5, 0.0))[0], -1.5);
        let [_, zero] = weights_of(two_weights(-1.5, -0.0));
        assert!(zero.abs() < 1e-38, "{zero}");
        assert!(weights_of(two_weights(f32::NAN, f32::NAN)).iter().all(|x| x.is_nan()));
    }

    /// A sample must not depend on the batch that it is drawn in. 90 columns: a group of panels, and a part of one; an odd
    /// number of rows.
    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (k, n) = (71, 90);
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(16 * k, 4), numbers(k * n, 5));
        let mut whole = Packed::default();
        whole.pack(k, n, &b, n, 1);
        let mut halved = whole.clone();
        halved.halve();
        let mut pairs = halved.data.iter().zip(&whole.data).flat_map(|(h, w)| h.0.iter().zip(&w.0));
        assert!(pairs.all(|(h, w)| (h - w).abs() <= w.abs() / 256.0));
        for (isa, packed) in Isa::available().into_iter().flat_map(|isa| [(isa, &whole), (isa, &halved)]) {
            let mut whole = vec![0.0; 16 * n];
            gemm(isa, Left::rows(&a, 16, k), packed.whole(), &mut whole, n, 1.0, false);
            for i in 0..16 {
                let mut one = vec![0.0; n];
                gemm(isa, Left::rows(&a[i * k..(i + 1) * k], 1, k), packed.whole(), &mut one, n, 1.0, false);
                assert_eq!(one, whole[i * n..(i + 1) * n]);
                let mut some = [0.0; 50];
                gemm(isa, Left::rows(&a[i * k..(i + 1) * k], 1, k), packed.columns(32..82), &mut some, 50, 1.0, false);
                assert_eq!(some, one[32..82]);
            }
        }
    }
}
