use super::{
    Campaign, Comeback, Means, Options, Story, Trouble, crash_everywhere, means, run, run_failing,
};
use crate::Flaw;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn campaign(seeds: u64, options: fn(u64) -> Options) {
    let first = number("LAMPYRID_FIRST_SEED", 0);
    let report = Campaign { first, seeds, threads: 2, options }.run(&|| ());
    eprintln!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.moves > seeds * 3, "the simulation does too little: {report}");
}

#[test]
fn many_seeds_keep_every_entity_once_and_come_to_an_end() {
    campaign(number("LAMPYRID_SEEDS", 1_000), Options::seed);
}

#[test]
fn larger_clusters_and_longer_runs() {
    let options = |seed| Options { size: 5, events: 2_000, ..Options::seed(seed) };
    campaign(number("LAMPYRID_SEEDS", 1_000) / 50, options);
}

#[test]
fn a_seed_is_one_run() {
    let options = Options::seed(11);
    assert_eq!(run(options), run(options));
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
    (0..number("LAMPYRID_FLAW_SEEDS", 20_000)).find(|&seed| {
        let noticed = run(Options { flaw: Some(flaw), ..Options::seed(seed) }).err();
        if let Some(error) = &noticed {
            eprintln!("{flaw:?}: noticed within {} seeds: {error}", seed + 1);
        }
        noticed.is_some()
    })
}

#[test]
fn notices_every_broken_rule() {
    let simulated = Flaw::ALL.into_iter().filter(|flaw| means(*flaw).contains(&Means::Simulator));
    let unseen: Vec<Flaw> = simulated.filter(|&flaw| seeds_to_notice(flaw).is_none()).collect();
    assert!(unseen.is_empty(), "nobody notices {unseen:?}");
}

fn crash_in(story: Story) {
    for comeback in Comeback::ALL {
        let count = crash_everywhere(story, comeback, None).unwrap_or_else(|it| panic!("{it:?}"));
        eprintln!("{story:?}, {comeback:?}: {count:?}");
        let pairs = if story == Story::Local { 0 } else { count.single };
        assert!(count.single >= 4 && count.pairs >= pairs, "{count:?}");
    }
}

macro_rules! crashes {
    ($($name:ident: $story:ident,)*) => {
        $(#[test]
        fn $name() {
            crash_in(Story::$story);
        })*
    };
}

crashes! {
    crashes_at_every_record_and_pair_of_records_of_one_move: One,
    crashes_at_every_record_and_pair_of_records_of_a_batch: Batch,
    crashes_at_every_record_and_pair_of_records_of_a_local_move: Local,
    crashes_at_every_record_and_pair_of_records_of_an_abort: Abort,
    crashes_at_every_record_and_pair_of_records_there_and_back: ThereAndBack,
    crashes_at_every_record_and_pair_of_records_back_before_the_end: BackBeforeEnd,
}

/// Whether crashes at every record and pair of records notice that a rule is broken.
fn crashes_notice(flaw: Flaw) -> bool {
    Story::ALL.into_iter().any(|story| {
        Comeback::ALL.into_iter().any(|comeback| {
            let noticed = crash_everywhere(story, comeback, Some(flaw)).err();
            if let Some(it) = &noticed {
                eprintln!("{flaw:?}: {story:?}, {comeback:?}, {:?}: {}", it.crashes, it.violation);
            }
            noticed.is_some()
        })
    })
}

#[test]
fn crashes_at_records_notice_the_rules_they_are_to_notice() {
    for flaw in Flaw::ALL.into_iter().filter(|flaw| means(*flaw).contains(&Means::Crashes)) {
        assert!(crashes_notice(flaw), "{flaw:?}");
    }
}

#[test]
#[ignore = "for the table: which rules crashes would notice that need not"]
fn which_rules_crashes_notice() {
    for flaw in Flaw::ALL {
        eprintln!("{flaw:?}: {}", crashes_notice(flaw));
    }
}

#[test]
fn every_broken_rule_is_noticed_by_the_model_or_the_simulator_and_by_one_more_means() {
    for flaw in Flaw::ALL {
        let means = means(flaw);
        let first = means.contains(&Means::Model) || means.contains(&Means::Simulator);
        assert!(first && means.len() >= 2, "{flaw:?}: {means:?}");
    }
    let page = include_str!("../../../docs/migration-proof.md");
    assert!(page.contains(&super::table()), "the page has another table:\n{}", super::table());
}
