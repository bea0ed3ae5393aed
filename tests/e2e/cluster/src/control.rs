//! The control plane: etcd, API server, controllers, scheduler, in the room itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::daemon::Place;
use crate::network::{API_SERVICE_IP, CONTROL_PLANE_IP, POD_NETWORK, SERVICE_NETWORK};
use crate::process;
use crate::room::Room;
use crate::settings::{self, INSIDE};

/// The API server answers on a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// etcd's only client is the API server beside it.
const ETCD: &str = "http://127.0.0.1:2379";
/// Nobody is a peer.
const ETCD_PEERS: &str = "http://127.0.0.1:2380";

/// Users with a client certificate and a kubeconfig: (file, user, group).
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        "system:authenticated",
    ),
    (
        "kube-scheduler",
        "system:kube-scheduler",
        "system:authenticated",
    ),
    ("kube-proxy", "system:kube-proxy", "system:authenticated"),
    ("apiserver-kubelet", "kube-apiserver", "system:masters"),
];

/// Keys and credentials of everybody, into `keys`; the admin's names the machine's own paths.
pub(crate) fn make_keys(directory: &Path, nodes: u8) -> anyhow::Result<()> {
    let keys = directory.join("keys");
    fs::create_dir_all(&keys).with_context(|| format!("cannot make {}", keys.display()))?;
    let mut command = Command::new(directory.join("bin/kube"));
    command.arg("keys").arg(&keys).arg(format!(
        "server=apiserver={CONTROL_PLANE_IP},127.0.0.1,{API_SERVICE_IP},localhost,kubernetes,\
         kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.cluster.local"
    ));
    let names = (1..=nodes).map(|number| format!("node-{number}"));
    let kubelets = names.map(|name| {
        let user = format!("system:node:{name}");
        (name, user, "system:nodes".to_owned())
    });
    let others = USERS.map(|(file, user, group)| (file.into(), user.into(), group.into()));
    for (file, user, group) in kubelets.chain(others) {
        command.arg(format!("client={file}={user}={group}"));
        let seen = match file.as_str() {
            "admin" | "kube-controller-manager" | "kube-scheduler" => keys.display().to_string(),
            _ => format!("{INSIDE}/keys"),
        };
        let path = keys.join(format!("{file}.conf"));
        fs::write(&path, settings::kubeconfig(&file, &seen))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    process::output(&mut command).context("cannot make keys")?;
    Ok(())
}

/// Where the control plane's daemons leave logs and numbers.
pub(crate) fn place(directory: &Path, room: &Room) -> Place {
    Place {
        namespace: room.namespace().to_owned(),
        outside: directory.join("logs"),
        inside: directory.join("logs"),
    }
}

/// Starts etcd and the API server; the latter is on its way when this returns.
pub(crate) fn start_store(directory: &Path, room: &Room) -> anyhow::Result<()> {
    let data = directory.join("etcd");
    fs::create_dir_all(&data).context("cannot make a directory for etcd")?;
    // In memory: a cluster is made to be thrown away, and etcd syncs its files all the time.
    let mut mount = room.command("mount");
    mount
        .args(["-t", "tmpfs", "-o", "mode=700", "etcd"])
        .arg(&data);
    process::output(&mut mount)?;
    let place = place(directory, room);
    let etcd = [
        "etcd".to_owned(),
        format!("--data-dir={}", data.join("data").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=default={ETCD_PEERS}"),
    ];
    place.start(room.command("sh"), "etcd", &etcd)?;
    let line = with_program(directory, "kube-apiserver", &apiserver(directory));
    place.start(room.command("sh"), "kube-apiserver", &line)
}

/// Waits for the API server, then starts what works through it.
pub(crate) fn start_controllers(
    directory: &Path,
    room: &Room,
    mut kubectl: impl FnMut() -> Command,
) -> anyhow::Result<()> {
    let place = place(directory, room);
    place.wait("kube-apiserver", READY_DEADLINE, || {
        process::output(kubectl().args(["get", "--raw", "/readyz"])).map(|_| ())
    })?;
    let controllers = with_program(
        directory,
        "kube-controller-manager",
        &controller_manager(directory),
    );
    place.start(room.command("sh"), "kube-controller-manager", &controllers)?;
    let keys = directory.join("keys");
    let scheduler = with_program(
        directory,
        "kube-scheduler",
        &[
            format!("--kubeconfig={}/kube-scheduler.conf", keys.display()),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
        ],
    );
    place.start(room.command("sh"), "kube-scheduler", &scheduler)
}

fn with_program(directory: &Path, name: &str, flags: &[String]) -> Vec<String> {
    let program = directory.join("bin/kube").display().to_string();
    [program, name.to_owned()]
        .into_iter()
        .chain(flags.iter().cloned())
        .collect()
}

fn apiserver(directory: &Path) -> Vec<String> {
    let keys = directory.join("keys").display().to_string();
    [
        format!("--etcd-servers={ETCD}"),
        format!("--advertise-address={CONTROL_PLANE_IP}"),
        format!("--tls-cert-file={keys}/apiserver.crt"),
        format!("--tls-private-key-file={keys}/apiserver.key"),
        format!("--cert-dir={keys}"),
        format!("--client-ca-file={keys}/ca.crt"),
        format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={keys}/sa.pub"),
        format!("--service-account-signing-key-file={keys}/sa.key"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        format!("--kubelet-client-certificate={keys}/apiserver-kubelet.crt"),
        format!("--kubelet-client-key={keys}/apiserver-kubelet.key"),
        "--kubelet-preferred-address-types=InternalIP".into(),
        // No kube-proxy runs beside it: a webhook's Service is reached by the addresses of its pods.
        "--enable-aggregator-routing=true".into(),
        "--allow-privileged=true".into(),
        // Debian's etcd cannot tell how far a watch is, which this would ask every few seconds.
        "--feature-gates=SizeBasedListCostEstimate=false".into(),
    ]
    .into()
}

fn controller_manager(directory: &Path) -> Vec<String> {
    let keys = directory.join("keys").display().to_string();
    [
        format!("--kubeconfig={keys}/kube-controller-manager.conf"),
        format!("--service-account-private-key-file={keys}/sa.key"),
        // Without it every pod's ca.crt is empty.
        format!("--root-ca-file={keys}/ca.crt"),
        format!("--cluster-signing-cert-file={keys}/ca.crt"),
        format!("--cluster-signing-key-file={keys}/ca.key"),
        format!("--cert-dir={keys}/kube-controller-manager"),
        format!("--cluster-cidr={POD_NETWORK}"),
        // Each node's pod network is routed before the node registers.
        "--allocate-node-cidrs=false".into(),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--flex-volume-plugin-dir={keys}/none"),
    ]
    .into()
}
