//! The first process of something: of the cluster's room, of a node, of a pod's sandbox. It does nothing but bury
//! orphans, and ends when it is told to: by SIGTERM, SIGINT, or, with `--until-eof`, by the end of its standard input,
//! which comes however its owner dies. Other arguments are for whoever reads a list of processes.

use std::io::Read as _;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> ExitCode {
    // Blocked before any thread exists; blocked signals wait even for a process 1, which ignores others.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect();
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    if std::env::args().any(|argument| argument == "--until-eof") {
        std::thread::spawn(end_with_input);
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => bury(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn end_with_input() {
    let mut byte = [0_u8; 64];
    while matches!(std::io::stdin().read(&mut byte), Ok(count) if count > 0) {}
    std::process::exit(0);
}

/// All that have ended: signals of one kind are not counted.
fn bury() {
    while !matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive) | Err(_)
    ) {}
}
