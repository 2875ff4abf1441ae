/// Why the links did not start. Nothing runs then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinksError {
    /// The cookie is too short to resist guessing.
    #[error("the cookie has {bytes} bytes; give at least {least}, random ones")]
    ShortCookie {
        /// Its length.
        bytes: usize,
        /// The least.
        least: usize,
    },
    /// The cluster name does not fit into a hello.
    #[error("the cluster name has {bytes} bytes; at most {limit} are allowed")]
    LongClusterName {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Remote references of an earlier run of the links have not gone in time.
    #[error("{0} remote references of the links' last run are still there")]
    Leftovers(usize),
    /// An actor did not start; most likely the machine has no loopback port left.
    #[error("the links' actors did not start: {0}")]
    Spawn(#[from] ractor::SpawnErr),
}
