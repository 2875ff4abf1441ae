use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::limits::MAX_MEMBERS;

/// Bytes of the widest set, with room for nothing else.
const MAX_BYTES: usize = 2 * MAX_MEMBERS / 8;

/// A set of members of one view, by their place among its sorted members. Sets are told far more
/// often than they grow, so a copy shares the bits until one of them does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Places(
    /// Bits, 64 a word; the last word is never zero, so that equal sets are equal.
    Arc<Vec<u64>>,
);

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Places {
    /// Adds a place; true if it was not in.
    pub fn insert(&mut self, place: u16) -> bool {
        let (word, bit) = (usize::from(place) / 64, 1_u64 << (place % 64));
        let words = Arc::make_mut(&mut self.0);
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let new = words[word] & bit == 0;
        words[word] |= bit;
        new
    }

    /// True if the place is in.
    #[must_use]
    pub fn contains(&self, place: u16) -> bool {
        self.0.get(usize::from(place) / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of another set; true if any was not in.
    pub fn join(&mut self, other: &Self) -> bool {
        if other.is_within(self) {
            return false;
        }
        let words = Arc::make_mut(&mut self.0);
        if words.len() < other.0.len() {
            words.resize(other.0.len(), 0);
        }
        for (mine, theirs) in words.iter_mut().zip(other.0.iter()) {
            *mine |= theirs;
        }
        true
    }

    /// True if all of it is in another set.
    fn is_within(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len()
            && self.0.iter().zip(other.0.iter()).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// All members of a view of `size`.
    #[must_use]
    pub fn all(size: usize) -> Self {
        let mut words = vec![u64::MAX; size / 64];
        if !size.is_multiple_of(64) {
            words.push((1 << (size % 64)) - 1);
        }
        Self(Arc::new(words))
    }

    /// Takes all of another set out.
    pub fn leave_out(&mut self, other: &Self) {
        let words = Arc::make_mut(&mut self.0);
        for (mine, theirs) in words.iter_mut().zip(other.0.iter()) {
            *mine &= !theirs;
        }
        while words.last() == Some(&0) {
            words.pop();
        }
    }

    /// Those in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            (0..64_usize)
                .filter(move |bit| word >> bit & 1 == 1)
                .filter_map(move |bit| u16::try_from(at * 64 + bit).ok())
        })
    }

    /// True if no place is `size` or above: the set fits a view of that many members.
    #[must_use]
    pub fn fits(&self, size: usize) -> bool {
        self.0.last().is_none_or(|last| self.0.len() * 64 - last.leading_zeros() as usize <= size)
    }
}

impl FromIterator<u16> for Places {
    fn from_iter<I: IntoIterator<Item = u16>>(places: I) -> Self {
        let mut set = Self::default();
        for place in places {
            set.insert(place);
        }
        set
    }
}

/// As bytes: bits if that is shorter, else two bytes a place; the first byte says which.
impl Serialize for Places {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bits = self.0.iter().flat_map(|word| word.to_le_bytes());
        let mut bytes: Vec<u8> = std::iter::once(0).chain(bits).collect();
        while bytes.len() > 1 && bytes.last() == Some(&0) {
            bytes.pop();
        }
        if self.len() * 2 + 1 < bytes.len() {
            let listed = self.iter().flat_map(u16::to_le_bytes);
            bytes = std::iter::once(1).chain(listed).collect();
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: serde_bytes::ByteBuf = serde_bytes::deserialize(deserializer)?;
        let (form, rest) = bytes.split_first().ok_or_else(|| D::Error::custom("no form"))?;
        if rest.len() > MAX_BYTES {
            return Err(D::Error::custom("more places than a view may have members"));
        }
        let places = match form {
            0 => {
                let mut words = Vec::with_capacity(rest.len().div_ceil(8));
                for chunk in rest.chunks(8) {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    words.push(u64::from_le_bytes(word));
                }
                while words.last() == Some(&0) {
                    words.pop();
                }
                Self(Arc::new(words))
            }
            1 if rest.len().is_multiple_of(2) => {
                let place = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
                rest.chunks_exact(2).map(place).collect()
            }
            _ => return Err(D::Error::custom("unknown form of a set of places")),
        };
        if places.fits(2 * MAX_MEMBERS) {
            Ok(places)
        } else {
            Err(D::Error::custom("a place beyond any view"))
        }
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{decode, encode};

    use super::*;

    #[test]
    fn sets_keep_what_they_hold_over_the_wire_in_their_shorter_form() {
        for places in [vec![], vec![0], vec![3, 64, 999], (0..1_000).step_by(3).collect()] {
            let set: Places = places.iter().copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), places);
            assert_eq!(set.len(), places.len());
            let bytes = encode(&set).unwrap();
            assert!(bytes.len() <= 4 + (2 * places.len()).min(126), "{} bytes", bytes.len());
            assert_eq!(decode::<Places>(&bytes).unwrap(), set);
        }
    }

    #[test]
    fn all_but_some_are_the_others() {
        for size in [0, 1, 63, 64, 65, 128, 130] {
            let mut set = Places::all(size.into());
            assert_eq!(set, (0..size).collect());
            set.leave_out(&(0..size).filter(|place| place % 3 > 0).collect());
            assert_eq!(set, (0..size).step_by(3).collect());
            set.leave_out(&Places::all(200));
            assert_eq!(set, Places::default());
        }
    }

    #[test]
    fn a_set_knows_what_it_gains_and_which_view_it_fits() {
        let mut set: Places = [1, 70].into_iter().collect();
        assert!(!set.join(&[70].into_iter().collect()));
        assert!(set.join(&[2].into_iter().collect()));
        assert!(set.fits(71) && !set.fits(70));
        assert!(Places::default().fits(0));
    }
}
