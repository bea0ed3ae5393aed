use std::sync::Arc;

use proptest::prelude::*;
use weft_model::id::{ObjectName, ServiceId, WorkloadId};
use weft_model::service::Service;

use super::*;
use crate::State;

fn snapshot(generation: u64) -> Snapshot {
    let mut tables = Tables::default();
    let service = Service {
        id: ServiceId(1),
        name: ObjectName::new("shop", "cart"),
        host: "cart.shop.svc.cluster.local".into(),
        vips: vec!["10.96.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        ports: Vec::new(),
    };
    tables.services.insert(ServiceId(1), Arc::new(service));
    Arc::make_mut(&mut tables.index.services).insert("10.96.0.7".parse().unwrap(), ServiceId(1));
    Arc::make_mut(&mut tables.index.workloads)
        .insert("fd00::8".parse().unwrap(), WorkloadId(u32::MAX));
    Snapshot {
        node: "n1".into(),
        digest: Digest::of(&tables),
        interest: Interest {
            services: [ServiceId(1)].into(),
            workloads: [WorkloadId(4)].into(),
        },
        state: Arc::new(State { generation, tables }),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let snapshot = snapshot(7);
    let saved = decode(&encode(&snapshot).unwrap()).unwrap();
    assert_eq!(saved.schema, SCHEMA);
    assert_eq!((saved.generation, saved.digest), (7, snapshot.digest));
    assert_eq!(
        (saved.interest, saved.tables),
        (snapshot.interest, snapshot.state.tables.clone())
    );
}

proptest! {
    #[test]
    fn a_file_with_any_byte_changed_is_refused(at in 0usize..400, flip in 1u8..=255) {
        let mut bytes = encode(&snapshot(7)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        // Only the schema's digit may change without harm: it then counts as another schema.
        if let Ok(saved) = decode(&bytes) {
            prop_assert_ne!(saved.schema, SCHEMA);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused(keep in 0usize..400) {
        let bytes = encode(&snapshot(7)).unwrap();
        prop_assert!(decode(&bytes[..keep % bytes.len()]).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }
}

#[test]
fn the_newest_state_replaces_the_file_and_nothing_is_left_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("proxy");
    prepare(&dir).unwrap();
    assert_eq!(load(&dir, "n1").unwrap(), None);
    store(&dir, &snapshot(7)).unwrap();
    store(&dir, &snapshot(8)).unwrap();
    assert_eq!(load(&dir, "n1").unwrap().unwrap().generation, 8);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn another_nodes_tables_are_not_used() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path(), &snapshot(7)).unwrap();
    let error = load(dir.path(), "n2").unwrap_err();
    assert!(error.to_string().contains("\"n1\""), "{error}");
}
