use async_trait::async_trait;
use bytes::Bytes;
use lampyrid_migration::{EntityError, EntityRecord};
use lampyrid_wire::ProcessId;

use super::Requests;

/// A request to an entity that serves here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntityRequest {
    /// The process that asks; may be this one.
    pub from: ProcessId,
    /// The entity as it was when the request came in, with its state.
    pub entity: EntityRecord,
    /// What was asked, in the host's own encoding.
    pub body: Bytes,
}

/// Answers the requests of [`Requests::ask`] for the entities of this process; given to
/// [`crate::NodeBuilder::requests`].
///
/// Each request runs in a task of its own, and several for one entity at once: whoever reads, changes
/// and writes a state has to put them in order. The entity may leave while a request is with the
/// handler; a write is refused then, and the handler passes that refusal on, so that the request is
/// taken to where the entity went.
///
/// ```
/// use bytes::Bytes;
/// use lampyrid::{EntityError, EntityRequest, RequestHandler, Requests, async_trait};
/// use tokio::sync::Mutex;
///
/// /// Appends what it is asked to, one request after the other.
/// #[derive(Default)]
/// struct Diary(Mutex<()>);
///
/// #[async_trait]
/// impl RequestHandler for Diary {
///     async fn answer(&self, asked: EntityRequest, here: &Requests) -> Result<Bytes, EntityError> {
///         let _in_turn = self.0.lock().await;
///         let page = here.entities().get(asked.entity.id).await?;
///         let longer = Bytes::from([page.state, asked.body].concat());
///         // Durable before the answer. If it leaves just now, the refusal takes the request along.
///         Ok(here.entities().put(page.id, longer).await?.state)
///     }
/// }
///
/// # use std::{sync::Arc, time::Duration};
/// # use lampyrid::{NewEntities, Node, config::{Cookie, NodeConfig}};
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = NodeConfig::new("a", Cookie::random());
/// let node = Node::builder(config).requests(Arc::<Diary>::default()).start().await?;
/// # node.ready().await;
/// # let bubble = node.create_bubble(None).await?;
/// # let id = node.migration().create(bubble, NewEntities::One(None), Bytes::new()).await?[0];
/// # node.ask(id, Bytes::from("a"), Duration::from_secs(5)).await?;
/// # assert_eq!(node.ask(id, Bytes::from("b"), Duration::from_secs(5)).await?, "ab");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait RequestHandler: Send + Sync + 'static {
    /// The answer, at most [`super::MAX_REQUEST_BYTES`], in the host's own encoding, which has also
    /// to tell the host's own errors.
    ///
    /// `here` gives the entities of this process ([`Requests::entities`]) and asks others.
    ///
    /// Has to be cancellation safe: it is dropped when the caller waits no longer, or the process
    /// ends. A panic is told to the caller and ends nothing else.
    ///
    /// # Errors
    /// A refusal of [`Requests::entities`], passed on: of an entity that moves or has moved, the
    /// request follows it; any other is returned to the caller.
    async fn answer(&self, request: EntityRequest, here: &Requests) -> Result<Bytes, EntityError>;
}
