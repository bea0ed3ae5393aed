//! Starts a program as a container's process: in the pod's network namespace and a mount namespace of its own with the
//! pod's `/etc/hosts` and `/etc/resolv.conf`. The image is the machine's own root.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use weft_netns::Netns;

use crate::preflight::PATH;

/// What to start, and where.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) netns: Arc<Netns>,
    pub(crate) hosts: PathBuf,
    pub(crate) resolv: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) output: Output,
}

/// Where standard output and error go.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Appended to a file.
    File(PathBuf),
    /// Kept for the caller.
    Pipes,
}

impl Process {
    /// Starts it as the leader of a process group of its own.
    ///
    /// # Errors
    /// The program does not exist, a mount fails; the message names it.
    pub(crate) async fn start(self) -> io::Result<Child> {
        let runtime = Handle::current();
        let (tell, told) = tokio::sync::oneshot::channel();
        // A thread that moves for ever, and dies once its child has inherited where it is.
        std::thread::Builder::new()
            .name("container".to_owned())
            .spawn(move || {
                let _inside = runtime.enter();
                let _ = tell.send(self.start_here());
            })?;
        told.await
            .map_err(|_| io::Error::other("the thread that starts a container panicked"))?
    }

    fn start_here(self) -> io::Result<Child> {
        let (program, arguments) = self
            .arguments
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty command"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        match &self.output {
            Output::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                command.stdout(file.try_clone()?).stderr(file);
            }
            Output::Pipes => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        unshare(CloneFlags::CLONE_NEWNS)?;
        // The room's /run holds mounts of all pods' namespaces: a copy here would keep dead pods' namespaces alive.
        umount2("/run", MntFlags::MNT_DETACH)?;
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            MsFlags::MS_NOSUID,
            Some("mode=755"),
        )?;
        cover(&self.hosts, "/etc/hosts")?;
        cover(&self.resolv, "/etc/resolv.conf")?;
        setns(&self.netns, CloneFlags::CLONE_NEWNET)?;
        command
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot start `{program}`: {e}")))
    }
}

/// Mounts a file over another; a machine without the target (or with a dangling link) has no use for it.
fn cover(source: &Path, target: &str) -> io::Result<()> {
    let Ok(target) = fs::canonicalize(target) else {
        return Ok(());
    };
    let none: Option<&str> = None;
    mount(Some(source), &target, none, MsFlags::MS_BIND, none)
        .map_err(|e| io::Error::other(format!("cannot mount {}: {e}", target.display())))
}
