//! Requests that follow entities, over a network in memory: each reaches at most one handler, and
//! whatever goes wrong the caller is told what is known.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lampyrid::requests::{MAX_ANSWERING_EACH, MAX_REQUEST_BYTES};
use lampyrid::testkit::{Cluster, Faults, Plan};
use lampyrid::{
    AskError, BubbleId, EntityError, EntityId, EntityRequest, Expected, FollowError,
    MigrateRequest, NewEntities, Reason, RequestHandler, Requests, Status, async_trait,
};
use tokio::sync::Notify;

/// How long what must come is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// What every handler has seen: how often each request was carried out, and a brake.
#[derive(Default)]
struct Log {
    carried_out: Mutex<BTreeMap<Bytes, usize>>,
    given_up: AtomicUsize,
    held: AtomicUsize,
    go: Notify,
}

struct Handler(usize, Arc<Log>);

/// Counts if it is dropped before it is done.
struct Held<'a>(&'a Log, bool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn answer(&self, request: EntityRequest, here: &Requests) -> Result<Bytes, EntityError> {
        let Self(at, log) = self;
        match &request.body[..] {
            b"panic" => panic!("as it was asked to"),
            b"large" => return Ok(vec![0; MAX_REQUEST_BYTES + 1].into()),
            b"hold" => {
                let mut held = Held(log, false);
                log.held.fetch_add(1, Ordering::SeqCst);
                log.go.notified().await;
                held.1 = true;
            }
            _ => {
                // The write is what counts: it is refused if the entity is leaving.
                here.entities().put(request.entity.id, request.body.clone()).await?;
                *log.carried_out.lock().unwrap().entry(request.body.clone()).or_default() += 1;
            }
        }
        Ok(at.to_string().into())
    }
}

async fn cluster(plan: Plan) -> (Cluster, Arc<Log>) {
    let log = Arc::<Log>::default();
    let shared = Arc::clone(&log);
    let plan =
        plan.equip(move |at, builder| builder.requests(Arc::new(Handler(at, Arc::clone(&shared)))));
    (plan.start().await.unwrap(), log)
}

fn bubble(cluster: &Cluster, at: usize) -> BubbleId {
    let node = cluster.node(at);
    node.registry().bubbles_of(node.member().process).unwrap().pop_first().unwrap()
}

async fn create(cluster: &Cluster, at: usize, count: usize) -> Vec<EntityId> {
    let (new, state) = (NewEntities::Many(count), Bytes::from_static(b"new"));
    let ids = cluster.node(at).migration().create(bubble(cluster, at), new, state).await.unwrap();
    cluster.auditor().expect(ids.iter().copied());
    ids
}

async fn send_on(cluster: &Cluster, from: usize, to: usize, ids: &[EntityId], wait: bool) {
    let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
    let request = MigrateRequest { entities, to: bubble(cluster, to), idempotency_key: None };
    let moves = cluster.node(from).migration();
    let saga = moves.migrate(request).await.unwrap();
    if wait {
        moves.wait(saga, LIMIT).await.unwrap().unwrap();
    }
}

async fn ask(
    cluster: &Cluster,
    from: usize,
    id: EntityId,
    body: &'static str,
) -> Result<String, AskError> {
    let answer = cluster.node(from).ask(id, Bytes::from_static(body.as_bytes()), LIMIT).await?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

#[tokio::test]
async fn a_request_reaches_the_entity_wherever_it_is_and_whoever_asks() {
    let (cluster, _) = cluster(Plan::new(3)).await;
    let id = create(&cluster, 0, 1).await[0];
    for (home, next) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
        for from in 0..3 {
            assert_eq!(ask(&cluster, from, id, "x").await.unwrap(), home.to_string());
        }
        // Those who asked remember where it was, and find it again.
        send_on(&cluster, home, next, &[id], true).await;
    }
    let unknown = ask(&cluster, 1, EntityId::from_u128(5), "x").await;
    assert_eq!(unknown, Err(FollowError::UnknownEntity.into()));
}

#[tokio::test]
async fn while_entities_move_over_a_bad_network_no_request_is_carried_out_twice() {
    let (cluster, log) = cluster(Plan::new(3).seed(11)).await;
    let ids = create(&cluster, 0, 12).await;
    let delay = Duration::ZERO..Duration::from_millis(2);
    cluster.network().set_faults(Faults { loss: 3, repetition: 10, delay });
    let (mut answered, mut unknown) = (0, 0);
    for round in 0..20 {
        let from = round % 3;
        let mut here = Vec::new();
        for &id in &ids {
            if cluster.node(from).migration().get(id).await.is_ok() {
                here.push(id);
            }
        }
        if !here.is_empty() {
            send_on(&cluster, from, (round + 1) % 3, &here, false).await;
        }
        for (number, &id) in ids.iter().enumerate() {
            let node = cluster.node((round + number) % 3);
            let body = Bytes::from(format!("{round}.{number}"));
            let limit = Duration::from_millis(500);
            match node.ask(id, body.clone(), limit).await {
                Ok(_) => {
                    answered += 1;
                    let seen = log.carried_out.lock().unwrap().get(&body).copied();
                    assert_eq!(seen, Some(1), "{body:?}");
                }
                Err(AskError::TimedOut(_) | AskError::Lost(_)) => unknown += 1,
                Err(AskError::Follow(error)) => {
                    let seen = log.carried_out.lock().unwrap().get(&body).copied();
                    assert_eq!(seen, None, "{error}: not carried out");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    let carried_out = log.carried_out.lock().unwrap().clone();
    assert!(carried_out.values().all(|times| *times == 1), "{carried_out:?}");
    assert!(answered > 120, "{answered} answered, {unknown} not known");
    cluster.network().heal();
    let findings = cluster.auditor().audit(cluster.running()).await.unwrap();
    assert!(findings.is_sound(), "{findings:?}");
}

#[tokio::test]
async fn what_goes_wrong_in_a_handler_is_told_to_the_caller_and_ends_nothing_else() {
    let (cluster, _) = cluster(Plan::new(2)).await;
    let id = create(&cluster, 0, 1).await[0];
    let process = cluster.node(0).member().process;
    for from in 0..2 {
        let failed = ask(&cluster, from, id, "panic").await;
        assert_eq!(failed, Err(AskError::HandlerFailed(process)));
        let bytes = MAX_REQUEST_BYTES as u64 + 1;
        let large = ask(&cluster, from, id, "large").await;
        assert_eq!(large, Err(AskError::AnswerTooLarge { process, bytes }));
        let body = Bytes::from(vec![0; MAX_REQUEST_BYTES + 1]);
        let large = cluster.node(from).ask(id, body, LIMIT).await;
        assert_eq!(large, Err(AskError::TooLarge { bytes: MAX_REQUEST_BYTES + 1 }));
        let largest = Bytes::from(vec![0; MAX_REQUEST_BYTES]);
        assert!(cluster.node(from).ask(id, largest, LIMIT).await.is_ok());
    }
    let (silent, _) = (Plan::new(2).start().await.unwrap(), ());
    let id = create(&silent, 0, 1).await[0];
    let process = silent.node(0).member().process;
    assert_eq!(ask(&silent, 1, id, "x").await, Err(AskError::NoHandler(process)));
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped_and_too_many_are_refused() {
    let (cluster, log) = cluster(Plan::new(2)).await;
    let id = create(&cluster, 0, 1).await[0];
    let process = cluster.node(0).member().process;
    let hold = Bytes::from_static(b"hold");
    let short = Duration::from_millis(20);
    assert_eq!(
        cluster.node(1).ask(id, hold.clone(), short).await,
        Err(AskError::TimedOut(process))
    );
    cluster.until("it was dropped", || log.given_up.load(Ordering::SeqCst) == 1).await.unwrap();

    let asker = cluster.node(1).requests().clone();
    let held: Vec<_> = (0..MAX_ANSWERING_EACH)
        .map(|_| {
            let (asker, hold) = (asker.clone(), hold.clone());
            tokio::spawn(async move { asker.ask(id, hold, LIMIT).await })
        })
        .collect();
    let all = || log.held.load(Ordering::SeqCst) == 1 + MAX_ANSWERING_EACH;
    cluster.until("all are with the handler", all).await.unwrap();
    let refused = ask(&cluster, 1, id, "x").await.unwrap_err();
    let AskError::Follow(FollowError::Refused(error)) = refused else { panic!("{refused}") };
    assert!(matches!(error.reason, Reason::Overloaded { .. }));
    assert_eq!(ask(&cluster, 0, id, "x").await.unwrap(), "0", "others have room");
    log.go.notify_waiters();
    for held in held {
        assert!(held.await.unwrap().is_ok());
    }
    assert_eq!(ask(&cluster, 1, id, "x").await.unwrap(), "0", "and room is made");
}

#[tokio::test]
async fn whoever_ends_with_a_request_leaves_the_caller_with_what_is_known() {
    let (mut cluster, log) = cluster(Plan::new(3)).await;
    let id = create(&cluster, 0, 1).await[0];
    let process = cluster.node(0).member().process;
    let asker = cluster.node(1).requests().clone();
    let asked =
        tokio::spawn(async move { asker.ask(id, Bytes::from_static(b"hold"), LIMIT).await });
    cluster.until("it is with the handler", || log.held.load(Ordering::SeqCst) == 1).await.unwrap();
    cluster.crash(0).await;
    assert_eq!(asked.await.unwrap(), Err(AskError::Lost(process)));
    assert_eq!(log.given_up.load(Ordering::SeqCst), 1, "it ends with its process");
    cluster.settled().await.unwrap();
    let gone = cluster.node(2).ask(id, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(gone, Err(AskError::Follow(_))), "{gone:?}");
}

#[tokio::test]
async fn an_isolated_process_neither_asks_nor_answers() {
    let (cluster, _) = cluster(Plan::new(3)).await;
    let (here, there) = (create(&cluster, 2, 1).await[0], create(&cluster, 0, 1).await[0]);
    cluster.network().cut_off(&[cluster.address(2)]);
    let alone = cluster.node(2);
    cluster.until("it knows", || alone.view().status() == Status::Isolated).await.unwrap();
    let limit = Duration::from_millis(50);
    for id in [here, there] {
        let refused = alone.ask(id, Bytes::new(), limit).await;
        assert_eq!(refused, Err(FollowError::NoAnswer(Reason::Isolated).into()));
    }
}
