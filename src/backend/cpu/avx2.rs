//! Sixteen floats in two AVX2 registers.
//!
//! SAFETY of every intrinsic here: `Lanes` methods of `Pair` run only inside functions compiled for avx2
//! and fma, which `vectorised!` enters only where `Isa` has found both. Loads and stores check their bounds.

use std::arch::x86_64::*;

use super::lanes::{LANES, Lanes, LanesF32, derived, each, exp, intrinsics, sigmoid, tanh};
use crate::rng::{BLOCKS, MULTIPLIERS, round_key};

#[derive(Clone, Copy)]
pub struct Pair(__m256, __m256);

/// The same intrinsic on both halves.
macro_rules! both {
    ($f:ident($($a:expr),*)) => {
        // SAFETY: see the head of this file.
        unsafe { Pair($f($($a.0),*), $f($($a.1),*)) }
    };
}

impl Lanes<f32> for Pair {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the head of this file.
        unsafe { Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        let from = &from[..LANES];
        // SAFETY: 16 floats are there.
        unsafe { Pair(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
    }
    #[inline(always)]
    fn load_two(from: &[u32]) -> [Self; 2] {
        let from = &from[..LANES];
        // SAFETY: 16 words are there.
        unsafe {
            let at = from.as_ptr().cast::<__m256i>();
            let words = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
            let upper = |w| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(w));
            [Pair(upper(words[0]), upper(words[1])), Pair(_mm256_castsi256_ps(words[0]), _mm256_castsi256_ps(words[1]))]
        }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: 16 floats are there.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.1);
        }
    }
    intrinsics! { both:
        add(b) = _mm256_add_ps;
        sub(b) = _mm256_sub_ps;
        mul(b) = _mm256_mul_ps;
        div(b) = _mm256_div_ps;
        fma(b, c) = _mm256_fmadd_ps;
        sqrt() = _mm256_sqrt_ps;
    }
    derived!();

    /// Each word in the lower half of 64 bits. What a product leaves in the upper half is read by nobody. Eight blocks at a
    /// time, which the registers hold.
    #[inline(always)]
    fn philox_blocks(key: [u32; 2], first: u32, rest: [u32; 3]) -> [[u32; BLOCKS]; 4] {
        let mut words = [[0; BLOCKS]; 4];
        for done in (0..BLOCKS).step_by(8) {
            // SAFETY: see the head of this file; a row of the result has room for eight words from `done` on.
            unsafe {
                let splat = |x: u32| _mm256_set1_epi64x(i64::from(x));
                let lanes = [_mm256_setr_epi64x(0, 1, 2, 3), _mm256_setr_epi64x(4, 5, 6, 7)];
                let counters = each(|i| _mm256_add_epi32(splat(first.wrapping_add(done as u32)), lanes[i]));
                let [r1, r2, r3] = each(|i| [splat(rest[i]); 2]);
                let mut c = [counters, r1, r2, r3];
                let [m0, m1] = each(|i| splat(MULTIPLIERS[i]));
                for round in 0..10 {
                    let keys = round_key(key, round);
                    let (p0, p1) = (each(|i| _mm256_mul_epu32(c[0][i], m0)), each(|i| _mm256_mul_epu32(c[2][i], m1)));
                    let mixed = |p: [__m256i; 2], c: [__m256i; 2], k| {
                        each(|i| _mm256_xor_si256(_mm256_srli_epi64::<32>(p[i]), _mm256_xor_si256(c[i], k)))
                    };
                    c = [mixed(p1, c[1], splat(keys[0])), p1, mixed(p0, c[3], splat(keys[1])), p0];
                }
                for (words, c) in words.iter_mut().zip(c) {
                    let [a, b] = each(|i| _mm256_castsi256_ps(c[i]));
                    let lower = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
                    let in_order = _mm256_permute4x64_epi64::<0b11_01_10_00>(lower);
                    _mm256_storeu_si256(words.as_mut_ptr().add(done).cast(), in_order);
                }
            }
        }
        words
    }
}

#[inline(always)]
fn sign_bit() -> Pair {
    Pair::splat(-0.0)
}

impl LanesF32 for Pair {
    intrinsics! { both:
        min(b) = _mm256_min_ps;
        max(b) = _mm256_max_ps;
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let sign = sign_bit();
        both!(_mm256_andnot_ps(sign, self))
    }
    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: see the head of this file.
        unsafe { Pair(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        #[inline(always)]
        unsafe fn half(n: __m256) -> __m256 {
            // SAFETY: see the head of this file.
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            }
        }
        // SAFETY: see the head of this file.
        unsafe { Pair(half(self.0), half(self.1)) }
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, x: Self, y: Self) -> Self {
        // SAFETY: see the head of this file.
        let less = unsafe { Pair(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0), _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)) };
        both!(_mm256_blendv_ps(y, x, less))
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        let mask = sign_bit();
        let (magnitude, bit) = (both!(_mm256_andnot_ps(mask, self)), both!(_mm256_and_ps(mask, sign)));
        both!(_mm256_or_ps(magnitude, bit))
    }
}
