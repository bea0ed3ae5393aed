use std::fs;
use std::io::Write;

use super::*;
use crate::source::{Changes, channel};

const WAIT: Duration = Duration::from_secs(10);

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: 80}}]}}\n"
    )
}

fn start(dir: &Path) -> Changes {
    let (sink, changes) = channel();
    tokio::spawn(Directories::open(&[dir.to_owned()]).unwrap().watch(sink));
    changes
}

/// Waits until exactly these services are there; fails when `never` has been seen on the way.
async fn until(changes: &mut Changes, expected: &[&str], never: &[&[&str]]) {
    let seen = tokio::time::timeout(WAIT, async {
        loop {
            let names: Vec<String> = match &*changes.borrow_and_update() {
                Some(manifests) => manifests
                    .snapshot
                    .services
                    .keys()
                    .map(|name| name.name.clone())
                    .collect(),
                None => vec!["(nothing was given)".to_owned()],
            };
            assert!(
                !never.iter().any(|never| names == *never),
                "{names:?} was seen"
            );
            if names == expected {
                return;
            }
            changes.changed().await.unwrap();
        }
    });
    seen.await.expect("not in time");
}

#[tokio::test]
async fn an_empty_directory_counts_as_read() {
    let dir = tempfile::tempdir().unwrap();
    until(&mut start(dir.path()), &[], &[]).await;
}

#[tokio::test]
async fn saves_and_removals_are_seen_in_new_directories_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut changes = start(dir.path());
    until(&mut changes, &[], &[]).await;
    fs::write(dir.path().join("a.yaml"), service("cart")).unwrap();
    until(&mut changes, &["cart"], &[]).await;
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/b.yaml"), service("cake")).unwrap();
    until(&mut changes, &["cake", "cart"], &[]).await;
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    until(&mut changes, &["cake"], &[]).await;
}

#[tokio::test]
async fn a_file_is_read_only_when_its_writer_has_closed_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(
        &path,
        format!("{}---\n{}", service("cart"), service("cake")),
    )
    .unwrap();
    let mut changes = start(dir.path());
    until(&mut changes, &["cake", "cart"], &[]).await;
    // An editor that truncates and then writes in two pieces, longer apart than the quiet time.
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(service("cart").as_bytes()).unwrap();
    file.flush().unwrap();
    tokio::time::sleep(4 * QUIET).await;
    file.write_all(format!("---\n{}", service("coffee")).as_bytes())
        .unwrap();
    drop(file);
    until(&mut changes, &["cart", "coffee"], &[&["cart"], &[]]).await;
}

#[tokio::test]
async fn a_save_by_renaming_the_old_file_away_never_shows_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    fs::write(&path, service("cart")).unwrap();
    let mut changes = start(dir.path());
    until(&mut changes, &["cart"], &[]).await;
    fs::rename(&path, dir.path().join("a.yaml~")).unwrap();
    fs::write(&path, service("cake")).unwrap();
    fs::remove_file(dir.path().join("a.yaml~")).unwrap();
    until(&mut changes, &["cake"], &[&[]]).await;
}
