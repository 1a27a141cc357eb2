//! The C API as C sees it: the header is fresh and compiles everywhere, nothing but tg_* is exported, and the programs
//! in tests/capi and examples run clean: plainly, under valgrind, and with the address and undefined-behaviour sanitizers.
#![cfg(target_os = "linux")]

mod programs;
mod skip;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use programs::{expect_success, have};

/// In the order in which the header shows them.
const SOURCES: [&str; 11] =
    ["status", "library", "data", "settings", "model", "train", "generate", "latent", "path", "stream", "evaluate"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> PathBuf {
    root().join("include/trajgan.h")
}

/// A folder with the library under the names that linker and loader look for.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo builds the library as all its kinds, next to the tests that need it.
        let beside = std::env::current_exe().unwrap();
        let built = beside.with_file_name("libtrajgan.so");
        assert!(built.exists(), "{} is not there", built.display());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        fs::create_dir_all(&folder).unwrap();
        for name in ["libtrajgan.so", "libtrajgan.so.0"] {
            let _ = fs::remove_file(folder.join(name));
            std::os::unix::fs::symlink(&built, folder.join(name)).unwrap();
        }
        folder
    })
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-g"];
const SANITIZE: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"];

/// A C or C++ program, compiled against header and library.
fn compile(source: &Path, suffix: &str, flags: &[&str]) -> PathBuf {
    let program = library().join(format!("{}{suffix}", source.file_stem().unwrap().display()));
    let (compiler, standard) = if is_cpp(source) { ("g++", "-std=c++11") } else { ("gcc", "-std=c11") };
    let mut gcc = Command::new(compiler);
    gcc.arg(standard).args(WARNINGS).args(flags).arg("-I").arg(root().join("include"));
    gcc.arg(source).arg("-o").arg(&program).arg("-L").arg(library()).args(["-ltrajgan", "-lm", "-pthread"]);
    gcc.arg(format!("-Wl,-rpath,{}", library().display()));
    expect_success(&mut gcc);
    program
}

fn is_cpp(source: &Path) -> bool {
    source.extension() == Some(OsStr::new("cpp"))
}

/// In a folder of its own, where the program may write. Nothing may come from the library on stderr.
fn check_run(program: &Path, command: &mut Command) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(command.current_dir(&folder).env_remove("RUST_BACKTRACE"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{}: {}\n{out}{err}", program.display(), output.status);
    out.into_owned()
}

/// The same program three ways; evaluation takes seconds and runs sanitized only, and examples and the C++ wrapper call
/// nothing that the other tests do not, so that valgrind need not see them.
fn check_program(source: &Path) {
    let large = source.ends_with("evaluate.c");
    let plain = compile(source, "", &["-O1"]);
    if !large {
        check_run(&plain, &mut Command::new(&plain));
    }
    if !large && !is_cpp(source) && source.starts_with(root().join("tests")) && have("valgrind") {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
        valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]).arg(&plain);
        check_run(&plain, &mut valgrind);
    }
    let sanitized = compile(source, "-sanitized", &SANITIZE);
    check_run(&sanitized, &mut Command::new(&sanitized));
}

macro_rules! programs {
    ($($name:ident: $path:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            check_program(&root().join($path));
        })+

        #[test]
        fn every_program_is_run() {
            let mut listed = vec![$($path),+];
            listed.sort();
            let programs = |folder: &str| {
                let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
                let names = entries.filter(|name| matches!(Path::new(name).extension().and_then(OsStr::to_str), Some("c" | "cpp")));
                names.map(|name| format!("{folder}/{}", name.display())).collect::<Vec<_>>()
            };
            let mut there = [programs("examples"), programs("tests/capi")].concat();
            there.sort();
            assert_eq!(listed, there);
        }
    };
}

programs! {
    example_generate: "examples/1_generate.c",
    example_train: "examples/2_train.c",
    example_stream: "examples/3_stream.c",
    example_simulator: "examples/4_simulator.cpp",
    arguments: "tests/capi/arguments.c",
    options: "tests/capi/options.c",
    data: "tests/capi/data.c",
    training: "tests/capi/training.c",
    generation: "tests/capi/generation.c",
    closed_loop: "tests/capi/closed_loop.c",
    path: "tests/capi/path.c",
    evaluate: "tests/capi/evaluate.c",
    files: "tests/capi/files.c",
    threads: "tests/capi/threads.c",
    wrapper: "tests/capi/wrapper.cpp",
    environment: "tests/capi/environment.c",
    endurance: "tests/capi/endurance.c",
}

/// Programs that put themselves between the library and the system: plainly only, as valgrind and sanitizers do so, too.
fn check_faults(source: &str) {
    let program = compile(&root().join(source), "", &["-O1", "-D_GNU_SOURCE"]);
    println!("{}", check_run(&program, &mut Command::new(&program)));
}

#[test]
fn memory_that_runs_out() {
    check_faults("tests/capi/faults/memory.c");
}

#[test]
fn disks_that_fail() {
    check_faults("tests/capi/faults/disk.c");
}

fn generate_header() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root().join(format!("src/capi/{name}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_header_is_fresh() {
    let fresh = generate_header();
    if std::env::var_os("TRAJGAN_BLESS").is_some() {
        fs::write(header(), &fresh).unwrap();
    }
    let committed = fs::read_to_string(header()).unwrap_or_default();
    assert!(committed == fresh, "include/trajgan.h is stale: run `TRAJGAN_BLESS=1 cargo test --test capi header`");
}

#[test]
fn the_header_compiles_alone_in_every_language() {
    for (compiler, language, standard) in
        [("gcc", "c", "c99"), ("gcc", "c", "c11"), ("g++", "c++", "c++11"), ("g++", "c++", "c++17")]
    {
        let mut command = Command::new(compiler);
        command.args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"]).args(WARNINGS);
        // Twice: the guard, too. As an include: gcc warns about a header that is compiled itself.
        command.arg("-include").arg(header()).arg("-include").arg(header()).arg("/dev/null");
        expect_success(&mut command);
    }
    for standard in ["c++11", "c++17", "c++20"] {
        let mut command = Command::new("g++");
        command.args(["-x", "c++", &format!("-std={standard}"), "-fsyntax-only", "-Wconversion"]).args(WARNINGS);
        let wrapper = root().join("include/trajgan.hpp");
        command.arg("-I").arg(root().join("include")).arg("-include").arg(wrapper).arg("/dev/null");
        expect_success(&mut command);
    }
}

/// The same for any number of threads, which its last lines, about time, are not.
#[test]
fn the_simulator_makes_the_same_on_any_number_of_threads() {
    let program = compile(&root().join("examples/4_simulator.cpp"), "-threads", &["-O1"]);
    let score = |threads: &str| {
        let out = check_run(&program, Command::new(&program).args(["", threads]));
        out.lines().next().unwrap().to_owned()
    };
    let one = score("1");
    assert!(one.starts_with("score: ") && !one.starts_with("score: 0 "), "{one}");
    assert_eq!(score("4"), one);
}

/// Functions that the header declares, sorted.
fn declared() -> Vec<String> {
    let text = fs::read_to_string(header()).unwrap();
    let no_code = ["//", "*", "typedef"];
    let code = text.lines().map(str::trim_start).filter(|line| !no_code.iter().any(|start| line.starts_with(start)));
    let names = code.filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("tg_")).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn exports_are_what_the_header_declares() {
    let library = library().join("libtrajgan.so");
    let symbols = expect_success(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let mut exported: Vec<&str> = symbols.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    exported.sort_unstable();
    assert_eq!(exported, declared());
    assert!(exported.len() > 20);
}

#[test]
fn the_library_has_its_name_and_stays() {
    let library = library().join("libtrajgan.so");
    let dynamic = expect_success(Command::new("readelf").args(["-d", "-W"]).arg(&library));
    assert!(dynamic.contains("[libtrajgan.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    for unwanted in ["TEXTREL", "RPATH", "RUNPATH"] {
        assert!(!dynamic.contains(unwanted), "{unwanted} in {dynamic}");
    }
}

#[test]
fn every_function_is_called_from_c() {
    let folders = ["tests/capi", "examples"].into_iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let programs: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    for name in declared() {
        assert!(programs.contains(&format!("{name}(")), "{name}");
    }
}
