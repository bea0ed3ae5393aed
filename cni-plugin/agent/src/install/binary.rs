//! The plugin's binary in the runtime's directory. It is replaced by rename, never written in place: the runtime may be
//! executing it this very moment. What replaces it has run once where it lies, so the runtime never meets a plugin that
//! does not run.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Staged;
use super::conflist::PLUGIN;

const MODE: u32 = 0o755;
/// How long a new binary may be busy, see [`start`].
const BUSY: Duration = Duration::from_secs(5);
/// How long to wait before it is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Copies the plugin unless the same bytes are there already. Either way it is run once: a directory mounted `noexec`, a
/// wrong architecture or a missing loader shows here and not at the first pod.
///
/// # Errors
/// The message names the file and what to do; what was installed before is still there.
pub(crate) fn install(plugin: &Path, bin_dir: &Path) -> io::Result<PathBuf> {
    let target = bin_dir.join(PLUGIN);
    super::remove_stale(bin_dir, PLUGIN);
    let bytes = fs::read(plugin).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!(
                "{}: {e}: --plugin names the weft-cni to install",
                plugin.display()
            ),
        )
    })?;
    if is_installed(&target, &bytes) {
        answers(&target, &target)?;
        return Ok(target);
    }
    let hint = |e: io::Error| {
        let hint =
            "is the directory writable? Systems with a read-only /opt need another --cni-bin-dir";
        io::Error::new(e.kind(), format!("{e}: {hint}"))
    };
    let staged = Staged::write(&target, &bytes, MODE).map_err(hint)?;
    answers(staged.path(), &target)?;
    staged.put_in_place().map_err(hint)?;
    tracing::info!(path = %target.display(), "plugin installed");
    Ok(target)
}

fn is_installed(target: &Path, bytes: &[u8]) -> bool {
    let mode = fs::metadata(target).map(|found| found.permissions().mode() & 0o777);
    mode.is_ok_and(|mode| mode == MODE) && fs::read(target).is_ok_and(|found| found == bytes)
}

/// Asks the plugin at `path` for its versions; errors speak of `target`, which is where a user looks.
fn answers(path: &Path, target: &Path) -> io::Result<()> {
    let named =
        |what: String| io::Error::other(format!("{} does not run: {what}", target.display()));
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = start(&mut command).map_err(|e| named(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may answer before it has read all.
        let _ = stdin.write_all(br#"{"cniVersion":"1.0.0"}"#);
    }
    let output = child.wait_with_output()?;
    let speaks = serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok_and(|answer| {
        answer
            .get("supportedVersions")
            .is_some_and(serde_json::Value::is_array)
    });
    if output.status.success() && speaks {
        return Ok(());
    }
    Err(named(format!(
        "it ended with {} and said {:?}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    )))
}

/// Starts a program that was written a moment ago. A child that another thread forked meanwhile holds a copy of the
/// descriptor it was written through until it executes its own program; until then the kernel refuses to run the file.
fn start(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + BUSY;
    loop {
        match command.spawn() {
            Err(e)
                if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#!/bin/sh\necho '{\"supportedVersions\":[\"1.0.0\"]}'\n";

    #[test]
    fn the_binary_is_replaced_whole_and_stale_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, bin) = (dir.path().join("weft-cni"), dir.path().join("bin"));
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join(".weft-cni.tmp.1"), "half").unwrap();
        fs::write(&plugin, GOOD).unwrap();
        let target = install(&plugin, &bin).unwrap();
        assert_eq!(
            fs::metadata(&target).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
        fs::write(&plugin, format!("{GOOD}# newer\n")).unwrap();
        install(&plugin, &bin).unwrap();
        assert_eq!(fs::read(&plugin).unwrap(), fs::read(&target).unwrap());
    }

    #[test]
    fn a_binary_that_somebody_still_writes_is_run_when_they_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("weft-cni");
        super::super::replace(&plugin, GOOD.as_bytes(), MODE).unwrap();
        let writer = fs::OpenOptions::new().append(true).open(&plugin).unwrap();
        let done = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(writer);
        });
        answers(&plugin, &plugin).unwrap();
        done.join().unwrap();
    }

    #[test]
    fn a_binary_that_does_not_run_is_an_error_that_names_it_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, bin) = (dir.path().join("weft-cni"), dir.path().join("bin"));
        fs::write(&plugin, GOOD).unwrap();
        let target = install(&plugin, &bin).unwrap();
        fs::write(&plugin, "#!/bin/sh\nexit 3\n").unwrap();
        let error = install(&plugin, &bin).unwrap_err().to_string();
        assert!(error.contains("bin/weft-cni does not run"), "{error}");
        assert_eq!(fs::read_to_string(&target).unwrap(), GOOD);
        assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
        let error = install(&dir.path().join("missing"), &dir.path().join("bin"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("missing") && error.contains("--plugin"),
            "{error}"
        );
    }
}
