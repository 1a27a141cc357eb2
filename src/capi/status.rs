//! Codes and constants of the C API.

/// Compare with tg_abi_version() once, at start-up.
pub const TG_ABI_VERSION: u32 = 1;

/// Most layers in the lists of widths.
pub const TG_MAX_LAYERS: usize = 16;

/// What a call says. TG_OK is 0 and the only success.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tg_status {
    TG_OK = 0,
    /// NULL, out of range, or arguments that contradict each other.
    TG_ERR_ARGUMENT = 1,
    /// Options or a file that a newer trajgan made.
    TG_ERR_VERSION = 2,
    /// Out of order, e.g. the GAN stage first, or while another call holds the handle.
    TG_ERR_STATE = 3,
    /// The caller's buffer is too small.
    TG_ERR_BUFFER = 4,
    /// The file could not be read or written.
    TG_ERR_IO = 5,
    /// Not a file of the expected kind, or a damaged one.
    TG_ERR_FORMAT = 6,
    /// No such device, no driver, or the device failed.
    TG_ERR_DEVICE = 7,
    /// Out of memory, of the host or of the device.
    TG_ERR_MEMORY = 8,
    /// A loss is not finite; the last finite weights are kept.
    TG_ERR_DIVERGED = 9,
    /// The callback said stop; all finished iterations are kept.
    TG_ERR_CANCELLED = 10,
    /// A bug in trajgan; all you can do with the handle is free it.
    TG_ERR_INTERNAL = 11,
}

/// Arguments that take these are int32_t, so that a wrong number is an error and not a crash. n >= 0: CUDA device n.
#[repr(C)]
pub enum tg_device {
    TG_DEVICE_AUTO = -2,
    TG_DEVICE_CPU = -1,
}

#[repr(C)]
pub enum tg_stage {
    TG_STAGE_AUTOENCODER = 1,
    TG_STAGE_GAN = 2,
}

#[repr(C)]
pub enum tg_preset {
    TG_PRESET_DEFAULT = 0,
    TG_PRESET_FAST = 1,
    TG_PRESET_LARGE = 2,
    TG_PRESET_RECOMMENDED = 3,
}

/// How a summary becomes a movement. CLOSED_LOOP walks to its target in whole pixels and clock ticks: exact ends, own
/// length and timing. V6 makes a sequence of scaled features, for data and results of the original method.
#[repr(C)]
pub enum tg_decoder {
    TG_DECODER_CLOSED_LOOP = 0,
    TG_DECODER_V6 = 1,
}

/// What the condition of a movement is that was pushed or read without one, in pixels.
#[repr(C)]
pub enum tg_condition {
    /// From the first point to the last.
    TG_CONDITION_STRAIGHT = 0,
    /// Along the way.
    TG_CONDITION_PATH = 1,
}

/// How a latent sequence becomes one summary.
#[repr(C)]
pub enum tg_pool {
    TG_POOL_ATTENTION = 0,
    TG_POOL_MEAN = 1,
    TG_POOL_LAST = 2,
    TG_POOL_HYBRID = 3,
}

/// How a summary becomes a latent sequence again.
#[repr(C)]
pub enum tg_expand {
    TG_EXPAND_LSTM = 0,
    TG_EXPAND_MLP = 1,
    TG_EXPAND_REPEAT = 2,
}

#[repr(C)]
pub enum tg_generator {
    TG_GENERATOR_RESIDUAL = 0,
    TG_GENERATOR_PLAIN = 1,
    TG_GENERATOR_FILM = 2,
}

#[repr(C)]
pub enum tg_critic {
    TG_CRITIC_STANDARD = 0,
    TG_CRITIC_PROJECTION = 1,
    TG_CRITIC_MULTISCALE = 2,
}

/// Of stage 1. ADAMW decays the weights rather than adding to the gradient; RADAM warms up by itself.
#[repr(C)]
pub enum tg_optimizer {
    TG_OPTIMIZER_ADAM = 0,
    TG_OPTIMIZER_ADAMW = 1,
    TG_OPTIMIZER_RADAM = 2,
}

/// Learning rate of stage 1 over time. ONECYCLE: up from 1/25 of it over the first 30 % of the iterations, then down to
/// nothing; momentum stays.
#[repr(C)]
pub enum tg_schedule {
    TG_SCHEDULE_NONE = 0,
    TG_SCHEDULE_COSINE = 1,
    TG_SCHEDULE_STEP = 2,
    TG_SCHEDULE_PLATEAU = 3,
    TG_SCHEDULE_ONECYCLE = 4,
}

/// How a path came about: bits.
#[repr(C)]
pub enum tg_path_flag {
    /// The distance is not among those that the model has learnt: drawn at the nearest that is, and scaled.
    TG_PATH_SCALED = 1,
    /// Bent to stay in bounds, or stretched to keep to a duration.
    TG_PATH_FORCED = 2,
}
