//! Weft changed, taken back and removed by people who do not read first: an upgrade and a rollback of the proxies lose no
//! request, and parts that are deleted in the wrong order leave pods that work, or that work again after one command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

mod patience;

use weft_cluster::{Cluster, Config, Mesh, Progress};

use patience::{PATIENCE, eventually};

const SYSTEM: [&str; 2] = ["-n", "weft-system"];

/// A server on the second node, a client on the first.
const PAIR: &str = include_str!("upgrade/pair.yaml");
/// Half of the requests for the server get a header of this route.
const ROUTE: &str = include_str!("upgrade/route.yaml");
const DEFINITIONS: &str = include_str!("../../../../deploy/manifests/crds.yaml");

#[test]
fn changed_and_removed_in_any_order() {
    let config = Config::for_test("upgrade").unwrap();
    let cluster = Cluster::up(&config).unwrap();
    let mesh = Mesh::install(&cluster, &config, &["proxy.drainSeconds=5"]).unwrap();
    cluster.apply(PAIR).unwrap();
    let pair = ["-n", "pair", "deployments", "--all"];
    cluster
        .wait("condition=Available", &pair, PATIENCE)
        .unwrap();
    eventually("the pair is captured", || {
        holds(mesh.captured().unwrap() == 2.0)
    });
    let pods = mesh.lives("pair").unwrap();

    upgrade_and_rollback_lose_nothing(&mesh);
    definitions_first(&mesh);
    operator_first(&mesh);
    namespace_first(&mesh);
    assert_eq!(
        mesh.lives("pair").unwrap(),
        pods,
        "no pod was restarted in all this"
    );
}

/// `helm upgrade` exchanges the proxies while requests run, `helm rollback` once more.
fn upgrade_and_rollback_lose_nothing(mesh: &Mesh<'_>) {
    let lost = while_asking(mesh, || {
        mesh.upgrade(&["proxy.accessLog=all"]).unwrap();
        assert_eq!(access_log(mesh), "all");
    });
    assert_eq!(lost, "", "requests lost by the upgrade");
    let lost = while_asking(mesh, || {
        let line = [
            "rollback",
            "weft",
            "1",
            "-n",
            "weft-system",
            "--wait",
            "--timeout",
            "3m",
        ];
        mesh.helm(&line).unwrap();
        assert_eq!(access_log(mesh), "off");
    });
    assert_eq!(lost, "", "requests lost by the rollback");
}

/// Without the definitions the policies are gone; pods and captures stay. Applied again, all is as before.
fn definitions_first(mesh: &Mesh<'_>) {
    mesh.cluster().apply(ROUTE).unwrap();
    eventually("the route is in force", || {
        holds(answer(mesh).contains("x-route"))
    });
    let lost = while_asking(mesh, || {
        let crds = ["delete", "crd", "virtualservices.networking.istio.io"];
        mesh.cluster().kubectl_ok(&crds).unwrap();
        eventually("the route is gone", || {
            holds(!answer(mesh).contains("x-route"))
        });
    });
    assert_eq!(lost, "", "requests lost with the definitions");
    mesh.cluster().apply(DEFINITIONS).unwrap();
    let established = "condition=Established";
    let crd = ["crd", "virtualservices.networking.istio.io"];
    mesh.cluster().wait(established, &crd, PATIENCE).unwrap();
    mesh.cluster().apply(ROUTE).unwrap();
    eventually("the route is in force again", || {
        holds(answer(mesh).contains("x-route"))
    });
}

/// Without an operator nothing changes; `helm upgrade` brings it back.
fn operator_first(mesh: &Mesh<'_>) {
    let lost = while_asking(mesh, || {
        let delete = [
            &SYSTEM[..],
            &["delete", "deployment", "weft-operator", "--wait"],
        ]
        .concat();
        mesh.cluster().kubectl_ok(&delete).unwrap();
        mesh.upgrade(&[]).unwrap();
    });
    assert_eq!(lost, "", "requests lost without an operator");
}

/// The namespace goes with everything in it, helm's record too. Captured pods wait for a proxy; the same installation
/// once more serves them as they are, and lets them leave in order.
fn namespace_first(mesh: &Mesh<'_>) {
    let delete = [
        "delete",
        "namespace",
        "weft-system",
        "--wait",
        "--timeout=180s",
    ];
    mesh.cluster().kubectl_ok(&delete).unwrap();
    let said = ask(mesh, "5");
    assert!(
        !said.success(),
        "nobody carries it, and nothing goes around the mesh: {said:?}"
    );
    // Again from nothing, as the guide says.
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/charts/weft");
    let mut line = vec!["install", "weft", chart, "-n", "weft-system"];
    line.extend(["--create-namespace", "--wait", "--timeout", "3m"]);
    line.extend(["--set", "image.registry=weft.local,proxy.drainSeconds=5"]);
    mesh.helm(&line).unwrap();
    eventually("the pair works again", || holds(ask(mesh, "30").success()));
    eventually("both are captured", || {
        holds(mesh.captured().unwrap() == 2.0)
    });
    mesh.upgrade(&["leave=true"]).unwrap();
    assert!(
        answer(mesh).contains("server"),
        "new connections go directly"
    );
    mesh.uninstall().unwrap();
    mesh.cluster()
        .kubectl_ok(&["delete", "namespace", "weft-system", "--wait"])
        .unwrap();
    assert!(answer(mesh).contains("server"));
    let nodes = mesh
        .cluster()
        .nodes_to_look_into("what is left on the nodes", &Progress::stderr());
    for node in nodes {
        let script = "for n in /run/netns/*; do nsenter --net=$n iptables-nft-save | grep WEFT; done; \
                      ls /etc/cni/net.d | grep weft; ls -A /run/weft /var/lib/weft | grep -v :";
        let left = node.exec(&["sh", "-c", script]).unwrap().stdout;
        assert_eq!(left.trim(), "", "left on {}", node.name());
    }
}

/// One request from node to node, with the answer's headers, given up after so many seconds.
fn ask(mesh: &Mesh<'_>, seconds: &str) -> weft_cluster::Finished {
    let get = [
        "timeout",
        seconds,
        "wget",
        "-S",
        "-q",
        "-O",
        "-",
        "http://server/",
    ];
    mesh.cluster()
        .exec(&["-n", "pair", "deploy/client"], &get)
        .unwrap()
}

fn answer(mesh: &Mesh<'_>) -> String {
    let said = ask(mesh, "30");
    // busybox' wget prints headers on standard error.
    format!("{}{}", said.stdout, said.stderr)
}

/// Does something while the client asks twenty times a second; gives what it says of lost requests.
fn while_asking(mesh: &Mesh<'_>, act: impl FnOnce()) -> String {
    // A request that a busy machine delays is not lost.
    let script = "n=0; touch /tmp/asking; until [ -e /tmp/stop ]; do \
                  timeout 30 wget -q -O /dev/null http://server/ || echo lost after $n; n=$((n+1)); sleep 0.05; done; \
                  echo asked $n";
    let client = ["-n", "pair", "deploy/client"];
    let client_does = |line: &[&str]| mesh.cluster().exec(&client, line).unwrap();
    let ready = client_does(&["sh", "-c", "rm -f /tmp/asking /tmp/stop"]);
    assert!(ready.success(), "{ready:?}");
    let said = std::thread::scope(|scope| {
        let load = scope.spawn(|| client_does(&["sh", "-c", script]));
        eventually("requests run", || {
            holds(client_does(&["ls", "/tmp/asking"]).success())
        });
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        mesh.cluster()
            .exec(&client, &["touch", "/tmp/stop"])
            .unwrap();
        let said = load.join().unwrap().text().unwrap();
        if let Err(why) = acted {
            std::panic::resume_unwind(why);
        }
        said
    });
    let (lost, asked) = said.split_at(said.find("asked").unwrap());
    eprintln!("{}", asked.trim());
    lost.to_owned()
}

/// The value that the running proxies have.
fn access_log(mesh: &Mesh<'_>) -> String {
    let proxies = [&["daemonset/weft-proxy"][..], &SYSTEM].concat();
    let proxies = mesh.cluster().get(&proxies).unwrap();
    let container = &proxies["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().unwrap();
    let value = env.iter().find(|e| e["name"] == "WEFT_ACCESS_LOG").unwrap();
    value["value"].as_str().unwrap().to_owned()
}

fn holds(is: bool) -> Result<(), String> {
    match is {
        true => Ok(()),
        false => Err("it is not so".to_owned()),
    }
}
