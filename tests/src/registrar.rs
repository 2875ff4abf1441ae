//! A host application around a node that registers a changed set of bubbles again and again and
//! prints how each registration was answered, a line of JSON each. It takes the flags of
//! `lampyrid node` that the harness gives, and serves the same admin HTTP.
#![allow(clippy::expect_used, reason = "a program for tests: what fails here fails the test")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lampyrid::admin::AdminListener;
use lampyrid::config::{Cookie, NodeConfig, TlsFiles};
use lampyrid::{BubbleId, Member, Node, RegistryError};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

/// How long one registration may take: a cooldown of the coordinator and more.
const LIMIT: Duration = Duration::from_millis(1_500);

/// The pause after each answer.
const PAUSE: Duration = Duration::from_millis(25);

#[tokio::main]
async fn main() {
    let filter = EnvFilter::new("info,ractor=error,ractor_cluster=error");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let admin = "127.0.0.1:0".parse().expect("an address");
    let admin = AdminListener::bind(admin).await.expect("a port on loopback");
    let mut config = config(std::env::args().skip(2));
    config.admin_url = Some(format!("http://{}", admin.address()));
    let node = Arc::new(Node::start(config).await.expect("the node starts"));
    let _server = admin.serve(Arc::<Node>::clone(&node), None);
    announce("listening", &node.member());
    tokio::select! {
        end = node.stopped() => end.expect("nobody asked it to stop"),
        () = register(&node) => {}
    }
}

fn config(mut arguments: impl Iterator<Item = String>) -> NodeConfig {
    let mut config = NodeConfig::new("registrar", Cookie::random());
    let mut tls = TlsFiles { cert: PathBuf::new(), key: PathBuf::new(), ca: PathBuf::new() };
    while let Some(flag) = arguments.next() {
        if flag == "--allow-insecure-bind" {
            config.allow_insecure_bind = true;
            continue;
        }
        let value = arguments.next().expect("a value");
        match flag.as_str() {
            "--name" => config.name = value,
            "--cookie-file" => config.cookie = Cookie::read(Path::new(&value)).expect("a cookie"),
            "--data-dir" => config.data_dir = Some(value.into()),
            "--join" => config.join.push(value.parse().expect("host and port")),
            "--listen" => config.listen = value.parse().expect("an address"),
            "--tls-cert" => tls.cert = value.into(),
            "--tls-key" => tls.key = value.into(),
            "--tls-ca" => tls.ca = value.into(),
            other => panic!("{other} is not known here"),
        }
    }
    config.tls = (!tls.cert.as_os_str().is_empty()).then_some(tls);
    config
}

/// Registers its own bubbles, with and without one more in turns, for ever.
async fn register(node: &Node) {
    node.ready().await;
    announce("ready", &node.member());
    let own = node.registry().bubbles_of(node.member().process).expect("registered when ready");
    let extra = BubbleId::from_u128(uuid::Uuid::new_v4().as_u128());
    for turn in 0_u64.. {
        let mut bubbles = own.clone();
        if turn.is_multiple_of(2) {
            bubbles.insert(extra);
        }
        one(node, bubbles).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn one(node: &Node, bubbles: BTreeSet<BubbleId>) {
    let began = now();
    let answer = node.registry().register(bubbles, LIMIT).await;
    // Of the broadcast that was stored here last; an acknowledged one is stored here too.
    let epoch = node.registry().topology().epoch;
    let state = node.view().current();
    let view = state.view.as_ref().filter(|view| view.epoch() == epoch);
    print(&json!({
        "event": "registration",
        "answer": name(&answer),
        "began": began,
        "ended": now(),
        "epoch": epoch,
        "coordinator": view.map(|view| view.coordinator()),
    }));
}

fn name(answer: &Result<(), RegistryError>) -> &'static str {
    match answer {
        Ok(()) => "acknowledged",
        Err(RegistryError::Isolated(_)) => "isolated",
        Err(RegistryError::NotMember) => "not_member",
        Err(RegistryError::Timeout) => "timeout",
        Err(_) => "other",
    }
}

/// Milliseconds of the machine's clock, which all processes of a test share.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn announce(event: &str, me: &Member) {
    print(&json!({
        "event": event,
        "id": me.process,
        "incarnation": me.incarnation,
        "name": me.name,
        "cluster": me.address.to_string(),
        "admin": me.admin,
    }));
}

fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever listened has gone: then this process is about to be killed.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
