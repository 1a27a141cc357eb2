//! Handles of models.

use std::ffi::c_char;

use super::guard::guard;
use super::handle::{self, Handle};
use super::memory::{self, check, put};
use super::options;
use super::settings::{preset, tg_model_options};
use super::status::{tg_decoder, tg_preset, tg_status};
use crate::model::{Device, Model};

/// A model, trained or not.
pub struct tg_model {
    pub(super) handle: Handle<Model>,
}

impl From<Handle<Model>> for tg_model {
    fn from(handle: Handle<Model>) -> Self {
        tg_model { handle }
    }
}

impl AsRef<Handle<Model>> for tg_model {
    fn as_ref(&self) -> &Handle<Model> {
        &self.handle
    }
}

/// ---- model ----
///
/// Fills *out, which has struct_size bytes, with a TG_PRESET_* for a TG_DECODER_*. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_options_init(
    out: *mut tg_model_options,
    struct_size: usize,
    preset: i32,
    decoder: i32,
) -> tg_status {
    // SAFETY: out is the caller's, with the size it says.
    guard(|| unsafe { options::write(out, struct_size, tg_model_options::of(&self::preset(preset, decoder)?, preset)) })
}

/// A new model with initial weights. device: TG_DEVICE_*, or n for CUDA device n. options NULL: the default preset of
/// the closed loop. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_new(
    options: *const tg_model_options,
    device: i32,
    out: *mut *mut tg_model,
) -> tg_status {
    guard(|| {
        check("out", out, 1)?;
        let default = tg_preset::TG_PRESET_DEFAULT as i32;
        let defaults = tg_model_options::of(&preset(default, tg_decoder::TG_DECODER_CLOSED_LOOP as i32)?, default);
        // SAFETY: options are the caller's.
        let options = unsafe { options::read(options, defaults)? };
        let model = Model::new(options.config()?, Device::from_code(device)?)?;
        // SAFETY: out is the caller's.
        unsafe { put("out", out, Handle::new(model).into_raw::<tg_model>().cast_mut()) }
    })
}

/// Reads a file of tg_model_save(). path is UTF-8. The file is not trusted: it is checked whole. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_load(path: *const c_char, device: i32, out: *mut *mut tg_model) -> tg_status {
    guard(|| {
        check("out", out, 1)?;
        // SAFETY: path is the caller's.
        let model = Model::load(unsafe { memory::path(path)? }, Device::from_code(device)?)?;
        // SAFETY: out is the caller's.
        unsafe { put("out", out, Handle::new(model).into_raw::<tg_model>().cast_mut()) }
    })
}

/// Writes the model with all that training needs to go on, whole or not at all: what was at path survives a failure, but
/// for that of the last step, the flush of the folder, before which the new file is in place. A file keeps its mode, a link its
/// place; what is no file is not replaced. Of two saves to one path at once the later gives TG_ERR_IO. path is UTF-8. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_save(model: *const tg_model, path: *const c_char) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours, and the caller's path.
        let (model, path) = unsafe { (handle::borrow(model, "model")?, memory::path(path)?) };
        model.handle.shared("tg_model_save", |model| Ok(model.save(path)?))
    })
}

/// Fills *out, which has struct_size bytes, with what the model is: the sizes that buffers need. preset is the default
/// one. [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_options_get(
    model: *const tg_model,
    out: *mut tg_model_options,
    struct_size: usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        let value = model.handle.shared("tg_model_options_get", |model| {
            Ok(tg_model_options::of(model.config(), tg_preset::TG_PRESET_DEFAULT as i32))
        })?;
        // SAFETY: out is the caller's, with the size it says.
        unsafe { options::write(out, struct_size, value) }
    })
}

/// All there is to know about the model, as JSON: settings, how far it is trained and where, its history, its device,
/// and in "diagnosis" what its losses say is wrong: cause and fix. json, capacity and needed as in tg_dataset_info().
/// [shared]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_info(
    model: *const tg_model,
    json: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> tg_status {
    guard(|| {
        // SAFETY: a handle of ours.
        let model = unsafe { handle::borrow(model, "model")? };
        let info = model.handle.shared("tg_model_info", |model| Ok(model.info()))?;
        // SAFETY: json and needed are the caller's.
        unsafe { memory::text(&info.to_string(), json, capacity, needed) }
    })
}

/// [exclusive]; but if calls on the model are still running, as when its own callback frees it, training stops as if
/// cancelled and the memory goes with the last of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_model_free(model: *mut tg_model) {
    guard(|| {
        // SAFETY: a handle of ours, used for the last time.
        unsafe { handle::free::<tg_model, Model>(model) };
        Ok(())
    });
}
