//! What SPEC.md promises of single events, told one by one over the simulator.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use lampyrid_membership::sim::{Plan, Sim};
use lampyrid_membership::{Flaw, Status, View};

const SEEDS: u64 = 40;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A formed cluster, left alone for a while.
fn formed(seed: u64, processes: usize) -> Sim {
    formed_by(Plan { processes, ..Plan::of_seed(seed) })
}

fn formed_by(plan: Plan) -> Sim {
    let processes = plan.processes;
    let mut sim = Sim::new(plan);
    for process in 0..processes {
        sim.boot(process).unwrap();
    }
    sim.until_converged().unwrap();
    sim.run_until(sim.now() + ms(700)).unwrap();
    sim
}

fn view(sim: &Sim, process: usize) -> &View {
    sim.state(process).unwrap().view.as_ref().unwrap()
}

fn epoch(sim: &Sim, process: usize) -> u64 {
    view(sim, process).epoch().0
}

fn status(sim: &Sim, process: usize) -> Status {
    sim.state(process).unwrap().status
}

fn coordinator(sim: &Sim, processes: usize) -> usize {
    (0..processes).find(|&at| sim.id(at) == view(sim, at).coordinator()).unwrap()
}

#[test]
fn without_implied_reports_two_that_die_together_stay_for_ever() {
    for flaw in [None, Some(Flaw::NoImplicitReports)] {
        let plan = Plan { processes: 5, late_starters: 0, flaw, ..Plan::of_seed(3) };
        let mut sim = formed_by(plan);
        sim.crash(1);
        sim.crash(2);
        let agreed = sim.until_converged();
        assert_eq!(agreed.is_ok(), flaw.is_none(), "{flaw:?}: {agreed:?}");
    }
}

#[test]
fn the_kill_of_the_coordinator_is_one_new_view_within_100_ms() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 3);
        let (before, victim) = (epoch(&sim, 0), coordinator(&sim, 3));
        sim.crash(victim);
        sim.run_until(sim.now() + ms(100)).unwrap();
        for survivor in (0..3).filter(|&at| at != victim) {
            assert_eq!(epoch(&sim, survivor), before + 1, "seed {seed}");
            assert_eq!(status(&sim, survivor), Status::Active, "seed {seed}");
        }
        sim.boot(victim).unwrap();
        sim.run_until(sim.now() + ms(1_000)).unwrap();
        assert!(sim.converged(), "seed {seed}");
        assert_eq!(sim.state(victim).unwrap().me.incarnation.0, 2);
        assert_eq!(epoch(&sim, victim), before + 2, "seed {seed}");
    }
}

#[test]
fn a_frozen_member_is_removed_within_three_seconds_and_rejoins_by_itself_when_it_thaws() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 3);
        let (before, victim) = (epoch(&sim, 0), coordinator(&sim, 3));
        let other = (victim + 1) % 3;
        sim.freeze_for(victim, ms(8_000));
        sim.run_until(sim.now() + ms(1_800)).unwrap();
        assert_eq!(view(&sim, other).size(), 2, "seed {seed}");
        assert_eq!(epoch(&sim, other), before + 1, "seed {seed}");
        sim.run_until(sim.now() + ms(7_500)).unwrap();
        assert!(sim.converged(), "seed {seed}");
        assert_eq!(sim.state(victim).unwrap().me.incarnation.0, 2, "seed {seed}");
        assert_eq!(epoch(&sim, victim), before + 2, "seed {seed}");
    }
}

#[test]
fn a_short_freeze_removes_nobody() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 3);
        let before = epoch(&sim, 0);
        sim.freeze_for(1, ms(900));
        sim.run_until(sim.now() + ms(6_000)).unwrap();
        assert!(sim.converged() && epoch(&sim, 0) == before, "seed {seed}");
    }
}

#[test]
fn of_two_the_tie_breaker_goes_on_alone_and_the_other_waits_for_it() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 2);
        let (before, tie_breaker) = (epoch(&sim, 0), coordinator(&sim, 2));
        let other = 1 - tie_breaker;
        sim.crash(other);
        sim.run_until(sim.now() + ms(100)).unwrap();
        assert_eq!((epoch(&sim, tie_breaker), view(&sim, tie_breaker).size()), (before + 1, 1));
        sim.boot(other).unwrap();
        sim.until_converged().unwrap();
        let again = epoch(&sim, other);
        assert_eq!(again, before + 2, "seed {seed}");
        sim.crash(tie_breaker);
        sim.run_until(sim.now() + ms(500)).unwrap();
        assert_eq!(status(&sim, other), Status::Isolated);
        assert_eq!(sim.state(other).unwrap().waiting_for, vec![sim.id(tie_breaker)]);
        sim.run_until(sim.now() + ms(20_000)).unwrap();
        assert_eq!(epoch(&sim, other), again, "a minority installs nothing");
        sim.boot(tie_breaker).unwrap();
        sim.run_until(sim.now() + ms(1_500)).unwrap();
        assert!(sim.converged(), "seed {seed}");
    }
}

#[test]
fn a_loss_of_power_everywhere_heals_without_a_new_cluster() {
    for seed in 0..SEEDS {
        for processes in 2..=5 {
            let mut sim = formed(seed, processes);
            let (cluster, before) = (view(&sim, 0).cluster(), epoch(&sim, 0));
            (0..processes).for_each(|process| sim.crash(process));
            sim.run_until(sim.now() + ms(500)).unwrap();
            (0..processes).for_each(|process| sim.boot(process).unwrap());
            sim.run_until(sim.now() + ms(3_000)).unwrap();
            assert!(sim.converged(), "seed {seed}");
            assert_eq!(view(&sim, 0).cluster(), cluster);
            assert!(epoch(&sim, 0) > before);
        }
    }
}

#[test]
fn crashes_at_one_time_are_one_view_change() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 5);
        let before = epoch(&sim, 0);
        sim.crash(1);
        sim.crash(3);
        sim.run_until(sim.now() + ms(1_000)).unwrap();
        assert_eq!((epoch(&sim, 0), view(&sim, 0).size()), (before + 1, 3), "seed {seed}");
    }
}

#[test]
fn of_a_partition_one_side_goes_on_and_the_other_heals_with_it() {
    for seed in 0..SEEDS {
        for processes in [3, 4, 5] {
            let mut sim = formed(seed, processes);
            let before = epoch(&sim, 0);
            sim.partition_into(|process| process < 2);
            sim.run_until(sim.now() + ms(3_000)).unwrap();
            let active: Vec<bool> =
                (0..processes).map(|at| status(&sim, at) == Status::Active).collect();
            let sides = [&active[..2], &active[2..]];
            assert!(sides.iter().any(|side| side.iter().all(|&on| on)), "{seed}: {active:?}");
            assert!(sides.iter().any(|side| side.iter().all(|&on| !on)), "{seed}: {active:?}");
            sim.mend();
            sim.run_until(sim.now() + ms(8_000)).unwrap();
            assert!(sim.converged(), "seed {seed}, {processes} processes");
            assert!(epoch(&sim, 0) >= before + 2);
        }
    }
}

#[test]
fn one_broken_link_removes_nobody() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 4);
        let before = epoch(&sim, 0);
        sim.break_link(1, 2);
        sim.run_until(sim.now() + ms(10_000)).unwrap();
        assert_eq!((epoch(&sim, 0), view(&sim, 0).size()), (before, 4), "seed {seed}");
        sim.mend();
        sim.run_until(sim.now() + ms(3_000)).unwrap();
        assert!(sim.converged() && epoch(&sim, 0) == before, "seed {seed}");
    }
}

#[test]
fn a_leaver_is_gone_at_once_and_all_may_leave_together() {
    for seed in 0..SEEDS {
        let mut sim = formed(seed, 3);
        let before = epoch(&sim, 0);
        let leaver = coordinator(&sim, 3);
        sim.leave(leaver).unwrap();
        sim.run_until(sim.now() + ms(300)).unwrap();
        assert!(sim.state(leaver).is_none(), "seed {seed}");
        assert!(sim.converged(), "seed {seed}");
        assert_eq!(epoch(&sim, (leaver + 1) % 3), before + 1, "seed {seed}");
        for rest in (0..3).filter(|&at| at != leaver) {
            sim.leave(rest).unwrap();
        }
        sim.run_until(sim.now() + ms(1_000)).unwrap();
        assert!((0..3).all(|at| sim.state(at).is_none()), "seed {seed}");
        // They come back as after a loss of power.
        (0..3).for_each(|at| sim.boot(at).unwrap());
        sim.until_converged().unwrap();
    }
}

/// The decided view may list but one of those who leave, which leaves as well: it goes only when
/// the others have seen that it has the view.
#[test]
fn when_all_leave_at_once_nobody_waits_out_the_limit() {
    for seed in 0..SEEDS {
        for size in 2..=5 {
            // As over real links: nothing is lost while a session stands.
            let plan = Plan { processes: size, loss: 0, stragglers: 0, ..Plan::of_seed(seed) };
            let mut sim = formed_by(plan);
            for at in 0..size {
                sim.leave(at).unwrap();
                sim.run_until(sim.now() + ms(seed % 4)).unwrap();
            }
            sim.run_until(sim.now() + ms(1_500)).unwrap();
            let left: Vec<usize> = (0..size).filter(|&at| sim.state(at).is_some()).collect();
            assert!(left.is_empty(), "seed {seed}, {size} processes: {left:?} still wait");
        }
    }
}
