//! Nothing outlives a room, however it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weft_lab::isolate::{Side, enter_test};
use weft_lab::{Lab, LabConfig};

const POD: &str = "
kind: Pod
metadata: {name: p}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
";

/// Not a test of its own: the program that the others kill. It prints its directory once its pod runs.
#[test]
#[ignore = "started by the tests of this file"]
fn victim() {
    let room = match enter_test("residue::victim").unwrap() {
        Side::Outside(code) => std::process::exit(i32::from(code)),
        Side::Inside(room) => room,
    };
    let user = room.directory().join("manifests");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(user.join("p.yaml"), POD).unwrap();
    let sample = Path::new(env!("CARGO_BIN_EXE_weft-sample"));
    let mut config = LabConfig::new(room.directory(), sample.parent().unwrap(), &user);
    config.mesh = false;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lab = Lab::up(config).await.unwrap();
        lab.settled(crate::room::DEADLINE).await.unwrap();
        println!("\nroom={}", room.directory().display());
        std::future::pending::<()>().await;
    });
}

struct Victim {
    outer: Child,
    directory: PathBuf,
}

fn start() -> Victim {
    let mut outer = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "residue::victim",
            "--include-ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(outer.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let line = lines
        .into_iter()
        .find_map(|l| l.strip_prefix("room=").map(str::to_owned));
    Victim {
        outer,
        directory: line.expect("the victim did not start").into(),
    }
}

/// Processes that were started with this room's directory in their environment or arguments.
fn processes(directory: &Path) -> Vec<String> {
    let needle = directory.to_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|e| {
            e.file_name()
                .to_string_lossy()
                .bytes()
                .all(|b| b.is_ascii_digit())
        })
        .filter_map(|e| {
            let read = |file: &str| std::fs::read(e.path().join(file)).unwrap_or_default();
            let all = [read("cmdline"), read("environ")].concat();
            let all = String::from_utf8_lossy(&all).into_owned();
            all.contains(needle)
                .then(|| format!("{:?}: {all}", e.file_name()))
        })
        .collect()
}

/// The inner process: the one with the room in its environment whose pid namespace is not ours.
fn inner(directory: &Path) -> u32 {
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|e| {
        let pid: u32 = e.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(e.path().join("environ")).ok()?;
        let inside = String::from_utf8_lossy(&environment).contains(directory.to_str()?);
        (inside && std::fs::read_link(e.path().join("ns/pid")).ok()? != own).then_some(pid)
    });
    found.min().expect("no inner process")
}

fn assert_nothing_left(directory: &Path) {
    let started = Instant::now();
    while directory.exists() || !processes(directory).is_empty() {
        let left = processes(directory);
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{directory:?} is left, {left:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = directory.file_name().unwrap().to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(pid), "{mounts}");
}

fn kill(pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn killing_the_outer_process_leaves_nothing() {
    let mut victim = start();
    assert!(victim.directory.exists());
    victim.outer.kill().unwrap();
    victim.outer.wait().unwrap();
    assert_nothing_left(&victim.directory);
}

#[test]
fn killing_the_inner_process_leaves_nothing() {
    let mut victim = start();
    kill(inner(&victim.directory));
    assert_eq!(victim.outer.wait().unwrap().code(), Some(137));
    assert_nothing_left(&victim.directory);
}

#[test]
fn a_room_whose_janitor_was_killed_is_swept_by_the_next() {
    let stale = std::env::temp_dir().join("weft-lab-4194304-1-0");
    std::fs::create_dir_all(stale.join("nodes")).unwrap();
    let mut victim = start();
    assert!(!stale.exists());
    victim.outer.kill().unwrap();
    victim.outer.wait().unwrap();
    assert_nothing_left(&victim.directory);
}
