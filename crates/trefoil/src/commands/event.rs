//! `trefoil event`: what happens after the training is recorded, shown, taken back and handed on.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_core::Error as CoreError;
use uditsr::data::CatalogueItem;
use uditsr::recommender::{Access, Erase, Event, EventId};

use crate::Answer;
use crate::answers::RecommenderArgs;
use crate::hints::hinted;
use crate::output::{self, Talk};

/// Events of a file that are written to the journal at once.
const BATCH: usize = 1000;

/// Record, show and delete events since the training
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event add --user u42 --item i7 --query \"running shoes\" --model runs/shop/model
  trefoil event add --from clicks.jsonl
  trefoil event list --user u42
  trefoil event delete --user u42
  trefoil event item i900 --title \"red lamp\" --tag lamps
  trefoil event export events.jsonl

The next answer knows an event as soon as it is recorded. Events are kept in a journal beside the model, which
survives a crash; `export` writes all of them, with those of the training, for the next `trefoil prepare`.")]
pub(crate) struct EventArgs {
    #[command(subcommand)]
    command: EventCommand,
}

#[derive(Debug, Subcommand)]
enum EventCommand {
    Add(AddArgs),
    Item(ItemArgs),
    List(ListArgs),
    Delete(DeleteArgs),
    Export(ExportArgs),
}

/// Record an event, or a file of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event add --user u42 --item i7 --model runs/shop/model
  trefoil event add --user u42 --item i7 --query \"running shoes\" --key request-81
  trefoil event add --from clicks.jsonl

Lines of a file are JSON objects: {\"user\": \"u42\", \"item\": \"i7\", \"query\": \"\", \"time\": 1760000000, \"key\": \"k1\"},
where query and key may be absent. Prints the number of each event. Exit code 1: some were refused.")]
struct AddArgs {
    /// The shop's id of the user; a new one makes a new user
    #[arg(short, long, value_name = "ID", requires = "item", required_unless_present = "from")]
    user: Option<String>,
    /// The shop's id of the item
    #[arg(short, long, value_name = "ID", requires = "user")]
    item: Option<String>,
    /// The query that led to the item
    #[arg(long, default_value = "", hide_default_value = true, value_name = "QUERY")]
    query: String,
    /// Seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    time: Option<i64>,
    /// A name under which the event is recorded only once
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// JSON Lines of events; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "query", "time", "key"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

/// Add an item to the catalogue
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event item i900 --title \"red lamp\" --tag lamps --tag red --model runs/shop/model
  trefoil event item i901 --picture i901.png --caption \"$(trefoil caption i901.png)\"

Until the item has events it is found by its words, those of the caption included.")]
struct ItemArgs {
    /// The shop's id of the item
    #[arg(value_name = "ID")]
    id: String,
    /// Title
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    title: String,
    /// Tags and categories; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Path or address of a picture
    #[arg(long, value_name = "PICTURE")]
    picture: Option<String>,
    /// What the picture shows
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    caption: String,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

/// Show the events of a user
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event list --user u42 --model runs/shop/model
  trefoil event list --user u42 --json

Each line has number, seconds since 1970, item and query. Queries of the training are the words that the model
knows. Exit code 1: there are none.")]
struct ListArgs {
    /// The shop's id of the user
    #[arg(short, long, value_name = "ID")]
    user: String,
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

/// Forget an event, or a user
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event delete --id 9813 --model runs/shop/model
  trefoil event delete --user u42

Answers are as if the events had never been, and the journal is written again without them; of events of the
training it notes the numbers until the next training. Prints how many events were forgotten.")]
struct DeleteArgs {
    /// Number of an event, as `add` and `list` print it
    #[arg(long, value_name = "N", required_unless_present = "user", conflicts_with = "user")]
    id: Option<EventId>,
    /// All events of this user
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

/// Write all events for the next training
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil event export events.jsonl --model runs/shop/model
  trefoil prepare events.jsonl --catalog items.csv -o data/next

Events of the training come first, then those since. Deleted ones are not there.")]
struct ExportArgs {
    /// File that is written, one JSON object per event
    #[arg(value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

impl EventArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.command {
            EventCommand::Add(args) => args.run(talk),
            EventCommand::Item(args) => args.run(talk),
            EventCommand::List(args) => args.run(),
            EventCommand::Delete(args) => args.run(talk),
            EventCommand::Export(args) => args.run(talk),
        }
    }
}

impl AddArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let (name, events) = match (&self.from, self.user, self.item) {
            (Some(path), ..) => (path.display().to_string(), read_events(path)?),
            (None, Some(user), Some(item)) => {
                let time = self.time.unwrap_or_else(now);
                ("event".into(), vec![Event { user, item, query: self.query, time, key: self.key }])
            }
            // The parser asks for either.
            _ => anyhow::bail!("`--user` and `--item` belong together"),
        };
        let is_file = self.from.is_some();
        let mut recommender = self.recommender.open(Access::Append)?;
        let (mut line, mut refused) = (0, 0);
        for events in events.chunks(BATCH) {
            for receipt in recommender.record_all(events.to_vec())? {
                line += 1;
                match receipt {
                    Ok(receipt) => {
                        output::print(receipt.id)?;
                        if !receipt.unmatched_terms.is_empty() && !is_file {
                            let words = receipt.unmatched_terms.join(", ");
                            talk.note(format_args!("the model does not know these words: {words}"));
                        }
                    }
                    // One event that is refused is an error of the command line.
                    Err(error) if !is_file => return Err(error.into()),
                    Err(error) => {
                        refused += 1;
                        talk.warn(format_args!("{name}:{line}: {error}"));
                    }
                }
            }
        }
        if refused > 0 {
            talk.note(format_args!("{refused} of {line} events were refused"));
            return Ok(Answer::No);
        }
        Ok(Answer::Yes)
    }
}

/// The current time in seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// All events of a file; a line that is none stops before anything is recorded.
fn read_events(path: &Path) -> anyhow::Result<Vec<Event>> {
    let fail = |source| CoreError::Read { path: path.into(), source };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(fail)?)
    };
    let mut events = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(input).lines()) {
        let line = line.map_err(fail)?;
        let event = serde_json::from_str(&line).map_err(|error| {
            let message = format!("{}:{number}: not an event: {error}", path.display());
            hinted(
                message,
                "a line is {\"user\": \"u\", \"item\": \"i\", \"query\": \"\", \"time\": 0}",
            )
        })?;
        events.push(event);
    }
    Ok(events)
}

impl ItemArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let Self { id, title, tags, picture, caption, .. } = self;
        let mut recommender = self.recommender.open(Access::Append)?;
        recommender.add_item(CatalogueItem { id, title, tags, picture, caption })?;
        talk.note(format_args!("{} items", recommender.items()));
        Ok(Answer::Yes)
    }
}

impl ListArgs {
    fn run(self) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let events = recommender.events_of(&self.user);
        for (id, event) in &events {
            if self.json {
                output::print_json(&json!({ "id": id, "event": event }))?;
            } else {
                output::print(format_args!(
                    "{id}\t{}\t{}\t{}",
                    event.time, event.item, event.query
                ))?;
            }
        }
        Ok(if events.is_empty() { Answer::No } else { Answer::Yes })
    }
}

impl DeleteArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let what = match (self.id, self.user) {
            (Some(id), _) => Erase::Event(id),
            (None, user) => Erase::User(user.unwrap_or_default()),
        };
        let mut recommender = self.recommender.open(Access::Append)?;
        output::print(recommender.erase(&what)?)?;
        talk.note("events were forgotten");
        Ok(Answer::Yes)
    }
}

impl ExportArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let count = recommender.export_events(&self.output)?;
        talk.note(format_args!("{count} events are in {}", self.output.display()));
        Ok(Answer::Yes)
    }
}
