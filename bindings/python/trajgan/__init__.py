"""trajgan: learn pointer movements from recordings, make new ones. A thin layer over libtrajgan; numpy in and out.

    import trajgan
    data = trajgan.Dataset.open("recordings/")
    model = trajgan.Model()
    model.train(data, trajgan.Stage.AUTOENCODER)
    model.train(data, trajgan.Stage.GAN)
    x, y, t_ms = model.path((100, 100), (900, 500)).points.T

Movements are arrays (n,3): x and y in pixels, t in ms. Options are those of trajgan.h, given by name:
model.path(a, b, polling_hz=125, seed=3). A call that fails raises trajgan.Error and has changed nothing; const calls
may run on many threads at once, and all release Python's lock.
"""

import contextlib
import ctypes
import json
import os
import signal
import threading
from typing import NamedTuple

import numpy as np

from . import _api
from ._api import (  # noqa: F401: all of these are for the user
    Condition, Critic, Decoder, Device, Error, Expand, Generator, Optimizer, PathFlag, Pool, Preset, Schedule, Stage, Status,
)

__version__ = _api.lib.tg_version().decode()


def check_device(device):
    """Raises Error if a model cannot be there, and says why."""
    _api.call("tg_device_check", device)


def _doubles(array):
    return None if array is None else array.ctypes.data_as(_api.DOUBLES)


def _floats(array):
    return array.ctypes.data_as(_api.FLOATS)


def _counts(array):
    return array.ctypes.data_as(_api.COUNTS)


def _shaped(name, values, dtype, *shape):
    """values as an array of this shape, where None is any extent."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape)):
        wanted = " x ".join("n" if extent is None else str(extent) for extent in shape)
        raise Error(Status.ARGUMENT, f"{name} is {' x '.join(map(str, array.shape)) or 'a number'}, expected {wanted}")
    return array


def _table(name, values, count, width):
    """values as (count,width) doubles; in one dimension they are its rows, one after the other."""
    values = np.asarray(values, np.float64)
    return _shaped(name, values.reshape(-1, width) if values.ndim == 1 else values, np.float64, count, width)


def _rows(points, lengths):
    return [row[:length].copy() for row, length in zip(points, lengths)]


class _Handle:
    """Something of the library's; freed with its object, or by close() or a with block before."""

    _free = None

    def __init__(self, make, *arguments):
        out = ctypes.c_void_p()
        _api.call(make, *arguments, ctypes.byref(out))
        self._handle = out

    def close(self):
        handle = getattr(self, "_handle", None)
        if handle:
            self._handle = None
            getattr(_api.lib, self._free)(handle)

    def __del__(self):
        self.close()

    def __reduce__(self):
        # Two owners would both free it.
        raise TypeError(f"a {type(self).__name__} can be neither copied nor pickled")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Dataset(_Handle):
    """Recorded movements to learn from: empty, to push to, or opened."""

    _free = "tg_dataset_free"

    def __init__(self, condition_dim=1):
        super().__init__("tg_dataset_new", condition_dim)

    @classmethod
    def open(cls, path, **options):
        """A file or folder of recordings, or a folder of arrays. options: of tg_read_options."""
        data = cls.__new__(cls)
        read = _api.made(_api.ReadOptions, "tg_read_options_init", **options)
        _Handle.__init__(data, "tg_dataset_open", _api.path(path), ctypes.byref(read))
        return data

    def push(self, points, condition=None):
        """One movement (n,3); condition: None, or condition_dim numbers."""
        points = _shaped("points", points, np.float64, None, 3)
        if condition is not None:
            condition = _shaped("condition", np.atleast_1d(condition), np.float64, _api.lib.tg_dataset_condition_dim(self._handle))
        _api.call("tg_dataset_push", self._handle, _doubles(points), len(points), _doubles(condition))

    def __len__(self):
        return _api.lib.tg_dataset_len(self._handle)

    def info(self):
        return json.loads(_api.text(4096, "tg_dataset_info", self._handle))


class Path(NamedTuple):
    points: np.ndarray
    scaled: bool
    forced: bool


class Stream(_Handle):
    """A path under way: an iterator over its points (x, y, t_ms). It keeps what it needs of its model."""

    _free = "tg_stream_free"

    def __iter__(self):
        return self

    def __next__(self):
        points = self.next(1)
        if not len(points):
            raise StopIteration
        return points[0]

    def next(self, count):
        """The next points, up to count; fewer: the path has ended."""
        points, written = np.empty((count, 3)), ctypes.c_size_t()
        _api.call("tg_stream_next", self._handle, _doubles(points), count, ctypes.byref(written))
        return points[: written.value]

    def aim(self, to):
        """Another end for the rest of the way."""
        _api.call("tg_stream_aim", self._handle, to[0], to[1])

    def at(self, t_ms):
        """(x, y, t_ms) at a time, and whether the path has ended before."""
        point, ended = np.empty(3), ctypes.c_uint32()
        _api.call("tg_stream_at", self._handle, t_ms, _doubles(point), ctypes.byref(ended))
        return point, bool(ended.value)


@contextlib.contextmanager
def _noted(interrupts):
    """Ctrl-C is noted rather than raised, where Python would raise it: inside a callback it would be lost."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Model(_Handle):
    """A new model; options: of tg_model_options."""

    _free = "tg_model_free"

    def __init__(self, preset=Preset.DEFAULT, decoder=Decoder.CLOSED_LOOP, device=Device.AUTO, **options):
        new = _api.made(_api.ModelOptions, "tg_model_options_init", preset, decoder)
        for lists in ("generator_hidden_dims", "critic_hidden_dims"):
            if lists in options:
                dims = tuple(options[lists])
                options[lists] = dims + (0,) * (_api.MAX_LAYERS - len(dims))
        super().__init__("tg_model_new", ctypes.byref(new.change(options)), device)
        self._learn()

    @classmethod
    def load(cls, path, device=Device.AUTO):
        model = cls.__new__(cls)
        _Handle.__init__(model, "tg_model_load", _api.path(path), device)
        model._learn()
        return model

    def _learn(self):
        """What the model is, in options: the sizes of its arrays."""
        self.options = _api.ModelOptions()
        _api.call("tg_model_options_get", self._handle, ctypes.byref(self.options), ctypes.sizeof(self.options))

    def save(self, path):
        _api.call("tg_model_save", self._handle, _api.path(path))

    def info(self):
        return json.loads(_api.text(16384, "tg_model_info", self._handle))

    def train(self, data, stage, on_progress=None, **options):
        """Trains one stage, or goes on with it. on_progress(progress) is called after every iteration; if it returns
        False the training stops, and train() returns False; what it raises comes out of train(), and so does Ctrl-C."""
        train = _api.made(_api.TrainOptions, "tg_train_options_init", stage, self._handle)
        train.change(options)
        raised, interrupts = [], []

        def watch(progress, _):
            # Nothing that is raised may pass through the library.
            try:
                if interrupts:
                    return 1
                if on_progress is None:
                    return 0
                # A copy: the library's own is gone after the call, but who is told may keep it.
                said = on_progress(_api.Progress.from_buffer_copy(progress.contents))
                return int(isinstance(said, (bool, np.bool_)) and not said)
            except BaseException as error:
                raised.append(error)
                return 1

        train.on_progress = _api.ProgressFn(watch)
        try:
            with _noted(interrupts):
                _api.call("tg_train_stage", self._handle, data._handle, stage, ctypes.byref(train))
        except Error as error:
            if raised:
                raise raised[0] from None
            if interrupts:
                raise KeyboardInterrupt from None
            if error.status == Status.CANCELLED:
                return False
            raise
        if interrupts:
            raise KeyboardInterrupt
        return True

    def _conditions(self, conditions, count):
        if conditions is None:
            return None
        return _table("conditions", conditions, count, self.options.condition_dim)

    def generate(self, count, conditions=None, **options):
        """count movements; conditions: None for those of the training data, or (count,C). options: of
        tg_sample_options."""
        sample = _api.made(_api.SampleOptions, "tg_sample_options_init", **options)
        conditions = self._conditions(conditions, count)
        stride = sample.seq_len or self.options.max_seq_len
        points, lengths = np.empty((count, stride, 3)), np.zeros(count, np.uint32)
        _api.call("tg_generate", self._handle, _doubles(conditions), count, ctypes.byref(sample), _doubles(points),
                  stride, _counts(lengths))
        return _rows(points, lengths)

    def generate_features(self, count, conditions=None, **options):
        """The same as the model's own numbers (count,T,F) in [-1,1], and their lengths (count)."""
        sample = _api.made(_api.SampleOptions, "tg_sample_options_init", **options)
        conditions = self._conditions(conditions, count)
        shape = (count, sample.seq_len or self.options.max_seq_len, self.options.feature_dim)
        features, lengths = np.empty(shape, np.float32), np.zeros(count, np.uint32)
        _api.call("tg_generate_features", self._handle, _doubles(conditions), count, ctypes.byref(sample),
                  _floats(features), features.size, _counts(lengths))
        return features, lengths

    def encode(self, movements, threads=1):
        """Summaries (n,S) of movements."""
        movements = [_shaped(f"movement {i}", m, np.float64, None, 3) for i, m in enumerate(movements)]
        lengths = np.array([len(m) for m in movements], np.uint32)
        points = np.zeros((len(movements), max(map(len, movements), default=0), 3))
        for row, movement in zip(points, movements):
            row[: len(movement)] = movement
        summaries = np.empty((len(movements), self.options.summary_dim), np.float32)
        _api.call("tg_encode", self._handle, _doubles(points), points.shape[1], _counts(lengths), len(movements),
                  threads, _floats(summaries), summaries.size)
        return summaries

    def decode(self, summaries, lengths, threads=1):
        """Movements of summaries (n,S), of the given lengths. V6 only."""
        lengths = _shaped("lengths", lengths, np.uint32, None)
        summaries = _shaped("summaries", summaries, np.float32, len(lengths), self.options.summary_dim)
        points = np.empty((len(lengths), self.options.max_seq_len, 3))
        _api.call("tg_decode", self._handle, _floats(summaries), _counts(lengths), len(lengths), threads,
                  _doubles(points), points.shape[1])
        return _rows(points, lengths)

    def interpolate(self, start, end, steps):
        """Summaries (steps,S) on the way from one to another, both included."""
        dim = self.options.summary_dim
        start, end = _shaped("start", start, np.float32, dim), _shaped("end", end, np.float32, dim)
        out = np.empty((steps, dim), np.float32)
        _api.call("tg_interpolate", self._handle, _floats(start), _floats(end), steps, _floats(out), out.size)
        return out

    def path(self, start, end, **options):
        """From (x, y) to (x, y). options: of tg_path_options."""
        return self.paths([[*start, *end]], **options)[0]

    def paths(self, ends, **options):
        """ends (n,4): x, y of start and x, y of end of each."""
        path = _api.made(_api.PathOptions, "tg_path_options_init", **options)
        ends = _table("ends", ends, None, 4)
        lengths, flags = np.zeros(len(ends), np.uint32), np.zeros(len(ends), np.uint32)
        stride = self.options.max_seq_len
        while True:
            points = np.empty((len(ends), stride, 3))
            try:
                _api.call("tg_paths", self._handle, _doubles(ends), len(ends), ctypes.byref(path), _doubles(points),
                          stride, _counts(lengths), _counts(flags))
                break
            except Error as error:
                # Polled: the lengths tell what it takes.
                if error.status != Status.BUFFER or lengths.max(initial=0) <= stride:
                    raise
                stride = int(lengths.max())
        told = [(bool(flag & PathFlag.SCALED), bool(flag & PathFlag.FORCED)) for flag in flags.tolist()]
        return [Path(points, *flags) for points, flags in zip(_rows(points, lengths), told)]

    def stream(self, start, end, **options):
        """The same path point by point."""
        path = _api.made(_api.PathOptions, "tg_path_options_init", **options)
        return Stream("tg_stream_new", self._handle, *start, *end, ctypes.byref(path))

    def evaluate(self, data, html=None, **options):
        """The report, as tg_evaluate() tells; html: also a page, there. options: of tg_evaluate_options."""
        judge = _api.made(_api.EvaluateOptions, "tg_evaluate_options_init", **options)
        page = None if html is None else _api.path(html)
        return json.loads(_api.text(262144, "tg_evaluate", self._handle, data._handle, ctypes.byref(judge), page))
