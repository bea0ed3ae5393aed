//! Many pods at once.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use weft_model::pod::Mode;

use crate::proxy::{Manner, Proxy};
use crate::world::{Sandbox, World, eventually, pod};

const PODS: usize = 200;
const PARALLEL: usize = 50;
const SERIAL: usize = 20;

#[test]
fn two_hundred_pods_fifty_at_a_time() {
    let world = World::start("1.0.0");
    let proxy = Proxy::start(&world.run_dir(), Manner::Acks);
    let names: Vec<String> = (0..PODS).map(|n| format!("p{n}")).collect();
    world.operator.publish(|pods| {
        pods.extend(
            names
                .iter()
                .map(|name| pod("shop", name, Mode::Enabled, vec![])),
        )
    });
    one_by_one(&world);
    let sandboxes: Vec<Sandbox> = names
        .iter()
        .map(|name| world.sandbox("shop", name, name))
        .collect();

    let (sandboxes, added) = parallel(sandboxes, |sandbox| world.chain("ADD", sandbox).unwrap());
    assert_eq!(proxy.offers(), PODS + SERIAL);
    assert_eq!(
        world.metric("weft_agent_cni_requests_total{result=\"captured\",verb=\"add\"}"),
        (PODS + SERIAL) as f64
    );
    let agent = world.metric("weft_agent_cni_seconds_sum{verb=\"add\"}") / (PODS + SERIAL) as f64;
    let records = std::fs::read_dir(world.path("run/pods")).unwrap().count();
    assert_eq!(records, PODS);

    let (sandboxes, deleted) = parallel(sandboxes, |sandbox| world.chain("DEL", sandbox).unwrap());
    eprintln!(
        "ADD of {PODS} pods, {PARALLEL} at a time, whole chain: {added:?}; in the agent {:.1} ms a pod",
        agent * 1e3
    );
    eprintln!("DEL: {deleted:?}");
    // On a busy machine a DEL may have returned before the agent was done: it never waits for more than a second.
    eventually("all records are gone", || {
        std::fs::read_dir(world.path("run/pods")).unwrap().count() == 0
    });
    sandboxes.iter().step_by(20).for_each(Sandbox::assert_clean);
    assert_eq!(
        std::fs::read_dir(world.path("run/pods")).unwrap().count(),
        0
    );
    // Nothing of ours keeps a namespace open: listeners and namespaces are closed again.
    let open = world.metric("process_open_fds");
    assert!(open < 100.0, "{open} descriptors are still open");
    assert!(added < Duration::from_secs(60) && deleted < Duration::from_secs(60));
}

/// Runs `f` over all, `PARALLEL` at a time.
fn parallel(items: Vec<Sandbox>, f: impl Fn(&mut Sandbox) + Sync) -> (Vec<Sandbox>, Duration) {
    let (queue, done, begun) = (Mutex::new(items), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let Some(mut item) = queue.lock().unwrap().pop() else {
                        return;
                    };
                    f(&mut item);
                    done.lock().unwrap().push(item);
                }
            });
        }
    });
    (done.into_inner().unwrap(), begun.elapsed())
}

/// Prints what ADD takes when nothing else starts: the plugin's whole call, after the bridge's.
fn one_by_one(world: &World) {
    let mut took: Vec<Duration> = Vec::new();
    world.operator.publish(|pods| {
        pods.extend((0..SERIAL).map(|n| pod("shop", &format!("s{n}"), Mode::Enabled, vec![])))
    });
    for n in 0..SERIAL {
        let mut sandbox = world.sandbox("shop", &format!("s{n}"), &format!("s{n}"));
        world.chain("ADD", &mut sandbox).unwrap();
        took.push(sandbox.last_call);
        world.chain("DEL", &mut sandbox).unwrap();
    }
    took.sort_unstable();
    eprintln!(
        "ADD one by one, our plugin's call: median {:?}, worst of {SERIAL} {:?}",
        took[SERIAL / 2],
        took[SERIAL - 1]
    );
}
