use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Direction, Plan, Sim, Violation};
use super::chosen;

/// What some members of a cluster suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// So many of 1,000 messages one way are lost.
    Loss(Direction, u64),
    /// All messages one way are lost for 20 s, then none for 20 s, and so on.
    FlipFlop(Direction),
}

/// Who was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubled {
    /// Places in trouble.
    pub troubled: BTreeSet<usize>,
    /// Places that some view no longer listed although the one before did.
    pub removed: BTreeSet<usize>,
    /// View changes.
    pub changes: usize,
    /// Until all that were in trouble had been removed; `None` if they never were.
    pub took: Option<Duration>,
}

impl Troubled {
    /// Removed though nothing was wrong with them.
    #[must_use]
    pub fn wronged(&self) -> usize {
        self.removed.difference(&self.troubled).count()
    }

    /// In trouble and never removed.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.troubled.difference(&self.removed).count()
    }

    /// True if exactly those in trouble were removed.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.removed == self.troubled
    }
}

/// `count` members of a settled cluster are in trouble for `span`.
///
/// # Errors
/// [`Violation`].
pub fn trouble_some(
    seed: u64,
    processes: usize,
    count: usize,
    trouble: Trouble,
    span: Duration,
) -> Result<Troubled, Violation> {
    let mut sim = Sim::settled(Plan::calm(seed, processes))?;
    let troubled = chosen(&sim, seed, count);
    let (start, before) = (sim.now(), sim.views().count());
    sim.change_network(|network| {
        for &place in &troubled {
            match trouble {
                Trouble::Loss(direction, loss) => network.set_loss(place, direction, loss),
                Trouble::FlipFlop(direction) => network.flip_flop(place, direction, start),
            }
        }
    });
    let (mut removed, mut took, mut changes) = (BTreeSet::new(), None, 0);
    let end = start + span;
    while sim.now() < end {
        sim.run_until(sim.now() + Duration::from_millis(100))?;
        let seen = sim.views().count() - before;
        if seen != changes {
            changes = seen;
            removed = removals(&sim);
            if took.is_none() && removed.is_superset(&troubled) {
                took = Some(sim.now() - start);
            }
        }
    }
    Ok(Troubled { troubled, removed, changes, took })
}

/// Everybody whom some view no longer listed, from the second view on.
fn removals(sim: &Sim) -> BTreeSet<usize> {
    let mut views = sim.views().skip(1);
    let Some(mut before) = views.next() else { return BTreeSet::new() };
    let mut removed = BTreeSet::new();
    for view in views {
        let gone = before.members().iter().filter(|m| !view.lists(m.process, m.incarnation));
        removed.extend(gone.filter_map(|member| sim.place_of(member.process)));
        before = view;
    }
    removed
}
