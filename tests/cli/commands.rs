//! Commands that use a model.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::*;

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 16] = [
        &[],
        &["prepare"],
        &["validate"],
        &["train"],
        &["resume"],
        &["generate"],
        &["path"],
        &["evaluate"],
        &["plot", "compare"],
        &["plot", "sheet"],
        &["plot", "losses"],
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
    fs::write(folder.join("wanted.txt"), "\u{feff}100\n\n250.5\n400\n").unwrap();
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
    let said = good(folder, &["generate", "--model", model, "--count", "9", "--distance", "120", "-o", "a.jsonl"]);
    assert!(!said.contains("conditions are outside"), "{said}");
    for out in ["b.jsonl", "b.csv", "b.npz"] {
        let said = good(folder, &["generate", "--model", model, "--count", "9", "--distance", "1000000", "-o", out]);
        assert!(said.contains("Warning: 9 of 9 took all 48 points of max_seq_len: "), "{said}");
    }
    let said = good(folder, &["generate", "--model", model, "--count", "9", "--distance", "5", "-o", "b.jsonl"]);
    assert!(said.contains("Warning: 9 of 9 conditions are outside what was learnt, "), "{said}");
    let astronomic =
        ["generate", "--model", model, "--count", "2000000000000000000", "--distance", "9", "-o", "b.jsonl"];
    assert!(refused(folder, &astronomic, 2).contains("there is no memory for so many"));
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
    good(folder, &["generate", "--model", model, "-o", "b.csv", "--candidates", "1"]);
    good(folder, &["path", "0,0", "90,20", "--model", model, "--candidates", "0"]);
    for command in [&["generate", "-o", "b.csv"][..], &["path", "0,0", "90,20"]] {
        // Of so few recordings nobody learns to choose.
        let few = [command, &["--model", model, "--candidates", "2"]].concat();
        assert!(refused(folder, &few, 1).contains("200 training movements"));
    }
    // Arrays have no pixels to walk in.
    good(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--config", "small.toml"]);
    let shown = good(folder, &["train", "prepared", "--iterations", "1", "--set", "encoder_hidden_dim=4"]);
    assert!(shown.contains("Direct: "), "{shown}");
    let line = refused(folder, &["train", "prepared", "--decoder", "closed-loop", "--set", "max_seq_len=48"], 2);
    assert!(line.contains("arrays of features"), "{line}");
}

/// Its movements are asked for by distance, whatever conditions the recordings have and though all are as long.
#[test]
fn the_closed_loop_decoder_has_no_other_condition_than_the_distance() {
    let folder = workplace();
    let folder = folder.path();
    let line = |i: u32| {
        let n = 20 + i % 9;
        let u = |k: u32| f64::from(k) / f64::from(n - 1);
        let x: Vec<f64> = (0..n).map(|k| (100.0 * u(k) * (2.0 - u(k))).round()).collect();
        let t: Vec<u32> = (0..n).map(|k| 8 * k).collect();
        format!("{}\n", serde_json::json!({ "x": x, "y": vec![0; n as usize], "t": t, "condition": [7] }))
    };
    fs::write(folder.join("own.jsonl"), (0..60).map(line).collect::<String>()).unwrap();
    let train = |data: &str, name: &str, more: &[&str]| {
        let args = ["train", data, "--config", "small.toml", "--iterations", "15", "--name", name];
        let said = good(folder, &[&args[..], more].concat());
        // Not of what is said of few recordings.
        let conditions = said.lines().filter(|line| line.starts_with("Warning: the closed-loop decoder"));
        conditions.map(str::to_owned).collect::<Vec<_>>()
    };
    let closed_loop = ["--decoder", "closed-loop"];
    let own = train("own.jsonl", "own", &closed_loop);
    assert!(own.len() == 1 && own[0].contains("does not use conditions of the recordings' own"), "{own:?}");
    let path = train("recordings.jsonl", "path", &[&closed_loop[..], &["--set", "condition=path"]].concat());
    assert!(path.len() == 1 && path[0].contains("does not use condition = path"), "{path:?}");
    assert!(train("recordings.jsonl", "plain", &closed_loop).is_empty() && train("own.jsonl", "v6", &[]).is_empty());

    let shown = good(folder, &["inspect", "checkpoints/own"]);
    assert!(shown.contains("data: distances 100.0 to 100.0 px"), "{shown}");
    let generate = ["generate", "--model", "checkpoints/own", "--count", "3", "--distance", "300", "-o"];
    good(folder, &[&generate[..], &["a.jsonl"]].concat());
    for line in fs::read_to_string(folder.join("a.jsonl")).unwrap().lines() {
        let m: Value = serde_json::from_str(line).unwrap();
        let x = m["x"].as_array().unwrap().last().unwrap();
        assert_eq!((x.as_f64(), &m["wanted"]), (Some(300.0), &serde_json::json!([300.0])));
    }
    good(folder, &[&generate[..], &["a.npz"]].concat());
    let mut npz = ndarray_npy::NpzReader::new(fs::File::open(folder.join("a.npz")).unwrap()).unwrap();
    let c: ndarray::Array1<f32> = npz.by_name("C.npy").unwrap();
    assert_eq!(c.to_vec(), [300.0; 3]);
}

#[test]
fn path_and_evaluate_use_a_model() {
    let folder = workplace();
    let folder = folder.path();
    let model =
        train(folder, &["--decoder", "closed-loop", "--iterations", "15"])["model"].as_str().unwrap().to_owned();
    let fraction = refused(folder, &["path", "10.5,2", "90,2", "--model", &model], 2);
    assert!(fraction.contains("10.5 is no whole pixel: say --fractions"), "{fraction}");
    good(folder, &["path", "10.5,2", "90,2", "--model", &model, "--fractions"]);
    let forced = trajgan(folder, &["path", "0,0", "400,0", "--model", &model, "--max-duration", "20"]);
    assert!(text(&forced.stderr).contains("forced into the bounds or the duration, and show it: 1"));
    let wild = ["path", "0,0", "200,0", "--model", &model, "--count", "5", "--temperature", "50"];
    let said = text(&trajgan(folder, &wild).stderr);
    assert!(said.contains("Paths that took all 48 points of max_seq_len, most of them strayed: "), "{said}");
    let polled = trajgan(folder, &[&wild[..], &["--polling", "500"]].concat());
    assert!(!text(&polled.stderr).contains("strayed"), "it cannot be told from polled points");
    let astronomic = ["path", "100,200", "-50,350", "--model", &model, "--count", "1000000000000000000"];
    let said = refused(folder, &astronomic, 2);
    assert!(said.contains("--count 1000000000000000000: there is no memory for so many"), "{said}");
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
    let plain = good(folder, &args);
    assert!(plain.starts_with("movement,t_ms,x,y\n0,0,100,200\n"));
    // The last of three by itself, whatever the threads; and one of a certain duration.
    let last = json(folder, &[&args[..5], &["--first", "2", "--polling", "125", "--threads", "2"]].concat());
    assert_eq!(last[0], paths[2]);
    let timed = ["--min-duration", "500", "--max-duration", "500", "--temperature", "0.8", "--fractions"];
    let timed = json(folder, &[&args[..5], &timed].concat());
    assert_eq!(timed[0]["t"].as_array().unwrap().last().unwrap().as_f64().map(f64::round), Some(500.0));
    assert!(refused(folder, &["path", "100", "200,1", "--model", &model], 2).contains("2 numbers"));
    assert!(refused(folder, &["path", "1,1", "9,9", "--model", &model, "--bounds", "2,2,5,5"], 2).contains("bounds"));

    let evaluate = ["evaluate", "recordings.jsonl", "--model", &model, "--quick"];
    let said = good(folder, &[&evaluate[..], &["--html", "report.html"]].concat());
    assert!(said.lines().count() > 10);
    // After so little training walks do not find their ends.
    let forced = &json(folder, &evaluate)["took_all_points"];
    assert!(forced.as_u64() > Some(0) && said.contains(&format!("Warning: {forced} of ")), "{forced} {said}");
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(html.contains("</html>") && html.contains(&format!("Warning: {forced} of ")));
    refused(folder, &[&evaluate[..], &["--html", "report.txt"]].concat(), 2);
    refused(folder, &["evaluate", "nowhere", "--model", &model], 2);
    let few = few_recordings(folder);
    let line = refused(folder, &["evaluate", few, "--model", &model, "--quick"], 2);
    assert!(line.contains("test split is ") && line.contains(" movements, expected 20 or more"), "{line}");
    // The run knows its data; what was read otherwise has other splits.
    let of_run = trajgan(folder, &["evaluate", "--model", &model, "--quick", "--device", "cpu"]);
    let said = text(&of_run.stdout) + &text(&of_run.stderr);
    assert!(of_run.status.success() && !said.contains("Other data"), "{said}");
    let all = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    fs::write(folder.join("other.jsonl"), all.lines().rev().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    let other = good(folder, &["evaluate", "other.jsonl", "--model", &model, "--quick"]);
    assert!(other.contains("Other data than it was trained on"), "{other}");
    assert!(
        refused(folder, &["generate", "--model", &model, "-o", "a.jsonl", "--device", "gpu"], 2).contains("auto, cpu")
    );
}

/// Too few to judge a model by.
fn few_recordings(folder: &Path) -> &'static str {
    let all = fs::read_to_string(folder.join("recordings.jsonl")).unwrap();
    let some = all.lines().skip(8).take(24).map(|line| format!("{line}\n")).collect::<String>();
    fs::write(folder.join("few.jsonl"), some).unwrap();
    "few.jsonl"
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
    let preset = json(folder, &["inspect", "--preset", "large", "--decoder", "v6"]);
    assert_eq!((&preset["config"]["summary_dim"], preset["networks"]["decoder"].is_u64()), (&128.into(), true));
    assert!(good(folder, &["inspect", "--preset", "default"]).contains("walker"));
    refused(folder, &["inspect"], 2);

    let sizes = [&["-o", "m.safetensors"][..], &["-o", "h.safetensors", "--half"]]
        .map(|args| json(folder, &[&["export", run], args].concat())["bytes"].as_u64().unwrap());
    let full = fs::metadata(folder.join(first["model"].as_str().unwrap())).unwrap().len();
    assert!(sizes[1] < sizes[0] && sizes[0] < full, "{sizes:?} {full}");
    // Over itself it would lose its training state.
    let model = first["model"].as_str().unwrap();
    let same = format!("{run}/logs/../final.safetensors");
    assert!(refused(folder, &["export", model, "-o", &same], 2).contains("training state"));
    assert_eq!(fs::metadata(folder.join(model)).unwrap().len(), full);
    // Without its training state the model makes the same movements.
    for (model, out) in [(run, "a.jsonl"), ("m.safetensors", "b.jsonl"), ("h.safetensors", "h.jsonl")] {
        good(folder, &["generate", "--model", model, "--count", "3", "-o", out]);
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("a.jsonl"), read("b.jsonl"));
    assert_eq!(read("h.jsonl").lines().count(), 3);

    // A run that cannot be read hides no other.
    fs::create_dir(folder.join("checkpoints/broken")).unwrap();
    fs::write(folder.join("checkpoints/broken/final.safetensors"), "nothing").unwrap();
    let output = trajgan(folder, &["runs", "list"]);
    assert!(output.status.success() && text(&output.stdout).lines().count() == 4);
    assert!(text(&output.stderr).contains("checkpoints/broken"), "{}", text(&output.stderr));
    fs::remove_dir_all(folder.join("checkpoints/broken")).unwrap();
    let list = json(folder, &["runs", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let of = |run: &str| list.as_array().unwrap().iter().find(|row| row["run"] == run).unwrap().clone();
    assert_eq!((&of(run)["stage2_iterations"], &of(other)["stage2_iterations"]), (&20.into(), &0.into()));
    assert!(good(folder, &["runs", "list"]).lines().count() == 3);
    let name = Path::new(run).file_name().unwrap().to_str().unwrap();
    let named = |args: &[&str]| json(folder, &[&["runs", "list"], args].concat());
    assert_eq!(named(&["nothing of the kind"]), Value::Array(vec![]));
    assert_eq!(named(&[&name[3..]]).as_array().unwrap().len(), if other.contains(&name[3..]) { 2 } else { 1 });
    assert_eq!(named(&["--latest", "1"])[0]["run"], other);
    let compared = json(folder, &["runs", "compare", run, other]);
    let names: Vec<&str> =
        compared["differences"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "lr_autoencoder");
    assert!(!names.contains(&"latent_dim") && names.contains(&"wasserstein"));
    assert!(good(folder, &["runs", "compare", run, other]).contains("lr_autoencoder"));
}

#[test]
fn demo_makes_model_and_movements() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let small = ["demo", "--out", "d", "--recordings", "60", "--iterations", "20", "--count", "12"];
    let said = good(folder, &small);
    assert!(said.contains("d/model.safetensors") && said.contains("What to look at in d/picture.png:"), "{said}");
    let rows = |name: &str| fs::read_to_string(folder.join("d").join(name)).unwrap().lines().count();
    assert_eq!(&fs::read(folder.join("d/picture.png")).unwrap()[..4], b"\x89PNG");
    assert_eq!((rows("recordings.jsonl"), rows("movements.jsonl")), (60, 12));
    let first = fs::read(folder.join("d/movements.csv")).unwrap();
    // Its own files are replaced, somebody else's are not.
    fs::create_dir(folder.join("mine")).unwrap();
    fs::write(folder.join("mine/movements.csv"), "mine").unwrap();
    let mine = refused(folder, &[&small[..2], &["mine"], &small[3..]].concat(), 2);
    assert!(mine.contains("mine/movements.csv") && mine.contains("name another folder with --out"), "{mine}");
    assert_eq!(fs::read_dir(folder.join("mine")).unwrap().count(), 1);
    let again = json(folder, &[&small[..], &["--threads", "1"]].concat());
    assert_eq!(again["stage1"]["iterations"], 20);
    assert!(fs::read(folder.join("d/movements.csv")).unwrap() == first, "same seed, other movements");
    good(folder, &["inspect", "d/model.safetensors"]);
    assert_eq!(json(folder, &["validate", "d/recordings.jsonl"])["usable"], true);
}

/// A result that is lost is no success; a reader that has had enough is no failure.
#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    use std::process::{Command, Stdio};

    for args in [&["inspect", "--preset", "fast", "--json"][..], &["train", "--show-settings"], &["--help"]] {
        let run = |out: Stdio| Command::new(PROGRAM).args(args).stdout(out).output().unwrap();
        let output = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        let err = text(&output.stderr);
        assert!(output.status.code() == Some(1) && err.starts_with("error: "), "{args:?}: {:?} {err}", output.status);
        assert!(err.contains("cannot be written") && err.lines().count() == 1, "{args:?}: {err}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", text(&output.stderr));
    }
}

/// A shell's limit on files is an error like a full disk, and leaves nothing half-written.
#[cfg(target_os = "linux")]
#[test]
fn a_file_above_the_limit_is_a_failure() {
    let folder = workplace();
    let limited = "ulimit -f 8; exec \"$0\" train recordings.jsonl --config small.toml --stage 1 --name long";
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", limited, PROGRAM]).current_dir(folder.path()).output().unwrap();
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("File too large"), "{:?} {err}", output.status);
    let left = fs::read_dir(folder.path().join("checkpoints/long")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).count(), 0);
}

/// What the settings say of noise holds for all that is made, not only for `generate`.
#[test]
fn the_models_truncation_psi_is_that_of_samples_and_pictures() {
    let folder = workplace();
    let folder = folder.path();
    let runs = ["1.0", "0.01"].map(|psi| train(folder, &["--name", psi, "--set", &format!("truncation_psi={psi}")]));
    let features = |name: &Path| {
        let mut npz = ndarray_npy::NpzReader::new(fs::File::open(folder.join(name)).unwrap()).unwrap();
        npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::Ix3>("X.npy").unwrap()
    };
    for run in &runs {
        good(folder, &["generate", "--model", run["run"].as_str().unwrap(), "-o", "a.npz"]);
        assert_eq!(features(&path(&run["samples"])), features(Path::new("a.npz")));
    }
    let bytes = |path: &Path| fs::read(folder.join(path)).unwrap();
    let [wide, narrow] = runs.each_ref().map(|run| bytes(&path(&run["pictures"][1])));
    assert!(wide != narrow, "the comparison is drawn without truncation");
    let [wide, narrow] = runs.each_ref().map(|run| {
        good(folder, &["plot", "sheet", run["run"].as_str().unwrap(), "-o", "sheet.png"]);
        bytes(Path::new("sheet.png"))
    });
    assert!(wide != narrow, "the sheet is drawn without truncation");
}

/// The seed's limits are optional: without them nobody knows pixels, but features and summaries can be judged.
#[test]
fn a_model_of_arrays_without_limits_is_judged_by_its_features() {
    let folder = workplace();
    let folder = folder.path();
    good(folder, &["prepare", "recordings.jsonl", "-o", "prepared", "--config", "small.toml"]);
    fs::remove_file(folder.join("prepared/scaler.json")).unwrap();
    let run = json(folder, &["train", "prepared", "--config", "small.toml"]);
    let evaluate = ["evaluate", "--model", run["run"].as_str().unwrap(), "--quick", "--html", "page.html"];
    let report = json(folder, &evaluate);
    let names: Vec<&str> = report["scores"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    for name in ["mmd", "discriminative_accuracy", "predictive_ratio", "latent_mmd", "latent_coverage"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(
        !names.contains(&"forest_auc")
            && report["memorisation"].is_null()
            && report["features"] == Value::Array(vec![])
    );
    assert!(report["sizes"]["held_out"].as_u64().unwrap() >= 20);
    assert!(fs::read_to_string(folder.join("page.html")).unwrap().contains("latent_coverage"));
    // With limits the same network is judged by the same features: those that it draws, not those of its points.
    good(folder, &["prepare", "recordings.jsonl", "-o", "limits", "--config", "small.toml"]);
    let judged = ["limits", "prepared"].map(|data| {
        let run = json(folder, &["train", data, "--config", "small.toml", "--set", "augment_mirror=false"]);
        let report = json(folder, &["evaluate", "--model", run["run"].as_str().unwrap(), "--quick"]);
        let value =
            |name| report["scores"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap()["value"].clone();
        ["mmd", "mean_diff", "std_diff", "temporal_diff"].map(value)
    });
    assert_eq!(judged[0], judged[1]);
    let text = good(folder, &evaluate);
    assert!(text.contains("predictive_mae") && !text.contains("Memorisation") && !text.contains("Fitts"), "{text}");
    good(folder, &["prepare", few_recordings(folder), "-o", "few", "--config", "small.toml"]);
    let line = refused(folder, &["evaluate", "few", "--model", run["run"].as_str().unwrap(), "--quick"], 2);
    assert!(line.contains("test split is ") && line.contains(" movements, expected 20 or more"), "{line}");
}

/// Weights of the original, by the names that its state_dict has.
#[test]
fn weights_can_be_imported() {
    let folder = workplace();
    let folder = folder.path();
    let run = train(folder, &["--name", "own"]);
    let model = run["model"].as_str().unwrap();
    let import = |weights: &'static str| {
        [
            "train",
            "recordings.jsonl",
            "--config",
            "small.toml",
            "--stage",
            "1",
            "--iterations",
            "1",
            "--import",
            weights,
        ]
    };
    fs::copy(folder.join(model), folder.join("weights.safetensors")).unwrap();
    good(folder, &import("weights.safetensors"));
    let line = refused(folder, &[&import("weights.safetensors")[..], &["--set", "latent_dim=8"]].concat(), 1);
    assert!(line.contains("latent_dim"), "{line}");
    fs::write(folder.join("weights.pt"), b"PK\x03\x04 and so on").unwrap();
    let line = refused(folder, &import("weights.pt"), 1);
    assert!(line.contains("a zip archive") && line.contains("safetensors.torch.save_file"), "{line}");
}

/// The place of a page is tried before the work, under a name that is nobody's.
#[cfg(unix)]
#[test]
fn trying_a_place_touches_no_other_file() {
    let folder = workplace();
    let folder = folder.path();
    fs::write(folder.join("important"), "precious").unwrap();
    std::os::unix::fs::symlink("important", folder.join(".r.html.trial")).unwrap();
    refused(folder, &["evaluate", "--model", "none", "--html", "r.html"], 2);
    assert_eq!(fs::read(folder.join("important")).unwrap(), b"precious");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains("r.html")).count(), 1);
}
