//! Whole nodes: what a connection, a message and a denial cost the node's process, what a connected client takes of its memory, and
//! how long a message takes while somebody else writes the database.
//!
//! Both nodes have the same clients in SQLite, the same identity and the same messagebus, and are given the same satellites in turn.

use std::time::{Duration, Instant};

use hivemind_load::{Bus, Swarm, connect_and_leave, process};
use tokio::runtime::Runtime;

use crate::contest::{self, Contestant};
use crate::nodes::{ALLOWED, Home, Keys, Make, Node};
use crate::stores::Scratch;
use crate::table::{self, Bars, Limit, figure};
use crate::{Failure, clients};

/// Clients in the store, which is as many as connect at once.
const CLIENTS: u64 = 5000;
/// Satellites that send at the same time.
const TALKERS: u64 = 16;
/// Something that no client may send.
const FORBIDDEN: &str = "mycroft.stop";

/// All that both nodes are measured with.
struct Stage {
    runtime: Runtime,
    bus: Bus,
    keys: Keys,
    homes: [(Make, Home); 2],
    _scratch: Scratch,
}

impl Stage {
    fn new() -> Result<Self, Failure> {
        let scratch = Scratch::new()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bus = runtime.block_on(Bus::start()).map_err(|e| e.to_string())?;
        let python = Home::new(scratch.folder("python")?, bus.port())?;
        python.identify()?;
        let ours = Home::new(scratch.folder("ours")?, bus.port())?;
        ours.identify_as(&python)?;
        python.fill(CLIENTS)?;
        let keys = ours.fill(CLIENTS)?;
        Ok(Self { runtime, bus, keys, homes: [(Make::Ours, ours), (Make::Python, python)], _scratch: scratch })
    }
}

/// What a batch consists of.
#[derive(Clone, Copy)]
enum Work {
    Connect { have_met: bool },
    Send,
    BeDenied,
}

/// A node that is given work, and what that cost it.
struct Worked<'s> {
    stage: &'s Stage,
    make: Make,
    home: &'s Home,
    node: Node,
    swarm: Option<Swarm>,
    work: Work,
    batch: usize,
}

impl<'s> Worked<'s> {
    fn new(stage: &'s Stage, at: usize, work: Work, batch: usize) -> Result<Self, Failure> {
        let (make, home) = &stage.homes[at];
        let node = Node::start(home, *make)?;
        let swarm = match work {
            Work::Connect { .. } => None,
            Work::Send | Work::BeDenied => {
                let talkers = stage.keys.satellites(0..TALKERS, true);
                Some(stage.runtime.block_on(Swarm::connect(home.address(), &talkers)).map_err(|e| e.to_string())?)
            }
        };
        Ok(Self { stage, make: *make, home, node, swarm, work, batch })
    }
}

impl Contestant for Worked<'_> {
    fn name(&self) -> String {
        self.make.name().to_owned()
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure> {
        let before = process::cpu(self.node.pid())?;
        let (runtime, bus) = (&self.stage.runtime, &self.stage.bus);
        let done = match (self.work, &mut self.swarm) {
            (Work::Connect { have_met }, _) => {
                // Each another client, as after a restart of the node.
                let first = picks.first().map_or(0, |pick| pick % (CLIENTS - picks.len() as u64));
                let satellites = self.stage.keys.satellites(first..first + picks.len() as u64, have_met);
                runtime.block_on(connect_and_leave(self.home.address(), &satellites))
            }
            (Work::Send, Some(swarm)) => runtime.block_on(swarm.send(bus, ALLOWED, picks.len())),
            (Work::BeDenied, Some(swarm)) => {
                let each = picks.len() / swarm.len();
                runtime.block_on(swarm.be_denied(FORBIDDEN, each))
            }
            (Work::Send | Work::BeDenied, None) => unreachable!("they have a swarm"),
        };
        done.map_err(|e| format!("{}: {e}", self.make.name()))?;
        Ok(process::cpu(self.node.pid())? - before)
    }
}

/// Every contest, table and bar.
pub(crate) fn run(rounds: usize, bars: &mut Bars) -> Result<(), Failure> {
    let stage = Stage::new()?;
    for (title, work, batches, bar) in [
        ("Connect, handshake (KKpsk0, key known), leave", Work::Connect { have_met: true }, [1000, 100], 10.0),
        ("Connect, handshake (XXpsk2, password known), leave", Work::Connect { have_met: false }, [1000, 100], 10.0),
        ("Allowed messages, from the satellite to the bus", Work::Send, [20_000, 800], 30.0),
        ("Denied messages and their denials", Work::BeDenied, [20_000, 800], 10.0),
    ] {
        let mut contestants: Vec<Box<dyn Contestant>> = Vec::new();
        for (at, batch) in batches.into_iter().enumerate() {
            contestants.push(Box::new(Worked::new(&stage, at, work, batch)?));
        }
        let outcome = contest::run(rounds, &mut contestants)?;
        drop(contestants);
        table::print(&format!("{title}: processor time of the node"), &outcome);
        bars.add(format!("{title}: Python ÷ ours"), Limit::AtLeast(bar), outcome.ratio(1, 0));
    }
    memory(&stage)?;
    latency(&stage)
}

/// What connected clients take of the node's memory.
fn memory(stage: &Stage) -> Result<(), Failure> {
    println!("Memory of the node with connected clients: MiB resident in all (KiB for each of the clients)");
    println!("  {:<20}{:>12}{:>20}{:>20}{:>20}", "", "none", "1000", "2500", "5000");
    for (make, home) in &stage.homes {
        let node = Node::start(home, *make)?;
        let before = process::resident(node.pid())?;
        let mut line = format!("  {:<20}{:>12}", make.name(), figure(before as f64 / 1_048_576.0));
        let (mut swarms, mut connected) = (Vec::new(), 0);
        for count in [1000, 2500, CLIENTS] {
            let more = stage.keys.satellites(connected..count, true);
            let come = async {
                let mut swarm = Swarm::connect(home.address(), &more).await?;
                // Each is heard once, so that nothing is left out that only its first message takes.
                swarm.be_denied(FORBIDDEN, 1).await?;
                Ok::<_, hivemind_load::Failure>(swarm)
            };
            match stage.runtime.block_on(come) {
                Ok(swarm) => swarms.push(swarm),
                Err(error) => {
                    line.push_str(&format!("   not {count}: {error}"));
                    break;
                }
            }
            connected = count;
            let resident = process::resident(node.pid())?;
            let each = (resident.saturating_sub(before)) as f64 / connected as f64 / 1024.0;
            line.push_str(&format!("{:>20}", format!("{} ({})", figure(resident as f64 / 1_048_576.0), figure(each))));
        }
        println!("{line}");
    }
    println!();
    Ok(())
}

/// How long a message takes from a satellite to the bus, with nobody else about, and while another process writes the database.
fn latency(stage: &Stage) -> Result<(), Failure> {
    const MESSAGES: usize = 2000;
    const PACE: Duration = Duration::from_millis(5);
    println!("From a satellite to the bus, {MESSAGES} messages, one each {PACE:?}: milliseconds");
    println!("  {:<44}{:>12}{:>12}{:>12}", "", "p50", "p99", "longest");
    for (make, home) in &stage.homes {
        let _node = Node::start(home, *make)?;
        let talkers = stage.keys.satellites(0..TALKERS, true);
        let connected = stage.runtime.block_on(Swarm::connect(home.address(), &talkers));
        let mut swarm = connected.map_err(|e| e.to_string())?;
        stage.runtime.block_on(swarm.send(&stage.bus, ALLOWED, 200)).map_err(|e| e.to_string())?;
        for (what, with_writer) in [("", false), (", another process writing", true)] {
            let _writer = if with_writer { Some(Writer::start(home)?) } else { None };
            let _ = stage.bus.took();
            let sent = stage.runtime.block_on(swarm.send_paced(&stage.bus, ALLOWED, MESSAGES, PACE));
            sent.map_err(|e| e.to_string())?;
            let mut took: Vec<f64> = stage.bus.took().iter().map(|took| took.as_secs_f64() * 1e3).collect();
            took.sort_by(f64::total_cmp);
            let at = |part: f64| figure(took[((took.len() - 1) as f64 * part) as usize]);
            let name = format!("{}{what}", make.name());
            println!("  {name:<44}{:>12}{:>12}{:>12}", at(0.5), at(0.99), at(1.0));
        }
    }
    println!();
    Ok(())
}

/// Another process that writes the database of a node all the time.
struct Writer(std::process::Child);

impl Writer {
    fn start(home: &Home) -> Result<Self, Failure> {
        let data = home.data();
        let path = data.to_str().ok_or("a folder whose name is not UTF-8")?;
        let mut command = std::process::Command::new(std::env::current_exe()?);
        Ok(Self(command.args(["--child", "write", path]).spawn()?))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Renames clients that do not talk, one after another, each in a commit of its own, up to a minute.
pub(crate) fn write(data: &str) -> Result<(), Failure> {
    let backend = crate::ours::load("sqlite", data.as_ref())?;
    let clients = crate::ours::typed(&backend, crate::ours::Cache::None)?;
    let end = Instant::now() + Duration::from_secs(60);
    for number in (TALKERS..CLIENTS).cycle() {
        let client = pollster::block_on(clients.by_access_key(&clients::key(number)))?.ok_or("a client is missing")?;
        pollster::block_on(clients.touch(&client, clients::seen(number)))?;
        if Instant::now() > end {
            break;
        }
    }
    Ok(())
}
