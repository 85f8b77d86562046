//! Compiles the C shim against the headers of the interpreter that PyO3 builds for.

use std::error::Error;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/shim.c");
    pyo3_build_config::use_pyo3_cfgs();
    let config = pyo3_build_config::get();
    let interpreter = config.executable().ok_or("no Python interpreter; set PYO3_PYTHON")?;
    let (oldest, found) = (pyo3_build_config::PythonVersion { major: 3, minor: 12 }, config.version());
    if found < oldest {
        return Err(format!("{interpreter} is Python {found}, and {oldest} or newer is needed; set PYO3_PYTHON").into());
    }
    let asked =
        Command::new(interpreter).args(["-c", "import sysconfig; print(sysconfig.get_path('include'))"]).output()?;
    let include = String::from_utf8(asked.stdout)?;
    cc::Build::new()
        .file("src/shim.c")
        .include(include.trim())
        .opt_level(2)
        .define("NDEBUG", None) // CPython's own asserts would end the program
        .flag("-fno-strict-aliasing")
        .flag_if_supported("-fvisibility=hidden")
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Wno-unused-variable") // datetime.h defines a pointer that only its users need
        .compile("stroboscope_shim");
    Ok(())
}
