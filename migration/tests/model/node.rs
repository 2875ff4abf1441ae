//! One process: the core that runs in production, and what of it makes a difference.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lampyrid_migration::{Core, Image, PartPhase};

use super::names::{Names, ProcessNo, StageNo, bubble_no, entity_no, life, process_no, view_no};
use super::packet::{Copy, small};

/// An entity's row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Row {
    pub(crate) entity: u8,
    pub(crate) bubble: u8,
    pub(crate) epoch: u8,
    pub(crate) version: u8,
}

/// A part at its source. An aborted one is as good as one that was forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    /// With the lives of its two processes, and the view, which only a flaw looks at.
    Prepared {
        to: u8,
        entities: Vec<(u8, u8)>,
        lives: [u8; 2],
        view: u8,
    },
    /// From these bubbles.
    Committed {
        to: u8,
        stage: StageNo,
        copies: Vec<Copy>,
        from: Vec<u8>,
        view: u8,
    },
    Ended {
        stage: StageNo,
        entities: Vec<u8>,
    },
}

/// A staging.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Staging {
    pub(crate) source: ProcessNo,
    pub(crate) saga: u8,
    pub(crate) stage: StageNo,
    pub(crate) to: u8,
    pub(crate) copies: Vec<Copy>,
}

/// What was activated.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Activation {
    source: ProcessNo,
    saga: u8,
    pub(crate) stage: StageNo,
    entities: Vec<(u8, u8)>,
}

/// All of a process in which two states can differ.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) view: u8,
    pub(crate) rows: Vec<Row>,
    pub(crate) parts: Vec<(u8, Part)>,
    pub(crate) stagings: Vec<Staging>,
    pub(crate) activations: Vec<Activation>,
    /// What only flawed cores know.
    residue: Vec<u8>,
}

/// A process.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) core: Arc<Core>,
    /// What a replay of its records gives.
    pub(crate) disk: Arc<Image>,
    pub(crate) key: Key,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

fn number(n: u64) -> u8 {
    u8::try_from(n).expect("small numbers")
}

impl Node {
    pub(crate) fn new(names: &Names, core: Core, disk: Arc<Image>, view: u8) -> Self {
        let image = core.image();
        let rows = image.entities.iter().map(|(id, row)| Row {
            entity: entity_no(*id),
            bubble: bubble_no(row.bubble),
            epoch: number(row.epoch.0),
            version: row.state.as_ref().map_or(0, |state| state[0]),
        });
        let part = |phase: &PartPhase, row: &lampyrid_migration::PartRow| match phase {
            PartPhase::Prepared => {
                let entities = row.entities.iter();
                let entities = entities.map(|it| (entity_no(it.id), number(it.epoch.0))).collect();
                let lives = [life(row.source_incarnation), life(row.destination_incarnation)];
                let (to, view) = (bubble_no(row.to), view_no(row.view));
                Some(Part::Prepared { to, entities, lives, view })
            }
            PartPhase::Committed { stage, snapshots } => Some(Part::Committed {
                to: bubble_no(row.to),
                stage: names.stage_no(*stage),
                copies: snapshots.iter().map(small).collect(),
                from: row.entities.iter().map(|entity| bubble_no(entity.bubble)).collect(),
                view: view_no(row.view),
            }),
            PartPhase::Ended { stage, entities } => Some(Part::Ended {
                stage: names.stage_no(*stage),
                entities: entities.iter().copied().map(entity_no).collect(),
            }),
            PartPhase::Aborted => None,
        };
        let parts = image
            .parts
            .iter()
            .filter_map(|(id, row)| Some((names.saga_no(*id), part(&row.phase, row)?)));
        let stagings = image.stagings.iter().map(|(id, row)| Staging {
            source: process_no(id.source),
            saga: names.saga_no(*id),
            stage: names.stage_no(row.stage),
            to: bubble_no(row.to),
            copies: row.entities.iter().map(small).collect(),
        });
        let activations = image.activations.iter().map(|(id, row)| Activation {
            source: process_no(id.source),
            saga: names.saga_no(*id),
            stage: names.stage_no(row.stage),
            entities: row.entities.iter().map(|(id, e)| (entity_no(*id), number(e.0))).collect(),
        });
        let (seen, stages) = core.residue();
        let mut residue: Vec<u8> =
            seen.into_iter().flat_map(|(id, epoch)| [entity_no(id), number(epoch.0)]).collect();
        residue.extend([number(stages), u8::from(*disk == *image)]);
        let mut parts: Vec<_> = parts.collect();
        let mut stagings: Vec<Staging> = stagings.collect();
        let mut activations: Vec<Activation> = activations.collect();
        parts.sort_unstable_by_key(|(saga, _)| *saga);
        stagings.sort_unstable_by_key(|staging| staging.saga);
        activations.sort_unstable_by_key(|activation| activation.saga);
        let key = Key { view, rows: rows.collect(), parts, stagings, activations, residue };
        Self { core: Arc::new(core), disk, key }
    }

    /// The stagings it speaks of.
    pub(crate) fn stages(&self) -> impl Iterator<Item = StageNo> {
        let parts = self.key.parts.iter().filter_map(|(_, part)| match part {
            Part::Committed { stage, .. } | Part::Ended { stage, .. } => Some(*stage),
            Part::Prepared { .. } => None,
        });
        let stagings = self.key.stagings.iter().map(|staging| staging.stage);
        parts.chain(stagings).chain(self.key.activations.iter().map(|it| it.stage))
    }
}
