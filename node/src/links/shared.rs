use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lampyrid_membership::View;
use lampyrid_wire::{ClusterId, Member, Peer, ProcessId, Slot};

use super::actor::LinksMessage;
use super::config::{LinksConfig, LinksHooks};
use super::counters::LinkCounters;
use super::hello::Token;
use super::log_limiter::LogLimiter;
use super::session::Session;
use super::wishes::Wishes;

/// What outlives a restart of the links' actors: what membership asked for, and where the running
/// actor and its sessions are found.
pub(crate) struct Shared {
    pub(crate) config: LinksConfig,
    pub(crate) hooks: LinksHooks,
    pub(crate) slot: Slot<LinksMessage>,
    pub(crate) counters: Arc<LinkCounters>,
    pub(crate) generation: AtomicU32,
    pub(crate) log: LogLimiter,
    desired: Mutex<Desired>,
    wishes: Mutex<Wishes>,
    routes: RwLock<BTreeMap<ProcessId, Arc<Session>>>,
    tokens: RwLock<HashMap<Token, Arc<Session>>>,
}

/// What membership asked for last.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) me: Peer,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) keep: Vec<Member>,
    pub(crate) seek: Vec<SocketAddr>,
}

impl Shared {
    pub(crate) fn new(config: LinksConfig, hooks: LinksHooks) -> Self {
        let desired =
            Desired { me: config.me, cluster: config.cluster, keep: Vec::new(), seek: Vec::new() };
        Self {
            config,
            hooks,
            slot: Slot::new(),
            counters: Arc::default(),
            generation: AtomicU32::new(0),
            log: LogLimiter::default(),
            desired: Mutex::new(desired),
            wishes: Mutex::default(),
            routes: RwLock::default(),
            tokens: RwLock::default(),
        }
    }

    pub(crate) fn desired(&self) -> Desired {
        self.desired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn desire(&self, change: impl FnOnce(&mut Desired)) {
        change(&mut self.desired.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wishes<T>(&self, with: impl FnOnce(&mut Wishes) -> T) -> T {
        with(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The installed view, as far as the links have heard of it.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.wishes(|wishes| wishes.view())
    }

    /// Who else may have room for a process that is refused.
    pub(crate) fn others(&self, process: ProcessId) -> Vec<SocketAddr> {
        self.wishes(|wishes| wishes.others(process, self.config.advertised))
    }

    /// The session that carries frames to a process.
    pub(crate) fn route(&self, to: ProcessId) -> Option<Arc<Session>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(&to).cloned()
    }

    pub(crate) fn add_route(&self, session: Arc<Session>) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(session.peer.process, session);
    }

    pub(crate) fn remove_route(&self, session: &Session) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.get(&session.peer.process).is_some_and(|held| held.token_in == session.token_in) {
            routes.remove(&session.peer.process);
        }
    }

    /// The session whose peer puts this token on its frames.
    pub(crate) fn session(&self, token: &Token) -> Option<Arc<Session>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn add_token(&self, session: Arc<Session>) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(session.token_in, session);
    }

    pub(crate) fn remove_token(&self, session: &Session) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).remove(&session.token_in);
    }
}
