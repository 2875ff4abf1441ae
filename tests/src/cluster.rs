use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::authority::Authority;
use crate::process::{NodeProcess, Options};
use crate::wait::eventually;

/// Several nodes on loopback, each with a data directory of its own in one temporary directory.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    directory: TempDir,
    authority: Option<Authority>,
    options: Vec<Options>,
    nodes: Vec<Option<NodeProcess>>,
}

impl Cluster {
    /// Starts `size` nodes, the others joining the first, and waits until they agree on a view
    /// that has all of them and on the bubbles of all.
    #[must_use]
    pub fn start(binary: &str, size: usize) -> Self {
        Self::empty(binary).filled(size)
    }

    /// The same, where the processes of `other` meet these: whoever signed for them signs here too.
    #[must_use]
    pub fn start_beside(other: &Self, size: usize) -> Self {
        let mut cluster = Self::empty(&other.binary.display().to_string());
        let place = cluster.directory.path().join("tls");
        cluster.authority = other.authority.as_ref().map(|authority| authority.beside(&place));
        cluster.filled(size)
    }

    /// The same with mutual TLS between them.
    #[must_use]
    pub fn secured(binary: &str, size: usize) -> Self {
        let mut cluster = Self::empty(binary);
        cluster.secure();
        cluster.filled(size)
    }

    fn filled(mut self, size: usize) -> Self {
        for _ in 0..size {
            self.add(Options::default());
        }
        self.wait_agreed();
        self
    }

    /// The cookie file of its nodes.
    #[must_use]
    pub fn cookie_file(&self) -> String {
        self.directory.path().join("cookie").display().to_string()
    }

    /// Gives certificates to all nodes from now on.
    pub fn secure(&mut self) {
        self.authority = Some(Authority::new(&self.directory.path().join("tls")));
    }

    /// Who signs the certificates of the nodes, if they have any.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// No node yet. With `LAMPYRID_TEST_TLS` in the environment they get certificates: so every
    /// test of processes can be run with TLS.
    #[must_use]
    pub fn empty(binary: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("cookie"), "a cookie for tests only, 0123456789")
            .expect("the temporary directory is writable");
        let mut cluster = Self {
            binary: binary.into(),
            directory,
            authority: None,
            options: Vec::new(),
            nodes: Vec::new(),
        };
        if std::env::var_os("LAMPYRID_TEST_TLS").is_some() {
            cluster.secure();
        }
        cluster
    }

    /// The directory of everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory of node `at`.
    #[must_use]
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("node-{at}"))
    }

    /// Starts one more node that joins the first one; gives its place.
    pub fn add(&mut self, extra: Options) -> usize {
        let at = self.nodes.len();
        let mut options = Options::default()
            .with("--name", format!("node-{at}"))
            .with("--cookie-file", self.cookie_file())
            .data(&self.data_dir(at));
        if let Some(Some(first)) = self.nodes.first() {
            options = options.with("--join", first.address());
        }
        if let Some(authority) = &self.authority {
            options.arguments.extend(authority.flags(&format!("node-{at}")));
        }
        options.arguments.extend(extra.arguments);
        options.environment.extend(extra.environment);
        options.binary = extra.binary;
        options.place = extra.place;
        self.options.push(options.clone());
        self.nodes.push(Some(self.spawn(&options)));
        at
    }

    fn spawn(&self, options: &Options) -> NodeProcess {
        NodeProcess::start(&self.binary, options)
            .unwrap_or_else(|(status, text)| panic!("the node ended with {status}:\n{text}"))
    }

    /// Node `at`, which must be running.
    #[must_use]
    pub fn node(&self, at: usize) -> &NodeProcess {
        self.nodes[at].as_ref().expect("the node is running")
    }

    /// Its admin HTTP.
    #[must_use]
    pub fn admin(&self, at: usize) -> &Admin {
        &self.node(at).admin
    }

    /// How many nodes there are, running or not.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The places of the running nodes.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&at| self.nodes[at].is_some()).collect()
    }

    /// The place of the node with that process id.
    #[must_use]
    pub fn place_of(&self, id: &str) -> Option<usize> {
        self.running().into_iter().find(|&at| self.node(at).id() == id)
    }

    /// kill -9, reaped.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut node) = self.nodes[at].take() {
            node.kill();
        }
    }

    /// The flags that node `at` was added with.
    #[must_use]
    pub fn options(&self, at: usize) -> Options {
        self.options[at].clone()
    }

    /// Starts a node again with exactly the flags it had, plus `extra`.
    pub fn restart_adding(&mut self, at: usize, extra: Options) {
        assert!(self.nodes[at].is_none(), "node {at} still runs");
        let mut options = self.options[at].clone();
        options.arguments.extend(extra.arguments);
        options.environment.extend(extra.environment);
        self.nodes[at] = Some(self.spawn(&options));
    }

    /// Starts a node again with exactly the flags it had, plus `environment`.
    pub fn restart_with(&mut self, at: usize, environment: &[(&str, &str)]) {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let extra = Options { environment: environment.collect(), ..Options::default() };
        self.restart_adding(at, extra);
    }

    /// kill -9 of several that none of the others sees: all are frozen first.
    pub fn lose(&mut self, places: &[usize]) {
        places.iter().for_each(|&at| self.node(at).freeze());
        places.iter().for_each(|&at| self.kill(at));
    }

    /// Starts a node again with exactly the flags it had.
    pub fn restart(&mut self, at: usize) {
        self.restart_with(at, &[]);
    }

    /// Hands node `at` over; it is then no longer counted as running.
    pub fn take(&mut self, at: usize) -> NodeProcess {
        self.nodes[at].take().expect("the node is running")
    }

    /// Waits until node `at` has ended by itself.
    pub fn wait_exit(&mut self, at: usize) -> ExitStatus {
        self.take(at).wait_exit()
    }

    /// True if node `at` has ended by itself; it is then no longer counted as running.
    pub fn has_ended(&mut self, at: usize) -> bool {
        let ended = self.nodes[at].as_mut().is_some_and(|node| !node.is_running());
        if ended {
            self.nodes[at] = None;
        }
        ended
    }

    /// SIGTERM and the exit status.
    pub fn terminate(&mut self, at: usize) -> ExitStatus {
        self.nodes[at].take().expect("the node is running").terminate()
    }

    /// Waits until all running nodes are active in one view that lists exactly them, at their
    /// newest incarnations, and know all their bubbles. Gives the view.
    pub fn wait_agreed(&self) -> (Value, Duration) {
        let places = self.running();
        eventually(&format!("nodes {places:?} to agree"), || self.agreed(&places))
    }

    /// The view in which exactly these nodes are active, if they all say so now.
    #[must_use]
    pub fn agreed(&self, places: &[usize]) -> Option<Value> {
        let wanted: BTreeSet<String> = places.iter().map(|&at| self.node(at).id()).collect();
        let views: Vec<Value> =
            places.iter().map(|&at| self.admin(at).view()).collect::<Option<_>>()?;
        let first = views.first()?;
        for view in &views {
            let same = view["id"] == first["id"] && view["coordinator"] == first["coordinator"];
            if view["status"] != "active" || !same || members(view) != wanted {
                return None;
            }
            let me = view["self"].as_str()?;
            let listed = view["members"].as_array()?.iter().find(|member| member["id"] == me)?;
            if listed["incarnation"] != view["incarnation"] {
                return None;
            }
        }
        let topologies: Vec<Value> = places
            .iter()
            .map(|&at| Some(self.admin(at).get("/v1/topology")?.body["processes"].clone()))
            .collect::<Option<_>>()?;
        let whole =
            |processes: &Value| processes.as_array().is_some_and(|all| all.len() == wanted.len());
        topologies
            .iter()
            .all(|processes| whole(processes) && processes == &topologies[0])
            .then(|| first.clone())
    }

    /// Every entity over all running nodes: id to (place, status, epoch, bubble) of each copy.
    /// `None` if a node did not answer.
    #[must_use]
    pub fn census(&self) -> Option<BTreeMap<String, Vec<Value>>> {
        let mut census: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for at in self.running() {
            for mut entity in self.admin(at).entities("all")? {
                let id = entity["id"].as_str()?.to_owned();
                entity["place"] = at.into();
                census.entry(id).or_default().push(entity);
            }
        }
        Some(census)
    }

    /// Waits until each of `expected` is active exactly once and nothing is frozen, staged or
    /// unknown. At no moment may an entity be active twice.
    ///
    /// # Panics
    /// With what is wrong, if it stays wrong.
    pub fn wait_exactly_once(&self, expected: &BTreeSet<String>) -> BTreeMap<String, usize> {
        let mut last = String::new();
        let started = std::time::Instant::now();
        loop {
            if let Some(census) = self.census() {
                match verdict(&census, expected) {
                    Ok(places) => return places,
                    Err(why) => last = why,
                }
            }
            assert!(started.elapsed() < crate::PATIENCE, "not exactly once: {last}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn members(view: &Value) -> BTreeSet<String> {
    let all = view["members"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|member| member["id"].as_str()).map(str::to_owned).collect()
}

fn verdict(
    census: &BTreeMap<String, Vec<Value>>,
    expected: &BTreeSet<String>,
) -> Result<BTreeMap<String, usize>, String> {
    let mut places = BTreeMap::new();
    for id in expected {
        let copies = census.get(id).map(Vec::as_slice).unwrap_or_default();
        match copies {
            [copy] if copy["status"] == "active" => {
                let place = copy["place"].as_u64().unwrap_or_default();
                places.insert(id.clone(), usize::try_from(place).unwrap_or_default());
            }
            other => return Err(format!("{id}: {other:?}")),
        }
    }
    match census.keys().find(|id| !expected.contains(*id)) {
        Some(stranger) => Err(format!("{stranger} was never created: {:?}", census[stranger])),
        None => Ok(places),
    }
}
