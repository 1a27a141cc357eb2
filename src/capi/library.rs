//! The library itself.

use std::ffi::c_char;

use super::guard;
use super::status::{TG_ABI_VERSION, tg_status};
use crate::model::Device;

/// ---- library ----
///
/// TG_ABI_VERSION of the loaded library. [any]
#[unsafe(no_mangle)]
pub extern "C" fn tg_abi_version() -> u32 {
    TG_ABI_VERSION
}

/// "0.1.0". [any]
#[unsafe(no_mangle)]
pub extern "C" fn tg_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// "TG_ERR_IO"; "TG_ERR_?" for a number that is no status. Never NULL. [any]
#[unsafe(no_mangle)]
pub extern "C" fn tg_status_name(status: i32) -> *const c_char {
    const NAMES: [(tg_status, &str); 12] = [
        (tg_status::TG_OK, "TG_OK\0"),
        (tg_status::TG_ERR_ARGUMENT, "TG_ERR_ARGUMENT\0"),
        (tg_status::TG_ERR_VERSION, "TG_ERR_VERSION\0"),
        (tg_status::TG_ERR_STATE, "TG_ERR_STATE\0"),
        (tg_status::TG_ERR_BUFFER, "TG_ERR_BUFFER\0"),
        (tg_status::TG_ERR_IO, "TG_ERR_IO\0"),
        (tg_status::TG_ERR_FORMAT, "TG_ERR_FORMAT\0"),
        (tg_status::TG_ERR_DEVICE, "TG_ERR_DEVICE\0"),
        (tg_status::TG_ERR_MEMORY, "TG_ERR_MEMORY\0"),
        (tg_status::TG_ERR_DIVERGED, "TG_ERR_DIVERGED\0"),
        (tg_status::TG_ERR_CANCELLED, "TG_ERR_CANCELLED\0"),
        (tg_status::TG_ERR_INTERNAL, "TG_ERR_INTERNAL\0"),
    ];
    let name = NAMES.iter().find(|(code, _)| *code as i32 == status);
    name.map_or("TG_ERR_?\0", |(_, name)| name).as_ptr().cast()
}

/// Whether a model can be made on a device: TG_DEVICE_*, or n for CUDA device n. TG_OK, or TG_ERR_DEVICE, and then
/// tg_last_error() says why not: so tg_device_check(0) tells why TG_DEVICE_AUTO takes the CPU. [any]
#[unsafe(no_mangle)]
pub extern "C" fn tg_device_check(device: i32) -> tg_status {
    guard::guard(|| Ok(Device::from_code(device)?.check()?))
}

/// What went wrong in this thread's last failed call; "" if none did. Never NULL. Valid until this thread's next
/// failed call. In Go, hold runtime.LockOSThread over the call and this one. [any]
#[unsafe(no_mangle)]
pub extern "C" fn tg_last_error() -> *const c_char {
    guard::last_error()
}
