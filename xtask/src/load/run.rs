//! One run, from an empty data directory to a restart at full size.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;
use xtask::{server::Server, stage::say};

use crate::{
    bare::{self, BareServer},
    casemate::Api,
    doubles::Rack,
    figures::{Budget, Figures, RATIO},
    http::{self, Connection, Sample, count},
    webhook,
};

/// Options of a run.
#[derive(Debug, Args)]
pub struct Options {
    /// The `casemate` to measure.
    binary: PathBuf,
    #[arg(long)]
    short: bool,
    #[arg(long)]
    gate: bool,
    #[arg(long)]
    cvms: Option<usize>,
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    first: usize,
    full: usize,
    /// Connections, and creates made over them.
    creates: [(usize, usize); 3],
    pages: usize,
    /// Questions of a KMS.
    boots: usize,
    time: Duration,
}

const SHORT: Size = Size {
    first: 100,
    full: 400,
    creates: [(1, 10), (8, 20), (64, 64)],
    pages: 20,
    boots: 200,
    time: Duration::from_millis(500),
};
const WHOLE: Size = Size {
    first: 1_000,
    full: 10_000,
    creates: [(1, 300), (8, 1_500), (64, 3_000)],
    pages: 300,
    boots: 20_000,
    time: Duration::from_secs(3),
};

/// Connections of what is measured at one load only.
const READERS: usize = 16;
const WRITERS: usize = 64;

/// CVMs on the emulated dstack host, which has 64 slots.
const RACKED: usize = 50;

/// A simulated host that is never full, guests that boot at once, and no quota or rate limit: what is measured is Casemate.
const SIMULATED: [(&str, &str); 10] = [
    ("CASEMATE_LIMITS__REQUESTS_PER_S_PER_ADDRESS", "0"),
    ("CASEMATE_LIMITS__REQUESTS_PER_S_PER_KEY", "0"),
    ("CASEMATE_QUOTAS__PROVISIONS", "0"),
    ("CASEMATE_SIM__SLOTS", "1000000"),
    ("CASEMATE_SIM__VCPU", "10000000"),
    ("CASEMATE_SIM__MEMORY_MB", "4000000000"),
    ("CASEMATE_SIM__DISK_GB", "1000000000"),
    ("CASEMATE_SIM__BOOT_MS", "50"),
    ("CASEMATE_SIM__SHUTDOWN_MS", "50"),
    ("CASEMATE_SIM__REMOVE_MS", "50"),
];

/// Measures, prints, writes, and with `--gate` judges.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let dir = env::current_dir()?.join("target/bench");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let size = if options.short { SHORT } else { WHOLE };
    let size = Size { full: options.cvms.unwrap_or(size.full), ..size };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    say(&format!("{cores} cores, server and load share them; {}", options.binary.display()));
    say(&format!("load average before: {}", load_average()?));
    if options.short {
        say("small numbers and a debug build: that all of it works, not how fast it is");
    }
    let mut bench =
        Bench { dir, size, figures: Figures::new(!options.short), commits: 0.0, names: 0, cvms: 0 };
    bench.measure(&options.binary).await?;
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", bench.figures.json()))
            .with_context(|| file.display().to_string())?;
    }
    say(&format!("load average after: {}", load_average()?));
    let missed = bench.figures.missed();
    if options.gate && !missed.is_empty() {
        bail!("outside their budget: {}", missed.join("; "));
    }
    Ok(())
}

struct Bench {
    dir: PathBuf,
    size: Size,
    figures: Figures,
    /// Bare durable commits per second.
    commits: f64,
    /// Names given so far; those that were only provisioned too.
    names: usize,
    /// CVMs made so far.
    cvms: usize,
}

impl Bench {
    async fn measure(&mut self, binary: &Path) -> anyhow::Result<()> {
        let data = self.dir.join("data");
        self.disk().await?;
        let began = Instant::now();
        let variables = [&SIMULATED[..], &webhook::SETTINGS[..]].concat();
        let server = Server::start_with(binary, &data, "sim", &variables)?;
        self.record("start-up, empty", ms(began.elapsed()), "ms", Budget::None);
        self.record("resident memory, empty", resident(&server, "VmRSS")?, "MB", Budget::None);
        let api = Api::of(&server)?;

        let first = self.fill(&api, self.size.first).await?;
        let pages = self.pages(&api).await?;
        self.reads(&api, &first).await?;
        self.denials(&server, &api, &first).await?;
        for (connections, creates) in self.size.creates {
            self.creates(&api, connections, creates).await?;
        }
        self.deploys(&api).await?;

        self.fill(&api, self.size.full.saturating_sub(self.cvms)).await?;
        let grown = self.pages(&api).await?;
        for (name, before, after) in [("first", &pages.0, &grown.0), ("last", &pages.1, &grown.1)] {
            let ratio = after.within_ms((50, 100)) / before.within_ms((50, 100));
            let name =
                format!("{name} page of 100: {} CVMs to {}", self.size.full, self.size.first);
            self.record(name, ratio, RATIO, Budget::AtMost(1.2));
        }
        let (connections, creates) = self.size.creates[1];
        self.creates(&api, connections, creates).await?;
        self.record(
            "resident memory, after all this",
            resident(&server, "VmRSS")?,
            "MB",
            Budget::None,
        );
        self.record("resident memory, peak", resident(&server, "VmHWM")?, "MB", Budget::None);
        server.stop()?;
        self.restart(binary, &data).await?;
        self.allowances(binary).await
    }

    fn record(&mut self, name: impl Into<String>, value: f64, unit: &'static str, budget: Budget) {
        say(&self.figures.record(name, value, unit, budget));
    }

    fn sample(&mut self, name: &str, sample: &Sample, budgets: (Budget, Budget)) {
        say(&self.figures.sample(name, sample, budgets));
    }

    async fn disk(&mut self) -> anyhow::Result<()> {
        let syncs = Sample::new(Instant::now(), bare::syncs(&self.dir, 200)?);
        self.record(
            "disk: 4 KiB appended and synced, p50",
            syncs.within_ms((50, 100)),
            "ms",
            Budget::None,
        );
        let (took, mut each) = bare::commits(&self.dir, self.size.time).await?;
        each.sort_unstable();
        let sample = Sample { took, each };
        self.commits = sample.rate();
        self.sample("bare SQLite, one row per durable commit", &sample, NO_BUDGETS);
        Ok(())
    }

    fn names(&mut self, wanted: usize) -> Vec<String> {
        let names = (self.names..self.names + wanted).map(|number| format!("bench-{number:06}"));
        self.names += wanted;
        names.collect()
    }

    /// Makes so many CVMs and waits until they run.
    async fn fill(&mut self, api: &Api, wanted: usize) -> anyhow::Result<Vec<String>> {
        let names = self.names(wanted);
        let began = Instant::now();
        let (_, uuids) = api.deploy(WRITERS, &names).await?;
        api.settle(&uuids).await?;
        self.cvms += wanted;
        let name = format!("deployed until running, {} CVMs there", self.cvms);
        self.record(name, count(wanted) / began.elapsed().as_secs_f64(), "/s", Budget::None);
        Ok(uuids)
    }

    async fn reads(&mut self, api: &Api, uuids: &[String]) -> anyhow::Result<()> {
        let path = format!("/cvms/{}", uuids.first().context("no CVM")?);
        let request = api.request("GET", &path, "");
        let body = Connection::open(api.address).await?.send(&request).await?.ok()?;
        let bare = BareServer::start(&self.dir, &body)?;
        let (mut ours, mut theirs) = (Sample::default(), Sample::default());
        let mut ratios = Vec::new();
        // By short turns, so that both have the same weather; the first turn only warms up.
        for turn in 0..=TURNS {
            let time = self.size.time / TURNS;
            let pair = (
                http::same(bare.address, READERS, &request, time).await?,
                http::same(api.address, READERS, &request, time).await?,
            );
            if turn > 0 {
                ratios.push(pair.1.rate() / pair.0.rate());
                theirs = theirs.and(pair.0);
                ours = ours.and(pair.1);
            }
        }
        self.sample("bare axum handler, the same bytes", &theirs, NO_BUDGETS);
        self.sample("GET /cvms/{id}", &ours, NO_BUDGETS);
        self.record("GET /cvms/{id} to bare handler", median(ratios), RATIO, Budget::AtLeast(0.5));
        Ok(())
    }

    /// Guests that the webhook denies their keys, because a CVM of a simulated host has keys of the built-in KMS. Each
    /// decision is looked up and recorded durably before it is answered.
    async fn denials(
        &mut self,
        server: &Server,
        api: &Api,
        uuids: &[String],
    ) -> anyhow::Result<()> {
        let some = webhook::questions(api, uuids.get(..100).unwrap_or(uuids), None).await?;
        self.decisions("boots denied", server, &some, |answer| {
            let reason = answer["reason"].as_str().unwrap_or_default();
            answer["isAllowed"] == false && reason.contains("built-in KMS")
        })
        .await
    }

    /// Guests that the webhook allows their keys: CVMs of an emulated dstack host with an emulated dstack-kms, which
    /// gave the keys for their variables.
    async fn allowances(&mut self, binary: &Path) -> anyhow::Result<()> {
        let rack = Rack::start()?;
        let settings = rack.settings()?;
        let variables: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::start_with(binary, &self.dir.join("rack"), "none", &variables)?;
        let api = Api::of(&server)?;
        rack.is_known(&api).await?;
        let names = self.names(RACKED);
        let (_, uuids) = api.deploy(READERS, &names).await?;
        api.settle(&uuids).await?;
        let some = webhook::questions(&api, &uuids, Some(Rack::GUEST)).await?;
        let is_allowed = |answer: &Value| answer["isAllowed"] == true;
        self.decisions("boots allowed", &server, &some, is_allowed).await?;
        server.stop()
    }

    /// Asks these questions in turn; every answer must be as expected.
    async fn decisions(
        &mut self,
        what: &str,
        server: &Server,
        some: &[Vec<u8>],
        is_expected: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let address = webhook::address(server)?;
        let questions = some.iter().cycle().take(self.size.boots).cloned().collect();
        let before = processor_ms(server)?;
        let (sample, answers) = http::each(address, WRITERS, questions).await?;
        let used = (processor_ms(server)? - before) / 1e3;
        for answer in &answers {
            let answer: Value = serde_json::from_slice(answer)?;
            ensure!(is_expected(&answer), "another decision where {what} are measured: {answer}");
        }
        self.sample(&format!("webhook, {what}"), &sample, NO_BUDGETS);
        let rate = count(answers.len()) / used.max(0.01);
        let name = format!("webhook, {what}, per core");
        self.record(name, rate, "/s", Budget::AtLeast(1_000.0));
        Ok(())
    }

    /// Provisions first, then times the commits alone.
    async fn creates(
        &mut self,
        api: &Api,
        connections: usize,
        creates: usize,
    ) -> anyhow::Result<()> {
        let there = self.cvms;
        let names = self.names(creates);
        let (_, requests) = api.provision(WRITERS, &names).await?;
        let sample_request = requests.first().context("nothing to create")?.clone();
        let (sample, uuids) = api.commit(connections, requests).await?;
        let name = format!("create, {connections} connections, {there} CVMs there");
        // One connection waits for one sync after the other; many are about throughput.
        let budgets = match connections {
            8 => (Budget::AtLeast(1_000.0), Budget::AtMost(10.0)),
            64 => (Budget::AtLeast(1_000.0), Budget::None),
            _ => NO_BUDGETS,
        };
        self.sample(&name, &sample, budgets);
        self.record(
            format!("{name}: to bare commits"),
            sample.rate() / self.commits,
            RATIO,
            Budget::None,
        );
        let body = Connection::open(api.address).await?.send(&sample_request).await?.ok()?;
        let bare = BareServer::start(&self.dir, &body)?;
        let time = self.size.time / 3;
        let theirs = http::same(bare.address, connections, &sample_request, time).await?;
        self.record(
            format!("{name}: to bare handler"),
            sample.rate() / theirs.rate(),
            RATIO,
            Budget::None,
        );
        api.settle(&uuids).await?;
        self.cvms += creates;
        Ok(())
    }

    async fn deploys(&mut self, api: &Api) -> anyhow::Result<()> {
        let (connections, creates) = self.size.creates[1];
        let names = self.names(creates);
        let (sample, requests) = api.provision(connections, &names).await?;
        self.sample(&format!("provision, {connections} connections"), &sample, NO_BUDGETS);
        drop(requests);
        let names = self.names(creates);
        let (sample, uuids) = api.deploy(connections, &names).await?;
        self.sample(
            &format!("provision and create, {connections} connections"),
            &sample,
            NO_BUDGETS,
        );
        api.settle(&uuids).await?;
        self.cvms += creates;
        Ok(())
    }

    /// The first and the last full page of 100.
    async fn pages(&mut self, api: &Api) -> anyhow::Result<(Sample, Sample)> {
        let (there, last) = (self.cvms, self.cvms / 100);
        api.page(1, self.size.pages / 10).await?;
        let first = api.page(1, self.size.pages).await?;
        let last = api.page(last, self.size.pages).await?;
        self.sample(&format!("first page of 100, {there} CVMs"), &first, NO_BUDGETS);
        self.sample(&format!("last page of 100, {there} CVMs"), &last, NO_BUDGETS);
        Ok((first, last))
    }

    async fn restart(&mut self, binary: &Path, data: &Path) -> anyhow::Result<()> {
        let began = Instant::now();
        let server = Server::start_with(binary, data, "sim", &SIMULATED)?;
        let there = self.cvms;
        self.record(
            format!("start-up, {there} CVMs"),
            ms(began.elapsed()),
            "ms",
            Budget::AtMost(300.0),
        );
        // The rounds of the node watch are part of being at rest.
        let (before, rest) = (processor_ms(&server)?, self.size.time * 4);
        tokio::time::sleep(rest).await;
        let share = (processor_ms(&server)? - before) / ms(rest) * 100.0;
        self.record(format!("processor time at rest, {there} CVMs"), share, "%", Budget::None);
        let memory = resident(&server, "VmRSS")?;
        self.record(
            format!("resident memory, {there} CVMs at rest"),
            memory,
            "MB",
            Budget::AtMost(60.0),
        );
        let api = Api::of(&server)?;
        Connection::open(api.address)
            .await?
            .send(&api.request("GET", "/auth/me", ""))
            .await?
            .ok()?;
        server.stop()
    }
}

/// How often the server and what it is compared with take turns.
const TURNS: u32 = 11;

/// What half of the turns reached: a turn in which something else took the processor does not count.
fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
}

const NO_BUDGETS: (Budget, Budget) = (Budget::None, Budget::None);

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What else runs on this machine: figures measured beside others' work are too low.
fn load_average() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// Processor time that the process has used so far.
fn processor_ms(server: &Server) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", server.id()))?;
    // Behind the name, which may hold anything, come 11 other fields; the kernel counts in 1/100 s.
    let (_, fields) = text.rsplit_once(')').context("no such line")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * 10.0)
}

/// A line of the process's `/proc/…/status`, in MB.
fn resident(server: &Server, field: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{}/status", server.id());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such line")?;
    let kilobytes: f64 = line.trim_matches(|sign: char| !sign.is_ascii_digit()).parse()?;
    Ok(kilobytes / 1024.0)
}
