//! Running other programs: every chore says what it starts and passes failures on with the command's own text.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Directories that a root shell may lack in PATH although Debian installs there.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// True when this process may create namespaces and install packages.
#[must_use]
pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user; no libc call needed.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Where `program` is, looking at PATH and at the system directories.
#[must_use]
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The command as a person would type it.
#[must_use]
pub(crate) fn display(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text
}

/// Runs a command with our own streams.
///
/// # Errors
/// The program is missing or exits with anything but 0.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let text = display(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and gives its stdout; stderr is ours.
///
/// # Errors
/// The program is missing or exits with anything but 0.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let text = display(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` printed no UTF-8"))
}

/// Replaces this process, so that signals and the terminal belong to the program alone.
pub(crate) fn become_program(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, &OsStr)],
) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let error = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .exec();
    anyhow::Error::new(error).context(format!("cannot start {}", program.display()))
}
