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

impl Experiment {
    /// The heading of its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bootstrap => "All start within one second and join through one seed",
            Self::CrashOne => "One crashes",
            Self::CrashPercent => "1 % crash at one time",
            Self::Loss => "1 % lose 80 % of what they send and of what is sent to them, for 120 s",
            Self::FlipFlop => {
                "Nothing reaches 1 % for 20 s, everything for 20 s, and so on for 120 s"
            }
        }
    }

    /// The sizes that are done unless others are asked for.
    pub(crate) fn sizes(self, full: bool) -> &'static [usize] {
        match (self, full) {
            (Self::Bootstrap, false) => &[3, 10, 50, 100, 200, 500, 1000],
            (Self::Bootstrap, true) => &[3, 10, 50, 100, 200, 500, 1000, 2000],
            (Self::CrashOne, false) => &[3, 10, 50, 100, 200, 1000],
            (Self::CrashOne, true) => &[3, 10, 50, 100, 200, 500, 1000, 2000],
            (Self::CrashPercent, false) => &[200, 1000],
            (Self::CrashPercent, true) => &[200, 500, 1000, 2000],
            (Self::Loss | Self::FlipFlop, false) => &[10, 50, 100, 500],
            (Self::Loss | Self::FlipFlop, true) => &[10, 50, 100, 500, 1000],
        }
    }
}

/// Who keeps the list of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Lampyrid's core. Where processes crash, their machines reset their connections.
    Ours,
    /// The same, but where processes crash, their machines do: nothing is reset.
    OursUnplugged,
    /// foca 2.0: SWIM.
    Foca,
    /// Everybody beats to the coordinator.
    Heartbeat,
}

impl Protocol {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursUnplugged => "ours, machine gone",
            Self::Foca => "foca",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Whether that can be done to it.
    pub(crate) fn takes_part(self, experiment: Experiment, places: usize) -> bool {
        match self {
            Self::Ours => places <= crate::ours::LARGEST,
            Self::OursUnplugged => {
                let crash = matches!(experiment, Experiment::CrashOne | Experiment::CrashPercent);
                crash && places <= crate::ours::LARGEST
            }
            Self::Foca | Self::Heartbeat => true,
        }
    }
}

/// Membership of Lampyrid, foca and a plain heartbeat on one simulated network.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Which experiments; all unless given.
    #[arg(long, value_delimiter = ',')]
    pub(crate) experiments: Vec<Experiment>,
    /// Which protocols; all unless given.
    #[arg(long, value_delimiter = ',')]
    pub(crate) protocols: Vec<Protocol>,
    /// Sizes of the cluster, for all experiments.
    #[arg(long, value_delimiter = ',')]
    pub(crate) sizes: Vec<usize>,
    /// How many seeds each.
    #[arg(long, default_value_t = 3)]
    pub(crate) seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    pub(crate) first_seed: u64,
    /// The large sizes as well; that takes half an hour.
    #[arg(long)]
    pub(crate) full: bool,
    /// Given by `cargo bench`; without it this is a test, small and with assertions.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}
