//! Each life of a pod as a story, and the laws that hold in every situation.

use proptest::prelude::*;

use super::*;

const A: NetnsId = NetnsId { dev: 4, ino: 1 };
const B: NetnsId = NetnsId { dev: 4, ino: 2 };

fn situation(wish: Wish, home: Option<NetnsId>, held: Option<(NetnsId, Stage)>) -> Situation {
    Situation {
        wish,
        home,
        held,
        verdict: Verdict::Served,
        idle: false,
    }
}

#[test]
fn a_new_pod_is_redirected_only_when_a_proxy_serves_it() {
    let mut now = situation(Wish::Capture, Some(A), None);
    assert_eq!(next(&now), Step::Open);
    now.held = Some((A, Stage::Offered));
    for (verdict, step) in [
        (Verdict::Nobody, Step::Wait(Wait::Proxy)),
        (Verdict::Pending, Step::Wait(Wait::Ack)),
        (
            Verdict::Refused("full".into()),
            Step::Wait(Wait::Acceptance("full".into())),
        ),
        (Verdict::Served, Step::Capture),
    ] {
        now.verdict = verdict;
        assert_eq!(next(&now), step);
    }
    now.held = Some((A, Stage::Captured { current: true }));
    assert_eq!(next(&now), Step::Rest);
    now.verdict = Verdict::Nobody;
    assert_eq!(
        next(&now),
        Step::Rest,
        "with the proxy gone it stays captured: nothing bypasses"
    );
}

#[test]
fn changed_exclusions_are_applied_in_place() {
    assert_eq!(
        next(&situation(
            Wish::Capture,
            Some(A),
            Some((A, Stage::Captured { current: false }))
        )),
        Step::Capture
    );
}

#[test]
fn a_release_waits_for_the_last_connection_or_the_deadline() {
    let mut now = situation(
        Wish::Leave,
        Some(A),
        Some((A, Stage::Captured { current: true })),
    );
    assert_eq!(next(&now), Step::Release);
    now.held = Some((A, Stage::Releasing { overdue: false }));
    assert_eq!(next(&now), Step::Wait(Wait::Idle));
    now.idle = true;
    assert_eq!(next(&now), Step::Remove);
    now.idle = false;
    now.held = Some((A, Stage::Releasing { overdue: true }));
    assert_eq!(next(&now), Step::Remove);
    now.wish = Wish::Capture;
    assert_eq!(next(&now), Step::Capture, "the label came back in time");
}

#[test]
fn the_newest_namespace_wins() {
    let mut now = situation(
        Wish::Capture,
        Some(B),
        Some((A, Stage::Captured { current: true })),
    );
    assert_eq!(next(&now), Step::Remove);
    now.held = None;
    assert_eq!(next(&now), Step::Open);
}

#[test]
fn a_restarted_agent_takes_up_what_it_finds() {
    let found = |wish| situation(wish, Some(A), Some((A, Stage::Found)));
    assert_eq!(next(&found(Wish::Capture)), Step::Open);
    assert_eq!(
        next(&found(Wish::Leave)),
        Step::Wait(Wait::Idle),
        "a proxy may come back with its connections"
    );
    assert_eq!(
        next(&Situation {
            idle: true,
            ..found(Wish::Leave)
        }),
        Step::Remove
    );
    assert_eq!(next(&found(Wish::Unknown)), Step::Wait(Wait::Tables));
    let adopted = situation(
        Wish::Unknown,
        Some(A),
        Some((A, Stage::Captured { current: false })),
    );
    assert_eq!(
        next(&adopted),
        Step::Rest,
        "tables that are not there yet change nothing"
    );
}

fn any_situation() -> impl Strategy<Value = Situation> {
    let wish = prop_oneof![Just(Wish::Capture), Just(Wish::Leave), Just(Wish::Unknown)];
    let ns = prop_oneof![Just(A), Just(B)];
    let stage = prop_oneof![
        Just(Stage::Found),
        Just(Stage::Offered),
        any::<bool>().prop_map(|current| Stage::Captured { current }),
        any::<bool>().prop_map(|overdue| Stage::Releasing { overdue }),
    ];
    let verdict = prop_oneof![
        Just(Verdict::Served),
        Just(Verdict::Pending),
        Just(Verdict::Nobody),
        Just(Verdict::Refused("no".into()))
    ];
    (
        wish,
        proptest::option::of(ns.clone()),
        proptest::option::of((ns, stage)),
        verdict,
        any::<bool>(),
    )
        .prop_map(|(wish, home, held, verdict, idle)| Situation {
            wish,
            home,
            held,
            verdict,
            idle,
        })
}

/// What a step leaves behind, as the runner does it.
fn after(mut now: Situation, step: &Step) -> Situation {
    now.held = match (step, now.held, now.home) {
        (Step::Open, _, Some(home)) => Some((home, Stage::Offered)),
        (Step::Capture, Some((ns, _)), _) => Some((ns, Stage::Captured { current: true })),
        (Step::Release, Some((ns, _)), _) => Some((ns, Stage::Releasing { overdue: false })),
        (Step::Remove, _, _) => None,
        (_, held, _) => held,
    };
    now
}

proptest! {
    /// Whatever the situation, a few steps lead to rest or to a wait, never round in a circle.
    #[test]
    fn every_situation_settles(mut now in any_situation()) {
        for _ in 0..4 {
            let step = next(&now);
            if matches!(step, Step::Rest | Step::Wait(_)) {
                return Ok(());
            }
            now = after(now, &step);
        }
        prop_assert!(false, "still busy: {now:?}");
    }

    /// Rules of a pod that is not captured yet are made only while a proxy serves it.
    #[test]
    fn no_rules_without_a_proxy(now in any_situation()) {
        if let (Step::Capture, Some((_, Stage::Offered))) = (next(&now), now.held) {
            prop_assert_eq!(now.verdict, Verdict::Served);
        }
    }

    /// After DEL nothing of the pod remains, however far it was.
    #[test]
    fn del_always_cleans_up(mut now in any_situation()) {
        now.home = None;
        let step = next(&now);
        prop_assert_eq!(step, if now.held.is_some() { Step::Remove } else { Step::Rest });
    }
}
