"""Searches of a few small trials: journal and database, one objective and two, alone and shared, going on."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import sys
import tempfile
import types
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import optuna  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

import trajgan  # noqa: E402
from tests.test_trajgan import arc  # noqa: E402
from trajgan import tune  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Tune(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        with open(self.folder / "data.jsonl", "w") as out:
            for i in range(120):
                x, y, t = arc(i).round().T.tolist()
                out.write(json.dumps({"x": x, "y": y, "t": t}) + "\n")

    def tune(self, storage, *arguments):
        """What it prints."""
        common = ["--storage", storage, "--preset", "fast", "--iterations", "4", "--out", str(self.folder / "models")]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            tune.main([str(self.folder / "data.jsonl"), *common, *arguments])
        return out.getvalue()

    def trials(self, storage, name):
        trials = optuna.load_study(study_name=name, storage=tune.storage(storage)).get_trials()
        return [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]

    def test_stage_1_in_a_journal_on_two_workers(self):
        journal = str(self.folder / "tune.journal")
        told = self.tune(journal, "--stage", "1", "--trials", "3", "--workers", "2")
        trials = self.trials(journal, "trajgan_stage1_closed-loop")
        self.assertGreaterEqual(len(trials), 3)
        self.assertIn("complete", told)
        # The first is the preset; what the decoder does not look at is not searched.
        first = trials[0]
        preset = dict(latent_dim=48, summary_dim=32, pool_type="hybrid", lr=4e-3, lr_schedule="onecycle")
        self.assertEqual(first.params, preset)
        self.assertEqual(sorted(first.intermediate_values), [1, 2, 3, 4])
        self.assertEqual(first.value, first.intermediate_values[4])
        model = trajgan.Model.load(self.folder / "models/trajgan_stage1_closed-loop/stage1_trial_0.safetensors")
        self.assertEqual((model.options.latent_dim, model.info()["stage1"]["iterations"]), (48, 4))
        # It goes on where it is, and is done.
        before = len(trials)
        self.tune(journal, "--stage", "1", "--trials", str(before))
        self.assertEqual(len(self.trials(journal, "trajgan_stage1_closed-loop")), before)
        self.assertIn(f"{before} trials", self.tune(journal, "--stage", "1", "--analyze"))
        # Only told, not begun.
        with self.assertRaisesRegex(SystemExit, "has no study trajgan_stage1_v6: name it"):
            self.tune(journal, "--stage", "1", "--decoder", "v6", "--analyze")
        names = optuna.get_all_study_names(tune.storage(journal))
        self.assertEqual(names, ["trajgan_stage1_closed-loop"])

    def test_no_weight_that_is_searched_is_in_an_objective(self):
        seen, train = [], trajgan.Model.train

        def told(model, data, stage, watch=None, **options):
            def both(progress):
                if progress.validated:
                    seen.append((progress.validation_loss, *progress.validation_parts))
                return watch(progress)

            return train(model, data, stage, both if stage == trajgan.Stage.AUTOENCODER else watch, **options)

        journal = str(self.folder / "tune.journal")
        for decoder in ("v6", "closed-loop"):
            for pareto in ([], ["--pareto"]):
                seen.clear()
                with unittest.mock.patch.object(trajgan.Model, "train", told):
                    self.tune(journal, "--stage", "1", "--decoder", decoder, "--trials", "1", *pareto)
                [trial] = self.trials(journal, f"trajgan_stage1_{decoder}{'_pareto' if pareto else ''}")
                loss, *parts = seen[-1]
                two = parts[1:] if decoder == "v6" else parts[:2]
                self.assertEqual(trial.values, two if pareto else [sum(parts)])
                self.assertEqual(len(trial.intermediate_values), 0 if pareto else 4)
                # The preset weighs v6's parts, so that the plain sum is another number.
                self.assertEqual(abs(loss - sum(parts)) < 1e-9 * loss, decoder == "closed-loop")

    def test_two_objectives_of_both_stages_in_a_database(self):
        database = f"sqlite:///{self.folder}/tune.db"
        self.tune(database, "--stage", "1", "--pareto", "--decoder", "v6", "--trials", "1")
        [trial] = self.trials(database, "trajgan_stage1_v6_pareto")
        self.assertEqual((len(trial.values), trial.intermediate_values), (2, {}))
        model = str(self.folder / "models/trajgan_stage1_v6_pareto/stage1_trial_0.safetensors")
        told = self.tune(database, "--stage", "2", "--pareto", "--model", model, "--trials", "2")
        trials = self.trials(database, "trajgan_stage2_v6_pareto")
        self.assertEqual([len(trial.values) for trial in trials], [2, 2])
        self.assertTrue(all(0 <= trial.values[1] <= 0.5 for trial in trials))
        self.assertIn("lr_G", told)
        # Sizes are searched where they are not those of a model.
        self.tune(database, "--stage", "2", "--trials", "1")
        [trial] = self.trials(database, "trajgan_stage2_closed-loop")
        self.assertEqual(trial.params["generator_hidden_dims"], "128,128")
        self.assertEqual(trial.intermediate_values, {})

    def test_both_stages_with_plots_and_a_log(self):
        journal, plots, log = (str(self.folder / name) for name in ("both.journal", "plots", "tune.log"))
        optuna.logging.set_verbosity(optuna.logging.INFO)
        self.addCleanup(optuna.logging.set_verbosity, optuna.logging.ERROR)
        drawn = ["--plots", plots] if importlib.util.find_spec("plotly") else []
        told = self.tune(journal, "--stage", "both", "--decoder", "v6", "--trials", "4", "--log", log, *drawn)
        [first, *_] = self.trials(journal, "trajgan_stage1_v6")
        self.assertEqual((first.params["expand_type"], first.params["lambda_recon"]), ("lstm", 1.0))
        [first, *_] = self.trials(journal, "trajgan_stage2_v6")
        self.assertEqual((first.params["lr_G"], first.params["use_feature_matching"]), (1e-4, True))
        self.assertNotIn("noise_dim", first.params)
        self.assertIn("trajgan_stage2_v6", told)
        self.assertIn("finished with value", (self.folder / "tune.log").read_text())
        for stage in (1, 2) if drawn else ():
            for name in ("optimization_history", "param_importances"):
                page = self.folder / "plots" / f"trajgan_stage{stage}_v6_{name}.html"
                self.assertIn("plotly", page.read_text(), page)

    def test_studies_do_not_share_models(self):
        """Another decoder in the same storage is another study, and each study has a folder."""
        journal = str(self.folder / "tune.journal")
        files = []
        for arguments in ([], ["--decoder", "v6"], ["--study", "my/own"]):
            self.tune(journal, "--stage", "1", "--trials", "1", *arguments)
            files.append(sorted((self.folder / "models").glob("*/stage1_trial_0.safetensors")))
        self.assertEqual([len(names) for names in files], [1, 2, 3])
        self.assertEqual([name.parent.name for name in files[2]], ["my%2Fown", "trajgan_stage1_closed-loop", "trajgan_stage1_v6"])
        decoders = [trajgan.Model.load(name).options.decoder for name in files[2]]
        closed_loop, v6 = trajgan.Decoder.CLOSED_LOOP, trajgan.Decoder.V6
        self.assertEqual(decoders, [closed_loop, closed_loop, v6])

    def test_every_preset_can_be_the_first_trial(self):
        for preset in trajgan.Preset:
            for decoder in ("v6", "closed-loop"):
                args = types.SimpleNamespace(stage=2, model=None, preset=preset.name, decoder=decoder, seed=0)
                study = optuna.create_study()
                study.enqueue_trial(tune.first_trial(args))
                trial = study.ask()
                sizes = tune.new_model(args, **tune.architecture_2(trial)).options
                self.assertEqual(tune.training_2(trial)["n_critic"], trial.params["n_critic"])
                self.assertEqual(list(sizes.generator_hidden_dims), list(tune.new_model(args).options.generator_hidden_dims))

    def test_the_settings_as_they_come_are_tried_though_a_first_trial_failed(self):
        journal = str(self.folder / "tune.journal")
        with unittest.mock.patch.object(trajgan.Model, "train", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            self.tune(journal, "--stage", "1", "--trials", "1")
        self.tune(journal, "--stage", "1", "--trials", "2")
        first, second = self.trials(journal, "trajgan_stage1_closed-loop")
        self.assertEqual((first.params["lr"], first.params["latent_dim"]), (4e-3, 48))
        self.assertNotIn("fixed_params", second.system_attrs)

    def test_arrays_choose_the_decoder(self):
        arrays = self.folder / "arrays"
        arrays.mkdir()
        self.assertEqual(tune.parse([str(arrays), "--stage", "1"]).decoder, "closed-loop")
        (arrays / "X_train.npy").touch()
        self.assertEqual(tune.parse([str(arrays), "--stage", "1"]).decoder, "v6")
        self.assertEqual(tune.parse([str(arrays), "--stage", "1", "--decoder", "closed-loop"]).decoder, "closed-loop")

    def test_wrong_calls(self):
        for arguments in (["--stage", "1"], ["data", "--stage", "3"], ["data"], ["data", "--stage", "both", "--model", "m"]):
            with self.assertRaises(SystemExit) as caught, contextlib.redirect_stderr(io.StringIO()):
                tune.main(arguments)
            self.assertEqual(caught.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
