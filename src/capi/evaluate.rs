//! How close a model is.

use std::ffi::c_char;

use super::data::tg_dataset;
use super::guard::{Failure, guard};
use super::handle;
use super::memory;
use super::model::tg_model;
use super::options::{self, Options};
use super::status::tg_status;
use crate::eval::EvalOptions;
use crate::files::write_whole;

/// How hard to look.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tg_evaluate_options {
    pub struct_size: u32,
    /// CPU threads; 0: one per core.
    pub threads: u32,
    /// Same seed, same report, whatever the threads.
    pub seed: u64,
    /// 1: fewer movements, permutations and runs: half a minute for 500 movements on two cores, instead of minutes.
    pub quick: u64,
}

// SAFETY: repr(C), of numbers only; the size below says that there is no padding.
unsafe impl Options for tg_evaluate_options {
    const NAME: &'static str = "tg_evaluate_options";

    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

const _: () = assert!(size_of::<tg_evaluate_options>() == 2 * 4 + 2 * 8);

impl Default for tg_evaluate_options {
    fn default() -> Self {
        let EvalOptions { seed, threads, quick } = EvalOptions::default();
        tg_evaluate_options { struct_size: 0, threads: threads as u32, seed, quick: quick.into() }
    }
}

impl tg_evaluate_options {
    fn options(&self) -> Result<EvalOptions, Failure> {
        let quick = match self.quick {
            0 | 1 => self.quick == 1,
            other => return Err(Failure::argument("quick", other, "0 or 1")),
        };
        Ok(EvalOptions { seed: self.seed, threads: options::threads(self.threads)?, quick })
    }
}

/// ---- evaluation ----
///
/// Fills *out, which has struct_size bytes, with the defaults. [any]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_evaluate_options_init(out: *mut tg_evaluate_options, struct_size: usize) -> tg_status {
    // SAFETY: out is the caller's, with the size it says.
    guard(|| unsafe { options::write(out, struct_size, tg_evaluate_options::default()) })
}

/// Judges the model: as many movements as the test split of data has, asked for the same, against that split, and beside
/// it real against real, the floor that nothing can be better than. The splits are those of training with the same data;
/// the test split needs 20 movements or more. The report is JSON: {"scores":[{"name","value","floors","rating"...}],
/// "features":[...]...}. Of a model that has learnt from arrays without limits only scaled features and summaries are
/// judged: what is of pixels is then empty or null. json, capacity and needed as in tg_dataset_info(), but asking for the
/// size costs an evaluation: 262144 is plenty. html_path: also a page with pictures, written whole or not at all; UTF-8;
/// NULL: none. Blocks until done. [shared] for both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tg_evaluate(
    model: *const tg_model,
    data: *const tg_dataset,
    options: *const tg_evaluate_options,
    html_path: *const c_char,
    json: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> tg_status {
    guard(|| {
        // SAFETY: handles of ours, and the caller's options and path.
        let (model, data, given, page) = unsafe {
            let given = options::read(options, tg_evaluate_options::default())?;
            let page = (!html_path.is_null()).then(|| memory::path(html_path)).transpose()?;
            (handle::borrow(model, "model")?, handle::borrow(data, "data")?, given, page)
        };
        let options = given.options()?;
        memory::check_text(json, capacity, needed)?; // before the work
        let report = model.handle.shared("tg_evaluate", |model| {
            data.handle().shared("tg_evaluate", |contents| Ok(model.evaluate(&contents.data, &options)?))
        })?;
        let text = report.to_json()?;
        // The page only if the call cannot fail after it.
        if let Some(path) = page.filter(|_| json.is_null() || text.len() < capacity) {
            write_whole(path, |out| out.write_all(report.to_html().as_bytes()))?;
        }
        // SAFETY: json and needed are the caller's.
        unsafe { memory::text(&text, json, capacity, needed) }
    })
}
