//! Both forms as Istio prints them, and hostile values.

use super::*;
use proptest::prelude::*;

fn record() -> AccessRecord<'static> {
    AccessRecord {
        start_millis: 1_795_266_062_345,
        method: b"GET",
        path: b"/reviews/0?a=b",
        protocol: b"HTTP/1.1",
        response_code: 200,
        response_code_details: b"via_upstream",
        bytes_received: 3,
        bytes_sent: 295,
        duration_millis: 5,
        upstream_service_time_millis: Some(4),
        user_agent: b"curl/8.0 (x)",
        request_id: b"84961386-6d84-929d-98bd-c5aee93b5c88",
        authority: b"reviews:9080",
        upstream_host: Some("10.244.1.5:9080".parse().unwrap()),
        upstream_cluster: b"outbound|9080|v1|reviews.shop.svc.cluster.local",
        downstream_local_address: Some("10.96.0.1:9080".parse().unwrap()),
        downstream_remote_address: Some("[fd00:244:1::7]:40000".parse().unwrap()),
        route_name: b"shop/reviews:0",
        ..AccessRecord::default()
    }
}

fn text(record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    record.text(&mut out);
    String::from_utf8(out).unwrap()
}

fn json(record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    record.json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_text_form_is_istios_default_line() {
    assert_eq!(
        text(&record()),
        "[2026-11-21T13:01:02.345Z] \"GET /reviews/0?a=b HTTP/1.1\" 200 - via_upstream - \"-\" 3 295 5 4 \"-\" \
         \"curl/8.0 (x)\" \"84961386-6d84-929d-98bd-c5aee93b5c88\" \"reviews:9080\" \"10.244.1.5:9080\" \
         outbound|9080|v1|reviews.shop.svc.cluster.local - 10.96.0.1:9080 [fd00:244:1::7]:40000 - shop/reviews:0\n"
    );
}

#[test]
fn a_connection_without_http_is_a_line_of_dashes() {
    let record = AccessRecord {
        start_millis: 0,
        ..AccessRecord::default()
    };
    assert_eq!(
        text(&record),
        "[1970-01-01T00:00:00.000Z] \"- - -\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - - - - -\n"
    );
}

#[test]
fn the_json_form_has_istios_24_fields() {
    assert_eq!(
        json(&record()),
        "{\"start_time\":\"2026-11-21T13:01:02.345Z\",\"method\":\"GET\",\"path\":\"/reviews/0?a=b\",\"protocol\":\"HTTP/1.1\",\
         \"response_code\":200,\"response_flags\":null,\"response_code_details\":\"via_upstream\",\
         \"connection_termination_details\":null,\"upstream_transport_failure_reason\":null,\"bytes_received\":3,\
         \"bytes_sent\":295,\"duration\":5,\"upstream_service_time\":4,\"x_forwarded_for\":null,\
         \"user_agent\":\"curl/8.0 (x)\",\"request_id\":\"84961386-6d84-929d-98bd-c5aee93b5c88\",\
         \"authority\":\"reviews:9080\",\"upstream_host\":\"10.244.1.5:9080\",\
         \"upstream_cluster\":\"outbound|9080|v1|reviews.shop.svc.cluster.local\",\"upstream_local_address\":null,\
         \"downstream_local_address\":\"10.96.0.1:9080\",\"downstream_remote_address\":\"[fd00:244:1::7]:40000\",\
         \"requested_server_name\":null,\"route_name\":\"shop/reviews:0\"}\n"
    );
}

#[test]
fn hostile_values_cannot_forge_a_line_or_drive_a_terminal() {
    let hostile = AccessRecord {
        path: b"/a\" 200 - forged\n[2026] \"GET",
        user_agent: b"\x1b[2J\x9b\xc2\x9b\xff \\",
        ..record()
    };
    let line = text(&hostile);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(
        line.contains("GET /a\\\"\\x20200\\x20-\\x20forged\\x0a[2026]\\x20\\\"GET HTTP/1.1\""),
        "{line}"
    );
    assert!(
        line.contains("\"\\x1b[2J\\x9b\\xc2\\x9b\\xff \\\\\""),
        "{line}"
    );
    let line = json(&hostile);
    assert!(
        line.contains("\"/a\\\" 200 - forged\\u000a[2026] \\\"GET\""),
        "{line}"
    );
    assert!(
        line.contains("\"\\u001b[2J\u{fffd}\\u009b\u{fffd} \\\\\""),
        "{line}"
    );
}

#[test]
fn long_values_are_cut() {
    let long = vec![b'x'; 100_000];
    let record = AccessRecord {
        path: &long,
        user_agent: &long,
        ..record()
    };
    for line in [text(&record), json(&record)] {
        assert!(line.len() < 2 * MAX_FIELD + 1_000 && line.contains("xxx..."));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_one_line_of_printable_text_and_valid_json(path in proptest::collection::vec(any::<u8>(), 0..1200), agent in proptest::collection::vec(any::<u8>(), 0..40)) {
        let record = AccessRecord { path: &path, user_agent: &agent, ..record() };
        let line = text(&record);
        prop_assert!(line.strip_suffix('\n').unwrap().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        // Fields outside of quotes hold no space: always the same number of them.
        let plain = line.replace("\\\\", "").replace("\\\"", "");
        let outside: String = plain.split('"').step_by(2).collect();
        prop_assert_eq!(outside.matches(' ').count(), 21);
        let line = json(&record);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value.as_object().unwrap().len(), 24);
        if let Ok(agent) = std::str::from_utf8(&agent) && !agent.is_empty() {
            prop_assert_eq!(value["user_agent"].as_str().unwrap(), agent);
        }
    }
}
