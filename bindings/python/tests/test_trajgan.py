"""Against the real library: TRAJGAN_LIBRARY=.../libtrajgan.so python3 -m unittest discover bindings/python/tests"""

import asyncio
import copy
import ctypes
import gc
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import weakref

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "bindings/python"))

import trajgan  # noqa: E402
from trajgan import Decoder, Error, Stage, Status, _api  # noqa: E402

STEPS, SUMMARY = 24, 8
TINY = dict(max_seq_len=STEPS, latent_dim=8, summary_dim=SUMMARY, noise_dim=8, encoder_hidden_dim=8, decoder_hidden_dim=8,
            expander_hidden_dim=8, generator_hidden_dims=[8], critic_hidden_dims=[8], seed=1)


def arc(i):
    n = 12 + i % 12
    s = np.linspace(0, 1, n)
    ease, far = s * s * (3 - 2 * s), 100 + 10 * (i % 17)
    t = 8.0 * np.arange(n) + np.arange(n) * i % 3
    return np.stack([50 + far * ease * np.cos(0.3 * i), 80 + far * ease * np.sin(0.3 * i), 1000 + t], axis=1)


def arcs():
    data = trajgan.Dataset()
    for i in range(60):
        data.push(arc(i))
    return data


def trained(decoder):
    model = trajgan.Model(decoder=decoder, device=trajgan.Device.CPU, **TINY)
    with arcs() as data:
        for stage in Stage:
            assert model.train(data, stage, iterations=2, batch_size=8, n_critic=1)
    return model


class Header(unittest.TestCase):
    """The structs, numbers and functions of trajgan.h are those of _api.py."""

    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", (ROOT / "include/trajgan.h").read_text(), flags=re.S)

    def test_structs(self):
        kinds = {"uint32_t": ctypes.c_uint32, "int32_t": ctypes.c_int32, "uint64_t": ctypes.c_uint64,
                 "double": ctypes.c_double, "const char *": ctypes.c_char_p, "void *": ctypes.c_void_p,
                 "tg_progress_fn": _api.ProgressFn}
        known = {"tg_progress": _api.Progress}
        for kind in _api.Options.__subclasses__():
            known["tg" + re.sub("([A-Z])", lambda m: "_" + m[1].lower(), kind.__name__)] = kind
        found = dict((name, body) for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", self.text, re.S))
        del found["tg_point"]
        self.assertEqual(found.keys(), known.keys())
        for name, body in found.items():
            fields = []
            for kind, field, count in re.findall(r"^\s*([\w ]+?[ *]+?)(\w+)(?:\[(\w+)\])?;", body, re.M):
                kind = kinds[kind.strip()]
                count = {"": 0, "TG_MAX_LAYERS": _api.MAX_LAYERS}.get(count) or int(count or 0)
                fields.append((field, kind * count if count else kind))
            self.assertEqual(fields, known[name]._fields_, name)

    def test_numbers(self):
        kinds = {"ERR": Status, "DEVICE": trajgan.Device, "STAGE": Stage, "PRESET": trajgan.Preset, "DECODER": Decoder,
                 "CONDITION": trajgan.Condition, "POOL": trajgan.Pool, "EXPAND": trajgan.Expand,
                 "GENERATOR": trajgan.Generator, "CRITIC": trajgan.Critic, "OPTIMIZER": trajgan.Optimizer,
                 "SCHEDULE": trajgan.Schedule, "PATH": trajgan.PathFlag}
        found = re.findall(r"TG_(\w+) = (-?\d+)", self.text)
        for name, number in found:
            kind, _, member = name.partition("_")
            if name != "OK":
                self.assertEqual(kinds[kind][member], int(number), name)
        self.assertEqual(len(found), sum(map(len, kinds.values())))

    def test_functions(self):
        code = re.sub(r"typedef.*?;", "", self.text)
        found = re.findall(r"TG_API\s+[\w ]+?[ *](tg_\w+)\((.*?)\);", code, re.S)
        known = {**_api.SIGNATURES, **{name: arguments for name, (_, arguments) in _api.OTHERS.items()}}
        counts = {name: 0 if text == "void" else text.count(",") + 1 for name, text in found}
        self.assertEqual(counts, {name: len(arguments) for name, arguments in known.items()})


class Everything(unittest.TestCase):
    def check_refused(self, status, words, function, *arguments, **options):
        with self.assertRaises(Error) as caught:
            function(*arguments, **options)
        self.assertEqual(caught.exception.status, status)
        self.assertIn(words, str(caught.exception))

    def test_devices(self):
        trajgan.check_device(trajgan.Device.CPU)
        self.check_refused(Status.ARGUMENT, "-7", trajgan.check_device, -7)

    def test_data(self):
        data = arcs()
        self.assertEqual((len(data), data.info()["movements"]), (60, 60))
        self.check_refused(Status.ARGUMENT, "expected n x 3", data.push, np.zeros((5, 2)))
        self.check_refused(Status.ARGUMENT, "condition", data.push, arc(1), [1, 2])
        own = trajgan.Dataset(2)
        own.push(arc(1).tolist(), [120, 7])
        self.assertEqual(len(own), 1)
        self.check_refused(Status.IO, "nowhere", trajgan.Dataset.open, "nowhere")
        with self.assertRaises(TypeError):
            trajgan.Dataset.open("nowhere", pause=3)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "größe.json"
            path.write_text('{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}')
            self.assertEqual(len(trajgan.Dataset.open(path, csv_seconds=1)), 1)
        with self.assertRaises(TypeError):
            copy.copy(data)
        with self.assertRaises(TypeError):
            pickle.dumps(data)
        data.close()
        self.check_refused(Status.ARGUMENT, "data is NULL", data.info)

    def test_training(self):
        data, model = arcs(), trajgan.Model(device=trajgan.Device.CPU, **TINY)
        self.check_refused(Status.STATE, "", model.train, data, Stage.GAN)
        self.assertFalse(model.train(data, 1, lambda p: p.iteration < 2, iterations=4, batch_size=8))
        with self.assertRaises(ZeroDivisionError):
            model.train(data, 1, lambda p: 1 / 0, iterations=4, batch_size=8)
        seen = []
        self.assertTrue(model.train(data, 1, lambda p: seen.append(p.iteration), iterations=4, batch_size=8))
        self.assertEqual(seen, [4])
        # Reports may be kept.
        kept = []
        self.assertTrue(model.train(data, 1, kept.append, iterations=6, batch_size=8, augment_turn=0.5))
        self.assertEqual([(p.iteration, p.iterations) for p in kept], [(5, 6), (6, 6)])
        self.check_refused(Status.ARGUMENT, "is -1", model.train, data, 1, learning_rate=-1)
        for call in (model.evaluate, lambda other: model.train(other, 1)):
            with self.assertRaisesRegex(TypeError, "data is a Model, expected a Dataset"):
                call(model)
        with self.assertRaisesRegex(ValueError, "batch_size"):
            model.train(data, 1, batch_size=2**32 + 8)
        self.assertFalse(model.train(data, 1, lambda p: np.False_, iterations=9, batch_size=8))
        # Where tests run in the background, Ctrl-C may be switched off.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        for watch in (None, lambda p: None):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            with self.assertRaises(KeyboardInterrupt):
                model.train(data, 1, watch, iterations=20_000, batch_size=8)
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder + "/m.safetensors")
            again = trajgan.Model.load(folder + "/m.safetensors")
            self.assertEqual(again.info()["stage1"], model.info()["stage1"])
            self.assertEqual((again.options.summary_dim, again.options.generator_hidden_dims[:2]), (SUMMARY, [8, 0]))
            # Sizes are the model's, whatever becomes of a copy.
            copied = again.options
            copied.summary_dim, copied.generator_hidden_dims[0] = 1, 1
            self.assertEqual((again.options.summary_dim, again.options.generator_hidden_dims[0]), (SUMMARY, 8))
            self.assertEqual(again.encode([arc(1)]).shape, (1, SUMMARY))
            with self.assertRaises(AttributeError):
                again.options = copied

    def test_signals_in_training(self):
        data, model = arcs(), trajgan.Model(device=trajgan.Device.CPU, **TINY)
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
        for number in numbers:
            self.addCleanup(signal.signal, number, signal.getsignal(number))

        def late(*_):
            raise TimeoutError("late")

        def inner(progress):
            # Of a training in a training the inner one stops, and the outer one with it.
            return trajgan.Model(device=trajgan.Device.CPU, **TINY).train(data, 1, iterations=20_000, batch_size=8)

        handlers = {signal.SIGALRM: late, signal.SIGTERM: lambda *_: sys.exit(143), signal.SIGINT: late}
        expected = {signal.SIGALRM: TimeoutError, signal.SIGTERM: SystemExit, signal.SIGINT: TimeoutError}
        for number in numbers:
            signal.signal(number, handlers[number])
            for watch in (None, lambda p: None, inner):
                timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
                timer.start()
                begun = time.monotonic()
                with self.assertRaises(expected[number]):
                    model.train(data, 1, watch, iterations=20_000, batch_size=8)
                self.assertLess(time.monotonic() - begun, 2)
            self.assertIs(signal.getsignal(number), handlers[number])
        done = model.info()["stage1"]["iterations"]
        # One that raises nothing stops nothing, and what the callback sets stays.
        seen = []
        signal.signal(signal.SIGTERM, lambda *_: seen.append(1))

        def watch(progress):
            signal.raise_signal(signal.SIGTERM)
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        self.assertTrue(model.train(data, 1, watch, iterations=done + 2, batch_size=8))
        self.assertEqual((seen, signal.getsignal(signal.SIGINT)), ([1, 1], signal.SIG_IGN))

    @unittest.skipIf(sys.version_info < (3, 11), "Ctrl-C is not asyncio's")
    def test_ctrl_c_in_a_coroutine(self):
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        data, model, caught = arcs(), trajgan.Model(device=trajgan.Device.CPU, **TINY), []

        async def main():
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                model.train(data, 1, iterations=200_000, batch_size=8)
            except asyncio.CancelledError:
                caught.append(time.monotonic())
                # Told once: it is not told again.
                self.assertTrue(model.train(data, 1, iterations=model.info()["stage1"]["iterations"] + 2, batch_size=8))
                raise

        begun = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            asyncio.run(main())
        self.assertLess(caught[0] - begun, 2)

    def test_numbers_that_do_not_fit(self):
        data, model = arcs(), trained(Decoder.V6)
        movements, z = [arc(1)], np.zeros((1, SUMMARY), np.float32)
        cases = {
            "device": [trajgan.check_device, lambda n: trajgan.Model.load("nowhere", n), lambda n: trajgan.Model(device=n)],
            "preset": [lambda n: trajgan.Model(preset=n)],
            "decoder": [lambda n: trajgan.Model(decoder=n)],
            "stage": [lambda n: model.train(data, n)],
            "condition_dim": [trajgan.Dataset, lambda n: trajgan.Model(condition_dim=n)],
            "threads": [lambda n: model.encode(movements, n), lambda n: model.decode(z, [5], n),
                        lambda n: model.generate(1, threads=n), lambda n: model.evaluate(data, threads=n)],
            "count": [model.generate, model.generate_features, model.stream((0, 0), (90, 0)).next],
            "steps": [lambda n: model.interpolate(z[0], z[0], n)],
            "seed": [lambda n: model.path((0, 0), (90, 0), seed=n), lambda n: trajgan.Model(seed=n)],
            r"generator_hidden_dims\[1\]": [lambda n: trajgan.Model(generator_hidden_dims=[8, n])],
        }
        for name, calls in cases.items():
            for call in calls:
                for number in (-(2**40) - 5, 2**64 + 1):
                    with self.assertRaisesRegex(ValueError, rf"^{name} is {number}, expected -?\d+ to \d+$"):
                        call(number)
                with self.assertRaisesRegex(TypeError, rf"^{name} is 1.5, expected a whole number"):
                    call(1.5)
        with self.assertRaisesRegex(ValueError, "expected -2147483648 to 2147483647"):
            trajgan.check_device(2**40)
        with self.assertRaisesRegex(ValueError, "expected 0 to 4294967295"):
            model.encode(movements, -5)
        with self.assertRaisesRegex(ValueError, "critic_hidden_dims has 17 numbers, expected up to 16"):
            trajgan.Model(critic_hidden_dims=[8] * 17)
        with self.assertRaisesRegex(ValueError, r"critic_hidden_dims\[1\] is 0, which would end the list"):
            trajgan.Model(critic_hidden_dims=[8, 0, 8])
        again = trajgan.Model(critic_hidden_dims=trajgan.Model(critic_hidden_dims=[8, 6]).options.critic_hidden_dims)
        self.assertEqual(again.options.critic_hidden_dims[:3], [8, 6, 0])
        self.assertEqual(len(model.generate(np.int64(2), seed=np.uint64(2**64 - 1), threads=np.int8(1))), 2)

    def test_what_is_raised_keeps_nothing(self):
        data = arcs()

        def wrong(progress):
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise KeyError("why") from error

        gc.disable()
        self.addCleanup(gc.enable)
        model = trajgan.Model(device=trajgan.Device.CPU, **TINY)
        try:
            model.train(data, 1, wrong, iterations=4, batch_size=8)
        except KeyError as error:
            self.assertIsInstance(error.__cause__, ZeroDivisionError)
        kept = weakref.ref(model)
        del model
        self.assertIsNone(kept())

    def test_errors_travel(self):
        with self.assertRaises(Error) as caught:
            trajgan.Model.load("nowhere")
        for again in (pickle.loads(pickle.dumps(caught.exception)), copy.copy(caught.exception)):
            self.assertEqual((type(again), again.status, str(again)), (Error, Status.IO, str(caught.exception)))

    def train_in_a_program(self, then):
        """What a program says of errors that trains in a thread of its own and then does something."""
        program = (
            "import threading, test_trajgan as t\n"
            "data, model = t.arcs(), t.trajgan.Model(device=t.trajgan.Device.CPU, **t.TINY)\n"
            "begun = threading.Event()\n"
            "train = lambda: model.train(data, 1, lambda _: begun.set(), iterations=10**7, patience=10**9, batch_size=8)\n"
            "threading.Thread(target=train, daemon=True).start()\n"
            "assert begun.wait(60)\n"
        )
        folder = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run([sys.executable, "-c", program + then], cwd=folder, capture_output=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_the_end_of_the_program_ends_training(self):
        self.train_in_a_program("")

    @unittest.skipUnless(hasattr(os, "fork"), "no fork here")
    def test_a_child_process_ends_though_its_parent_trains(self):
        self.train_in_a_program(
            "import os, signal, sys, warnings\n"
            "warnings.simplefilter('ignore')\n"  # of threads and fork
            "child = os.fork()\n"
            "if child == 0:\n"
            "    signal.alarm(30)\n"
            "    sys.exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
        )

    def test_numbers_that_would_lose_something(self):
        data = trajgan.Dataset()
        points = np.array([[0, 0, 0], [5, 1, 8], [9, 1, 16.0]])
        self.check_refused(Status.ARGUMENT, "points has complex numbers", data.push, points + 1j)
        hidden = np.ma.array(points, mask=points == 5)
        self.check_refused(Status.ARGUMENT, "points has numbers that are masked", data.push, hidden)
        data.push(np.ma.array(points))
        targets = np.array([100, 900.0])
        for numbers, kind in [(targets + 3j, "complex numbers"), (np.ma.array(targets, mask=[0, 1]), "numbers that are masked")]:
            self.check_refused(Status.ARGUMENT, f"conditions has {kind}", trained(trajgan.Decoder.V6).generate, 2, numbers)

    def test_closed_in_use(self):
        data, model = arcs(), trajgan.Model(device=trajgan.Device.CPU, **TINY)
        seen = []

        def watch(progress):
            seen.append(progress.iteration)
            if progress.iteration == 2:
                model.close()
                data.close()
                model.close()

        self.assertFalse(model.train(data, 1, watch, iterations=9, batch_size=8))
        self.assertEqual((seen, len(data)), ([1, 2], 0))
        self.check_refused(Status.ARGUMENT, "model is NULL", model.info)
        # From another thread: what is under way ends by itself, and only then it is freed.
        data, model, out = arcs(), trajgan.Model(device=trajgan.Device.CPU, **TINY), []
        inside, closed = threading.Event(), threading.Event()

        def wait(progress):
            inside.set()
            closed.wait()

        thread = threading.Thread(target=lambda: out.append(model.train(data, 1, wait, iterations=9, batch_size=8)))
        thread.start()
        inside.wait()
        with model, data:
            pass
        self.check_refused(Status.ARGUMENT, "model is NULL", model.generate, 1)
        self.assertTrue(model._handle and data._handle)
        closed.set()
        thread.join()
        self.assertEqual(out, [False])
        self.assertFalse(hasattr(model, "_handle") or hasattr(data, "_handle"))

    def test_sampling(self):
        for decoder in Decoder:
            model = trained(decoder)
            made = model.generate(5, [100, 110, 120, 130, 140], seed=3)
            self.assertTrue(all(m.shape[1] == 3 and 2 <= len(m) <= STEPS and (m[0] == 0).all() for m in made))
            self.assertEqual((len(model.generate(2)), model.generate(0)), (2, []))
            np.testing.assert_array_equal(model.generate(1, [140], seed=3, first=4)[0], made[4])
            features, lengths = model.generate_features(5, [100, 110, 120, 130, 140], seed=3)
            self.assertEqual(features.shape, (5, STEPS, 8))
            self.assertEqual(lengths.tolist(), [len(m) for m in made])
            self.check_refused(Status.ARGUMENT, "conditions is 1 x 1", model.generate, 5, [100])
            # Longer than any model makes: nothing of the kind is allocated.
            for steps in (STEPS + 1, 2**40, 2**62):
                for call in (model.generate, model.generate_features):
                    self.check_refused(Status.ARGUMENT, f"seq_len is {steps}", call, 5, seq_len=steps)
            z = model.encode(made)
            self.assertEqual(z.shape, (5, SUMMARY))
            way = model.interpolate(z[0], z[1], 4)
            np.testing.assert_array_equal(way[[0, 3]], z[:2])
            if decoder == Decoder.V6:
                self.assertEqual([len(m) for m in model.decode(z[:2], [5, 9])], [5, 9])
                self.assertEqual([len(m) for m in model.decode(z[:3], 7)], [7, 7, 7])
                self.check_refused(Status.ARGUMENT, "lengths[0] is 5.5", model.decode, z[:2], 5.5)
                np.testing.assert_array_equal(model.encode_features(features, lengths)[3:], model.encode_features(
                    features[3:], lengths[3:]))
                decoded = model.decode_features(z[:2], [5, 9])
                self.assertEqual((decoded.shape, decoded[0, 5:].any()), ((2, STEPS, 8), False))
                # dx in another unit; the first point is 0 by rule.
                x, dx = model.decode(z[1:2], 9)[0][1:, 0], decoded[1, 1:9, 0]
                self.assertGreater(np.corrcoef(x, dx)[0, 1], 0.9999)
                self.check_refused(Status.ARGUMENT, "lengths is 1, expected 5 as features", model.encode_features, features, [5])
                self.check_refused(Status.ARGUMENT, "features is 5 x 24 x 7", model.encode_features, features[:, :, 1:], lengths)
                for wrong in (5.9, -1, 2**32 + 5, np.nan):
                    self.check_refused(Status.ARGUMENT, "lengths[1] is ", model.decode, z[:2], [9, wrong])
            else:
                self.check_refused(Status.STATE, "", model.decode, z[:2], [5, 9])
                self.check_refused(Status.STATE, "", model.decode_features, z[:2], [5, 9])
                self.check_refused(Status.STATE, "", model.encode_features, features, lengths)
            self.check_refused(Status.ARGUMENT, "lengths is 1, expected 2 as summaries", model.decode, z[:2], [5])
            self.check_refused(Status.ARGUMENT, "summaries is 2 x 7", model.decode, z[:2, 1:], [5, 5])
            self.check_refused(Status.ARGUMENT, "", model.evaluate, arcs())  # too few to test with

    def test_paths_and_streams(self):
        for decoder in Decoder:
            model = trained(decoder)
            path = model.path((10.5, 20), (200, -30.25), seed=5, integer_pixels=0)
            self.assertEqual((path.points[0].tolist(), path.points[-1, :2].tolist()), ([10.5, 20, 0], [200, -30.25]))
            self.assertTrue(model.path((0, 0), (3000, 0)).scaled and not path.scaled and not path.forced)
            self.assertEqual(model.paths([]), [])
            stream = model.stream((10.5, 20), (200, -30.25), seed=5, integer_pixels=0)
            np.testing.assert_array_equal(np.array(list(stream)), path.points)
            self.check_refused(Status.STATE, "ended", stream.aim, (0, 0))
            self.assertTrue(stream.at(0)[1])  # next() has said so
            with model.stream((10, 20), (200, -30)) as stream:
                self.assertEqual(stream.next(3).shape, (3, 3))
                stream.aim((90, 40))
                point, ended = stream.at(1e7)
                self.assertEqual((point[:2].tolist(), ended), ([90, 40], True))
            for call in (model.path, model.stream):
                self.check_refused(Status.ARGUMENT, "start is 3, expected 2", call, (0, 0, 90), (1,))
                self.check_refused(Status.ARGUMENT, "end is 1, expected 2", call, (0, 0), (90,))
            self.check_refused(Status.ARGUMENT, "to is 3, expected 2", model.stream((0, 0), (90, 1)).aim, (1, 2, 3))
            polled = model.path((0, 0), (150, 60), polling_hz=1000, min_duration_ms=900)
            self.assertGreaterEqual(len(polled.points), 900)

    def test_threads_share_a_model(self):
        model, out = trained(Decoder.CLOSED_LOOP), [None] * 4
        ends = [[0, 0, 100 + i, 50] for i in range(20)]

        def draw(k):
            out[k] = model.paths(ends, seed=9)

        threads = [threading.Thread(target=draw, args=(k,)) for k in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        for other in out[1:]:
            for a, b in zip(out[0], other):
                np.testing.assert_array_equal(a.points, b.points)


if __name__ == "__main__":
    unittest.main()
