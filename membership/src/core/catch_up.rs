use std::sync::Arc;
use std::time::Duration;

use super::{MembershipCore, Output};
use crate::View;
use crate::limits::MAX_MEMBERS;

impl MembershipCore {
    /// A view from outside: installed directly if it is of this cluster and newer, however many
    /// lie between.
    pub(super) fn take_view(&mut self, now: Duration, view: Arc<View>, out: &mut Vec<Output>) {
        if view.size() > MAX_MEMBERS
            || view.cluster_name() != self.start.cluster_name
            || self.durable.cluster.is_some_and(|own| own != view.cluster())
        {
            return;
        }
        let Some(installed) = self.view() else {
            if view.is_well_formed(None) {
                self.see(now, view, out);
            }
            return;
        };
        if view.epoch() <= installed.epoch() {
            return;
        }
        // Only of a direct successor is the chain of hashes known.
        let direct = view.epoch() == installed.epoch().next();
        let previous = installed.id();
        if view.is_well_formed(direct.then_some(&previous)) {
            self.install(now, view, out);
        }
    }
}
