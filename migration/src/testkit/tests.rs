use super::{Options, Trouble, World, run, run_failing, run_with_crash_at};
use crate::Flaw;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn check(options: Options) -> u64 {
    match run(options) {
        Ok(summary) => summary.moves,
        Err(error) => panic!("seed {}: {error}\nagain: {}", options.seed, options.reproduce()),
    }
}

#[test]
fn many_seeds_keep_every_entity_once_and_come_to_an_end() {
    let first = number("LAMPYRID_FIRST_SEED", 0);
    let count = number("LAMPYRID_SEEDS", 300);
    let moves: u64 = (first..first + count).map(|seed| check(Options::seed(seed))).sum();
    eprintln!("{count} seeds, {moves} moves committed");
    assert!(moves > count * 5, "only {moves} moves: the simulation does too little");
}

#[test]
fn larger_clusters_and_longer_runs() {
    for seed in 0..number("LAMPYRID_SEEDS", 300) / 20 {
        check(Options { seed, size: 5, events: 3_000, flaw: None });
    }
}

#[test]
#[ignore = "repeats one seed, given by LAMPYRID_SEED"]
fn one_seed() {
    let seed = number("LAMPYRID_SEED", 0);
    let events = number("LAMPYRID_EVENTS", 1_500) as usize;
    let size = number("LAMPYRID_SIZE", 3) as usize;
    check(Options { seed, size, events, flaw: None });
}

#[test]
fn a_crash_at_every_record_of_both_sides_loses_and_doubles_nothing() {
    for process in [0, 1] {
        for after in [false, true] {
            let mut transaction = 1;
            while let Some(_summary) = run_with_crash_at(7, process, transaction, after)
                .unwrap_or_else(|error| {
                    panic!("process {process}, transaction {transaction}, {after}: {error}")
                })
            {
                transaction += 1;
            }
            assert!(transaction > 4, "process {process} made only {transaction} transactions");
        }
    }
}

/// Runs seeds until that many commits have failed.
fn fail(trouble: Trouble) {
    let wanted = number("LAMPYRID_FAILURES", 1_000);
    let mut seed = number("LAMPYRID_FIRST_SEED", 0);
    let (mut failures, mut moves, mut power_cuts) = (0, 0, 0);
    while failures < wanted {
        let summary = run_failing(seed, 1_000, trouble).unwrap_or_else(|error| {
            panic!("{trouble:?}, seed {seed}: {error}\nagain: LAMPYRID_FIRST_SEED={seed}")
        });
        failures += summary.failures;
        moves += summary.moves;
        power_cuts += summary.power_cuts;
        seed += 1;
        assert!(seed < 100 + failures, "the disks hardly ever fail");
    }
    eprintln!("{trouble:?}: {failures} failed commits, {power_cuts} power cuts, {moves} moves");
    assert!(moves > wanted / 4 && power_cuts > wanted / 10, "too little happens");
}

#[test]
fn a_thousand_failed_syncs_lose_and_double_nothing() {
    fail(Trouble::FailedSyncs);
}

#[test]
fn a_thousand_full_disks_lose_and_double_nothing() {
    fail(Trouble::FullDisks);
}

/// Seeds until the simulation notices that a rule is broken.
fn seeds_to_notice(flaw: Flaw) -> Option<u64> {
    (0..number("LAMPYRID_FLAW_SEEDS", 2_000)).find(|&seed| {
        let noticed = run(Options { flaw: Some(flaw), ..Options::seed(seed) }).err();
        if let Some(error) = &noticed {
            eprintln!("{flaw:?}: seed {seed}: {error}");
        }
        noticed.is_some()
    })
}

macro_rules! noticed {
    ($($name:ident: $flaw:ident,)*) => {
        $(#[test]
        fn $name() {
            let seeds = seeds_to_notice(Flaw::$flaw);
            assert!(seeds.is_some(), "nobody notices {:?}", Flaw::$flaw);
        })*
    };
}

noticed! {
    notices_a_commit_that_does_not_name_its_stage: CommitWithoutStage,
    notices_that_staged_copies_count_as_seen: SeenCountsStaged,
    notices_an_end_without_acknowledgement_when_the_view_changes: EndOnRemoval,
    notices_unknown_answered_while_prepared: UnknownWhilePrepared,
    notices_a_message_sent_before_its_sync: SendBeforeSync,
    notices_the_view_of_prepare_used_as_term: PrepareViewAsTerm,
}

/// Delivers and syncs until nothing is on its way, dropping messages of one kind.
fn run_without(world: &mut World, lost: &str) {
    while !world.net.is_empty() || world.processes.iter().any(unsynced) {
        for frame in std::mem::take(&mut world.net) {
            if frame.message.name() != lost {
                world.deliver(frame);
            }
        }
        for process in 0..world.processes.len() {
            world.sync(process, usize::MAX);
        }
    }
}

fn unsynced(process: &super::world::Process) -> bool {
    process.live.as_ref().is_some_and(|live| !live.unsynced.is_empty())
}

/// The entity comes back while the source still waits for the acknowledgement that it left.
fn comes_back_before_its_end(flaw: Option<Flaw>) -> bool {
    let mut world = World::new(1, 3, flaw);
    world.create(0);
    run_without(&mut world, "");
    let id = *world.truth.keys().next().unwrap();
    world.migrate(0, &[id], (1, 0));
    run_without(&mut world, "activated");
    assert_eq!(world.owner(id), Some(1));
    world.migrate(1, &[id], (0, 0));
    run_without(&mut world, "activated");
    assert_eq!(world.owner(id), Some(0));
    world.crash(0);
    world.start(0);
    run_without(&mut world, "");
    world.owner(id) == Some(0)
}

#[test]
fn redo_matches_entity_and_epoch_never_the_entity_alone() {
    assert!(comes_back_before_its_end(None));
    assert!(!comes_back_before_its_end(Some(Flaw::RedoByEntityAlone)));
}
