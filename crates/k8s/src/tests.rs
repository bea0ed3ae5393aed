//! What a user sees of reading manifests.

use crate::{Kind, Object, Snapshot, parse_file};

fn errors(text: &str) -> Vec<String> {
    parse_file("f.yaml", text)
        .1
        .iter()
        .map(ToString::to_string)
        .collect()
}

const VIRTUAL_SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: shop
spec:
  hosts: [reviews]
  http:
  - delegate:
      name: other
    timeout: 2s
    route:
    - destination:
        host: reviews
        subset: v2
        shard: 3
";

#[test]
fn a_virtual_service_is_read_and_what_is_not_read_is_named_with_its_line() {
    let (objects, errors) = parse_file("f.yaml", VIRTUAL_SERVICE);
    assert!(errors.is_empty(), "{errors:?}");
    let located = objects.first().unwrap();
    let Object::VirtualService(value) = &located.value else {
        panic!("{located:?}")
    };
    assert_eq!(value.spec.hosts, ["reviews"]);
    assert_eq!(value.spec.http[0].timeout.unwrap().0.as_secs(), 2);
    let unread: Vec<_> = located
        .unread
        .iter()
        .map(|unread| (unread.path.as_str(), unread.line))
        .collect();
    assert_eq!(
        unread,
        [
            ("spec.http[0].delegate", 10),
            ("spec.http[0].route[0].destination.shard", 16)
        ]
    );
    assert_eq!(
        located.line_of("spec.http[0].route[0].destination.subset"),
        15
    );
    assert_eq!(
        located.line_of("spec.http[0].nothing"),
        located.line_of("spec.http[0]")
    );
}

#[test]
fn a_broken_document_hides_no_other_and_is_named_by_line_object_and_field() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\nkind: [\n---\napiVersion: v1\nkind: Service\n\
                metadata: {name: b, namespace: n}\nspec:\n  ports:\n  - port: http\n---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\n";
    let (objects, errors) = parse_file("f.yaml", text);
    assert_eq!(
        objects
            .iter()
            .map(|o| o.value.metadata().name.as_str())
            .collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(
        objects.iter().map(|o| o.place.line).collect::<Vec<_>>(),
        [1, 14]
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].to_string().starts_with("f.yaml:"),
        "{}",
        errors[0]
    );
    assert_eq!(
        errors[1].to_string(),
        "f.yaml:12: Service n/b: spec.ports[0].port: must be a whole number, found the text \"http\"; write it without quotes"
    );
}

#[test]
fn users_slips_are_told_apart() {
    let rows = [
        (
            "kind: Service\nmetadata: {name: a}",
            "apiVersion: the document has no apiVersion",
        ),
        (
            "apiVersion: v1\nmetadata: {name: a}",
            "kind: the document has no kind",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {}",
            "metadata.name: the object has no name",
        ),
        (
            "apiVersion: v2\nkind: Service\nmetadata: {name: a}",
            "Service has no version v2; write one of: v1",
        ),
        ("just text", "this document is no mapping"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {version: 1.10}}",
            "metadata.labels.version: must be text, found the number 1.1; put it in quotes",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x/y: true}}",
            "metadata.labels[\"x/y\"]: must be text, found true; put it in quotes",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: {name: x}}",
            "spec.containers: must be a list, found a mapping",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 70000}]}",
            "spec.ports[0].port: ",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1, targetPort: 1.5}]}",
            "spec.ports[0].targetPort: ",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {http: [{timeout: 5}]}",
            "spec.http[0].timeout: ",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {http: [{timeout: 5sec}]}",
            "\"5sec\" is not a duration",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n   namespace: b\n",
            "this is not YAML",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n",
            "this is not YAML: ",
        ),
        (
            "apiVersion: v1\nkind: Pod\n\tmetadata: {name: a}\n",
            "this is not YAML",
        ),
    ];
    for (text, part) in rows {
        let found = errors(text);
        assert!(
            found.len() == 1 && found[0].contains(part) && found[0].starts_with("f.yaml:"),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn lists_json_and_empty_documents_are_read() {
    let text = "# nothing\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n\
                - {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n...\n";
    let (objects, errors) = parse_file("f.yaml", text);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        objects.iter().map(|o| o.place.line).collect::<Vec<_>>(),
        [7, 8]
    );
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"a\", \"uid\": null}\n}\n";
    let (objects, errors) = parse_file("f.json", json);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(objects[0].value.metadata().namespace, "default");
    assert!(parse_file("f.yaml", "").0.is_empty());
}

#[test]
fn what_is_written_is_read_back() {
    let (objects, _) = parse_file("f.yaml", VIRTUAL_SERVICE);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: x}}\nspec:\n  containers:\n  - name: c\n    \
               readinessProbe: {httpGet: {port: http}}\n    ports: [{containerPort: 80, name: http}]\nstatus: {podIP: 10.0.0.1}\n";
    let (pods, errors) = parse_file("f.yaml", pod);
    assert!(errors.is_empty(), "{errors:?}");
    let Object::Pod(read) = &pods[0].value else {
        panic!()
    };
    assert!(
        read.spec.containers[0]
            .readiness_probe
            .as_ref()
            .unwrap()
            .handler
            .port()
            .is_some()
    );
    for object in objects.iter().chain(&pods) {
        let (again, errors) = parse_file("g.yaml", &object.value.to_json());
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(again[0].value, object.value);
    }
}

#[test]
fn of_two_objects_the_later_wins_in_any_order_and_layers_override_silently() {
    let one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {n: one}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {n: two}}\n";
    let objects = parse_file("f.yaml", one).0;
    let forward = Snapshot::from_objects(objects.clone());
    let backward = Snapshot::from_objects(objects.iter().rev().cloned());
    for snapshot in [&forward, &backward] {
        assert_eq!(
            snapshot
                .namespaces
                .values()
                .next()
                .unwrap()
                .value
                .metadata
                .labels["n"],
            "two"
        );
        assert_eq!(snapshot.duplicates.len(), 1);
        assert_eq!(snapshot.duplicates[0].dropped.line, 1);
    }
    let over = objects[0].clone().in_layer(1);
    let mut layered = Snapshot::from_objects([over, objects[1].clone()]);
    assert_eq!(
        layered
            .namespaces
            .values()
            .next()
            .unwrap()
            .value
            .metadata
            .labels["n"],
        "one"
    );
    assert!(layered.duplicates.is_empty());
    layered.remove(Kind::Namespace, &crate::Name::new("", "a"));
    assert!(layered.namespaces.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,300}", cut in 0usize..400) {
        let _ = parse_file("f.yaml", &text);
        let broken: String = VIRTUAL_SERVICE.chars().enumerate().filter(|(index, _)| *index != cut).map(|(_, c)| c).collect();
        let _ = parse_file("f.yaml", &broken);
    }
}
