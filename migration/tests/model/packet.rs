//! Messages in small, as far as they make a difference.

use bytes::Bytes;
use lampyrid_migration::{DoubtAnswer, Message, Snapshot};
use lampyrid_wire::{EntityId, OwnershipEpoch};

use super::names::{
    Names, ProcessNo, StageNo, bubble_id, bubble_no, entity_id, entity_no, process_no,
};

/// A copy of an entity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Copy {
    pub(crate) entity: u8,
    pub(crate) epoch: u8,
    pub(crate) version: u8,
}

/// What a message says of one part of a saga. Which process is its source follows from the
/// direction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Word {
    Stage(u8, Vec<Copy>),
    Staged(Option<StageNo>, Vec<u8>),
    Commit(StageNo, Vec<u8>),
    Activated(StageNo),
    Abort,
    Doubt,
    Committed(StageNo, Vec<u8>),
    Undecided,
    Unknown,
    UnknownStage(StageNo),
}

/// A message on its way, which may arrive at any time, any number of times, or never.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Packet {
    pub(crate) to: ProcessNo,
    pub(crate) from: ProcessNo,
    /// The view it was sent in, which says which life its sender had.
    pub(crate) view: u8,
    pub(crate) saga: u8,
    pub(crate) word: Word,
}

pub(crate) fn small(copy: &Snapshot) -> Copy {
    let epoch = u8::try_from(copy.epoch.0).expect("few moves");
    Copy { entity: entity_no(copy.id), epoch, version: copy.state[0] }
}

fn whole(copy: Copy) -> Snapshot {
    let epoch = OwnershipEpoch(u64::from(copy.epoch));
    Snapshot { id: entity_id(copy.entity), epoch, state: state(copy.version) }
}

/// An entity's state is the number of its version.
pub(crate) fn state(version: u8) -> Bytes {
    Bytes::copy_from_slice(&[version])
}

fn numbers(ids: &[EntityId]) -> Vec<u8> {
    ids.iter().copied().map(entity_no).collect()
}

fn ids(numbers: &[u8]) -> Vec<EntityId> {
    numbers.iter().copied().map(entity_id).collect()
}

impl Packet {
    /// A message in small: one for each part it speaks of.
    pub(crate) fn of(
        names: &Names,
        from: ProcessNo,
        to: ProcessNo,
        view: u8,
        message: Message,
    ) -> Vec<Self> {
        let packet = |part, word| Self { to, from, view, saga: names.saga_no(part), word };
        match message {
            Message::Stage { part, to, entities, .. } => {
                let copies = entities.iter().map(small).collect();
                vec![packet(part, Word::Stage(bubble_no(to), copies))]
            }
            Message::Staged { part, stage, accepted, .. } => {
                let stage = stage.map(|stage| names.stage_no(stage));
                vec![packet(part, Word::Staged(stage, numbers(&accepted)))]
            }
            Message::Commit { part, stage, entities, .. } => {
                vec![packet(part, Word::Commit(names.stage_no(stage), numbers(&entities)))]
            }
            Message::Activated { part, stage, .. } => {
                vec![packet(part, Word::Activated(names.stage_no(stage)))]
            }
            Message::Abort { part } => vec![packet(part, Word::Abort)],
            Message::Doubt { parts } => {
                let ours = parts.into_iter().filter(|part| process_no(part.source) == to);
                ours.map(|part| packet(part, Word::Doubt)).collect()
            }
            Message::DoubtAnswers { answers } => {
                let word = |answer| match answer {
                    DoubtAnswer::Committed { stage, entities } => {
                        Word::Committed(names.stage_no(stage), numbers(&entities))
                    }
                    DoubtAnswer::Undecided => Word::Undecided,
                    DoubtAnswer::Unknown => Word::Unknown,
                };
                let answers = answers.into_iter();
                answers.map(|(part, answer)| packet(part, word(answer))).collect()
            }
            Message::UnknownStage { part, stage } => {
                vec![packet(part, Word::UnknownStage(names.stage_no(stage)))]
            }
            _ => Vec::new(),
        }
    }

    /// The message.
    pub(crate) fn message(&self) -> Message {
        let (ours, theirs) = (Names::part(self.from, self.saga), Names::part(self.to, self.saga));
        let answer = |answer| Message::DoubtAnswers { answers: vec![(ours, answer)] };
        match &self.word {
            Word::Stage(to, copies) => Message::Stage {
                part: ours,
                to: bubble_id(*to),
                entities: copies.iter().copied().map(whole).collect(),
                attempt: 0,
            },
            Word::Staged(stage, accepted) => Message::Staged {
                part: theirs,
                stage: stage.map(Names::stage_id),
                accepted: ids(accepted),
                refused: Vec::new(),
                attempt: 0,
            },
            Word::Commit(stage, list) => {
                let (stage, entities) = (Names::stage_id(*stage), ids(list));
                Message::Commit { part: ours, stage, entities, attempt: 0 }
            }
            Word::Activated(stage) => {
                Message::Activated { part: theirs, stage: Names::stage_id(*stage), attempt: None }
            }
            Word::Abort => Message::Abort { part: ours },
            Word::Doubt => Message::Doubt { parts: vec![theirs] },
            Word::Committed(stage, list) => answer(DoubtAnswer::Committed {
                stage: Names::stage_id(*stage),
                entities: ids(list),
            }),
            Word::Undecided => answer(DoubtAnswer::Undecided),
            Word::Unknown => answer(DoubtAnswer::Unknown),
            Word::UnknownStage(stage) => {
                Message::UnknownStage { part: theirs, stage: Names::stage_id(*stage) }
            }
        }
    }

    /// The staging it names.
    pub(crate) fn stage(&self) -> Option<StageNo> {
        match &self.word {
            Word::Staged(stage, _) => *stage,
            Word::Commit(stage, _)
            | Word::Activated(stage)
            | Word::Committed(stage, _)
            | Word::UnknownStage(stage) => Some(*stage),
            _ => None,
        }
    }
}
