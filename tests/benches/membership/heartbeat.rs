use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::{Effects, Process};
use crate::foca::Beginning;
use crate::message::Message;

/// Every member's sign of life to the coordinator.
const BEAT: Duration = Duration::from_secs(1);

/// Silence that is death: of a member for the coordinator, of the coordinator for a member.
const LIMIT: Duration = Duration::from_secs(3);

/// How often a process looks at the time. Changes in between are one announcement.
const LOOK: Duration = Duration::from_millis(100);

/// An announcement that is not acknowledged is sent again after this.
const AGAIN: Duration = Duration::from_millis(300);

/// Joins through one seed before others are tried.
const TRIES: usize = 3;

/// A plain heartbeat: every member beats to the coordinator, which acknowledges; the coordinator
/// removes who is silent and announces the list to all until each has acknowledged it. The first
/// in the list coordinates; when it is silent the next one takes over.
pub(crate) struct Heartbeat {
    me: usize,
    version: u64,
    /// In the order of joining; the first coordinates.
    list: Vec<usize>,
    role: Role,
    next_beat: Duration,
}

enum Role {
    /// It asks to be taken in, for the so manieth time.
    Joiner { seed: usize, tries: usize },
    /// It beats to the member at that index, those before it being silent.
    Member { index: usize, heard: Duration },
    /// It is beaten to.
    Coordinator {
        heard: BTreeMap<usize, Duration>,
        /// Joiners to be announced.
        joining: Vec<usize>,
        /// Who has not acknowledged the list yet, and when to send it again.
        unacknowledged: BTreeMap<usize, Duration>,
    },
}

fn joiner(seed: usize) -> Role {
    Role::Joiner { seed, tries: 0 }
}

impl Heartbeat {
    /// The process at `place` of a cluster of `places`.
    pub(crate) fn new(places: usize, place: usize, beginning: &Beginning) -> Self {
        let (version, list, role) = match *beginning {
            Beginning::Joiner { seed } => (0, Vec::new(), joiner(seed)),
            Beginning::Seed => (1, vec![place], joiner(place)),
            Beginning::Member => (1, (0..places).collect(), joiner(0)),
        };
        Self { me: place, version, list, role, next_beat: Duration::ZERO }
    }

    fn is_mine(&self) -> bool {
        self.list.contains(&self.me)
    }

    fn coordinate(&mut self, now: Duration) {
        let heard = self.list.iter().map(|&member| (member, now)).collect();
        self.role =
            Role::Coordinator { heard, joining: Vec::new(), unacknowledged: BTreeMap::new() };
    }

    /// Takes a list, and the part it has in it.
    fn take(&mut self, now: Duration, version: u64, list: Vec<usize>, out: &mut Effects<()>) {
        self.show(&list, out);
        self.version = version;
        self.list = list;
        let first = self.list.first().copied().unwrap_or(self.me);
        if first == self.me {
            self.coordinate(now);
        } else if self.is_mine() {
            self.role = Role::Member { index: 0, heard: now };
        } else {
            self.role = joiner(first);
        }
    }

    fn show(&self, list: &[usize], out: &mut Effects<()>) {
        let mut change: BTreeMap<usize, bool> = self.list.iter().map(|&who| (who, false)).collect();
        for who in list {
            if change.remove(who).is_none() {
                change.insert(*who, true);
            }
        }
        out.changes.extend(change.into_iter().filter(|&(who, _)| who != self.me));
    }

    fn announcement(&self) -> Bytes {
        Message::List { version: self.version, members: self.list.clone() }.encode()
    }

    /// As coordinator: the list from now on, told to all.
    fn announce(&mut self, now: Duration, list: Vec<usize>, out: &mut Effects<()>) {
        self.show(&list, out);
        self.list = list;
        self.version += 1;
        let payload = self.announcement();
        if let Role::Coordinator { heard, joining, unacknowledged } = &mut self.role {
            joining.clear();
            heard.retain(|who, _| self.list.contains(who));
            unacknowledged.clear();
            for &who in self.list.iter().filter(|&&who| who != self.me) {
                heard.entry(who).or_insert(now);
                unacknowledged.insert(who, now + AGAIN);
                out.sends.push((who, payload.clone()));
            }
        }
    }

    fn look_as_coordinator(&mut self, now: Duration, out: &mut Effects<()>) {
        let me = self.me;
        let Role::Coordinator { heard, joining, unacknowledged } = &mut self.role else { return };
        let alive = |who: &usize| *who == me || heard.get(who).is_some_and(|&at| now < at + LIMIT);
        let mut list: Vec<usize> = self.list.iter().copied().filter(alive).collect();
        list.append(joining);
        if list != self.list {
            return self.announce(now, list, out);
        }
        let mut due = Vec::new();
        for (&who, at) in unacknowledged.iter_mut().filter(|(_, at)| **at <= now) {
            *at = now + AGAIN;
            due.push(who);
        }
        if !due.is_empty() {
            let payload = self.announcement();
            out.sends.extend(due.into_iter().map(|who| (who, payload.clone())));
        }
    }

    /// As member: whoever is silent for too long is passed over, until it is one's own turn.
    fn look_as_member(&mut self, now: Duration, out: &mut Effects<()>) {
        let Role::Member { index, heard } = &mut self.role else { return };
        if now < *heard + LIMIT {
            return;
        }
        (*index, *heard) = (*index + 1, now);
        let first = *index;
        if self.list.get(first) == Some(&self.me) {
            let list = self.list[first..].to_vec();
            self.coordinate(now);
            self.announce(now, list, out);
        }
    }

    fn beat(&mut self, now: Duration, out: &mut Effects<()>) {
        if now < self.next_beat {
            return;
        }
        self.next_beat = now + BEAT;
        match &mut self.role {
            Role::Joiner { seed, tries } => {
                // A seed that does not answer may be gone: round all that are known.
                if *tries >= TRIES && !self.list.is_empty() {
                    *seed = self.list[*tries % self.list.len()];
                }
                *tries += 1;
                out.sends.push((*seed, Message::Join.encode()));
            }
            Role::Member { index, .. } => {
                if let Some(&to) = self.list.get(*index) {
                    out.sends.push((to, Message::Beat { version: self.version }.encode()));
                }
            }
            Role::Coordinator { .. } => {}
        }
    }

    /// A list is newer than another by its version, then by who coordinates in it.
    fn is_newer(&self, version: u64, list: &[usize]) -> bool {
        (version, list.first()) > (self.version, self.list.first())
    }

    fn received_list(
        &mut self,
        now: Duration,
        from: usize,
        version: u64,
        list: Vec<usize>,
        out: &mut Effects<()>,
    ) {
        let same = version == self.version && list == self.list;
        if self.is_newer(version, &list) || (same && matches!(self.role, Role::Joiner { .. })) {
            self.take(now, version, list, out);
        } else if same {
            if let Role::Member { index: 0, heard } = &mut self.role {
                *heard = now;
            }
        } else {
            // Who announces this does not know yet that it was replaced.
            return out.sends.push((from, self.announcement()));
        }
        out.sends.push((from, Message::Taken { version }.encode()));
    }

    fn received_beat(&mut self, now: Duration, from: usize, version: u64, out: &mut Effects<()>) {
        match &mut self.role {
            Role::Coordinator { heard, .. } => {
                if let Some(at) = heard.get_mut(&from) {
                    *at = now;
                    out.sends.push((from, Message::Ack.encode()));
                } else {
                    out.sends.push((from, Message::NotIn.encode()));
                }
            }
            Role::Member { .. } if version < self.version => {
                out.sends.push((from, self.announcement()));
            }
            // It passes over a coordinator that we still hear.
            Role::Member { .. } | Role::Joiner { .. } => {}
        }
    }
}

impl Process for Heartbeat {
    type Timer = ();

    fn start(&mut self, now: Duration, out: &mut Effects<()>) {
        let list = std::mem::take(&mut self.list);
        let version = self.version;
        if !list.is_empty() {
            self.take(now, version, list, out);
        }
        self.next_beat = now;
        self.wake(now, (), out);
    }

    fn receive(&mut self, now: Duration, from: usize, payload: &Bytes, out: &mut Effects<()>) {
        match Message::decode(payload.clone()) {
            Some(Message::Join) => match &mut self.role {
                Role::Coordinator { joining, unacknowledged, .. } => {
                    if self.list.contains(&from) {
                        unacknowledged.entry(from).or_insert(now);
                    } else if !joining.contains(&from) {
                        joining.push(from);
                    }
                }
                // It shows the joiner who coordinates.
                Role::Member { .. } => out.sends.push((from, self.announcement())),
                Role::Joiner { .. } => {}
            },
            Some(Message::Beat { version }) => self.received_beat(now, from, version, out),
            Some(Message::Ack) => {
                if let Role::Member { index, heard } = &mut self.role
                    && self.list.get(*index) == Some(&from)
                {
                    *heard = now;
                }
            }
            Some(Message::List { version, members }) => {
                self.received_list(now, from, version, members, out);
            }
            Some(Message::Taken { version }) => {
                if let Role::Coordinator { unacknowledged, .. } = &mut self.role
                    && version == self.version
                {
                    unacknowledged.remove(&from);
                }
            }
            Some(Message::NotIn) => self.role = joiner(from),
            None => {}
        }
    }

    fn wake(&mut self, now: Duration, (): (), out: &mut Effects<()>) {
        match self.role {
            Role::Coordinator { .. } => self.look_as_coordinator(now, out),
            Role::Member { .. } => self.look_as_member(now, out),
            Role::Joiner { .. } => {}
        }
        self.beat(now, out);
        out.timers.push((LOOK, ()));
    }
}
