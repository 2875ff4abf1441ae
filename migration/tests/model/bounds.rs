//! What a model explores, and its steps.

use lampyrid_migration::Flaw;

use super::names::ProcessNo;
use super::packet::Packet;

/// What bounds a model.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) size: u8,
    /// All of them begin at the first process.
    pub(crate) entities: u8,
    /// Requests to move something.
    pub(crate) sagas: u8,
    /// Writes.
    pub(crate) writes: u8,
    /// How often an actor starts again from its disk.
    pub(crate) restarts: u8,
    /// How often a process forgets all that is over.
    pub(crate) compactions: u8,
    /// How often a source loses patience.
    pub(crate) timeouts: u8,
    /// How often an old STAGE makes a copy once more.
    pub(crate) restagings: u8,
    /// The life of each process in each view that follows the first, in which all have life 1; 0 if
    /// it is not in it.
    pub(crate) views: Vec<Vec<u8>>,
    /// A request may name all entities at once.
    pub(crate) batches: bool,
    /// A request may name a bubble of the same process.
    pub(crate) local: bool,
    /// A message arrives at most once for each time it is sent, in place of any number of times.
    pub(crate) once: bool,
    /// In every state it is checked that everything would come to its end.
    pub(crate) heals: bool,
    pub(crate) flaw: Option<Flaw>,
}

impl Default for Bounds {
    /// Two processes, one entity, two moves, and nothing else.
    fn default() -> Self {
        Self {
            size: 2,
            entities: 1,
            sagas: 2,
            writes: 0,
            restarts: 0,
            compactions: 0,
            timeouts: 0,
            restagings: 1,
            views: Vec::new(),
            batches: false,
            local: false,
            once: false,
            heals: false,
            flaw: None,
        }
    }
}

impl Bounds {
    /// The life of a process in a view; 0 if it is not in it.
    pub(crate) fn life(&self, view: u8, process: ProcessNo) -> u8 {
        match usize::from(view).checked_sub(1) {
            None => 1,
            Some(at) => self.views[at][usize::from(process)],
        }
    }

    pub(crate) fn last_view(&self) -> u8 {
        u8::try_from(self.views.len()).expect("few views")
    }
}

/// What is used up of the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Used {
    pub(crate) sagas: u8,
    pub(crate) writes: u8,
    pub(crate) restarts: u8,
    pub(crate) compactions: u8,
    pub(crate) timeouts: u8,
    pub(crate) restagings: u8,
    /// Which sagas were staged, one bit for each.
    pub(crate) staged: u16,
}

/// A step of one process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// A caller wants entities (one bit for each) in a bubble.
    Move(ProcessNo, u8, u8),
    /// A caller writes.
    Put(ProcessNo, u8),
    Deliver(Packet),
    /// The time for a part, of that saga, is up.
    Timeout(ProcessNo, u8),
    /// What was sent for a part is sent again.
    Repeat(ProcessNo, u8),
    /// The source of a staging, of that saga, is asked.
    Ask(ProcessNo, ProcessNo, u8),
    Compact(ProcessNo),
    Restart(ProcessNo),
    Install(ProcessNo, u8),
    /// With a flaw: what that step sends goes out, and then its process crashes, before the records
    /// of the step are durable.
    SendAndCrash(Box<Action>),
    /// With a flaw: its actor starts again, and answers before it has read its journal.
    AnswerBlindly(Packet),
}

impl std::str::FromStr for Bounds {
    type Err = String;

    /// `sagas=3 writes=1 views=10/12 heals`: what is not named is as by default; of views, the life
    /// of each process in each.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bounds = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, "1"));
            let number = || value.parse::<u8>().map_err(|error| format!("{word}: {error}"));
            match name {
                "size" => bounds.size = number()?,
                "entities" => bounds.entities = number()?,
                "sagas" => bounds.sagas = number()?,
                "writes" => bounds.writes = number()?,
                "restarts" => bounds.restarts = number()?,
                "compactions" => bounds.compactions = number()?,
                "timeouts" => bounds.timeouts = number()?,
                "restagings" => bounds.restagings = number()?,
                "batches" => bounds.batches = true,
                "local" => bounds.local = true,
                "once" => bounds.once = true,
                "heals" => bounds.heals = true,
                "views" => {
                    let life = |digit: char| u8::try_from(digit.to_digit(10)?).ok();
                    let view = |view: &str| view.chars().map(life).collect::<Option<Vec<u8>>>();
                    let views: Option<_> = value.split('/').map(view).collect();
                    bounds.views = views.ok_or_else(|| format!("{word}: digits"))?;
                }
                _ => return Err(format!("{word} bounds nothing")),
            }
        }
        if bounds.views.iter().any(|view| view.len() != usize::from(bounds.size)) {
            return Err("a view speaks of all processes".to_owned());
        }
        Ok(bounds)
    }
}
