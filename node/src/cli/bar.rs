use std::fmt::Write as _;

use lampyrid_wire::ProcessId;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::answers::View;
use super::args::BarArgs;
use super::client::Client;
use super::confirm::{can_ask, confirm};
use super::failure::Failure;
use super::output;

/// How often it is looked how far it has come.
const PAUSE: Duration = Duration::from_millis(100);

/// How long each other member has to say what it knows.
const KNOWLEDGE_LIMIT: Duration = Duration::from_secs(2);

/// What a process says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Bar {
    state: String,
    #[serde(default)]
    known: bool,
    waiting_for: Vec<ProcessId>,
    in_doubt: u64,
    reinstalled: u64,
    elsewhere: u64,
}

/// What the members know of a process that is to be barred.
#[derive(Debug, Default)]
struct Knowledge {
    /// Members that said.
    asked: usize,
    /// Members that did not.
    silent: Vec<ProcessId>,
    /// One of them has met it or has a record of it, or it is barred already.
    known: bool,
    /// Entities that left them for it, and are not acknowledged.
    in_doubt: u64,
}

impl Knowledge {
    fn add(&mut self, bar: &Bar) {
        self.asked += 1;
        self.known |= bar.known || bar.state != "not_barred";
        self.in_doubt += bar.in_doubt;
    }

    /// Asks the process, and then all other members that can be asked.
    async fn gather(client: &Client, path: &str, view: &View) -> Result<Self, Failure> {
        let mut knowledge = Self::default();
        knowledge.add(&client.get(path).await?);
        for member in view.members.iter().filter(|member| member.id != view.me) {
            let answer = match &member.admin {
                Some(url) => client.at(url).poll(path, KNOWLEDGE_LIMIT).await.ok(),
                None => None,
            };
            match answer {
                Some(bar) => knowledge.add(&bar),
                None => knowledge.silent.push(member.id),
            }
        }
        Ok(knowledge)
    }
}

pub(crate) async fn run(args: BarArgs) -> Result<(), Failure> {
    args.logs.start()?;
    can_ask(args.yes)?;
    let client = args.target.client()?;
    let view: View = client.get("/v1/view").await?;
    let path = format!("/v1/barred/{}", args.process);
    let knowledge = Knowledge::gather(&client, &path, &view).await?;
    let is_member = view.members.iter().any(|member| member.id == args.process);
    if !is_member && !knowledge.known && knowledge.silent.is_empty() {
        return Err(Failure::failed(format!(
            "unknown_process: no member has met {} or has a record of it, so nothing is to be taken \
             back from it: is the id right? Nothing was changed. (`POST {path}` bars it all the same.)",
            args.process
        )));
    }
    confirm(args.yes, &stake(args.process, &view, &knowledge))?;
    let until = Instant::now() + args.wait.0;
    loop {
        let bar: Bar = client.post(&path, &json!({}), Duration::ZERO).await?;
        if bar.state == "done" {
            return output::line(&format!(
                "{} is barred; this process took {} entities back, {} live elsewhere; other members \
                 take back by themselves what left them",
                args.process, bar.reinstalled, bar.elsewhere
            ));
        }
        if Instant::now() >= until {
            let waits: String = bar.waiting_for.iter().map(|id| format!(" {id}")).collect();
            return Err(Failure::failed(format!(
                "{}: {} in doubt at this process, waiting for{waits}; it goes on",
                bar.state, bar.in_doubt
            )));
        }
        sleep(PAUSE).await;
    }
}

/// What the operator has to know before a process is barred.
fn stake(process: ProcessId, view: &View, knowledge: &Knowledge) -> String {
    let Knowledge { asked, silent, known, in_doubt } = knowledge;
    let mut text = format!("to bar    {process}, for ever\n");
    for member in &view.members {
        let mark = match member.id {
            id if id == process => "  THIS ONE: it is a member, end it first",
            id if silent.contains(&id) => "  does not say what it knows",
            _ => "",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "member    {}  {}{mark}", member.id, member.name);
    }
    if !known {
        let _ = writeln!(
            text,
            "WARNING   none of the {asked} members that could be asked has met that process or has a \
             record of it: is the id right?"
        );
    }
    let _ = writeln!(
        text,
        "in doubt  {in_doubt} entities that left for it, at the {asked} members that could be asked"
    );
    text.push_str(
        "Every member refuses that process from now on. Those that are away learn it when they come\n\
         back. What was sent to it and never acknowledged lives where it came from again, with the\n\
         state that it had then. Given up: all entities that are on that process's disk, and all that\n\
         it has written to those that were sent to it. A process that is away now and had such an\n\
         entity from it must not come back with it: it would be there twice.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(state: &str, known: bool, in_doubt: u64) -> Bar {
        let (state, waiting_for) = (state.to_owned(), Vec::new());
        Bar { state, known, waiting_for, in_doubt, reinstalled: 0, elsewhere: 0 }
    }

    #[test]
    fn what_all_members_know_counts_together() {
        let mut knowledge = Knowledge::default();
        knowledge.add(&says("not_barred", false, 2));
        assert!(!knowledge.known);
        knowledge.add(&says("not_barred", true, 3));
        assert!(knowledge.known);
        assert_eq!((knowledge.asked, knowledge.in_doubt), (2, 5));
        let mut again = Knowledge::default();
        again.add(&says("done", false, 0));
        assert!(again.known, "it is barred already");
    }
}
