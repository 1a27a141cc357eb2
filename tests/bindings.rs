//! Other languages on the real library, each by tests of its own in bindings/, where the language is installed.
#![cfg(target_os = "linux")]

mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with the library under the names that linker and loader look for.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo builds the library as all its kinds, next to the tests that need it.
        let built = std::env::current_exe().unwrap().with_file_name("libtrajgan.so");
        assert!(built.exists(), "{} is not there", built.display());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindings");
        fs::create_dir_all(&folder).unwrap();
        for name in ["libtrajgan.so", "libtrajgan.so.0"] {
            let _ = fs::remove_file(folder.join(name));
            std::os::unix::fs::symlink(&built, folder.join(name)).unwrap();
        }
        folder
    })
}

/// Whether a command succeeds; if not, what is skipped for lack of it.
fn can(command: &mut Command, what: &str) -> bool {
    let found = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        skip::skipped(what);
    }
    found
}

fn passes(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
}

/// Python writes no caches into the tree.
fn python(module: &str) -> Option<Command> {
    let python = std::env::var("TRAJGAN_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = format!("import {module}");
    if !can(Command::new(&python).args(["-c", &import]), &format!("{python} cannot {import} (set TRAJGAN_PYTHON)")) {
        return None;
    }
    let mut command = Command::new(&python);
    command.env("TRAJGAN_LIBRARY", library().join("libtrajgan.so")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.current_dir(root().join("bindings/python"));
    Some(command)
}

#[test]
fn python_speaks_trajgan() {
    if let Some(mut python) = python("numpy") {
        passes(python.args(["-m", "unittest", "tests.test_trajgan"]));
    }
}

#[test]
fn optuna_tunes_it() {
    if let Some(mut python) = python("optuna, numpy") {
        passes(python.args(["-m", "unittest", "tests.test_tune"]));
    }
}

/// Go in a folder, on header and library.
fn go(folder: &Path) -> Option<Command> {
    if !can(Command::new("go").arg("version"), "no go (Debian: golang-go)") {
        return None;
    }
    let library = library();
    let mut go = Command::new("go");
    go.current_dir(folder).env("CGO_CFLAGS", format!("-I{}", root().join("include").display()));
    go.env("CGO_LDFLAGS", format!("-L{}", library.display()));
    go.env("LD_LIBRARY_PATH", library).env("GODEBUG", "cgocheck=2").env("GOFLAGS", "-mod=mod");
    go.env("GOCACHE", library.with_file_name("go-build"));
    Some(go)
}

#[test]
fn go_speaks_trajgan() {
    if let Some(mut go) = go(&root().join("bindings/go")) {
        // Its cache does not know when the library is another one.
        passes(go.args(["test", "-count=1", "./..."]));
    }
}

#[test]
fn go_finds_it_as_its_readme_says() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("mine");
    fs::create_dir(&module).unwrap();
    std::os::unix::fs::symlink(root(), folder.path().join("trajgan")).unwrap();
    fs::write(module.join("go.mod"), "module mine\n\ngo 1.17\n").unwrap();
    let program = "package main\n\nimport \"trajgan\"\n\nfunc main() { println(trajgan.Version()) }\n";
    fs::write(module.join("main.go"), program).unwrap();
    let readme = fs::read_to_string(root().join("bindings/go/README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("    go ")).unwrap();
    for words in [command, "run ."] {
        if let Some(mut go) = go(&module) {
            passes(go.args(words.split_whitespace()));
        }
    }
}

#[test]
fn csharp_speaks_trajgan() {
    if !can(Command::new("mcs").arg("--version"), "no C# compiler (Debian: mono-mcs and mono-runtime)") {
        return;
    }
    let (folder, sources) = (tempfile::tempdir().unwrap(), root().join("bindings/csharp"));
    let program = folder.path().join("tests.exe");
    let all = [sources.clone(), sources.join("tests")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "cs"));
    // What it takes for never set is set by the library.
    let mut compiler = Command::new("mcs");
    compiler.args(["-langversion:7", "-warnaserror", "-nowarn:169,414"]);
    passes(compiler.arg(format!("-out:{}", program.display())).args(all));
    let mut tests = Command::new("mono");
    tests.arg("--debug").arg(&program).arg(root().join("include/trajgan.h"));
    passes(tests.env("LD_LIBRARY_PATH", library()));
}
