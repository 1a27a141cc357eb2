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

import asyncio
import atexit
import contextlib
import ctypes
import json
import os
import signal
import threading
import time
from typing import NamedTuple

import numpy as np
import numpy.ma  # now: an import in a child of fork() may wait for a thread that is not there

from . import _api
from ._api import (  # noqa: F401: all of these are for the user
    Condition, Critic, Decoder, Device, Error, Expand, Generator, Optimizer, PathFlag, Pool, Preset, Schedule, Stage, Status,
)

__version__ = _api.lib.tg_version().decode()


def check_device(device):
    """Raises Error if a model cannot be there, and says why."""
    _api.call("tg_device_check", _device(device))


def _device(number):
    return _api.whole("device", number, ctypes.c_int32)


def _stage(number):
    return _api.whole("stage", number, ctypes.c_int32)


def _threads(number):
    return _api.whole("threads", number, ctypes.c_uint32)


def _size(name, number):
    return _api.whole(name, number, ctypes.c_size_t)


def _doubles(array):
    return None if array is None else array.ctypes.data_as(_api.DOUBLES)


def _floats(array):
    return array.ctypes.data_as(_api.FLOATS)


def _counts(array):
    return array.ctypes.data_as(_api.COUNTS)


def _real(name, values):
    """values, where they are numbers that NumPy takes for what they are."""
    if np.ma.is_masked(values) or np.iscomplexobj(values):
        kind = "complex numbers" if np.iscomplexobj(values) else "numbers that are masked"
        raise Error(Status.ARGUMENT, f"{name} has {kind}, expected real ones that all count")
    return values


def _shaped(name, values, dtype, *shape):
    """values as an array of this shape, where None is any extent."""
    array = np.ascontiguousarray(_real(name, values), dtype=dtype)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape)):
        wanted = " x ".join("n" if extent is None else str(extent) for extent in shape)
        raise Error(Status.ARGUMENT, f"{name} is {' x '.join(map(str, array.shape)) or 'a number'}, expected {wanted}")
    return array


def _whole(name, values):
    """values as counts (n), which are not rounded to be such."""
    given = _shaped(name, values, np.float64, None)
    for i in np.flatnonzero((given != np.floor(given)) | (given < 0) | (given >= 2**32) | np.isnan(given)):
        raise Error(Status.ARGUMENT, f"{name}[{i}] is {given[i]:.15g}, expected a whole number below 2^32")
    return given.astype(np.uint32)


def _lengths(lengths, count, like):
    """count lengths, or one for all."""
    lengths = _whole("lengths", np.full(count, lengths) if np.ndim(lengths) == 0 else lengths)
    if len(lengths) != count:
        raise Error(Status.ARGUMENT, f"lengths is {len(lengths)}, expected {count} as {like}, or one for all")
    return lengths


def _table(name, values, count, width):
    """values as (count,width) doubles; in one dimension they are its rows, one after the other."""
    values = np.asarray(_real(name, values), np.float64)
    return _shaped(name, values.reshape(-1, width) if values.ndim == 1 else values, np.float64, count, width)


def _place(name, values):
    """(x, y)"""
    return _shaped(name, values, np.float64, 2)


def _rows(points, lengths):
    return [row[:length].copy() for row, length in zip(points, lengths)]


class _Handle:
    """Something of the library's; freed with its object, or by close() or a with block before."""

    _free = None

    def __init__(self, make, *arguments):
        out = ctypes.c_void_p()
        _api.call(make, *arguments, ctypes.byref(out))
        # Taken again by the same thread: signal handlers and destructors may come at any time.
        self._lock = threading.RLock()
        self._calls, self._open, self._handle = 0, True, out

    def close(self):
        """Later calls are refused. Calls under way go on, but for a training, which stops; the last of them frees."""
        if getattr(self, "_open", False):
            self._open = False
            self._free_if_unused()

    def _free_if_unused(self):
        with self._lock:
            # Out of the object in one go, so that only one frees it.
            handle = None if self._open or self._calls else vars(self).pop("_handle", None)
        if handle:
            getattr(_api.lib, self._free)(handle)

    @contextlib.contextmanager
    def _held(self):
        """What the library calls this; it is not freed before the block ends. None, which it refuses, after close()."""
        with self._lock:
            self._calls += 1
            handle = self._handle if self._open else None
        try:
            yield handle
        finally:
            with self._lock:
                self._calls -= 1
            self._free_if_unused()

    def _call(self, name, *arguments):
        with self._held() as handle:
            _api.call(name, handle, *arguments)

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
        super().__init__("tg_dataset_new", _api.whole("condition_dim", condition_dim, ctypes.c_uint32))

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
        with self._held() as handle:
            if condition is not None:
                dim = _api.lib.tg_dataset_condition_dim(handle)
                condition = _shaped("condition", np.atleast_1d(condition), np.float64, dim)
            _api.call("tg_dataset_push", handle, _doubles(points), len(points), _doubles(condition))

    def __len__(self):
        with self._held() as handle:
            return _api.lib.tg_dataset_len(handle)

    def info(self):
        with self._held() as handle:
            return json.loads(_api.text(4096, "tg_dataset_info", handle))


def _held_data(data):
    """As _held(), for nothing else: the library would take any handle for a data set's."""
    if not isinstance(data, Dataset):
        raise TypeError(f"data is a {type(data).__name__}, expected a Dataset")
    return data._held()


_training = []
_training_lock = threading.Lock()


def _forked():
    """The threads that train are not in a child process, and one may have held the lock."""
    global _training_lock
    _training_lock = threading.Lock()
    _training.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def _trained(model):
    with _training_lock:
        _training.append(model)
    try:
        yield
    finally:
        with _training_lock:
            _training.remove(model)


@atexit.register
def _stop_training():
    """Python ends daemon threads where they ask for its lock: in a callback, through the library, which would end the process."""
    while True:
        with _training_lock:
            models = list(_training)
        if not models:
            return
        for model in models:
            model.close()
        time.sleep(0.001)


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
        points, written = np.empty((_size("count", count), 3)), ctypes.c_size_t()
        self._call("tg_stream_next", _doubles(points), count, ctypes.byref(written))
        return points[: written.value]

    def aim(self, to):
        """Another end for the rest of the way."""
        self._call("tg_stream_aim", *_place("to", to))

    def at(self, t_ms):
        """(x, y, t_ms) at a time, and whether that is behind the last point or next() has said that the path has ended."""
        point, ended = np.empty(3), ctypes.c_uint32()
        self._call("tg_stream_at", t_ms, _doubles(point), ctypes.byref(ended))
        return point, bool(ended.value)


def _cancelled():
    """How often the running asyncio task was told to stop. That is what asyncio's Ctrl-C does, and it raises nothing."""
    try:
        return asyncio.current_task().cancelling()
    except (AttributeError, RuntimeError):
        return 0  # no task, no loop, or a Python whose asyncio does no such thing


@contextlib.contextmanager
def _noted(raised):
    """What handlers of signals raise is noted instead, Ctrl-C as well: inside the library's callback it would be lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers are run by the main thread only
        return
    before, over = {}, False

    def noting(handler):
        def note(*arguments):
            before = _cancelled()
            try:
                said = handler(*arguments)
                if _cancelled() > before:
                    raise asyncio.CancelledError
                return said
            except BaseException as error:
                if over:
                    raise
                raised.append(error)

        note.raising = handler
        return note

    try:
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if callable(handler):
                # Of a training within another's callback it is the inner one's.
                before[number] = handler, noting(getattr(handler, "raising", handler))
                signal.signal(number, before[number][1])
        yield
    finally:
        over = True
        for number, (handler, ours) in before.items():
            # What the callback has set stays.
            if signal.getsignal(number) is ours:
                signal.signal(number, handler)


class Model(_Handle):
    """A new model; options: of tg_model_options."""

    _free = "tg_model_free"

    def __init__(self, preset=Preset.DEFAULT, decoder=Decoder.CLOSED_LOOP, device=Device.AUTO, **options):
        kind = [_api.whole(*of, ctypes.c_int32) for of in (("preset", preset), ("decoder", decoder))]
        new = _api.made(_api.ModelOptions, "tg_model_options_init", *kind, **options)
        super().__init__("tg_model_new", ctypes.byref(new), _device(device))
        self._learn()

    @classmethod
    def load(cls, path, device=Device.AUTO):
        model = cls.__new__(cls)
        _Handle.__init__(model, "tg_model_load", _api.path(path), _device(device))
        model._learn()
        return model

    def _learn(self):
        """What the model is. The library is told of arrays as large as this says: nobody else may change it."""
        self._is = _api.ModelOptions()
        self._call("tg_model_options_get", ctypes.byref(self._is), ctypes.sizeof(self._is))

    @property
    def options(self):
        """What the model is: its sizes. Each time a copy."""
        return _api.ModelOptions.from_buffer_copy(self._is)

    def save(self, path):
        self._call("tg_model_save", _api.path(path))

    def info(self):
        with self._held() as handle:
            return json.loads(_api.text(16384, "tg_model_info", handle))

    def train(self, data, stage, on_progress=None, **options):
        """Trains one stage, or goes on with it. on_progress(progress) is called after every iteration; if it returns
        False the training stops, and train() returns False; so it does if the model is closed meanwhile. What
        on_progress raises, or the handler of a signal, comes out of train(), Ctrl-C as well. In a coroutine it holds up the
        loop, whose own signal handlers wait, but for Ctrl-C; in a thread (asyncio.to_thread) stop it by on_progress or
        close()."""
        raised, stopped = [], False

        def watch(progress, _):
            # Nothing that is raised may pass through the library.
            try:
                said = None
                if on_progress is not None and self._open and not raised:
                    # A copy: the library's own is gone after the call, but who is told may keep it.
                    said = on_progress(_api.Progress.from_buffer_copy(progress.contents))
                refused = isinstance(said, (bool, np.bool_)) and not said
                return int(refused or not self._open or bool(raised))
            except BaseException as error:
                raised.append(error)
                return 1

        stage = _stage(stage)
        with _trained(self), self._held() as model, _held_data(data) as held:
            train = _api.made(_api.TrainOptions, "tg_train_options_init", stage, model)
            train.change(options)
            train.on_progress = _api.ProgressFn(watch)
            try:
                with _noted(raised):
                    _api.call("tg_train_stage", model, held, stage, ctypes.byref(train))
            except Error as error:
                stopped = error.status == Status.CANCELLED
                if not stopped and not raised:
                    raise
        if raised:
            raise raised.pop(0)  # what it has passed through does not keep it
        return not stopped

    def _conditions(self, conditions, count):
        if conditions is None:
            return None
        return _table("conditions", conditions, count, self._is.condition_dim)

    def _steps(self, sample):
        """Room for each movement: longer ones are refused by the library."""
        return min(sample.seq_len or self._is.max_seq_len, self._is.max_seq_len)

    def generate(self, count, conditions=None, **options):
        """count movements; conditions: None for those of the training data, or (count,C). options: of
        tg_sample_options."""
        sample = _api.made(_api.SampleOptions, "tg_sample_options_init", **options)
        count, conditions = _size("count", count), self._conditions(conditions, count)
        stride = self._steps(sample)
        points, lengths = np.empty((count, stride, 3)), np.zeros(count, np.uint32)
        self._call("tg_generate", _doubles(conditions), count, ctypes.byref(sample), _doubles(points), stride,
                   _counts(lengths))
        return _rows(points, lengths)

    def generate_features(self, count, conditions=None, **options):
        """The same as the model's own numbers (count,T,F) in [-1,1], and their lengths (count)."""
        sample = _api.made(_api.SampleOptions, "tg_sample_options_init", **options)
        count, conditions = _size("count", count), self._conditions(conditions, count)
        shape = (count, self._steps(sample), self._is.feature_dim)
        features, lengths = np.empty(shape, np.float32), np.zeros(count, np.uint32)
        self._call("tg_generate_features", _doubles(conditions), count, ctypes.byref(sample), _floats(features),
                   features.size, _counts(lengths))
        return features, lengths

    def encode(self, movements, threads=1):
        """Summaries (n,S) of movements."""
        movements = [_shaped(f"movement {i}", m, np.float64, None, 3) for i, m in enumerate(movements)]
        lengths = np.array([len(m) for m in movements], np.uint32)
        points = np.zeros((len(movements), max(map(len, movements), default=0), 3))
        for row, movement in zip(points, movements):
            row[: len(movement)] = movement
        summaries = np.empty((len(movements), self._is.summary_dim), np.float32)
        self._call("tg_encode", _doubles(points), points.shape[1], _counts(lengths), len(movements), _threads(threads),
                   _floats(summaries), summaries.size)
        return summaries

    def decode(self, summaries, lengths, threads=1):
        """Movements of summaries (n,S), of n lengths or one for all. V6 only."""
        summaries, lengths = self._to_decode(summaries, lengths)
        points = np.empty((len(lengths), self._is.max_seq_len, 3))
        self._call("tg_decode", _floats(summaries), _counts(lengths), len(lengths), _threads(threads), _doubles(points),
                   points.shape[1])
        return _rows(points, lengths)

    def encode_features(self, features, lengths, threads=1):
        """Summaries (n,S) of movements as the model's own numbers (n,T,F) in [-1,1], of n lengths or one for all. V6
        only."""
        features = _shaped("features", features, np.float32, None, None, self._is.feature_dim)
        lengths = _lengths(lengths, len(features), "features")
        summaries = np.empty((len(features), self._is.summary_dim), np.float32)
        self._call("tg_encode_features", _floats(features), features.shape[1], _counts(lengths), len(lengths),
                   _threads(threads), _floats(summaries), summaries.size)
        return summaries

    def decode_features(self, summaries, lengths, threads=1):
        """The same movements as decode's, as the model's own numbers (n,T,F) in [-1,1]. V6 only."""
        summaries, lengths = self._to_decode(summaries, lengths)
        features = np.empty((len(lengths), self._is.max_seq_len, self._is.feature_dim), np.float32)
        self._call("tg_decode_features", _floats(summaries), _counts(lengths), len(lengths), _threads(threads),
                   _floats(features), features.shape[1])
        return features

    def _to_decode(self, summaries, lengths):
        summaries = _shaped("summaries", summaries, np.float32, None, self._is.summary_dim)
        return summaries, _lengths(lengths, len(summaries), "summaries")

    def interpolate(self, start, end, steps):
        """Summaries (steps,S) on the way from one to another, both included."""
        dim, steps = self._is.summary_dim, _size("steps", steps)
        start, end = _shaped("start", start, np.float32, dim), _shaped("end", end, np.float32, dim)
        out = np.empty((steps, dim), np.float32)
        self._call("tg_interpolate", _floats(start), _floats(end), steps, _floats(out), out.size)
        return out

    def path(self, start, end, **options):
        """From (x, y) to (x, y). options: of tg_path_options."""
        return self.paths([[*_place("start", start), *_place("end", end)]], **options)[0]

    def paths(self, ends, **options):
        """ends (n,4): x, y of start and x, y of end of each."""
        path = _api.made(_api.PathOptions, "tg_path_options_init", **options)
        ends = _table("ends", ends, None, 4)
        lengths, flags = np.zeros(len(ends), np.uint32), np.zeros(len(ends), np.uint32)
        stride = self._is.max_seq_len
        while True:
            points = np.empty((len(ends), stride, 3))
            try:
                self._call("tg_paths", _doubles(ends), len(ends), ctypes.byref(path), _doubles(points), stride,
                           _counts(lengths), _counts(flags))
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
        with self._held() as handle:
            return Stream("tg_stream_new", handle, *_place("start", start), *_place("end", end), ctypes.byref(path))

    def evaluate(self, data, html=None, **options):
        """The report, as tg_evaluate() tells; html: also a page, there. options: of tg_evaluate_options."""
        judge = _api.made(_api.EvaluateOptions, "tg_evaluate_options_init", **options)
        page = None if html is None else _api.path(html)
        with self._held() as model, _held_data(data) as held:
            return json.loads(_api.text(262144, "tg_evaluate", model, held, ctypes.byref(judge), page))
