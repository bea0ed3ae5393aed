//! Entering and leaving.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use weft_netns::Netns;

use crate::{of_socket, scratch};

fn here() -> weft_netns::NetnsId {
    Netns::current().unwrap().id()
}

#[test]
fn run_is_inside_and_comes_home() {
    let (ns, home) = (scratch(), here());
    assert_ne!(ns.id(), home);
    assert_eq!(ns.run(here).unwrap(), ns.id());
    assert_eq!(here(), home);
}

#[test]
fn run_comes_home_from_a_panic() {
    let (ns, home) = (scratch(), here());
    let result = catch_unwind(AssertUnwindSafe(|| {
        ns.run(|| std::panic::resume_unwind(Box::new("on purpose")))
    }));
    assert!(result.is_err());
    assert_eq!(here(), home);
    assert_eq!(ns.run(here).unwrap(), ns.id());
    assert_eq!(here(), home);
}

#[test]
fn nested_runs_unwind_one_by_one() {
    let (a, b, home) = (scratch(), scratch(), here());
    a.run(|| {
        b.run(|| {
            a.run(|| assert_eq!(here(), a.id())).unwrap();
            assert_eq!(here(), b.id());
        })
        .unwrap();
        assert_eq!(here(), a.id());
    })
    .unwrap();
    assert_eq!(here(), home);
}

#[test]
fn other_threads_stay_where_they_are() {
    let (ns, home) = (scratch(), here());
    let other = ns
        .run(|| std::thread::scope(|s| s.spawn(|| 0).join().unwrap()))
        .unwrap();
    assert_eq!(other, 0);
    assert_eq!(std::thread::spawn(here).join().unwrap(), home);
}

#[test]
fn a_socket_belongs_to_where_it_was_made() {
    let ns = scratch();
    let listener = ns
        .run(|| TcpListener::bind("127.0.0.1:0"))
        .unwrap()
        .unwrap();
    assert_eq!(of_socket(listener.as_fd()).id(), ns.id());
    let address = listener.local_addr().unwrap();
    assert!(TcpStream::connect(address).is_err());
    ns.run(|| TcpStream::connect(address)).unwrap().unwrap();
}

#[test]
fn a_clone_and_an_open_are_the_same_namespace() {
    let ns = scratch();
    assert_eq!(ns.try_clone().unwrap().id(), ns.id());
    let path = ns
        .run(|| std::fs::canonicalize("/proc/thread-self").unwrap())
        .unwrap()
        .join("ns/net");
    assert_eq!(Netns::open(&path).unwrap().id(), here());
}

#[test]
fn anything_else_is_refused_with_its_name() {
    let file = Netns::open(Path::new("/proc/self/ns/mnt")).unwrap_err();
    assert_eq!(file.kind(), std::io::ErrorKind::InvalidInput);
    assert!(file.to_string().contains("/proc/self/ns/mnt"), "{file}");
    let regular = std::fs::File::open("/proc/self/status").unwrap();
    assert!(Netns::from_fd(regular.into()).is_err());
    assert_eq!(
        Netns::open(Path::new("/run/netns/none such"))
            .unwrap_err()
            .kind(),
        std::io::ErrorKind::NotFound
    );
}
