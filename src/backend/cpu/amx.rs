//! Products of tiles: Intel's AMX.
//!
//! A tile holds 16 rows of 64 bytes. One instruction adds to 16 x 16 sums in f32 the products of 16 x 32 and 32 x 16 bfloat16s, as
//! fast as AVX-512 does a sixteenth of them. Subnormals are zeros to it, and sums are rounded to nearest, whatever the thread's
//! floating-point state.
//!
//! Compilers do not know of tiles: nothing but this file touches them, and nothing is left in them.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::tiles::{COLUMNS, Parts, ROWS, Row, TILE};

/// Whether the processor has tiles of bfloat16s, and the system lets this process use them. The first call asks Linux for that,
/// which makes signal frames of the process larger; other systems are not asked.
pub fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| has_tiles() && is_permitted())
}

/// Whether the processor has them.
pub fn has_tiles() -> bool {
    const BFLOAT16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (BFLOAT16 | TILES) == BFLOAT16 | TILES
}

#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const REQUEST: usize = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILE_DATA: usize = 18; // XFEATURE_XTILEDATA
    let answer: isize;
    // SAFETY: a system call that takes numbers and writes nothing; those registers are the ones it may change.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, nomem)
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What a thread must tell its processor before it uses tiles: there are eight of TILE rows of 64 bytes each.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    rest: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        (bytes[i], rows[i]) = (64, TILE as u8);
        i += 1;
    }
    Shapes { palette: 1, start: 0, rest: [0; 14], bytes, rows }
};

/// The right to use tiles on this thread, until it is dropped.
pub struct Tiles(PhantomData<*const ()>); // of this thread: not Send

impl Tiles {
    /// # Safety
    /// One at a time on a thread: the end of one is the end of all.
    pub unsafe fn begin() -> Tiles {
        assert!(is_here());
        // SAFETY: the processor has tiles, this process may use them, and the shapes are 64 bytes that it accepts.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(nostack, readonly)) };
        Tiles(PhantomData)
    }

    /// Two tiles of rows of the left side times two panels: c, ROWS rows of COLUMNS with so many floats from row to row, is written
    /// or added to.
    pub fn multiply(&self, a: [&[Parts]; 2], b: [&[Parts]; 2], c: &mut [f32], c_stride: usize, add: bool) {
        let turns = a[0].len();
        assert!(turns > 0 && a.iter().chain(&b).all(|tiles| tiles.len() == turns), "tiles of each");
        assert!(c_stride >= COLUMNS && c.len() >= (ROWS - 1) * c_stride + COLUMNS, "room for sums");
        let c0 = c.as_mut_ptr();
        let c1 = c0.wrapping_add(TILE * c_stride);
        // SAFETY: `begin` has told the processor of the tiles. Every turn reads the two tiles of one Parts of each of a and b, which
        // have as many as there are turns. What is read and written of c was checked; both pointers are of the one slice.
        unsafe {
            asm!(
                "test {add}, {add}",
                "jnz 3f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 2f",
                "3:",
                "tileloadd tmm0, [{c0} + {c_stride}]",
                "tileloadd tmm1, [{c0} + {c_stride} + 64]",
                "tileloadd tmm2, [{c1} + {c_stride}]",
                "tileloadd tmm3, [{c1} + {c_stride} + 64]",
                "2:", // upper times upper parts
                "tileloadd tmm4, [{a0} + {line}]",
                "tileloadd tmm6, [{b0} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {line}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {line}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // lower times upper
                "tileloadd tmm4, [{a0} + {line} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {line} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // upper times lower
                "tileloadd tmm4, [{a0} + {line}]",
                "tileloadd tmm6, [{b0} + {line} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b1} + {line} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {line}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 2048",
                "add {a1}, 2048",
                "add {b0}, 2048",
                "add {b1}, 2048",
                "dec {turns}",
                "jnz 2b",
                "tilestored [{c0} + {c_stride}], tmm0",
                "tilestored [{c0} + {c_stride} + 64], tmm1",
                "tilestored [{c1} + {c_stride}], tmm2",
                "tilestored [{c1} + {c_stride} + 64], tmm3",
                a0 = inout(reg) a[0].as_ptr() => _,
                a1 = inout(reg) a[1].as_ptr() => _,
                b0 = inout(reg) b[0].as_ptr() => _,
                b1 = inout(reg) b[1].as_ptr() => _,
                turns = inout(reg) turns => _,
                line = in(reg) size_of::<Row>(),
                c0 = in(reg) c0,
                c1 = in(reg) c1,
                c_stride = in(reg) size_of::<f32>() * c_stride,
                add = in(reg) usize::from(add),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives back what `begin` has taken.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
