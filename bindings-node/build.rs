//! Tells the linker that the names of the Node-API are found in the process that loads the addon, and that the addon stays
//! in memory: a worker thread that ends unloads what it loaded, and our threads would go on in nothing.

fn main() {
    napi_build::setup();
    #[allow(clippy::disallowed_methods, reason = "cargo tells a build script what it builds for in no other way")]
    let system = std::env::var("CARGO_CFG_TARGET_OS");
    if system.is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
