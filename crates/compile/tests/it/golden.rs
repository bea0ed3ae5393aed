//! Golden cases: a directory with `in.yaml` is a case. `UPDATE_GOLDEN=1` writes what came out; review the diff.
//!
//! A first line `# base: NAME` puts the case on top of `base/NAME.yaml`, and `tables.yaml` then shows only what it
//! changes of that base's tables.

use std::{fs, path::Path};

use serde_json::Value;
use weft_compile::{Compiled, Diagnostic, Settings, compile};
use weft_k8s::{Located, Object, ParseError, Snapshot, parse_file};
use weft_model::delta::diff;

/// Fewest cases: fewer means that discovery is broken.
const FEWEST: usize = 40;

#[test]
fn every_case_gives_what_was_reviewed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.retain(|case| case.join("in.yaml").exists());
    cases.sort();
    assert!(
        cases.len() >= FEWEST,
        "only {} cases in {}",
        cases.len(),
        root.display()
    );
    let mut wrong = Vec::new();
    for case in &cases {
        let (tables, diagnostics) = run(&root, case);
        for (name, text) in [("tables.yaml", tables), ("diagnostics.txt", diagnostics)] {
            let path = case.join(name);
            if update {
                fs::write(&path, &text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                wrong.push(format!("{}:\n{text}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not as reviewed (UPDATE_GOLDEN=1 rewrites):\n{}",
        wrong.join("\n")
    );
}

fn run(root: &Path, case: &Path) -> (String, String) {
    let text = fs::read_to_string(case.join("in.yaml")).unwrap();
    let base = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# base: "))
        .map(|name| {
            let text = fs::read_to_string(root.join("base").join(format!("{}.yaml", name.trim())))
                .unwrap();
            let (objects, errors) = parse_file("base.yaml", &text);
            assert!(errors.is_empty(), "{errors:?}");
            objects
        });
    let base = base.unwrap_or_default();
    let before = build(base.clone()).tables;
    let (own, errors) = parse_file("in.yaml", &text);
    let layered = base
        .into_iter()
        .chain(own.into_iter().map(|object| object.in_layer(1)));
    let after = build(layered.collect());
    (
        render(&serde_json::to_value(diff(&before, &after.tables)).unwrap()),
        findings(&errors, &after),
    )
}

fn build(objects: Vec<Located<Object>>) -> Compiled {
    compile(&Snapshot::from_objects(objects), &Settings::default())
}

fn findings(errors: &[ParseError], compiled: &Compiled) -> String {
    let unread = errors
        .iter()
        .map(|error| Diagnostic::from(error).to_string());
    unread
        .chain(compiled.diagnostics.iter().map(ToString::to_string))
        .map(|line| line + "\n")
        .collect()
}

/// YAML without what is empty or default, so that a reviewer sees what matters.
fn render(value: &Value) -> String {
    serde_saphyr::to_string(&prune(value)).unwrap()
}

fn prune(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(prune).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), prune(value)))
            .filter(|(_, v)| !is_empty(v))
            .collect(),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
