use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::answers::{Audit, Entity, EntityStatus, Page, View};
use super::args::AuditArgs;
use super::client::{Client, ClientError};
use super::failure::Failure;
use super::{output, target};
use lampyrid_wire::EntityId;

/// How often a suspicion is looked into again: an entity may move between two questions.
const ROUNDS: usize = 5;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// The most lines of one kind that are shown.
const MAX_LINES: usize = 20;

pub(crate) async fn run(args: AuditArgs) -> Result<(), Failure> {
    args.logs.start()?;
    let expected = args.expect.as_deref().map(read_ids).transpose()?;
    let clients = clients(&args).await?;
    let mut census = Census::take(&clients).await?;
    for _ in 1..ROUNDS {
        if census.is_clean(expected.as_ref()) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        census = Census::take(&clients).await?;
    }
    output::print(&census.report(&clients, expected.as_ref()))?;
    census.verdict(expected.as_ref()).map_err(Failure::failed)
}

async fn clients(args: &AuditArgs) -> Result<Vec<Client>, Failure> {
    let access = args.access.read()?;
    let usage = |source: &str, detail: String| Failure::usage(format!("{source}: {detail}"));
    if !args.admin.is_empty() {
        let given = args.admin.iter();
        let clients: Result<Vec<_>, _> = given
            .map(|url| Client::new(url, access.clone()).map_err(|e| usage("--admin", e)))
            .collect();
        return distinct(clients?).await;
    }
    let (url, source) = target::find_url(None, args.data_dir.as_deref())?;
    let first = Client::new(&url, access).map_err(|detail| usage(&source, detail))?;
    of_view(&first).await
}

/// All members of the view of one.
pub(crate) async fn of_view(first: &Client) -> Result<Vec<Client>, Failure> {
    let view: View = first.get("/v1/view").await?;
    let mut clients = Vec::new();
    for member in &view.members {
        match &member.admin {
            Some(url) => clients.push(first.at(url)),
            None => {
                let (name, id) = (&member.name, member.id);
                let detail = format!("{name} ({id}) serves no admin HTTP: it cannot be audited");
                return Err(Failure::failed(detail));
            }
        }
    }
    if clients.is_empty() {
        return Err(Failure::failed(format!("{}: the process is in no view", first.url())));
    }
    Ok(clients)
}

/// One client for each process: by two URLs all its entities would seem to be there twice.
async fn distinct(clients: Vec<Client>) -> Result<Vec<Client>, Failure> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for client in clients {
        let view: View = client.get("/v1/view").await?;
        if seen.insert(view.me) {
            kept.push(client);
        }
    }
    Ok(kept)
}

fn read_ids(path: &Path) -> Result<BTreeSet<EntityId>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--expect: {shown}: {error}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(at, line)| {
        let id = line.trim().parse();
        id.map_err(|error| Failure::usage(format!("--expect: {shown}:{}: {error}", at + 1)))
    });
    parsed.collect()
}

/// One copy of an entity.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// The index of the process that holds it.
    pub(crate) at: usize,
    pub(crate) epoch: u64,
    pub(crate) status: EntityStatus,
}

/// Every copy of every entity, as the processes listed them one after the other.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) copies: BTreeMap<EntityId, Vec<Copy>>,
    /// Entities that have left a process, and whose destination has not said that it has them.
    pub(crate) in_doubt: u64,
}

impl Census {
    /// Asks every process for all its entities.
    pub(crate) async fn take(clients: &[Client]) -> Result<Self, ClientError> {
        let mut census = Self::default();
        for (at, client) in clients.iter().enumerate() {
            let mut after = None;
            loop {
                let page: Page = client.get(&page_path(after)).await?;
                page.entities.iter().for_each(|entity| census.note(at, entity));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let audit: Audit = client.get("/v1/audit").await?;
            census.in_doubt += audit.migrated.in_doubt;
        }
        Ok(census)
    }

    fn note(&mut self, at: usize, entity: &Entity) {
        let copy = Copy { at, epoch: entity.epoch, status: entity.status };
        self.copies.entry(entity.id).or_default().push(copy);
    }

    fn with(&self, status: EntityStatus) -> impl Iterator<Item = (EntityId, &Copy)> {
        self.copies.iter().flat_map(move |(id, copies)| {
            copies.iter().filter(move |copy| copy.status == status).map(|copy| (*id, copy))
        })
    }

    /// Entities with more than one copy that serves, or will if its move is given up.
    pub(crate) fn duplicated(&self) -> Vec<EntityId> {
        let count = |copies: &[Copy]| {
            copies.iter().filter(|copy| copy.status != EntityStatus::Staged).count()
        };
        self.copies.iter().filter(|(_, copies)| count(copies) > 1).map(|(id, _)| *id).collect()
    }

    /// Expected entities without an active or frozen copy.
    pub(crate) fn missing(&self, expected: &BTreeSet<EntityId>) -> Vec<EntityId> {
        let owned = |copies: &Vec<Copy>| copies.iter().any(|c| c.status != EntityStatus::Staged);
        expected.iter().filter(|id| !self.copies.get(id).is_some_and(owned)).copied().collect()
    }

    /// Copies of one status.
    pub(crate) fn count(&self, status: EntityStatus) -> usize {
        self.with(status).count()
    }

    /// What is not sound, in a line.
    fn verdict(&self, expected: Option<&BTreeSet<EntityId>>) -> Result<(), String> {
        let duplicated = self.duplicated().len();
        let missing = expected.map_or(0, |ids| self.missing(ids).len());
        let found = [(missing, "entities_missing"), (duplicated, "entities_duplicated")];
        let found = found.iter().filter(|(count, _)| *count > 0);
        let found: Vec<String> = found.map(|(count, what)| format!("{what}: {count}")).collect();
        if found.is_empty() { Ok(()) } else { Err(found.join(", ")) }
    }

    /// Nothing lost, nothing doubled.
    fn is_sound(&self, expected: Option<&BTreeSet<EntityId>>) -> bool {
        self.verdict(expected).is_ok()
    }

    /// Nothing to report at all.
    pub(crate) fn is_clean(&self, expected: Option<&BTreeSet<EntityId>>) -> bool {
        self.is_sound(expected)
            && self.count(EntityStatus::Frozen) == 0
            && self.count(EntityStatus::Staged) == 0
            && self.in_doubt == 0
    }

    fn report(&self, clients: &[Client], expected: Option<&BTreeSet<EntityId>>) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.render(&mut text, clients, expected);
        text
    }

    fn render(
        &self,
        text: &mut String,
        clients: &[Client],
        expected: Option<&BTreeSet<EntityId>>,
    ) -> std::fmt::Result {
        let duplicated = self.duplicated();
        let missing = expected.map(|ids| self.missing(ids));
        let count = |status| self.count(status);
        writeln!(text, "processes   {}", clients.len())?;
        writeln!(text, "entities    {}", self.copies.len())?;
        writeln!(text, "active      {}", count(EntityStatus::Active))?;
        writeln!(text, "frozen      {}", count(EntityStatus::Frozen))?;
        writeln!(text, "staged      {}", count(EntityStatus::Staged))?;
        writeln!(text, "in doubt    {}", self.in_doubt)?;
        writeln!(text, "duplicated  {}", duplicated.len())?;
        if let Some(missing) = &missing {
            writeln!(text, "missing     {}", missing.len())?;
        }
        for id in duplicated.iter().take(MAX_LINES) {
            let copies = self.copies.get(id).into_iter().flatten();
            let places: Vec<_> = copies.map(|c| place(clients, c)).collect();
            writeln!(text, "duplicated {id}: {}", places.join(", "))?;
        }
        for (status, name) in [(EntityStatus::Frozen, "frozen"), (EntityStatus::Staged, "staged")] {
            for (id, copy) in self.with(status).take(MAX_LINES) {
                writeln!(text, "{name} {id}: {}", place(clients, copy))?;
            }
        }
        for id in missing.iter().flatten().take(MAX_LINES) {
            writeln!(text, "missing {id}")?;
        }
        Ok(())
    }
}

fn place(clients: &[Client], copy: &Copy) -> String {
    let url = clients.get(copy.at).map_or("?", Client::url);
    format!("{url} at epoch {}", copy.epoch)
}

fn page_path(after: Option<EntityId>) -> String {
    let from = after.map(|id| format!("&after={id}")).unwrap_or_default();
    format!("/v1/entities?status=all&limit=10000{from}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(copies: &[(u128, usize, EntityStatus)]) -> Census {
        let mut census = Census::default();
        for &(id, at, status) in copies {
            let id = EntityId::from_u128(id);
            census.copies.entry(id).or_default().push(Copy { at, epoch: 1, status });
        }
        census
    }

    #[test]
    fn two_active_copies_are_a_duplicate_and_a_staged_one_is_not() {
        use EntityStatus::{Active, Frozen, Staged};
        let twice = census(&[(1, 0, Active), (1, 1, Active)]);
        assert_eq!(twice.duplicated().len(), 1);
        assert_eq!(twice.verdict(None).unwrap_err(), "entities_duplicated: 1");
        let moving = census(&[(1, 0, Frozen), (1, 1, Staged)]);
        assert!(moving.duplicated().is_empty());
        assert!(moving.is_sound(None) && !moving.is_clean(None));
    }

    #[test]
    fn what_is_in_doubt_is_shown_and_is_no_fault() {
        let census = Census { in_doubt: 2, ..Census::default() };
        assert!(census.is_sound(None) && !census.is_clean(None));
        assert!(census.report(&[], None).contains("in doubt    2\n"));
    }

    #[test]
    fn an_entity_that_is_only_staged_is_missing() {
        use EntityStatus::{Frozen, Staged};
        let expected: BTreeSet<_> = (1..=3).map(EntityId::from_u128).collect();
        let census = census(&[(1, 0, Frozen), (2, 1, Staged)]);
        assert_eq!(census.missing(&expected), [2, 3].map(EntityId::from_u128));
        assert_eq!(census.verdict(Some(&expected)).unwrap_err(), "entities_missing: 2");
    }
}
