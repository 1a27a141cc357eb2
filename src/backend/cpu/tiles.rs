//! Products of floats that are taken as sums of two bfloat16s: an upper part of 8 bits of the mantissa, and a lower part of the
//! next 8. Of the four products of two such sums three are added up; the fourth is at most 2^-16 of the whole, as much as was rounded
//! away. For machines
//! with Intel's AMX (`amx`), whose tiles do that several times as fast as AVX-512 multiplies floats.

#[cfg(target_arch = "x86_64")]
use super::amx::{self, Tiles};
use super::buffer::Line;
use super::gemm::{Left, Panels, Target};
use super::lanes::{LANES, Real, each};

/// Columns of the left side, and rows of the right side, that are multiplied in one turn.
pub const DEPTH: usize = 32;
/// Rows of a tile.
pub const TILE: usize = 16;
/// Rows and columns of results that are made at a time.
pub const ROWS: usize = 2 * TILE;
pub const COLUMNS: usize = 2 * LANES;

/// A row of a tile. Of the left side: DEPTH neighbours in a row. Of the right side: of two rows the numbers of column 0, of column 1...
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Row([u16; DEPTH]);

/// The upper and the lower parts of a tile.
pub type Parts = [[Row; TILE]; 2];

const NOTHING: Parts = [[Row([0; DEPTH]); TILE]; 2];

/// Whether this machine has what makes products of tiles worth their while, and lets this process use it. Asks for that.
pub fn are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::is_here();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether [`are_fast`] may be true. Asks for nothing.
pub fn may_be_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::has_tiles();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// x within 2^-17 of its size, as the sum of two. Of what is above 3.38e38, infinite or no number nothing is promised, and parts below
/// 1e-38 are lost: weights and activations are far from either.
#[inline(always)]
fn parts(x: f32) -> [u16; 2] {
    let nearest = |x: f32| x.to_bits().wrapping_add(0x7fff + (x.to_bits() >> 16 & 1)) >> 16;
    let upper = nearest(x);
    [upper as u16, nearest(x - f32::from_bits(upper << 16)) as u16]
}

/// A panel of k rows, DEPTH at a time.
pub(super) fn split_panel<R: Real>(panel: &[Line<R>]) -> impl Iterator<Item = Parts> {
    panel.chunks(DEPTH).map(|rows| {
        let mut tile = NOTHING;
        for (i, Line(row)) in rows.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                for (part, to) in parts(x.to_f64() as f32).into_iter().zip(&mut tile) {
                    to[i / 2].0[2 * j + i % 2] = part;
                }
            }
        }
        tile
    })
}

/// Up to DEPTH neighbours of a row of the left side become row r of a tile.
#[inline(always)]
fn split_row<R: Real>(from: &[R], r: usize, tile: &mut Parts) {
    let [upper, lower] = tile;
    let (upper, lower) = (&mut upper[r].0, &mut lower[r].0);
    for i in 0..DEPTH {
        // Where all are there nothing is asked.
        let x = if from.len() == DEPTH { from[i] } else { from.get(i).copied().unwrap_or(R::ZERO) };
        [upper[i], lower[i]] = parts(x.to_f64() as f32);
    }
}

/// As `gemm`, for panels that have been split. A row's sums are taken in the same order whatever rows stand beside it.
#[inline(always)]
pub(super) fn product<R: Real>(a: Left<R>, b: Panels<R>, c: &mut [R], to: Target<R>) {
    #[cfg(target_arch = "x86_64")]
    if amx::is_here() {
        // SAFETY: this is the only place where tiles are used, and what is called below is none.
        let tiles = unsafe { Tiles::begin() };
        return blocks(a, b, c, to, |a, b, c, c_stride, add| tiles.multiply(a, b, c, c_stride, add));
    }
    blocks(a, b, c, to, multiply);
}

/// ROWS x COLUMNS results at a time, by a function that does what [`multiply`] does.
#[inline(always)]
fn blocks<R: Real>(
    a: Left<R>,
    b: Panels<R>,
    c: &mut [R],
    to: Target<R>,
    multiply: impl Fn([&[Parts]; 2], [&[Parts]; 2], &mut [f32], usize, bool),
) {
    /// Tiles of the left side that are split at a time.
    const MOST: usize = 4;
    assert!(a.column_stride == 1, "a transposed left side");
    let (panels, turns) = (b.n.div_ceil(LANES), b.k.div_ceil(DEPTH));
    let mut left = [[NOTHING; MOST]; 2];
    for first in (0..a.rows).step_by(ROWS) {
        let rows = ROWS.min(a.rows - first);
        for turn in (0..turns).step_by(MOST) {
            let count = MOST.min(turns - turn);
            for r in 0..rows {
                let row = &a.data[(first + r) * a.row_stride..][..b.k];
                for (tile, from) in left[r / TILE][..count].iter_mut().zip(row[turn * DEPTH..].chunks(DEPTH)) {
                    split_row(from, r % TILE, tile);
                }
            }
            let add = to.add || turn > 0;
            let left = [&left[0][..count], &left[1][..count]];
            for p in (0..panels).step_by(2) {
                // Beside the last panel of an odd number it stands once more.
                let right = each(|q| &b.tiles[(p + q).min(panels - 1) * turns + turn..][..count]);
                let width = COLUMNS.min(b.n - p * LANES);
                let c = &mut c[first * to.c_stride + p * LANES..];
                // Sums begin with c where they can, at the edges as elsewhere.
                let begun = add && to.alpha == R::ONE;
                if rows == ROWS
                    && width == COLUMNS
                    && to.alpha == R::ONE
                    && let Some(c) = R::floats(c)
                {
                    multiply(left, right, c, to.c_stride, begun);
                    continue;
                }
                let mut sums = [0.0; ROWS * COLUMNS];
                if begun {
                    for (c, sums) in c.chunks(to.c_stride).zip(sums.chunks_exact_mut(COLUMNS)).take(rows) {
                        c[..width].iter().zip(sums).for_each(|(c, sum)| *sum = c.to_f64() as f32);
                    }
                }
                multiply(left, right, &mut sums, COLUMNS, begun);
                for (c, sums) in c.chunks_mut(to.c_stride).zip(sums.chunks_exact(COLUMNS)).take(rows) {
                    for (c, &sum) in c[..width].iter_mut().zip(sums) {
                        let before = if add && !begun { *c } else { R::ZERO };
                        *c = to.alpha * R::from_f64(sum.into()) + before;
                    }
                }
            }
        }
    }
}

/// Two tiles of rows of the left side times two panels: c, ROWS rows of COLUMNS with so many floats from row to row, is written or
/// added to. What [`Tiles`] does, but for the order of sums and subnormals, for machines that have none; slowly.
fn multiply(a: [&[Parts]; 2], b: [&[Parts]; 2], c: &mut [f32], c_stride: usize, add: bool) {
    for (r, c) in c.chunks_mut(c_stride).take(ROWS).enumerate() {
        for (j, c) in c[..COLUMNS].iter_mut().enumerate() {
            let mut sum = if add { *c } else { 0.0 };
            for (a, b) in a[r / TILE].iter().zip(b[j / LANES]) {
                for (x, y) in [(0, 0), (1, 0), (0, 1)] {
                    for k in 0..DEPTH {
                        let number = |part: u16| f32::from_bits(u32::from(part) << 16);
                        sum += number(a[x][r % TILE].0[k]) * number(b[y][k / 2].0[2 * (j % LANES) + k % 2]);
                    }
                }
            }
            *c = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Packed;
    use crate::rng::{Rng, Stream};

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed, Stream::Evaluation, 0);
        (0..n).map(|_| rng.range(-1.0, 1.0) as f32).collect()
    }

    #[test]
    fn two_parts_are_a_float_to_16_bits() {
        for x in numbers(10_000, 1).into_iter().chain([0.0, -0.0, 1.0, 1e-30, -3e30]) {
            let [upper, lower] = parts(x).map(|part| f32::from_bits(u32::from(part) << 16));
            assert!((upper + lower - x).abs() <= x.abs() / f32::from(1u16 << 8) / f32::from(1u16 << 9), "{x}");
        }
        assert!(parts(f32::NAN).map(|part| f32::from_bits(u32::from(part) << 16)).iter().all(|x| x.is_nan()));
    }

    /// Sizes that end inside a block, a panel and a tile, and neither; more tiles than are split at a time.
    #[test]
    fn products_of_parts_are_near_those_of_floats() {
        for (m, k, n) in [(1, 1, 1), (3, 7, 33), (16, 31, 16), (32, 64, 64), (33, 257, 7), (71, 160, 90)] {
            let (a, b, c0) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let mut packed = Packed::default();
            packed.pack(k, n, &b, n, 1);
            packed.split();
            for (alpha, add) in [(1.0, false), (1.0, true), (0.5, false), (0.5, true)] {
                let (left, to) = (Left::rows(&a, m, k), Target { c_stride: n, alpha, add });
                let (mut best, mut plain) = (c0.clone(), c0.clone());
                product(left, packed.whole(), &mut best, to);
                blocks(left, packed.whole(), &mut plain, to, multiply);
                for i in 0..m {
                    for j in 0..n {
                        let at = i * n + j;
                        let terms = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j]));
                        let (sum, size) = terms.fold((0.0, 1.0), |(sum, size), x| (sum + x, size + x.abs()));
                        let exact = f64::from(alpha) * sum + if add { f64::from(c0[at]) } else { 0.0 };
                        for got in [best[at], plain[at]] {
                            // Two roundings of 2^-17 at most and a product left out of 2^-16 at most.
                            assert!(
                                (f64::from(got) - exact).abs() < size * 3e-5,
                                "{m} {k} {n} {alpha} {add}: {got} {exact}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let (m, k, n) = (40, 150, 70);
        let (a, b) = (numbers(m * k, 4), numbers(k * n, 5));
        let mut packed = Packed::default();
        packed.pack(k, n, &b, n, 1);
        packed.split();
        let to = Target { c_stride: n, alpha: 1.0, add: true };
        let mut all = vec![0.25; m * n];
        product(Left::rows(&a, m, k), packed.whole(), &mut all, to);
        for i in 0..m {
            let mut one = vec![0.25; n];
            product(Left::rows(&a[i * k..(i + 1) * k], 1, k), packed.whole(), &mut one, to);
            assert_eq!(one, all[i * n..(i + 1) * n]);
        }
    }
}
