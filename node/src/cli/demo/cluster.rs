use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Cookie;
use lampyrid_wire::BubbleId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};

use super::child::{Child, Said, Site};
use super::drift::Homes;
use crate::cli::answers::{Created, Topology, View};
use crate::cli::failure::Failure;

/// The pause between two looks at a survivor's view: the error of the time from kill to view.
const POLL: Duration = Duration::from_millis(1);

/// How long one such look may take.
const LOOK: Duration = Duration::from_secs(1);

/// The most entities that one request creates.
const CREATED_AT_ONCE: usize = 10_000;

/// How much of each log is shown when the demo fails.
const LOG_LINES: usize = 15;

/// How long the processes may take to know each other's bubbles.
const TOPOLOGY_TIMEOUT: Duration = Duration::from_secs(30);

/// The children and what they share.
#[derive(Debug)]
pub(crate) struct Cluster {
    count: usize,
    bubbles_each: u16,
    security: Vec<String>,
    arguments: Vec<Vec<String>>,
    // Before the directory: children are gone when it is removed.
    children: Vec<Child>,
    sites: Vec<Arc<Site>>,
    incarnations: Vec<u64>,
    hosts: BTreeMap<BubbleId, usize>,
    home: TempDir,
}

impl Cluster {
    /// Nothing runs yet. All processes get the arguments that secure their links.
    pub(crate) fn new(
        nodes: u16,
        bubbles_each: u16,
        security: Vec<String>,
    ) -> Result<Self, Failure> {
        let fault = |error| Failure::failed(format!("cannot use a temporary directory: {error}"));
        let home = tempfile::Builder::new().prefix("lampyrid-demo-").tempdir().map_err(fault)?;
        let secret = home.path().join("cookie");
        // The directory is its owner's alone.
        std::fs::File::create_new(&secret)
            .and_then(|mut file| file.write_all(Cookie::random().as_bytes()))
            .map_err(fault)?;
        Ok(Self {
            count: usize::from(nodes),
            bubbles_each,
            security,
            arguments: Vec::new(),
            children: Vec::new(),
            sites: Vec::new(),
            incarnations: Vec::new(),
            hosts: BTreeMap::new(),
            home,
        })
    }

    /// Starts a first process, then the others, and waits until all know all bubbles.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        let first = self.launch(0, None).await?;
        for index in 1..self.count {
            self.launch(index, Some(&first.cluster)).await?;
        }
        for child in &mut self.children {
            child.hear("ready").await?;
        }
        self.learn_bubbles().await
    }

    async fn launch(&mut self, index: usize, seed: Option<&str>) -> Result<Said, Failure> {
        let name = name(index);
        let path = |file: String| self.home.path().join(file).display().to_string();
        let mut arguments: Vec<String> = [
            ("--name", name.clone()),
            ("--cluster-name", "demo".to_owned()),
            ("--data-dir", path(name)),
            ("--cookie-file", path("cookie".to_owned())),
            ("--bubbles", self.bubbles_each.to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        arguments.extend(self.security.iter().cloned());
        arguments.extend(seed.into_iter().flat_map(|seed| ["--join".to_owned(), seed.to_owned()]));
        let mut child = Child::start(&arguments, &self.log_of(index))?;
        let said = child.hear("listening").await?;
        self.arguments.push(arguments);
        self.sites.push(Site::new(&said)?);
        self.incarnations.push(said.incarnation);
        self.children.push(child);
        Ok(said)
    }

    async fn learn_bubbles(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + TOPOLOGY_TIMEOUT;
        let wanted = self.count * usize::from(self.bubbles_each);
        for site in self.sites.clone() {
            loop {
                let topology: Topology = site.client().get("/v1/topology").await?;
                self.hosts = topology
                    .processes
                    .iter()
                    .filter_map(|entry| Some((self.index_of(entry.id)?, &entry.bubbles)))
                    .flat_map(|(at, bubbles)| bubbles.iter().map(move |bubble| (*bubble, at)))
                    .collect();
                if self.hosts.len() == wanted {
                    break;
                }
                if Instant::now() >= deadline {
                    let found = self.hosts.len();
                    let detail = format!("only {found} of {wanted} bubbles were registered");
                    return Err(Failure::failed(detail));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Creates entities, spread evenly over all bubbles.
    pub(crate) async fn create_entities(&self, count: u32) -> Result<Homes, Failure> {
        let mut homes = Homes::new();
        let bubbles = self.hosts.len().max(1);
        for (at, (&bubble, &host)) in self.hosts.iter().enumerate() {
            let count = count as usize;
            let mut left = count / bubbles + usize::from(at < count % bubbles);
            let ids = homes.entry(bubble).or_default();
            while left > 0 {
                let now = left.min(CREATED_AT_ONCE);
                let body = json!({ "bubble": bubble, "count": now, "state": { "steps": 0 } });
                let client = self.sites[host].client();
                let made: Created =
                    client.post("/v1/entities", &body, Duration::from_secs(30)).await?;
                ids.extend(made.ids);
                left -= now;
            }
        }
        Ok(homes)
    }

    /// The process that all now take for the coordinator.
    pub(crate) async fn coordinator(&self) -> Result<usize, Failure> {
        let view: View = self.sites[0].client().get("/v1/view").await?;
        let coordinator = view.coordinator.and_then(|process| self.index_of(process));
        coordinator.ok_or_else(|| Failure::failed("there is no coordinator"))
    }

    /// Kills a process and reaps it.
    pub(crate) async fn kill(&mut self, victim: usize) {
        self.sites[victim].went_down();
        self.children[victim].kill();
        self.children[victim].reap().await;
    }

    /// The time from the kill until every survivor had installed one and the same view without the
    /// victim.
    pub(crate) async fn survivors_agree(
        &self,
        victim: usize,
        killed: Instant,
        limit: Duration,
    ) -> Result<Duration, Failure> {
        let gone = self.sites[victim].process;
        loop {
            let views = self.views(|index| index != victim).await;
            let took = killed.elapsed();
            let without = |view: &View| view.members.iter().all(|member| member.id != gone);
            if is_one_view(&views, self.count - 1) && views.iter().all(without) {
                return Ok(took);
            }
            if took > limit {
                let detail = format!("the survivors agreed on no view within {limit:?}");
                return Err(Failure::failed(detail));
            }
            sleep(POLL).await;
        }
    }

    /// Starts a killed process again, with the same flags on the same data, and waits until it is
    /// ready.
    pub(crate) async fn restart(&mut self, victim: usize) -> Result<(), Failure> {
        let log = self.log_of(victim);
        let mut child = Child::start(&self.arguments[victim], &log)?;
        child.hear("listening").await?;
        let said = child.hear("ready").await?;
        self.children[victim] = child;
        if said.id != self.sites[victim].process || said.incarnation <= self.incarnations[victim] {
            return Err(Failure::failed("the restarted process is not a new life of the old one"));
        }
        self.incarnations[victim] = said.incarnation;
        self.sites[victim].came_up(&said);
        Ok(())
    }

    /// True once all processes are active in one and the same view of them all.
    pub(crate) async fn all_agree(&self, deadline: Instant) -> bool {
        loop {
            if is_one_view(&self.views(|_| true).await, self.count) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep_until(deadline.min(Instant::now() + Duration::from_millis(50))).await;
        }
    }

    async fn views(&self, wanted: impl Fn(usize) -> bool) -> Vec<View> {
        let mut views = Vec::new();
        for (index, site) in self.sites.iter().enumerate() {
            if !wanted(index) {
                continue;
            }
            match site.client().poll::<View>("/v1/view", LOOK).await {
                Ok(view) => views.push(view),
                Err(error) => tracing::debug!(%error, "no view"),
            }
        }
        views
    }

    /// Asks all to leave if there is time for it, kills who is left, and reaps all.
    pub(crate) async fn end(&mut self, gently: bool) {
        if gently {
            for site in &self.sites {
                let body = json!({});
                let left = site.client().post::<Value>("/v1/leave", &body, Duration::ZERO).await;
                if let Err(error) = left {
                    tracing::debug!(%error, "a process does not leave");
                }
            }
        }
        for child in &mut self.children {
            child.end(gently).await;
        }
    }

    /// The ends of the logs, on stderr.
    pub(crate) fn show_logs(&self) {
        let mut err = std::io::stderr().lock();
        for index in 0..self.count {
            let Ok(log) = std::fs::read_to_string(self.log_of(index)) else { continue };
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                // Nobody may be left to read it.
                let _ = writeln!(err, "{}: {line}", name(index));
            }
        }
    }

    pub(crate) fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// Which process hosts which bubble; the same over restarts.
    pub(crate) fn hosts(&self) -> &BTreeMap<BubbleId, usize> {
        &self.hosts
    }

    pub(crate) fn name(&self, index: usize) -> String {
        name(index)
    }

    fn index_of(&self, process: lampyrid_wire::ProcessId) -> Option<usize> {
        self.sites.iter().position(|site| site.process == process)
    }

    fn log_of(&self, index: usize) -> PathBuf {
        self.home.path().join(format!("{}.log", name(index)))
    }
}

fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

/// True if `views` are `count` times one view of `count` members, all of them active in it.
fn is_one_view(views: &[View], count: usize) -> bool {
    let Some(first) = views.first() else { return false };
    views.len() == count
        && first.members.len() == count
        && first.id.is_some()
        && views.iter().all(|view| view.id == first.id && view.status == "active")
}
