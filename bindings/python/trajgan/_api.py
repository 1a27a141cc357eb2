"""The C API as ctypes sees it: structs, functions, errors. trajgan.h says what each means."""

import ctypes
import ctypes.util
import enum
import operator
import os
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

ABI_VERSION = 1
MAX_LAYERS = 16


class Status(enum.IntEnum):
    OK, ARGUMENT, VERSION, STATE, BUFFER, IO, FORMAT, DEVICE, MEMORY, DIVERGED, CANCELLED, INTERNAL = range(12)


class Device(enum.IntEnum):
    """n >= 0, any int: CUDA device n."""

    AUTO, CPU = -2, -1


class Stage(enum.IntEnum):
    AUTOENCODER, GAN = 1, 2


class Preset(enum.IntEnum):
    DEFAULT, FAST, LARGE, RECOMMENDED = range(4)


class Decoder(enum.IntEnum):
    CLOSED_LOOP, V6 = range(2)


class Condition(enum.IntEnum):
    STRAIGHT, PATH = range(2)


class Pool(enum.IntEnum):
    ATTENTION, MEAN, LAST, HYBRID = range(4)


class Expand(enum.IntEnum):
    LSTM, MLP, REPEAT = range(3)


class Generator(enum.IntEnum):
    RESIDUAL, PLAIN, FILM = range(3)


class Critic(enum.IntEnum):
    STANDARD, PROJECTION, MULTISCALE = range(3)


class Optimizer(enum.IntEnum):
    ADAM, ADAMW, RADAM = range(3)


class Schedule(enum.IntEnum):
    NONE, COSINE, STEP, PLATEAU, ONECYCLE = range(5)


class PathFlag(enum.IntFlag):
    SCALED, FORCED = 1, 2


class Error(Exception):
    """What a call said; status is its Status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = Status(status)

    def __reduce__(self):
        return type(self), (self.status, str(self))


def _fields(text):
    """[("a", type), ...] of "type a b; type c[3]" ."""
    kinds = {"u32": c_uint32, "i32": c_int32, "u64": c_uint64, "f64": c_double, "str": c_char_p, "ptr": c_void_p}
    out = []
    for part in text.split(";"):
        kind, *names = part.split()
        for name in names:
            name, _, count = name.rstrip("]").partition("[")
            out.append((name, kinds[kind] * int(count) if count else kinds[kind]))
    return out


def path(value):
    """A path as the library takes it."""
    name = os.fsencode(value)
    if b"\0" in name:
        raise ValueError(f"a path with a null character: {value!r}")
    return name


def whole(name, value, kind):
    """A number that kind can hold: ctypes takes others modulo its size."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected a whole number") from None
    if kind(number).value != number:
        bits = 8 * ctypes.sizeof(kind)
        least = min(0, kind(1 << bits - 1).value)
        raise ValueError(f"{name} is {number}, expected {least} to {least + (1 << bits) - 1}")
    return number


def _whole_list(name, values, kind):
    numbers = [whole(f"{name}[{i}]", value, kind._type_) for i, value in enumerate(values)]
    if len(numbers) > kind._length_:
        raise ValueError(f"{name} has {len(numbers)} numbers, expected up to {kind._length_}")
    while numbers and not numbers[-1]:
        numbers.pop()  # as the library's own lists end
    if 0 in numbers:
        raise ValueError(f"{name}[{numbers.index(0)}] is 0, which would end the list: expected 1 or more")
    return kind(*numbers)


class Options(ctypes.Structure):
    """Options with their defaults, and those that are given by name changed."""

    def change(self, given):
        known = dict(self._fields_)
        for name, value in given.items():
            if name not in known or name in ("struct_size", "on_progress", "user_data"):
                raise TypeError(f"{type(self).__name__} has no {name}")
            kind = known[name]
            if kind is c_char_p:
                value = None if value is None else path(value)
            elif hasattr(kind, "_length_"):
                value = _whole_list(name, value, kind)
            elif kind is not c_double:
                value = whole(name, value, kind)
            setattr(self, name, value)
        return self


class ReadOptions(Options):
    _fields_ = _fields(
        "u32 struct_size csv_seconds; u64 max_bytes; u32 min_points max_points; f64 pause_ms max_coordinate"
        " min_distance min_duration_ms max_duration_ms max_path_ratio max_speed max_step_share max_end_speed"
    )


class ModelOptions(Options):
    _fields_ = _fields(
        "u32 struct_size; i32 preset; u64 seed; u32 condition_dim feature_dim max_seq_len latent_dim summary_dim"
        " noise_dim encoder_hidden_dim encoder_num_layers decoder_hidden_dim decoder_num_layers expander_hidden_dim"
        " expander_num_layers; i32 pool expand generator critic; u32 generator_hidden_dims[16] critic_hidden_dims[16];"
        " i32 decoder condition; u32 step_magnitudes tick_classes critic_spectral_norm critic_scales;"
        " f64 lstm_dropout pooler_dropout expander_dropout; u64 step_profiles"
    )


class Progress(ctypes.Structure):
    """Where training is."""

    _fields_ = _fields(
        "u32 struct_size; i32 stage; u64 iteration iterations; u32 converged validated; f64 loss direct recon latent"
        " step_nats tick_nats stop_nats critic wasserstein gradient_penalty validation_loss validation_parts[3]"
        " learning_rate seconds iterations_per_second"
    )


ProgressFn = ctypes.CFUNCTYPE(c_int32, POINTER(Progress), c_void_p)


class TrainOptions(Options):
    _fields_ = [
        *_fields(
            "u32 struct_size threads; u64 seed iterations; u32 batch_size n_critic; f64 learning_rate"
            " critic_learning_rate grad_clip weight_decay; i32 optimizer schedule; u64 cosine_period step_size;"
            " f64 step_gamma; u64 plateau_patience; f64 plateau_factor threshold; u64 patience; f64 lambda_recon"
            " lambda_latent lambda_direct lambda_gp lambda_fm beta1 beta2 generator_average summary_noise;"
            " u32 augment_mirror quality_min_length; f64 augment_noise quality_z; u64 log_interval eval_interval"
            " save_interval; str checkpoint_path"
        ),
        ("on_progress", ProgressFn),
        ("user_data", c_void_p),
        ("augment_turn", c_double),
        ("candidates", c_uint64),
        ("augment_mirror_share", c_double),
    ]


class SampleOptions(Options):
    _fields_ = _fields(
        "u32 struct_size threads; u64 seed first seq_len; f64 truncation_psi step_temperature time_temperature;"
        " u32 allow_tf32 candidates; u64 allow_amx"
    )


class PathOptions(Options):
    _fields_ = _fields(
        "u32 struct_size threads; u64 seed first candidates; u32 integer_pixels bounded; f64 left top right bottom"
        " duration_scale polling_hz min_duration_ms max_duration_ms step_temperature time_temperature"
    )


class EvaluateOptions(Options):
    _fields_ = _fields("u32 struct_size threads; u64 seed quick")


DOUBLES, FLOATS, COUNTS, SIZE = POINTER(c_double), POINTER(c_float), POINTER(c_uint32), POINTER(c_size_t)
HANDLE, OUT = c_void_p, POINTER(c_void_p)

# Arrays of points go as their doubles.
SIGNATURES = {
    "tg_device_check": [c_int32],
    "tg_dataset_new": [c_uint32, OUT],
    "tg_dataset_push": [HANDLE, DOUBLES, c_size_t, DOUBLES],
    "tg_read_options_init": [POINTER(ReadOptions), c_size_t],
    "tg_dataset_open": [c_char_p, POINTER(ReadOptions), OUT],
    "tg_dataset_info": [HANDLE, c_char_p, c_size_t, SIZE],
    "tg_model_options_init": [POINTER(ModelOptions), c_size_t, c_int32, c_int32],
    "tg_model_new": [POINTER(ModelOptions), c_int32, OUT],
    "tg_model_load": [c_char_p, c_int32, OUT],
    "tg_model_save": [HANDLE, c_char_p],
    "tg_model_options_get": [HANDLE, POINTER(ModelOptions), c_size_t],
    "tg_model_info": [HANDLE, c_char_p, c_size_t, SIZE],
    "tg_train_options_init": [POINTER(TrainOptions), c_size_t, c_int32, HANDLE],
    "tg_train_stage": [HANDLE, HANDLE, c_int32, POINTER(TrainOptions)],
    "tg_sample_options_init": [POINTER(SampleOptions), c_size_t],
    "tg_generate": [HANDLE, DOUBLES, c_size_t, POINTER(SampleOptions), DOUBLES, c_size_t, COUNTS],
    "tg_generate_features": [HANDLE, DOUBLES, c_size_t, POINTER(SampleOptions), FLOATS, c_size_t, COUNTS],
    "tg_encode": [HANDLE, DOUBLES, c_size_t, COUNTS, c_size_t, c_uint32, FLOATS, c_size_t],
    "tg_decode": [HANDLE, FLOATS, COUNTS, c_size_t, c_uint32, DOUBLES, c_size_t],
    "tg_encode_features": [HANDLE, FLOATS, c_size_t, COUNTS, c_size_t, c_uint32, FLOATS, c_size_t],
    "tg_decode_features": [HANDLE, FLOATS, COUNTS, c_size_t, c_uint32, FLOATS, c_size_t],
    "tg_interpolate": [HANDLE, FLOATS, FLOATS, c_size_t, FLOATS, c_size_t],
    "tg_path_options_init": [POINTER(PathOptions), c_size_t],
    "tg_path": [HANDLE, c_double, c_double, c_double, c_double, POINTER(PathOptions), DOUBLES, c_size_t, COUNTS, COUNTS],
    "tg_paths": [HANDLE, DOUBLES, c_size_t, POINTER(PathOptions), DOUBLES, c_size_t, COUNTS, COUNTS],
    "tg_stream_new": [HANDLE, c_double, c_double, c_double, c_double, POINTER(PathOptions), OUT],
    "tg_stream_next": [HANDLE, DOUBLES, c_size_t, SIZE],
    "tg_stream_aim": [HANDLE, c_double, c_double],
    "tg_stream_at": [HANDLE, c_double, DOUBLES, COUNTS],
    "tg_evaluate_options_init": [POINTER(EvaluateOptions), c_size_t],
    "tg_evaluate": [HANDLE, HANDLE, POINTER(EvaluateOptions), c_char_p, c_char_p, c_size_t, SIZE],
}
OTHERS = {
    "tg_abi_version": (c_uint32, []),
    "tg_version": (c_char_p, []),
    "tg_status_name": (c_char_p, [c_int32]),
    "tg_last_error": (c_char_p, []),
    "tg_dataset_len": (c_size_t, [HANDLE]),
    "tg_dataset_condition_dim": (c_uint32, [HANDLE]),
    "tg_dataset_free": (None, [HANDLE]),
    "tg_model_free": (None, [HANDLE]),
    "tg_stream_free": (None, [HANDLE]),
}


def _load():
    # A library of one's own, else the installed one.
    name = os.environ.get("TRAJGAN_LIBRARY") or ctypes.util.find_library("trajgan") or "libtrajgan.so.0"
    library = ctypes.CDLL(name)
    for function, arguments in SIGNATURES.items():
        getattr(library, function).argtypes = arguments
        getattr(library, function).restype = c_int32
    for function, (result, arguments) in OTHERS.items():
        getattr(library, function).argtypes = arguments
        getattr(library, function).restype = result
    if library.tg_abi_version() != ABI_VERSION:
        raise ImportError(f"{name} is trajgan {library.tg_version().decode()}, of another ABI than this package")
    return library


lib = _load()


def call(name, *arguments):
    """Raises Error unless the call succeeds."""
    # ctypes calls and asks on one thread, whose error it is.
    status = getattr(lib, name)(*arguments)
    if status != Status.OK:
        raise Error(status, lib.tg_last_error().decode())


def made(kind, init, *arguments, **given):
    """Options with their defaults, and what is given changed."""
    options = kind()
    call(init, ctypes.byref(options), ctypes.sizeof(options), *arguments)
    return options.change(given)


def text(guess, name, *arguments):
    """Of a call that ends in a buffer, its room, and what it needs."""
    room, needed = guess, c_size_t()
    while True:
        out = ctypes.create_string_buffer(room)
        try:
            call(name, *arguments, out, room, ctypes.byref(needed))
            return out.value.decode()
        except Error as error:
            if error.status != Status.BUFFER or needed.value <= room:
                raise
            room = needed.value
