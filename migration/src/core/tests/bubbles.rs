//! What callers are told of bubbles on their way, and of drains.

use super::*;
use crate::{BubbleMoveReport, BubbleMoveState, DrainState};

impl Bench {
    fn drain(&mut self) -> Result<DrainState, Reason> {
        match self.ask(Request::Drain) {
            Some(Reply::Drain(answer)) => answer.map(|report| report.state),
            other => panic!("{other:?}"),
        }
    }

    fn told(&mut self, request: Request) -> BubbleMoveReport {
        match self.ask(request) {
            Some(Reply::BubbleMove(Ok(report))) => report,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_drain_says_that_there_is_no_other_member() {
    let mut bench = Bench::new();
    bench.view(None);
    assert_eq!(bench.drain(), Err(Reason::NoOtherMember));
    assert!(bench.kinds.is_empty() && !bench.core.is_draining());
    bench.view(Some(1));
    assert_eq!(bench.drain(), Ok(DrainState::Running));
    // The last other one goes while it lasts: it waits, and says for what.
    bench.view(None);
    assert_eq!(bench.core.drain_report().reason, Some(Reason::NoOtherMember));
    assert_eq!(bench.drain(), Ok(DrainState::Running));
}

#[test]
fn who_has_nothing_needs_nobody_to_drain_to() {
    let mut bench = Bench::over(Image::default(), None);
    bench.view(None);
    assert_eq!(bench.drain(), Ok(DrainState::Running));
    assert_eq!(bench.core.drain_report().state, DrainState::Done);
}

#[test]
fn a_move_that_was_cancelled_says_so() {
    let mut bench = Bench::new();
    bench.told(Request::MoveBubble { bubble: HERE, to: OTHER, host: Some(ME) });
    let report = bench.told(Request::CancelMove(HERE));
    assert_eq!((report.state, report.reason), (BubbleMoveState::Aborted, Some(Reason::Cancelled)));
}

/// The effect of the last record may be lost with the actor: a bubble would be hosted here and be in
/// no registry, or the other way round.
#[test]
fn what_is_hosted_is_registered_again_after_every_restart() {
    for image in [Image::default(), Bench::new().core.image().clone()] {
        let mut step = Step::default();
        let _core = Core::recover(config(None), image, Duration::ZERO, &mut step);
        assert!(step.effects.iter().any(|effect| matches!(effect, Effect::Hosting)));
    }
}
