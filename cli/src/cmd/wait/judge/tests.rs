//! Statuses as the operator writes them, and what a user is told.

use serde_json::json;

use super::*;

fn said(kind: &str, status: &str, generation: i64, message: &str) -> Value {
    json!({"type": kind, "status": status, "observedGeneration": generation, "message": message})
}

fn object(conditions: Vec<Value>) -> Value {
    json!({"metadata": {"generation": 2}, "status": {"conditions": conditions}})
}

#[test]
fn only_a_status_about_this_version_counts() {
    let good = said("Accepted", "True", 2, "accepted");
    let old = object(vec![
        good.clone(),
        said("Programmed", "True", 1, "generation 3 on 2/2 nodes"),
    ]);
    assert!(matches!(
        judge(Some(&old), &Goal::Generation),
        Step::Waiting(_)
    ));
    let new = object(vec![
        good.clone(),
        said("Programmed", "True", 2, "generation 4 on 2/2 nodes"),
    ]);
    assert_eq!(
        judge(Some(&new), &Goal::Generation),
        Step::Reached("generation 4 on 2/2 nodes".to_owned())
    );
    let pending = object(vec![
        good,
        said(
            "Programmed",
            "False",
            2,
            "generation 4 on 1/2 nodes; waiting for node b",
        ),
    ]);
    assert_eq!(
        judge(Some(&pending), &Goal::Generation),
        Step::Waiting("generation 4 on 1/2 nodes; waiting for node b".to_owned())
    );
    let wrong = object(vec![said("Accepted", "False", 2, "no such host")]);
    assert_eq!(
        judge(Some(&wrong), &Goal::Generation),
        Step::Hopeless("not accepted: no such host".to_owned())
    );
    let goal = "condition=Accepted=False".parse().unwrap();
    assert!(matches!(judge(Some(&wrong), &goal), Step::Reached(_)));
    assert!(matches!(judge(None, &Goal::Generation), Step::Waiting(_)));
    assert!(matches!(judge(None, &Goal::Delete), Step::Reached(_)));
}

#[test]
fn a_route_is_in_force_when_it_is_for_all_parents_of_ours() {
    let parent = |controller: &str, status: &str| {
        json!({"controllerName": controller, "conditions": [
            said("Accepted", "True", 2, "accepted"), said("Programmed", status, 2, status),
        ]})
    };
    let route =
        |parents: Value| json!({"metadata": {"generation": 2}, "status": {"parents": parents}});
    let ours = route(json!([
        parent(CONTROLLER, "True"),
        parent("example.com/edge", "False")
    ]));
    assert_eq!(
        judge(Some(&ours), &Goal::Generation),
        Step::Reached("True".to_owned())
    );
    let half = route(json!([
        parent(CONTROLLER, "True"),
        parent(CONTROLLER, "False")
    ]));
    assert_eq!(
        judge(Some(&half), &Goal::Generation),
        Step::Waiting("False".to_owned())
    );
    let others = route(json!([parent("example.com/edge", "True")]));
    assert!(matches!(
        judge(Some(&others), &Goal::Generation),
        Step::Waiting(_)
    ));
}
