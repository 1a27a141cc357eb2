//! Training: run folders, settings, terminals, and going on.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use trajgan::files::TensorFile;

use crate::*;

#[test]
fn train_fills_a_run_folder() {
    let folder = workplace();
    let folder = folder.path();
    let run = train(folder, &["--seed", "5"]);
    let place = folder.join(path(&run["run"]));
    let name = place.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 19 && name.starts_with("run_20"), "{name}");
    for file in ["stage1_final", "stage2_iter20", "stage2_final", "final", "stage1_iter20"] {
        assert!(place.join(format!("{file}.safetensors")).is_file(), "{file}");
    }
    assert!(folder.join(path(&run["samples"])).is_file());
    let log = fs::read_to_string(place.join("logs/progress.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<_> =
        lines.iter().map(|l| (l["stage"].as_u64().unwrap(), l["iteration"].as_u64().unwrap())).collect();
    assert_eq!(logged, [(1, 10), (1, 15), (1, 20), (1, 30), (2, 10), (2, 20)]);
    assert!(lines[1]["validation"]["direct"].as_f64().unwrap() > 0.0);
    assert!(lines[5]["wasserstein"].is_f64());
    // What was trained with can be read back.
    let settings = fs::read_to_string(place.join("config.toml")).unwrap();
    assert!(settings.contains("seed = 5") && settings.contains("latent_dim = 6") && settings.contains("pause_ms"));
    // A second run does not touch the first, though it may be in the same second.
    let second = train(folder, &["--stage", "1"]);
    assert_ne!(second["run"], run["run"]);
    assert!(second.get("stage2").is_none() && second.get("model").is_none());
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_preset() {
    let folder = workplace();
    let show = |args: &[&str]| {
        let out = good(folder.path(), &[&["train", "--show-settings"], args].concat());
        out.parse::<toml::Table>().unwrap()
    };
    let preset = show(&["--preset", "fast", "--decoder", "v6"]);
    assert_eq!((preset["latent_dim"].as_integer(), preset["batch_size"].as_integer()), (Some(32), Some(32)));
    let file = show(&["--preset", "fast", "--config", "small.toml"]);
    assert_eq!((file["latent_dim"].as_integer(), file["batch_size"].as_integer()), (Some(6), Some(16)));
    assert_eq!(file["stage1_patience"].as_integer(), Some(1000));
    let flags =
        show(&["--config", "small.toml", "--batch-size", "9", "--iterations", "3", "--set", "lr_schedule=cosine"]);
    assert_eq!((flags["batch_size"].as_integer(), flags["stage2_iterations"].as_integer()), (Some(9), Some(3)));
    assert_eq!(flags["lr_schedule"].as_str(), Some("cosine"));
    let lists = show(&["--set", "generator_hidden_dims=[3,4]", "--set", "min_distance=12.5"]);
    assert_eq!(lists["generator_hidden_dims"].as_array().unwrap().len(), 2);
    assert_eq!(lists["min_distance"].as_float(), Some(12.5));
    fs::write(folder.path().join("named.toml"), "config_preset = \"large\"\ndecoder = \"v6\"\n").unwrap();
    assert_eq!(show(&["--config", "named.toml"])["noise_dim"].as_integer(), Some(256));
    assert_eq!(show(&["--set", "config_preset=large", "--set", "decoder=v6"])["noise_dim"].as_integer(), Some(256));
    assert_eq!(show(&["--config", "named.toml", "--set", "config_preset=fast"])["noise_dim"].as_integer(), Some(64));
    if cfg!(unix) {
        let piped = format!("cat small.toml | '{PROGRAM}' train nowhere --show-settings --config /dev/stdin");
        let output = Command::new("sh").args(["-c", &piped]).current_dir(folder.path()).output().unwrap();
        assert!(text(&output.stdout).contains("latent_dim = 6"), "{output:?}");
    }
    let numbered = show(&["--set", "stage=2"]);
    assert_eq!(numbered["stage"].as_str(), Some("2"));
    // What is shown says what it means, and is a settings file.
    let text = good(folder.path(), &["train", "--show-settings"]);
    for meaning in [
        "\n# Quality filter: largest z-score of a movement's mean |feature|; 0 switches it off.\nquality_z = ",
        "\n# A pause of more than this plus the session's median dt ends a movement: no rows, or rows of one position.\npause_ms = ",
        "\n# CSV columns named `t` or `timestamp` are in seconds (else milliseconds).\ncsv_seconds = ",
    ] {
        assert!(text.contains(meaning), "{meaning:?} is not in {text}");
    }
    fs::write(folder.path().join("shown.toml"), toml::to_string(&flags).unwrap()).unwrap();
    assert_eq!(show(&["--config", "shown.toml"]), flags);
}

#[test]
fn settings_of_the_other_decoder_are_named() {
    let folder = workplace();
    let folder = folder.path();
    let warning = |args: &[&str]| {
        let said = good(folder, args);
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("not used by")).collect();
        assert!(lines.len() < 2, "{said}");
        lines.concat()
    };
    let train = ["train", "recordings.jsonl", "--config", "small.toml"];
    assert_eq!(warning(&train), "");
    let v6 = warning(&[&train[..], &["--set", "candidates=2", "--set", "augment_turn=0.1"]].concat());
    assert_eq!(v6, "Set, but not used by the v6 decoder: augment_turn, candidates");
    let walks = [&train[..], &["--decoder", "closed-loop", "--set", "lambda_recon=0", "--name", "walks"]].concat();
    let said = "Set, but not used by the closed-loop decoder: decoder_hidden_dim, decoder_num_layers, lambda_recon";
    assert_eq!(warning(&walks), said);
    // A file of all settings asks for none in particular.
    assert_eq!(warning(&["train", "recordings.jsonl", "--config", "checkpoints/walks/config.toml"]), "");
    assert_eq!(warning(&["resume", "checkpoints/walks", "--iterations", "40"]), "");
    let resumed = warning(&["resume", "checkpoints/walks", "--iterations", "50", "--set", "stage1_threshold=0"]);
    assert_eq!(resumed, "Set, but not used by the closed-loop decoder: stage1_threshold");
}

/// The closed loop would learn to stand still.
#[test]
fn other_units_are_told() {
    let folder = workplace();
    let folder = folder.path();
    let recording = "{\"x\":[0,1.5,4,6],\"y\":[0,1,2,2.5],\"t\":[0,0.008,0.016,0.025]}\n";
    fs::write(folder.join("other.jsonl"), recording.repeat(20)).unwrap();
    let train = ["train", "other.jsonl", "--config", "small.toml", "--iterations", "1", "--decoder", "closed-loop"];
    let said = good(folder, &train);
    assert!(said.contains("Warning: the usual step is 0.008 ms: are the times in milliseconds?"), "{said}");
    let centimetres = "Warning: half of the movements go no further than 6.56: are the coordinates in pixels?";
    assert!(said.contains(centimetres), "{said}");
}

/// Few recordings, and directions that none has: mirror images are others.
#[test]
fn what_recordings_say_little_of_is_told() {
    let folder = workplace();
    let folder = folder.path();
    let mut lines = String::new();
    for (i, (x, y)) in (0..600).zip([(1, 0), (1, 1), (0, -1)].into_iter().cycle()) {
        let [x, y] = [x, y].map(|v| [0, v * 20, v * (400 + i), v * (500 + i)]);
        lines += &format!("{{\"x\":{x:?},\"y\":{y:?},\"t\":[0,8,16,24]}}\n");
    }
    fs::write(folder.join("three.jsonl"), &lines).unwrap();
    let few: String = lines.lines().take(60).map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("few.jsonl"), few).unwrap();
    let warnings = |more: &[&str]| {
        let train = ["train", "--config", "small.toml", "--iterations", "1", "--decoder"];
        let said = good(folder, &[&train[..], more].concat());
        said.lines().filter_map(|line| line.strip_prefix("Warning: ").map(str::to_owned)).collect::<Vec<_>>()
    };
    let three = "next to no movement goes down, down and left, left, up and left, up and right: there, generated ones are a guess";
    assert_eq!(warnings(&["closed-loop", "three.jsonl", "--set", "augment_mirror=false"]), [three]);
    assert_eq!(warnings(&["closed-loop", "three.jsonl"]), [""; 0]);
    let few = warnings(&["closed-loop", "few.jsonl"]);
    assert_eq!(few.len(), 1, "{few:?}");
    assert!(few[0].contains(" training movements, less than 300: "), "{few:?}");
    assert!(warnings(&["closed-loop", "few.jsonl", "--set", "augment_mirror=false"]).len() == 2);
    assert_eq!(warnings(&["v6", "few.jsonl", "--set", "quality_min_length=3"]), [""; 0]);
}

/// What mirror images would make untrue, and what whole pixels cannot say.
#[test]
fn what_a_closed_loop_would_lose_is_told() {
    let folder = workplace();
    let folder = folder.path();
    let warnings = |name: &str, more: &[&str], line: &dyn Fn(i32) -> String| {
        fs::write(folder.join(name), (0..700).map(line).collect::<String>()).unwrap();
        let train = ["train", name, "--config", "small.toml", "--iterations", "1", "--decoder", "closed-loop"];
        let said = good(folder, &[&train[..], more].concat());
        said.lines().filter_map(|line| line.strip_prefix("Warning: ").map(str::to_owned)).collect::<Vec<_>>()
    };
    // 100 to 300 px in one of eight directions, in steps of so many ms, bent to a side.
    let line = |i: i32, dt: f64, side: f64, unit: f64| {
        let (length, angle) = (f64::from(100 + i * 37 % 201), f64::from(i % 8) * std::f64::consts::FRAC_PI_4);
        let at = |k: usize| [0.0, 0.4, 0.8, 1.0][k] * length;
        let bend = |k: usize| [0.0, 8.0, 4.0, 0.0][k] * side;
        let pixel = |x: f64| (x / unit).round() * unit;
        let x: Vec<f64> = (0..4).map(|k| pixel(at(k) * angle.cos() - bend(k) * angle.sin())).collect();
        let y: Vec<f64> = (0..4).map(|k| pixel(at(k) * angle.sin() + bend(k) * angle.cos())).collect();
        let t: Vec<f64> = (0..4).map(|k| f64::from(k) * dt).collect();
        format!("{{\"x\":{x:?},\"y\":{y:?},\"t\":{t:?}}}\n")
    };
    let alternate = |i: i32| if i / 8 % 2 == 0 { 1.0 } else { -1.0 };
    let slower = |i: i32| if matches!(i % 8, 3..=5) { 16.0 } else { 8.0 };
    let instead = "mirror images make both alike: --set augment_mirror=false keeps it";
    let left = format!("movements that go left take 2.0 times as long as those that go right as far; {instead}");
    assert_eq!(warnings("even.jsonl", &[], &|i| line(i, 8.0, alternate(i), 1.0)), [""; 0]);
    assert_eq!(warnings("left.jsonl", &[], &|i| line(i, slower(i), alternate(i), 1.0)), [left]);
    let apart = ["--set", "augment_mirror=false"];
    assert_eq!(warnings("left.jsonl", &apart, &|i| line(i, slower(i), alternate(i), 1.0)), [""; 0]);
    let bent = format!("100 % of the movements bend to the right of their way; {instead}");
    assert_eq!(warnings("bent.jsonl", &[], &|i| line(i, 8.0, 1.0, 1.0)), [bent]);
    let parts = "positions are parts of pixels, and generated ones will be whole: that tells them apart";
    assert_eq!(warnings("parts.jsonl", &[], &|i| line(i, 8.0, alternate(i), 0.25)), [parts]);
}

/// TOML has no whole numbers from 2^63 on; seeds go to 2^64.
#[test]
fn seeds_of_64_bits_go_on() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--stage", "1", "--name", "first"]);
    let first = folder.join("checkpoints/first/stage1_final.safetensors");
    let config = trajgan::Model::load(&first, trajgan::Device::Cpu).unwrap().config().clone();
    let (data, _) = trajgan::Dataset::open(&folder.join("recordings.jsonl"), &Default::default()).unwrap();
    let config = trajgan::Config { seed: u64::MAX, ..config };
    let mut model = trajgan::Model::new(config.clone(), trajgan::Device::Cpu).unwrap();
    let options = trajgan::TrainOptions { config, threads: 1, seed: 1 };
    model.train(&data, trajgan::Stage::Autoencoder, &options, &mut |_, _| trajgan::Control::Continue).unwrap();
    model.save(&folder.join("own.safetensors")).unwrap();
    train(folder, &["--stage", "2", "--from", "own.safetensors", "--name", "second"]);
    let settings = fs::read_to_string(folder.join("checkpoints/second/config.toml")).unwrap();
    assert!(settings.contains("seed = \"18446744073709551615\""), "{settings}");
    good(folder, &["resume", "checkpoints/second", "--iterations", "40"]);
}

/// A run's config.toml may name the preset that it began with; and an exported model cannot go on as if nothing had been.
#[test]
fn resume_takes_what_lies_in_the_run_folder() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "run"]);
    let settings = folder.join("checkpoints/run/config.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("config_preset = \"fast\"\n{text}")).unwrap();
    let without = "without the optimiser's state";
    let said = good(folder, &["resume", "checkpoints/run", "--iterations", "40"]);
    assert!(!said.contains(without), "{said}");
    for file in fs::read_dir(folder.join("checkpoints/run")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "safetensors") && !file.ends_with("final.safetensors") {
            fs::remove_file(file).unwrap();
        }
    }
    good(folder, &["export", "checkpoints/run", "-o", "checkpoints/run/exported.safetensors"]);
    fs::remove_file(folder.join("checkpoints/run/final.safetensors")).unwrap();
    let said = good(folder, &["resume", "checkpoints/run", "--iterations", "50"]);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(without)).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("Stage 2 goes on from iteration 40"), "{said}");
}

#[test]
fn a_run_is_trained_by_one_at_a_time() {
    let folder = workplace();
    let run = train(folder.path(), &["--stage", "1", "--name", "run"]);
    let place = folder.path().join(path(&run["run"]));
    let more = ["resume", "checkpoints/run", "--set", "stage1_iterations=40"];
    let other = fs::File::open(place.join("logs/.training")).unwrap();
    other.try_lock().unwrap();
    let told = refused(folder.path(), &more, 1);
    assert!(told.contains("checkpoints/run: another training of this run is under way"), "{told}");
    drop(other);
    good(folder.path(), &more);
}

#[test]
fn going_on_elsewhere_is_told() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "run"]);
    let last = folder.join("checkpoints/run/final.safetensors");
    assert_eq!(good(folder, &["inspect", "checkpoints/run"]).matches("seed 0, on cpu\n").count(), 2);
    let resume = |iterations: &str| good(folder, &["resume", "checkpoints/run", "--iterations", iterations]);
    assert!(!resume("40").contains("not as if"));
    let mut file = TensorFile::read(&last).unwrap();
    let known = file.metadata.get_mut("trajgan").unwrap();
    *known = known.replace("\"device\":\"cpu\"", "\"device\":\"cuda:0 (Abacus)\"");
    for old in fs::read_dir(last.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()) {
        if old.extension().is_some_and(|e| e == "safetensors") {
            fs::remove_file(old).unwrap();
        }
    }
    file.write(&last, false).unwrap();
    let devices = || {
        let info = json(folder, &["inspect", "checkpoints/run"]);
        ["stage1", "stage2"].map(|stage| info[stage]["device"].as_str().unwrap().to_owned())
    };
    resume("40"); // which does nothing more
    assert_eq!(devices(), ["cuda:0 (Abacus)"; 2]);
    let warning = "Stage 2 goes on from iteration 40 on cpu, after cuda:0 (Abacus): not as if it had never stopped.";
    let said = resume("50");
    assert_eq!(said.lines().filter(|line| line.contains("not as if")).collect::<Vec<_>>(), [warning]);
    assert!(!resume("60").contains("not as if"));
    assert_eq!(devices(), ["cuda:0 (Abacus)", "cpu"]);
}

/// Starts a training, sends it SIGTERM after its n-th log line, and gives what it said last. (SIGINT does the same, but tests
/// that a script runs with `&` have it ignored.)
fn interrupted(folder: &Path, args: &[&str], after: usize) -> String {
    let mut command = Command::new(PROGRAM);
    let mut child =
        command.args(args).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stage_lines = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("[Stage"));
    assert_eq!(stage_lines.take(after).count(), after);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    lines.for_each(drop);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{err}");
    assert!(err.lines().count() == 1 && err.contains("go on with: trajgan resume"), "{err}");
    err
}

/// Noise of 5 on numbers in [-1,1] leaves nothing of them.
#[test]
fn summaries_that_say_nothing_are_told_while_stage_2_trains() {
    let folder = workplace();
    let loud = ["--decoder", "closed-loop", "--set", "stage1_iterations=1000", "--set", "summary_noise=5"];
    let said = good(folder.path(), &[&["train", "recordings.jsonl", "--config", "small.toml"], &loud[..]].concat());
    let told = said.matches("Diagnosis, stage 1: summaries of training movements").count();
    assert!(told == 1 && said.contains("the noise on them is 5"), "{said}");
}

/// Both stages: stopped twice by Ctrl-C and resumed each time, the final file is that of a run which was not stopped.
#[cfg(unix)]
fn check_resume(decoder: &str) {
    let folder = workplace();
    let folder = folder.path();
    let options = ["--config", "small.toml", "--decoder", decoder, "--iterations", "200", "--seed", "11"];
    let train = ["train", "recordings.jsonl", "--name"];
    good(folder, &[&train[..], &["whole"], &options].concat());
    let said = interrupted(folder, &[&train[..], &["stopped"], &options, &["--threads", "2"]].concat(), 3);
    assert!(said.contains("stage1_iter"), "{said}");
    let said = interrupted(folder, &["resume", "checkpoints/stopped", "--threads", "1"], 20);
    assert!(said.contains("stage2_iter"), "{said}");
    // An exported model of as many iterations, though first by name, is not what is gone on with.
    good(folder, &["export", "checkpoints/stopped", "-o", "checkpoints/stopped/a.safetensors"]);
    // From another folder: the run knows where its data is.
    let elsewhere = tempfile::tempdir().unwrap();
    let run = folder.join("checkpoints/stopped");
    good(elsewhere.path(), &["resume", run.to_str().unwrap()]);
    let read = |run: &str, name: &str| fs::read(folder.join("checkpoints").join(run).join(name)).unwrap();
    for name in ["stage1_final.safetensors", "stage2_final.safetensors", "final.safetensors"] {
        assert!(read("whole", name) == read("stopped", name), "{decoder}: {name} differs");
    }
    // Other data is not taken for the same.
    let mut lines = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    lines = lines.lines().skip(20).map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("recordings.jsonl"), lines).unwrap();
    let more = ["resume", "checkpoints/stopped", "--iterations", "210"];
    assert!(refused(folder, &more, 2).contains("--other-data"));
    good(folder, &[&more[..], &["--other-data"]].concat());
}

#[cfg(unix)]
#[test]
fn an_interrupted_v6_run_resumes_to_the_same_bits() {
    check_resume("v6");
}

#[cfg(unix)]
#[test]
fn an_interrupted_closed_loop_run_resumes_to_the_same_bits() {
    check_resume("closed-loop");
}

/// A log that cannot be written ends a training, and what has been learnt is kept. A line that a kill has cut is no line of
/// the next one.
#[test]
fn a_training_whose_log_fails_is_saved() {
    let folder = workplace();
    let folder = folder.path();
    let run = train(folder, &["--name", "own"]);
    let logs = folder.join(path(&run["run"])).join("logs");
    let progress = logs.join("progress.jsonl");
    let cut = fs::read_to_string(&progress).unwrap() + "{\"stage\":2,\"iterat";
    fs::write(&progress, &cut).unwrap();
    good(folder, &["resume", "checkpoints/own", "--iterations", "40"]);
    let whole = fs::read_to_string(&progress).unwrap();
    let broken: Vec<_> = whole.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).collect();
    assert!(whole.starts_with(&cut) && broken == ["{\"stage\":2,\"iterat"], "{broken:?}");
    fs::remove_file(&progress).unwrap();
    fs::create_dir(&progress).unwrap();
    refused(folder, &["resume", "checkpoints/own", "--iterations", "50"], 2);
    fs::remove_dir(&progress).unwrap();
    // The projector's table is written where an evaluation interval ends.
    let more = ["train", "recordings.jsonl", "--config", "small.toml", "--name", "other", "--iterations", "3000"];
    let mut child = Command::new(PROGRAM)
        .args(more)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("[Stage")));
    let _ = fs::remove_dir_all(folder.join("checkpoints/other/logs"));
    lines.for_each(drop);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{err}");
    assert!(err.contains("logs") && err.contains("go on with: trajgan resume"), "{err}");
    let saved = err.split("saved ").nth(1).unwrap().split(';').next().unwrap();
    good(folder, &["inspect", saved]);
}

/// `nohup`, and the `&` of a script: who started it wants it to go on.
#[cfg(target_os = "linux")]
#[test]
fn signals_that_are_ignored_stay_so() {
    let folder = workplace();
    let folder = folder.path();
    let script =
        format!("trap '' HUP INT; exec '{PROGRAM}' train recordings.jsonl --config small.toml --iterations 400");
    let mut command = Command::new("sh");
    let mut child = command.args(["-c", &script]).current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("[Stage")));
    for signal in ["-HUP", "-INT", "-HUP"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("[Stage 2] Iter    400/400")), "{rest:?}");
}

/// Killed between the last checkpoint of stage 1 and its end, a run has all its files when it has gone on.
#[test]
fn a_run_that_goes_on_has_the_file_of_its_first_stage() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "own", "--stage", "1"]);
    let (last, first) = (
        folder.join("checkpoints/own/stage1_iter30.safetensors"),
        folder.join("checkpoints/own/stage1_final.safetensors"),
    );
    let bytes = fs::read(&first).unwrap();
    fs::rename(&first, &last).unwrap();
    good(folder, &["resume", "checkpoints/own", "--set", "stage=both"]);
    assert!(fs::read(&first).unwrap() == bytes);
}

/// A stage of its own, on top of another run's first.
#[test]
fn stage_2_learns_on_top_of_a_stage_1_of_before() {
    let folder = workplace();
    let folder = folder.path();
    let whole = train(folder, &["--seed", "4", "--name", "whole"]);
    train(folder, &["--seed", "4", "--name", "first", "--stage", "1"]);
    let from = "checkpoints/first/stage1_final.safetensors";
    let second =
        json(folder, &["train", "recordings.jsonl", "--stage", "2", "--from", from, "--seed", "4", "--name", "second"]);
    let read = |run: &Value| fs::read(folder.join(run["model"].as_str().unwrap())).unwrap();
    assert!(read(&whole) == read(&second));
    assert!(refused(folder, &["resume", "checkpoints/first"], 2).contains("--stage 2 --from"));
}

#[test]
fn a_pipe_gets_plain_lines_and_a_terminal_a_bar() {
    let folder = workplace();
    let folder = folder.path();
    let plain = good(folder, &["train", "recordings.jsonl", "--config", "small.toml"]);
    assert!(!plain.contains('\r') && !plain.contains('\x1b'), "{plain:?}");
    let line = plain.lines().find(|line| line.starts_with("[Stage 1] Iter")).unwrap();
    assert!(line.starts_with("[Stage 1] Iter     10/30 | Direct: ") && line.ends_with(" it/s"), "{line}");
    assert!(plain.contains("[Stage 2] Iter     20/20 | D: "), "{plain}");
    if Command::new("script").arg("--version").output().is_err() {
        crate::skip::skipped("script (util-linux), which makes terminals, is not installed");
        return;
    }
    let command = format!("'{PROGRAM}' train recordings.jsonl --config small.toml --iterations 150");
    let mut script = Command::new("script");
    let output =
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").current_dir(folder).output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("Stage 1 [") && shown.contains("/150 loss "), "{shown:?}");
    assert!(shown.contains("[Stage 2] Iter    150/150 | D: "), "{shown:?}");
    // With --json the terminal's stdout is for the result alone.
    let command = format!("{command} --json 2>progress.txt");
    let mut script = Command::new("script");
    let output = script.args(["-qec", &command, "/dev/null"]).current_dir(folder).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert!(fs::read_to_string(folder.join("progress.txt")).unwrap().contains("[Stage 1] Iter    150/150"));
}
