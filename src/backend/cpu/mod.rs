//! The CPU backend: plain loops that vectorise, one GEMM, own threads.
//!
//! It is also the specification of the CUDA kernels: they keep these names and this order.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
pub mod gemm;
pub mod lanes;
pub mod math;
pub mod pool;
pub mod tiles;

pub use buffer::Buffer;
pub use gemm::{Packed, gemm};
pub use lanes::{Isa, Real};
pub use pool::{MOST_THREADS, Pool, Scratch, thread_count, worker_thread};

/// Defines a kernel once and compiles it for every instruction set. `R` is the number, `L` its vector.
macro_rules! vectorised {
    ($(#[$doc:meta])* pub fn $name:ident<$R:ident, $L:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        pub fn $name<$R: $crate::backend::cpu::Real>(isa: $crate::backend::cpu::Isa, $($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)] // a sum in f64 has no vector of R
            fn body<$R: $crate::backend::cpu::Real, $L: $crate::backend::cpu::lanes::Lanes<$R>>($($arg: $ty),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$R: $crate::backend::cpu::Real>($($arg: $ty),*) $(-> $out)? {
                body::<$R, $R::Avx2>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512dq")]
            fn avx512<$R: $crate::backend::cpu::Real>($($arg: $ty),*) $(-> $out)? {
                body::<$R, $R::Avx512>($($arg),*)
            }

            // SAFETY: such an Isa exists only where the features that the function is compiled for were found.
            match isa.kind() {
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::lanes::Kind::Avx512 => unsafe { avx512::<$R>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::lanes::Kind::Avx2 => unsafe { avx2::<$R>($($arg),*) },
                $crate::backend::cpu::lanes::Kind::Plain => body::<$R, $R::Plain>($($arg),*),
            }
        }
    };
}
pub(crate) use vectorised;

/// The floating-point state that results are defined for: round to nearest, subnormals kept, no traps.
/// A new thread inherits its parent's, which a host program may have changed.
pub fn set_float_state() {
    #[cfg(target_arch = "x86_64")]
    {
        const DEFAULT: u32 = 0x1f80;
        // SAFETY: loads the control register from a valid address; the value is the processor's default.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &DEFAULT, options(nostack, readonly)) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: writes a register that user programs may write; 0 is the value of new processes.
    unsafe {
        std::arch::asm!("msr fpcr, xzr", options(nostack, preserves_flags))
    };
}
