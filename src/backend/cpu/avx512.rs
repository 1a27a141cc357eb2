//! Sixteen floats in one AVX-512 register. The operations and their order are those of AVX2's pair, so that both give
//! the same bits.
//!
//! SAFETY of every intrinsic here: `Lanes` methods of `Whole` run only inside functions compiled for avx512f and
//! avx512dq, which `vectorised!` enters only where `Isa` has found them. Loads and stores check their bounds.

use std::arch::x86_64::*;

use super::lanes::{LANES, Lanes, LanesF32, derived, each, exp, intrinsics, sigmoid, tanh};
use crate::rng::{BLOCKS, MULTIPLIERS, round_key};

#[derive(Clone, Copy)]
pub struct Whole(__m512);

/// An intrinsic on registers.
macro_rules! whole {
    ($f:ident $(::<$n:tt>)? ($($a:expr),*)) => {
        // SAFETY: see the head of this file.
        unsafe { Whole($f $(::<$n>)? ($($a.0),*)) }
    };
}

/// The lowest `len` lanes.
#[inline(always)]
fn first(len: usize) -> __mmask16 {
    ((1u32 << len) - 1) as __mmask16
}

impl Lanes<f32> for Whole {
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the head of this file.
        unsafe { Whole(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        let from = &from[..LANES];
        // SAFETY: 16 floats are there.
        unsafe { Whole(_mm512_loadu_ps(from.as_ptr())) }
    }
    #[inline(always)]
    fn load_two(from: &[u32]) -> [Self; 2] {
        let from = &from[..LANES];
        // SAFETY: 16 words are there.
        unsafe {
            let words = _mm512_loadu_si512(from.as_ptr().cast());
            [Whole(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))), Whole(_mm512_castsi512_ps(words))]
        }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let to = &mut to[..LANES];
        // SAFETY: 16 floats are there.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn load_part(from: &[f32]) -> Self {
        assert!(from.len() <= LANES);
        // SAFETY: lanes beyond the slice are not read.
        unsafe { Whole(_mm512_maskz_loadu_ps(first(from.len()), from.as_ptr())) }
    }
    #[inline(always)]
    fn store_part(self, to: &mut [f32]) {
        assert!(to.len() <= LANES);
        // SAFETY: lanes beyond the slice are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), self.0) }
    }
    intrinsics! { whole:
        add(b) = _mm512_add_ps;
        sub(b) = _mm512_sub_ps;
        mul(b) = _mm512_mul_ps;
        div(b) = _mm512_div_ps;
        fma(b, c) = _mm512_fmadd_ps;
        sqrt() = _mm512_sqrt_ps;
    }
    derived!();

    /// Each word in the lower half of 64 bits. What a product leaves in the upper half is read by nobody.
    #[inline(always)]
    fn philox_blocks(key: [u32; 2], first: u32, rest: [u32; 3]) -> [[u32; BLOCKS]; 4] {
        // SAFETY: see the head of this file; a row of the result has room for both halves.
        unsafe {
            let splat = |x: u32| _mm512_set1_epi64(i64::from(x));
            let lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
            let counters = each(|i| _mm512_add_epi32(splat(first.wrapping_add(8 * i as u32)), lanes));
            let [r1, r2, r3] = each(|i| [splat(rest[i]); 2]);
            let mut c = [counters, r1, r2, r3];
            let [m0, m1] = each(|i| splat(MULTIPLIERS[i]));
            for round in 0..10 {
                let keys = round_key(key, round);
                let (p0, p1) = (each(|i| _mm512_mul_epu32(c[0][i], m0)), each(|i| _mm512_mul_epu32(c[2][i], m1)));
                let mixed = |p: [__m512i; 2], c: [__m512i; 2], k| {
                    each(|i| _mm512_ternarylogic_epi64::<0x96>(_mm512_srli_epi64::<32>(p[i]), c[i], k)) // xor
                };
                c = [mixed(p1, c[1], splat(keys[0])), p1, mixed(p0, c[3], splat(keys[1])), p0];
            }
            let mut words = [[0; BLOCKS]; 4];
            for (words, c) in words.iter_mut().zip(c) {
                let at = words.as_mut_ptr().cast::<__m256i>();
                _mm256_storeu_si256(at, _mm512_cvtepi64_epi32(c[0]));
                _mm256_storeu_si256(at.add(1), _mm512_cvtepi64_epi32(c[1]));
            }
            words
        }
    }
}

impl LanesF32 for Whole {
    intrinsics! { whole:
        min(b) = _mm512_min_ps;
        max(b) = _mm512_max_ps;
    }
    #[inline(always)]
    fn abs(self) -> Self {
        whole!(_mm512_andnot_ps(Whole::splat(-0.0), self))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Nearest, ties to even, nothing after the point.
        whole!(_mm512_roundscale_ps::<0>(self))
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // SAFETY: see the head of this file.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Whole(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
        }
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, x: Self, y: Self) -> Self {
        // SAFETY: see the head of this file.
        unsafe { Whole(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0), y.0, x.0)) }
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        let mask = Whole::splat(-0.0);
        let (magnitude, bit) = (whole!(_mm512_andnot_ps(mask, self)), whole!(_mm512_and_ps(mask, sign)));
        whole!(_mm512_or_ps(magnitude, bit))
    }
}
