//! A state of all processes and the network, and what must hold of it.

use std::collections::BTreeSet;

use super::bounds::Used;
use super::names::{ProcessNo, STAGES_MAX, StageNo};
use super::node::{Node, Part};
use super::packet::Packet;

/// What must be so of an entity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Truth {
    /// The version of which a caller was last told that it is written.
    pub(crate) acknowledged: u8,
    /// The highest epoch at which it was active.
    pub(crate) epoch: u8,
}

/// All processes, the network, and what is known to be true.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: BTreeSet<Packet>,
    pub(crate) truth: Vec<Truth>,
    pub(crate) used: Used,
    /// What a core or a caller noticed.
    pub(crate) noticed: Option<&'static str>,
}

/// Where an entity is.
pub(crate) enum Place {
    /// Active, at that version.
    Active(u8),
    /// Decided to be the next active one, and still to be activated.
    Decided(u8),
    Twice,
    Nowhere,
}

impl State {
    pub(crate) fn node(&self, process: ProcessNo) -> &Node {
        &self.nodes[usize::from(process)]
    }

    pub(crate) fn numbered(&self) -> impl Iterator<Item = (ProcessNo, &Node)> {
        (0..).zip(&self.nodes)
    }

    /// The name that the next staging of a process gets: one that nobody speaks of any more.
    pub(crate) fn free_stage(&self, process: ProcessNo) -> StageNo {
        let own = process * STAGES_MAX..(process + 1) * STAGES_MAX;
        let named = self.nodes.iter().flat_map(Node::stages);
        let mut named: Vec<StageNo> =
            named.chain(self.net.iter().filter_map(Packet::stage)).collect();
        named.sort_unstable();
        own.into_iter().find(|stage| named.binary_search(stage).is_err()).expect("few stagings")
    }

    pub(crate) fn place(&self, entity: u8) -> Place {
        place(&self.nodes, &self.truth, entity)
    }
}

/// Where an entity is. A decided copy counts if its destination has it staged under the name that
/// was decided.
pub(crate) fn place(nodes: &[Node], truth: &[Truth], entity: u8) -> Place {
    let rows = nodes.iter().flat_map(|node| &node.key.rows);
    let mut rows = rows.filter(|row| row.entity == entity);
    match (rows.next(), rows.next()) {
        (Some(_), Some(_)) => return Place::Twice,
        (Some(row), None) => return Place::Active(row.version),
        (None, _) => {}
    }
    let epoch = truth[usize::from(entity)].epoch + 1;
    let wanted = |copy: &&super::packet::Copy| (copy.entity, copy.epoch) == (entity, epoch);
    for (saga, part) in nodes.iter().flat_map(|node| &node.key.parts) {
        let Part::Committed { stage, copies, .. } = part else { continue };
        let Some(copy) = copies.iter().find(wanted) else { continue };
        let stagings = nodes.iter().flat_map(|node| &node.key.stagings);
        let mut same = stagings.filter(|it| (it.saga, it.stage) == (*saga, *stage));
        if same.any(|it| it.copies.contains(copy)) {
            return Place::Decided(copy.version);
        }
    }
    Place::Nowhere
}

/// Notes how far entities have come; says if one went back.
pub(crate) fn observe(nodes: &[Node], truth: &mut [Truth]) -> Result<(), &'static str> {
    for row in nodes.iter().flat_map(|node| &node.key.rows) {
        let truth = &mut truth[usize::from(row.entity)];
        if row.epoch < truth.epoch {
            return Err("an entity is back at an older epoch");
        }
        truth.epoch = row.epoch;
    }
    Ok(())
}

/// All promises that concern safety.
pub(crate) fn is_sound(nodes: &[Node], truth: &[Truth]) -> Result<(), &'static str> {
    for (entity, known) in (0..).zip(truth) {
        match place(nodes, truth, entity) {
            Place::Twice => return Err("an entity is active twice"),
            Place::Nowhere => return Err("an entity is lost"),
            Place::Active(version) | Place::Decided(version) if version < known.acknowledged => {
                return Err("a write that was acknowledged is lost");
            }
            _ => {}
        }
    }
    Ok(())
}
