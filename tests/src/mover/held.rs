use bytes::Bytes;
use lampyrid::{EntityId, EntityStatus, Node, StatusFilter};
use lampyrid_tests::load::{Answer, Held};

/// Entities of one page.
const PAGE: usize = 10_000;

/// Entities of one page with their numbers, which are read one by one.
const READ_PAGE: usize = 1_000;

/// A number in a state of that length, at least 8 bytes.
pub(crate) fn state(value: u64, bytes: usize) -> Bytes {
    let mut state = vec![0x5a; bytes.max(size_of::<u64>())];
    state[..size_of::<u64>()].copy_from_slice(&value.to_be_bytes());
    state.into()
}

fn number(state: &[u8]) -> Option<u64> {
    state.first_chunk().copied().map(u64::from_be_bytes)
}

/// All entities that are active here.
pub(crate) async fn active(node: &Node) -> Result<Vec<EntityId>, String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = node.migration().list(StatusFilter::Active, after, PAGE).await;
        let page = page.map_err(|reason| reason.to_string())?;
        all.extend(page.entities.iter().map(|entity| entity.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// A write, acknowledged or not.
pub(crate) async fn put(node: &Node, entity: EntityId, value: u64, bytes: usize) -> Answer {
    let written = node.migration().put(entity, state(value, bytes)).await;
    Answer::Written(written.map(|_| ()).map_err(|error| {
        (error.reason.code().to_owned(), error.moved_to.map(|moved| moved.process))
    }))
}

/// What is held here after that id, staged copies included.
pub(crate) async fn page(node: &Node, after: Option<EntityId>) -> Answer {
    let page = match node.migration().list(StatusFilter::All, after, READ_PAGE).await {
        Ok(page) => page,
        Err(reason) => return Answer::Failed(reason.to_string()),
    };
    let mut all = Vec::with_capacity(page.entities.len());
    for entity in page.entities {
        let value = match entity.status {
            EntityStatus::Staged => None,
            _ => match node.migration().get(entity.id).await {
                Ok(found) => number(&found.state),
                Err(_) => None,
            },
        };
        let (id, epoch, status) = (entity.id, entity.epoch.0, entity.status);
        all.push(Held { id, epoch, status, value });
    }
    Answer::Page(all, page.next)
}
