use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::{AdminTls, Token};
use crate::config::{
    Bubbles, COOKIE_FILE, Cookie, CookieError, HostPort, MAX_NAME_BYTES, NodeConfig, TlsFiles,
    load_or_generate,
};
use crate::tls::exposed_mode;
use clap::ValueEnum;
use lampyrid_wire::BubbleId;

use super::duration::Span;
use super::failure::Failure;
use super::logs::{DEFAULT_FILTER, LogFormat};
#[cfg(feature = "otel")]
use super::otlp::{OtlpOptions, Sample};
use super::settings::{Flag, Kind, Settings, Source};

/// Every setting of `lampyrid node`, by the name of its flag.
const SETTINGS: &[(&str, Kind)] = &[
    ("name", Kind::One),
    ("cluster-name", Kind::One),
    ("listen", Kind::One),
    ("advertise", Kind::One),
    ("admin", Kind::One),
    ("admin-token-file", Kind::One),
    ("admin-tls-cert", Kind::One),
    ("admin-tls-key", Kind::One),
    ("join", Kind::Many),
    ("join-timeout", Kind::One),
    ("data-dir", Kind::One),
    ("bubbles", Kind::One),
    ("bubble", Kind::Many),
    ("cookie-file", Kind::One),
    ("tls-cert", Kind::One),
    ("tls-key", Kind::One),
    ("tls-ca", Kind::One),
    ("allow-insecure-bind", Kind::Switch),
    ("workload", Kind::One),
    ("drift-rate", Kind::One),
    ("log", Kind::One),
    ("log-format", Kind::One),
    #[cfg(feature = "otel")]
    ("otlp-endpoint", Kind::One),
    #[cfg(feature = "otel")]
    ("otlp-sample", Kind::One),
];

/// What is shown as the source of what nobody gave.
const DEFAULT: &str = "default";

/// Moves a second of `--workload drift` when no rate is given.
const DEFAULT_DRIFT_RATE: u32 = 10;

/// The highest rate: what one request can move.
const MAX_DRIFT_RATE: u32 = 10_000;

/// Runs one process until SIGTERM or ctrl-C.
///
/// Every option can also be given as a variable LAMPYRID_OPTION_NAME, or in the file of --config as
/// `option-name = value`; a flag wins over a variable, a variable over the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  LAMPYRID_COOKIE=change-me lampyrid node --name b --data-dir \
    data/b --join 127.0.0.1:7001")]
pub(crate) struct NodeArgs {
    /// A TOML file with options [env: LAMPYRID_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name shown to people [default: host name and pid]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Processes of another cluster name are refused [default: lampyrid]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Where to listen for other processes [default: 127.0.0.1:0, a free port that is kept in the
    /// data directory]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where others reach this process, if not at --listen
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where to serve the admin HTTP [default: 127.0.0.1:0]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Demand the token in this file (`Authorization: Bearer`) on all but /healthz and /readyz
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<String>,
    /// Serve the admin HTTP over TLS, with this certificate, as PEM; it has to name the host by
    /// which clients reach --admin
    #[arg(long, value_name = "FILE")]
    admin_tls_cert: Option<String>,
    /// Private key of --admin-tls-cert, as PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    admin_tls_key: Option<String>,
    /// A process to join through; repeatable. Without it an empty data directory starts a new
    /// cluster
    #[arg(long, value_name = "HOST:PORT")]
    join: Vec<String>,
    /// How long to try to join before giving up [default: 30s]
    #[arg(long, value_name = "DURATION")]
    join_timeout: Option<String>,
    /// Identity, journal and entities; without it everything is in memory and gone at the exit
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Bubbles to create on the first start [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    bubbles: Option<String>,
    /// A bubble of this id to create on the first start; repeatable, in place of --bubbles
    #[arg(long, value_name = "UUID")]
    bubble: Vec<String>,
    /// The file with the secret that all processes of the cluster share [default: the secret itself
    /// in LAMPYRID_COOKIE, else one generated in the data directory]
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<String>,
    /// Certificate of this process for mutual TLS with the others, as PEM; it has to name --name
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Private key of --tls-cert, as PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Authorities that sign the certificates of processes, as PEM
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Listen beyond loopback although there is no TLS, or no admin token
    #[arg(long)]
    allow_insecure_bind: bool,
    /// Built-in workload: none or drift [default: none]
    #[arg(long, value_name = "WORKLOAD")]
    workload: Option<String>,
    /// Local entities that cross into a random other bubble each second [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    drift_rate: Option<String>,
    /// What to log to stderr, such as `info` or `lampyrid=debug` [env: LAMPYRID_LOG, RUST_LOG]
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Send spans of moves to the OpenTelemetry collector there (OTLP over plain HTTP), such as
    /// http://127.0.0.1:4318
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// The share of moves that are traced, from 0 to 1; the same in all processes [default: 0.01]
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    otlp_sample: Option<String>,
    /// Leave when stdin ends: whoever started this process with a pipe has gone
    #[arg(long, hide = true)]
    pub(crate) leave_when_stdin_ends: bool,
}

/// What `lampyrid node` runs, checked.
#[derive(Debug)]
pub(crate) struct NodeOptions {
    /// For the node itself; its admin URL is not known yet.
    pub(crate) node: NodeConfig,
    /// Where the secret came from, for the log.
    pub(crate) cookie: CookieOrigin,
    /// Where to serve the admin HTTP.
    pub(crate) admin: SocketAddr,
    /// What its clients must show.
    pub(crate) admin_token: Option<Token>,
    /// What secures it.
    pub(crate) admin_tls: Option<AdminTls>,
    /// Moves a second of the built-in workload; none without it.
    pub(crate) drift_rate: Option<u32>,
    /// See [`super::logs::start`].
    pub(crate) log: Log,
    /// Where spans go, if anywhere.
    #[cfg(feature = "otel")]
    pub(crate) otlp: Option<OtlpOptions>,
    /// Secrets that others can read.
    pub(crate) exposed: Vec<Exposed>,
}

/// A file with a secret that others can read. Only told: a cookie with the mode that editors give
/// to files was always taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
}

impl Exposed {
    fn look(path: PathBuf) -> Option<Self> {
        exposed_mode(&path).map(|mode| Self { path, mode })
    }
}

/// The files with secrets that a start would warn of.
fn exposed(settings: &Settings, cookie: Option<PathBuf>) -> Result<Vec<Exposed>, Failure> {
    let token = settings.one::<PathBuf>("admin-token-file")?;
    Ok(cookie.into_iter().chain(token).filter_map(Exposed::look).collect())
}

/// What to log, and who said so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
    pub(crate) source: String,
}

/// Where the shared secret came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieOrigin {
    /// From a file or variable.
    Given,
    /// From the data directory, made by an earlier start.
    Kept,
    /// Made now, in the data directory.
    Generated,
    /// Made now, in memory: nobody else can have it.
    Fleeting,
}

impl NodeArgs {
    /// Puts flags, variables and file together. Touches nothing yet but the files it reads, and
    /// the shared secret that it may have to generate.
    pub(crate) fn resolve(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<NodeOptions, Failure> {
        #[cfg(not(feature = "otel"))]
        if variable("LAMPYRID_OTLP_ENDPOINT").is_some_and(|endpoint| !endpoint.is_empty()) {
            return Err(Failure::usage(
                "LAMPYRID_OTLP_ENDPOINT: this program was built without traces; build it with \
                 `--features otel`, or take the variable away",
            ));
        }
        let (settings, mut options) = self.read(&variable)?;
        let data_dir = options.node.data_dir.as_deref();
        let (cookie, origin, file) = match (given_cookie(&settings, &variable)?, data_dir) {
            (Some(given), _) => (given.cookie, CookieOrigin::Given, given.file),
            (None, None) => (Cookie::random(), CookieOrigin::Fleeting, None),
            (None, Some(dir)) => {
                let (cookie, is_new) = load_or_generate(dir)
                    .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
                let origin = if is_new { CookieOrigin::Generated } else { CookieOrigin::Kept };
                (cookie, origin, Some(dir.join(COOKIE_FILE)))
            }
        };
        options.exposed = exposed(&settings, file)?;
        (options.node.cookie, options.cookie) = (cookie, origin);
        Ok(options)
    }

    /// Checks the same as [`Self::resolve`] and what shows only later in a start, writes nothing,
    /// and says where every setting comes from.
    pub(crate) fn check(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Checked, Failure> {
        let (settings, options) = self.read(&variable)?;
        super::logs::filter(&options.log.filter, &options.log.source)?;
        let data_dir = options.node.data_dir.as_deref();
        if let Some(dir) = data_dir {
            check_directory(dir).map_err(|detail| settings.fault("data-dir", detail))?;
        }
        let (value, source, file) = match (given_cookie(&settings, &variable)?, data_dir) {
            (Some(given), _) => ("(hidden)", given.source, given.file),
            (None, None) => ("one of its own: nobody can join it", DEFAULT.to_owned(), None),
            (None, Some(dir)) => match kept_cookie(dir) {
                Ok(None) => ("generated by the first start", DEFAULT.to_owned(), None),
                Ok(Some((_, path))) => ("(hidden)", path.display().to_string(), Some(path)),
                Err(detail) => return Err(settings.fault("data-dir", detail)),
            },
        };
        let exposed = exposed(&settings, file)?;
        Ok(Checked { settings: shown(&settings, &options, (value, source)), exposed })
    }

    /// What is given, checked, with a stand-in for the shared secret.
    fn read(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Settings, NodeOptions), Failure> {
        let named = variable("LAMPYRID_CONFIG").filter(|text| !text.is_empty());
        let file = match (&self.config, named) {
            (Some(path), _) => Some((path.clone(), "--config")),
            (None, Some(path)) => Some((PathBuf::from(path), "LAMPYRID_CONFIG")),
            (None, None) => None,
        };
        let file = file.as_ref().map(|(path, source)| (path.as_path(), *source));
        let settings = Settings::load(SETTINGS, self.flags(), &variable, file)?;
        let allow_insecure_bind = settings.is_on("allow-insecure-bind")?;
        let log = log(&settings, &variable)?;
        let admin_token = admin_token(&settings)?;
        let admin = admin(&settings, admin_token.is_some() || allow_insecure_bind)?;
        let admin_tls = admin_tls(&settings)?;
        let drift_rate = drift(&settings)?;
        // A stand-in until everything else is known to be right: generating one writes a file.
        let mut node = NodeConfig::new(default_name(), Cookie::random());
        node.allow_insecure_bind = allow_insecure_bind;
        fill(&mut node, &settings)?;
        node.tls = tls(&settings)?;
        node.check().map_err(|error| settings.fault(error.setting(), error))?;
        if let Some(files) = &node.tls {
            files.check(&node.name).map_err(|error| settings.fault(error.setting(), error))?;
        }
        let cookie = CookieOrigin::Fleeting;
        let options = NodeOptions {
            node,
            cookie,
            admin,
            admin_token,
            admin_tls,
            drift_rate,
            log,
            #[cfg(feature = "otel")]
            otlp: otlp(&settings)?,
            exposed: Vec::new(),
        };
        Ok((settings, options))
    }

    fn flags(&self) -> Vec<Flag> {
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        vec![
            ("name", one(&self.name)),
            ("cluster-name", one(&self.cluster_name)),
            ("listen", one(&self.listen)),
            ("advertise", one(&self.advertise)),
            ("admin", one(&self.admin)),
            ("admin-token-file", one(&self.admin_token_file)),
            ("admin-tls-cert", one(&self.admin_tls_cert)),
            ("admin-tls-key", one(&self.admin_tls_key)),
            ("join", self.join.clone()),
            ("join-timeout", one(&self.join_timeout)),
            ("data-dir", one(&self.data_dir)),
            ("bubbles", one(&self.bubbles)),
            ("bubble", self.bubble.clone()),
            ("cookie-file", one(&self.cookie_file)),
            ("tls-cert", one(&self.tls_cert)),
            ("tls-key", one(&self.tls_key)),
            ("tls-ca", one(&self.tls_ca)),
            (
                "allow-insecure-bind",
                self.allow_insecure_bind.then(|| "true".to_owned()).into_iter().collect(),
            ),
            ("workload", one(&self.workload)),
            ("drift-rate", one(&self.drift_rate)),
            ("log", one(&self.log)),
            ("log-format", one(&self.log_format)),
            #[cfg(feature = "otel")]
            ("otlp-endpoint", one(&self.otlp_endpoint)),
            #[cfg(feature = "otel")]
            ("otlp-sample", one(&self.otlp_sample)),
        ]
    }
}

fn fill(node: &mut NodeConfig, settings: &Settings) -> Result<(), Failure> {
    if let Some(name) = settings.one("name")? {
        node.name = name;
    }
    if let Some(name) = settings.one("cluster-name")? {
        node.cluster_name = name;
    }
    if let Some(address) = address(settings, "listen")? {
        node.listen = address;
    }
    node.advertise = settings.one("advertise")?;
    node.join = settings.many::<HostPort>("join")?;
    if let Some(seed) = node.join.iter().find(|seed| seed.port == 0) {
        return Err(settings.fault("join", format!("`{seed}`: nobody listens at port 0")));
    }
    if let Some(Span(limit)) = settings.one("join-timeout")? {
        if limit == Duration::ZERO {
            return Err(settings.fault("join-timeout", "it must be longer than nothing"));
        }
        node.join_timeout = limit;
    }
    node.data_dir = settings.one("data-dir")?;
    if node.data_dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
        return Err(settings.fault("data-dir", "the name is empty"));
    }
    node.bubbles = bubbles(settings)?;
    Ok(())
}

/// All three files, or none.
fn tls(settings: &Settings) -> Result<Option<TlsFiles>, Failure> {
    const KEYS: [&str; 3] = ["tls-cert", "tls-key", "tls-ca"];
    let mut files = Vec::new();
    for key in KEYS {
        files.push(settings.one::<PathBuf>(key)?);
    }
    let given = files.iter().position(Option::is_some);
    match (given, <[Option<PathBuf>; 3]>::try_from(files)) {
        (Some(_), Ok([Some(cert), Some(key), Some(ca)])) => Ok(Some(TlsFiles { cert, key, ca })),
        (Some(given), _) => {
            let detail = "mutual TLS needs all of --tls-cert, --tls-key and --tls-ca";
            Err(settings.fault(KEYS[given], detail))
        }
        (None, _) => Ok(None),
    }
}

fn bubbles(settings: &Settings) -> Result<Bubbles, Failure> {
    let fixed = settings.many::<BubbleId>("bubble")?;
    let count = settings.one::<usize>("bubbles")?;
    match (fixed.is_empty(), count) {
        (true, count) => Ok(Bubbles::Count(count.unwrap_or(1))),
        (false, None) => Ok(Bubbles::Fixed(fixed)),
        (false, Some(count)) if count == fixed.len() => Ok(Bubbles::Fixed(fixed)),
        (false, Some(count)) => {
            let detail = format!("it says {count}, but `bubble` names {}", fixed.len());
            Err(settings.fault("bubbles", detail))
        }
    }
}

/// An address to bind, which must be one of this machine's, so it is looked up at once.
fn address(settings: &Settings, key: &'static str) -> Result<Option<SocketAddr>, Failure> {
    let Some(place) = settings.one::<HostPort>(key)? else { return Ok(None) };
    let found = place.resolve();
    found.map(Some).map_err(|error| settings.fault(key, format!("`{place}`: {error}")))
}

fn admin(settings: &Settings, may_be_open: bool) -> Result<SocketAddr, Failure> {
    let at = address(settings, "admin")?.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    if at.ip().is_loopback() || may_be_open {
        return Ok(at);
    }
    let detail = format!(
        "{at} is not a loopback address and no token is demanded: anyone could command this \
         process; give --admin-token-file, or --allow-insecure-bind if this network is trusted"
    );
    Err(settings.fault("admin", detail))
}

fn admin_token(settings: &Settings) -> Result<Option<Token>, Failure> {
    let key = "admin-token-file";
    let Some(path) = settings.one::<PathBuf>(key)? else { return Ok(None) };
    match read_token(&path) {
        Ok(text) => Ok(Some(Token::new(text.as_bytes()))),
        Err(detail) => Err(settings.fault(key, detail)),
    }
}

/// Both files, or none.
fn admin_tls(settings: &Settings) -> Result<Option<AdminTls>, Failure> {
    let (cert, key) = ("admin-tls-cert", "admin-tls-key");
    let fault = |key| settings.fault(key, "it needs both --admin-tls-cert and --admin-tls-key");
    match (settings.one::<PathBuf>(cert)?, settings.one::<PathBuf>(key)?) {
        (Some(cert), Some(key)) => {
            let read = AdminTls::new(cert, key);
            read.map(Some).map_err(|error| settings.fault(error.setting(), error))
        }
        (Some(_), None) => Err(fault(cert)),
        (None, Some(_)) => Err(fault(key)),
        (None, None) => Ok(None),
    }
}

/// Reads a token; for those who demand it and for those who show it.
pub(crate) fn read_token(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{shown}: a token is one line of visible ASCII characters"));
    }
    Ok(text.to_owned())
}

fn drift(settings: &Settings) -> Result<Option<u32>, Failure> {
    let rate = settings.one::<u32>("drift-rate")?;
    if rate.is_some_and(|rate| !(1..=MAX_DRIFT_RATE).contains(&rate)) {
        let detail = format!("it must be between 1 and {MAX_DRIFT_RATE}");
        return Err(settings.fault("drift-rate", detail));
    }
    match settings.one::<String>("workload")?.as_deref() {
        None | Some("none") if rate.is_some() => {
            Err(settings.fault("drift-rate", "it needs `workload` to be drift"))
        }
        None | Some("none") => Ok(None),
        Some("drift") => Ok(Some(rate.unwrap_or(DEFAULT_DRIFT_RATE))),
        Some(other) => {
            Err(settings.fault("workload", format!("`{other}` is neither none nor drift")))
        }
    }
}

/// A share alone would be of nothing.
#[cfg(feature = "otel")]
fn otlp(settings: &Settings) -> Result<Option<OtlpOptions>, Failure> {
    let sample = settings.one::<Sample>("otlp-sample")?;
    match (settings.one("otlp-endpoint")?, sample) {
        (Some(endpoint), sample) => {
            let sample = sample.unwrap_or_else(|| Sample::new(Sample::DEFAULT_RATIO));
            Ok(Some(OtlpOptions { endpoint, sample }))
        }
        (None, Some(_)) => Err(settings.fault("otlp-sample", "it needs --otlp-endpoint")),
        (None, None) => Ok(None),
    }
}

fn log(settings: &Settings, variable: impl Fn(&str) -> Option<String>) -> Result<Log, Failure> {
    let format = settings.one::<String>("log-format")?;
    let format = match format.map(|text| (LogFormat::from_str(&text, true), text)) {
        None => LogFormat::default(),
        Some((Ok(format), _)) => format,
        Some((Err(_), text)) => {
            let detail = format!("`{text}` is neither text nor json");
            return Err(settings.fault("log-format", detail));
        }
    };
    let given = settings.one::<String>("log")?.zip(settings.source("log"));
    let customary = variable("RUST_LOG").filter(|text| !text.is_empty());
    let (filter, source) = match (given, customary) {
        (Some((filter, source @ (Source::Flag(_) | Source::Variable(_)))), _)
        | (Some((filter, source)), None) => (filter, source.to_string()),
        (_, Some(filter)) => (filter, "RUST_LOG".to_owned()),
        (None, None) => (DEFAULT_FILTER.to_owned(), DEFAULT.to_owned()),
    };
    Ok(Log { filter, format, source })
}

/// A secret that was given.
struct Given {
    cookie: Cookie,
    /// By what.
    source: String,
    /// The file it is in, unless it was given as it is.
    file: Option<PathBuf>,
}

/// The secret that was given: in a file that a flag or variable names, the variable with the secret
/// itself, or a file that the configuration names.
fn given_cookie(
    settings: &Settings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Given>, Failure> {
    let key = "cookie-file";
    let secret = variable("LAMPYRID_COOKIE").filter(|text| !text.is_empty());
    let source = settings.source(key);
    let weak = matches!(source, Some(Source::File { .. }));
    if let (Some(secret), true) = (&secret, weak || source.is_none()) {
        let cookie = Cookie::new(secret.as_bytes());
        let cookie = cookie.map_err(|e| Failure::usage(format!("LAMPYRID_COOKIE: {e}")))?;
        return Ok(Some(Given { cookie, source: "LAMPYRID_COOKIE".to_owned(), file: None }));
    }
    let (Some(path), Some(source)) = (settings.one::<PathBuf>(key)?, source) else {
        return Ok(None);
    };
    let cookie = Cookie::read(&path);
    let cookie = cookie.map_err(|e| settings.fault(key, format!("{}: {e}", path.display())))?;
    Ok(Some(Given { cookie, source: source.to_string(), file: Some(path) }))
}

/// The secret that an earlier start left in the data directory, and its file.
fn kept_cookie(data_dir: &Path) -> Result<Option<(Cookie, PathBuf)>, String> {
    let path = data_dir.join(COOKIE_FILE);
    match Cookie::read(&path) {
        Ok(cookie) => Ok(Some((cookie, path))),
        Err(CookieError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A data directory that is not there yet is made by the start.
fn check_directory(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// What `config check` has found where a start would go on.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Every setting.
    pub(crate) settings: Vec<Shown>,
    /// Secrets that others can read.
    pub(crate) exposed: Vec<Exposed>,
}

/// A setting as `config check` prints it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The name of its flag without the dashes.
    pub(crate) key: &'static str,
    /// What it is; never a secret.
    pub(crate) value: String,
    /// The flag, the variable, the file with its line, or the default.
    pub(crate) source: String,
}

/// Every setting in the order of the help, the secret behind the file that it may come from.
fn shown(settings: &Settings, options: &NodeOptions, cookie: (&str, String)) -> Vec<Shown> {
    let mut all = Vec::new();
    for &(key, _) in SETTINGS {
        let (value, source) = match (key, settings.shown(key)) {
            // Its customary variable stands above the file.
            ("log", _) => (options.log.filter.clone(), options.log.source.clone()),
            (_, Some((value, source))) => (value, source.to_string()),
            (_, None) => (default(key, options), DEFAULT.to_owned()),
        };
        all.push(Shown { key, value, source });
        if key == "cookie-file" {
            let (value, source) = (cookie.0.to_owned(), cookie.1.clone());
            all.push(Shown { key: "cookie", value, source });
        }
    }
    all
}

/// What a setting is that nobody gave. Read from what a start would use, so it cannot differ.
fn default(key: &str, options: &NodeOptions) -> String {
    let node = &options.node;
    match key {
        "name" => node.name.clone(),
        "cluster-name" => node.cluster_name.clone(),
        "listen" => node.listen.to_string(),
        "admin" => options.admin.to_string(),
        "join-timeout" => Span(node.join_timeout).to_string(),
        "bubbles" => match &node.bubbles {
            Bubbles::Count(count) => count.to_string(),
            Bubbles::Fixed(ids) => ids.len().to_string(),
        },
        "allow-insecure-bind" => node.allow_insecure_bind.to_string(),
        "drift-rate" => options.drift_rate.map_or_else(none, |rate| rate.to_string()),
        "log-format" => format!("{:?}", options.log.format).to_ascii_lowercase(),
        #[cfg(feature = "otel")]
        "otlp-sample" if options.otlp.is_some() => Sample::DEFAULT_RATIO.to_string(),
        _ => none(),
    }
}

fn none() -> String {
    "none".to_owned()
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    let id = std::process::id();
    // Room for the hyphen and the longest number.
    let host: String = host.trim().chars().filter(char::is_ascii_graphic).collect();
    let host = &host[..host.len().min(MAX_NAME_BYTES - 11)];
    if host.is_empty() { format!("node-{id}") } else { format!("{host}-{id}") }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: NodeArgs,
    }

    fn resolve(args: &[&str], variables: &[(&str, &str)]) -> Result<NodeOptions, Failure> {
        let only = Only::try_parse_from(std::iter::once(&"node").chain(args)).unwrap();
        only.args.resolve(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned())
        })
    }

    fn refused(args: &[&str], variables: &[(&str, &str)], start: &str) {
        let failure = resolve(args, variables).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure:?}");
        assert!(failure.to_string().starts_with(start), "{failure}");
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut place = tempfile::NamedTempFile::new().unwrap();
        place.write_all(text.as_bytes()).unwrap();
        place
    }

    #[test]
    fn nothing_given_is_a_process_on_loopback_that_talks_to_itself() {
        let options = resolve(&[], &[]).unwrap();
        assert_eq!(options.cookie, CookieOrigin::Fleeting);
        assert_eq!(options.admin.to_string(), "127.0.0.1:0");
        assert_eq!(options.node.listen.to_string(), "127.0.0.1:0");
        assert_eq!(options.node.bubbles, Bubbles::Count(1));
        assert_eq!(options.log.filter, DEFAULT_FILTER);
        assert!(options.drift_rate.is_none() && options.admin_token.is_none());
        assert!(options.admin_tls.is_none());
    }

    #[test]
    fn each_source_reaches_the_same_setting() {
        let config = file("cluster-name = \"deep\"\njoin = [\"a:1\", \"b:2\"]\nbubbles = 4\n");
        let path = config.path().to_str().unwrap();
        let variables = [("LAMPYRID_CONFIG", path), ("LAMPYRID_JOIN_TIMEOUT", "2s")];
        let options = resolve(&["--name", "n", "--join", "c:3"], &variables).unwrap();
        assert_eq!(options.node.name, "n");
        assert_eq!(options.node.cluster_name, "deep");
        assert_eq!(options.node.join, vec!["c:3".parse().unwrap()]);
        assert_eq!(options.node.join_timeout, Duration::from_secs(2));
        assert_eq!(options.node.bubbles, Bubbles::Count(4));
    }

    #[test]
    fn what_is_not_safe_or_not_there_yet_is_refused() {
        refused(&["--listen", "0.0.0.0:7000"], &[], "--listen: 0.0.0.0:7000 is not a loopback");
        refused(&["--admin", "0.0.0.0:7000"], &[], "--admin: 0.0.0.0:7000 is not a loopback");
        resolve(&["--listen", "0.0.0.0:7000", "--allow-insecure-bind"], &[]).unwrap();
        resolve(&["--admin", "0.0.0.0:7000", "--allow-insecure-bind"], &[]).unwrap();
        let token = file("t0ken\n");
        let path = token.path().to_str().unwrap();
        resolve(&["--admin", "0.0.0.0:7000", "--admin-token-file", path], &[]).unwrap();
        refused(&["--tls-cert", "x"], &[], "--tls-cert: mutual TLS needs all of");
        refused(&[], &[("LAMPYRID_TLS_KEY", "x")], "LAMPYRID_TLS_KEY: mutual TLS needs all of");
        let all = ["--name", "a", "--tls-cert", "x", "--tls-key", path, "--tls-ca", "x"];
        refused(&all, &[], "--tls-cert: x: ");
    }

    #[test]
    fn the_admin_http_takes_both_tls_files_or_none_and_still_wants_a_token_beyond_loopback() {
        let authority = crate::tls::authority::Authority::new();
        let files = authority.files("a.example");
        let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
        let both = ["--admin-tls-cert", cert, "--admin-tls-key", key];
        assert!(resolve(&both, &[]).unwrap().admin_tls.is_some());
        let config = file(&format!("admin-tls-cert = '{cert}'\n"));
        let variables =
            [("LAMPYRID_CONFIG", config.path().to_str().unwrap()), ("LAMPYRID_ADMIN_TLS_KEY", key)];
        assert!(resolve(&[], &variables).unwrap().admin_tls.is_some());
        let needs = "it needs both --admin-tls-cert and --admin-tls-key";
        refused(&both[..2], &[], &format!("--admin-tls-cert: {needs}"));
        refused(&both[2..], &[], &format!("--admin-tls-key: {needs}"));
        let variable = [("LAMPYRID_ADMIN_TLS_KEY", key)];
        refused(&[], &variable, &format!("LAMPYRID_ADMIN_TLS_KEY: {needs}"));
        let absent = ["--admin-tls-cert", "/nonexistent", "--admin-tls-key", key];
        refused(&absent, &[], "--admin-tls-cert: /nonexistent: ");
        let swapped = ["--admin-tls-cert", key, "--admin-tls-key", key];
        refused(&swapped, &[], &format!("--admin-tls-cert: {key}: there is no certificate"));

        let open = [&both[..], &["--admin", "0.0.0.0:0"]].concat();
        refused(&open, &[], "--admin: 0.0.0.0:0 is not a loopback");
        resolve(&[&open[..], &["--allow-insecure-bind"]].concat(), &[]).unwrap();
        let token = file("t0ken\n");
        let path = token.path().to_str().unwrap();
        resolve(&[&open[..], &["--admin-token-file", path]].concat(), &[]).unwrap();
    }

    #[test]
    fn wrong_values_are_refused_by_the_name_of_their_source() {
        refused(&["--listen", "nowhere"], &[], "--listen: `nowhere` is not HOST:PORT");
        refused(&["--join", "a:0"], &[], "--join: `a:0`");
        refused(&["--advertise", "a:0"], &[], "--advertise: ");
        refused(&["--bubble", "x"], &[], "--bubble: `x` is not a UUID");
        refused(&[], &[("LAMPYRID_BUBBLES", "4097")], "LAMPYRID_BUBBLES: a process hosts");
        refused(&["--join-timeout", "soon"], &[], "--join-timeout: `soon`");
        refused(&["--workload", "storm"], &[], "--workload: `storm`");
        refused(&["--drift-rate", "5"], &[], "--drift-rate: it needs");
        refused(&["--workload", "drift", "--drift-rate", "0"], &[], "--drift-rate: ");
        refused(&["--log-format", "xml"], &[], "--log-format: `xml`");
        refused(&["--name", ""], &[], "--name: ");
        refused(&["--cookie-file", "/nonexistent"], &[], "--cookie-file: /nonexistent: ");
        refused(&[], &[("LAMPYRID_COOKIE", "short")], "LAMPYRID_COOKIE: a shared secret has 8 to");
        refused(&["--config", "/nonexistent"], &[], "--config: /nonexistent: ");
        refused(&[], &[("LAMPYRID_CONFIG", "/nonexistent")], "LAMPYRID_CONFIG: /nonexistent: ");
        refused(&["--bubbles", "-1"], &[], "--bubbles: `-1`");
        refused(&["--drift-rate", "-1"], &[], "--drift-rate: `-1`");
        refused(&["--admin-token-file", "/nonexistent"], &[], "--admin-token-file: /nonexistent");
    }

    #[cfg(unix)]
    #[test]
    fn secrets_that_others_can_read_are_told_of_and_taken() {
        use std::os::unix::fs::PermissionsExt;
        let (cookie, token) = (file("from-file\n"), file("t0ken\n"));
        let paths = [cookie.path(), token.path()].map(|path| path.to_str().unwrap());
        let all = ["--cookie-file", paths[0], "--admin-token-file", paths[1]];
        let check = |args: &[&str]| {
            let only = Only::try_parse_from(std::iter::once(&"node").chain(args)).unwrap();
            only.args.check(|_| None).unwrap().exposed
        };
        let exposed = |modes: [u32; 2]| {
            for (path, mode) in paths.iter().zip(modes) {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            let found = resolve(&all, &[]).unwrap().exposed;
            assert_eq!(found, check(&all), "a check tells the same");
            found.into_iter().map(|exposed| exposed.mode).collect::<Vec<_>>()
        };
        assert_eq!(exposed([0o600, 0o400]), Vec::<u32>::new());
        assert_eq!(exposed([0o644, 0o600]), [0o644]);
        assert_eq!(exposed([0o600, 0o604]), [0o604]);
        assert_eq!(exposed([0o660, 0o666]), [0o660, 0o666]);
        // One that was generated has the right mode, unless somebody changes it.
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let data = ["--data-dir", dir.to_str().unwrap()];
        assert_eq!(resolve(&data, &[]).unwrap().exposed, []);
        let kept = dir.join(COOKIE_FILE);
        std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o644)).unwrap();
        let told = [Exposed { path: kept, mode: 0o644 }];
        assert_eq!(resolve(&data, &[]).unwrap().exposed, told);
        assert_eq!(check(&data), told);
    }

    #[test]
    fn the_secret_is_found_in_the_order_of_precedence_and_never_shown() {
        let mine = file("from-file\n");
        let path = mine.path().to_str().unwrap();
        let variables = [("LAMPYRID_COOKIE", "from-variable")];
        let cookie = |args: &[&str], variables: &[_]| {
            let options = resolve(args, variables).unwrap();
            assert!(!format!("{options:?}").contains("from-"), "the secret is never shown");
            String::from_utf8(options.node.cookie.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(cookie(&["--cookie-file", path], &variables), "from-file");
        assert_eq!(cookie(&[], &variables), "from-variable");
        let config = file(&format!("cookie-file = '{path}'\n"));
        let config = config.path().to_str().unwrap();
        assert_eq!(cookie(&["--config", config], &[]), "from-file");
        assert_eq!(cookie(&["--config", config], &variables), "from-variable");
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().to_str().unwrap();
        let first = resolve(&["--data-dir", dir], &[]).unwrap();
        let second = resolve(&["--data-dir", dir], &[]).unwrap();
        assert_eq!((first.cookie, second.cookie), (CookieOrigin::Generated, CookieOrigin::Kept));
        assert_eq!(first.node.cookie, second.node.cookie);
    }

    #[test]
    fn a_check_says_where_everything_comes_from_and_writes_nothing() {
        let mine = file("from-file\n");
        let path = mine.path().to_str().unwrap();
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let config = file(&format!("bubbles = 4\ncookie-file = '{path}'\nlog = 'warn'\n"));
        let config = config.path().to_str().unwrap();
        let check = |args: &[&str], variables: &[(&str, &str)]| {
            let only = Only::try_parse_from(std::iter::once(&"node").chain(args)).unwrap();
            let found = only.args.check(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned())
            });
            found.map(|found| found.settings)
        };
        let args = ["--config", config, "--data-dir", dir.to_str().unwrap(), "--join", "a:1"];
        let all = check(&args, &[("LAMPYRID_NAME", "n"), ("RUST_LOG", "info")]).unwrap();
        let of = |key: &str| {
            let one = all.iter().find(|one| one.key == key).unwrap();
            (one.value.as_str(), one.source.clone())
        };
        assert_eq!(of("name"), ("n", "LAMPYRID_NAME".to_owned()));
        assert_eq!(of("join"), ("a:1", "--join".to_owned()));
        assert_eq!(of("bubbles"), ("4", format!("{config}:1: bubbles")));
        assert_eq!(of("cookie"), ("(hidden)", format!("{config}:2: cookie-file")));
        assert_eq!(of("listen"), ("127.0.0.1:0", "default".to_owned()));
        assert_eq!(of("log"), ("info", "RUST_LOG".to_owned()));
        assert!(!format!("{all:?}").contains("from-file"), "the secret is never shown");
        assert_eq!(all.len(), SETTINGS.len() + 1);

        let dir = dir.to_str().unwrap();
        let all = check(&["--data-dir", dir], &[]).unwrap();
        assert!(all.iter().any(|one| one.key == "cookie" && one.value.contains("first start")));
        assert!(!home.path().join("data").exists(), "nothing is written");
        let kept = load_or_generate(Path::new(dir)).unwrap().0;
        let all = check(&["--data-dir", dir], &[]).unwrap();
        let place = format!("{dir}/cookie");
        assert!(all.iter().any(|one| one.value == "(hidden)" && one.source == place));
        let secret = String::from_utf8(kept.as_bytes().to_vec()).unwrap();
        assert!(!format!("{all:?}").contains(&secret));

        let error = check(&["--data-dir", path], &[]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("--data-dir: {path}: ")), "{error}");
        std::fs::write(home.path().join("data/cookie"), "short").unwrap();
        let error = check(&["--data-dir", dir], &[]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("--data-dir: {place}: ")), "{error}");
        let error = check(&["--log", "a=b=c"], &[]).unwrap_err();
        assert!(error.to_string().starts_with("--log: "), "{error}");
    }

    #[test]
    fn the_example_file_has_every_option_and_each_is_commented() {
        let text = include_str!("../../../docs/lampyrid.example.toml");
        for (key, _) in SETTINGS {
            let given = format!("{key} = ");
            let lines = text.lines().map(|line| line.trim_start_matches("# "));
            assert!(lines.clone().any(|line| line.starts_with(&given)), "{key} is missing");
        }
        // What is commented out is right, too, but for the files, which are not there.
        let all: String = text
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.contains(" = ") && !line.contains("-file = "))
            .filter(|line| !line.contains("tls-") && !line.starts_with("bubble = "))
            .filter(|line| cfg!(feature = "otel") || !line.starts_with("otlp-"))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = file(&all);
        let config = config.path().to_str().unwrap();
        let only = Only::try_parse_from(["node", "--config", config]).unwrap();
        only.args.check(|_| None).unwrap();
    }

    #[cfg(feature = "otel")]
    #[test]
    fn spans_go_where_flag_variable_or_file_say() {
        assert!(resolve(&[], &[]).unwrap().otlp.is_none());
        let variable = [("LAMPYRID_OTLP_ENDPOINT", "http://127.0.0.1:4318")];
        let otlp = resolve(&[], &variable).unwrap().otlp.unwrap();
        assert_eq!(otlp.endpoint.to_string(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(otlp.sample, "0.01".parse().unwrap());
        let config = file("otlp-endpoint = 'http://a:1'\notlp-sample = 0.5\n");
        let config = config.path().to_str().unwrap();
        let args = ["--config", config, "--otlp-sample", "1"];
        let otlp = resolve(&args, &[]).unwrap().otlp.unwrap();
        assert_eq!(otlp.endpoint.to_string(), "http://a:1/v1/traces");
        assert_eq!(otlp.sample, "1".parse().unwrap());
        refused(&["--otlp-sample", "1"], &[], "--otlp-sample: it needs --otlp-endpoint");
        refused(&["--otlp-endpoint", "https://a:1"], &[], "--otlp-endpoint: `https://a:1`: only");
        let both = ["--otlp-endpoint", "http://a:1", "--otlp-sample", "1.5"];
        refused(&both, &[], "--otlp-sample: `1.5`: a share");
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_build_without_traces_does_not_know_their_options() {
        let args = ["node", "--otlp-endpoint", "http://127.0.0.1:4318"];
        let error = Only::try_parse_from(args).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument);
        let config = file("otlp-endpoint = 'http://a:1'\n");
        let path = config.path().to_str().unwrap();
        refused(&["--config", path], &[], &format!("{path}:1: unknown setting `otlp-endpoint`"));
    }

    #[test]
    fn the_customary_log_variable_is_below_ours_and_above_the_file() {
        let config = file("log = 'trace'\n");
        let config = config.path().to_str().unwrap();
        let filter = |args: &[&str], variables: &[_]| resolve(args, variables).unwrap().log.filter;
        assert_eq!(filter(&["--config", config], &[]), "trace");
        assert_eq!(filter(&["--config", config], &[("RUST_LOG", "warn")]), "warn");
        let both = [("RUST_LOG", "warn"), ("LAMPYRID_LOG", "debug")];
        assert_eq!(filter(&[], &both), "debug");
        assert_eq!(filter(&["--log", "error"], &both), "error");
    }
}
