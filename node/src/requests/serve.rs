use std::time::Duration;

use bytes::Bytes;
use lampyrid_migration::{EntityError, EntityStatus, Reason};
use lampyrid_wire::{EntityId, Peer};

use super::counters::{Gauge, count};
use super::handler::EntityRequest;
use super::message::{Outcome, RequestMessage};
use super::{MAX_REQUEST_BYTES, Requests};

/// The first pause before an answer is sent again for which the window has no room; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(2);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

impl Requests {
    /// Answers a request of another process.
    pub(super) async fn reply(
        &self,
        from: Peer,
        number: u64,
        entity: EntityId,
        limit: Duration,
        body: Bytes,
    ) {
        let clock = &self.0.with.clock;
        let until = clock.now() + limit;
        // Nobody waits for an answer that took too long.
        let Some(outcome) = self.serve(from, entity, limit, body).await else { return };
        let message = RequestMessage::Answer { number, outcome };
        let mut pause = PAUSE_FIRST;
        while let Err(error) = self.send(from.process, &message) {
            let now = clock.now();
            if now + pause > until {
                tracing::debug!(%from, number, %error, "an answer was not sent");
                return;
            }
            clock.sleep_until(now + pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What a request comes to here; nothing if that takes longer than `limit`.
    pub(super) async fn serve(
        &self,
        from: Peer,
        entity: EntityId,
        limit: Duration,
        body: Bytes,
    ) -> Option<Outcome> {
        let with = &self.0.with;
        let place = match self.0.desk.admit(from.process) {
            Ok(place) => place,
            Err(limit) => {
                count(&with.counters.refused);
                let reason = Reason::Overloaded { limit: limit.to_owned() };
                return Some(refused(reason));
            }
        };
        let _busy = Gauge::raise(&with.counters.answering);
        let (this, mut ended) = (self.clone(), with.ended.clone());
        // A task of its own: a handler that panics takes nobody along.
        let mut work = tokio::spawn(async move {
            let _place = place;
            this.answer(from, entity, body).await
        });
        let outcome = tokio::select! {
            done = &mut work => done.unwrap_or(Outcome::Failed),
            () = with.clock.sleep_until(with.clock.now() + limit) => {
                work.abort();
                count(&with.counters.failed);
                return None;
            }
            // The sender gone means the same.
            _ = ended.wait_for(|ended| *ended) => {
                work.abort();
                return None;
            }
        };
        count(match &outcome {
            Outcome::Answered(_) => &with.counters.served,
            Outcome::Failed | Outcome::TooLarge(_) => &with.counters.failed,
            Outcome::Refused(_) | Outcome::Moving | Outcome::NoHandler => &with.counters.refused,
        });
        Some(outcome)
    }

    async fn answer(&self, from: Peer, id: EntityId, body: Bytes) -> Outcome {
        let with = &self.0.with;
        if !self.is_active() {
            return refused(Reason::Isolated);
        }
        let entity = match with.entities.get(id).await {
            Ok(entity) if entity.status == EntityStatus::Active => entity,
            Ok(_) => return Outcome::Moving,
            Err(error) => return Outcome::Refused(error),
        };
        let Some(handler) = &with.handler else { return Outcome::NoHandler };
        let request = EntityRequest { from: from.process, entity, body };
        match handler.answer(request, self).await {
            Ok(answer) if answer.len() > MAX_REQUEST_BYTES => {
                Outcome::TooLarge(answer.len() as u64)
            }
            Ok(answer) => Outcome::Answered(answer),
            Err(error) => Outcome::Refused(error),
        }
    }
}

fn refused(reason: Reason) -> Outcome {
    Outcome::Refused(EntityError { reason, moved_to: None })
}
