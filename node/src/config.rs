//! What a process needs to know to start: plain values, checked before anything is bound or
//! written. Where they come from (flags, environment, files) is the binary's business.

mod cookie;
mod host_port;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lampyrid_wire::BubbleId;

pub use crate::links::{TlsError, TlsFiles};
pub use cookie::{COOKIE_FILE, Cookie, CookieError, MAX_COOKIE_BYTES, load_or_generate};
pub use host_port::{HostPort, ParseHostPortError};

/// The most bubbles one process hosts.
pub const MAX_BUBBLES: usize = 4_096;

/// The longest name of a process or cluster, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The most seeds a process is given.
pub const MAX_SEEDS: usize = 256;

/// How long a process without a last view tries its seeds, unless told otherwise.
pub const DEFAULT_JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The bubbles a process creates when it starts on an empty data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bubbles {
    /// That many, with fresh ids.
    Count(usize),
    /// These.
    Fixed(Vec<BubbleId>),
}

/// How to start a process. Make one with [`NodeConfig::new`] and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Shown to people.
    pub name: String,
    /// Processes of another cluster name are refused.
    pub cluster_name: String,
    /// Where to listen for other processes; port 0 chooses one, kept in the data directory.
    pub listen: SocketAddr,
    /// Where others reach this process, if not at the bound address.
    pub advertise: Option<HostPort>,
    /// Base URL of the admin HTTP, listed in the view for others to find; its server is the
    /// caller's.
    pub admin_url: Option<String>,
    /// Seeds to join through. Empty, with an empty data directory: a new cluster.
    pub join: Vec<HostPort>,
    /// How long a process without a last view tries its seeds before it gives up.
    pub join_timeout: Duration,
    /// Identity, acceptor state, journal and entities. `None`: all in memory.
    pub data_dir: Option<PathBuf>,
    /// What to host on the first start.
    pub bubbles: Bubbles,
    /// The secret shared by the processes of the cluster.
    pub cookie: Cookie,
    /// Certificate, key and authority for mutual TLS between processes. The certificate has to name
    /// [`Self::name`].
    pub tls: Option<TlsFiles>,
    /// Leave to listen beyond loopback although links are not encrypted.
    pub allow_insecure_bind: bool,
}

/// A configuration that no process may start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that cannot be shown or sent.
    #[error("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters")]
    Name {
        /// Which setting.
        setting: &'static str,
    },
    /// Listening beyond loopback in the clear was not asked for.
    #[error(
        "{address} is not a loopback address and links are not encrypted: anyone on the way could \
         read and change them; give --tls-cert, --tls-key and --tls-ca, or --allow-insecure-bind, which says that this network is trusted"
    )]
    InsecureBind {
        /// The address.
        address: SocketAddr,
    },
    /// Nobody can connect to port 0.
    #[error("others cannot connect to port 0")]
    AdvertisedPort,
    /// Too many bubbles.
    #[error("a process hosts at most {MAX_BUBBLES} bubbles, not {count}")]
    TooManyBubbles {
        /// How many were asked for.
        count: usize,
    },
    /// The nil id names nothing.
    #[error("the nil UUID names no bubble")]
    NilBubble,
    /// One bubble twice.
    #[error("bubble {0} is given twice")]
    RepeatedBubble(BubbleId),
    /// Too many seeds.
    #[error("at most {MAX_SEEDS} seeds can be given, not {count}")]
    TooManySeeds {
        /// How many were given.
        count: usize,
    },
}

impl ConfigError {
    /// The setting at fault, by its name on the command line without the dashes.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Name { setting } => setting,
            Self::InsecureBind { .. } => "listen",
            Self::AdvertisedPort => "advertise",
            Self::TooManyBubbles { .. } => "bubbles",
            Self::NilBubble | Self::RepeatedBubble(_) => "bubble",
            Self::TooManySeeds { .. } => "join",
        }
    }
}

impl NodeConfig {
    /// A process on loopback, all in memory, with one bubble and no seeds.
    #[must_use]
    pub fn new(name: impl Into<String>, cookie: Cookie) -> Self {
        Self {
            name: name.into(),
            cluster_name: "lampyrid".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            admin_url: None,
            join: Vec::new(),
            join_timeout: DEFAULT_JOIN_TIMEOUT,
            data_dir: None,
            bubbles: Bubbles::Count(1),
            cookie,
            tls: None,
            allow_insecure_bind: false,
        }
    }

    /// Refuses what cannot work or is not safe, before anything is touched.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_name("name", &self.name)?;
        check_name("cluster-name", &self.cluster_name)?;
        let is_safe = self.listen.ip().is_loopback() || self.tls.is_some();
        if !is_safe && !self.allow_insecure_bind {
            return Err(ConfigError::InsecureBind { address: self.listen });
        }
        if self.advertise.as_ref().is_some_and(|at| at.port == 0) {
            return Err(ConfigError::AdvertisedPort);
        }
        if self.join.len() > MAX_SEEDS {
            return Err(ConfigError::TooManySeeds { count: self.join.len() });
        }
        self.bubbles.check()
    }
}

impl Bubbles {
    fn check(&self) -> Result<(), ConfigError> {
        let (count, ids) = match self {
            Self::Count(count) => (*count, &[][..]),
            Self::Fixed(ids) => (ids.len(), ids.as_slice()),
        };
        if count > MAX_BUBBLES {
            return Err(ConfigError::TooManyBubbles { count });
        }
        let mut seen = BTreeSet::new();
        for id in ids {
            if id.is_nil() {
                return Err(ConfigError::NilBubble);
            }
            if !seen.insert(id) {
                return Err(ConfigError::RepeatedBubble(*id));
            }
        }
        Ok(())
    }
}

fn check_name(setting: &'static str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(ConfigError::Name { setting });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig::new("a", Cookie::random())
    }

    #[test]
    fn the_default_is_fit_to_start() {
        assert_eq!(config().check(), Ok(()));
    }

    #[test]
    fn listening_beyond_loopback_needs_an_explicit_word() {
        let mut open = config();
        open.listen = "0.0.0.0:7000".parse().unwrap();
        assert_eq!(open.check().unwrap_err().setting(), "listen");
        open.allow_insecure_bind = true;
        assert_eq!(open.check(), Ok(()));
        open.allow_insecure_bind = false;
        let [cert, key, ca] = ["c", "k", "a"].map(PathBuf::from);
        open.tls = Some(TlsFiles { cert, key, ca });
        assert_eq!(open.check(), Ok(()));
    }

    #[test]
    fn names_bubbles_and_seeds_are_bounded() {
        let mut bad = config();
        bad.cluster_name = "a\nb".to_owned();
        assert_eq!(bad.check().unwrap_err().setting(), "cluster-name");
        bad = config();
        bad.bubbles = Bubbles::Count(MAX_BUBBLES + 1);
        assert_eq!(bad.check(), Err(ConfigError::TooManyBubbles { count: MAX_BUBBLES + 1 }));
        let one = BubbleId::from_u128(1);
        bad.bubbles = Bubbles::Fixed(vec![one, one]);
        assert_eq!(bad.check(), Err(ConfigError::RepeatedBubble(one)));
        bad.bubbles = Bubbles::Fixed(vec![BubbleId::from_u128(0)]);
        assert_eq!(bad.check(), Err(ConfigError::NilBubble));
        bad = config();
        bad.join = vec!["h:1".parse().unwrap(); MAX_SEEDS + 1];
        assert_eq!(bad.check().unwrap_err().setting(), "join");
    }
}
