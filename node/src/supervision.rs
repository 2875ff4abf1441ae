//! The supervision tree: who restarts whom, how often, and what happens when that does not help.
//!
//! The restart rule follows Erlang/OTP's restart intensity (Armstrong, 2003): a child that fails is
//! started again, at once the first time and after a growing pause then; more than so many restarts
//! within so much time mean that restarting does not help, and the fault goes up.

mod intensity;
mod supervisor;

pub(crate) use intensity::Intensity;
pub use supervisor::Restart;
pub(crate) use supervisor::{
    ChildSpec, Escalation, RestartCounters, Supervisor, SupervisorArguments, SupervisorMessage,
    SupervisorRef,
};
