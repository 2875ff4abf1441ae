use std::sync::Arc;

use lampyrid_wire::{CodecError, Member, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::{MAX_MEMBERS, MAX_TEXT};
use crate::{Places, View};

/// A value of the agreement by its name: a hash over the [`Change`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(#[serde(with = "serde_bytes")] pub [u8; 16]);

/// What a view and its proposed successor differ in: short, however many members they share. With
/// the view being left, which all who agree have installed, it is the successor in full.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// Members that go, by their place in the view being left.
    pub removed: Places,
    /// Full records of those that come, and of members that come back at another incarnation;
    /// sorted by process id.
    pub put: Vec<Member>,
}

impl Change {
    /// What leads from `old` to a view of just `members`, which are sorted.
    #[must_use]
    pub fn between(old: &View, members: &[Member]) -> Self {
        let new = |member: &&Member| {
            let place = members.binary_search_by_key(&member.process, |m| m.process).ok();
            place.map(|place| &members[place])
        };
        let removed = (0_u16..)
            .zip(old.members())
            .filter(|(_, member)| new(member).is_none())
            .map(|(place, _)| place)
            .collect();
        let put =
            members.iter().filter(|member| old.member(member.process) != Some(member)).cloned();
        Self { removed, put: put.collect() }
    }

    /// The change that a successor, known as a whole, is.
    #[must_use]
    pub fn to(old: &View, new: &View) -> Self {
        Self::between(old, new.members())
    }

    /// True if nothing changes.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.removed.is_empty() && self.put.is_empty()
    }

    /// The successor of `old` that this change makes; `None` if it fits no such view: foreign
    /// places, records out of order or too large, no member left, more than a view may have.
    #[must_use]
    pub fn apply(&self, old: &View) -> Option<Arc<View>> {
        old.successor_by(self, || self.make(old))
    }

    fn make(&self, old: &View) -> Option<View> {
        let sorted = self.put.windows(2).all(|pair| pair[0].process < pair[1].process);
        if !sorted
            || self.is_nothing()
            || !self.removed.fits(old.size())
            || !self.put.iter().all(is_modest)
            || self.put.iter().any(|member| self.removes(old, member))
        {
            return None;
        }
        let put =
            |member: &Member| self.put.binary_search_by_key(&member.process, |m| m.process).is_ok();
        let mut members: Vec<Member> = (0_u16..)
            .zip(old.members())
            .filter(|(place, member)| !self.removed.contains(*place) && !put(member))
            .map(|(_, member)| member.clone())
            .collect();
        members.extend(self.put.iter().cloned());
        if members.len() > MAX_MEMBERS {
            return None;
        }
        old.successor(members)
    }

    /// A record of a process that is to go: no change has such.
    fn removes(&self, old: &View, member: &Member) -> bool {
        let place = old.index_of(member.process).and_then(|place| u16::try_from(place).ok());
        place.is_some_and(|place| self.removed.contains(place))
    }

    /// How many members the successor of a view of `size` has.
    #[must_use]
    pub fn size_after(&self, old: &View) -> usize {
        let new = self.put.iter().filter(|member| old.index_of(member.process).is_none()).count();
        (old.size() + new).saturating_sub(self.removed.len())
    }

    /// Its name.
    ///
    /// # Errors
    /// [`CodecError::Encode`]; does not happen to records that came over the wire.
    pub fn id(&self) -> Result<ValueId, CodecError> {
        let hash: [u8; 32] = Sha256::digest(encode(self)?).into();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Ok(ValueId(id))
    }
}

/// True if the record's texts are within bounds: it will be in every view.
#[must_use]
pub(crate) fn is_modest(member: &Member) -> bool {
    member.name.len() <= MAX_TEXT && member.admin.as_ref().is_none_or(|url| url.len() <= MAX_TEXT)
}
