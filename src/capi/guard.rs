//! What every call goes through: nothing that happens inside may leave but a status code, and nothing the host
//! program has set up may leak in.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_char;
use std::fmt::{self, Write};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::status::tg_status;
use crate::error::Error;

/// Why a call failed: a code and the words for it.
#[derive(Debug)]
pub struct Failure {
    pub status: tg_status,
    pub message: String,
}

impl Failure {
    pub fn new(status: tg_status, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }

    pub fn argument(name: &str, got: impl ToString, expected: impl Into<String>) -> Failure {
        Error::argument(name, got, expected).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error {
            Error::Argument { .. } => tg_status::TG_ERR_ARGUMENT,
            Error::Version { .. } => tg_status::TG_ERR_VERSION,
            Error::State { .. } => tg_status::TG_ERR_STATE,
            Error::Buffer { .. } => tg_status::TG_ERR_BUFFER,
            Error::Io { .. } => tg_status::TG_ERR_IO,
            Error::Format { .. } => tg_status::TG_ERR_FORMAT,
            Error::Device { .. } => tg_status::TG_ERR_DEVICE,
            Error::Memory { .. } => tg_status::TG_ERR_MEMORY,
            Error::Diverged { .. } => tg_status::TG_ERR_DIVERGED,
            Error::Cancelled { .. } => tg_status::TG_ERR_CANCELLED,
        };
        Failure::new(status, error.to_string())
    }
}

/// Runs the body of an entry point. A panic becomes TG_ERR_INTERNAL; every failure becomes the thread's last error.
pub fn guard(body: impl FnOnce() -> Result<(), Failure>) -> tg_status {
    silence_panics();
    REPORTED.set(false);
    let outcome = {
        let _inside = Inside::enter();
        catch_unwind(AssertUnwindSafe(body))
    };
    match outcome {
        Ok(Ok(())) => tg_status::TG_OK,
        Ok(Err(failure)) => {
            set_last_error(format_args!("{}", failure.message));
            failure.status
        }
        Err(payload) => {
            // A panic of one of our worker threads arrives without having passed this thread's hook.
            if !REPORTED.replace(false) {
                set_last_error(format_args!("bug in trajgan: {}", panic_text(&*payload)));
            }
            // Dropping a payload may panic in its turn; what that leaves is given up.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            tg_status::TG_ERR_INTERNAL
        }
    }
}

/// Runs a callback of the host program with the floating-point state that the host had when it called us.
pub fn outside<R>(callback: impl FnOnce() -> R) -> R {
    let host = HOST_FLOATS.get();
    GUARDED.set(false);
    let ours = float_state::get();
    float_state::set(host);
    let result = callback();
    // The callback may have called us, which leaves these as they were for the outer call.
    float_state::set(ours);
    HOST_FLOATS.set(host);
    GUARDED.set(true);
    result
}

/// While this lives, the thread computes as results are defined and its panics make no noise.
struct Inside {
    was_guarded: bool,
    floats: u32,
    outer_floats: u32,
}

impl Inside {
    fn enter() -> Inside {
        let floats = float_state::get();
        float_state::set(float_state::DEFAULT);
        Inside { was_guarded: GUARDED.replace(true), floats, outer_floats: HOST_FLOATS.replace(floats) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        GUARDED.set(self.was_guarded);
        HOST_FLOATS.set(self.outer_floats);
        float_state::set(self.floats);
    }
}

/// Rounding mode and treatment of subnormals. A host may have changed both, for itself.
#[cfg(target_arch = "x86_64")]
mod float_state {
    use std::arch::asm;

    /// Round to nearest, keep subnormals, no traps.
    pub const DEFAULT: u32 = 0x1f80;

    pub fn get() -> u32 {
        let mut mxcsr = 0u32;
        // SAFETY: stores the control register to a valid address.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) };
        mxcsr
    }

    /// Takes what `get` gave, or DEFAULT.
    pub fn set(mxcsr: u32) {
        // SAFETY: loads the control register from a valid address; the value was in it before or is its reset value.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod float_state {
    use std::arch::asm;

    /// Round to nearest, keep subnormals, no traps.
    pub const DEFAULT: u32 = 0;

    pub fn get() -> u32 {
        let fpcr: u64;
        // SAFETY: reads a register that user programs may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nostack, preserves_flags)) };
        fpcr as u32
    }

    /// Takes what `get` gave, or DEFAULT.
    pub fn set(fpcr: u32) {
        // SAFETY: writes a register that user programs may write, with a value it had before or its reset value.
        unsafe { asm!("msr fpcr, {}", in(reg) u64::from(fpcr), options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod float_state {
    pub const DEFAULT: u32 = 0;

    pub fn get() -> u32 {
        DEFAULT
    }

    pub fn set(_: u32) {}
}

// None of these has a destructor: registering one can fail when memory is short, and that ends the process.
thread_local! {
    static LAST_ERROR: UnsafeCell<[u8; 2048]> = const { UnsafeCell::new([0; 2048]) };
    /// In one of our calls, and not in a callback of the host.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// The panic that is under way has its words in LAST_ERROR.
    static REPORTED: Cell<bool> = const { Cell::new(false) };
    /// The floating-point state of the host where it called us.
    static HOST_FLOATS: Cell<u32> = const { Cell::new(float_state::DEFAULT) };
}

pub fn last_error() -> *const c_char {
    LAST_ERROR.with(|buffer| buffer.get().cast_const().cast())
}

/// Keeps as much of the text as there is room for, and a NUL. Allocates nothing.
fn set_last_error(text: fmt::Arguments) {
    struct Cursor<'a> {
        buffer: &'a mut [u8],
        len: usize,
    }

    impl Write for Cursor<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in text.chars().map(|c| if c == '\0' { '?' } else { c }) {
                let end = self.len + c.len_utf8();
                if end >= self.buffer.len() {
                    return Err(fmt::Error);
                }
                c.encode_utf8(&mut self.buffer[self.len..]);
                self.len = end;
            }
            Ok(())
        }
    }

    LAST_ERROR.with(|buffer| {
        // SAFETY: only this thread has it, and neither formatting nor anything it calls comes back here.
        let buffer = unsafe { &mut *buffer.get() };
        let mut cursor = Cursor { buffer, len: 0 };
        let _ = cursor.write_fmt(text); // the only failure is the end of the buffer
        let len = cursor.len;
        cursor.buffer[len] = 0;
    });
}

/// The default hook prints to the host's stderr. Ours keeps panics inside our calls and on our threads (all named
/// `trajgan-*`) quiet, and hands all others to the hook that was there.
fn silence_panics() {
    static HOOK: Once = Once::new();
    if HOOK.is_completed() || std::thread::panicking() {
        return; // a panicking thread may not change hooks; a later call will
    }
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                set_last_error(format_args!("bug in trajgan: {info}"));
                REPORTED.set(true);
            } else if !std::thread::current().name().is_some_and(|name| name.starts_with("trajgan-")) {
                previous(info);
            }
        }));
    });
}

fn panic_text(payload: &dyn Any) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "panic",
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn words() -> String {
        // SAFETY: last_error is a string of this thread.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_code_with_words() {
        assert_eq!(guard(|| panic!("number {}", 7)), tg_status::TG_ERR_INTERNAL);
        assert!(words().starts_with("bug in trajgan: panicked at src/capi/guard.rs"), "{}", words());
        assert!(words().ends_with("number 7"));
        let from_worker = || {
            let worker = std::thread::Builder::new().name("trajgan-1".into());
            let worker = worker.spawn(|| panic!("in a worker")).unwrap();
            panic::resume_unwind(worker.join().unwrap_err())
        };
        assert_eq!(guard(from_worker), tg_status::TG_ERR_INTERNAL);
        assert_eq!(words(), "bug in trajgan: in a worker");
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(guard(|| panic::panic_any(Bomb)), tg_status::TG_ERR_INTERNAL);
        assert_eq!(guard(|| Ok(())), tg_status::TG_OK);
    }

    #[test]
    fn long_and_odd_messages_are_cut_on_a_character() {
        let fail = |message: String| guard(|| Err(Failure::new(tg_status::TG_ERR_IO, message)));
        assert_eq!(fail(format!("a{}", "ü".repeat(5000))), tg_status::TG_ERR_IO);
        assert_eq!(words(), format!("a{}", "ü".repeat(1023)));
        fail("a\0b".into());
        assert_eq!(words(), "a?b");
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn the_float_state_is_ours_inside_and_the_hosts_in_callbacks_and_after() {
        /// Flush to zero and round up, flush to zero alone, and what only says what has happened.
        #[cfg(target_arch = "x86_64")]
        const ODD: (u32, u32, u32) = (0xdfc0, 0x1f80 | 0x8000, 0x3f);
        #[cfg(target_arch = "aarch64")]
        const ODD: (u32, u32, u32) = (1 << 24 | 1 << 22, 1 << 24, 0);
        let (ftz_up, ftz, flags) = ODD;
        let before = float_state::get();
        float_state::set(ftz_up);
        let status = guard(|| {
            let inside = float_state::get();
            let nested = outside(|| {
                let host = float_state::get();
                let again = guard(|| {
                    assert_eq!(float_state::get(), float_state::DEFAULT);
                    Ok(())
                });
                let after = float_state::get();
                float_state::set(ftz);
                (host, again, after)
            });
            let back = float_state::get();
            let twice = outside(float_state::get);
            assert_eq!((inside & !flags, back & !flags), (float_state::DEFAULT, float_state::DEFAULT));
            assert_eq!((nested, twice), ((ftz_up, tg_status::TG_OK, ftz_up), ftz_up));
            panic!("restored on this way out, too");
        });
        let after = float_state::get();
        float_state::set(before);
        assert_eq!(status, tg_status::TG_ERR_INTERNAL);
        assert!(words().contains("restored on this way out"), "{}", words());
        assert_eq!(after, ftz_up);
    }
}
