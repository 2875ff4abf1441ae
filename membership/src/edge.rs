use std::collections::VecDeque;
use std::time::Duration;

use crate::ProbeOutcome;
use crate::limits::{
    CONNECT_LIMIT, EDGE_LIMIT, EDGE_LIMIT_CEILING, FIRST_CONTACT, FRESH_PROBE_LIMIT, LATE,
    LOOK_AGAIN, LOOK_FOR_FIRST, PROBE_EVERY, RETURN_LIMIT,
};

/// How often an edge is probed, and what silence on it is an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// What lies between two probes.
    pub every: Duration,
    /// Silence that is an alert, before it is widened by the round trips seen.
    pub limit: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: PROBE_EVERY, limit: EDGE_LIMIT }
    }
}

impl Pace {
    /// Probes at that interval, and a limit in the same proportion to it as by default.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let limit = interval.mul_f64(EDGE_LIMIT.as_secs_f64() / PROBE_EVERY.as_secs_f64());
        Self { every: interval, limit }
    }
}

/// Probes of which the answer is still awaited, at most; older ones are given up.
const MAX_IN_FLIGHT: usize = 16;

/// What an observer finds of its subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It answered, or a session with it came up.
    Healthy,
    /// Its session ended and did not come back.
    Lost,
    /// Its session stands, but it does not answer.
    Silent,
}

/// What an edge is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeInput {
    /// The deadline has come.
    Wake,
    /// A session with the subject, at the listed incarnation, is up.
    Up,
    /// That session is over.
    Down,
    /// The subject answered the probe of that number.
    Answer(u64),
    /// The connect asked for ended so.
    Connected(ProbeOutcome),
    /// Probe at once, with a short limit.
    ProbeNow,
    /// The observer was stalled: the silence so far counts for nothing.
    Forgive,
}

/// What an edge wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EdgeOutput {
    /// Send the subject a probe of that number.
    Probe(u64),
    /// Connect to the subject's address within that limit.
    Connect(Duration),
    /// The finding has changed.
    Verdict(Verdict),
}

/// One observer's look at one subject. Only what passes between these two counts.
#[derive(Debug)]
pub struct EdgeCore {
    pace: Pace,
    verdict: Option<Verdict>,
    linked: bool,
    sequence: u64,
    /// Number and moment of each, in order.
    in_flight: VecDeque<(u64, Duration)>,
    heard: Duration,
    next_probe: Duration,
    /// The session has to be back by then.
    back_by: Option<Duration>,
    /// When to connect once more while it has not come back.
    look_again: Option<Duration>,
    /// A probe from that number on has to be answered by then.
    fresh: Option<(u64, Duration)>,
    smoothed: Duration,
    variation: Duration,
    due: Option<Duration>,
}

impl EdgeCore {
    /// Starts to observe. A subject without a session is connected to at once: refused means dead;
    /// otherwise it has [`FIRST_CONTACT`] to show itself.
    #[must_use]
    pub fn new(now: Duration, linked: bool, pace: Pace, out: &mut Vec<EdgeOutput>) -> Self {
        let mut edge = Self {
            pace,
            verdict: None,
            linked,
            sequence: 0,
            in_flight: VecDeque::new(),
            heard: now,
            next_probe: now,
            back_by: None,
            look_again: None,
            fresh: None,
            smoothed: Duration::ZERO,
            variation: Duration::ZERO,
            due: None,
        };
        if linked {
            edge.probe(now, out);
        } else {
            edge.back_by = Some(now + FIRST_CONTACT);
            out.push(EdgeOutput::Connect(CONNECT_LIMIT));
        }
        edge.due = edge.deadline();
        edge
    }

    /// Takes one step.
    pub fn step(&mut self, now: Duration, input: EdgeInput, out: &mut Vec<EdgeOutput>) {
        self.forgive_own_lateness(now);
        match input {
            EdgeInput::Wake => {}
            EdgeInput::Up => {
                self.linked = true;
                self.heard = now;
                self.back_by = None;
                self.look_again = None;
                self.in_flight.clear();
                self.find(Verdict::Healthy, out);
                self.probe(now, out);
            }
            EdgeInput::Down => self.down(now, out),
            EdgeInput::Answer(sequence) => self.answered(now, sequence, out),
            EdgeInput::Connected(outcome) => self.connected(now, outcome, out),
            EdgeInput::ProbeNow => {
                if self.linked && self.fresh.is_none() {
                    self.fresh = Some((self.sequence + 1, now + FRESH_PROBE_LIMIT));
                    self.probe(now, out);
                }
            }
            EdgeInput::Forgive => {
                self.heard = now;
                self.fresh = None;
                self.verdict = None;
                self.probe(now, out);
            }
        }
        self.look_at_the_time(now, out);
        self.due = self.deadline();
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let silent = (self.linked && !self.is_down()).then(|| self.heard + self.limit());
        let probe = self.linked.then_some(self.next_probe);
        let back = if self.is_down() { None } else { self.back_by };
        let again = if self.is_down() { None } else { self.look_again };
        [silent, probe, back, again, self.fresh.map(|(_, by)| by)].into_iter().flatten().min()
    }

    /// The smoothed round trip to the subject.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.smoothed
    }

    /// Silence that is an alert: the base, widened by the round trips seen (RFC 6298's estimate).
    #[must_use]
    pub fn limit(&self) -> Duration {
        let ceiling = EDGE_LIMIT_CEILING.max(2 * self.pace.limit);
        (self.pace.limit + self.smoothed + 4 * self.variation).min(ceiling)
    }

    fn is_down(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Lost | Verdict::Silent))
    }

    fn find(&mut self, verdict: Verdict, out: &mut Vec<EdgeOutput>) {
        if self.verdict != Some(verdict) {
            self.verdict = Some(verdict);
            out.push(EdgeOutput::Verdict(verdict));
        }
    }

    /// Our own timers ran late, so silence may be ours: that stretch does not count.
    fn forgive_own_lateness(&mut self, now: Duration) {
        let Some(late) = self.due.and_then(|due| now.checked_sub(due)) else { return };
        if late > LATE {
            self.heard += late;
            self.back_by = self.back_by.map(|by| by + late);
            self.fresh = self.fresh.map(|(from, by)| (from, by + late));
        }
    }

    fn probe(&mut self, now: Duration, out: &mut Vec<EdgeOutput>) {
        self.next_probe = now + self.pace.every;
        if !self.linked {
            return;
        }
        self.sequence += 1;
        self.in_flight.push_back((self.sequence, now));
        if self.in_flight.len() > MAX_IN_FLIGHT {
            self.in_flight.pop_front();
        }
        out.push(EdgeOutput::Probe(self.sequence));
    }

    fn down(&mut self, now: Duration, out: &mut Vec<EdgeOutput>) {
        self.linked = false;
        self.fresh = None;
        self.look_again = None;
        if !self.is_down() {
            // In case the connect never reports.
            self.back_by = Some(now + CONNECT_LIMIT + RETURN_LIMIT);
            out.push(EdgeOutput::Connect(CONNECT_LIMIT));
        }
    }

    fn connected(&mut self, now: Duration, outcome: ProbeOutcome, out: &mut Vec<EdgeOutput>) {
        if self.linked || self.is_down() {
            return;
        }
        let never_met = self.verdict.is_none();
        match outcome {
            ProbeOutcome::Refused => self.find(Verdict::Lost, out),
            // It may yet die before a session stands.
            ProbeOutcome::Accepted if never_met => self.look_again = Some(now + LOOK_FOR_FIRST),
            ProbeOutcome::NoAnswer if never_met => {}
            ProbeOutcome::Accepted => {
                // A dying process may lose its session a moment before its listening socket.
                let limit = now + RETURN_LIMIT;
                self.back_by = Some(self.back_by.map_or(limit, |by| by.min(limit)));
                self.look_again = Some(now + LOOK_AGAIN);
            }
            ProbeOutcome::NoAnswer => self.find(Verdict::Lost, out),
        }
    }

    fn answered(&mut self, now: Duration, sequence: u64, out: &mut Vec<EdgeOutput>) {
        let at = self.in_flight.iter().position(|&(number, _)| number == sequence);
        let Some((_, sent)) = at.and_then(|at| self.in_flight.remove(at)) else { return };
        let sample = now.saturating_sub(sent);
        if self.smoothed.is_zero() {
            (self.smoothed, self.variation) = (sample, sample / 2);
        } else {
            self.variation = (3 * self.variation + self.smoothed.abs_diff(sample)) / 4;
            self.smoothed = (7 * self.smoothed + sample) / 8;
        }
        self.heard = now;
        if self.fresh.is_some_and(|(from, _)| sequence >= from) {
            self.fresh = None;
        }
        self.find(Verdict::Healthy, out);
    }

    fn look_at_the_time(&mut self, now: Duration, out: &mut Vec<EdgeOutput>) {
        if self.linked && !self.is_down() {
            let silent = now >= self.heard + self.limit() && self.in_flight.len() >= 2;
            let unanswered = self.fresh.is_some_and(|(_, by)| now >= by);
            if silent || unanswered {
                self.find(Verdict::Silent, out);
            }
        }
        if self.fresh.is_some_and(|(_, by)| now >= by) {
            self.fresh = None;
        }
        if !self.linked && !self.is_down() && self.back_by.is_some_and(|by| now >= by) {
            self.find(Verdict::Lost, out);
        }
        if !self.linked && !self.is_down() && self.look_again.is_some_and(|at| now >= at) {
            self.look_again = None;
            out.push(EdgeOutput::Connect(CONNECT_LIMIT));
        }
        if self.linked && now >= self.next_probe {
            self.probe(now, out);
        }
        if self.linked && !self.is_down() && now >= self.heard + self.limit() {
            // Too few probes are out to accuse anybody: wait for one more.
            self.heard = (now + self.pace.every).saturating_sub(self.limit());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    struct Edge {
        core: EdgeCore,
        out: Vec<EdgeOutput>,
    }

    impl Edge {
        fn linked() -> Self {
            let mut out = Vec::new();
            let core = EdgeCore::new(ms(0), true, Pace::default(), &mut out);
            assert_eq!(out, [EdgeOutput::Probe(1)]);
            Self { core, out: Vec::new() }
        }

        fn step(&mut self, now: u64, input: EdgeInput) -> Vec<EdgeOutput> {
            self.core.step(ms(now), input, &mut self.out);
            std::mem::take(&mut self.out)
        }

        /// Wakes it whenever it wants, up to `end`; returns the first verdict and its moment.
        fn run(&mut self, end: u64) -> Option<(Duration, Verdict)> {
            while let Some(at) = self.core.deadline().filter(|&at| at <= ms(end)) {
                self.core.step(at, EdgeInput::Wake, &mut self.out);
                for output in std::mem::take(&mut self.out) {
                    if let EdgeOutput::Verdict(verdict) = output {
                        return Some((at, verdict));
                    }
                }
            }
            None
        }
    }

    #[test]
    fn a_killed_process_is_reported_as_soon_as_the_connect_is_refused() {
        let mut edge = Edge::linked();
        assert_eq!(edge.step(5, EdgeInput::Answer(1)), [EdgeOutput::Verdict(Verdict::Healthy)]);
        assert_eq!(edge.step(9, EdgeInput::Down), [EdgeOutput::Connect(CONNECT_LIMIT)]);
        assert_eq!(
            edge.step(10, EdgeInput::Connected(ProbeOutcome::Refused)),
            [EdgeOutput::Verdict(Verdict::Lost)]
        );
    }

    #[test]
    fn a_listening_socket_that_dies_after_the_session_costs_one_more_look() {
        let mut edge = Edge::linked();
        edge.step(1, EdgeInput::Answer(1));
        edge.step(100, EdgeInput::Down);
        edge.step(101, EdgeInput::Connected(ProbeOutcome::Accepted));
        assert_eq!(edge.core.deadline(), Some(ms(101) + LOOK_AGAIN));
        assert_eq!(edge.step(121, EdgeInput::Wake), [EdgeOutput::Connect(CONNECT_LIMIT)]);
        let refused = edge.step(122, EdgeInput::Connected(ProbeOutcome::Refused));
        assert_eq!(refused, [EdgeOutput::Verdict(Verdict::Lost)]);
        assert_eq!(edge.core.deadline(), None);
    }

    #[test]
    fn a_lost_session_has_a_moment_to_return_where_the_address_accepts() {
        let mut edge = Edge::linked();
        edge.step(5, EdgeInput::Answer(1));
        edge.step(100, EdgeInput::Down);
        edge.step(101, EdgeInput::Connected(ProbeOutcome::Accepted));
        edge.step(300, EdgeInput::Up);
        assert_eq!(edge.run(1_000), None);
        let mut edge = Edge::linked();
        edge.step(5, EdgeInput::Answer(1));
        edge.step(100, EdgeInput::Down);
        edge.step(101, EdgeInput::Connected(ProbeOutcome::Accepted));
        assert_eq!(edge.run(1_000), Some((ms(401), Verdict::Lost)));
    }

    #[test]
    fn a_silent_edge_is_reported_within_one_and_a_half_seconds_and_an_answer_clears_it() {
        let mut edge = Edge::linked();
        edge.step(2, EdgeInput::Answer(1));
        let (at, verdict) = edge.run(3_000).unwrap();
        assert_eq!(verdict, Verdict::Silent);
        assert!(at >= ms(1_200) && at <= ms(1_500), "{at:?}");
        assert_eq!(edge.run(3_000), None);
        let last = edge.core.sequence;
        assert_eq!(
            edge.step(3_001, EdgeInput::Answer(last))[0],
            EdgeOutput::Verdict(Verdict::Healthy)
        );
    }

    #[test]
    fn an_observer_that_was_stalled_itself_accuses_nobody_for_that_stretch() {
        let mut edge = Edge::linked();
        edge.step(2, EdgeInput::Answer(1));
        let outputs = edge.step(10_000, EdgeInput::Wake);
        assert!(matches!(outputs[..], [EdgeOutput::Probe(_)]), "{outputs:?}");
        let (at, _) = edge.run(20_000).unwrap();
        assert!(at >= ms(10_900), "{at:?}");
    }

    #[test]
    fn a_member_never_met_has_its_time_and_a_refusing_address_has_none() {
        let mut out = Vec::new();
        let core = EdgeCore::new(ms(0), false, Pace::default(), &mut out);
        assert_eq!(out, [EdgeOutput::Connect(CONNECT_LIMIT)]);
        let mut edge = Edge { core, out: Vec::new() };
        edge.step(3, EdgeInput::Connected(ProbeOutcome::Accepted));
        assert_eq!(edge.run(9_000), Some((FIRST_CONTACT, Verdict::Lost)));
        let core = EdgeCore::new(ms(0), false, Pace::default(), &mut out);
        let mut edge = Edge { core, out: Vec::new() };
        let outputs = edge.step(3, EdgeInput::Connected(ProbeOutcome::Refused));
        assert_eq!(outputs, [EdgeOutput::Verdict(Verdict::Lost)]);
        assert_eq!(edge.core.deadline(), None);
    }

    #[test]
    fn a_fresh_probe_has_a_short_limit() {
        let mut edge = Edge::linked();
        edge.step(2, EdgeInput::Answer(1));
        edge.step(10, EdgeInput::ProbeNow);
        assert_eq!(edge.run(2_000), Some((ms(510), Verdict::Silent)));
    }
}
