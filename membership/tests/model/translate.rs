use lampyrid_membership::{Agreement, BallotFacts, Change, Places, Rank, ValueRef};

use super::facts::{Ballot, Fact, ProcessNo, Said, SmallRank, ViewNo};
use super::world::World;

impl World {
    /// What a core says of itself.
    pub(crate) fn own_facts(&self, view: ViewNo, core: &Agreement) -> Vec<Fact> {
        let facts = core.own_facts(|_| false);
        let size = u16::try_from(core.view().size()).expect("few seats");
        let value = |at: u16| match &facts.values[usize::from(at)] {
            ValueRef::Whole(change) => self.successor(view, change).expect("a value that fits"),
            ValueRef::Known(_) => unreachable!("values are given in full"),
        };
        let ballot = |rank: Rank, at: u16| Ballot { rank: SmallRank::of(rank), value: value(at) };
        let extra = |by: &Places| by.iter().all(|place| place >= size);
        let promises = facts.promises.iter().map(|(rank, voted, by)| Fact {
            view,
            extra: extra(by),
            said: Said::Promise {
                rank: SmallRank::of(*rank),
                voted: voted.map(|(rank, at)| ballot(rank, at)),
            },
        });
        let votes = facts.votes.iter().map(|(rank, at, by)| Fact {
            view,
            extra: extra(by),
            said: Said::Vote(ballot(*rank, *at)),
        });
        promises.chain(votes).collect()
    }

    /// Facts of some processes as one message.
    pub(crate) fn facts(&self, view: ViewNo, from: &[(ProcessNo, Fact)]) -> BallotFacts {
        let mut facts = BallotFacts::default();
        let old = self.view(view);
        let size = u16::try_from(old.size()).expect("few seats");
        let value = |ballot: Ballot, facts: &mut BallotFacts| {
            facts.values.push(ValueRef::Whole(Change::to(&old, &self.view(ballot.value))));
            (ballot.rank.whole(), u16::try_from(facts.values.len() - 1).expect("few values"))
        };
        for (by, fact) in from {
            let Some(place) = self.place(view, *by) else { continue };
            let mark = u16::from(place) + if fact.extra { size } else { 0 };
            let by: Places = [mark].into_iter().collect();
            match fact.said {
                Said::Promise { rank, voted } => {
                    let voted = voted.map(|ballot| value(ballot, &mut facts));
                    facts.promises.push((rank.whole(), voted, by));
                }
                Said::Vote(ballot) => {
                    let (rank, at) = value(ballot, &mut facts);
                    facts.votes.push((rank, at, by));
                }
            }
        }
        facts
    }
}
