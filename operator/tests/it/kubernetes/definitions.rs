//! What the API server says of our kinds, and what it refuses in their name.

use serde_json::{Value, json};

use super::ISTIO;
use crate::api_server::ApiServer;

#[tokio::test]
async fn definitions_explain_themselves_and_refuse_what_can_never_be_right() {
    let server = ApiServer::start(true).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    server.apply(namespace).await;
    let explained = server.schema("networking.istio.io/v1").await;
    for words in [
        "how often a request is tried again after the first try",
        "How long each try may take",
        "Share of the requests",
        "Labels that the pods of the subset carry",
    ] {
        let words = words.to_lowercase();
        assert!(explained.to_lowercase().contains(&words), "{words}");
    }
    let route = |rule: Value| {
        (
            "VirtualService",
            json!({"hosts": ["reviews"], "http": [rule]}),
        )
    };
    let to = json!([{"destination": {"host": "reviews"}}]);
    for ((kind, spec), message) in [
        (
            route(json!({"route": to, "timeout": "soon"})),
            "must be a valid duration of at least 1ms, as in 500ms",
        ),
        (
            route(json!({"route": to, "timeout": "0.5ms"})),
            "must be a valid duration of at least 1ms",
        ),
        (
            route(json!({"route": to, "retries": {"attempts": -1}})),
            "attempts",
        ),
        (
            route(json!({"route": to, "redirect": {"uri": "/"}})),
            "a rule has only one of route, redirect and directResponse",
        ),
        (
            route(json!({"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}})),
            "redirect and rewrite exclude each other",
        ),
        (
            route(json!({"redirect": {"uri": "/", "redirectCode": 200}})),
            "redirectCode",
        ),
        (route(json!({"route": [{"weight": 1}]})), "destination"),
        (
            route(json!({"route": to, "match": [{"uri": {"exact": "/", "prefix": "/"}}]})),
            "uri",
        ),
        (
            route(json!({"route": to, "name": "n".repeat(3000)})),
            "Too long",
        ),
        (
            ("VirtualService", json!({"hosts": vec!["h"; 300]})),
            "Too many",
        ),
        (("DestinationRule", json!({"subsets": []})), "host"),
        (
            (
                "DestinationRule",
                json!({"host": "h", "trafficPolicy": {"loadBalancer": {"simple": "FASTEST"}}}),
            ),
            "Unsupported value: \"FASTEST\"",
        ),
        (
            (
                "DestinationRule",
                json!({"host": "h", "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "x"}}}}),
            ),
            "must be a valid duration",
        ),
    ] {
        let refused = server.refusal(ISTIO, kind, &spec).await;
        assert!(refused.contains(message), "{spec}: {refused}");
    }
    // What Istio's own examples have goes through, and what is not read stays.
    let everything = json!({
        "hosts": ["reviews"], "gateways": ["mesh"], "http": [
            {"match": [{"uri": {"prefix": "/"}, "headers": {"end-user": {"exact": "jason"}, "x": {}}}],
             "route": [{"destination": {"host": "reviews", "subset": "v2"}, "weight": 75}, {"destination": {"host": "reviews"}, "weight": 25}],
             "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "connect-failure,5xx"}, "timeout": "1m30s",
             "fault": {"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}},
            {"redirect": {"uri": "/x", "redirectCode": 308}},
            {"directResponse": {"status": 503, "body": {"string": "away"}}},
        ],
    });
    let object = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "all", "namespace": "shop"}, "spec": everything,
    });
    let applied = server.apply(object).await;
    assert_eq!(
        applied.data["spec"]["http"][0]["fault"]["delay"]["fixedDelay"],
        "7s"
    );
}
