use std::path::PathBuf;

use weft_model::delta::{Change, Delta, diff};
use weft_model::id::{ObjectName, ServiceId};
use weft_model::service::Service;
use weft_model::table::Tables;
use weft_wire::table::parts::split;
use weft_wire::table::{DeltaPart, NodeKind};

use super::*;

fn config() -> ClientConfig {
    ClientConfig {
        token_file: None,
        operator: "http://127.0.0.1:1".into(),
        node: "n1".into(),
        kind: NodeKind::Proxy,
        state_dir: PathBuf::from("/nowhere"),
        version: "0".into(),
    }
}

/// Tables with these services; the number in the name makes two versions of a service differ.
fn tables(services: &[(u32, u32)]) -> Tables {
    let mut tables = Tables::default();
    for (id, version) in services {
        let service = Service {
            id: ServiceId(*id),
            name: ObjectName::new("shop", format!("s{id}")),
            host: format!("v{version}"),
            vips: Vec::new(),
            ports: Vec::new(),
        };
        tables.services.insert(ServiceId(*id), Arc::new(service));
    }
    tables
}

/// The operator's messages that lead from `from` to `to`.
fn push(generation: u64, from: Option<(u64, &Tables)>, to: &Tables) -> Vec<Event> {
    let (base, before) = match from {
        Some((base, tables)) => (Some(base), tables.clone()),
        None => (None, Tables::default()),
    };
    parts(generation, base, Some(Digest::of(to)), &diff(&before, to))
}

fn parts(generation: u64, base: Option<u64>, digest: Option<Digest>, delta: &Delta) -> Vec<Event> {
    let parts = split(generation, base, digest, delta).unwrap();
    parts.into_iter().map(message).collect()
}

fn message(part: DeltaPart) -> Event {
    Event::Message(OperatorMessage::Delta(part))
}

fn run(session: &mut Session, events: Vec<Event>) -> Vec<Action> {
    events
        .into_iter()
        .flat_map(|event| session.on(event))
        .collect()
}

fn hello(actions: &[Action]) -> &Hello {
    let hello = actions.iter().find_map(|action| match action {
        Action::Send(NodeMessage::Hello(hello)) => Some(hello),
        _ => None,
    });
    hello.expect("no Hello was sent")
}

fn offered(actions: &[Action]) -> &Arc<State> {
    match actions {
        [Action::Offer(state)] => state,
        other => panic!("expected one offer: {other:?}"),
    }
}

fn wanted(id: u32) -> Event {
    Event::Wanted(Interest {
        services: [ServiceId(id)].into(),
        ..Interest::default()
    })
}

const ACK: fn(u64) -> Action = |generation| Action::Send(NodeMessage::Ack { generation });

/// A session that has applied generation 3 with service 1.
fn running() -> (Session, Tables) {
    let mut session = Session::new(&config(), None);
    session.on(Event::Connected);
    let tables = tables(&[(1, 1)]);
    run(&mut session, push(3, None, &tables));
    session.on(Event::Applied(3));
    (session, tables)
}

#[test]
fn the_first_tables_are_acknowledged_only_when_in_use() {
    let mut session = Session::new(&config(), None);
    let actions = session.on(Event::Connected);
    assert_eq!(hello(&actions).resume, None);
    let tables = tables(&[(1, 1)]);
    let actions = run(&mut session, push(3, None, &tables));
    assert_eq!(offered(&actions).tables, tables);
    assert_eq!(session.good().generation, 0);
    assert_eq!(session.on(Event::Applied(3)), [Action::Keep, ACK(3)]);
    assert_eq!(
        session.on(Event::Applied(3)),
        [],
        "an acknowledgement is sent once"
    );
    assert_eq!(session.good().generation, 3);
}

#[test]
fn a_delta_leads_to_the_operators_tables() {
    let (mut session, before) = running();
    let after = tables(&[(2, 1), (1, 2)]);
    let actions = run(&mut session, push(4, Some((3, &before)), &after));
    assert_eq!(
        **offered(&actions),
        State {
            generation: 4,
            tables: after
        }
    );
}

#[test]
fn tables_that_were_asked_for_have_a_generation_of_their_own() {
    let (mut session, before) = running();
    let actions = session.on(wanted(2));
    let asked = Interest {
        services: [ServiceId(2)].into(),
        ..Interest::default()
    };
    assert_eq!(
        actions,
        [Action::Keep, Action::Send(NodeMessage::Subscribe(asked))]
    );
    assert_eq!(session.on(wanted(2)), [], "asking twice sends once");
    let after = tables(&[(1, 1), (2, 1)]);
    let again = run(&mut session, push(3, Some((3, &before)), &after));
    assert!(
        matches!(again.as_slice(), [Action::Send(NodeMessage::Nack { .. })]),
        "{again:?}"
    );
    let actions = run(&mut session, push(4, Some((3, &before)), &after));
    assert_eq!(offered(&actions).tables, after);
    assert_eq!(session.on(Event::Applied(4)), [Action::Keep, ACK(4)]);
}

#[test]
fn a_reconnect_resumes_with_generation_digest_and_interest() {
    let (mut session, tables) = running();
    session.on(wanted(1));
    session.on(Event::Lost);
    session.on(wanted(9));
    let actions = session.on(Event::Connected);
    let hello = hello(&actions);
    assert_eq!(
        hello.resume,
        Some(Resume {
            generation: 3,
            digest: Some(Digest::of(&tables))
        })
    );
    assert_eq!(hello.interest.services, [ServiceId(1), ServiceId(9)].into());
}

#[test]
fn half_a_delta_is_never_used_and_forgotten_on_reconnect() {
    let (mut session, before) = running();
    let after = tables(&[(1, 2)]);
    let big = vec![Change::Service(
        ServiceId(1),
        Some(Arc::new(Service {
            host: "x".repeat(3 << 20),
            ..(*after.services[&ServiceId(1)]).clone()
        })),
    )];
    let mut half = parts(4, Some(3), None, &big);
    assert_eq!(half.len(), 4);
    half.truncate(2);
    assert_eq!(run(&mut session, half), []);
    session.on(Event::Lost);
    session.on(Event::Connected);
    assert_eq!(session.good().tables, before);
    let actions = run(&mut session, push(4, Some((3, &before)), &after));
    assert_eq!(offered(&actions).tables, after);
}

#[test]
fn parts_out_of_order_end_the_stream_and_ask_for_a_reset() {
    let (mut session, _) = running();
    let big = vec![Change::Service(ServiceId(1), None); 80_000];
    let mut events = parts(4, Some(3), None, &big);
    assert!(events.len() > 1);
    let actions = session.on(events.remove(1));
    assert!(
        matches!(actions.as_slice(), [Action::Reconnect(_)]),
        "{actions:?}"
    );
    session.on(Event::Lost);
    let actions = session.on(Event::Connected);
    assert_eq!(
        hello(&actions).resume,
        Some(Resume {
            generation: 3,
            digest: None
        })
    );
}

#[test]
fn a_delta_from_another_base_or_with_another_result_asks_for_a_reset() {
    let after = tables(&[(1, 2)]);
    let (mut session, before) = running();
    let actions = run(&mut session, push(5, Some((4, &before)), &after));
    assert!(
        matches!(actions.as_slice(), [Action::Reconnect(_)]),
        "{actions:?}"
    );

    let (mut session, before) = running();
    let wrong = Some(Digest(77));
    let actions = run(
        &mut session,
        parts(4, Some(3), wrong, &diff(&before, &after)),
    );
    assert!(
        matches!(actions.as_slice(), [Action::Reconnect(_)]),
        "{actions:?}"
    );
    assert_eq!(session.good().tables, before);

    // The reset heals it.
    session.on(Event::Lost);
    session.on(Event::Connected);
    let actions = run(&mut session, push(5, None, &after));
    assert_eq!(offered(&actions).tables, after);
}

#[test]
fn what_cannot_be_used_is_refused_and_the_old_tables_stay() {
    let stale = |session: &mut Session| run(session, push(2, None, &tables(&[(1, 9)])));
    let wrong = |session: &mut Session| {
        run(
            session,
            parts(
                4,
                None,
                Some(Digest(7)),
                &diff(&Tables::default(), &tables(&[(1, 2)])),
            ),
        )
    };
    let unreadable = |session: &mut Session| {
        let Event::Message(OperatorMessage::Delta(mut part)) =
            push(4, None, &tables(&[])).remove(0)
        else {
            unreachable!()
        };
        part.payload = bytes(b"[{\"unheard-of\":1}]");
        session.on(message(part))
    };
    for case in [stale, wrong, unreadable] {
        let (mut session, before) = running();
        let actions = case(&mut session);
        assert!(
            matches!(actions.as_slice(), [Action::Send(NodeMessage::Nack { reason, .. })] if !reason.is_empty()),
            "{actions:?}"
        );
        assert_eq!(session.good().tables, before);
    }
}

fn bytes(text: &'static [u8]) -> tonic::codegen::Bytes {
    tonic::codegen::Bytes::from_static(text)
}

#[test]
fn the_owners_refusal_goes_back_to_the_last_good_state() {
    let (mut session, before) = running();
    let after = tables(&[(1, 2)]);
    run(&mut session, push(4, Some((3, &before)), &after));
    let actions = session.on(Event::Refused {
        generation: 4,
        reason: "bad regex".into(),
    });
    let [
        Action::Offer(state),
        Action::Send(NodeMessage::Nack {
            generation: 4,
            reason,
        }),
    ] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!((state.generation, reason.as_str()), (3, "bad regex"));
    // The operator goes on from what is in use.
    let better = tables(&[(1, 3)]);
    let actions = run(&mut session, push(5, Some((3, &before)), &better));
    assert_eq!(offered(&actions).tables, better);
}

#[test]
fn an_offer_without_an_answer_comes_again_after_a_reconnect() {
    let (mut session, before) = running();
    let after = tables(&[(1, 2)]);
    run(&mut session, push(4, Some((3, &before)), &after));
    session.on(Event::Lost);
    let actions = session.on(Event::Connected);
    assert_eq!(hello(&actions).resume.unwrap().generation, 3);
    assert_eq!(hello(&actions).seen, 4);
    assert_eq!(session.on(Event::Applied(4)), [], "the old offer is void");
    let actions = run(&mut session, push(5, Some((3, &before)), &after));
    assert_eq!(offered(&actions).generation, 5);
    assert_eq!(session.on(Event::Applied(5)), [Action::Keep, ACK(5)]);
}

#[test]
fn applied_while_disconnected_counts_at_the_next_hello() {
    let (mut session, before) = running();
    run(
        &mut session,
        push(4, Some((3, &before)), &tables(&[(1, 2)])),
    );
    session.on(Event::Lost);
    assert_eq!(session.on(Event::Applied(4)), [Action::Keep]);
    let actions = session.on(Event::Connected);
    assert_eq!(hello(&actions).resume.unwrap().generation, 4);
}

#[test]
fn what_no_operator_ever_sent_is_forgotten_at_the_second_reconnect() {
    let (mut session, _) = running();
    session.on(wanted(1));
    session.on(wanted(8));
    session.on(Event::Lost);
    let first = session.on(Event::Connected);
    assert_eq!(
        hello(&first).interest.services,
        [ServiceId(1), ServiceId(8)].into()
    );
    session.on(Event::Lost);
    let second = session.on(Event::Connected);
    let gone = Interest {
        services: [ServiceId(8)].into(),
        ..Interest::default()
    };
    assert_eq!(second[0], Action::Forget(gone));
    assert_eq!(hello(&second).interest.services, [ServiceId(1)].into());
}

#[test]
fn troubles_are_said_once_and_again_to_the_next_operator() {
    let (mut session, _) = running();
    let troubles = vec![PodTrouble {
        uid: "u-1".into(),
        reason: "rules".into(),
        message: "no".into(),
    }];
    let said = Action::Send(NodeMessage::Troubles(troubles.clone()));
    let event = Event::Troubles(troubles);
    let once = session.on(event.clone());
    assert_eq!(once, std::slice::from_ref(&said));
    assert_eq!(session.on(event), []);
    assert_eq!(session.on(Event::Lost), []);
    assert_eq!(session.on(Event::Connected).last(), Some(&said));
    let none = Action::Send(NodeMessage::Troubles(Vec::new()));
    assert_eq!(session.on(Event::Troubles(Vec::new())), [none]);
}

#[test]
fn interest_has_a_limit() {
    let (mut session, _) = running();
    let many = (0..MAX_INTEREST as u32 + 10).map(ServiceId).collect();
    session.on(Event::Wanted(Interest {
        services: many,
        ..Interest::default()
    }));
    assert_eq!(session.interest().services.len(), MAX_INTEREST);
    assert_eq!(session.on(wanted(MAX_INTEREST as u32 + 5)), []);
}

#[test]
fn tables_of_another_schema_serve_but_are_not_resumed() {
    let tables = tables(&[(1, 1)]);
    let saved = Saved {
        schema: SCHEMA + 1,
        node: "n1".into(),
        generation: 9,
        digest: Digest::of(&tables),
        interest: Interest::default(),
        tables: tables.clone(),
    };
    let mut session = Session::new(&config(), Some(saved));
    assert_eq!(session.good().tables, tables);
    let actions = session.on(Event::Connected);
    assert_eq!(
        hello(&actions).resume,
        Some(Resume {
            generation: 9,
            digest: None
        })
    );
}
