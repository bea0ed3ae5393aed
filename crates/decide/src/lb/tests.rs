//! One set of laws for all algorithms, and what is particular to each.

use super::*;
use crate::fixture::{endpoint, tables};
use crate::prepared::Prepared;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weft_model::id::ServiceId;

const ALL: [Balance; 3] = [Balance::LeastRequest, Balance::RoundRobin, Balance::Random];

/// A service with `count` endpoints; every third is in the subset `v=2`.
fn prepared(count: usize) -> Prepared {
    let list = (0..count)
        .map(|n| {
            endpoint(
                &format!("10.0.{}.{}:80", n / 250, n % 250 + 1),
                if n % 3 == 0 { &["v=2"] } else { &[] },
            )
        })
        .collect();
    Prepared::build(None, &tables(None, list), 1)
}

fn list(prepared: &Prepared, subset: bool) -> EndpointList<'_> {
    prepared
        .service(ServiceId(1))
        .unwrap()
        .endpoints(9080, subset.then_some("v=2"))
}

proptest! {
    #[test]
    fn every_algorithm_picks_from_the_list_and_avoids_what_it_can(
        count in 0usize..40,
        subset in any::<bool>(),
        balance in proptest::sample::select(&ALL[..]),
        randoms in proptest::collection::vec(any::<u64>(), 1..30),
        avoided in proptest::collection::vec(0usize..40, 0..5),
    ) {
        let prepared = prepared(count);
        let list = list(&prepared, subset);
        let avoid: Vec<SocketAddr> = avoided.iter().filter_map(|at| list.get(*at)).map(|endpoint| endpoint.address).collect();
        let others = list.iter().filter(|endpoint| !avoid.contains(&endpoint.address)).count();
        let mut local = LocalState::default();
        for random in randoms {
            let picked = pick(list, balance, &mut local, random, &avoid);
            prop_assert_eq!(picked.is_none(), list.is_empty());
            if let Some(picked) = picked {
                prop_assert!(list.iter().any(|endpoint| Arc::ptr_eq(endpoint, picked)));
                prop_assert!(others == 0 || !avoid.contains(&picked.address));
            }
        }
    }

    #[test]
    fn every_algorithm_reaches_all_evenly_when_all_are_idle(count in 1usize..12, balance in proptest::sample::select(&ALL[..]), seed in any::<u64>()) {
        let prepared = prepared(count);
        let list = list(&prepared, false);
        let mut local = LocalState::default();
        let mut hits = BTreeMap::<SocketAddr, u32>::new();
        let mut random = seed;
        let rounds = 400 * count as u32;
        for _ in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The low bits of this generator are poor; dice are uniform in all bits.
            let dice = (random ^ (random >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *hits.entry(pick(list, balance, &mut local, dice ^ (dice >> 32), &[]).unwrap().address).or_default() += 1;
        }
        prop_assert_eq!(hits.len(), count);
        for hit in hits.values() {
            prop_assert!((240..=560).contains(hit), "{:?}", hits);
        }
    }
}

#[test]
fn round_robin_takes_turns_per_list() {
    let prepared = prepared(6);
    let (all, subset) = (list(&prepared, false), list(&prepared, true));
    let mut local = LocalState::default();
    let mut order = |list| {
        pick(list, Balance::RoundRobin, &mut local, 0, &[])
            .unwrap()
            .address
            .ip()
            .to_string()
    };
    let picked: Vec<String> = (0..4).flat_map(|_| [order(all), order(subset)]).collect();
    assert_eq!(
        picked,
        [
            "10.0.0.2", "10.0.0.4", "10.0.0.3", "10.0.0.1", "10.0.0.4", "10.0.0.4", "10.0.0.5",
            "10.0.0.1"
        ]
    );
}

#[test]
fn least_request_takes_the_idle_one_of_two_and_guards_count() {
    let prepared = prepared(2);
    let list = list(&prepared, false);
    let busy = list.get(0).unwrap().enter();
    assert_eq!(busy.endpoint().state.in_flight(), 1);
    let mut local = LocalState::default();
    for random in [0, 1 << 31, 1 << 63, u64::MAX] {
        assert_eq!(
            pick(list, Balance::LeastRequest, &mut local, random, &[])
                .unwrap()
                .address,
            list.get(1).unwrap().address
        );
    }
    drop(busy);
    assert_eq!(list.get(0).unwrap().state.in_flight(), 0);
}

#[test]
fn remembered_turns_are_bounded() {
    let mut local = LocalState::default();
    for key in 0..3 * MAX_CURSORS as u64 {
        local.turn(key, 0);
    }
    assert!(local.cursors.len() <= MAX_CURSORS);
}
