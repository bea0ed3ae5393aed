//! Release binaries, all in one directory and built by one command: what demo, end-to-end tests, bench and images run is
//! the same program. All are static, because images and the test cluster's nodes have no C library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    programs,
    workspace::{Workspace, cargo},
};

/// The plugin is copied to every node and started for every pod.
const PLUGIN_LIMIT_BYTES: u64 = 3 * 1024 * 1024;

/// Links the C library in.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static";

/// (package, binary) of everything but the plugin. Always all at once: with fewer packages cargo would choose other features
/// and compile dependencies again.
const PROGRAMS: [(&str, &str); 8] = [
    ("weft-cli", "weft"),
    ("weft-operator", "weft-operator"),
    ("weft-agent", "weft-agent"),
    ("weft-proxy", "weft-proxy"),
    ("weft-lab", "weft-sample"),
    ("weft-cluster", "weft-pause"),
    ("weft-cluster", "weft-cluster"),
    ("weft-conformance", "weft-conformance"),
];

/// No options yet: the gate and a person build the same.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {}

/// Builds and says where.
///
/// # Errors
/// See [`build`].
pub(crate) fn run(_options: &Options) -> anyhow::Result<()> {
    let directory = build(&Workspace::load()?)?;
    eprintln!("binaries are in {}", directory.display());
    Ok(())
}

/// Builds all binaries and gives their directory.
///
/// # Errors
/// The compiler fails, or the plugin is not static or too big.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let directory = workspace.binaries();
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    build_programs(workspace, &directory, &[])?;
    build_plugin(workspace, &directory)?;
    Ok(directory)
}

/// As [`build`] in another checkout, or its plugin alone.
///
/// # Errors
/// See [`build`].
pub(crate) fn build_in(checkout: &Workspace, plugin_only: bool) -> anyhow::Result<PathBuf> {
    if !plugin_only {
        return build(checkout);
    }
    let directory = checkout.binaries();
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    build_plugin(checkout, &directory)?;
    Ok(directory)
}

/// As [`build`], with the bench: release code too, and built of the same dependencies.
///
/// # Errors
/// See [`build`].
pub(crate) fn build_bench(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let directory = build(workspace)?;
    build_programs(workspace, &directory, &[("weft-bench", "weft-bench")])?;
    Ok(directory)
}

/// Paths of this machine are kept out of the binaries, so that two checkouts give the same images. Symbols stay: a backtrace
/// and a profile are read by people.
fn static_flags(workspace: &Workspace) -> String {
    let home = std::env::var("CARGO_HOME")
        .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    let root = workspace.root.display();
    format!(
        "{STATIC_FLAGS} -C strip=debuginfo --remap-path-prefix={root}=/weft \
         --remap-path-prefix={home}=/cargo"
    )
}

/// A program for images and nodes must bring its C library along.
///
/// # Errors
/// It cannot be read, or names a loader.
pub(crate) fn check_static(built: &Path) -> anyhow::Result<()> {
    if has_interpreter(&fs::read(built).with_context(|| format!("no {}", built.display()))?) {
        bail!(
            "{} is not static: it names a dynamic loader, which an image or a node may lack",
            built.display()
        );
    }
    Ok(())
}

/// Builds [`PROGRAMS`] and `more`.
fn build_programs(
    workspace: &Workspace,
    directory: &Path,
    more: &[(&str, &str)],
) -> anyhow::Result<()> {
    let started = Instant::now();
    let host = host_triple()?;
    // Of its own, because other flags would build everything in the usual one again.
    let target = workspace.target.join("static");
    let mut command = cargo();
    command
        .args(["build", "--release", "--target", &host, "--target-dir"])
        .arg(&target)
        .current_dir(&workspace.root)
        .env("RUSTFLAGS", static_flags(workspace));
    let programs = [&PROGRAMS[..], more].concat();
    for (package, binary) in &programs {
        command.args(["--package", package, "--bin", binary]);
    }
    eprintln!("building release binaries (a few minutes the first time)");
    programs::run(&mut command)?;
    for (_, binary) in &programs {
        let built = target.join(&host).join("release").join(binary);
        check_static(&built)?;
        place(&built, &directory.join(binary))?;
    }
    eprintln!(
        "built {} binaries in {:.0} s",
        programs.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Statically linked, because it runs on whatever the node's root file system is. Its own target directory keeps the
/// different flags from rebuilding everybody else; `--target` keeps them away from procedural macros.
///
/// # Errors
/// The compiler fails, or the plugin is not static or too big.
fn build_plugin(workspace: &Workspace, directory: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let host = host_triple()?;
    let target = workspace.target.join("plugin");
    programs::run(
        cargo()
            .args([
                "build",
                "--profile",
                "cni",
                "--package",
                "weft-cni",
                "--target",
                &host,
            ])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&workspace.root)
            .env("RUSTFLAGS", static_flags(workspace)),
    )?;
    let built = target.join(&host).join("cni").join("weft-cni");
    let size = fs::metadata(&built)
        .with_context(|| format!("no {}", built.display()))?
        .len();
    if size > PLUGIN_LIMIT_BYTES {
        bail!("weft-cni has {size} bytes; its limit is {PLUGIN_LIMIT_BYTES}: what does it import?");
    }
    check_static(&built)?;
    place(&built, &directory.join("weft-cni"))?;
    eprintln!(
        "built weft-cni, static, {} KiB, in {:.0} s",
        size / 1024,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The machine that the compiler builds for by default.
///
/// # Errors
/// The compiler does not say.
fn host_triple() -> anyhow::Result<String> {
    let text = programs::output(Command::new("rustc").arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

/// Copies by rename: a running demo keeps the old file, a new one sees the whole new file.
fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    let temporary = to.with_extension("new");
    fs::copy(from, &temporary)
        .and_then(|_| fs::rename(&temporary, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// True when an ELF file (64 bit, little endian) has a `PT_INTERP` program header, that is needs a dynamic loader.
fn has_interpreter(elf: &[u8]) -> bool {
    const INTERP: u64 = 3;
    let number = |at: u64, length: u64| {
        let at = usize::try_from(at).ok()?;
        let bytes = elf.get(at..at.checked_add(usize::try_from(length).ok()?)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte)),
        )
    };
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2))
    else {
        return false;
    };
    (0..count).any(|index| {
        let at = index
            .checked_mul(size)
            .and_then(|offset| offset.checked_add(table));
        at.and_then(|at| number(at, 4)) == Some(INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::has_interpreter;

    #[test]
    fn a_test_binary_needs_a_loader_and_garbage_does_not() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&own));
        assert!(!has_interpreter(b""));
        assert!(!has_interpreter(&[0xff; 60]));
    }
}
