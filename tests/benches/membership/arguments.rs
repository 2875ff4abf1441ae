use clap::{Parser, ValueEnum};

/// What is done to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Experiment {
    /// All join through one seed.
    Bootstrap,
    /// One crashes.
    CrashOne,
    /// 1 % crash at one time.
    CrashPercent,
    /// 1 % lose 80 % of their messages.
    Loss,
    /// Nothing reaches 1 %, every other 20 s.
    FlipFlop,
}

/// Who keeps the list of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// SWIM.
    Foca,
    /// All to the coordinator.
    Heartbeat,
}

/// Membership of Lampyrid, foca and a plain heartbeat on one simulated network.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Which experiments.
    #[arg(long, value_delimiter = ',')]
    pub(crate) experiments: Vec<Experiment>,
    /// Which protocols.
    #[arg(long, value_delimiter = ',')]
    pub(crate) protocols: Vec<Protocol>,
    /// Sizes of the cluster.
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Vec<usize>,
    /// How many seeds each.
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    /// Given by `cargo bench`; without it this is a test.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}
