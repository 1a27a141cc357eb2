//! Sixteen numbers at a time, on every instruction set, behind one trait.
//!
//! Kernels are written once, generic over [`Lanes`]; the `vectorised!` macro compiles each for every
//! instruction set and picks one at run time. Results may differ between instruction sets (fused
//! multiply-add), never between thread counts.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::rng::{BLOCKS, philox_blocks};

/// Width of a vector and of a panel of packed weights.
pub const LANES: usize = 16;

/// What f makes of each number below N, for an f that calls vector instructions. As `array::from_fn`, whose layers compilers do
/// not always see through: the instructions are calls then, and built without optimisation across its parts, as tests are,
/// training took 1.7 times as long.
#[inline(always)]
pub(super) fn each<T: Copy, const N: usize>(f: impl Fn(usize) -> T) -> [T; N] {
    let mut all = [f(0); N];
    for (i, x) in all.iter_mut().enumerate() {
        *x = f(i);
    }
    all
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kind {
    fn is_here(self) -> bool {
        match self {
            Kind::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                Kind::Avx2.is_here() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
            }
        }
    }
}

impl Isa {
    /// The best that this machine has.
    pub fn detect() -> Isa {
        Isa::available()[0]
    }

    /// All that this machine has, best first. The last is plain code: on aarch64 that is NEON.
    pub fn available() -> Vec<Isa> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2,
            Kind::Plain,
        ];
        all.into_iter().filter(|kind| kind.is_here()).map(Isa).collect()
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

/// f32, and f64 for the tests that compare gradients with finite differences.
pub trait Real:
    Copy
    + Default
    + Debug
    + Send
    + Sync
    + PartialOrd
    + Sum
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    const ZERO: Self;
    const ONE: Self;
    type Plain: Lanes<Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2: Lanes<Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Lanes<Self>;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn sqrt(self) -> Self;
    fn is_finite(self) -> bool;
    /// The same numbers, where they are f32.
    fn floats(numbers: &mut [Self]) -> Option<&mut [f32]>;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    type Plain = [f32; LANES];
    #[cfg(target_arch = "x86_64")]
    type Avx2 = super::avx2::Pair;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = super::avx512::Whole;

    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn sqrt(self) -> f32 {
        self.sqrt()
    }
    fn is_finite(self) -> bool {
        self.is_finite()
    }
    fn floats(numbers: &mut [f32]) -> Option<&mut [f32]> {
        Some(numbers)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    type Plain = [f64; LANES];
    #[cfg(target_arch = "x86_64")]
    type Avx2 = [f64; LANES];
    #[cfg(target_arch = "x86_64")]
    type Avx512 = [f64; LANES];

    fn from_f64(x: f64) -> f64 {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn sqrt(self) -> f64 {
        self.sqrt()
    }
    fn is_finite(self) -> bool {
        self.is_finite()
    }
    fn floats(_: &mut [f64]) -> Option<&mut [f32]> {
        None
    }
}

/// A vector of [`LANES`] numbers. Methods are `inline(always)`, so that they take on the caller's instruction set.
pub trait Lanes<R: Real>: Copy {
    /// Whether a vector is one register of thirty-two, so that products do best with large tiles.
    const WIDE: bool = false;

    fn splat(x: R) -> Self;
    /// The first LANES numbers of a slice that has as many.
    fn load(from: &[R]) -> Self;
    /// What `gemm::two_weights` made of the first LANES pairs: all first ones, all second ones.
    fn load_two(from: &[u32]) -> [Self; 2];
    fn store(self, to: &mut [R]);
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    /// self * b + c
    fn fma(self, b: Self, c: Self) -> Self;
    fn sqrt(self) -> Self;
    /// e^self
    fn exp(self) -> Self;
    fn sigmoid(self) -> Self;
    fn tanh(self) -> Self;
    /// where test > 0: x, else y
    fn where_positive(test: Self, x: Self, y: Self) -> Self;
    /// Of all lanes, in a fixed order.
    fn sum(self) -> R;

    /// As `rng::philox_blocks`, by this instruction set's wide products.
    #[inline(always)]
    fn philox_blocks(key: [u32; 2], first: u32, rest: [u32; 3]) -> [[u32; BLOCKS]; 4] {
        philox_blocks(key, first, rest)
    }

    /// A slice shorter than LANES; the other lanes are 0.
    #[inline(always)]
    fn load_part(from: &[R]) -> Self {
        let mut whole = [R::ZERO; LANES];
        whole[..from.len()].copy_from_slice(from);
        Self::load(&whole)
    }

    #[inline(always)]
    fn store_part(self, to: &mut [R]) {
        let mut whole = [R::ZERO; LANES];
        self.store(&mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }
}

/// What the polynomials for f32 need beside [`Lanes`].
pub trait LanesF32: Lanes<f32> {
    /// The smaller; b if either is NaN.
    fn min(self, b: Self) -> Self;
    /// The larger; b if either is NaN.
    fn max(self, b: Self) -> Self;
    fn abs(self) -> Self;
    fn round(self) -> Self;
    /// 2^self, for whole numbers from -126 to 127.
    fn pow2(self) -> Self;
    /// where a < b: x, else y
    fn select_less(a: Self, b: Self, x: Self, y: Self) -> Self;
    /// self with the sign of the other
    fn with_sign_of(self, sign: Self) -> Self;
}

/// Methods of `Lanes<f32>` that are one intrinsic of the registers that a vector is made of. $each applies it to vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! intrinsics {
    ($each:ident: $($name:ident($($b:ident),*) = $f:ident;)*) => {
        $(#[inline(always)]
        fn $name(self, $($b: Self),*) -> Self {
            $each!($f(self $(, $b)*))
        })*
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use intrinsics;

/// Methods of `Lanes<f32>` that follow from those of `LanesF32`.
#[cfg(target_arch = "x86_64")]
macro_rules! derived {
    () => {
        #[inline(always)]
        fn exp(self) -> Self {
            exp(self)
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            sigmoid(self)
        }
        #[inline(always)]
        fn tanh(self) -> Self {
            tanh(self)
        }
        #[inline(always)]
        fn where_positive(test: Self, x: Self, y: Self) -> Self {
            Self::select_less(Self::splat(0.0), test, x, y)
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            let mut lanes = [0.0; LANES];
            self.store(&mut lanes);
            Lanes::sum(lanes)
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use derived;

/// Evaluates c[0] + c[1] x + ... (Horner).
#[inline(always)]
fn polynomial<V: LanesF32>(x: V, c: &[f32]) -> V {
    let mut y = V::splat(c[c.len() - 1]);
    for &ci in c.iter().rev().skip(1) {
        y = y.fma(x, V::splat(ci));
    }
    y
}

/// s = 2^n and s (e^r - 1) of e^x = 2^n e^r with |r| <= ln(2)/2, for -87 <= x <= 88. The polynomial's coefficients are
/// a minimax fit (Lawson's iteration) of (e^r - 1 - r) / r^2.
#[inline(always)]
fn exp_parts<V: LanesF32>(x: V) -> [V; 2] {
    const LN2_HIGH: f32 = 0.693_359_4; // 12 bits: n * LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.fma(V::splat(-LN2_HIGH), x);
    let r = n.fma(V::splat(-LN2_LOW), r);
    let q = polynomial(r, &[0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_717, 0.001_381_459_9]);
    [n.pow2(), q.fma(r.mul(r), r)]
}

/// At most 4 ulp off for -87 <= x <= 88, and beyond as there.
#[inline(always)]
pub fn exp<V: LanesF32>(x: V) -> V {
    let x = V::splat(88.0).min(V::splat(-87.0).max(x)); // in this order NaN stays NaN
    let [s, p] = exp_parts(x);
    s.fma(p, s)
}

/// 1 / (1 + e^-x); at most 4 ulp off for |x| <= 87.
#[inline(always)]
pub fn sigmoid<V: LanesF32>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}

/// At most 4 ulp off: (e^2x - 1) / (e^2x + 1), the numerator exact near 0, where n is 0.
#[inline(always)]
pub fn tanh<V: LanesF32>(x: V) -> V {
    let a = x.abs();
    let [s, p] = exp_parts(V::splat(44.0).min(a.add(a)));
    let less_one = s.fma(p, s.sub(V::splat(1.0)));
    less_one.div(less_one.add(V::splat(2.0))).with_sign_of(x)
}

/// What f makes of each lane. Written out, because compilers do not always see through the layers of `array::from_fn`: as tests
/// are built, gradients took three times as long.
#[inline(always)]
fn sixteen<T>(f: impl Fn(usize) -> T) -> [T; LANES] {
    [f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)]
}

/// One lane after the other; the compiler vectorises what it can.
macro_rules! plain_lanes {
    ($real:ty, |$x:ident| $exp:expr, $sigmoid:expr, $tanh:expr) => {
        impl Lanes<$real> for [$real; LANES] {
            #[inline(always)]
            fn splat(x: $real) -> Self {
                [x; LANES]
            }
            #[inline(always)]
            fn load(from: &[$real]) -> Self {
                *from.first_chunk().unwrap()
            }
            #[inline(always)]
            fn load_two(from: &[u32]) -> [Self; 2] {
                std::array::from_fn(|r| sixteen(|i| super::gemm::weights_of(from[i])[r].into()))
            }
            #[inline(always)]
            fn store(self, to: &mut [$real]) {
                to[..LANES].copy_from_slice(&self);
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                sixteen(|i| self[i] + b[i])
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                sixteen(|i| self[i] - b[i])
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                sixteen(|i| self[i] * b[i])
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                sixteen(|i| self[i] / b[i])
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                // Not mul_add: without the instruction that is a slow library call.
                sixteen(|i| self[i] * b[i] + c[i])
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                sixteen(|i| self[i].sqrt())
            }
            #[inline(always)]
            fn exp(self) -> Self {
                let $x = self;
                $exp
            }
            #[inline(always)]
            fn sigmoid(self) -> Self {
                let $x = self;
                $sigmoid
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                let $x = self;
                $tanh
            }
            #[inline(always)]
            fn where_positive(test: Self, x: Self, y: Self) -> Self {
                sixteen(|i| if test[i] > 0.0 { x[i] } else { y[i] })
            }
            #[inline(always)]
            fn sum(self) -> $real {
                let eight: [$real; 8] = std::array::from_fn(|i| self[i] + self[i + 8]);
                let four: [$real; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
                (four[0] + four[2]) + (four[1] + four[3])
            }
        }
    };
}

plain_lanes!(f32, |x| exp(x), sigmoid(x), tanh(x));
plain_lanes!(f64, |x| x.map(f64::exp), x.map(|x| 1.0 / (1.0 + (-x).exp())), x.map(f64::tanh));

impl LanesF32 for [f32; LANES] {
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        sixteen(|i| if self[i] < b[i] { self[i] } else { b[i] })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        sixteen(|i| if self[i] > b[i] { self[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        sixteen(|i| self[i].abs())
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no room for a fraction; rounds to even as the vector instruction does.
        const ROUNDER: f32 = 12_582_912.0;
        sixteen(|i| (self[i] + ROUNDER) - ROUNDER)
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        sixteen(|i| f32::from_bits(((self[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, x: Self, y: Self) -> Self {
        sixteen(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        sixteen(|i| self[i].copysign(sign[i]))
    }
}
