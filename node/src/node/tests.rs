use bytes::Bytes;
use lampyrid_migration::NewEntities;
use lampyrid_wire::Slot;
use ractor::Message;

use super::*;
use crate::config::{Bubbles, Cookie};

/// Kills the actor in `slot` and waits until its supervisor has started another.
async fn kill<M: Message>(slot: &Slot<M>) {
    let old = slot.get().unwrap();
    old.kill();
    while slot.get().is_none_or(|actor| actor.get_id() == old.get_id()) {
        tokio::task::yield_now().await;
    }
}

/// One node at a time in an operating-system process, so one test for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_actors_come_back_without_a_view_change_and_a_restart_finds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new("a", Cookie::random());
    config.data_dir = Some(directory.path().join("data"));
    config.bubbles = Bubbles::Count(2);
    let node = Node::start(config.clone()).await.unwrap();
    node.ready().await;
    let before = node.view().current().view.clone().unwrap();
    let [first, second] = node.migration().hosted_bubbles().await.unwrap()[..] else {
        panic!("two bubbles")
    };
    let state = Bytes::from_static(b"\"state\"");
    let created = node.migration().create(first, NewEntities::One(None), state.clone()).await;
    let entity = created.unwrap()[0];
    for _ in 0..2 {
        kill(&node.tree.migration_slot()).await;
        kill(node.registry.slot()).await;
        kill(node.port.slot()).await;
        node.ready().await;
        assert_eq!(node.migration().get(entity).await.unwrap().state, state);
    }
    assert_eq!(node.view().current().view.as_ref().unwrap(), &before, "no view change");
    assert_eq!(node.registry().find_process(second), Some(node.member().process));
    assert_eq!(node.restarts().into_iter().map(|(_, restarts)| restarts).sum::<u64>(), 6);

    assert!(matches!(Node::start(config.clone()).await, Err(StartError::Storage(_))), "in use");
    let me = node.member();
    node.leave();
    node.stopped().await.unwrap();
    drop(node);
    let node = Node::start(config).await.unwrap();
    node.ready().await;
    let again = node.member();
    assert_eq!((again.process, again.address), (me.process, me.address), "same id, same port");
    assert!(again.incarnation > me.incarnation);
    assert_eq!(node.migration().get(entity).await.unwrap().state, state);
    let bubble = node.create_bubble(None).await.unwrap();
    assert!(node.registry().all_bubbles().contains(&bubble));
    node.retire_bubble(bubble).await.unwrap();
    assert_eq!(node.registry().find_process(bubble), None);
    let refused = node.retire_bubble(first).await.unwrap_err();
    assert_eq!(refused, BubbleError::Refused(Reason::BubbleNotEmpty));
    node.leave();
    node.stopped().await.unwrap();
}
