//! Fixtures: `testdata/conflist/<case>/<primary's file>` and the `want` that must come of it, byte by byte.

use std::fs;

use super::*;

fn sources(dir: &Path) -> Vec<Source> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let configs = entries.filter(|e| is_config(&e.file_name().to_string_lossy()));
    configs
        .map(|e| Source {
            name: e.file_name().into_string().unwrap(),
            text: fs::read_to_string(e.path()).unwrap(),
        })
        .collect()
}

fn chosen(sources: Vec<Source>) -> Choice {
    choose(sources, Path::new("/run/weft"), Path::new("/var/lib/weft"))
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
    }
}

#[test]
fn every_fixture_becomes_what_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conflist");
    let mut cases = 0;
    for case in fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        let (primary, text) = chosen(sources(&case)).derived.unwrap();
        let want = case.join("want");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&want, format!("{primary}\n{text}")).unwrap();
        }
        assert_eq!(
            format!("{primary}\n{text}"),
            fs::read_to_string(&want).unwrap(),
            "{}",
            case.display()
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        cases += 1;
    }
    assert!(cases >= 4);
}

#[test]
fn what_cannot_be_chained_to_is_skipped_by_name() {
    let bad = |name, text| chosen(vec![source(name, text)]).skipped.pop().unwrap().1;
    assert!(matches!(bad("a.conflist", "{"), Unusable::Malformed(_)));
    assert!(matches!(bad("a.conflist", "[]"), Unusable::Malformed(_)));
    assert_eq!(
        bad(
            "a.conflist",
            r#"{"cniVersion":"0.2.0","plugins":[{"type":"x"}]}"#
        ),
        Unusable::Version("0.2.0".into())
    );
    assert_eq!(
        bad("a.conflist", r#"{"plugins":[{"type":"x"}]}"#),
        Unusable::Version(String::new())
    );
    assert_eq!(
        bad(
            "a.conflist",
            r#"{"cniVersion":"1.1.0","cniVersions":["1.1.0","1.2.0"],"plugins":[{"type":"x"}]}"#
        ),
        Unusable::Version("1.2.0".into())
    );
    assert_eq!(
        bad("a.conflist", r#"{"cniVersion":"1.0.0"}"#),
        Unusable::NoPlugins
    );
    assert_eq!(
        bad("a.conflist", r#"{"cniVersion":"1.0.0","plugins":[]}"#),
        Unusable::NoPlugins
    );
    assert_eq!(
        bad(
            "a.conflist",
            r#"{"cniVersion":"1.0.0","plugins":[{"type":"weft-cni"}]}"#
        ),
        Unusable::NoPlugins
    );
    assert_eq!(
        bad(
            "a.conflist",
            r#"{"cniVersion":"1.0.0","plugins":[{"type":"../../bin/sh"}]}"#
        ),
        Unusable::PluginType("../../bin/sh".into())
    );
    assert!(matches!(
        bad("a.conf", r#"{"cniVersion":"1.0.0"}"#),
        Unusable::Malformed(_)
    ));
}

#[test]
fn every_version_that_the_plugin_speaks_is_chained_to() {
    for versions in [
        r#""cniVersion":"0.3.1""#,
        r#""cniVersion":"1.1.0""#,
        r#""cniVersion":"1.0.0","cniVersions":["0.4.0","1.0.0","1.1.0"]"#,
    ] {
        let text = format!(r#"{{{versions},"name":"n","plugins":[{{"type":"bridge"}}]}}"#);
        let choice = chosen(vec![source("10-a.conflist", &text)]);
        let (_, text) = choice
            .derived
            .unwrap_or_else(|| panic!("{:?}", choice.skipped));
        assert!(
            text.contains("weft-cni") && text.contains("bridge"),
            "{text}"
        );
        assert_eq!(types(&text), ["bridge", "weft-cni"]);
    }
}

#[test]
fn the_first_valid_file_in_the_order_of_names_is_the_primary() {
    let good = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"}]}"#;
    let choice = chosen(vec![
        source("20-b.conflist", good),
        source("10-a.conflist", "torn"),
        source("30-c.conf", good),
    ]);
    assert_eq!(choice.derived.unwrap().0, "20-b.conflist");
    assert_eq!(choice.skipped.len(), 1);
    assert_eq!(
        chosen(vec![]),
        Choice {
            derived: None,
            skipped: vec![]
        }
    );
}

#[test]
fn our_name_sorts_before_every_other() {
    assert_eq!(
        own_name(["10-calico.conflist"].into_iter()),
        Some("00-weft.conflist")
    );
    assert_eq!(
        own_name(["00-multus.conf", "10-x.conf"].into_iter()),
        Some("00-0-weft.conflist")
    );
    assert_eq!(
        own_name(["00-0-a.conf"].into_iter()),
        Some("00--weft.conflist")
    );
    assert_eq!(own_name([" first.conf"].into_iter()), None);
    assert!(OWN_NAMES.iter().all(|name| is_own(name) && is_config(name)));
    assert!(
        !is_config("10-x.conf.cilium_bak")
            && !is_config("README")
            && !is_config(".00-weft.conflist.tmp.7")
    );
}
