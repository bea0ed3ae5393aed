//! Archives as the readers of the world see them: `tar` lists and unpacks them, digests name the blobs, and the same
//! description gives the same bytes. The runtime's own opinion is asked in the cluster's tests, where containerd imports
//! images of this library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use weft_oci::{Architecture, Content, Image, ImageError, archive};

fn image() -> Image {
    let files = [
        ("/usr/bin/app", Content::program(b"program".to_vec())),
        ("/usr/bin/app2", Content::Link("app".into())),
        ("/etc/app.conf", Content::text("x=1\n")),
        ("/tmp", Content::Directory(0o1777)),
        ("/tmp/deep/file", Content::text("deep")),
    ];
    Image {
        name: "weft.local/app:1".into(),
        entrypoint: vec!["/usr/bin/app".into()],
        env: [("B".into(), "2".into()), ("A".into(), "1".into())].into(),
        user: "1338".into(),
        files: files.map(|(p, c)| (p.to_owned(), c)).into(),
        ..Image::default()
    }
}

fn tar(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("tar")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn read(archive: &[u8], path: &str) -> Vec<u8> {
    tar(&["-xO", path], archive)
}

fn json(archive: &[u8], path: &str) -> Value {
    serde_json::from_slice(&read(archive, path)).unwrap()
}

fn blob(archive: &[u8], descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = read(archive, &digest.replace("sha256:", "blobs/sha256/"));
    assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
    bytes
}

#[test]
fn index_manifest_config_and_layer_hang_together() {
    let archive = image().archive().unwrap();
    let index = json(&archive, "index.json");
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["annotations"]["io.containerd.image.name"],
        "weft.local/app:1"
    );
    assert_eq!(entry["platform"]["architecture"], "amd64");
    let manifest: Value = serde_json::from_slice(&blob(&archive, entry)).unwrap();
    let config: Value = serde_json::from_slice(&blob(&archive, &manifest["config"])).unwrap();
    assert_eq!(config["config"]["Env"], serde_json::json!(["A=1", "B=2"]));
    assert_eq!(config["config"]["User"], "1338");
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        manifest["layers"][0]["digest"]
    );
}

#[test]
fn the_layer_has_every_file_once_with_its_bits() {
    let archive = image().archive().unwrap();
    let index = json(&archive, "index.json");
    let manifest: Value = serde_json::from_slice(&blob(&archive, &index["manifests"][0])).unwrap();
    let layer = blob(&archive, &manifest["layers"][0]);
    let list = String::from_utf8(tar(&["-tv", "--utc", "--numeric-owner"], &layer)).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    let expected = [
        ("drwxr-xr-x", "etc/"),
        ("-rw-r--r--", "etc/app.conf"),
        ("drwxrwxrwt", "tmp/"),
        ("drwxr-xr-x", "tmp/deep/"),
        ("-rw-r--r--", "tmp/deep/file"),
        ("drwxr-xr-x", "usr/"),
        ("drwxr-xr-x", "usr/bin/"),
        ("-rwxr-xr-x", "usr/bin/app"),
        ("lrwxrwxrwx", "usr/bin/app2 -> app"),
    ];
    assert_eq!(lines.len(), expected.len(), "{list}");
    for (line, (bits, path)) in lines.iter().zip(expected) {
        assert!(line.starts_with(bits) && line.ends_with(path), "{line}");
        assert!(
            line.contains(" 0/0 ") && line.contains("1970-01-01"),
            "{line}"
        );
    }
    assert_eq!(tar(&["-xO", "etc/app.conf"], &layer), b"x=1\n");
}

#[test]
fn equal_descriptions_are_equal_bytes() {
    assert_eq!(image().archive().unwrap(), image().archive().unwrap());
}

#[test]
fn several_architectures_are_one_index() {
    let arm = Image {
        architecture: Architecture::Arm64,
        ..image()
    };
    let archive = archive(&[arm, image()]).unwrap();
    let top = json(&archive, "index.json");
    let inner: Value = serde_json::from_slice(&blob(&archive, &top["manifests"][0])).unwrap();
    let names: Vec<&Value> = inner["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["platform"]["architecture"])
        .collect();
    assert_eq!(names, ["amd64", "arm64"]);
}

#[test]
fn what_cannot_be_an_image_is_named() {
    let with = |path: &str| {
        let mut image = image();
        image.files.insert(path.to_owned(), Content::text(""));
        image.archive()
    };
    for path in ["usr/bin/x", "/a//b", "/a/../b", "/"] {
        assert!(matches!(with(path), Err(ImageError::Path { .. })), "{path}");
    }
    let long = format!("/{}", "x".repeat(200));
    assert!(matches!(with(&long), Err(ImageError::LongPath { .. })));
    assert!(matches!(
        with("/etc/app.conf/x"),
        Err(ImageError::NotADirectory { .. })
    ));
    assert!(matches!(
        archive(&[image(), image()]),
        Err(ImageError::Variants { .. })
    ));
    assert!(matches!(archive(&[]), Err(ImageError::Variants { .. })));
}
