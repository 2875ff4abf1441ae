use std::sync::Arc;
use std::time::Duration;

use super::{Plan, Sim, Violation, cluster_of, member};
use crate::{AcceptorState, AcceptorStore, View};

/// How long sessions, first probes and first words take to pass.
const REST: Duration = Duration::from_secs(3);

impl Sim {
    /// A cluster as if it had been running for long: all processes are members of one view, which
    /// all have installed, and their sessions stand.
    ///
    /// # Errors
    /// [`Violation`]; also if they are not all active in that view after a short rest.
    pub fn settled(plan: Plan) -> Result<Self, Violation> {
        let mut sim = Self::new(plan);
        let members: Vec<_> = (0..sim.places()).map(|at| member(sim.id(at), at)).collect();
        let Some(founder) = members.first().cloned() else { return Ok(sim) };
        let first = View::first(cluster_of(plan.seed), "sim", founder);
        let Some(view) = first.successor(members.clone()).map(Arc::new) else { return Ok(sim) };
        sim.checker.start_from(Arc::new(first), Arc::clone(&view));
        for (place, member) in members.iter().enumerate() {
            let state = AcceptorState {
                cluster: Some(view.cluster()),
                view: Some(Arc::clone(&view)),
                ..AcceptorState::new(member.process, member.incarnation)
            };
            // A store in memory never fails; if it did, the process would start as a joiner.
            if sim.processes[place].disk.save(&state).is_ok() {
                sim.launch(place, state)?;
            }
        }
        sim.run_until(sim.now() + REST)?;
        if !sim.converged() || sim.state(0).and_then(|state| state.view.as_ref()) != Some(&view) {
            return Err(Violation::NoConvergence(sim.picture()));
        }
        Ok(sim)
    }
}
