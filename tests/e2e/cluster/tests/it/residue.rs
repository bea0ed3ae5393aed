//! Nothing is left: processes, files, control groups, mounts, interfaces. Looked for from outside, by what a cluster
//! must have: its room's descendants and its name.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weft_cluster::Config;

/// A killed cluster is cleaned up by others, who need a moment.
const GONE: Duration = Duration::from_secs(30);

/// What a cluster that is up has on this machine.
pub(crate) struct Traces {
    directory: PathBuf,
    groups: Vec<PathBuf>,
    /// (pid, start time)
    processes: BTreeSet<(u32, String)>,
    mounts: usize,
    links: usize,
}

impl Traces {
    pub(crate) fn of(directory: &Path) -> Self {
        let room = fs::read_to_string(directory.join("room")).unwrap();
        let room: u32 = room.split(' ').next().unwrap().parse().unwrap();
        let groups = fs::read_to_string(directory.join("cgroups")).unwrap();
        Self {
            directory: directory.to_owned(),
            groups: groups.lines().map(PathBuf::from).collect(),
            processes: descendants(room),
            mounts: mounts(),
            links: links(),
        }
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// At once, or within the time that a janitor may take.
    pub(crate) fn assert_gone(&self) {
        let started = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            assert!(started.elapsed() < GONE, "left: {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(mounts(), self.mounts, "mounts of the machine");
        assert_eq!(links(), self.links, "interfaces of the machine");
    }

    fn left(&self) -> Vec<String> {
        let files = [&self.directory].into_iter().chain(&self.groups);
        let files = files
            .filter(|path| path.exists())
            .map(|path| path.display().to_string());
        let processes = self
            .processes
            .iter()
            .filter(|(pid, start)| stat(*pid).is_some_and(|(_, now)| now == *start))
            .map(|(pid, _)| format!("process {pid}"));
        files.chain(processes).collect()
    }
}

/// The process and all below it.
fn descendants(root: u32) -> BTreeSet<(u32, String)> {
    let all: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).map(|(parent, start)| (pid, parent, start)))
        .collect();
    let mut found = BTreeSet::new();
    let mut waiting = vec![root];
    while let Some(next) = waiting.pop() {
        for (pid, parent, start) in &all {
            if *pid == next {
                found.insert((*pid, start.clone()));
            }
            if *parent == next {
                waiting.push(*pid);
            }
        }
    }
    found
}

/// Parent and start time; None for a process that is gone or only waits to be buried.
fn stat(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    if fields[0] == "Z" {
        return None;
    }
    Some((fields[1].parse().ok()?, fields[19].to_owned()))
}

fn mounts() -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .filter(|line| line.contains("weft-cluster"))
        .count()
}

fn links() -> usize {
    fs::read_dir("/sys/class/net")
        .unwrap()
        .flatten()
        .filter(|link| link.file_name().to_string_lossy().starts_with("weft"))
        .count()
}

/// A failing test must not leave it running.
struct Owner(Child);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real program, killed without a chance to say goodbye.
#[test]
fn a_killed_owner_leaves_nothing() {
    let config = Config::for_test("killed").unwrap();
    let mut owner = Command::new(env!("CARGO_BIN_EXE_weft-cluster"))
        .args([
            "--name",
            &config.name,
            "up",
            "--foreground",
            "--no-dns",
            "--nodes",
            "1",
        ])
        .env_remove("KUBECONFIG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Owner)
        .unwrap();
    let lines = BufReader::new(owner.0.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        said.push(line);
        if said.last().unwrap().starts_with("try:") {
            break;
        }
    }
    assert!(config.directory().exists(), "it did not come up: {said:#?}");
    let traces = Traces::of(&config.directory());
    assert!(traces.processes() >= 10, "{}", traces.processes());
    drop(owner);
    traces.assert_gone();
}
