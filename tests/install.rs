//! `scripts/install` into a folder of its own: programs find what it installs by pkg-config and by CMake.
#![cfg(target_os = "linux")]

mod programs;
mod skip;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{expect_success, have};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo leaves the libraries that tests need.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn install(prefix: &Path) {
    expect_success(Command::new(root().join("scripts/install")).arg(prefix).arg(built()).env_remove("DESTDIR"));
}

/// The first example finds its library by its own name only: at run time there is no development link.
#[test]
fn pkg_config_finds_what_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    // Installed in one place, and moved to another.
    install(&folder.path().join("staged"));
    let prefix = folder.path().join("moved");
    fs::rename(folder.path().join("staged"), &prefix).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let lib = prefix.join("lib");
    let link = |name: &str| fs::read_link(lib.join(name)).unwrap();
    assert_eq!(link("libtrajgan.so"), Path::new("libtrajgan.so.0"));
    assert_eq!(link("libtrajgan.so.0"), PathBuf::from(format!("libtrajgan.so.{version}")));
    if !have("pkg-config") {
        return;
    }
    let ask = |options: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.args(options).arg("trajgan").env("PKG_CONFIG_PATH", lib.join("pkgconfig"));
        expect_success(&mut command).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask(&["--modversion"]), [version]);
    let example = root().join("examples/1_generate.c");
    let shared = prefix.join("bin/shared");
    let flags = ask(&["--cflags", "--libs"]);
    expect_success(Command::new("gcc").arg(&example).args(&flags).arg("-o").arg(&shared));
    let out = expect_success(Command::new(&shared).env("LD_LIBRARY_PATH", &lib));
    // The same from one file that needs no library of ours.
    fs::remove_file(lib.join("libtrajgan.so")).unwrap();
    let alone = prefix.join("bin/alone");
    let flags = ask(&["--static", "--cflags", "--libs"]);
    expect_success(Command::new("gcc").arg("-DTG_STATIC").arg(&example).args(&flags).arg("-o").arg(&alone));
    assert_eq!(expect_success(&mut Command::new(&alone)), out);
    assert!(out.lines().count() > 3, "{out}");
}

const PROJECT: &str = "
cmake_minimum_required(VERSION 3.10)
project(user CXX)
find_package(trajgan VERSION CONFIG REQUIRED)
add_executable(shared SOURCE)
target_link_libraries(shared trajgan::trajgan pthread)
add_executable(alone SOURCE)
target_link_libraries(alone trajgan::static pthread)
";

#[test]
fn cmake_finds_what_is_installed() {
    if !have("cmake") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    install(&folder.join("prefix"));
    let source = root().join("examples/4_simulator.cpp").display().to_string();
    let configure = |version: &str| {
        let project = PROJECT.replace("VERSION CONFIG", &format!("{version} CONFIG")).replace("SOURCE", &source);
        fs::write(folder.join("CMakeLists.txt"), project).unwrap();
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(folder).arg("-B").arg(folder.join("build"));
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", folder.join("prefix").display()));
        cmake
    };
    for unlike in ["1.0", "0.0"] {
        assert!(!configure(unlike).output().unwrap().status.success(), "taken for version {unlike}");
    }
    let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    expect_success(&mut configure(version));
    expect_success(Command::new("cmake").arg("--build").arg(folder.join("build")));
    for program in ["shared", "alone"] {
        assert!(expect_success(&mut Command::new(folder.join("build").join(program))).starts_with("score: "));
    }
}

/// Everybody may use it, whatever the umask of who installed it and what stood there before.
#[test]
fn what_is_installed_can_be_read_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("prefix");
    install(&prefix);
    fs::set_permissions(prefix.join("lib/pkgconfig/trajgan.pc"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_dir_all(prefix.join("include")).unwrap();
    fs::remove_dir_all(prefix.join("lib/cmake")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(root().join("scripts/install"));
    expect_success(shell.arg(&prefix).arg(built()).env_remove("DESTDIR"));
    let mut open = vec![prefix];
    let mut files = 0;
    while let Some(path) = open.pop() {
        let meta = fs::metadata(&path).unwrap();
        let wanted = if meta.is_dir() { 0o755 } else { 0o644 };
        assert_eq!(meta.permissions().mode() & wanted, wanted, "{}", path.display());
        files += usize::from(meta.is_file());
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(files > 10, "{files}");
}

#[test]
fn a_wrong_call_says_how() {
    let nowhere = tempfile::tempdir().unwrap();
    let script = || Command::new(root().join("scripts/install"));
    for command in [&mut script(), script().arg(nowhere.path()).arg(nowhere.path())] {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
    assert!(fs::read_dir(nowhere.path()).unwrap().next().is_none(), "half an installation");
}
