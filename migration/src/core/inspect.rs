//! What tests look at beside rows and effects.

use std::collections::{BTreeMap, BTreeSet};

use lampyrid_wire::{EntityId, ProcessId};

use super::Core;
use super::accounts::Load;
use super::destination::load_of;
use super::timers::Timer;
use crate::PartId;
use crate::row::PartPhase;

impl Core {
    /// True if a part that is not decided has that entity: queued, freezing or prepared.
    #[must_use]
    pub fn is_claimed(&self, id: EntityId) -> bool {
        self.claims_now().contains_key(&id)
    }

    /// Entities of all parts that are not decided.
    fn claims_now(&self) -> BTreeMap<EntityId, PartId> {
        let mut claimed = BTreeMap::new();
        for (part, flight) in &self.flights {
            let freezing = flight.freezing.as_ref().map(|freezing| &freezing.row);
            let row = freezing.or_else(|| self.image.parts.get(part).map(|row| &**row));
            if let Some(row) = row.filter(|row| row.phase == PartPhase::Prepared) {
                claimed.extend(row.entities.iter().map(|entity| (entity.id, *part)));
            }
        }
        let queued = self.sagas.values().flat_map(|saga| &saga.queue);
        claimed.extend(queued.flat_map(|q| q.entities.iter().map(|(id, _)| (*id, q.part))));
        claimed
    }

    /// What must be so between any two steps, whatever came in.
    ///
    /// # Errors
    /// What is not so.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_locks()?;
        self.check_parts()?;
        self.check_copies()?;
        self.check_activations()
    }

    /// Locked is what undecided parts name, and nothing else; frozen is a part of that.
    fn check_locks(&self) -> Result<(), String> {
        let claimed = self.claims_now();
        let locked: BTreeMap<_, _> = self.moving.iter().map(|(id, it)| (*id, it.part)).collect();
        if claimed != locked {
            return Err(format!("locked: {locked:?}, but claimed: {claimed:?}"));
        }
        if !self.counts_hold() {
            return Err("its counts are not those of its rows".to_owned());
        }
        match claimed.keys().find(|id| !self.image.entities.contains_key(id)) {
            Some(id) => Err(format!("{id} is claimed to leave and is not here")),
            None => Ok(()),
        }
    }

    /// Open parts, their rows, loads and sagas agree.
    fn check_parts(&self) -> Result<(), String> {
        let mut load = Load::default();
        for (part, flight) in &self.flights {
            load.add(flight.load);
            let row = self.image.parts.get(part);
            let open = row.is_some_and(|row| {
                matches!(row.phase, PartPhase::Prepared | PartPhase::Committed { .. })
            });
            if !open && flight.freezing.is_none() {
                return Err(format!("{part} is in flight and over: {row:?}"));
            }
            if !self.sagas.get(&part.saga).is_some_and(|saga| saga.open.contains(part)) {
                return Err(format!("{part} is in flight and its saga does not know"));
            }
        }
        for (part, row) in &self.image.parts {
            let open = matches!(row.phase, PartPhase::Prepared | PartPhase::Committed { .. });
            if open && !self.flights.contains_key(part) {
                return Err(format!("{part} is {:?} and nobody cares", row.phase));
            }
            let PartPhase::Prepared = row.phase else { continue };
            for entity in &row.entities {
                let here = self.image.entities.get(&entity.id);
                if here.is_none_or(|here| here.epoch != entity.epoch) {
                    return Err(format!("{part} has {} prepared at another epoch", entity.id));
                }
            }
        }
        let queued = self.sagas.values().flat_map(|saga| &saga.queue);
        queued.for_each(|queued| load.add(queued.load));
        match load == self.out {
            true => Ok(()),
            false => Err(format!("going out: {load:?}, but counted: {:?}", self.out)),
        }
    }

    /// Stagings and what is remembered of them agree; what is active is not staged.
    fn check_copies(&self) -> Result<(), String> {
        let mut staged = BTreeMap::new();
        let mut loads: BTreeMap<ProcessId, Load> = BTreeMap::new();
        for (part, row) in &self.image.stagings {
            let load = load_of(&row.entities);
            loads.entry(part.source).or_default().add(load);
            if self.doubting.get(part).is_none_or(|doubting| doubting.load != load) {
                return Err(format!("{part} is staged and nobody asks"));
            }
            if row.entities.is_empty() || self.image.activations.contains_key(part) {
                return Err(format!("{part} is staged and is empty or activated"));
            }
            for copy in &row.entities {
                if self.image.entities.contains_key(&copy.id) {
                    return Err(format!("{} is active and staged", copy.id));
                }
                if staged.insert(copy.id, (*part, copy.epoch)).is_some() {
                    return Err(format!("{} is staged twice", copy.id));
                }
            }
        }
        let known = self.staged.iter().map(|(id, copied)| (*id, (copied.part, copied.epoch)));
        if staged != known.collect() || self.doubting.len() != self.image.stagings.len() {
            return Err(format!("staged: {staged:?}, but known: {:?}", self.staged));
        }
        if loads != self.staged_from {
            return Err(format!("staged: {loads:?}, but counted: {:?}", self.staged_from));
        }
        let lost = self.timers.all().find(|timer| match timer {
            Timer::Part(part) => !self.flights.contains_key(part),
            Timer::Staging(part) => !self.doubting.contains_key(part),
            Timer::Giving(bubble) => !self.hosting.giving.contains_key(bubble),
            Timer::Taking(bubble) => !self.hosting.taking.contains_key(bubble),
            Timer::Call(_) | Timer::Drain | Timer::Bars => false,
        });
        match lost {
            Some(timer) => Err(format!("{timer:?} is set for nothing")),
            None => Ok(()),
        }
    }

    fn check_activations(&self) -> Result<(), String> {
        let rows = self.image.activations.values();
        let activated: BTreeSet<_> = rows.flat_map(|row| row.entities.iter().copied()).collect();
        match activated == self.activated {
            true => Ok(()),
            false => Err(format!("activated: {activated:?}, but known: {:?}", self.activated)),
        }
    }
}
