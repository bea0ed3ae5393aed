//! HTTPRoutes on Services as their users write them: which backend of which namespace answers, with which status, headers
//! and location, and what it was sent. The upstream suite asks for much less.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weft_e2e::{Mesh, mesh};
use weft_lab::load::{self, Outcome, Source};
use weft_lab::verb::http::{Connection, Response, Target, request};
use weft_lab::verb::metrics::sum;
use weft_netns::Netns;

const SHOP: (&str, &str) = ("shop.yaml", include_str!("../../manifests/gamma/shop.yaml"));
/// Routes as users write them, by test.
const ANSWERS: (&str, &str) = (
    "routes.yaml",
    include_str!("../../manifests/gamma/answers.yaml"),
);
const TRAFFIC: (&str, &str) = (
    "routes.yaml",
    include_str!("../../manifests/gamma/traffic.yaml"),
);
const GUEST: (&str, &str) = (
    "routes.yaml",
    include_str!("../../manifests/gamma/guest.yaml"),
);
/// Callers by namespace.
const CLIENT: (&str, &str) = ("shop", "client");
const GUESTS: (&str, &str) = ("guest", "client");

/// A request with any method and body from a pod.
async fn send(
    mesh: &Mesh,
    (namespace, from): (&str, &str),
    (method, url): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let view = mesh.view();
    let pod = view.pod(namespace, from).unwrap();
    let target = Target::resolve(&view, namespace, url).unwrap();
    let netns = pod.netns.as_ref().unwrap();
    let mut connection = Connection::from(netns, target.address).await.unwrap();
    let mut asked = request(&target, headers).unwrap();
    *asked.method_mut() = method.parse().unwrap();
    *asked.body_mut() = body.to_vec().into();
    connection.send(asked).await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers.get(name)?.to_str().ok()
}

/// A text of what the sample app saw.
fn told(response: &Response, pointer: &str) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    let value = response.json().unwrap();
    let value = value.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// `path` of `url` asked for so often from one pod, on a few connections.
async fn many(mesh: &Mesh, url: &str, count: u64) -> Outcome {
    let view = mesh.view();
    let pod = view.pod(CLIENT.0, CLIENT.1).unwrap();
    let source = Source {
        netns: pod.netns.clone().unwrap(),
        targets: vec![Target::resolve(&view, CLIENT.0, url).unwrap()],
        headers: Vec::new(),
        connections: 4,
    };
    let outcome = load::closed(source, Some(count), CancellationToken::new());
    outcome.await.unwrap()
}

/// Requests that the proxies have counted at a service.
async fn counted(mesh: &Mesh, reporter: &str, service: &str) -> f64 {
    let labels = [
        ("reporter", reporter),
        ("destination_service_name", service),
    ];
    sum(&mesh.metrics().await, "istio_requests_total", &labels)
}

/// Requests that have arrived at the pods of a deployment.
async fn arrived(mesh: &Mesh, workload: &str) -> f64 {
    let labels = [
        ("reporter", "destination"),
        ("destination_workload", workload),
    ];
    sum(&mesh.metrics().await, "istio_requests_total", &labels)
}

#[test]
fn requests_and_answers_become_what_the_routes_say() {
    mesh(
        "gamma::requests_and_answers_become_what_the_routes_say",
        &[SHOP, ANSWERS],
        |mesh| async move {
            redirects(&mesh).await;
            rewrites_and_headers(&mesh).await;
            precedence_and_ports(&mesh).await;
            limits_and_retries(&mesh).await;
            broken_connections(&mesh).await;
            origins(&mesh).await;
        },
    );
}

async fn redirects(mesh: &Mesh) {
    for (url, status, location) in [
        ("web/to/301/a?b=c", 301, "http://new.example/to/301/a?b=c"),
        ("web:8081/to/301", 301, "http://new.example:8081/to/301"),
        ("web/to/302", 302, "http://new.example/to/302"),
        ("web/to/303", 303, "https://web/to/303"),
        ("web:8081/to/303", 303, "https://web/to/303"),
        ("web/to/307/x", 307, "http://web:9443/to/307/x"),
        ("web:8081/to/308", 308, "https://new.example/to/308"),
        ("web:8081/to/http", 302, "http://web/to/http"),
        ("web/to/odd", 302, "https://web:80/to/odd"),
        ("web/to/full/more", 302, "http://web/all/new"),
        ("web:8081/to/full", 302, "http://web:8081/all/new"),
        ("web/to/prefix", 302, "http://web/moved"),
        ("web/to/prefix/a/b", 302, "http://web/moved/a/b"),
        ("web/to/root/a", 302, "http://web/a"),
        ("web/to/root", 302, "http://web/"),
    ] {
        let answer = mesh.get(CLIENT, &format!("http://{url}"), &[]).await;
        assert_eq!(
            (answer.status, header(&answer, "location")),
            (status, Some(location)),
            "{url}"
        );
    }
    let answer = mesh.get(CLIENT, "http://web/to/30", &[]).await;
    assert_eq!(answer.status, 404, "a prefix ends where a segment does");
}

async fn rewrites_and_headers(mesh: &Mesh) {
    for (url, version, path, host) in [
        ("web/full/x?y=z", "v1", "/one?y=z", "inside.example"),
        ("web:8081/full", "v1", "/one", "inside.example"),
        ("web/prefix/a/b?c=d", "v2", "/v2/a/b?c=d", "web"),
        ("web/prefix", "v2", "/v2/", "web"),
        ("web/strip/a", "v2", "/a", "web"),
        ("web/strip", "v2", "/", "web"),
    ] {
        let answer = mesh.get(CLIENT, &format!("http://{url}"), &[]).await;
        assert_eq!(told(&answer, "/version"), version, "{url}");
        assert_eq!(told(&answer, "/path"), path, "{url}");
        assert_eq!(told(&answer, "/headers/host"), host, "{url}");
    }
    let sent = [
        ("x-set", "client"),
        ("x-add", "client"),
        ("x-gone", "secret"),
    ];
    let answer = mesh.get(CLIENT, "http://web/headers", &sent).await;
    for (name, value) in [
        ("x-set", "rule"),
        ("x-add", "client, rule, backend"),
        ("x-backend", "one"),
        ("x-gone", ""),
    ] {
        assert_eq!(told(&answer, &format!("/headers/{name}")), value, "{name}");
    }
    for (name, value) in [
        ("x-version", Some("hidden")),
        ("x-rule", Some("yes")),
        ("x-backend", Some("one")),
        ("x-service", None),
    ] {
        assert_eq!(header(&answer, name), value, "{name}");
    }
}

async fn precedence_and_ports(mesh: &Mesh) {
    for (url, version) in [
        ("web/age", "v1"),
        ("web/name", "v1"),
        ("web:8081/name", "v1"),
        ("web:8081/port", "v2"),
    ] {
        for _ in 0..5 {
            let version_now = mesh.version(CLIENT, &format!("http://{url}"), &[]).await;
            assert_eq!(version_now, version, "{url}");
        }
    }
    let answer = mesh.get(CLIENT, "http://web/port", &[]).await;
    assert_eq!(answer.status, 404, "the route is for the other port");
}

async fn limits_and_retries(mesh: &Mesh) {
    let reason = |answer: &Response| header(answer, "x-weft-reason").map(str::to_owned);
    for (url, words) in [
        ("http://web/limit/hang", "response_timeout"),
        ("http://web/try-limit/hang", "attempt_timeout"),
        ("http://web/again-late/hang", "attempt_timeout"),
    ] {
        let answer = mesh.get(CLIENT, url, &[]).await;
        let got = (answer.status, reason(&answer));
        assert_eq!(got, (504, Some(words.to_owned())), "{url}");
    }
    let attempt = |answer: &Response| answer.json().unwrap()["attempt"].as_u64();
    let since = std::time::Instant::now();
    let answer = mesh
        .get(CLIENT, "http://web/again/fail-first/2?key=a", &[])
        .await;
    assert_eq!((answer.status, attempt(&answer)), (200, Some(3)));
    let took = since.elapsed();
    assert!(took.as_millis() >= 200, "two pauses of 100 ms: {took:?}");
    let answer = mesh
        .get(CLIENT, "http://web/again/fail-first/3?key=b", &[])
        .await;
    assert_eq!((answer.status, attempt(&answer)), (503, Some(3)));
    let answer = mesh
        .get(CLIENT, "http://web/once/fail-first/1?key=c", &[])
        .await;
    assert_eq!((answer.status, attempt(&answer)), (503, Some(1)));
}

/// A server whose next connections end with a reset once they have brought a request, in place of an answer.
struct Breaking {
    resets: AtomicUsize,
    opened: AtomicUsize,
}

impl Breaking {
    /// Opens port 9999 of a pod.
    fn listen(netns: &Netns) -> Arc<Self> {
        let listener = weft_netns::listen_in(netns, 9999, true, 64).unwrap();
        weft_netns::set_nonblocking(&listener, false).unwrap();
        let listener = TcpListener::from(listener);
        let server = Arc::new(Self {
            resets: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        });
        let own = Arc::clone(&server);
        // It ends with the test's process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|s| own.serve(&s)));
        server
    }

    fn serve(&self, mut stream: &TcpStream) {
        // What arrives and is never read makes the kernel close with a reset.
        if !matches!(stream.peek(&mut [0]), Ok(1)) {
            return;
        }
        self.opened.fetch_add(1, Ordering::SeqCst);
        let less = |left: usize| left.checked_sub(1);
        let resets = &self.resets;
        if resets
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
            head.extend(byte);
        }
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        let _ = stream.write_all(answer);
    }

    /// How many connections brought a request since the last time this was asked.
    fn opened(&self) -> usize {
        self.opened.swap(0, Ordering::SeqCst)
    }
}

/// Resets that a pod's kernel has sent: one for each connection to a port where nobody listens.
fn refused(netns: &Netns) -> u64 {
    let text = netns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
    let text = text.unwrap().unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut fields = names.split(' ').zip(values.split(' '));
    let (_, value) = fields.find(|(name, _)| *name == "OutRsts").unwrap();
    value.parse().unwrap()
}

/// A rule with `retry` covers connections that break or cannot be made, with its pauses and no more often than it says
/// (HTTPRouteRetryConnectionError); a rule without it sends nothing twice.
async fn broken_connections(mesh: &Mesh) {
    for (service, workload) in [("breaks-1", "web-v1"), ("breaks-2", "web-v2")] {
        let netns = mesh.view().pod("shop", workload).unwrap().netns.clone();
        let netns = netns.unwrap();
        let url = |path: &str| format!("http://{service}/{path}");
        let get = async |path: &str| mesh.get(CLIENT, &url(path), &[]).await.status;
        assert_eq!(get("refused").await, 503, "{service}: nobody listens");
        let late = {
            let (netns, before) = (Arc::clone(&netns), refused(&netns));
            std::thread::spawn(move || {
                let deadline = Instant::now() + weft_e2e::DEADLINE;
                while refused(&netns) < before + 2 {
                    assert!(Instant::now() < deadline, "nobody tries again");
                    std::thread::sleep(Duration::from_millis(5));
                }
                Breaking::listen(&netns)
            })
        };
        assert_eq!(get("patient").await, 200, "{service}: refused at first");
        let server = late.join().unwrap();
        assert_eq!(server.opened(), 1, "{service}");

        server.resets.store(2, Ordering::SeqCst);
        let since = Instant::now();
        assert_eq!((get("again").await, server.opened()), (200, 3), "{service}");
        assert!(since.elapsed() >= Duration::from_millis(200), "two pauses");

        server.resets.store(usize::MAX, Ordering::SeqCst);
        assert_eq!((get("again").await, server.opened()), (503, 3), "{service}");
        assert_eq!((get("once").await, server.opened()), (503, 1), "{service}");
    }
}

async fn origins(mesh: &Mesh) {
    let allowed = |answer: &Response, name: &str| {
        let name = format!("access-control-{name}");
        header(answer, &name).map(str::to_owned)
    };
    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-token"),
        ]
    };
    let options = ("OPTIONS", "http://web/origins");
    for origin in ["https://www.shop.example", "https://a.b.cdn.example"] {
        let answer = send(mesh, CLIENT, options, &preflight(origin), b"").await;
        assert_eq!((answer.status, answer.text()), (200, String::new()));
        for (name, value) in [
            ("allow-origin", origin),
            ("allow-methods", "GET, PUT"),
            ("allow-headers", "x-token"),
            ("allow-credentials", "true"),
            ("max-age", "600"),
        ] {
            assert_eq!(allowed(&answer, name).as_deref(), Some(value), "{name}");
        }
        let answer = mesh
            .get(CLIENT, "http://web/origins", &[("origin", origin)])
            .await;
        assert_eq!(told(&answer, "/version"), "v1");
        assert_eq!(allowed(&answer, "allow-origin").as_deref(), Some(origin));
        let exposed = allowed(&answer, "expose-headers");
        assert_eq!(exposed.as_deref(), Some("x-total"));
    }
    let stranger = "http://www.shop.example";
    let answer = send(mesh, CLIENT, options, &preflight(stranger), b"").await;
    assert_eq!(
        (answer.status, allowed(&answer, "allow-origin")),
        (200, None)
    );
    let answer = mesh
        .get(CLIENT, "http://web/origins", &[("origin", stranger)])
        .await;
    assert_eq!(
        told(&answer, "/version"),
        "v1",
        "the browser refuses, not we"
    );
    assert_eq!(allowed(&answer, "allow-origin"), None);

    let options = ("OPTIONS", "http://web/everybody");
    let answer = send(mesh, CLIENT, options, &preflight(stranger), b"").await;
    for (name, value) in [
        ("allow-origin", Some(stranger)),
        ("allow-methods", Some("PUT")),
        ("allow-headers", Some("x-token")),
        ("allow-credentials", None),
        ("max-age", Some("5")),
    ] {
        assert_eq!(allowed(&answer, name).as_deref(), value, "{name}");
    }
}

#[test]
fn shares_are_kept_and_copies_cost_the_requests_nothing() {
    mesh(
        "gamma::shares_are_kept_and_copies_cost_the_requests_nothing",
        &[SHOP, TRAFFIC],
        |mesh| async move {
            shares(&mesh).await;
            copies(&mesh).await;
        },
    );
}

async fn shares(mesh: &Mesh) {
    let outcome = many(mesh, "http://web/shares", 3000).await;
    assert_eq!(outcome.responses(), 3000, "{:?}", outcome.errors);
    let count = |status| outcome.statuses.get(&status).copied().unwrap_or(0);
    // Of five parts three go to v1, one to v2, and one to nobody: five standard deviations are about 110 and 135.
    let lost = count(500);
    assert!((490..=710).contains(&lost), "{:?}", outcome.statuses);
    assert_eq!(count(200) + lost, 3000);
    mesh.until_metrics("all answers are counted", |samples| {
        let labels = [("reporter", "source"), ("response_code", "200")];
        sum(samples, "istio_requests_total", &labels) as u64 == count(200)
    })
    .await;
    let v1 = counted(mesh, "source", "web-v1").await;
    let v2 = counted(mesh, "source", "web-v2").await;
    assert!((1665.0..=1935.0).contains(&v1), "v1 {v1} v2 {v2}");
    assert_eq!(v1 + v2, count(200) as f64);
    assert_eq!(counted(mesh, "source", "copy").await, 0.0, "weight 0");
}

async fn copies(mesh: &Mesh) {
    let before = arrived(mesh, "web-v2").await;
    let outcome = many(mesh, "http://web/copied", 1000).await;
    assert_eq!(outcome.statuses.get(&200), Some(&1000), "{outcome:?}");
    mesh.until_metrics("a copy of each", |samples| {
        let labels = [
            ("reporter", "destination"),
            ("destination_service_name", "copy"),
        ];
        // A copy is cut when a machine stands still for long enough; the requests themselves are not.
        sum(samples, "istio_requests_total", &labels) >= 990.0
    })
    .await;
    let copied = arrived(mesh, "web-v2").await - before;
    // Five standard deviations of a quarter of 1,000.
    assert!((180.0..=320.0).contains(&copied), "{copied}");
    assert_eq!(counted(mesh, "source", "copy").await, 0.0, "as in Istio");

    let body = vec![b'x'; 300_000];
    let post = ("POST", "http://web/copied/echo");
    let answer = send(mesh, CLIENT, post, &[], &body).await;
    assert!(answer.status == 200 && answer.body == body);
    mesh.until_metrics("the copy's body", |samples| {
        let labels = [
            ("reporter", "destination"),
            ("destination_service_name", "copy"),
        ];
        sum(samples, "istio_request_bytes_sum", &labels) >= 300_000.0
    })
    .await;

    // The mirror answers after ten minutes.
    let outcome = many(mesh, "http://web/hangs", 200).await;
    assert_eq!(outcome.statuses.get(&200), Some(&200), "{outcome:?}");
}

#[test]
fn a_consumers_route_holds_for_its_namespace_alone() {
    mesh(
        "gamma::a_consumers_route_holds_for_its_namespace_alone",
        &[SHOP, GUEST],
        |mesh| async move {
            let web = "http://web.shop.svc.cluster.local";
            for (from, path, route, namespace, version) in [
                (GUESTS, "/mine", "guest", "guest", "guest"),
                (GUESTS, "/theirs", "guest", "shop", "v2"),
                (GUESTS, ":8081/mine", "shop", "shop", "v1"),
                (CLIENT, "/mine", "shop", "shop", "v1"),
                (CLIENT, "/theirs", "shop", "shop", "v1"),
            ] {
                let answer = mesh.get(from, &format!("{web}{path}"), &[]).await;
                assert_eq!(header(&answer, "x-route"), Some(route), "{from:?} {path}");
                assert_eq!(told(&answer, "/namespace"), namespace, "{from:?} {path}");
                assert_eq!(told(&answer, "/version"), version, "{from:?} {path}");
            }
            let answer = mesh.get(GUESTS, &format!("{web}/other"), &[]).await;
            assert_eq!(answer.status, 404, "groups are never merged");
        },
    );
}
