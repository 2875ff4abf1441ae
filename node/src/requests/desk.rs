use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_wire::ProcessId;

use super::{MAX_ANSWERING, MAX_ANSWERING_EACH};

/// Lets requests in, so many at once of all processes and so many of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk(Arc<Mutex<BTreeMap<ProcessId, usize>>>);

/// Room for one request, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    desk: Desk,
    from: ProcessId,
}

impl Desk {
    /// Room for a request of that process, or the name of the limit that it would exceed.
    pub(super) fn admit(&self, from: ProcessId) -> Result<Place, &'static str> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.values().sum::<usize>() >= MAX_ANSWERING {
            return Err("requests answered at once");
        }
        let of_this = busy.entry(from).or_default();
        if *of_this >= MAX_ANSWERING_EACH {
            return Err("requests of one process answered at once");
        }
        *of_this += 1;
        drop(busy);
        Ok(Place { desk: self.clone(), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut busy = self.desk.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_this) = busy.get_mut(&self.from) {
            *of_this -= 1;
            if *of_this == 0 {
                busy.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_leaves_room_for_others_and_what_is_done_makes_room() {
        let desk = Desk::default();
        let of = |n: u128| desk.admit(ProcessId::from_u128(n));
        let mut first: Vec<_> = (0..MAX_ANSWERING_EACH).map(|_| of(1).unwrap()).collect();
        assert!(of(1).unwrap_err().contains("one process"));
        let mut others = Vec::new();
        let full = (2..).find_map(|n| of(n).map(|place| others.push(place)).err());
        assert_eq!(full, Some("requests answered at once"));
        assert_eq!(first.len() + others.len(), MAX_ANSWERING);
        others.pop();
        assert!(of(1).is_err(), "still full for this one");
        first.pop();
        assert!(of(1).is_ok());
        drop((first, others));
        assert!(desk.0.lock().unwrap().is_empty(), "nothing is kept of those who are done");
    }
}
