//! Definitions of kinds by helm and by the command line: brought where they are absent, kept when Weft goes, and left alone
//! where they are somebody else's. Nothing else of Weft has to run for this, so nobody waits for it.

use serde_json::Value;
use weft_cluster::{Cluster, Mesh, Progress};

use crate::Weft;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/charts/weft");
const CHANNEL: &str = include_str!("../../../../../deploy/charts/weft/files/gateway-api.yaml");
const GROUP: &str = ".gateway.networking.k8s.io";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
const GUARD: &str = "validatingadmissionpolicy,validatingadmissionpolicybinding";
/// Its pods cannot be started, and need not.
const VALUES: &str = "image.registry=none.invalid,image.pullPolicy=Never";

pub(crate) fn come_and_stay_and_are_left_alone(weft: &Weft<'_>) {
    let cluster = weft.cluster;
    let mesh = Mesh::find(cluster, &Progress::silent()).unwrap();
    brought_and_kept(cluster, &mesh);
    never_deleted_by_mistake(cluster, &mesh);
    experimental_is_left_alone(weft, &mesh);
    forget(cluster);
}

fn helm(mesh: &Mesh<'_>, verb: &str) -> anyhow::Result<()> {
    let mut line = vec![verb, "weft", CHART, "-n", "weft-system", "--set", VALUES];
    if verb == "install" {
        line.push("--create-namespace");
    }
    mesh.helm(&line)
}

fn uninstall(mesh: &Mesh<'_>) {
    mesh.helm(&["uninstall", "weft", "-n", "weft-system"])
        .unwrap();
}

/// On a cluster without any, helm brings all of the channel; they are the same ones after an upgrade and a removal.
fn brought_and_kept(cluster: &Cluster, mesh: &Mesh<'_>) {
    helm(mesh, "install").unwrap();
    let brought = gateway_api(cluster);
    assert_eq!(brought.len(), 10, "{brought:?}");
    assert!(
        brought.iter().all(|it| it.ends_with(" standard")),
        "{brought:?}"
    );
    cluster.kubectl_ok(&["get", GUARD, "-o", "name"]).unwrap();
    helm(mesh, "upgrade").unwrap();
    assert_eq!(gateway_api(cluster), brought);
    uninstall(mesh);
    assert_eq!(gateway_api(cluster), brought, "routes would go with them");
    helm(mesh, "install").unwrap();
    assert_eq!(gateway_api(cluster), brought);
}

/// helm would delete what it has once brought and somebody has replaced since.
fn never_deleted_by_mistake(cluster: &Cluster, mesh: &Mesh<'_>) {
    cluster.kubectl_ok(&["delete", "crd", ROUTES]).unwrap();
    cluster.apply(&routes("standard")).unwrap();
    let there = gateway_api(cluster);
    let refusal = helm(mesh, "upgrade").unwrap_err().to_string();
    assert!(
        refusal.contains("kubectl annotate customresourcedefinition httproutes"),
        "{refusal}"
    );
    let keep = ["annotate", "crd", ROUTES, "helm.sh/resource-policy=keep"];
    cluster.kubectl_ok(&keep).unwrap();
    helm(mesh, "upgrade").unwrap();
    assert_eq!(gateway_api(cluster), there);
    uninstall(mesh);
}

/// A single one of the other channel, and nothing of ours is put beside it by anybody.
fn experimental_is_left_alone(weft: &Weft<'_>, mesh: &Mesh<'_>) {
    let cluster = weft.cluster;
    forget(cluster);
    cluster.apply(&routes("experimental")).unwrap();
    let theirs = gateway_api(cluster);
    assert_eq!(theirs.len(), 1);
    helm(mesh, "install").unwrap();
    assert_eq!(gateway_api(cluster), theirs);
    uninstall(mesh);
    let said = weft.ok(&[
        "install",
        "--image-registry",
        "none.invalid",
        "--wait=false",
    ]);
    let words = format!("the Gateway API is left alone:\n  {ROUTES}: somebody else");
    assert!(said.contains(&words), "{said}");
    let (_, said) = weft.run(&["check"]);
    assert!(said.contains("experimental channel)"), "{said}");
    // No agent has ever run: no pod could leave.
    let agents = ["delete", "daemonset", "weft-agent", "-n", "weft-system"];
    cluster.kubectl_ok(&agents).unwrap();
    weft.ok(&["uninstall", "--yes", "--crds", "--timeout", "2m"]);
    assert_eq!(gateway_api(cluster), theirs);
}

/// The published definition of routes as if it were of this channel.
fn routes(channel: &str) -> String {
    let mut documents = CHANNEL.split("\n---\n");
    let routes = documents.find(|text| text.contains(&format!("name: {ROUTES}")));
    routes.unwrap().replace(
        "gateway.networking.k8s.io/channel: standard",
        &format!("gateway.networking.k8s.io/channel: {channel}"),
    )
}

/// Name, uid and channel of each of the Gateway API's definitions.
fn gateway_api(cluster: &Cluster) -> Vec<String> {
    let all = cluster.get(&["crd"]).unwrap();
    let word = |definition: &Value, at: &str| {
        let word = definition.pointer(at).and_then(Value::as_str);
        word.unwrap_or_default().to_owned()
    };
    let definitions = all["items"].as_array().unwrap().iter();
    definitions
        .filter(|it| word(it, "/metadata/name").ends_with(GROUP))
        .map(|it| {
            let channel = "/metadata/annotations/gateway.networking.k8s.io~1channel";
            let places = ["/metadata/name", "/metadata/uid", channel];
            places.map(|at| word(it, at)).join(" ")
        })
        .collect()
}

/// All definitions go, as an administrator takes them away.
fn forget(cluster: &Cluster) {
    cluster.kubectl_ok(&["delete", GUARD, "--all"]).unwrap();
    let all = ["delete", "crd", "--all", "--wait"];
    cluster.kubectl_ok(&all).unwrap();
}
