//! Data in, and what the program refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::*;

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    if !path.is_dir() {
        crate::skip::skipped("../shared is not there");
        return None;
    }
    Some(path)
}

#[test]
fn prepare_reports_what_it_left_out_and_train_reads_what_it_wrote() {
    let folder = workplace();
    let folder = folder.path();
    let mut lines = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    lines += "{\"x\":[1,2,3],\"y\":[1,2],\"t\":[0,8,16]}\nnot json\n";
    fs::write(folder.join("recordings.jsonl"), &lines).unwrap();
    let report = json(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--config", "small.toml"]);
    assert_eq!((&report["read"]["read"], &report["read"]["counts"]["broken line"]), (&120.into(), &2.into()));
    assert!(report["read"]["examples"][0]["reason"].as_str().unwrap().contains("line 121"));
    assert_eq!(report["prepared"]["sessions"], 6);
    assert!(report["prepared"]["outliers"].as_u64().unwrap() > 0);
    let said =
        good(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--overwrite", "--config", "small.toml"]);
    assert!(said.contains("Rejected: 2") && said.contains("broken line") && said.contains("Split: "), "{said}");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3, "something was left beside the folder");
    let checked = json(folder, &["validate", "prepared"]);
    assert_eq!(checked["usable"], true);
    let shape = |letter: &str| checked["files"][0]["facts"][format!("{letter}_shape")].clone();
    let n = report["prepared"]["train"].as_u64().unwrap();
    assert_eq!((shape("X"), shape("C")), (serde_json::json!([n, 36, 8]), serde_json::json!([n])));
    let run = json(folder, &["train", "prepared", "--config", "small.toml", "--iterations", "5"]);
    assert_eq!(run["stage2"]["iterations"], 5);
    let shown = good(folder, &["train", "prepared", "--show-settings", "--set", "condition_dim=2"]);
    assert!(shown.contains("decoder = \"v6\"") && shown.contains("condition_dim = 2"), "{shown}");
    let line = refused(folder, &["train", "prepared", "--set", "condition_dim=2"], 2);
    assert!(line.contains("condition_dim"), "{line}");
    good(folder, &["validate", "prepared", "--set", "condition_dim=2"]); // it looks at the data as they are
    // What v6 leaves out is left out without being asked, too; and what a killed run left behind is in nobody's way.
    fs::create_dir(folder.join(".prepared.old")).unwrap();
    fs::write(folder.join(".prepared.old/X_train.npy"), "").unwrap();
    let plain = json(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--overwrite"]);
    assert!(plain["prepared"]["outliers"].as_u64().unwrap() > 0);
    assert!(!folder.join(".prepared.old").exists());
    // Neither another's folder nor a damaged one is replaced.
    fs::create_dir(folder.join("mine")).unwrap();
    refused(folder, &["prepare", "recordings.jsonl", "-o", "mine", "--overwrite"], 2);
    refused(folder, &["prepare", "recordings.jsonl", "-o", "prepared"], 2);
}

/// Overwriting is for folders of arrays alone, and not for what the arrays come from.
#[test]
fn prepare_replaces_nothing_but_its_own() {
    let folder = workplace();
    let folder = folder.path();
    let prepare = |input: &'static str| ["prepare", input, "-o", "prepared", "--overwrite", "--config", "small.toml"];
    good(folder, &prepare("recordings.jsonl"));
    assert!(refused(folder, &prepare("prepared"), 2).contains("the recordings lie in it"));
    let inside = folder.join("prepared/recordings.jsonl");
    fs::copy(folder.join("recordings.jsonl"), &inside).unwrap();
    assert!(refused(folder, &prepare("prepared/../prepared/recordings.jsonl"), 2).contains("the recordings lie in it"));
    assert!(refused(folder, &prepare("recordings.jsonl"), 2).contains("recordings.jsonl is in it"));
    fs::remove_file(&inside).unwrap();
    fs::create_dir(folder.join("prepared/scaler.json.d")).unwrap();
    assert!(refused(folder, &prepare("recordings.jsonl"), 2).contains("scaler.json.d is in it"));
    fs::remove_dir(folder.join("prepared/scaler.json.d")).unwrap();
    good(folder, &prepare("recordings.jsonl"));
}

/// Two at once would fill one folder: the second is refused, and leaves the first alone.
#[test]
fn prepare_is_alone_with_its_folder() {
    let folder = workplace();
    let folder = folder.path();
    let prepare = ["prepare", "recordings.jsonl", "-o", "prepared", "--config", "small.toml"];
    let lock = trajgan::files::lock(&folder.join(".prepared.lock")).unwrap();
    fs::create_dir(folder.join(".prepared.preparing")).unwrap();
    assert!(refused(folder, &prepare, 1).contains("prepared: another save to it is under way"));
    assert!(folder.join(".prepared.preparing").is_dir());
    drop(lock);
    good(folder, &prepare);
    assert!(!folder.join(".prepared.preparing").exists() && !folder.join(".prepared.lock").exists());
}

/// The folder's name and the file's are no UTF-8: JSON and TOML show them as well as they can.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_utf_8() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    let folder = workplace();
    let folder = folder.path();
    let odd = |name: &[u8]| OsStr::from_bytes(name).to_owned();
    let (data, runs, demo) = (odd(b"r\xff.jsonl"), odd(b"runs\xff"), odd(b"demo\xff"));
    let (arrays, model, csv) = (odd(b"a\xff"), odd(b"m\xff.safetensors"), odd(b"m\xff.csv"));
    let (picture, set) = (odd(b"p\xff.png"), odd(b"set\xff"));
    fs::copy(folder.join("recordings.jsonl"), folder.join(&data)).unwrap();
    let run = runs.as_bytes().iter().chain(b"/first").copied().collect::<Vec<u8>>();
    let run = odd(&run);
    let shown = |line: &[&dyn AsRef<OsStr>]| -> Value {
        let words: Vec<OsString> = line.iter().map(|word| word.as_ref().to_owned()).collect();
        let output = Command::new(PROGRAM).args(&words).arg("--json").current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        let value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(text(&output.stdout).contains('\u{fffd}'), "{words:?}: {value}");
        value
    };
    shown(&[&"validate", &data]);
    shown(&[&"prepare", &data, &"-o", &arrays]);
    shown(&[&"validate", &arrays]);
    shown(&[&"train", &data, &"--config", &"small.toml", &"--checkpoints", &runs, &"--name", &"first"]);
    let settings = fs::read_to_string(folder.join(&run).join("config.toml")).unwrap();
    assert!(settings.contains("r\u{fffd}.jsonl\""), "{settings}");
    shown(&[&"resume", &run, &"--data", &data, &"--iterations", &"40"]);
    shown(&[&"inspect", &run]);
    shown(&[&"inspect", &run, &"--diagnose"]);
    shown(&[&"export", &run, &"-o", &model]);
    shown(&[&"generate", &"--model", &model, &"--count", &"2", &"-o", &csv]);
    shown(&[&"plot", &"losses", &model, &"-o", &picture]);
    shown(&[&"runs", &"list", &"--checkpoints", &runs]);
    shown(&[&"runs", &"compare", &run, &model]);
    shown(&[&"demo", &"--out", &demo, &"--recordings", &"60", &"--iterations", &"4", &"--count", &"2"]);
    fs::create_dir(folder.join(&set)).unwrap();
    fs::write(folder.join(&set).join(&data), r#"{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}"#).unwrap();
    assert_eq!(shown(&[&"validate", &set])["files"][0]["path"], "set\u{fffd}/r\u{fffd}.jsonl");
}

#[test]
fn validate_names_the_bad_files() {
    let folder = workplace();
    let folder = folder.path();
    fs::create_dir(folder.join("set")).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.join("set").join(name), text).unwrap();
    put("good.json", r#"{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}"#);
    put("same.json", r#"{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}"#);
    put("seconds.json", r#"{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,0.008,0.016,0.024]}"#);
    put("unit.json", r#"{"x":[0,0.2,0.4],"y":[0,0.1,0.2],"t":[0,8,16]}"#);
    put("zoom.json", r#"{"x":[3.5,6.25,9],"y":[0,1,2],"t":[0,8,16]}"#);
    let report = json(folder, &["validate", "set"]);
    let warning = |k: usize| report["files"][k]["warnings"].to_string();
    assert_eq!(report["files"][0]["facts"]["rate_hz"], 125.0);
    assert_eq!(report["files"][0]["facts"]["clock_ms"], 8.0);
    assert!(
        warning(1).contains("same as others") && warning(2).contains("milliseconds") && warning(3).contains("pixels")
    );
    assert!(warning(4).contains("no further than 5.85: are the coordinates in pixels?"), "{report}");
    put("time.json", r#"{"x":[0,5,30],"y":[0,1,2],"t":[0,8,8]}"#);
    put("notes.txt", "hello");
    put("lines.jsonl", "{\"x\":[0,5,31,60],\"y\":[0,1,2,3],\"t\":[0,8,16,24]}\n{}\n");
    let output = trajgan(folder, &["validate", "set", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bad = |file: &&Value| file["unusable"].is_array();
    let bad: Vec<&Value> = report["files"].as_array().unwrap().iter().filter(bad).collect();
    assert!(report["usable"] == false && bad.len() == 3, "{report}");
    assert_eq!(
        bad[0]["unusable"],
        serde_json::json!(["broken line: 1", "the first: set/lines.jsonl: line 2: x: is missing"])
    );
    assert!(bad[2]["unusable"].to_string().contains("t_ms: is 8"), "{report}");
    let shown = trajgan(folder, &["validate", "set"]);
    assert!(text(&shown.stdout).contains("NOT USABLE") && text(&shown.stderr).lines().count() == 1);
}

/// What can be read, but is too long to train on.
#[test]
fn validate_knows_what_training_leaves_out() {
    let folder = workplace();
    let folder = folder.path();
    let some = json(folder, &["validate", "recordings.jsonl", "--set", "max_seq_len=30"]);
    assert!(some["files"][0]["warnings"].to_string().contains("more points than max_seq_len, 30: "), "{some}");
    let none = trajgan(folder, &["validate", "recordings.jsonl", "--set", "max_seq_len=8"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stdout).contains("left out of training, more points than max_seq_len, 8: 120"));
}

/// A closed loop is asked for targets: recordings' own conditions are no reason not to learn from them.
#[test]
fn conditions_of_several_numbers_do_not_keep_a_closed_loop_from_training() {
    let folder = workplace();
    let folder = folder.path();
    let lines = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    let with = |line: &str| line.replacen('{', "{\"condition\":[1,2],", 1) + "\n";
    fs::write(folder.join("two.jsonl"), lines.lines().map(with).collect::<String>()).unwrap();
    let args = ["train", "two.jsonl", "--iterations", "2", "--preset", "fast"];
    assert!(text(&trajgan(folder, &args).stdout).contains("does not use conditions of the recordings' own"));
}

/// A model that lies in no run folder has no file that says how its recordings were read.
#[test]
fn recordings_of_a_single_model_are_read_as_told() {
    let folder = workplace();
    let folder = folder.path();
    let lines = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    let mut csv = "user,session,t,x,y\n".to_owned();
    for (k, line) in lines.lines().enumerate() {
        let movement: Value = serde_json::from_str(line).unwrap();
        let of =
            |name: &str| movement[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        for ((t, x), y) in of("t").iter().zip(of("x")).zip(of("y")) {
            csv += &format!("u,s{k},{},{x},{y}\n", t / 1000.0);
        }
    }
    fs::write(folder.join("seconds.csv"), csv).unwrap();
    let args = ["train", "seconds.csv", "--set", "csv_seconds=true", "--iterations", "2", "--preset", "fast", "--json"];
    let model: Value = serde_json::from_slice(&trajgan(folder, &args).stdout).unwrap();
    fs::copy(folder.join(model["model"].as_str().unwrap()), folder.join("alone.safetensors")).unwrap();
    let evaluate = ["evaluate", "--model", "alone.safetensors", "seconds.csv", "--quick"];
    assert!(refused(folder, &evaluate, 1).contains("csv_seconds"));
    let set = |setting| [&evaluate[..], &["--set", setting]].concat();
    assert!(refused(folder, &set("seed=9"), 2).contains("expected one of how recordings are read"));
    assert!(refused(folder, &set("max_speed=inf"), 2).contains("max_speed: expected a finite number"));
    assert!(text(&trajgan(folder, &set("csv_seconds=true")).stdout).contains("forest_auc"));
}

/// What no file shows alone, but training on all of them does.
#[test]
fn validate_looks_at_all_files_together() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let deep = folder.join("set/1/2/3/4/5/6/7/8");
    fs::create_dir_all(&deep).unwrap();
    let movement = r#"{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}"#;
    fs::write(folder.join("set/a.json"), movement).unwrap();
    fs::write(deep.join("b.json"), movement.replace('}', ",\"condition\":[1,2]}")).unwrap();
    let report = json(folder, &["validate", "set"]);
    let files = report["files"].as_array().unwrap();
    assert!(report["usable"] == true && files.len() == 3, "{report}");
    let left_out = "left out, condition unlike the first movement's: 1";
    assert_eq!(files[2]["warnings"], serde_json::json!([left_out]));
    fs::create_dir(deep.join("9")).unwrap();
    fs::write(deep.join("9/c.json"), movement).unwrap();
    let output = trajgan(folder, &["validate", "set"]);
    assert!(!output.status.success() && text(&output.stdout).contains("is nested more than 8 deep"));
    assert!(refused(folder, &["train", "set"], 1).contains("is nested more than 8 deep"));
}

#[test]
fn wrong_flags_missing_files_and_unwritable_folders_are_one_line() {
    let folder = workplace();
    let folder = folder.path();
    let file = "small.toml"; // where a folder is wanted
    let below = "small.toml/runs";
    let model = train(folder, &["--iterations", "2"])["model"].as_str().unwrap().to_owned();
    fs::write(folder.join("named.toml"), "config_preset = \"fast\"\n").unwrap();
    let before = fs::read_dir(folder.join("checkpoints")).unwrap().count();
    let cases: [(&[&str], &str); 48] = [
        (&["train", "recordings.jsonl", "--set", "num_workers=2"], "--threads"),
        (&[], "no command"),
        (&["trian"], "train"),
        (&["train", "--itrations", "3"], "--iterations"),
        (&["train"], "data"),
        (&["train", "nowhere"], "nowhere"),
        (&["train", "recordings.jsonl", "--config", "nowhere.toml"], "nowhere.toml"),
        (&["train", "recordings.jsonl", "--preset", "huge"], "recommended"),
        (&["train", "recordings.jsonl", "--stage", "3"], "both"),
        (&["train", "recordings.jsonl", "--stage", "2"], "--from"),
        (&["train", "recordings.jsonl", "--set", "latnet_dim=3"], "latnet_dim"),
        (&["train", "recordings.jsonl", "--set", "latent_dim=many"], "latent_dim"),
        (&["train", "recordings.jsonl", "--set", "latent_dim"], "NAME=VALUE"),
        (&["train", "recordings.jsonl", "--set", "latent_dim=0"], "latent_dim is 0"),
        (&["train", "recordings.jsonl", "--batch-size", "-1"], "--batch-size"),
        (&["train", "recordings.jsonl", "--config", file, "--checkpoints", below], below),
        (&["train", "recordings.jsonl", "--from", &model, "--set", "latent_dim=7"], "latent_dim"),
        (&["train", "recordings.jsonl", "--from", &model, "--preset", "fast"], "--preset"),
        (&["train", "recordings.jsonl", "--set", "config_preset=huge"], "recommended"),
        (&["train", "recordings.jsonl", "--from", &model, "--set", "config_preset=fast"], "config_preset"),
        (&["train", "recordings.jsonl", "--from", &model, "--config", "named.toml"], "config_preset"),
        (&["resume", &model, "--set", "config_preset=fast"], "config_preset"),
        (&["resume", "nowhere"], "nowhere"),
        (&["generate", "--model", "nowhere", "-o", "x.csv"], "nowhere"),
        (&["generate", "--model", &model, "-o", "x.txt"], ".npz"),
        (&["generate", "--model", &model, "-o", "small.toml/x.csv"], "x.csv"),
        (&["generate", "--model", &model, "-o", "x.csv", "--seq-len", "4000"], "seq_len"),
        (&["generate", "--model", &model, "-o", "x.csv", "--psi", "0"], "psi"),
        (&["inspect", "nowhere"], "nowhere"),
        (&["prepare", "recordings.jsonl", "-o", "small.toml/x"], "small.toml"),
        (&["validate", "nowhere"], "nowhere"),
        (&["validate", "recordings.jsonl", "--set", "pause_ms=long"], "pause_ms"),
        (&["runs", "list", "--checkpoints", "nowhere"], "nowhere"),
        (&["runs", "compare", "nowhere", &model], "nowhere"),
        (&["runs", "compare", &model], "<RUNS>"),
        (&["path", "1,1", "9,9", "--model", "nowhere"], "nowhere"),
        (&["path", "1,1", "9,9", "--model", &model, "--polling", "9000"], "polling_hz is 9000"),
        (&["path", "1,1", "9,9", "--model", &model, "--max-duration", "-1"], "duration_ms"),
        (&["export", "nowhere", "-o", "x.safetensors"], "nowhere"),
        (&["export", &model, "-o", "x.bin"], ".safetensors"),
        (&["evaluate", "recordings.jsonl", "--model", "nowhere"], "nowhere"),
        // Not even root may write there.
        (&["train", "recordings.jsonl", "--config", file, "--checkpoints", "/sys/none"], "/sys/none"),
        (&["prepare", "recordings.jsonl", "-o", "/sys/none"], "/sys/"),
        (&["generate", "--model", &model, "-o", "/sys/none.csv"], "/sys/none.csv"),
        (&["export", &model, "-o", "/sys/none.safetensors"], "/sys/none.safetensors"),
        (&["evaluate", "recordings.jsonl", "--model", &model, "--html", "/sys/none.html"], "/sys/none.html"),
        (&["demo", "--out", "/sys/none"], "/sys/none"),
        (&["demo", "--out", "d", "--recordings", "5"], "--recordings"),
    ];
    for (args, named) in cases {
        let line = refused(folder, args, 2);
        assert!(line.contains(named), "{args:?}: {line}");
    }
    // What was read, but is not what it should be, is work that failed.
    fs::write(folder.join("broken.safetensors"), b"no model").unwrap();
    assert!(refused(folder, &["inspect", "broken.safetensors"], 1).contains("broken.safetensors"));
    fs::write(folder.join("unknown.toml"), "latent_dim = 4\nfoo = 1\n").unwrap();
    assert!(refused(folder, &["train", "recordings.jsonl", "--config", "unknown.toml"], 2).contains("foo"));
    fs::write(folder.join("syntax.toml"), "latent_dim = = 4\n").unwrap();
    assert!(refused(folder, &["train", "recordings.jsonl", "--config", "syntax.toml"], 2).contains("syntax.toml"));
    // Nothing half-written is left behind.
    assert_eq!(fs::read_dir(folder.join("checkpoints")).unwrap().count(), before);
    assert!(!folder.join("x.csv").exists() && !folder.join("x").exists());
}

#[test]
fn real_recordings_of_all_forms() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = |name: &str| shared.join("data").join(name).to_str().unwrap().to_owned();
    for name in ["balabit/processed", "balabit/sessions", "json_examples"] {
        assert_eq!(json(folder, &["validate", &at(name)])["usable"], true, "{name}");
    }
    let sessions = json(folder, &["prepare", &at("balabit/sessions"), "-o", "prepared"]);
    assert!(sessions["read"]["counts"].as_object().unwrap().len() > 3, "{sessions}");
    fs::write(folder.join("small.toml"), SMALL).unwrap();
    let options = ["--config", "small.toml", "--set", "max_seq_len=128", "--iterations", "10"];
    for name in [at("balabit/processed"), "prepared".into()] {
        let run = json(folder, &[&["train", name.as_str()], &options[..]].concat());
        assert_eq!(run["stage2"]["iterations"], 10);
    }
}
