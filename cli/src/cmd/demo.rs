//! `weft demo`: the newcomer's first command, and with `--duration` a check of the whole mesh.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use weft_lab::isolate::{Room, Side, enter};
use weft_lab::manifests::Manifests;
use weft_lab::{Lab, LabConfig, View, preflight};

use crate::cluster::duration;
use crate::demo::news::{News, step};
use crate::demo::reading::{Meter, Reading};
use crate::demo::traffic::{Traffic, fallback};
use crate::demo::window::{Window, service_names};
use crate::demo::{edges, numbers, samples};
use crate::render::{self, Format, Screen};

/// Within this time at least one more pod must become ready.
const PODS_DEADLINE: Duration = Duration::from_secs(60);
/// Tables must be acknowledged within this time of the pods.
const TABLES_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at the metrics.
const PERIOD: Duration = Duration::from_millis(400);
/// Without a terminal, between two tables.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);
/// Above the first table after a change, where tables do not replace each other.
const CHANGED: &str = "manifests changed; shares of versions since then:\n";
/// Exit code after Ctrl-C, as in a shell.
const INTERRUPTED: u8 = 130;

/// Flags of `weft demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Your own directory of manifests instead of the shop; watched while the demo runs.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Ends after this time of traffic (`20s`, `2m`), and fails if an edge saw no traffic or an error.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// How to print the numbers.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// How many nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Directory of the other programs (weft-operator, weft-agent, weft-proxy, weft-cni, weft-sample); default: beside
    /// this one.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Keeps the output of daemons and pods in this directory; without it, it goes with the demo.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Pods have IPv4 addresses only.
    #[arg(long)]
    no_ipv6: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let missing = preflight::missing();
    if !missing.is_empty() {
        render::note("weft demo cannot start yet:");
        missing
            .iter()
            .for_each(|sentence| render::note(&format!("  {sentence}")));
        return ExitCode::FAILURE;
    }
    let room = match enter() {
        Ok(Side::Outside(code)) => return ExitCode::from(code),
        Ok(Side::Inside(room)) => room,
        Err(error) => return failed(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(inside(args, &room)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    render::note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// Signals that end the demo in order.
struct Ending {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

async fn inside(args: &Args, room: &Room) -> anyhow::Result<u8> {
    let mut ending = Ending::new()?;
    let config = configuration(args, room)?;
    // Dropping a half-built lab kills what runs; the room takes the rest.
    let started = Instant::now();
    let news = Arc::new(News::default());
    let (lab, traffic) = tokio::select! {
        up = up(config, started, Arc::clone(&news)) => up?,
        () = ending.asked() => return Ok(INTERRUPTED),
    };
    step(started, "traffic flows");
    hints(args, &lab, room);
    let happened = watch(args, &lab, &news, &mut ending).await;
    let unanswered = traffic.stop().await;
    let code = match (&happened, args.duration) {
        (Some(happened), _) => verdict(args, &lab, happened, unanswered),
        (None, Some(_)) => INTERRUPTED,
        (None, None) => 0,
    };
    for name in lab.down().await? {
        render::note(&format!("{name} did not end by itself"));
    }
    Ok(code)
}

/// What to try next.
fn hints(args: &Args, lab: &Lab, room: &Room) {
    render::note("");
    if args.manifests.is_none() {
        let file = lab.config().manifests.join(samples::CANARY);
        render::note(&format!(
            "Shift the canary: edit the weights in {}",
            file.display()
        ));
    }
    if let Some(pid) = room.outside_pid() {
        let look = "then `ip netns`, `curl 10.255.0.11:15020/metrics`";
        render::note(&format!(
            "Look inside:      nsenter -t {pid} -m -n -p, {look}"
        ));
    }
    render::note("");
}

fn configuration(args: &Args, room: &Room) -> anyhow::Result<LabConfig> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let binaries = match &args.bin_dir {
        Some(directory) => directory.clone(),
        None => own.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let manifests = match &args.manifests {
        Some(directory) => {
            let path = directory.canonicalize();
            path.with_context(|| format!("--manifests {}", directory.display()))?
        }
        None => room.directory().join("manifests"),
    };
    if manifests.starts_with("/run") {
        bail!(
            "--manifests {}: the demo has a /run of its own; use another place",
            manifests.display()
        );
    }
    let mut config = LabConfig::new(room.directory(), &binaries, &manifests);
    if args.manifests.is_none() {
        samples::write(&manifests)?;
    } else if let Some(visitors) = fallback(&Manifests::default().read(&[manifests]).objects) {
        let directory = room.directory().join("visitors");
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("visitors.yaml"), visitors)?;
        config.more_manifests.push(directory);
    }
    if let Some(logs) = &args.logs {
        config.logs = std::path::absolute(logs)?;
    }
    config.nodes = args.nodes;
    config.ipv6 = !args.no_ipv6;
    Ok(config)
}

async fn up(
    mut config: LabConfig,
    started: Instant,
    news: Arc<News>,
) -> anyhow::Result<(Lab, Traffic)> {
    config.report = Arc::new(move |event| news.take(started, event));
    let lab = Lab::up(config).await?;
    let view = settled(&lab).await?;
    step(started, &format!("all {} pods ready", view.pods.len()));
    lab.synced(TABLES_DEADLINE).await?;
    let (traffic, troubles) = Traffic::start(&lab).await;
    troubles
        .iter()
        .for_each(|trouble| step(started, &format!("warning: {trouble}")));
    Ok((lab, traffic))
}

/// Waits for the pods for as long as some become ready: hundreds of them take their time.
async fn settled(lab: &Lab) -> anyhow::Result<Arc<View>> {
    let ready = || lab.view().pods.values().filter(|pod| pod.ready).count();
    loop {
        let before = ready();
        match lab.settled(PODS_DEADLINE).await {
            Err(_) if ready() > before => {}
            settled => return settled,
        }
    }
}

/// Shows the numbers until the duration is over, and gives what happened in it and how long it was; none when somebody
/// asked for the end.
async fn watch(args: &Args, lab: &Lab, told: &News, ending: &mut Ending) -> Option<(Reading, f64)> {
    let mut meter = Meter::default();
    let (first, _) = meter.read(lab).await;
    let began = Instant::now();
    let mut numbers = Window::new(meter, first.clone(), lab);
    let mut screen = Screen::new();
    let mut tick = tokio::time::interval(PERIOD);
    let mut last_shown = Instant::now();
    let deadline = args.duration.map(|d| began + d);
    loop {
        tokio::select! {
            () = ending.asked() => return None,
            _ = tick.tick() => {}
        }
        let news = numbers.look(lab, told).await;
        if !screen.is_live() || args.output != Format::Table {
            news.iter()
                .for_each(|text| render::note(&format!("! {text}")));
        }
        let over = deadline.is_some_and(|d| Instant::now() >= d);
        let due = screen.is_live() || last_shown.elapsed() >= PLAIN_PERIOD || numbers.just_changed;
        if args.output == Format::Table && (due || over) {
            let text = match screen.is_live() {
                true => numbers.table() + &numbers.troubles(),
                false if numbers.just_changed => CHANGED.to_owned() + &numbers.table(),
                false => numbers.table(),
            };
            screen.show(&text);
            last_shown = Instant::now();
        }
        if over {
            break;
        }
    }
    let seconds = numbers.newest.at.duration_since(began).as_secs_f64();
    Some((numbers.newest.since(&first), seconds))
}

/// Final answer of a run with a duration.
fn verdict(
    args: &Args,
    lab: &Lab,
    (happened, seconds): &(Reading, f64),
    mut problems: Vec<String>,
) -> u8 {
    let declared = edges::declared(&lab.view().objects);
    problems.extend(numbers::problems(happened, &declared));
    if args.output != Format::Table {
        let mut answer = numbers::json(happened, *seconds, &service_names(lab), &declared);
        answer["problems"] = problems.clone().into();
        render::value(args.output, &answer);
    }
    problems
        .iter()
        .for_each(|problem| render::note(&format!("error: {problem}")));
    u8::from(!problems.is_empty())
}
