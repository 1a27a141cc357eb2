//! The program as its users see it: every command, for people and for programs, on a pipe and on a terminal; what it
//! refuses; and that a run which was stopped ends as if it had not been.
#![cfg(feature = "cli")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trajgan");

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    if !path.is_dir() {
        println!("skipped: ../shared is not there");
        return None;
    }
    Some(path)
}

fn trajgan(folder: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it, expects success, gives what it said.
fn good(folder: &Path, args: &[&str]) -> String {
    let output = trajgan(folder, args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let out = good(folder, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// Runs it, expects this exit code and one line on stderr, gives that line.
fn refused(folder: &Path, args: &[&str], code: i32) -> String {
    let output = trajgan(folder, args);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{err}", text(&output.stdout));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{args:?}: {err}");
    err
}

/// Movements of a hand that is a formula, one a line; every twentieth far from the others.
fn recordings(folder: &Path) -> &'static str {
    let mut lines = String::new();
    for i in 0..120 {
        let far = if i % 20 == 7 { 9.0 } else { 1.0 };
        let (n, length) = (12 + i % 25, 60.0 + 7.0 * i as f64);
        let column = |f: &dyn Fn(f64) -> f64| (0..n).map(|k| f(k as f64 / (n - 1) as f64)).collect::<Vec<_>>();
        let smooth = |u: f64| u * u * (3.0 - 2.0 * u);
        let x = column(&|u| (far * length * smooth(u)).round());
        let y = column(&|u| (f64::from(i % 7 - 3) * 20.0 * far * (u * 3.1).sin()).round() + 0.25 * u);
        let t: Vec<usize> = (0..n as usize).map(|k| 8 * k + k % 2).collect();
        lines += &format!("{}\n", serde_json::json!({ "x": x, "y": y, "t": t, "session": format!("s{}", i % 6) }));
    }
    fs::write(folder.join("recordings.jsonl"), lines).unwrap();
    "recordings.jsonl"
}

/// A model that learns next to nothing in next to no time.
const SMALL: &str = "
decoder = \"v6\"
encoder_hidden_dim = 8
encoder_num_layers = 1
decoder_hidden_dim = 8
decoder_num_layers = 1
latent_dim = 6
summary_dim = 10
expander_hidden_dim = 8
expander_num_layers = 1
noise_dim = 4
generator_hidden_dims = [12, 12]
discriminator_hidden_dims = [12]
stage1_iterations = 30
stage2_iterations = 20
batch_size = 16
log_interval = 10
eval_interval = 15
save_interval = 20
max_seq_len = 48
";

/// A folder with recordings and the settings of a small model.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    recordings(folder.path());
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    folder
}

fn train(folder: &Path, more: &[&str]) -> Value {
    json(folder, &[&["train", "recordings.jsonl", "--config", "small.toml"], more].concat())
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(value.as_str().unwrap())
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 13] = [
        &[],
        &["prepare"],
        &["validate"],
        &["train"],
        &["resume"],
        &["generate"],
        &["path"],
        &["evaluate"],
        &["inspect"],
        &["export"],
        &["runs", "list"],
        &["runs", "compare"],
        &["demo"],
    ];
    for command in commands {
        let help = good(folder.path(), &[command, &["--help"]].concat());
        assert!(help.contains("Example") && help.contains("trajgan"), "{command:?}: {help}");
    }
    assert!(good(folder.path(), &["--version"]).starts_with("trajgan "));
}

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
    // What is shown is a settings file.
    fs::write(folder.path().join("shown.toml"), toml::to_string(&flags).unwrap()).unwrap();
    assert_eq!(show(&["--config", "shown.toml"]), flags);
}

#[test]
fn generate_writes_all_forms() {
    let folder = workplace();
    let folder = folder.path();
    let model = train(folder, &[])["model"].as_str().unwrap().to_owned();
    let made = json(folder, &["generate", "--model", &model, "--count", "7", "-o", "a.jsonl", "--seed", "3"]);
    assert_eq!(made["count"], 7);
    let lines = fs::read_to_string(folder.join("a.jsonl")).unwrap();
    let movements: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(movements.len(), 7);
    let numbers = |v: &Value| v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    for m in &movements {
        let (x, t) = (numbers(&m["x"]), numbers(&m["t"]));
        assert!(x.len() == t.len() && x.len() == m["y"].as_array().unwrap().len() && x[0] == 0.0 && t[0] == 0.0);
        assert!(t.windows(2).all(|t| t[1] > t[0]));
    }
    // The same movements as text, and the later half of them by itself.
    good(folder, &["generate", "--model", &model, "--count", "7", "-o", "a.csv", "--seed", "3", "--threads", "3"]);
    let csv = fs::read_to_string(folder.join("a.csv")).unwrap();
    assert!(csv.starts_with("movement,t_ms,x,y\n0,0,0,0\n"), "{csv}");
    let xs = |k: usize| -> Vec<f64> {
        let rows = csv.lines().skip(1).map(|line| line.split(',').map(|w| w.parse().unwrap()).collect::<Vec<f64>>());
        rows.filter(|row| row[0] == k as f64).map(|row| row[2]).collect()
    };
    for (k, m) in movements.iter().enumerate() {
        let same = xs(k).iter().zip(numbers(&m["x"])).all(|(a, b)| (a - b).abs() < 0.0011);
        assert!(same && xs(k).len() == numbers(&m["x"]).len());
    }
    good(folder, &["generate", "--model", &model, "--count", "3", "--first", "4", "-o", "b.jsonl", "--seed", "3"]);
    let later: Vec<String> = lines.lines().skip(4).map(str::to_owned).collect();
    assert_eq!(fs::read_to_string(folder.join("b.jsonl")).unwrap().lines().collect::<Vec<_>>(), later);
    check_npz(folder, &model, &movements);
    // What was made can be learnt from.
    let again = json(folder, &["validate", "a.jsonl"]);
    assert_eq!(again["files"][0]["facts"]["movements"], 7);
    good(folder, &["generate", "--model", &model, "--features", "-o", "f.csv", "--count", "2"]);
    assert!(fs::read_to_string(folder.join("f.csv")).unwrap().starts_with("movement,dx,dy,speed,accel,"));
    good(folder, &["generate", "--model", &model, "--features", "-o", "f.jsonl", "--count", "2", "--psi", "0.5"]);
    let line: Value =
        serde_json::from_str(fs::read_to_string(folder.join("f.jsonl")).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(line["features"][0].as_array().unwrap().len(), 8);
    // Conditions of one's own.
    fs::write(folder.join("wanted.txt"), "100\n\n250.5\n400\n").unwrap();
    good(folder, &["generate", "--model", &model, "--conditions", "wanted.txt", "-o", "c.jsonl", "--seq-len", "20"]);
    let made = fs::read_to_string(folder.join("c.jsonl")).unwrap();
    let wanted: Vec<Value> = made.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect();
    let first = |v: &Value| v["wanted"][0].as_f64().unwrap();
    assert!((first(&wanted[1]) - 250.5).abs() < 0.01 && wanted.len() == 3 && numbers(&wanted[0]["x"]).len() == 20);
}

#[test]
fn the_closed_loop_decoder_ends_at_the_distance_asked_for() {
    let folder = workplace();
    let folder = folder.path();
    let run = train(folder, &["--decoder", "closed-loop", "--iterations", "15"]);
    let model = run["model"].as_str().unwrap();
    let log = fs::read_to_string(folder.join(path(&run["run"])).join("logs/progress.jsonl")).unwrap();
    assert!(log.lines().next().unwrap().contains("\"ticks\":"), "{log}");
    assert!(good(folder, &["inspect", model]).contains("walker"));
    good(folder, &["generate", "--model", model, "--count", "9", "--distance", "120", "-o", "a.jsonl"]);
    for line in fs::read_to_string(folder.join("a.jsonl")).unwrap().lines() {
        let m: Value = serde_json::from_str(line).unwrap();
        let last = |name: &str| m[name].as_array().unwrap().last().unwrap().as_f64().unwrap();
        let distance = last("x").hypot(last("y"));
        assert!((distance - 120.0).abs() < 1.0 && (m["wanted"][0].as_f64().unwrap() - distance).abs() < 0.01, "{line}");
    }
    good(folder, &["generate", "--model", model, "--count", "9", "-o", "a.npz"]);
    let mut npz = ndarray_npy::NpzReader::new(fs::File::open(folder.join("a.npz")).unwrap()).unwrap();
    assert_eq!(npz.by_name::<ndarray::OwnedRepr<f64>, ndarray::Ix3>("points.npy").unwrap().dim(), (9, 48, 3));
    assert!(
        refused(folder, &["generate", "--model", model, "-o", "b.csv", "--seq-len", "20"], 2).contains("closed-loop")
    );
    // Arrays have no pixels to walk in.
    good(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--config", "small.toml"]);
    let shown = good(folder, &["train", "prepared", "--iterations", "1", "--set", "encoder_hidden_dim=4"]);
    assert!(shown.contains("Direct: "), "{shown}");
    let line = refused(folder, &["train", "prepared", "--decoder", "closed-loop", "--set", "max_seq_len=48"], 2);
    assert!(line.contains("arrays of features"), "{line}");
}

#[test]
fn path_and_evaluate_use_a_model() {
    let folder = workplace();
    let folder = folder.path();
    let model =
        train(folder, &["--decoder", "closed-loop", "--iterations", "15"])["model"].as_str().unwrap().to_owned();
    let args = ["path", "100,200", "-50,350", "--model", &model, "--count", "3", "--polling", "125"];
    let paths = json(folder, &args);
    for p in paths.as_array().unwrap() {
        let ends = |name: &str| {
            let v = p[name].as_array().unwrap();
            (v[0].as_f64().unwrap(), v[v.len() - 1].as_f64().unwrap())
        };
        assert_eq!((ends("x"), ends("y"), ends("t").0), ((100.0, -50.0), (200.0, 350.0), 0.0));
    }
    assert_eq!(paths.as_array().unwrap().len(), 3);
    assert!(good(folder, &args).starts_with("movement,t_ms,x,y\n0,0,100,200\n"));
    assert!(refused(folder, &["path", "100", "200,1", "--model", &model], 2).contains("2 numbers"));
    assert!(refused(folder, &["path", "1,1", "9,9", "--model", &model, "--bounds", "2,2,5,5"], 2).contains("bounds"));

    let evaluate = ["evaluate", "recordings.jsonl", "--model", &model, "--quick"];
    let report = json(folder, &[&evaluate[..], &["--html", "report.html"]].concat());
    assert!(report.is_object() && fs::read_to_string(folder.join("report.html")).unwrap().contains("</html>"));
    assert!(good(folder, &evaluate).lines().count() > 10);
    refused(folder, &[&evaluate[..], &["--html", "report.txt"]].concat(), 2);
    refused(folder, &["evaluate", "nowhere", "--model", &model], 2);
}

fn check_npz(folder: &Path, model: &str, movements: &[Value]) {
    use ndarray::{Array1, Array3};
    good(folder, &["generate", "--model", model, "--count", "7", "-o", "a.npz", "--seed", "3"]);
    let mut npz = ndarray_npy::NpzReader::new(fs::File::open(folder.join("a.npz")).unwrap()).unwrap();
    let x: Array3<f32> = npz.by_name("X.npy").unwrap();
    let c: Array1<f32> = npz.by_name("C.npy").unwrap();
    let l: Array1<i32> = npz.by_name("L.npy").unwrap();
    let points: Array3<f64> = npz.by_name("points.npy").unwrap();
    assert_eq!((x.dim(), c.dim(), l.dim(), points.dim()), ((7, 48, 8), 7, 7, (7, 48, 3)));
    assert!(x.iter().chain(&c).all(|v| (-1.0..=1.0).contains(v)));
    for (i, m) in movements.iter().enumerate() {
        let list = m["x"].as_array().unwrap();
        assert_eq!(l[i] as usize, list.len());
        assert!(list.iter().enumerate().all(|(k, v)| (v.as_f64().unwrap() - points[[i, k, 0]]).abs() < 0.001));
    }
    good(folder, &["generate", "--model", model, "--count", "7", "-o", "b.npz", "--seed", "3", "--features"]);
    let mut npz = ndarray_npy::NpzReader::new(fs::File::open(folder.join("b.npz")).unwrap()).unwrap();
    assert_eq!(npz.names().unwrap().len(), 3);
    assert_eq!(npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::Ix3>("X.npy").unwrap(), x);
}

#[test]
fn inspect_export_and_runs_tell_of_models() {
    let folder = workplace();
    let folder = folder.path();
    let (first, second) = (train(folder, &[]), train(folder, &["--set", "lr_autoencoder=0.01", "--stage", "1"]));
    let (run, other) = (first["run"].as_str().unwrap(), second["run"].as_str().unwrap());
    let info = json(folder, &["inspect", run]);
    let sum: u64 = info["networks"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(info["parameters"].as_u64(), Some(sum));
    assert_eq!(info["stage2"]["iterations"], 20);
    let table = good(folder, &["inspect", run]);
    assert!(table.contains("stage 1: 30/30 iterations") && table.contains("discriminator"), "{table}");
    assert!(good(folder, &["inspect", other]).contains("stage 2: not trained"));

    let sizes = [&["-o", "m.safetensors"][..], &["-o", "h.safetensors", "--half"]]
        .map(|args| json(folder, &[&["export", run], args].concat())["bytes"].as_u64().unwrap());
    let full = fs::metadata(folder.join(first["model"].as_str().unwrap())).unwrap().len();
    assert!(sizes[1] < sizes[0] && sizes[0] < full, "{sizes:?} {full}");
    // Without its training state the model makes the same movements.
    for (model, out) in [(run, "a.jsonl"), ("m.safetensors", "b.jsonl"), ("h.safetensors", "h.jsonl")] {
        good(folder, &["generate", "--model", model, "--count", "3", "-o", out]);
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("a.jsonl"), read("b.jsonl"));
    assert_eq!(read("h.jsonl").lines().count(), 3);

    let list = json(folder, &["runs", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let of = |run: &str| list.as_array().unwrap().iter().find(|row| row["run"] == run).unwrap().clone();
    assert_eq!((&of(run)["stage2_iterations"], &of(other)["stage2_iterations"]), (&20.into(), &0.into()));
    assert!(good(folder, &["runs", "list"]).lines().count() == 3);
    let compared = json(folder, &["runs", "compare", run, other]);
    let names: Vec<&str> =
        compared["differences"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "lr_autoencoder");
    assert!(!names.contains(&"latent_dim") && names.contains(&"wasserstein"));
    assert!(good(folder, &["runs", "compare", run, other]).contains("lr_autoencoder"));
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
    // Neither another's folder nor a damaged one is replaced.
    fs::create_dir(folder.join("mine")).unwrap();
    refused(folder, &["prepare", "recordings.jsonl", "-o", "mine", "--overwrite"], 2);
    refused(folder, &["prepare", "recordings.jsonl", "-o", "prepared"], 2);
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
    let report = json(folder, &["validate", "set"]);
    let warning = |k: usize| report["files"][k]["warnings"].to_string();
    assert_eq!(report["files"][0]["facts"]["rate_hz"], 125.0);
    assert!(
        warning(1).contains("same as others") && warning(2).contains("milliseconds") && warning(3).contains("pixels")
    );
    put("time.json", r#"{"x":[0,5,30],"y":[0,1,2],"t":[0,8,8]}"#);
    put("notes.txt", "hello");
    let output = trajgan(folder, &["validate", "set", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bad = |file: &&Value| file["unusable"].is_array();
    let bad: Vec<&Value> = report["files"].as_array().unwrap().iter().filter(bad).collect();
    assert!(report["usable"] == false && bad.len() == 2, "{report}");
    assert!(bad[1]["unusable"].to_string().contains("t_ms: is 8"), "{report}");
    let shown = trajgan(folder, &["validate", "set"]);
    assert!(text(&shown.stdout).contains("NOT USABLE") && text(&shown.stderr).lines().count() == 1);
}

#[test]
fn wrong_flags_missing_files_and_unwritable_folders_are_one_line() {
    let folder = workplace();
    let folder = folder.path();
    let file = "small.toml"; // where a folder is wanted
    let below = "small.toml/runs";
    let model = train(folder, &["--iterations", "2"])["model"].as_str().unwrap().to_owned();
    let before = fs::read_dir(folder.join("checkpoints")).unwrap().count();
    let cases: [(&[&str], &str); 27] = [
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
        (&["resume", "nowhere"], "nowhere"),
        (&["generate", "--model", "nowhere", "-o", "x.csv"], "nowhere"),
        (&["generate", "--model", &model, "-o", "x.txt"], ".npz"),
        (&["generate", "--model", &model, "-o", "small.toml/x.csv"], "x.csv"),
        (&["generate", "--model", &model, "-o", "x.csv", "--seq-len", "4000"], "seq_len"),
        (&["generate", "--model", &model, "-o", "x.csv", "--psi", "0"], "psi"),
        (&["inspect", "nowhere"], "nowhere"),
        (&["prepare", "recordings.jsonl", "-o", "small.toml/x"], "small.toml"),
        (&["validate", "nowhere"], "nowhere"),
        (&["runs", "list", "--checkpoints", "nowhere"], "nowhere"),
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

/// Starts a training, sends it SIGINT after its n-th log line, and gives what it said last.
fn interrupted(folder: &Path, args: &[&str], after: usize) -> String {
    let mut command = Command::new(PROGRAM);
    let mut child =
        command.args(args).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stage_lines = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("[Stage"));
    assert_eq!(stage_lines.take(after).count(), after);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    lines.for_each(drop);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{err}");
    assert!(err.lines().count() == 1 && err.contains("go on with: trajgan resume"), "{err}");
    err
}

/// Both stages: stopped twice by Ctrl-C and resumed each time, the final file is that of a run which was not stopped.
#[cfg(unix)]
fn check_resume(decoder: &str) {
    let folder = workplace();
    let folder = folder.path();
    let options = ["--config", "small.toml", "--decoder", decoder, "--iterations", "400", "--seed", "11"];
    let train = ["train", "recordings.jsonl", "--name"];
    good(folder, &[&train[..], &["whole"], &options].concat());
    let said = interrupted(folder, &[&train[..], &["stopped"], &options, &["--threads", "2"]].concat(), 3);
    assert!(said.contains("stage1_iter"), "{said}");
    let said = interrupted(folder, &["resume", "checkpoints/stopped", "--threads", "1"], 40);
    assert!(said.contains("stage2_iter"), "{said}");
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
    let more = ["resume", "checkpoints/stopped", "--iterations", "410"];
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
        println!("skipped: script (util-linux), which makes terminals, is not installed");
        return;
    }
    let command = format!("'{PROGRAM}' train recordings.jsonl --config small.toml --iterations 300");
    let mut script = Command::new("script");
    let output =
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").current_dir(folder).output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("Stage 1 [") && shown.contains("/300 loss "), "{shown:?}");
    assert!(shown.contains("[Stage 2] Iter    300/300 | D: "), "{shown:?}");
    // With --json the terminal's stdout is for the result alone.
    let command = format!("{command} --json 2>progress.txt");
    let mut script = Command::new("script");
    let output = script.args(["-qec", &command, "/dev/null"]).current_dir(folder).output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert!(fs::read_to_string(folder.join("progress.txt")).unwrap().contains("[Stage 1] Iter    300/300"));
}

#[test]
fn demo_makes_model_and_movements() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["demo", "--out", "d", "--recordings", "60", "--iterations", "20", "--count", "12"];
    let said = good(folder, &small);
    assert!(said.contains("d/model.safetensors") && said.contains("What to look at:"), "{said}");
    let rows = |name: &str| fs::read_to_string(folder.join("d").join(name)).unwrap().lines().count();
    assert_eq!((rows("recordings.jsonl"), rows("movements.jsonl")), (60, 12));
    let first = fs::read(folder.join("d/movements.csv")).unwrap();
    let again = json(folder, &[&small[..], &["--threads", "1"]].concat());
    assert_eq!(again["stage1"]["iterations"], 20);
    assert!(fs::read(folder.join("d/movements.csv")).unwrap() == first, "same seed, other movements");
    good(folder, &["inspect", "d/model.safetensors"]);
    assert_eq!(json(folder, &["validate", "d/recordings.jsonl"])["usable"], true);
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
