//! Every verb in every version, with a scripted agent and a list in memory.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LIST: &str = include_str!("../../testdata/namespaces");
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// An agent that gives one answer and remembers what it was asked.
struct Script {
    answer: Option<Answer>,
    asked: Vec<(Request, Duration)>,
}

impl Agent for Script {
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, Unanswered> {
        self.asked.push((question.request.clone(), question.within));
        self.answer
            .clone()
            .ok_or_else(|| Unanswered::Agent("weft-agent does not answer".into()))
    }
}

struct Memory(Option<&'static str>);

impl Lists for Memory {
    fn read(&mut self, _: &Path) -> io::Result<Option<String>> {
        Ok(self.0.map(Into::into))
    }
}

/// Proxies that list what they are told to, and remember of which namespace they were asked.
#[derive(Default)]
struct Told {
    lists: Vec<&'static str>,
    asked: Vec<String>,
}

impl Proxies for Told {
    fn lists(&mut self, _: &Path, namespace: &str) -> Vec<String> {
        self.asked.push(namespace.to_owned());
        self.lists.iter().map(|list| (*list).to_owned()).collect()
    }
}

struct Ran {
    reply: Reply,
    asked: Vec<(Request, Duration)>,
    notes: Vec<String>,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.reply.stdout).unwrap()
    }

    fn code(&self) -> u64 {
        assert_eq!(
            self.reply.code,
            1,
            "{}",
            String::from_utf8_lossy(&self.reply.stdout)
        );
        self.json()["code"].as_u64().unwrap()
    }
}

fn run(env: &Env, stdin: &[u8], answer: Option<Answer>, list: Option<&'static str>) -> Ran {
    run_beside(&mut Told::default(), (env, stdin), answer, list)
}

/// The same on a node with proxies.
fn run_beside(
    proxies: &mut Told,
    (env, stdin): (&Env, &[u8]),
    answer: Option<Answer>,
    list: Option<&'static str>,
) -> Ran {
    let mut agent = Script {
        answer,
        asked: vec![],
    };
    let mut notes = vec![];
    let mut world = World {
        agent: &mut agent,
        lists: &mut Memory(list),
        proxies,
        note: &mut |n| notes.push(n),
    };
    let reply = dispatch(env, stdin, &mut world);
    Ran {
        reply,
        asked: agent.asked,
        notes,
    }
}

fn env(verb: &str, namespace: &str, name: &str) -> Env {
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=uid-{name}"
    );
    [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/p"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", &args),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

const OK: Option<Answer> = Some(Answer::Ok { captured: true });

/// A result with fields that no type of ours knows, and spacing that re-encoding would lose.
fn prev(version: &str) -> String {
    format!(
        r#"{{"cniVersion":"{version}","interfaces":[{{"name":"cni0","mac":"aa:bb"}},{{"name":"eth0","sandbox":"/run/netns/p","mtu":1450,"socketPath":"/x"}}],
        "ips":[{{"version":"4","address":"10.244.1.7/24","gateway":"10.244.1.1","interface":1}},{{"address":"fd00::7/64","interface":1}},{{"address":"10.244.1.1/24","interface":0}}],
        "routes":[{{"dst":"0.0.0.0/0","table":7,"scope":1,"priority":9007199254740993}}],"dns":{{}},  "futureField":[1.50]}}"#
    )
}

fn config(version: &str) -> Vec<u8> {
    let prev = prev(version);
    format!(r#"{{"cniVersion":"{version}","name":"n","type":"weft-cni","unknown":{{}},"runDir":"/r","stateDir":"/s","prevResult":{prev}}}"#)
        .into_bytes()
}

#[test]
fn add_asks_the_agent_and_passes_the_result_on_byte_by_byte() {
    for version in VERSIONS {
        let ran = run(
            &env("ADD", "shop", "web-1"),
            &config(version),
            OK,
            Some(LIST),
        );
        assert_eq!(ran.reply.code, 0);
        assert_eq!(String::from_utf8(ran.reply.stdout).unwrap(), prev(version));
        let (Request::Add(asked), within) = &ran.asked[0] else {
            panic!("{:?}", ran.asked)
        };
        assert_eq!(*within, weft_wire::cni::DEADLINE);
        let ips: Vec<IpAddr> = vec!["10.244.1.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        assert_eq!(
            (&asked.ips, asked.pod_uid.as_deref()),
            (&ips, Some("uid-web-1")),
            "the host's end is not the pod's"
        );
        assert_eq!(
            (asked.pod_namespace.as_str(), asked.pod_name.as_str()),
            ("shop", "web-1")
        );
    }
}

#[test]
fn add_maps_every_answer_of_the_agent_to_its_code() {
    let failed = Answer::Failed {
        code: 102,
        reason: "port 15001 is taken".into(),
        details: "change it".into(),
    };
    for version in VERSIONS {
        for (answer, code, says) in [
            (None, 11, "weft-agent does not answer"),
            (
                Some(Answer::TryAgain {
                    reason: "no proxy yet".into(),
                }),
                11,
                "no proxy yet",
            ),
            (Some(failed.clone()), 102, "port 15001 is taken"),
        ] {
            for list in [Some(LIST), None, Some("garbage")] {
                let ran = run(
                    &env("ADD", "shop", "web-2"),
                    &config(version),
                    answer.clone(),
                    list,
                );
                assert_eq!(ran.code(), code);
                assert_eq!(ran.json()["cniVersion"], version);
                let msg = ran.json()["msg"].as_str().unwrap().to_owned();
                assert!(msg.contains(says) && msg.contains("shop/web-2"), "{msg}");
            }
        }
    }
}

#[test]
fn a_pod_outside_the_mesh_passes_without_the_agent() {
    for (namespace, name, list) in [
        ("tools", "probe-1", Some(LIST)),
        ("shop", "batch-1", Some(LIST)),
        ("kube-system", "dns", None),
        ("weft-system", "weft-operator-0", None),
    ] {
        for verb in ["ADD", "CHECK"] {
            let ran = run(&env(verb, namespace, name), &config("1.0.0"), None, list);
            assert_eq!(
                (ran.reply.code, ran.asked.len()),
                (0, 0),
                "{verb} {namespace}/{name}"
            );
        }
    }
}

#[test]
fn an_unlisted_pod_of_a_namespace_outside_the_mesh_asks_and_passes_when_nobody_answers() {
    let ran = run(
        &env("ADD", "tools", "new"),
        &config("1.0.0"),
        None,
        Some(LIST),
    );
    assert_eq!((ran.reply.code, ran.asked.len()), (0, 1));
    assert!(ran.asked[0].1 < weft_wire::cni::DEADLINE);
    assert!(ran.notes[0].contains("outside the mesh"), "{:?}", ran.notes);
    let check = env("CHECK", "tools", "new");
    let checked = run(&check, &config("1.0.0"), None, Some(LIST));
    assert_eq!(checked.reply.code, 0, "CHECK does not notice it either");
    let again = Some(Answer::TryAgain {
        reason: "it is opted in by its own label".into(),
    });
    assert_eq!(
        run(
            &env("ADD", "tools", "new"),
            &config("1.0.0"),
            again,
            Some(LIST)
        )
        .code(),
        11
    );
}

#[test]
fn a_pod_waits_when_any_proxy_has_heard_what_the_dead_agent_could_not_write() {
    let out = "weft-mesh 1\nnamespace tools out\nend 1\n";
    let labelled = "weft-mesh 1\nnamespace tools in\nend 1\n";
    let own_label = "weft-mesh 1\nnamespace tools in\npod tools new uid-new in\npod tools probe-1 uid-probe-1 out\nend 3\n";
    let add = |name: &str, lists: &[&'static str], answer| {
        let mut proxies = Told {
            lists: lists.to_vec(),
            ..Told::default()
        };
        let env = env("ADD", "tools", name);
        let ran = run_beside(&mut proxies, (&env, &config("1.0.0")), answer, Some(LIST));
        assert_eq!(proxies.asked, ["tools"]);
        ran
    };
    for (name, lists, code) in [
        ("new", &[][..], 0),
        ("new", &[out], 0),
        ("new", &[labelled], 11),
        ("new", &[out, labelled], 11),
        ("new", &[own_label], 11),
        // One that is listed by the agent had been bound before the label came, and its sandbox is made again.
        ("probe-1", &[labelled], 11),
        ("probe-1", &[own_label], 0),
        // No word at all: the agent's list decides.
        ("new", &["weft-mesh 1\nend 0\n"], 0),
        ("new", &["weft-mesh 1\nnamespace tools in\n"], 0),
        ("new", &["<html>"], 0),
    ] {
        let reply = add(name, lists, None).reply;
        let text = String::from_utf8_lossy(&reply.stdout).into_owned();
        let found = if reply.code == 0 { 0 } else { 11 };
        assert_eq!(found, code, "{name} {lists:?}: {text}");
        assert!(code == 0 || text.contains("\"code\":11"), "{text}");
    }
    // A living agent has the last word, and is waited for as long as for any pod of the mesh.
    let ran = add("new", &[labelled], OK);
    assert_eq!((ran.reply.code, ran.asked.len()), (0, 1));
    assert_eq!(ran.asked[0].1, weft_wire::cni::DEADLINE);
}

#[test]
fn proxies_are_not_asked_about_pods_that_need_the_agent_or_never_do() {
    for (namespace, name, list) in [
        ("shop", "web-1", Some(LIST)),
        ("kube-system", "dns", Some(LIST)),
        ("nowhere", "x", Some(LIST)),
        ("tools", "probe-1", None),
    ] {
        let mut proxies = Told::default();
        let env = env("ADD", namespace, name);
        run_beside(&mut proxies, (&env, &config("1.0.0")), OK, list);
        assert!(proxies.asked.is_empty(), "{namespace}/{name}");
    }
}

#[test]
fn without_a_list_and_without_an_agent_everybody_else_waits() {
    assert_eq!(
        run(
            &env("ADD", "tools", "probe-1"),
            &config("1.0.0"),
            None,
            None
        )
        .code(),
        11
    );
    assert_eq!(
        run(
            &env("ADD", "nowhere", "x"),
            &config("1.0.0"),
            None,
            Some(LIST)
        )
        .code(),
        11
    );
}

#[test]
fn a_caller_that_is_not_kubernetes_passes() {
    for args in [None, Some(""), Some("IgnoreUnknown=1;FOO=BAR")] {
        for verb in ["ADD", "CHECK"] {
            let mut env = env(verb, "", "");
            env.remove("CNI_ARGS");
            env.extend(args.map(|a| ("CNI_ARGS".to_owned(), a.to_owned())));
            let ran = run(&env, &config("0.4.0"), None, None);
            assert_eq!((ran.reply.code, ran.asked.len()), (0, 0));
        }
    }
}

#[test]
fn missing_or_malformed_variables_are_named() {
    for verb in ["ADD", "CHECK", "DEL"] {
        for (name, bad) in [
            ("CNI_CONTAINERID", ""),
            ("CNI_CONTAINERID", "../../etc/passwd"),
            ("CNI_CONTAINERID", "-x"),
            ("CNI_IFNAME", ""),
            ("CNI_IFNAME", "a/b"),
            ("CNI_IFNAME", "sixteencharacter"),
        ] {
            let mut env = env(verb, "shop", "web-1");
            env.insert(name.into(), bad.into());
            let ran = run(&env, &config("1.0.0"), OK, Some(LIST));
            assert_eq!(ran.code(), 4, "{verb} {name}={bad:?}");
            assert!(ran.json()["msg"].as_str().unwrap().contains(name));
        }
    }
    let mut empty = env("ADD", "shop", "web-1");
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
        empty.remove(name);
    }
    let msg = run(&empty, &config("1.0.0"), OK, None).json()["msg"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        msg.starts_with("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"),
        "all at once: {msg}"
    );
    for (args, says) in [
        ("K8S_POD_NAME=x", "K8S_POD_NAMESPACE"),
        ("K8S_POD_NAMESPACE=x", "K8S_POD_NAME"),
        ("a;b", "CNI_ARGS"),
    ] {
        let mut env = env("ADD", "shop", "web-1");
        env.insert("CNI_ARGS".into(), args.into());
        let ran = run(&env, &config("1.0.0"), OK, None);
        assert_eq!(ran.code(), 4);
        assert!(ran.json()["msg"].as_str().unwrap().contains(says));
    }
    for command in [None, Some("GARBAGE"), Some("add")] {
        let mut env = Env::new();
        env.extend(command.map(|c| ("CNI_COMMAND".to_owned(), c.to_owned())));
        assert_eq!(run(&env, b"", None, None).code(), 4);
    }
}

#[test]
fn bad_configurations_get_their_codes() {
    for (stdin, code, says) in [
        (&b""[..], 6, "not JSON"),
        (b"{", 6, "not JSON"),
        (b"[]", 7, "configuration"),
        (br#"{"cniVersion":7}"#, 7, "cniVersion"),
        (br#"{"name":"n"}"#, 1, "0.1.0"),
        (br#"{"cniVersion":"0.2.0"}"#, 1, "0.2.0"),
        (br#"{"cniVersion":"1.2.0"}"#, 1, "1.2.0"),
        (br#"{"cniVersion":"1.0.0","runDir":"run"}"#, 7, "runDir"),
        (br#"{"cniVersion":"1.0.0"}"#, 7, "prevResult is missing"),
        (
            br#"{"cniVersion":"1.0.0","prevResult":null}"#,
            7,
            "prevResult is missing",
        ),
        (
            br#"{"cniVersion":"1.0.0","prevResult":[]}"#,
            7,
            "prevResult",
        ),
        (
            br#"{"cniVersion":"1.0.0","prevResult":{"ips":[{"address":"ten"}]}}"#,
            7,
            "ips[0].address",
        ),
    ] {
        for verb in ["ADD", "CHECK"] {
            let ran = run(&env(verb, "shop", "web-1"), stdin, OK, Some(LIST));
            let text = String::from_utf8_lossy(&ran.reply.stdout).into_owned();
            assert_eq!(ran.code(), code, "{text}");
            assert!(ran.json()["msg"].as_str().unwrap().contains(says), "{text}");
        }
    }
}

#[test]
fn del_succeeds_whatever_else_is_wrong() {
    let mut bare = env("DEL", "shop", "web-1");
    bare.remove("CNI_ARGS");
    bare.insert("CNI_NETNS".into(), String::new());
    for version in VERSIONS {
        let no_prev =
            format!(r#"{{"cniVersion":"{version}","name":"n","type":"weft-cni"}}"#).into_bytes();
        for answer in [
            None,
            OK,
            Some(Answer::TryAgain {
                reason: String::new(),
            }),
        ] {
            for _repeated in 0..2 {
                let ran = run(&bare, &no_prev, answer.clone(), None);
                assert_eq!(
                    ran.reply,
                    Reply {
                        stdout: vec![],
                        code: 0
                    }
                );
                let (
                    Request::Del {
                        container_id,
                        ifname,
                    },
                    within,
                ) = &ran.asked[0]
                else {
                    panic!()
                };
                assert_eq!((container_id.as_str(), ifname.as_str()), ("c1", "eth0"));
                assert!(*within <= Duration::from_secs(1));
            }
        }
    }
    for garbage in [&b""[..], b"{", br#"{"cniVersion":"9.9.9"}"#] {
        let ran = run(&bare, garbage, None, None);
        assert_eq!(
            ran.reply,
            Reply {
                stdout: vec![],
                code: 0
            }
        );
        assert_eq!(ran.notes.len(), 1, "but the log says so");
    }
}

#[test]
fn check_exists_from_0_4_0_on() {
    let env = env("CHECK", "shop", "web-1");
    assert_eq!(run(&env, &config("0.3.1"), OK, Some(LIST)).code(), 1);
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        assert_eq!(
            run(&env, &config(version), OK, Some(LIST)).reply,
            Reply {
                stdout: vec![],
                code: 0
            }
        );
        assert_eq!(run(&env, &config(version), None, Some(LIST)).code(), 11);
        let drift = Answer::Failed {
            code: 105,
            reason: "rules are missing".into(),
            details: String::new(),
        };
        assert_eq!(
            run(&env, &config(version), Some(drift), Some(LIST)).code(),
            105
        );
    }
}

#[test]
fn version_lists_what_we_speak() {
    let env: Env = [("CNI_COMMAND".to_owned(), "VERSION".to_owned())].into();
    for (stdin, answered) in [
        (&br#"{"cniVersion":"0.4.0"}"#[..], "0.4.0"),
        (br#"{"cniVersion":"7.0.0"}"#, "1.1.0"),
        (b"", "1.1.0"),
    ] {
        let ran = run(&env, stdin, None, None);
        assert_eq!(ran.reply.code, 0);
        assert_eq!(
            ran.json(),
            json!({"cniVersion": answered, "supportedVersions": VERSIONS})
        );
    }
}

#[test]
fn a_result_in_a_foreign_version_goes_out_in_ours() {
    let stdin = |config: &str, prev: &str| {
        format!(r#"{{"cniVersion":"{config}","prevResult":{{"cniVersion":"{prev}","keep":1.50,"ips":[{{"address":"fd00::7/64","x":1}}]}}}}"#).into_bytes()
    };
    let env = env("ADD", "shop", "web-1");
    let old = run(&env, &stdin("0.4.0", "1.0.0"), OK, Some(LIST));
    assert_eq!(
        old.json()["ips"][0],
        json!({"address": "fd00::7/64", "x": 1, "version": "6"})
    );
    let new = run(&env, &stdin("1.0.0", "0.4.0"), OK, Some(LIST));
    assert_eq!(
        (&new.json()["cniVersion"], &new.json()["keep"]),
        (&json!("1.0.0"), &json!(1.5))
    );
    let unnamed = br#"{"cniVersion":"1.0.0","prevResult":{"ips":null}}"#;
    assert_eq!(
        run(&env, unnamed, OK, Some(LIST)).json(),
        json!({"cniVersion": "1.0.0", "ips": null})
    );
}

/// GC and STATUS are called with a command and a configuration alone.
fn bare(verb: &str) -> Env {
    [("CNI_COMMAND".to_owned(), verb.to_owned())].into()
}

#[test]
fn gc_hands_the_agent_what_exists_and_never_fails_for_want_of_it() {
    let stdin = br#"{"cniVersion":"1.1.0","name":"n","type":"weft-cni",
        "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"},{"containerID":"c2","ifname":"eth0"}]}"#;
    let ran = run(&bare("GC"), stdin, OK, None);
    assert_eq!((ran.reply.code, ran.reply.stdout.len()), (0, 0));
    let keys = ["c1", "c2"].map(|id| weft_wire::cni::Key {
        container_id: id.into(),
        ifname: "eth0".into(),
    });
    let valid = keys.to_vec();
    assert_eq!(
        ran.asked[0].0,
        Request::Gc {
            network: "n".into(),
            valid
        }
    );
    let alone = run(&bare("GC"), stdin, None, None);
    assert_eq!(alone.reply.code, 0);
    assert!(alone.notes[0].contains("it will notice by itself"));
    // Without a list nothing is known, and an empty one is a list.
    assert!(
        run(&bare("GC"), br#"{"cniVersion":"1.1.0"}"#, OK, None)
            .asked
            .is_empty()
    );
    let empty = br#"{"cniVersion":"1.1.0","cni.dev/valid-attachments":[]}"#;
    assert_eq!(run(&bare("GC"), empty, OK, None).asked.len(), 1);
    let wrong = br#"{"cniVersion":"1.1.0","cni.dev/valid-attachments":[{"ifname":"eth0"}]}"#;
    let wrong = run(&bare("GC"), wrong, OK, None);
    assert_eq!(wrong.code(), 7);
    assert!(
        wrong.json()["msg"]
            .as_str()
            .unwrap()
            .contains("valid-attachments")
    );
    assert_eq!(wrong.json()["cniVersion"], "1.1.0");
}

#[test]
fn status_does_not_hold_up_a_node_for_want_of_agent_or_proxy() {
    let ran = run(&bare("STATUS"), br#"{"cniVersion":"1.1.0"}"#, None, None);
    assert_eq!((ran.reply.code, ran.reply.stdout.len()), (0, 0));
    assert!(ran.asked.is_empty());
    for verb in ["GC", "STATUS"] {
        assert_eq!(
            run(&bare(verb), br#"{"cniVersion":"1.0.0"}"#, OK, None).code(),
            1
        );
        assert_eq!(run(&bare(verb), b"{", OK, None).code(), 6);
    }
}

proptest! {
    /// Stdout is one JSON document or nothing, and an error never exits with 0, whatever comes in.
    #[test]
    fn any_input_gets_a_whole_answer(
        verb in prop_oneof!["ADD", "DEL", "CHECK", "VERSION", ".*"],
        stdin in prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), ".*".prop_map(String::into_bytes),
            any::<prop::sample::Index>().prop_map(|i| { let c = config("1.0.0"); let n = i.index(c.len()); c[..n].to_vec() })],
        args in ".*",
    ) {
        let mut env = env(&verb, "shop", "web-1");
        env.insert("CNI_ARGS".into(), args);
        let ran = run(&env, &stdin, None, Some(LIST));
        if !ran.reply.stdout.is_empty() {
            serde_json::from_slice::<Value>(&ran.reply.stdout).unwrap();
        }
        prop_assert_eq!(ran.reply.code == 1, !ran.reply.stdout.is_empty() && ran.json()["code"].is_u64());
    }
}
