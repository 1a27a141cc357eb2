//! What the library makes of drivers that are missing, broken or old: each has its own words, and nothing panics.
//!
//! The driver's library is opened once a process, so each case runs in a process of its own: this test again, with
//! another library in its path.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod skip;

use std::path::{Path, PathBuf};
use std::process::Command;

use trajgan::backend::cuda::probe::symbols;
use trajgan::{Config, Device, Error, Model};

/// What the child writes: the reason why device 0 cannot be used.
const MARK: &str = "reason: ";

/// Not a test of its own: what the cases run, each with its own driver.
#[test]
fn child() {
    if std::env::var_os("TRAJGAN_CHILD").is_none() {
        return;
    }
    let Err(Error::Device { device: 0, reason }) = Device::Cuda(0).check() else { panic!("device 0 is there") };
    let model = Model::new(Config::default(), Device::Auto).unwrap();
    assert_eq!(model.backend().name(), "cpu");
    assert_eq!(model.backend().reason(), Some(reason.as_str()));
    assert_eq!(model.info()["device_reason"], reason.as_str());
    let given = Model::new(Config::default(), Device::Cuda(0)).unwrap_err();
    assert_eq!(given.to_string(), format!("device 0: {reason}"));
    assert_eq!(Model::new(Config::default(), Device::Cpu).unwrap().backend().reason(), None);
    println!("{MARK}{reason}");
}

/// The reason that a process gives which finds its driver in `folder` first.
fn reason(folder: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child", "--nocapture"]).env("TRAJGAN_CHILD", "1").env("LD_LIBRARY_PATH", folder);
    let output = child.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !err.contains("panicked"), "{out}{err}");
    let line = out.lines().find_map(|line| line.split_once(MARK));
    line.unwrap_or_else(|| panic!("no reason in {out}")).1.to_string()
}

/// A libcuda.so (the first name that is looked for) with these functions, in a folder of its own.
fn driver(folder: &Path, code: &str) -> PathBuf {
    let source = folder.join("driver.c");
    std::fs::write(&source, code).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-w", "-o"]).arg(folder.join("libcuda.so")).arg(&source);
    assert!(gcc.status().unwrap().success());
    folder.to_owned()
}

/// A driver of this version whose cuInit and cuDeviceGetCount answer so, with all symbols but the one named.
fn working(version: u32, start: u32, count: u32, without: &str) -> String {
    let mut code = format!(
        "int cuInit(unsigned flags) {{ return {start}; }}
        int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
        int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}\n"
    );
    let rest = symbols().filter(|name| !code.contains(&format!("{name}(")) && *name != without).collect::<Vec<_>>();
    rest.iter().for_each(|name| code += &format!("int {name}(void) {{ return 999; }}\n"));
    code
}

#[test]
fn every_absence_has_its_own_words() {
    let cases = [
        (working(12_020, 100, 0, ""), "the CUDA driver finds no device"),
        (working(12_020, 0, 0, ""), "the CUDA driver finds no device"),
        (working(12_020, 34, 0, ""), "the CUDA driver's library is the toolkit's stub, made for linking only"),
        (working(12_020, 999, 0, ""), "the CUDA driver does not start: cuInit gives CUDA error 999"),
        // A code that no driver gives today.
        (working(12_020, 4_000_000_000, 0, ""), "the CUDA driver does not start: cuInit gives CUDA error 4000000000"),
        (
            working(11_080, 0, 1, "cuGraphUpload"),
            "the CUDA driver speaks CUDA 11.8, expected CUDA 12.1 (driver 530) or newer",
        ),
        (
            working(12_020, 0, 1, "cuGraphUpload"),
            "the CUDA driver's library lacks cuGraphUpload: no driver, or one older than CUDA 12.1 (driver 530)",
        ),
        (
            "int nothing;".to_string(),
            "the CUDA driver's library lacks cuInit: no driver, or one older than CUDA 12.1 (driver 530)",
        ),
    ];
    for (code, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reason(&driver(folder.path(), &code)), expected);
    }
}

#[test]
fn no_library() {
    let reason = match Device::Cuda(0).check() {
        Ok(()) => return skip::skipped("this machine has a CUDA device"),
        Err(Error::Device { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
    };
    if !reason.starts_with("no CUDA driver") {
        return skip::skipped(format_args!("this machine has a CUDA driver ({reason})"));
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(self::reason(folder.path()), reason);
}

#[test]
fn numbers_of_devices() {
    assert!(matches!(Device::from_code(-3), Err(Error::Argument { .. })));
    assert_eq!([-2, -1, 0, 7].map(|n| Device::from_code(n).unwrap()), {
        [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(7)]
    });
    Device::Auto.check().unwrap();
    Device::Cpu.check().unwrap();
}
