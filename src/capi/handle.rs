//! What is behind an opaque pointer: a value with a lock that never waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, TryLockError};

use super::guard::Failure;
use super::status::tg_status;
use crate::error::Error;

/// Calls share the value or have it alone. A call that cannot, because another one runs or because it comes from
/// that one's callback, fails: it never waits, so nothing can deadlock.
pub struct Handle<T> {
    value: RwLock<T>,
    /// A panic went through the value.
    broken: AtomicBool,
    /// The host has freed the handle. Calls that still run keep it in memory.
    freed: AtomicBool,
    /// A child process has the memory but not the threads.
    process: u32,
}

impl<T> Handle<T> {
    pub fn new(value: T) -> Handle<T> {
        Handle {
            value: RwLock::new(value),
            broken: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            process: std::process::id(),
        }
    }

    /// To the host. It is freed with `free`.
    pub fn into_raw<H: From<Handle<T>>>(self) -> *const H {
        Arc::into_raw(Arc::new(H::from(self)))
    }

    /// Runs `body` beside other shared calls.
    pub fn shared<R>(&self, call: &'static str, body: impl FnOnce(&T) -> Result<R, Failure>) -> Result<R, Failure> {
        self.usable(call)?;
        let value = self.value.try_read().map_err(|e| refusal(call, e))?;
        self.watched(|| body(&value))
    }

    /// Runs `body` alone.
    pub fn exclusive<R>(
        &self,
        call: &'static str,
        body: impl FnOnce(&mut T) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        self.usable(call)?;
        let mut value = self.value.try_write().map_err(|e| refusal(call, e))?;
        self.watched(|| body(&mut value))
    }

    pub fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }

    fn usable(&self, call: &'static str) -> Result<(), Failure> {
        if self.process != std::process::id() {
            return Err(
                Error::State { call, problem: "the handle was made before this process was forked".into() }.into()
            );
        }
        if self.broken.load(Ordering::Acquire) {
            return Err(internal(call));
        }
        Ok(())
    }

    fn watched<R>(&self, body: impl FnOnce() -> R) -> R {
        struct Tripwire<'a>(&'a AtomicBool);
        impl Drop for Tripwire<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let tripwire = Tripwire(&self.broken);
        let result = body();
        std::mem::forget(tripwire); // reached only if body did not panic
        result
    }
}

fn refusal<G>(call: &'static str, error: TryLockError<G>) -> Failure {
    match error {
        TryLockError::WouldBlock => {
            let problem = "another call uses the handle, on another thread or around this callback";
            Error::State { call, problem: problem.into() }.into()
        }
        TryLockError::Poisoned(_) => internal(call),
    }
}

fn internal(call: &'static str) -> Failure {
    let problem = "an earlier call on this handle met a bug in trajgan; free the handle";
    Failure::new(tg_status::TG_ERR_INTERNAL, format!("{call}: {problem}"))
}

/// Keeps the handle in memory while a call runs, whatever that call's callback does to it.
///
/// # Safety
/// `handle` is NULL or came from `into_raw` and has not been freed.
pub unsafe fn borrow<H>(handle: *const H, name: &str) -> Result<Arc<H>, Failure> {
    if handle.is_null() {
        return Err(Failure::argument(name, "NULL", "a handle"));
    }
    // SAFETY: the caller's promise; the count is at least 1 until `free`.
    unsafe {
        Arc::increment_strong_count(handle);
        Ok(Arc::from_raw(handle))
    }
}

/// Gives up the host's share. In a forked child the memory is left as it is: its threads cannot be joined there.
///
/// # Safety
/// As for `borrow`, and this is the last use of `handle`.
pub unsafe fn free<H: AsRef<Handle<T>>, T>(handle: *const H) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let owned = unsafe { Arc::from_raw(handle) };
    let inner = (*owned).as_ref();
    inner.freed.store(true, Ordering::Release);
    if inner.process != std::process::id() {
        std::mem::forget(owned);
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::guard;
    use super::*;

    #[test]
    fn shared_calls_go_together_and_exclusive_ones_alone() {
        let handle = Handle::new(1);
        let ok: Result<(), Failure> = handle.shared("outer", |_| {
            assert_eq!(handle.shared("inner", |v| Ok(*v))?, 1);
            let refused = handle.exclusive("alone", |_| Ok(())).unwrap_err();
            assert_eq!(refused.status, tg_status::TG_ERR_STATE);
            Ok(())
        });
        ok.unwrap();
        let ok: Result<(), Failure> = handle.exclusive("outer", |v| {
            *v = 2;
            assert_eq!(handle.shared("inner", |_| Ok(())).unwrap_err().status, tg_status::TG_ERR_STATE);
            assert_eq!(handle.exclusive("inner", |_| Ok(())).unwrap_err().status, tg_status::TG_ERR_STATE);
            Ok(())
        });
        ok.unwrap();
    }

    #[test]
    fn after_a_panic_the_handle_refuses_everything() {
        for shared in [true, false] {
            let handle = Handle::new(1);
            let status = guard(|| {
                if shared {
                    handle.shared("first", |_| panic!("x"))
                } else {
                    handle.exclusive("first", |_| panic!("x"))
                }
            });
            assert_eq!(status, tg_status::TG_ERR_INTERNAL);
            let refused = handle.shared("second", |_| Ok(())).unwrap_err();
            assert_eq!(refused.status, tg_status::TG_ERR_INTERNAL);
            assert!(refused.message.starts_with("second: an earlier call"), "{}", refused.message);
            assert_eq!(handle.exclusive("third", |_| Ok(())).unwrap_err().status, tg_status::TG_ERR_INTERNAL);
        }
    }

    #[test]
    fn an_error_does_not_break_the_handle() {
        let handle = Handle::new(1);
        let failed: Result<(), _> = handle.exclusive("first", |_| Err(Failure::argument("x", 1, "2")));
        assert_eq!(failed.unwrap_err().status, tg_status::TG_ERR_ARGUMENT);
        handle.exclusive("second", |_| Ok(())).unwrap();
    }
}
