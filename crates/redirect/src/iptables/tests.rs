//! Differences and transactions, with a small `iptables-restore --noflush` in memory to execute them.

use super::*;
use crate::desired::{CHAIN_IN, CHAIN_OUT, desired};

/// What a transaction does to a state.
pub(crate) fn execute(before: &Current, transaction: &str) -> Current {
    let mut chains = before.chains.clone();
    let mut table = String::new();
    for line in transaction.lines() {
        let key = |name: &str| (table.clone(), name.to_owned());
        let mut words = line.splitn(3, ' ');
        match (words.next().unwrap(), words.next(), words.next()) {
            ("COMMIT", None, None) => {}
            ("-A", Some(chain), Some(rule)) => {
                chains.entry(key(chain)).or_default().push(rule.to_owned())
            }
            ("-I", Some(chain), Some(rule)) => {
                chains
                    .entry(key(chain))
                    .or_default()
                    .insert(0, rule.strip_prefix("1 ").unwrap().to_owned());
            }
            ("-D", Some(chain), Some(rule)) => {
                let rules = chains.get_mut(&key(chain)).unwrap();
                let at = rules.iter().position(|r| r == rule).unwrap();
                rules.remove(at);
            }
            ("-F", Some(chain), None) => chains.get_mut(&key(chain)).unwrap().clear(),
            ("-X", Some(chain), None) => assert!(chains.remove(&key(chain)).unwrap().is_empty()),
            (declared, ..) if declared.starts_with(':') => {
                chains.insert(key(declared.trim_start_matches(':')), Vec::new());
            }
            (begin, ..) => table = begin.strip_prefix('*').unwrap().to_owned(),
        }
    }
    Current { chains }
}

/// The rules alone, without empty chains.
pub(crate) fn rules_of(current: &Current) -> Vec<(&(String, String), &Vec<String>)> {
    current
        .chains
        .iter()
        .filter(|(_, rules)| !rules.is_empty())
        .collect()
}

fn wanted() -> FamilyRules {
    desired(&Default::default(), false)
        .unwrap()
        .families
        .remove(0)
}

fn captured() -> Current {
    let empty = Current::default();
    execute(&empty, &capture(&empty, &wanted()).unwrap())
}

fn changed(change: impl FnOnce(&mut BTreeMap<(String, String), Vec<String>>)) -> Current {
    let mut current = captured();
    change(&mut current.chains);
    current
}

fn nat(name: &str) -> (String, String) {
    ("nat".to_owned(), name.to_owned())
}

/// Each way in which someone can disturb the rules is found, named, and mended by a second capture.
#[test]
fn every_disturbance_is_found_and_mended() {
    let disturbances: Vec<(&str, Current)> = vec![
        (
            "flushed hook",
            changed(|c| c.get_mut(&nat("OUTPUT")).unwrap().clear()),
        ),
        (
            "flushed chain",
            changed(|c| c.get_mut(&nat(CHAIN_IN)).unwrap().clear()),
        ),
        (
            "one rule less",
            changed(|c| drop(c.get_mut(&nat(CHAIN_OUT)).unwrap().remove(1))),
        ),
        (
            "one rule more",
            changed(|c| {
                c.get_mut(&nat(CHAIN_OUT))
                    .unwrap()
                    .insert(0, "-j RETURN".into())
            }),
        ),
        (
            "a rule before ours",
            changed(|c| {
                c.get_mut(&nat("OUTPUT"))
                    .unwrap()
                    .insert(0, "-j ACCEPT".into())
            }),
        ),
        (
            "twice",
            changed(|c| {
                c.get_mut(&nat("PREROUTING"))
                    .unwrap()
                    .push(format!("-p tcp -j {CHAIN_IN}"))
            }),
        ),
        (
            "from elsewhere",
            changed(|c| drop(c.insert(nat("APP"), vec![format!("-g {CHAIN_OUT}")]))),
        ),
        ("gone", Current::default()),
    ];
    for (what, current) in disturbances {
        assert!(!differences(&current, &wanted()).is_empty(), "{what}");
        let mended = execute(&current, &capture(&current, &wanted()).unwrap());
        assert_eq!(differences(&mended, &wanted()), [""; 0], "{what}");
    }
    assert_eq!(differences(&captured(), &wanted()), [""; 0]);
}

#[test]
fn a_rule_that_mentions_our_chain_in_a_comment_is_not_a_jump() {
    let text =
        "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m comment --comment WEFT_OUT -j APP\nCOMMIT\n";
    assert_eq!(Current::parse(text).phase(), Phase::Released);
}

#[test]
fn nothing_to_do_is_no_transaction() {
    assert_eq!(capture(&captured(), &wanted()), None);
    assert_eq!(releasing(&Current::default()), None);
    assert_eq!(release(&Current::default()), None);
    let half = execute(&captured(), &releasing(&captured()).unwrap());
    assert_eq!(releasing(&half), None);
}

#[test]
fn any_text_can_be_read() {
    for text in [
        "",
        "*",
        ":",
        "-A",
        "-A x",
        "*nat\n:x\n-A y",
        "# Table `nat' is incompatible, use 'nft' tool.\n",
        "\0\n*\n:",
    ] {
        let _ = Current::parse(text).phase();
    }
    let saved = "*nat\n:OUTPUT ACCEPT [1:2]\nCOMMIT\n*raw\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    assert!(!Current::parse(saved).has_rules());
}
