//! Every command three ways: on a pipe, for programs, and on a terminal.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::*;

/// Commands with arguments that can be given again; `N` is another number each time.
const COMMANDS: [&[&str]; 14] = [
    &["prepare", "recordings.jsonl", "-o", "prepared", "--overwrite", "--config", "small.toml"],
    &["validate", "recordings.jsonl"],
    &["train", "recordings.jsonl", "--config", "small.toml"],
    &["resume", "checkpoints/first", "--iterations", "N"],
    &["generate", "--model", MODEL, "--count", "5", "-o", "new.jsonl"],
    &["path", "10,20", "150,60", "--model", MODEL],
    &["evaluate", "recordings.jsonl", "--model", MODEL, "--quick"],
    &["plot", "sheet", MODEL, "--count", "3", "-o", "sheet.png"],
    &["inspect", MODEL],
    &["export", MODEL, "-o", "half.safetensors", "--half"],
    &["runs", "list"],
    &["runs", "compare", MODEL, MODEL],
    &["demo", "--out", "demo", "--recordings", "60", "--iterations", "N", "--count", "12"],
    &["--version"],
];

const MODEL: &str = "model.safetensors";

/// These train: how fast they say, and a bar shows it.
const SHOW_A_BAR: [&str; 3] = ["train", "resume", "demo"];

fn numbered(args: &[&str], number: usize) -> Vec<String> {
    args.iter().map(|arg| if *arg == "N" { number.to_string() } else { (*arg).to_owned() }).collect()
}

/// What a terminal gets, stdout and stderr together, with plain ends of lines.
fn on_a_terminal(folder: &Path, args: &[&str]) -> String {
    let words: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let command = format!("'{PROGRAM}' {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").current_dir(folder);
    let output = script.output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{args:?}: {shown}");
    shown.replace("\r\n", "\n")
}

#[test]
fn every_command_knows_a_terminal_from_a_pipe() {
    let folder = workplace();
    let folder = folder.path();
    train(folder, &["--name", "first"]);
    good(folder, &["export", "checkpoints/first", "-o", MODEL]);
    let listed = good(folder, &["--help"]);
    let listed = listed.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed: BTreeSet<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    let run: BTreeSet<&str> = COMMANDS.iter().map(|args| args[0]).filter(|name| !name.starts_with('-')).collect();
    assert_eq!(listed, run.into_iter().chain(["help"]).collect());

    let terminal = Command::new("script").arg("--version").output().is_ok();
    if !terminal {
        println!("terminals skipped: script (util-linux), which makes them, is not installed");
    }
    for args in COMMANDS {
        let words = [40, 50, 60].map(|number| numbered(args, number));
        let [first, second, third] = [0, 1, 2].map(|k| words[k].iter().map(String::as_str).collect::<Vec<_>>());
        let output = trajgan(folder, &first);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && !out.is_empty(), "{args:?}: {out}{err}");
        assert!(!format!("{out}{err}").contains(['\r', '\x1b']), "{args:?}: not plain lines: {out:?} {err:?}");
        if args[0] != "--version" {
            let value = json(folder, &second);
            assert!(value.is_object() || value.is_array(), "{args:?}: {value}");
        }
        if !terminal {
            continue;
        }
        let shown = on_a_terminal(folder, &third);
        if SHOW_A_BAR.contains(&args[0]) {
            assert!(shown.contains("Stage 1 [") || shown.contains("Stage 2 ["), "{args:?}: no bar: {shown:?}");
        } else {
            assert_eq!(shown, format!("{out}{err}"), "{args:?}");
        }
    }
}
