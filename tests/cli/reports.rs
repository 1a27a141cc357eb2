//! Pictures, TensorBoard's files and the diagnosis.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::*;

/// Width and height, and the share of pixels that are not white.
fn picture(path: &Path) -> (u32, u32, f64) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let drawn = pixels.chunks(3).filter(|rgb| rgb.iter().any(|&c| c < 250)).count();
    (info.width, info.height, drawn as f64 / f64::from(info.width * info.height))
}

fn check(path: &Path, width: u32, height: u32) {
    let (w, h, drawn) = picture(path);
    assert_eq!((w, h), (width, height), "{}", path.display());
    assert!((0.005..0.5).contains(&drawn), "{}: {drawn} of it is drawn", path.display());
}

#[test]
fn plot_draws_what_a_run_has() {
    let folder = workplace();
    let folder = folder.path();
    for (name, decoder) in [("v6", "v6"), ("walker", "closed-loop")] {
        let run = train(folder, &["--decoder", decoder, "--name", name]);
        let place = folder.join(path(&run["run"]));
        // What the run left behind by itself.
        let pictures: Vec<_> = run["pictures"].as_array().unwrap().iter().map(|p| folder.join(path(p))).collect();
        assert!(pictures.len() == 2 && pictures.iter().all(|p| p.starts_with(&place)), "{pictures:?}");
        check(&pictures[0], 1500, 565);
        check(&pictures[1], 1720, 1665);
        let logs: Vec<_> = fs::read_dir(place.join("logs")).unwrap().map(|e| e.unwrap().file_name()).collect();
        let events = logs.iter().filter(|name| name.to_str().unwrap().starts_with("events.out.tfevents.")).count();
        assert_eq!(events, 2, "{logs:?}");
        assert!(place.join("logs/projector_config.pbtxt").is_file());

        let run = place.to_str().unwrap();
        let made = json(folder, &["plot", "compare", run, "--rows", "2"]);
        assert_eq!((&made["width"], &made["height"]), (&1720.into(), &705.into()));
        assert!(path(&made["picture"]).starts_with(&place), "{made}");
        check(&path(&made["picture"]), 1720, 705);
        let line = good(folder, &["plot", "sheet", run, "--count", "7", "--distance", "150", "-o", "sheet.png"]);
        assert_eq!(line, "Picture: sheet.png (1260 x 485)\n");
        check(&folder.join("sheet.png"), 1260, 485);
        json(folder, &["plot", "losses", run, "-o", "losses.png"]);
        check(&folder.join("losses.png"), 1500, 565);
    }
    // The same seed, the same picture; another, another.
    let compare = |seed: &str, out: &str| {
        good(folder, &["plot", "compare", "checkpoints/walker", "--seed", seed, "--rows", "1", "-o", out]);
        fs::read(folder.join(out)).unwrap()
    };
    assert!(compare("1", "a.png") == compare("1", "b.png") && compare("2", "c.png") != compare("1", "a.png"));
    // A model by itself, with its data named; and one whose stage 2 has not begun.
    fs::copy(folder.join("checkpoints/v6/final.safetensors"), folder.join("m.safetensors")).unwrap();
    good(folder, &["plot", "compare", "m.safetensors", "--data", "recordings.jsonl", "--rows", "1", "-o", "d.png"]);
    assert!(refused(folder, &["plot", "compare", "m.safetensors", "-o", "e.png"], 2).contains("--data"));
    let first = "checkpoints/v6/stage1_final.safetensors";
    good(folder, &["plot", "losses", first, "-o", "f.png"]);
    assert!(refused(folder, &["plot", "sheet", first, "-o", "g.png"], 1).contains("has not been trained"));
    assert!(!folder.join("e.png").exists() && !folder.join("g.png").exists());
}

#[test]
fn plot_refuses_what_cannot_be() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "run"]);
    let run = "checkpoints/run";
    for (args, said) in [
        (&["plot"][..], "no command given"),
        (&["plot", "sheet", "nowhere.safetensors"], "nowhere.safetensors"),
        (&["plot", "sheet", run, "-o", "sheet.jpg"], ".png"),
        (&["plot", "sheet", run, "-o", "no/folder/sheet.png"], "no/folder"),
        (&["plot", "sheet", run, "--count", "0"], "--count"),
        (&["plot", "compare", run, "--rows", "51"], "--rows"),
        (&["plot", "compare", run, "--data", "nowhere"], "nowhere"),
        (&["plot", "losses", run, "--seed", "3"], "--seed"),
    ] {
        let line = refused(folder, args, 2);
        assert!(line.contains(said), "{args:?}: {line}");
    }
}

/// A decay of the weights by a factor of -9 a step makes them explode: said while it happens, kept in the log, told by inspect.
#[test]
fn a_diagnosis_is_shown_live_and_afterwards() {
    let folder = workplace();
    let folder = folder.path();
    let healthy = train(folder, &["--name", "healthy"]);
    assert_eq!(healthy["diagnosis"], serde_json::json!([]));
    assert!(good(folder, &["inspect", "--diagnose", "checkpoints/healthy"]).contains("Nothing wrong"));
    assert_eq!(json(folder, &["inspect", "--diagnose", "checkpoints/healthy"])["diagnosis"], serde_json::json!([]));

    let broken = ["lr_autoencoder=10", "optimizer=adamw", "stage1_weight_decay=1"].map(|set| ["--set", set]).concat();
    let train = ["train", "recordings.jsonl", "--config", "small.toml", "--name", "broken"];
    let output = trajgan(folder, &[&train, &broken[..]].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let live = said.lines().find(|line| line.starts_with("Diagnosis, stage 1: ")).unwrap();
    assert!(live.contains("exploded") && live.contains("lower lr_autoencoder"), "{live}");
    let told = good(folder, &["inspect", "--diagnose", "checkpoints/broken"]);
    assert!(
        told.contains("likely cause: training has exploded") && told.contains("try: lower lr_autoencoder"),
        "{told}"
    );
    let found = json(folder, &["inspect", "--diagnose", "checkpoints/broken"]);
    assert_eq!(found["diagnosis"][0]["trouble"], "diverged");
    refused(folder, &["inspect", "--diagnose", "nowhere"], 2);
}

/// On a terminal the lines are those of a pipe, and with --json stdout is for the result alone.
#[test]
fn plot_and_inspect_say_the_same_on_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        crate::skip::skipped("script (util-linux), which makes terminals, is not installed");
        return;
    }
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "run", "--stage", "1"]);
    for args in ["plot losses checkpoints/run -o l.png", "inspect --diagnose checkpoints/run"] {
        let piped = good(folder, &args.split(' ').collect::<Vec<_>>());
        let shown = on_a_terminal(folder, args);
        assert_eq!(shown.replace("\r\n", "\n"), piped);
        let result = on_a_terminal(folder, &format!("{args} --json 2>/dev/null"));
        assert!(serde_json::from_str::<Value>(&result).unwrap().is_object());
    }
}

fn on_a_terminal(folder: &Path, args: &str) -> String {
    let mut script = Command::new("script");
    let output =
        script.args(["-qec", &format!("'{PROGRAM}' {args}"), "/dev/null"]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    text(&output.stdout)
}
