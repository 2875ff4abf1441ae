use lampyrid_wire::{ClusterId, Incarnation, Member, ProcessId};

use super::*;

fn member(process: u128) -> Member {
    Member {
        process: ProcessId::from_u128(process),
        incarnation: Incarnation(1),
        name: String::new(),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

fn view_of(size: u128) -> Arc<View> {
    let first = View::first(ClusterId::from_u128(5), "c", member(1));
    Arc::new(first.successor((1..=size).map(member).collect()).unwrap())
}

/// All processes of a view, and the successor without one of them.
struct Table {
    view: Arc<View>,
    seats: Vec<Agreement>,
}

impl Table {
    fn new(size: u128, flaw: Option<Flaw>) -> Self {
        let view = view_of(size);
        let flaws = Flaws { flaw, ..Flaws::default() };
        let seat = |n| {
            let id = ProcessId::from_u128(n);
            Agreement::with_flaws(Arc::clone(&view), id, None, None, flaws)
        };
        let seats = (1..=size).map(seat).collect();
        Self { view, seats }
    }

    fn without(&self, place: u16) -> Arc<View> {
        let change = Change { removed: [place].into_iter().collect(), put: Vec::new() };
        change.apply(&self.view).unwrap()
    }

    /// One hears what another knows.
    fn tell(&mut self, from: usize, to: usize) -> Progress {
        let facts = self.seats[from].facts(|_| false);
        self.seats[to].learn(&facts)
    }

    /// It crashes and comes back with what was durable.
    fn restart(&mut self, place: usize) {
        let seat = &self.seats[place];
        let (promised, voted) = (seat.promised(), seat.voted().cloned());
        let id = self.view.members()[place].process;
        let flaws = self.seats[place].flaws;
        self.seats[place] =
            Agreement::with_flaws(Arc::clone(&self.view), id, promised, voted, flaws);
    }
}

#[test]
fn equal_fast_votes_of_all_but_a_quarter_decide_and_one_fewer_does_not() {
    let mut table = Table::new(9, None);
    assert_eq!(table.view.fast_quorum(), 7);
    let next = table.without(8);
    for place in 0..7 {
        assert_eq!(table.seats[0].decided(), None);
        assert!(table.seats[place].vote_fast(Arc::clone(&next)).persist);
        table.tell(place, 0);
    }
    assert_eq!(table.seats[0].decided(), Some(next));
}

#[test]
fn nobody_votes_fast_twice_or_after_a_promise() {
    let mut table = Table::new(5, None);
    let (one, two) = (table.without(0), table.without(1));
    assert!(table.seats[2].vote_fast(Arc::clone(&one)).persist);
    assert_eq!(table.seats[2].vote_fast(Arc::clone(&two)), Progress::default());
    table.restart(2);
    assert_eq!(table.seats[2].vote_fast(two), Progress::default());
    table.seats[3].start();
    assert!(table.tell(3, 4).persist);
    assert!(!table.seats[4].may_vote_fast());
    assert!(!table.seats[3].may_vote_fast());
}

#[test]
fn a_classic_round_decides_and_a_late_promise_is_refused() {
    let mut table = Table::new(5, None);
    let next = table.without(4);
    table.seats[0].start();
    assert!(table.tell(0, 1).persist);
    assert!(table.tell(0, 2).persist);
    assert!(!table.tell(1, 0).free);
    assert!(table.tell(2, 0).free);
    assert!(table.seats[0].propose(Arc::clone(&next)).persist);
    assert!(table.tell(0, 1).persist);
    table.tell(0, 2);
    table.tell(1, 0);
    assert_eq!(table.tell(2, 0).decided, Some(next));
    // A rank below the promise gets nothing.
    let low = BallotFacts {
        promises: vec![(Rank { round: 1, index: 3 }, None, [3].into_iter().collect())],
        ..BallotFacts::default()
    };
    table.seats[1].start();
    assert!(!table.seats[1].learn(&low).persist);
}

#[test]
fn of_four_the_tie_breaker_owns_the_first_rank_and_nobody_votes_fast() {
    let mut table = Table::new(4, None);
    let owner = usize::from(table.view.tie_breaker_place().unwrap());
    let gone = u16::try_from((owner + 1) % 4).unwrap();
    let next = table.without(gone);
    let (a, b) = ((owner + 2) % 4, (owner + 3) % 4);
    assert!(!table.seats[a].may_vote_fast() && !table.seats[a].may_propose_first());
    let progress = table.seats[owner].propose_first(Arc::clone(&next));
    assert!(progress.persist && progress.decided.is_none());
    table.tell(owner, a);
    // The owner and one more are half of four and hold the tie-breaker.
    assert_eq!(table.tell(a, owner).decided, Some(Arc::clone(&next)));
    assert_eq!(table.tell(owner, b).decided, Some(next));
    table.restart(owner);
    assert!(!table.seats[owner].may_propose_first(), "the first rank is used once");
    // Nobody else has that round.
    table.seats[b].start();
    assert_eq!(table.seats[b].trying().unwrap().round, 2);
}

#[test]
fn what_is_heard_again_counts_once() {
    let mut table = Table::new(5, None);
    table.seats[0].start();
    table.tell(0, 1);
    for _ in 0..3 {
        assert!(!table.tell(1, 0).free);
    }
}

#[test]
fn a_fast_value_that_may_have_been_decided_is_forced_and_a_lesser_one_is_not() {
    let mut table = Table::new(5, None);
    let (one, two) = (table.without(0), table.without(1));
    for place in [0, 1, 2, 3] {
        table.seats[place].vote_fast(Arc::clone(&one));
    }
    table.seats[4].vote_fast(Arc::clone(&two));
    // Four of five decide. Whichever three answer, at least two of them voted for it.
    table.seats[4].start();
    table.tell(4, 0);
    table.tell(4, 1);
    table.tell(0, 4);
    let progress = table.tell(1, 4);
    assert!(!progress.free);
    assert_eq!(table.seats[4].voted().unwrap().value, one);
    // Two against one vote of three can have been no fast quorum either way.
    let mut table = Table::new(5, None);
    table.seats[0].vote_fast(Arc::clone(&one));
    table.seats[1].vote_fast(two);
    table.seats[2].start();
    table.tell(2, 0);
    table.tell(2, 1);
    table.tell(0, 2);
    assert!(table.tell(1, 2).free);
}

/// Three processes. The first votes for its own value, and nobody hears of it. The third gets the
/// promise and the vote of the second and is gone. The first comes again, with the second. Returns
/// what the third decided and what the first proposes then.
fn two_rounds(flaw: Option<Flaw>) -> (Arc<View>, Arc<View>) {
    // Five seats, of which two never speak, so that no rank is pre-owned.
    let mut table = Table::new(5, flaw);
    let (first, third) = (table.without(4), table.without(3));
    table.seats[0].start();
    table.tell(0, 1);
    table.tell(0, 2);
    table.tell(1, 0);
    table.tell(2, 0);
    table.seats[0].propose(Arc::clone(&first));
    table.seats[2].start();
    table.tell(2, 1);
    table.tell(2, 3);
    table.tell(1, 2);
    assert!(table.tell(3, 2).free);
    table.seats[2].propose(Arc::clone(&third));
    table.tell(2, 1);
    table.tell(2, 3);
    table.tell(1, 2);
    let decided = table.tell(3, 2).decided.unwrap();
    table.seats[0].give_up();
    table.seats[0].learn(&BallotFacts {
        promises: vec![(Rank { round: 9, index: 3 }, None, [3].into_iter().collect())],
        ..BallotFacts::default()
    });
    table.seats[0].start();
    let rank = table.seats[0].trying().unwrap();
    for place in [1, 2] {
        let prepare = BallotFacts {
            promises: vec![(rank, None, [0].into_iter().collect())],
            ..BallotFacts::default()
        };
        table.seats[place].learn(&prepare);
        let own = table.seats[place].own_facts(|_| false);
        if table.seats[0].learn(&own).free {
            table.seats[0].propose(Arc::clone(&first));
        }
    }
    (decided, Arc::clone(&table.seats[0].voted().unwrap().value))
}

#[test]
fn what_may_have_been_decided_is_proposed_again_and_without_selection_it_is_not() {
    let (decided, then) = two_rounds(None);
    assert_eq!(decided, then);
    for flaw in [Flaw::FirstVoteSeen, Flaw::NoSelection] {
        let (decided, then) = two_rounds(Some(flaw));
        assert_ne!(decided, then, "{flaw:?} does no harm here");
    }
}

#[test]
fn facts_that_cannot_be_of_this_view_are_left_out() {
    let mut table = Table::new(5, None);
    let far: Places = [77].into_iter().collect();
    let own: Places = [1].into_iter().collect();
    let nobody = Change { removed: [99].into_iter().collect(), put: Vec::new() };
    let facts = BallotFacts {
        values: vec![ValueRef::Whole(nobody), ValueRef::Known(ValueId([7; 16]))],
        promises: vec![
            (Rank { round: 1, index: 1 }, None, far.clone()),
            (Rank { round: 1, index: 40 }, None, own.clone()),
            (Rank { round: u64::MAX, index: 1 }, None, own.clone()),
            (Rank::FAST, None, own.clone()),
            (Rank { round: 2, index: 1 }, Some((Rank { round: 1, index: 1 }, 9)), own.clone()),
        ],
        votes: vec![
            (Rank::FAST, 0, own.clone()),
            (Rank::FAST, 1, own.clone()),
            (Rank { round: 0, index: 3 }, 0, own),
        ],
    };
    assert_eq!(table.seats[0].learn(&facts), Progress::default());
    assert!(table.seats[0].is_idle());
}
