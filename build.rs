//! Link options of the shared library that Cargo has no setting for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Programs ask for the ABI they were built with.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtrajgan.so.0");
        // A library that has had threads cannot be unloaded safely: their exit code is in it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
