use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{AdminListener, AdminTls};
use crate::config::NodeConfig;
use crate::{Node, StartError, workload};
use lampyrid_wire::{Incarnation, Member, ProcessId};
use serde::Serialize;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::options::{CookieOrigin, Exposed, NodeArgs, NodeOptions};
#[cfg(feature = "otel")]
use super::otlp::Otlp;
use super::signals::Signals;
use super::target::UrlFile;
use super::{logs, output};

/// How long a process whose parent has gone may take to leave.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// The exit code of a process that was told twice to stop.
const EXIT_INTERRUPTED: i32 = 130;

pub(crate) async fn run(args: NodeArgs) -> Result<(), Failure> {
    let signals = Signals::catch()?;
    let NodeOptions {
        mut node,
        cookie,
        admin,
        admin_token,
        admin_tls,
        drift_rate,
        log,
        exposed,
        #[cfg(feature = "otel")]
        otlp,
    } = args.resolve(|name| std::env::var(name).ok())?;
    logs::start(&log.filter, log.format, &log.source)?;
    for Exposed { path, mode } in exposed {
        let (file, mode) = (path.display(), format!("{mode:04o}"));
        tracing::warn!(%file, mode, "others can read the secret in this file: chmod 600 it");
    }
    explain(&node, cookie);
    let listener = AdminListener::bind(admin).await.map_err(|e| Failure::failed(e.to_string()))?;
    let (scheme, host) = (scheme(admin_tls.as_ref()), admin_host(listener.address(), &node));
    explain_admin(listener.address(), admin_tls.as_ref(), &host);
    node.admin_url = Some(format!("{scheme}://{}", authority(&host, listener.address().port())));
    let listener = match admin_tls {
        Some(tls) => listener.secured(tls),
        None => listener,
    };
    let data_dir = node.data_dir.clone();
    let builder = Node::builder(node);
    #[cfg(feature = "otel")]
    let (builder, traces) = match otlp {
        Some(options) => {
            let otlp = Otlp::new(options, tokio::runtime::Handle::current())?;
            let (running, make) = otlp.parts();
            (builder.spans(Arc::new(make)), Some(running))
        }
        None => (builder, None),
    };
    let node = Arc::new(builder.start().await.map_err(|error| match error {
        StartError::NoSeed(_) => Failure::usage(error.to_string()),
        error => Failure::failed(error.to_string()),
    })?);
    let me = node.member();
    // Written once the node holds the directory's lock: the file is that of its one user.
    let file = data_dir.zip(me.admin.as_deref()).map(|(dir, url)| UrlFile::write(&dir, url));
    let _file = match file.transpose() {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(%error, "client commands will not find this process by --data-dir");
            None
        }
    };
    let server = listener.serve(Arc::<Node>::clone(&node), admin_token);
    announce("listening", &me);
    let drift = drift_rate.map(|rate| {
        let backend = Arc::<Node>::clone(&node);
        tokio::spawn(async move { workload::drift(&*backend, rate).await })
    });
    let lifeline = args.leave_when_stdin_ends.then(stdin_ends);
    let result = until_stopped(&node, signals, lifeline).await;
    if let Some(drift) = drift {
        drift.abort();
    }
    server.shutdown().await;
    #[cfg(feature = "otel")]
    if let Some(traces) = traces {
        traces.stop().await;
    }
    result
}

/// Says when the process is ready, passes on the wish to stop, and returns when it has stopped.
async fn until_stopped(
    node: &Arc<Node>,
    mut signals: Signals,
    mut lifeline: Option<oneshot::Receiver<()>>,
) -> Result<(), Failure> {
    let mut ready = std::pin::pin!(node.ready());
    let mut stopped = std::pin::pin!(node.stopped());
    let (mut is_ready, mut is_leaving) = (false, false);
    loop {
        tokio::select! {
            end = &mut stopped => return end.map_err(|fatal| Failure::failed(fatal.to_string())),
            () = &mut ready, if !is_ready => {
                is_ready = true;
                announce("ready", &node.member());
            }
            caught = signals.next() => {
                if is_leaving {
                    tracing::warn!(?caught, "told again to stop: exiting without a leave");
                    std::process::exit(EXIT_INTERRUPTED);
                }
                tracing::info!(?caught, "leaving; once more to exit at once");
                is_leaving = true;
                node.leave();
            }
            () = gone(&mut lifeline) => {
                lifeline = None;
                tracing::warn!("whoever started this process has gone: leaving");
                is_leaving = true;
                node.leave();
                tokio::spawn(async {
                    tokio::time::sleep(ORPHAN_GRACE).await;
                    std::process::exit(EXIT_INTERRUPTED);
                });
            }
        }
    }
}

async fn gone(lifeline: &mut Option<oneshot::Receiver<()>>) {
    match lifeline {
        // Whatever ends the watch ends the process.
        Some(ended) => drop(ended.await),
        None => std::future::pending().await,
    }
}

/// Resolves when stdin ends. A thread of its own, which the exit does not wait for.
fn stdin_ends() -> oneshot::Receiver<()> {
    let (ended, watch) = oneshot::channel();
    std::thread::spawn(move || {
        // An error ends it as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    watch
}

/// A line on stdout, its members in the order in which they are documented.
#[derive(Serialize)]
struct Announcement<'a> {
    event: &'a str,
    id: ProcessId,
    incarnation: Incarnation,
    name: &'a str,
    cluster: &'a str,
    admin: Option<&'a str>,
}

/// One line of JSON on stdout for whoever started the process.
fn announce(event: &str, me: &Member) {
    let cluster = me.address.to_string();
    let line = Announcement {
        event,
        id: me.process,
        incarnation: me.incarnation,
        name: &me.name,
        cluster: &cluster,
        admin: me.admin.as_deref(),
    };
    let Ok(line) = serde_json::to_string(&line) else { return };
    // The process serves on even if nobody listens to what it says.
    if output::line(&line).is_err() {
        tracing::warn!("stdout is closed");
    }
}

/// Says in the log what will surprise people later.
fn explain(node: &NodeConfig, cookie: CookieOrigin) {
    if node.data_dir.is_none() {
        tracing::warn!(
            "no --data-dir: identity, journal and entities are in memory and gone at the exit"
        );
    }
    match cookie {
        CookieOrigin::Given | CookieOrigin::Kept => {}
        CookieOrigin::Generated => tracing::info!(
            "generated a shared secret in the data directory; other processes need the same one \
             (--cookie-file or LAMPYRID_COOKIE) to join"
        ),
        CookieOrigin::Fleeting => tracing::warn!(
            "no shared secret was given: no other process can join this one; give --cookie-file or \
             LAMPYRID_COOKIE"
        ),
    }
    let own = matches!(cookie, CookieOrigin::Generated | CookieOrigin::Fleeting);
    if own && !node.join.is_empty() {
        tracing::warn!("the processes to join have another secret and will refuse this one");
    }
    if !node.listen.ip().is_loopback() && node.tls.is_none() {
        tracing::warn!(listen = %node.listen, "listening beyond loopback without encryption");
    }
}

/// The same for the admin HTTP.
fn explain_admin(bound: SocketAddr, tls: Option<&AdminTls>, host: &str) {
    match tls {
        Some(tls) if !tls.serves(host) => tracing::warn!(
            host,
            "the certificate of --admin-tls-cert does not name the host of the URL that others are \
             told: clients will not accept it there"
        ),
        None if !bound.ip().is_loopback() => {
            tracing::warn!(admin = %bound, "serving the admin HTTP beyond loopback without TLS");
        }
        _ => {}
    }
}

fn scheme(tls: Option<&AdminTls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// The host by which others find the admin HTTP. An address of all interfaces is none that one can
/// connect to: the advertised host stands in for it.
fn admin_host(bound: SocketAddr, node: &NodeConfig) -> String {
    let ip = match &node.advertise {
        _ if !bound.ip().is_unspecified() => bound.ip(),
        Some(place) => return place.host.clone(),
        None if node.listen.ip().is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        None => node.listen.ip(),
    };
    ip.to_string()
}

/// Host and port as URLs have them.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use crate::config::Cookie;

    use super::*;

    #[test]
    fn the_listed_url_is_one_that_can_be_connected_to() {
        let mut node = NodeConfig::new("a", Cookie::random());
        let host = |bound: &str, node: &NodeConfig| {
            let bound: SocketAddr = bound.parse().unwrap();
            authority(&admin_host(bound, node), bound.port())
        };
        assert_eq!(host("127.0.0.1:8", &node), "127.0.0.1:8");
        assert_eq!(host("[::1]:8", &node), "[::1]:8");
        assert_eq!(host("0.0.0.0:80", &node), "127.0.0.1:80");
        node.advertise = Some("host.example:7000".parse().unwrap());
        assert_eq!(host("0.0.0.0:80", &node), "host.example:80");
    }
}
