use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lampyrid_membership::{Status, ViewState};
use lampyrid_migration::Reason;
use lampyrid_wire::{BubbleId, Epoch};

use super::answers::{
    AuditAnswer, AuditEntities, AuditMigrated, BubbleAnswer, MemberAnswer, TopologyAnswer,
    ViewAnswer,
};
use super::extract::Id;
use super::problem::Problem;
use super::routes::{App, json};

pub(crate) async fn view(State(app): State<Arc<App>>) -> Response {
    let views = app.backend.views();
    json(StatusCode::OK, &describe(&views.current(), views.status()))
}

/// A view as it is shown. The status is given apart: it may be worse than the state's own.
pub(super) fn describe(state: &ViewState, status: Status) -> ViewAnswer {
    let view = state.view.as_deref();
    let members = view.map(|view| view.members()).unwrap_or_default();
    ViewAnswer {
        cluster_id: view.map(|view| view.cluster()),
        epoch: view.map_or(Epoch(0), |view| view.epoch()),
        id: view.map(|view| view.id().to_string()),
        status: name_of(status),
        me: state.me.process,
        incarnation: state.me.incarnation,
        coordinator: state.coordinator().filter(|_| status == Status::Active),
        members: members
            .iter()
            .map(|member| MemberAnswer {
                id: member.process,
                incarnation: member.incarnation,
                name: member.name.clone(),
                cluster: member.address.to_string(),
                admin: member.admin.clone(),
            })
            .collect(),
        waiting_for: state.waiting_for.clone(),
        stale: matches!(status, Status::Isolated | Status::Left),
    }
}

const fn name_of(status: Status) -> &'static str {
    match status {
        Status::Joining => "joining",
        Status::Active => "active",
        Status::Isolated => "isolated",
        Status::Left => "left",
    }
}

pub(crate) async fn topology(State(app): State<Arc<App>>) -> Response {
    let answer = TopologyAnswer::new(app.backend.topology(), app.is_stale());
    json(StatusCode::OK, &answer)
}

pub(crate) async fn bubble(
    State(app): State<Arc<App>>,
    Id(bubble): Id<BubbleId>,
) -> Result<Response, Problem> {
    let stale = app.is_stale();
    match app.backend.find_process(bubble) {
        Some(process) => Ok(json(StatusCode::OK, &BubbleAnswer { bubble, process, stale })),
        None => Err(Problem::from(Reason::UnknownBubble).stale(stale)),
    }
}

pub(crate) async fn audit(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let audit = app.backend.audit().await?;
    let entities =
        AuditEntities { active: audit.active, frozen: audit.frozen, staged: audit.staged };
    let migrated = AuditMigrated {
        started: audit.started,
        committed: audit.committed,
        aborted: audit.aborted,
        in_doubt: audit.in_doubt,
        replayed: audit.replayed,
    };
    Ok(json(StatusCode::OK, &AuditAnswer { entities, migrated, stale: app.is_stale() }))
}
