//! Element-wise kernels: activations, LSTM cells, sums.

use super::gemm::prefetch;
use super::lanes::{LANES, Lanes};
use super::vectorised;
use crate::rng::BLOCKS;

/// Runs a body on 16 elements of every slice, then on the rest. `$i` is the range.
macro_rules! by_lanes {
    ($len:expr, |$load:ident, $store:ident, $i:ident| $body:expr) => {{
        let len = $len;
        let whole = len - len % LANES;
        let mut start = 0;
        while start < whole {
            let $i = start..start + LANES;
            let ($load, $store) = (L::load as fn(&[R]) -> L, <L as Lanes<R>>::store as fn(L, &mut [R]));
            $body;
            start += LANES;
        }
        if whole < len {
            let $i = whole..len;
            let ($load, $store) = (L::load_part as fn(&[R]) -> L, <L as Lanes<R>>::store_part as fn(L, &mut [R]));
            $body;
        }
    }};
}

vectorised! {
    /// x <- tanh(x)
    pub fn tanh<R, L>(x: &mut [R]) {
        by_lanes!(x.len(), |load, store, i| store(load(&x[i.clone()]).tanh(), &mut x[i]))
    }
}

vectorised! {
    /// x <- 1 / (1 + e^-x)
    pub fn sigmoid<R, L>(x: &mut [R]) {
        by_lanes!(x.len(), |load, store, i| store(load(&x[i.clone()]).sigmoid(), &mut x[i]))
    }
}

vectorised! {
    /// x <- scale times its softmax. Returns log(sum of e^x).
    pub fn softmax<R, L>(x: &mut [R], scale: R) -> f64 {
        let most = x.iter().fold(x[0], |most, &x| if x > most { x } else { most });
        let shift = L::splat(most);
        by_lanes!(x.len(), |load, store, i| store(load(&x[i.clone()]).sub(shift).exp(), &mut x[i]));
        // Read again, for missing lanes to be 0.
        let mut sum = L::splat(R::ZERO);
        by_lanes!(x.len(), |load, _store, i| sum = sum.add(load(&x[i])));
        let sum = sum.sum();
        let scale = L::splat(scale / sum);
        by_lanes!(x.len(), |load, store, i| store(load(&x[i.clone()]).mul(scale), &mut x[i]));
        sum.to_f64().ln() + most.to_f64()
    }
}

vectorised! {
    /// y += alpha x
    pub fn axpy<R, L>(alpha: R, x: &[R], y: &mut [R]) {
        let a = L::splat(alpha);
        by_lanes!(y.len(), |load, store, i| store(load(&x[i.clone()]).fma(a, load(&y[i.clone()])), &mut y[i]))
    }
}

vectorised! {
    /// x (M,N) -> sums (N) added to: the gradient of a bias. Summed apart first: gradients of opposite calls of
    /// a network then cancel exactly, where they do in exact arithmetic.
    pub fn add_columns<R, L>(x: &[R], sums: &mut [R]) {
        let width = sums.len();
        by_lanes!(width, |load, store, i| {
            let mut sum = L::splat(R::ZERO);
            for row in x.chunks_exact(width) {
                sum = sum.add(load(&row[i.clone()]));
            }
            store(sum.add(load(&sums[i.clone()])), &mut sums[i]);
        });
    }
}

vectorised! {
    /// x, y (M,N) -> sums (N) += columns of x * y: the gradient of a gain.
    pub fn add_product_columns<R, L>(x: &[R], y: &[R], sums: &mut [R]) {
        let width = sums.len();
        by_lanes!(width, |load, store, i| {
            let mut sum = L::splat(R::ZERO);
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
                sum = load(&x[i.clone()]).fma(load(&y[i.clone()]), sum);
            }
            store(sum.add(load(&sums[i.clone()])), &mut sums[i]);
        });
    }
}

vectorised! {
    /// x (M,N) += row (N), on every row.
    pub fn add_row<R, L>(row: &[R], x: &mut [R]) {
        for x in x.chunks_exact_mut(row.len()) {
            by_lanes!(row.len(), |load, store, i| store(load(&row[i.clone()]).add(load(&x[i.clone()])), &mut x[i]));
        }
    }
}

vectorised! {
    /// x <- x where positive, else slope x. By a factor that is chosen: where the product is, compilers write what has changed
    /// only, by AVX2's masked store, which is slow on some processors.
    pub fn leaky_relu<R, L>(x: &mut [R], slope: R) {
        let [one, slope] = [L::splat(R::ONE), L::splat(slope)];
        by_lanes!(x.len(), |load, store, i| {
            let v = load(&x[i.clone()]);
            store(v.mul(L::where_positive(v, one, slope)), &mut x[i])
        })
    }
}

vectorised! {
    /// y as [`leaky_relu`] left it; dy becomes dx.
    pub fn leaky_relu_backward<R, L>(y: &[R], dy: &mut [R], slope: R) {
        let [one, slope] = [L::splat(R::ONE), L::splat(slope)];
        by_lanes!(dy.len(), |load, store, i| {
            let factor = L::where_positive(load(&y[i.clone()]), one, slope);
            store(load(&dy[i.clone()]).mul(factor), &mut dy[i])
        })
    }
}

vectorised! {
    /// x (M,D) -> n = (x - mean) / deviation, inverse (M) = 1 / deviation, x <- gain n + bias. deviation^2 = variance + epsilon.
    pub fn layer_norm<R, L>(x: &mut [R], n: &mut [R], inverse: &mut [R], gain: &[R], bias: &[R], epsilon: R) {
        let width = gain.len();
        let share = R::ONE / R::from_f64(width as f64);
        let rows = x.chunks_exact_mut(width).zip(n.chunks_exact_mut(width)).zip(inverse);
        for ((x, n), inverse) in rows {
            let mut sum = L::splat(R::ZERO);
            by_lanes!(width, |load, _store, i| sum = sum.add(load(&x[i])));
            let mean = L::splat(sum.sum() * share);
            // Kept in n, whose missing lanes read as 0.
            by_lanes!(width, |load, store, i| store(load(&x[i.clone()]).sub(mean), &mut n[i]));
            let mut squares = L::splat(R::ZERO);
            by_lanes!(width, |load, _store, i| {
                let v = load(&n[i]);
                squares = v.fma(v, squares);
            });
            *inverse = R::ONE / (squares.sum() * share + epsilon).sqrt();
            let scale = L::splat(*inverse);
            by_lanes!(width, |load, store, i| {
                let v = load(&n[i.clone()]).mul(scale);
                store(v, &mut n[i.clone()]);
                store(v.fma(load(&gain[i.clone()]), load(&bias[i.clone()])), &mut x[i]);
            });
        }
    }
}

vectorised! {
    /// v (M,D) <- (v - mean(v) - n mean(n v)) * inverse: the Jacobian of the n of [`layer_norm`], which is symmetric.
    pub fn centre<R, L>(v: &mut [R], n: &[R], inverse: &[R]) {
        let width = v.len() / inverse.len();
        let share = R::ONE / R::from_f64(width as f64);
        for ((v, n), &inverse) in v.chunks_exact_mut(width).zip(n.chunks_exact(width)).zip(inverse) {
            let (mut sum, mut along) = (L::splat(R::ZERO), L::splat(R::ZERO));
            by_lanes!(width, |load, _store, i| {
                let x = load(&v[i.clone()]);
                sum = sum.add(x);
                along = x.fma(load(&n[i]), along);
            });
            let (mean, along) = (L::splat(sum.sum() * share), L::splat(-(along.sum() * share)));
            let inverse = L::splat(inverse);
            by_lanes!(width, |load, store, i| {
                let x = load(&v[i.clone()]).sub(mean);
                store(load(&n[i.clone()]).fma(along, x).mul(inverse), &mut v[i]);
            });
        }
    }
}

vectorised! {
    /// Sums over the rows of a * b, one a row: a, b (M,D) -> sums (M).
    pub fn row_products<R, L>(a: &[R], b: &[R], sums: &mut [R]) {
        let width = a.len() / sums.len();
        for ((a, b), out) in a.chunks_exact(width).zip(b.chunks_exact(width)).zip(sums) {
            let mut sum = L::splat(R::ZERO);
            by_lanes!(width, |load, _store, i| sum = load(&a[i.clone()]).fma(load(&b[i]), sum));
            *out = sum.sum();
        }
    }
}

vectorised! {
    /// x (M,N) <- x * row (N)
    pub fn scale_columns<R, L>(row: &[R], x: &mut [R]) {
        for x in x.chunks_exact_mut(row.len()) {
            by_lanes!(row.len(), |load, store, i| store(load(&row[i.clone()]).mul(load(&x[i.clone()])), &mut x[i]));
        }
    }
}

vectorised! {
    /// y = x with each number kept or zeroed, and what is kept scaled: mask gets `keep` where the number's random word is at
    /// least `threshold`, else 0. Of n numbers, i has word i / q of Philox block first + i % q, q = ceil(n / 4).
    pub fn dropout<R, L>(
        key: [u32; 2],
        first: u32,
        rest: [u32; 3],
        threshold: u32,
        keep: R,
        x: &[R],
        y: &mut [R],
        mask: &mut [R],
    ) {
        let blocks = mask.len().div_ceil(4);
        for done in (0..blocks).step_by(BLOCKS) {
            let words = L::philox_blocks(key, first.wrapping_add(done as u32), rest);
            for (k, words) in words.iter().enumerate() {
                let values = words.map(|word| if word >= threshold { keep } else { R::ZERO });
                let start = (k * blocks + done).min(mask.len());
                let end = (start + BLOCKS.min(blocks - done)).min(mask.len());
                match <&mut [R; BLOCKS]>::try_from(&mut mask[start..end]) {
                    Ok(whole) => *whole = values, // of known length: no call
                    Err(_) => mask[start..end].copy_from_slice(&values[..end - start]),
                }
            }
        }
        by_lanes!(x.len(), |load, store, i| store(load(&x[i.clone()]).mul(load(&mask[i.clone()])), &mut y[i]));
    }
}

/// Quarters of one row of gates, in the order i f g o.
fn quarters<R>(gates: &[R], hidden: usize) -> [&[R]; 4] {
    std::array::from_fn(|q| &gates[q * hidden..][..hidden])
}

fn quarters_mut<R>(gates: &mut [R], hidden: usize) -> [&mut [R]; 4] {
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    [i, f, g, o]
}

vectorised! {
    /// One LSTM step. gates (B,4H) in the order i f g o, before their activations, which replace them, and before
    /// `constant` is added: a row for each (B,4H), or one for all (4H). c0 (B,H) -> c, h (B,H).
    pub fn lstm_cell<R, L>(gates: &mut [R], constant: &[R], c0: &[R], c: &mut [R], h: &mut [R], hidden: usize) {
        let stride = if constant.len() > 4 * hidden { 4 * hidden } else { 0 };
        let rows = gates.chunks_exact_mut(4 * hidden).zip(c0.chunks_exact(hidden)).enumerate();
        for ((row, (gates, c0)), (c, h)) in rows.zip(c.chunks_exact_mut(hidden).zip(h.chunks_exact_mut(hidden))) {
            let [i_gate, f_gate, g_gate, o_gate] = quarters_mut(gates, hidden);
            let [i_more, f_more, g_more, o_more] = quarters(&constant[row * stride..], hidden);
            by_lanes!(hidden, |load, store, r| {
                let sum = |gate: &[R], more: &[R]| load(&gate[r.clone()]).add(load(&more[r.clone()]));
                let i = sum(i_gate, i_more).sigmoid();
                let f = sum(f_gate, f_more).sigmoid();
                let g = sum(g_gate, g_more).tanh();
                let o = sum(o_gate, o_more).sigmoid();
                let cell = f.fma(load(&c0[r.clone()]), i.mul(g));
                store(i, &mut i_gate[r.clone()]);
                store(f, &mut f_gate[r.clone()]);
                store(g, &mut g_gate[r.clone()]);
                store(o, &mut o_gate[r.clone()]);
                store(cell, &mut c[r.clone()]);
                store(o.mul(cell.tanh()), &mut h[r]);
            });
        }
    }
}

vectorised! {
    /// The reverse of [`lstm_cell`]. gates (B,4H) as it left them become the gradients before their activations, which are
    /// added to dconstant, (B,4H) or (4H), as well. dh, dy (B,H): gradients of h, from the step after and from elsewhere.
    /// dc (B,H): gradient of c in, of c0 out. Asks for `next` (rows of 4H), the gates that it will be called with next.
    pub fn lstm_cell_backward<R, L>(
        gates: &mut [R],
        dconstant: &mut [R],
        c0: &[R],
        c: &[R],
        dh: &[R],
        dy: &[R],
        dc: &mut [R],
        next: &[R],
        hidden: usize,
    ) {
        let cells = c0.chunks_exact(hidden).zip(c.chunks_exact(hidden));
        let outputs = dh.chunks_exact(hidden).zip(dy.chunks_exact(hidden)).zip(dc.chunks_exact_mut(hidden));
        let rows = gates.chunks_exact_mut(4 * hidden).zip(cells).zip(outputs);
        let stride = if dconstant.len() > 4 * hidden { 4 * hidden } else { 0 };
        for (row, ((gates, (c0, c)), ((dh, dy), dc))) in rows.enumerate() {
            let [i_gate, f_gate, g_gate, o_gate] = quarters_mut(gates, hidden);
            let [di_sum, df_sum, dg_sum, do_sum] = quarters_mut(&mut dconstant[row * stride..][..4 * hidden], hidden);
            let one = L::splat(R::ONE);
            by_lanes!(hidden, |load, store, r| {
                (0..4).for_each(|q| prefetch(next, (4 * row + q) * hidden + r.start));
                let (i, f) = (load(&i_gate[r.clone()]), load(&f_gate[r.clone()]));
                let (g, o) = (load(&g_gate[r.clone()]), load(&o_gate[r.clone()]));
                let tanh_c = load(&c[r.clone()]).tanh();
                let dh = load(&dh[r.clone()]).add(load(&dy[r.clone()]));
                let dcell = dh.mul(o).fma(one.sub(tanh_c.mul(tanh_c)), load(&dc[r.clone()]));
                let slope = |y: L| y.mul(one.sub(y)); // of the sigmoid, from its output
                let put = |d: L, gate: &mut [R], sum: &mut [R]| {
                    store(d, &mut gate[r.clone()]);
                    store(load(&sum[r.clone()]).add(d), &mut sum[r.clone()]);
                };
                put(dcell.mul(g).mul(slope(i)), i_gate, di_sum);
                put(dcell.mul(load(&c0[r.clone()])).mul(slope(f)), f_gate, df_sum);
                put(dcell.mul(i).mul(one.sub(g.mul(g))), g_gate, dg_sum);
                put(dh.mul(tanh_c).mul(slope(o)), o_gate, do_sum);
                store(dcell.mul(f), &mut dc[r]);
            });
        }
    }
}

vectorised! {
    /// dx <- dy (1 - y^2), in place in dy: the reverse of tanh from its output.
    pub fn tanh_backward<R, L>(y: &[R], dy: &mut [R]) {
        let one = L::splat(R::ONE);
        by_lanes!(dy.len(), |load, store, i| {
            let y = load(&y[i.clone()]);
            store(load(&dy[i.clone()]).mul(one.sub(y.mul(y))), &mut dy[i])
        })
    }
}

vectorised! {
    /// In f64, in one order on every instruction set.
    pub fn sum_of_squares<R, L>(x: &[R]) -> f64 {
        // Chains that hide the latency of the additions.
        let mut sums = [0.0; 2 * LANES];
        let mut chunks = x.chunks_exact(sums.len());
        let square = |x: &R| x.to_f64() * x.to_f64();
        for chunk in &mut chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += square(x));
        }
        let rest: f64 = chunks.remainder().iter().map(square).sum();
        sums.iter().sum::<f64>() + rest
    }
}

/// Coefficients of one optimiser step; see `nn::optim`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Factor on the gradient: the clip.
    pub scale: f64,
    /// L2 decay, added to the gradient.
    pub decay: f64,
    /// Decoupled decay: the weight is multiplied by this first.
    pub shrink: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// weight -= rate * m / (sqrt(v) * v_scale + epsilon), or rate * m without `adaptive`.
    pub rate: f64,
    pub v_scale: f64,
    pub epsilon: f64,
    pub adaptive: bool,
}

vectorised! {
    /// One step of the Adam family on weights w with gradients g and moments m, v, all of one length.
    pub fn adam<R, L>(w: &mut [R], g: &[R], m: &mut [R], v: &mut [R], step: AdamStep) {
        let s = |x: f64| L::splat(R::from_f64(x));
        let (scale, decay, shrink) = (s(step.scale), s(step.decay), s(step.shrink));
        let (b1, b2, a1, a2) = (s(step.beta1), s(step.beta2), s(1.0 - step.beta1), s(1.0 - step.beta2));
        let (rate, v_scale, epsilon) = (s(step.rate), s(step.v_scale), s(step.epsilon));
        by_lanes!(w.len(), |load, store, i| {
            let x = load(&w[i.clone()]);
            let gradient = x.fma(decay, load(&g[i.clone()]).mul(scale));
            let m1 = load(&m[i.clone()]).fma(b1, gradient.mul(a1));
            let v1 = load(&v[i.clone()]).fma(b2, gradient.mul(gradient).mul(a2));
            let by = if step.adaptive { m1.div(v1.sqrt().fma(v_scale, epsilon)) } else { m1 };
            store(x.mul(shrink).sub(by.mul(rate)), &mut w[i.clone()]);
            store(m1, &mut m[i.clone()]);
            store(v1, &mut v[i]);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    /// Distance in representable numbers.
    fn ulps(a: f32, b: f32) -> i64 {
        let key = |x: f32| {
            let b = x.to_bits() as i32;
            i64::from(if b < 0 { i32::MIN - b } else { b })
        };
        (key(a) - key(b)).abs()
    }

    /// Largest error against f64, in ulp, over a sweep that includes 0, tiny and saturating arguments.
    fn worst(function: impl Fn(&mut [f32]), exact: impl Fn(f64) -> f64) -> i64 {
        let sweep = (-870_000..=870_000).map(|i| i as f32 * 1e-4);
        let tiny = (1..120).map(|e| 2f32.powi(-e)).flat_map(|x| [x, -x]);
        let x: Vec<f32> = sweep.chain(tiny).collect();
        let mut y = x.clone();
        function(&mut y);
        let errors = x.iter().zip(&y).map(|(&x, &y)| ulps(y, exact(f64::from(x)) as f32));
        errors.max().unwrap_or(0)
    }

    #[test]
    fn activations_are_within_4_ulp() {
        for isa in Isa::available() {
            let t = worst(|x| tanh(isa, x), f64::tanh);
            let s = worst(|x| sigmoid(isa, x), |x| 1.0 / (1.0 + (-x).exp()));
            assert!(t <= 4 && s <= 4, "{isa:?} tanh {t} sigmoid {s}");
        }
    }

    #[test]
    fn softmax_is_that_of_exact_arithmetic() {
        for isa in Isa::available() {
            for len in [1, 15, 16, 57] {
                let x: Vec<f32> = (0..len).map(|i| (i * 37 % 41) as f32 * 0.5 - 300.0).collect();
                let sum: f64 = x.iter().map(|&x| (f64::from(x) + 300.0).exp()).sum();
                let mut y = x.clone();
                let log = softmax(isa, &mut y, 3.0);
                assert!((log - (sum.ln() - 300.0)).abs() < 1e-4, "{isa:?}, {len}: {log}");
                for (&x, &y) in x.iter().zip(&y) {
                    let exact = 3.0 * (f64::from(x) + 300.0).exp() / sum;
                    assert!((f64::from(y) - exact).abs() <= 2e-6 * exact, "{isa:?}, {len}: {y} is {exact}");
                }
            }
        }
    }

    #[test]
    fn activations_saturate_and_carry_nan() {
        for isa in Isa::available() {
            let mut x = [f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0];
            tanh(isa, &mut x);
            assert_eq!(x, [1.0, -1.0, 1.0, -1.0]);
            let mut x = [f32::NAN];
            tanh(isa, &mut x);
            assert!(x[0].is_nan(), "{isa:?}");
            let mut x = [f32::NAN];
            sigmoid(isa, &mut x);
            assert!(x[0].is_nan(), "{isa:?}");
        }
    }

    #[test]
    fn dropout_keeps_what_philox_says_on_every_instruction_set() {
        let (key, first, rest, threshold) = ([7, 0x8000_0001], u32::MAX - 5, [3, 1, 0xffff_ffff], 1 << 30);
        for isa in Isa::available() {
            for len in [1, 12, 63, 64, 130] {
                let (mut y, mut mask) = (vec![0.0; len], vec![9.0; len]);
                dropout(isa, key, first, rest, threshold, 1.5, &vec![3.0f32; len], &mut y, &mut mask);
                let quarter = len.div_ceil(4);
                for i in 0..len {
                    let block = first.wrapping_add((i % quarter) as u32);
                    let word = crate::rng::philox(key, [block, rest[0], rest[1], rest[2]])[i / quarter];
                    let kept = if word >= threshold { 1.5 } else { 0.0 };
                    assert_eq!((mask[i], y[i]), (kept, 3.0 * kept), "{isa:?}, {i} of {len}");
                }
            }
        }
    }
}
