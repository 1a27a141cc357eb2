"""Searches for good settings with Optuna: python -m trajgan.tune DATA --stage 1|2 [options]

    python -m trajgan.tune recordings/ --stage 1 --trials 50 --storage sqlite:///tune.db --workers 4
    python -m trajgan.tune recordings/ --stage 2 --trials 50 --storage tune.journal --model tune/stage1_trial_7.safetensors
    python -m trajgan.tune --stage 1 --storage sqlite:///tune.db --analyze

One objective, and trials without prospects are stopped early (Hyperband); or --pareto: two objectives, nothing stopped,
as Optuna forbids both at once. Stage 1: the validation loss; with --pareto its two parts, v6's direct and latent loss
or the closed loop's nats of steps and of ticks. Stage 2: the MMD of real and generated summaries; with --pareto also how far from
chance a forest tells real movements from generated ones; both are scores of Model.evaluate. A study in a storage goes on where it is, on as many workers and machines
as share it. The settings as they come are the first trial.
"""

import argparse
import math
import pathlib
import subprocess
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import trajgan
from trajgan import Decoder, Preset, Stage

WIDTHS = {"256": [256], "256,256": [256, 256], "512,256": [512, 256], "512,512": [512, 512], "256,512,256": [256, 512, 256]}


def storage(name):
    """A database by its URL, anything else is a journal file."""
    return name if "://" in name else JournalStorage(JournalFileBackend(name))


def architecture_1(trial):
    return dict(
        latent_dim=trial.suggest_categorical("latent_dim", [32, 48, 64, 96]),
        summary_dim=trial.suggest_categorical("summary_dim", [64, 96, 128, 192]),
        pool=trajgan.Pool[trial.suggest_categorical("pool_type", ["attention", "mean", "last", "hybrid"]).upper()],
        expand=trajgan.Expand[trial.suggest_categorical("expand_type", ["lstm", "mlp", "repeat"]).upper()],
    )


def training_1(trial):
    schedule = trial.suggest_categorical("lr_schedule", ["none", "cosine", "step", "plateau"])
    return dict(
        learning_rate=trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        schedule=trajgan.Schedule[schedule.upper()],
        lambda_recon=trial.suggest_float("lambda_recon", 0.5, 2.0),
        lambda_latent=trial.suggest_float("lambda_latent", 0.1, 1.0),
    )


def architecture_2(trial):
    return dict(
        noise_dim=trial.suggest_categorical("noise_dim", [64, 128, 192, 256]),
        generator_hidden_dims=WIDTHS[trial.suggest_categorical("generator_hidden_dims", list(WIDTHS))],
        critic_hidden_dims=WIDTHS[trial.suggest_categorical("discriminator_hidden_dims", list(WIDTHS))],
    )


def training_2(trial):
    chosen = dict(
        learning_rate=trial.suggest_float("lr_G", 1e-5, 1e-3, log=True),
        critic_learning_rate=trial.suggest_float("lr_D", 1e-5, 1e-3, log=True),
        n_critic=trial.suggest_int("n_critic", 1, 10),
        lambda_gp=trial.suggest_float("lambda_gp", 1.0, 50.0, log=True),
    )
    if not trial.suggest_categorical("use_feature_matching", [True, False]):
        chosen["lambda_fm"] = 0.0
    return chosen


# The original's defaults, where the spaces have them.
BASELINE = {
    1: dict(latent_dim=48, summary_dim=96, pool_type="attention", expand_type="lstm", lr=1e-3, lr_schedule="none",
            lambda_recon=1.0, lambda_latent=0.5),
    2: dict(lr_G=1e-4, lr_D=1e-4, n_critic=5, lambda_gp=10.0, use_feature_matching=False),
}


class Search:
    """Trials of one stage on one set of data."""

    def __init__(self, args):
        self.args = args
        self.data = trajgan.Dataset.open(args.data)

    def new_model(self, **architecture):
        decoder = Decoder[self.args.decoder.upper().replace("-", "_")]
        return trajgan.Model(Preset[self.args.preset.upper()], decoder, seed=self.args.seed, **architecture)

    def train(self, model, stage, trial=None, **options):
        """Trains, tells the trial every so often how it goes, and gives the last report."""
        last = []

        def watch(progress):
            told = bool(progress.validated) if stage == 1 else progress.iteration % options["log_interval"] == 0
            if not told:
                return True
            now = progress.validation_loss if stage == 1 else abs(progress.wasserstein)
            last[:] = [now, *progress.validation_parts]
            # With several objectives nothing is reported.
            if trial is not None and not self.args.pareto:
                trial.report(now, progress.iteration)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return True

        interval = max(1, self.args.iterations // 20)
        options = dict(iterations=self.args.iterations, threads=self.args.threads, seed=self.args.seed,
                       eval_interval=interval, log_interval=interval, **options)
        model.train(self.data, stage, watch, **options)
        return last

    def __call__(self, trial):
        try:
            model, values = (self.stage_1 if self.args.stage == 1 else self.stage_2)(trial)
        except trajgan.Error as error:
            if error.status == trajgan.Status.DIVERGED:
                raise optuna.TrialPruned(str(error)) from None
            raise
        folder = pathlib.Path(self.args.out)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / f"stage{self.args.stage}_trial_{trial.number}.safetensors")
        return values

    def stage_1(self, trial):
        model = self.new_model(**architecture_1(trial))
        loss, first, second, third = self.train(model, Stage.AUTOENCODER, trial, **training_1(trial))
        # v6: direct, recon, latent; closed loop: steps, ticks, stop.
        parts = (first, third) if model.options.decoder == Decoder.V6 else (first, second)
        return model, parts if self.args.pareto else loss

    def stage_2(self, trial):
        if self.args.model:
            model = trajgan.Model.load(self.args.model)
        else:
            model = self.new_model(**architecture_2(trial))
            self.train(model, Stage.AUTOENCODER)
        self.train(model, Stage.GAN, trial, **training_2(trial))
        report = model.evaluate(self.data, seed=self.args.seed, threads=self.args.threads, quick=1)
        scores = {score["name"]: score["value"] for score in report["scores"]}
        distance, told_apart = scores["latent_mmd"], abs(scores["forest_auc"] - 0.5)
        if not all(map(math.isfinite, (distance, told_apart))):
            raise optuna.TrialPruned("the scores are not finite")
        return model, (distance, told_apart) if self.args.pareto else distance


def study_of(args):
    name = args.study or f"trajgan_stage{args.stage}{'_pareto' if args.pareto else ''}"
    if args.pareto:
        kind = dict(directions=["minimize", "minimize"])
    else:
        kind = dict(direction="minimize", pruner=optuna.pruners.HyperbandPruner(1, args.iterations))
    sampler = optuna.samplers.TPESampler(seed=None if args.workers > 1 or args.worker else args.seed)
    study = optuna.create_study(study_name=name, storage=storage(args.storage), sampler=sampler, load_if_exists=True, **kind)
    if not study.trials and not args.worker:
        first = dict(BASELINE[args.stage])
        if args.stage == 2 and not args.model:
            first.update(noise_dim=128, generator_hidden_dims="256,256", discriminator_hidden_dims="256,256")
        study.enqueue_trial(first)
    return study


def tell(study):
    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    print(f"{study.study_name}: {len(study.trials)} trials, {len(done)} complete")
    for trial in study.best_trials if done else []:
        values = ", ".join(f"{value:.5g}" for value in trial.values)
        print(f"trial {trial.number}: {values}  {trial.params}")


def parse(argv):
    parser = argparse.ArgumentParser("trajgan.tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", help="recordings or a folder of arrays")
    parser.add_argument("--stage", type=int, choices=[1, 2], required=True)
    parser.add_argument("--model", help="stage 2: on top of this stage 1, whose sizes are then not searched")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=3000, help="of each stage that a trial trains")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the trials")
    parser.add_argument("--storage", default="sqlite:///tune.db", help="URL of a database, or a journal file")
    parser.add_argument("--study", help="its name [trajgan_stage1...]")
    parser.add_argument("--pareto", action="store_true", help="two objectives, nothing stopped early")
    parser.add_argument("--out", default="tune", help="folder for the models of complete trials")
    parser.add_argument("--decoder", choices=["closed-loop", "v6"], default="closed-loop")
    parser.add_argument("--preset", choices=["default", "fast", "large", "recommended"], default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--analyze", action="store_true", help="only tell what has been found")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not args.data and not args.analyze:
        parser.error("name the data")
    return args


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    study = study_of(args)
    if not args.analyze:
        # Each worker takes the next trial until so many are there; the storage is what they share. Workers start none.
        command = [sys.executable, "-m", "trajgan.tune", *argv, "--worker"]
        workers = [] if args.worker else [subprocess.Popen(command) for _ in range(args.workers - 1)]
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        enough = optuna.study.MaxTrialsCallback(args.trials, states=states)
        if args.trials > sum(trial.state in states for trial in study.get_trials(deepcopy=False)):
            study.optimize(Search(args), callbacks=[enough])
        if any([worker.wait() for worker in workers]):
            sys.exit("a worker has failed")
    if not args.worker:
        tell(study)


if __name__ == "__main__":
    main()
