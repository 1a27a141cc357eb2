//! Running other programs: compilers, tools, and what the tests built.

use std::process::Command;

/// Runs it, and shows all it said if it fails. Returns its stdout.
pub fn expect_success(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// Whether a tool is there; says so if not.
pub fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        crate::skip::skipped(format_args!("{tool} is not installed"));
    }
    found
}
