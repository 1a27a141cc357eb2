"""Searches for good settings with Optuna: python -m trajgan.tune DATA --stage 1|2|both [options]

    python -m trajgan.tune recordings/ --stage both --trials 50 --plots plots --log tune.log
    python -m trajgan.tune recordings/ --stage 1 --trials 50 --storage sqlite:///tune.db --workers 4
    python -m trajgan.tune recordings/ --stage 2 --trials 50 --storage tune.journal --model tune/trajgan_stage1_closed-loop/stage1_trial_7.safetensors
    python -m trajgan.tune --stage 1 --storage sqlite:///tune.db --analyze

One objective; or --pareto: two. Stage 1: the validation loss, which is the sum of its parts: with v6 without their
weights, as these are searched, too; with --pareto two of the parts, v6's recon and latent loss or the closed loop's nats
of steps and of ticks. Stage 2: the MMD of real and generated summaries; with --pareto also how far from chance a forest
tells real movements from generated ones; both are scores of Model.evaluate. Trials of stage 1 without prospects are
stopped early (Hyperband), unless there are two objectives, as Optuna forbids both at once; those of stage 2 are not, as
its losses are on a scale of the searched settings. A study in a storage goes on where it is, on as many workers and
machines as share it. The settings of the preset are the first trial. --stage both: the second stage on the best model of
the first.
"""

import argparse
import logging
import pathlib
import signal
import subprocess
import sys
import threading
import urllib.parse

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import trajgan
from trajgan import Decoder, Preset, Stage, _api

# Widths of hidden layers: the presets' are among them.
WIDTHS = {",".join(map(str, dims)): dims for dims in (
    [256], [128, 128], [256, 256], [512, 256], [512, 512], [256, 256, 256], [256, 512, 256], [512, 512, 256])}
SUMMARIES = {Decoder.V6: [64, 96, 128, 192], Decoder.CLOSED_LOOP: [16, 32, 64, 128]}


def storage(name):
    """A database by its URL, anything else is a journal file."""
    return name if "://" in name else JournalStorage(JournalFileBackend(name))


def architecture_1(trial, decoder):
    chosen = dict(
        latent_dim=trial.suggest_categorical("latent_dim", [32, 48, 64, 96]),
        summary_dim=trial.suggest_categorical("summary_dim", SUMMARIES[decoder]),
        pool=trajgan.Pool[trial.suggest_categorical("pool_type", ["attention", "mean", "last", "hybrid"]).upper()],
    )
    if decoder == Decoder.V6:
        chosen["expand"] = trajgan.Expand[trial.suggest_categorical("expand_type", ["lstm", "mlp", "repeat"]).upper()]
    return chosen


def training_1(trial, decoder):
    schedule = trial.suggest_categorical("lr_schedule", ["none", "cosine", "step", "plateau", "onecycle"])
    chosen = dict(
        learning_rate=trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        schedule=trajgan.Schedule[schedule.upper()],
    )
    if decoder == Decoder.V6:
        chosen["lambda_recon"] = trial.suggest_float("lambda_recon", 0.5, 2.0)
        chosen["lambda_latent"] = trial.suggest_float("lambda_latent", 0.1, 1.0)
    return chosen


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


def first_trial(args):
    """The settings as they come, as a trial."""
    model = trajgan.Model.load(args.model) if args.model else new_model(args)
    sizes = model.options
    with model._held() as handle:
        training = _api.made(_api.TrainOptions, "tg_train_options_init", args.stage, handle)
    if args.stage == 1:
        chosen = dict(latent_dim=sizes.latent_dim, summary_dim=sizes.summary_dim,
                      pool_type=trajgan.Pool(sizes.pool).name.lower(), lr=training.learning_rate,
                      lr_schedule=trajgan.Schedule(training.schedule).name.lower())
        if sizes.decoder == Decoder.V6:
            chosen.update(expand_type=trajgan.Expand(sizes.expand).name.lower(),
                          lambda_recon=training.lambda_recon, lambda_latent=training.lambda_latent)
        return chosen
    chosen = dict(lr_G=training.learning_rate, lr_D=training.critic_learning_rate, n_critic=training.n_critic,
                  lambda_gp=training.lambda_gp, use_feature_matching=training.lambda_fm != 0.0)
    if not args.model:
        generator, critic = (",".join(str(dim) for dim in dims if dim)
                             for dims in (sizes.generator_hidden_dims, sizes.critic_hidden_dims))
        chosen.update(noise_dim=sizes.noise_dim, generator_hidden_dims=generator, discriminator_hidden_dims=critic)
    return chosen


def decoder_of(args):
    return Decoder[args.decoder.upper().replace("-", "_")]


def new_model(args, **architecture):
    return trajgan.Model(Preset[args.preset.upper()], decoder_of(args), seed=args.seed, **architecture)


def name_of(args):
    """The study's. Each decoder has others: what is searched differs."""
    return args.study or f"trajgan_stage{args.stage}_{args.decoder}{'_pareto' if args.pareto else ''}"


def interval_of(args):
    """Iterations between what a trial says on its way."""
    return max(1, args.iterations // 20)


def model_of(args, trial):
    """Where the model of a complete trial is: in the folder of its study."""
    return pathlib.Path(args.out) / urllib.parse.quote(name_of(args), safe="") / f"stage{args.stage}_trial_{trial.number}.safetensors"


class Search:
    """Trials of one stage on one set of data."""

    def __init__(self, args):
        self.args = args
        self.data = trajgan.Dataset.open(args.data)

    def train(self, model, stage, watch=None, **options):
        interval = interval_of(self.args)
        model.train(self.data, stage, watch, iterations=self.args.iterations, threads=self.args.threads, seed=self.args.seed,
                    eval_interval=interval, log_interval=interval, **options)

    def __call__(self, trial):
        try:
            model, values = (self.stage_1 if self.args.stage == 1 else self.stage_2)(trial)
        except trajgan.Error as error:
            if error.status == trajgan.Status.DIVERGED:
                raise optuna.TrialPruned(str(error)) from None
            raise
        path = model_of(self.args, trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
        return values

    def stage_1(self, trial):
        decoder, parts = decoder_of(self.args), []

        def watch(progress):
            if not progress.validated:
                return
            # Without the weights of v6's parts, which are searched: the lowest would win.
            parts[:] = progress.validation_parts
            # With several objectives nothing is reported.
            if not self.args.pareto:
                trial.report(sum(parts), progress.iteration)
                if trial.should_prune():
                    raise optuna.TrialPruned

        model = new_model(self.args, **architecture_1(trial, decoder))
        self.train(model, Stage.AUTOENCODER, watch, **training_1(trial, decoder))
        if not parts:
            sys.exit("the data have no validation split: too few movements, or arrays without one")
        # v6: direct, recon, latent; closed loop: steps, ticks, stop.
        two = parts[1:] if decoder == Decoder.V6 else parts[:2]
        return model, tuple(two) if self.args.pareto else sum(parts)

    def stage_2(self, trial):
        if self.args.model:
            model = trajgan.Model.load(self.args.model)
            if model.info()["stage2"]["iterations"]:
                sys.exit(f"{self.args.model} has begun stage 2: name a model that has stage 1 only")
        else:
            model = new_model(self.args, **architecture_2(trial))
            self.train(model, Stage.AUTOENCODER)
        self.train(model, Stage.GAN, **training_2(trial))
        report = model.evaluate(self.data, seed=self.args.seed, threads=self.args.threads, quick=1)
        scores = {score["name"]: score["value"] for score in report["scores"]}
        # Of data that are not in pixels no forest judges.
        told_apart = abs(scores["forest_auc"] - 0.5) if "forest_auc" in scores else scores["discriminative_score"]
        distance = scores["latent_mmd"]
        return model, (distance, told_apart) if self.args.pareto else distance


def study_of(args):
    if args.pareto:
        kind = dict(directions=["minimize", "minimize"])
    else:
        # What stage 2 says on its way is on a scale of the settings that are searched: of trials it tells nothing.
        # From the first validation on: of earlier rungs all would be decided by that one number.
        hyperband = optuna.pruners.HyperbandPruner(interval_of(args), args.iterations)
        kind = dict(direction="minimize", pruner=hyperband if args.stage == 1 else optuna.pruners.NopPruner())
    where = dict(study_name=name_of(args), storage=storage(args.storage))
    if args.analyze:
        try:
            return optuna.load_study(**where)
        except KeyError:
            sys.exit(f"{args.storage} has no study {name_of(args)}: name it with --study, or its --stage and --decoder")
    study = optuna.create_study(load_if_exists=True, **kind, **where)
    # A study that goes on draws other settings than before.
    seed = None if args.workers > 1 or args.worker else args.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    if not args.worker:
        # Unless it has been tried, or will be: a trial that failed, or that a kill has left running, has said nothing.
        unsaid = (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.RUNNING)
        said = [trial for trial in study.get_trials(deepcopy=False) if trial.state not in unsaid]
        if not any("fixed_params" in trial.system_attrs for trial in said):
            study.enqueue_trial(first_trial(args))
    return study


def tell(study):
    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    print(f"{study.study_name}: {len(study.trials)} trials, {len(done)} complete")
    for trial in study.best_trials if done else []:
        values = ", ".join(f"{value:.5g}" for value in trial.values)
        print(f"trial {trial.number}: {values}  {trial.params}")


def plot(study, folder):
    """Pages of how the search went; they need plotly."""
    from optuna import visualization

    values = range(len(study.directions))
    figures = {f"optimization_history{k or ''}": visualization.plot_optimization_history(
        study, target=lambda trial, k=k: trial.values[k], target_name=f"objective {k}") for k in values}
    if len(values) > 1:
        figures["pareto_front"] = visualization.plot_pareto_front(study)
    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(done) > 1:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        figures["param_importances"] = visualization.plot_param_importances(
            study, evaluator=evaluator, target=lambda trial: trial.values[0], target_name="objective 0")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        page = f"{urllib.parse.quote(study.study_name, safe='')}_{name}.html"
        figure.write_html(folder / page, include_plotlyjs="directory")


def parse(argv):
    parser = argparse.ArgumentParser("trajgan.tune", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", help="recordings or a folder of arrays")
    parser.add_argument("--stage", choices=["1", "2", "both"], required=True)
    parser.add_argument("--model", help="stage 2: on top of this stage 1, whose sizes are then not searched")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=3000, help="of each stage that a trial trains")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the trials")
    parser.add_argument("--storage", default="sqlite:///tune.db", help="URL of a database, or a journal file")
    parser.add_argument("--study", help="its name [trajgan_stage1_closed-loop...]")
    parser.add_argument("--pareto", action="store_true", help="two objectives, nothing stopped early")
    parser.add_argument("--out", default="tune", help="folder for the models of complete trials, in one of the study's name")
    parser.add_argument("--decoder", choices=["closed-loop", "v6"], help="default: closed-loop for recordings, v6 for arrays")
    parser.add_argument("--preset", choices=["default", "fast", "large", "recommended"], default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--plots", metavar="FOLDER", help="pages of how the search went (needs plotly)")
    parser.add_argument("--log", metavar="FILE", help="what Optuna says, also there")
    parser.add_argument("--analyze", action="store_true", help="only tell what has been found")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not args.data and not args.analyze:
        parser.error("name the data")
    if not args.decoder:
        arrays = bool(args.data) and pathlib.Path(args.data, "X_train.npy").is_file()
        args.decoder = "v6" if arrays else "closed-loop"
    if args.stage == "both" and (args.model or args.study):
        parser.error("--stage both has a model and names of its own: leave out --model and --study")
    return args


def run(args, argv):
    """One stage; gives its study. argv: the arguments that workers are started with."""
    study = study_of(args)
    if not args.analyze:
        # Each worker takes the next trial until so many are there; the storage is what they share. Workers start none.
        command = [sys.executable, "-m", "trajgan.tune", *argv, "--worker"]
        workers = [] if args.worker else [subprocess.Popen(command) for _ in range(args.workers - 1)]
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        enough = optuna.study.MaxTrialsCallback(args.trials, states=states)
        try:
            if args.trials > sum(trial.state in states for trial in study.get_trials(deepcopy=False)):
                study.optimize(Search(args), callbacks=[enough])
        except BaseException:
            [worker.terminate() for worker in workers]
            [worker.wait() for worker in workers]
            raise
        if any([worker.wait() for worker in workers]):
            sys.exit("a worker has failed")
    if not args.worker:
        tell(study)
        if args.plots:
            plot(study, args.plots)
    return study


def stop(number, frame):
    sys.exit(128 + number)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)  # workers are to end, too
    if args.log:
        logging.getLogger("optuna").addHandler(logging.FileHandler(args.log))
    if args.model:
        args.decoder = Decoder(trajgan.Model.load(args.model).options.decoder).name.lower().replace("_", "-")
    if args.stage != "both":
        args.stage = int(args.stage)
        return run(args, argv)
    # The later of two equal flags counts.
    args.stage = 1
    study = run(args, [*argv, "--stage", "1"])
    if not any(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
        sys.exit("no trial of stage 1 is complete")
    args.model = str(model_of(args, study.best_trials[0]))
    args.stage = 2
    return run(args, [*argv, "--stage", "2", "--model", args.model])


if __name__ == "__main__":
    main()
