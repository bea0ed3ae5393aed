//! A real kube-apiserver with a real etcd on loopback, no root needed, and the operator as a cluster runs it: with the
//! permissions that `weft-operator rbac` prints and no others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::mesh::{check, free_port, until, until_within};

/// The API server needs some seconds, more on a busy machine.
const START: Duration = Duration::from_secs(400);
/// Namespace of the operator.
pub(crate) const NAMESPACE: &str = "weft-system";
const ADMIN: &str = "admin-token-of-this-test";

/// API server and etcd.
pub(crate) struct ApiServer {
    pub(crate) dir: tempfile::TempDir,
    program: PathBuf,
    etcd: SocketAddr,
    address: SocketAddr,
    _etcd: Child,
    server: Option<Child>,
    /// A client that may do everything.
    pub(crate) admin: Client,
}

impl ApiServer {
    /// A running one with namespace and permissions of the operator; `definitions`: with our CRDs too.
    pub(crate) async fn start(definitions: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = program();
        let (etcd, peer, address) = (free_port(), free_port(), free_port());
        let key = dir.path().join("sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .stderr(Stdio::null())
            .status();
        assert!(
            made.await
                .expect("openssl is needed (cargo xtask setup)")
                .success()
        );
        std::fs::write(
            dir.path().join("tokens.csv"),
            format!("{ADMIN},admin,admin,system:masters\n"),
        )
        .unwrap();
        let store = log(Command::new("setpriv"), &dir.path().join("etcd.log"))
            .args(["--pdeathsig", "KILL", "etcd", "--data-dir"])
            .arg(dir.path().join("etcd"))
            .arg(format!("--listen-client-urls=http://{etcd}"))
            .arg(format!("--advertise-client-urls=http://{etcd}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .spawn()
            .expect("etcd and setpriv are needed (cargo xtask setup)");
        let mut server = Self {
            admin: unreachable_client(address),
            dir,
            program,
            etcd,
            address,
            _etcd: store,
            server: None,
        };
        server.resume().await;
        server.admin = server.client(ADMIN).await;
        server.prepare(definitions).await;
        server
    }

    /// Starts the API server (again) and waits until it is ready.
    pub(crate) async fn resume(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let child = log(
            Command::new("setpriv"),
            &self.dir.path().join("apiserver.log"),
        )
        .args(["--pdeathsig", "KILL"])
        .arg(&self.program)
        .arg("kube-apiserver")
        .arg(format!("--etcd-servers=http://{}", self.etcd))
        .arg(format!("--cert-dir={}", path("certs")))
        .arg(format!("--secure-port={}", self.address.port()))
        .arg("--bind-address=127.0.0.1")
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg(format!("--service-account-key-file={}", path("sa.key")))
        .arg(format!(
            "--service-account-signing-key-file={}",
            path("sa.key")
        ))
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg(format!("--token-auth-file={}", path("tokens.csv")))
        .arg("--authorization-mode=RBAC")
        .arg("--disable-admission-plugins=ServiceAccount")
        .spawn()
        .expect("the API server starts");
        self.server = Some(child);
        let log = self.dir.path().join("apiserver.log");
        until_within(START, "the API server is ready", async || {
            self.readyz().await.map_err(|error| {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                format!("{error:?}\n{log}")
            })
        })
        .await;
    }

    async fn readyz(&self) -> anyhow::Result<()> {
        let client = try_client(&self.kubeconfig_value(ADMIN)).await?;
        let request = http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await?;
        Ok(())
    }

    /// kill -9 of the API server.
    pub(crate) async fn kill(&mut self) {
        self.server.take().unwrap().kill().await.unwrap();
    }

    async fn client(&self, token: &str) -> Client {
        try_client(&self.kubeconfig_value(token)).await.unwrap()
    }

    /// A kubeconfig file with this token.
    pub(crate) fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, self.kubeconfig_value(token).to_string()).unwrap();
        path
    }

    fn kubeconfig_value(&self, token: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.address.port()),
                "certificate-authority": self.dir.path().join("certs/apiserver.crt"),
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
    }

    async fn prepare(&self, definitions: bool) {
        self.apply(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        )
        .await;
        for account in ["weft-operator", "weft-agent", "weft-proxy"] {
            self.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": NAMESPACE}})).await;
        }
        for document in printed("rbac").await {
            self.apply(document).await;
        }
        if definitions {
            self.define().await;
        }
    }

    /// Installs our CRDs and waits until they are served.
    pub(crate) async fn define(&self) {
        for document in printed("crds").await {
            let name = document["metadata"]["name"].as_str().unwrap().to_owned();
            self.apply(document).await;
            let api = self.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
            until_within(START, "the definition is established", async || {
                let status = api.get(&name).await.unwrap().data["status"].clone();
                if let Some(wrong) = condition(&status, "NonStructuralSchema") {
                    panic!("{name}: {wrong}");
                }
                check(status, |status| {
                    condition(status, "Established").is_some_and(|said| said["status"] == "True")
                })
            })
            .await;
        }
    }

    /// Any kind, by `apiVersion` and `kind`.
    pub(crate) fn api(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk(&gvk);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
            None => Api::all_with(self.admin.clone(), &resource),
        }
    }

    /// `kubectl apply --server-side`.
    pub(crate) async fn apply(&self, object: Value) -> DynamicObject {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let namespace = text("/metadata/namespace");
        let api = self.api(
            &text("/apiVersion"),
            &text("/kind"),
            (!namespace.is_empty()).then_some(&namespace),
        );
        let parameters = PatchParams::apply("test").force();
        let applied = api
            .patch(&text("/metadata/name"), &parameters, &Patch::Apply(&object))
            .await;
        applied.unwrap_or_else(|error| panic!("{error:?}: {object}"))
    }

    pub(crate) async fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        self.api(api_version, kind, namespace)
            .delete(name, &Default::default())
            .await
            .unwrap();
    }

    /// A token of a service account in the operator's namespace, bound to a pod if one is named.
    pub(crate) async fn token(
        &self,
        account: &str,
        audience: Option<&str>,
        pod: Option<&str>,
    ) -> String {
        let mut spec = json!({"expirationSeconds": 3600});
        spec["audiences"] = json!(audience.into_iter().collect::<Vec<_>>());
        if let Some(pod) = pod {
            spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": pod});
        }
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token");
        let body =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        let answer: Value = self.admin.request(request).await.unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// The status of an object once its condition of this kind is as asked.
    pub(crate) async fn until_condition(
        &self,
        object: (&str, &str),
        kind: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let (object_kind, name) = object;
        let api = self.api("networking.istio.io/v1", object_kind, Some("shop"));
        until(&format!("{kind} of {object_kind} {name}"), async || {
            let status = api.get(name).await.unwrap().data["status"].clone();
            let said = condition(&status, kind).filter(|said| holds(said));
            said.cloned().ok_or(status)
        })
        .await
    }

    /// Annotations of the operator's lease, once holder and annotations are as asked.
    pub(crate) async fn until_lease(&self, holds: impl Fn(&str, &Value) -> bool) -> Value {
        let api = self.api("coordination.k8s.io/v1", "Lease", Some(NAMESPACE));
        until("the lease", async || {
            let lease = api.get_opt("weft-operator").await.unwrap();
            let lease = lease.ok_or("there is none".to_owned())?;
            let holder = lease.data["spec"]["holderIdentity"].as_str().unwrap_or("");
            let annotations = json!(lease.metadata.annotations);
            if holds(holder, &annotations) {
                return Ok(annotations);
            }
            Err(format!("held by {holder:?}: {annotations}"))
        })
        .await
    }

    /// Says of a pod in the operator's namespace what its kubelet would.
    pub(crate) async fn make_ready(&self, pod: &str) {
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let api = self.api("v1", "Pod", Some(NAMESPACE));
        api.patch_status(pod, &Default::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// Events about a pod of the shop.
    pub(crate) async fn events(&self, pod: &str) -> Vec<Value> {
        let api = self.api("events.k8s.io/v1", "Event", Some("shop"));
        let all = api.list(&ListParams::default()).await.unwrap().items;
        all.into_iter()
            .map(|event| event.data)
            .filter(|event| event["regarding"]["name"] == pod)
            .collect()
    }

    /// The first event about a pod of the shop.
    pub(crate) async fn until_event(&self, pod: &str) -> Value {
        until(&format!("an event about {pod}"), async || {
            let events = self.events(pod).await;
            events.into_iter().next().ok_or("none")
        })
        .await
    }

    /// What `kubectl explain` reads.
    pub(crate) async fn schema(&self, api_version: &str) -> String {
        let path = format!("/openapi/v3/apis/{api_version}");
        // Published a moment after the definition is established.
        until("the schema is published", async || {
            let request = http::Request::get(&path).body(Vec::new()).unwrap();
            let answer = self.admin.request_text(request).await;
            check(answer.map_err(|error| error.to_string())?, |text| {
                text.contains("VirtualService") && text.contains("DestinationRule")
            })
        })
        .await
    }

    /// Why the API server does not take an object.
    pub(crate) async fn refusal(&self, api_version: &str, kind: &str, spec: &Value) -> String {
        let object = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": "bad", "namespace": "shop"}, "spec": spec,
        });
        let api = self.api(api_version, kind, Some("shop"));
        let object = serde_json::from_value(object).unwrap();
        match api.create(&Default::default(), &object).await {
            Ok(_) => panic!("accepted: {spec}"),
            Err(kube::Error::Api(status)) => status.message.clone(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// How many objects of a kind there are, to see that a listing works.
    pub(crate) async fn count(&self, api_version: &str, kind: &str) -> usize {
        let list = self
            .api(api_version, kind, None)
            .list(&ListParams::default())
            .await;
        list.unwrap().items.len()
    }
}

/// A condition of a status, by its type.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|said| said["type"] == kind)
}

/// Documents that a subcommand of the operator prints.
async fn printed(command: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_weft-operator"))
        .arg(command)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text
        .split("---\n")
        .filter(|document| document.contains("kind"));
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn log(mut command: Command, path: &Path) -> Command {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .kill_on_drop(true);
    command
}

async fn try_client(kubeconfig: &Value) -> anyhow::Result<Client> {
    let file = Kubeconfig::from_yaml(&kubeconfig.to_string())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn unreachable_client(address: SocketAddr) -> Client {
    let uri = format!("http://{address}").parse().unwrap();
    Client::try_from(Config::new(uri)).unwrap()
}

/// The program that has kube-apiserver in it, built if it is not in the cache.
fn program() -> PathBuf {
    let progress = weft_cluster::Progress::stderr();
    let built = weft_cluster::programs::KUBE.ensure(&progress);
    built.expect("Kubernetes can be built").join("kube")
}
