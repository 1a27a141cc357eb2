//! What the README shows is true: its Rust is an example that is compiled, its C compiles, its commands exist.

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The first block of a language.
fn block(readme: &str, language: &str) -> String {
    let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn its_rust_is_the_example() {
    let example = read("examples/generate.rs");
    let (_, rest) = example.split_once("// README: from here\n").unwrap();
    let (body, _) = rest.split_once("    // README: to here").unwrap();
    let lines: Vec<&str> = body.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    assert_eq!(block(&read("README.md"), "rust").trim_end(), lines.join("\n"));
}

#[test]
fn its_c_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("readme.c");
    fs::write(&source, block(&read("README.md"), "c")).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .arg(&source);
    let output = gcc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(feature = "cli")]
#[test]
fn its_commands_parse() {
    let readme = read("README.md");
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with("    trajgan ")).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    for command in commands {
        let words = command.split('#').next().unwrap().split_whitespace().skip(1);
        let output = Command::new(env!("CARGO_BIN_EXE_trajgan")).args(words).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // There is no data here; but flags that do not exist would be said first.
        assert!(output.status.success() || said.contains("No such file"), "{command}: {said}");
    }
}
