use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use lampyrid_membership::LinkEvent;
use lampyrid_wire::{Channel, Credit, Inbound, MAX_FRAME_BYTES, Peer, SendError};

use super::config::LinksHooks;
use super::counters::{LinkCounters, count};
use super::gateway::{GatewayMessage, RemoteGateway};
use super::hello::Token;
use super::limits::window_of;
use super::link_core::ConnId;
use super::stream::Switch;
use super::usage::Usage;
use super::window::{Amount, Ledger, SendWindow};

/// One session with one life of a process, from the verdict of its handshake to its end.
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    /// What its certificate calls it, if it had to show one.
    pub(crate) proven: Option<String>,
    /// On what we send.
    token_out: Token,
    /// On what the peer sends.
    pub(crate) token_in: Token,
    pub(crate) switch: Arc<Switch>,
    gateways: OnceLock<[RemoteGateway; Channel::ALL.len()]>,
    windows: [SendWindow; Channel::ALL.len()],
    ledgers: [Ledger; Channel::ALL.len()],
    gate: Mutex<Gate>,
    pub(crate) usage: Usage,
    counters: Arc<LinkCounters>,
}

/// Frames of a peer that is up on its side before ours is wait here; there are never more than the
/// windows allow.
enum Gate {
    Early(Vec<(Channel, Inbound)>),
    Open,
    Closed,
}

impl Session {
    pub(crate) fn new(
        conn: ConnId,
        peer: Peer,
        address: SocketAddr,
        (token_out, token_in): (Token, Token),
        switch: Arc<Switch>,
        usage: Usage,
        counters: Arc<LinkCounters>,
    ) -> Self {
        let limit = MAX_FRAME_BYTES as u64;
        Self {
            conn,
            peer,
            address,
            proven: None,
            token_out,
            token_in,
            switch,
            gateways: OnceLock::new(),
            windows: Channel::ALL.map(|channel| SendWindow::new(window_of(channel))),
            ledgers: Channel::ALL.map(|channel| Ledger::new(window_of(channel), limit)),
            gate: Mutex::new(Gate::Early(Vec::new())),
            usage,
            counters,
        }
    }

    /// Notes the name that a certificate has proved.
    pub(crate) fn called(self, proven: Option<String>) -> Self {
        Self { proven, ..self }
    }

    /// The peer's gateways were found: it can be sent to.
    pub(crate) fn connect(&self, gateways: [RemoteGateway; Channel::ALL.len()]) {
        // Ready comes once per session; a second set would be the same actors.
        let _ = self.gateways.set(gateways);
    }

    pub(crate) fn send(&self, channel: Channel, frame: &Bytes) -> Result<(), SendError> {
        let process = self.peer.process;
        let counters = self.counters.channel(channel);
        let gateway = match self.gateways.get() {
            Some(gateways) if !self.switch.is_tripped() => &gateways[channel as usize],
            _ => {
                count(&counters.no_link, 1);
                return Err(SendError::NoLink(process));
            }
        };
        let bytes = frame.len() as u64;
        let window = &self.windows[channel as usize];
        if !window.take(bytes) {
            count(&counters.overloaded, 1);
            return Err(SendError::Overloaded(process));
        }
        if !gateway.cast(GatewayMessage::Frame(self.token_out, frame.clone())) {
            window.give_back(Amount::frame(bytes));
            count(&counters.no_link, 1);
            return Err(SendError::NoLink(process));
        }
        count(&counters.frames_out, 1);
        count(&counters.bytes_out, bytes);
        self.usage.note(channel);
        Ok(())
    }

    /// Takes a frame that came in through this session's token.
    pub(crate) fn take(self: &Arc<Self>, channel: Channel, frame: Bytes, hooks: &LinksHooks) {
        let bytes = frame.len() as u64;
        let counters = self.counters.channel(channel);
        count(&counters.frames_in, 1);
        count(&counters.bytes_in, bytes);
        self.usage.note(channel);
        if self.ledgers[channel as usize].receive(bytes).is_err() {
            count(&self.counters.overruns, 1);
            tracing::warn!(peer = %self.peer, channel = channel.name(), "the peer overran its window; closing its session");
            self.switch.trip("the peer overran its window");
            return;
        }
        let session = Arc::clone(self);
        let credit = Credit::new(move || session.give_back(channel, bytes));
        let inbound = Inbound { from: self.peer, frame, credit };
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *gate {
            Gate::Early(early) => early.push((channel, inbound)),
            // Under the lock, so that nothing comes after the event that says it is down.
            Gate::Open => (hooks.on_frame)(channel, inbound),
            Gate::Closed => {}
        }
    }

    /// The peer has dealt with frames of ours.
    pub(crate) fn credit(&self, channel: Channel, amount: Amount) {
        self.windows[channel as usize].give_back(amount);
    }

    fn give_back(&self, channel: Channel, bytes: u64) {
        if let Some(amount) = self.ledgers[channel as usize].done(bytes)
            && let Some(gateways) = self.gateways.get()
            && !self.switch.is_tripped()
        {
            // Lost only with the session, and its windows with it.
            gateways[channel as usize].cast(GatewayMessage::Credit(self.token_out, amount));
        }
    }

    /// Reports up, then lets through what came early.
    pub(crate) fn open(&self, hooks: &LinksHooks) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        (hooks.on_event)(LinkEvent::Up(self.peer));
        if let Gate::Early(early) = std::mem::replace(&mut *gate, Gate::Open) {
            early.into_iter().for_each(|(channel, inbound)| (hooks.on_frame)(channel, inbound));
        }
    }

    /// Lets nothing through any more.
    pub(crate) fn shut(&self) {
        let old = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *gate, Gate::Closed)
        };
        // Early frames give their credit back here, outside the lock.
        drop(old);
    }
}
