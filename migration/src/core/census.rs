use std::collections::BTreeMap;

use lampyrid_wire::BubbleId;

use crate::row::PartPhase;
use crate::{Image, Write};

/// Counts kept beside the rows, so that neither an audit nor the end of a bubble walks all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    bubbles: BTreeMap<BubbleId, Residents>,
    frozen: u64,
    in_doubt: u64,
}

/// What concerns one bubble.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Residents {
    /// Entities with a row here.
    pub(crate) entities: u64,
    /// Of these, those that are on their way out.
    pub(crate) frozen: u64,
    /// Stagings that go there.
    pub(crate) stagings: u64,
}

impl Census {
    /// Counts everything; nothing is frozen yet.
    pub(crate) fn of(image: &Image) -> Self {
        let mut census = Self::default();
        for row in image.entities.values() {
            census.with(row.bubble, |here| here.entities += 1);
        }
        for row in image.stagings.values() {
            census.with(row.to, |here| here.stagings += 1);
        }
        census.in_doubt = image.parts.values().map(|row| decided(&row.phase)).sum();
        census
    }

    /// Takes a write into account that is about to be applied.
    pub(crate) fn note(&mut self, image: &Image, write: &Write) {
        match write {
            Write::Entity(id, row) => {
                let before = image.entities.get(id).map(|row| row.bubble);
                let after = row.as_ref().map(|row| row.bubble);
                if before != after {
                    before.into_iter().for_each(|b| self.with(b, |here| here.entities -= 1));
                    after.into_iter().for_each(|b| self.with(b, |here| here.entities += 1));
                }
            }
            Write::Staging(part, row) => {
                let before = image.stagings.get(part).map(|row| row.to);
                let after = row.as_ref().map(|row| row.to);
                before.into_iter().for_each(|b| self.with(b, |here| here.stagings -= 1));
                after.into_iter().for_each(|b| self.with(b, |here| here.stagings += 1));
            }
            Write::Part(part, row) => {
                self.in_doubt += row.as_ref().map_or(0, |row| decided(&row.phase));
                self.in_doubt -= image.parts.get(part).map_or(0, |row| decided(&row.phase));
            }
            _ => {}
        }
    }

    pub(crate) fn freeze(&mut self, bubble: BubbleId) {
        self.frozen += 1;
        self.with(bubble, |here| here.frozen += 1);
    }

    pub(crate) fn thaw(&mut self, bubble: BubbleId) {
        self.frozen -= 1;
        self.with(bubble, |here| here.frozen -= 1);
    }

    /// Entities on their way out.
    pub(crate) fn frozen(&self) -> u64 {
        self.frozen
    }

    /// Entities that left and are not acknowledged.
    pub(crate) fn in_doubt(&self) -> u64 {
        self.in_doubt
    }

    /// Bubbles with entities here.
    pub(crate) fn inhabited(&self) -> impl Iterator<Item = BubbleId> + '_ {
        let inhabited = self.bubbles.iter().filter(|(_, here)| here.entities > 0);
        inhabited.map(|(bubble, _)| *bubble)
    }

    pub(crate) fn residents(&self, bubble: BubbleId) -> Residents {
        self.bubbles.get(&bubble).copied().unwrap_or_default()
    }

    fn with(&mut self, bubble: BubbleId, change: impl FnOnce(&mut Residents)) {
        let here = self.bubbles.entry(bubble).or_default();
        change(here);
        if *here == Residents::default() {
            self.bubbles.remove(&bubble);
        }
    }
}

fn decided(phase: &PartPhase) -> u64 {
    match phase {
        PartPhase::Committed { snapshots, .. } => snapshots.len() as u64,
        PartPhase::Prepared | PartPhase::Ended { .. } | PartPhase::Aborted => 0,
    }
}
