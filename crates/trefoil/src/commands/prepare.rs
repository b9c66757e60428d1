//! `trefoil prepare`: from a raw log to a folder that `trefoil train uditsr` reads.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use uditsr::data::{
    Format, Level, MinWeight, Prepare, PrepareOptions, Prepared, Queries, Report, SplitRule, Unseen,
};
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::Procedure;

use crate::Answer;
use crate::args::{ModelArgs, SamplingArgs, at_least_one};
use crate::hints::hinted;
use crate::output::{self, Talk};
use crate::session::{Session, open_picture};

/// Prepare a log of searches and clicks for `trefoil train uditsr`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil prepare events.csv --catalog items.csv -o data/shop
  trefoil prepare events-*.jsonl --catalog items.jsonl --check
  trefoil prepare KuaiSAR_final --format kuaisar -o data/kuaisar
  trefoil prepare hetrec2011-lastfm-2k --format hetrec-lastfm -o data/lastfm

Events have the columns user, item, time, kind, query and weight, of which only user and item must be there; an
event without a query is a recommendation that was taken. Catalogues have item, title, tags, picture and caption.
The report says what the log can and cannot support. Exit code 1 of `--check`: there are bad rows, or something
keeps a model from being trained.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct PrepareArgs {
    /// Files of the log, and folders with files of its format
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Items with titles, tags and pictures
    #[arg(long, visible_alias = "catalogue", value_name = "ITEMS")]
    catalog: Option<PathBuf>,
    /// Folder that is made
    #[arg(short, long, value_name = "DIR", required_unless_present = "check")]
    output: Option<PathBuf>,
    /// Report, and write nothing
    #[arg(long)]
    check: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// How to read the files
    #[arg(long, default_value = "events", value_name = "FORMAT", value_parser = format())]
    format: Format,
    /// Which events are held out: leave-one-out, leave-one-out-random, dates:DATE,DATE, days:N,N,
    /// latest:SHARE,SHARE, pairs:SHARE,SHARE or given [default: that of the format]
    #[arg(long, value_name = "RULE", value_parser = SplitRule::from_str)]
    split: Option<SplitRule>,
    /// Negatives of each event that is held out
    #[arg(long, default_value_t = 99, value_name = "N")]
    negatives: usize,
    /// All random choices follow from it
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Only events of this kind; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Events with less weight are no positives: 4, or rating=4 for one kind; may be repeated
    /// [default: that of the format]
    #[arg(long = "min-weight", value_name = "WEIGHT", value_parser = MinWeight::from_str)]
    min_weights: Vec<MinWeight>,
    /// Leave out users and items with fewer events [default: that of the format]
    #[arg(long, value_name = "N")]
    core: Option<u32>,
    /// Make one search of all rows of a user with an item on one day
    #[arg(long)]
    join: bool,
    /// Share of searches whose query is hidden, which makes recommendations whose demand is known
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    mask_queries: f64,
    /// Held-out events of users and items that training does not know
    #[arg(long, default_value = "drop", value_name = "WHAT")]
    unseen: UnseenArg,
    /// Largest vocabulary
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    max_words: usize,
    /// Words that occur less often are unknown
    #[arg(long, default_value_t = 2, value_name = "N")]
    min_word_count: u32,
    /// Give up after this many bad rows
    #[arg(long, default_value_t = 1000, value_name = "N")]
    max_bad_rows: usize,
    /// Let UniDiffuser describe the pictures of items that have neither an event nor a caption
    #[arg(long, conflicts_with = "check")]
    describe: bool,
    /// At most so many pictures are described
    #[arg(long, default_value = "1000", value_name = "N", value_parser = at_least_one)]
    describe_at_most: usize,
    #[command(flatten)]
    model: ModelArgs,
}

/// What to do with events of the unknown.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnseenArg {
    /// Leave them out, and count them
    Drop,
    /// Keep them, to measure a cold start
    Keep,
}

fn format() -> impl TypedValueParser<Value = Format> {
    let value = |format: Format| PossibleValue::new(format.name()).help(format.about());
    PossibleValuesParser::new(Format::all().map(value)).try_map(|name| name.parse::<Format>())
}

impl PrepareArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let prepare = Prepare {
            logs: self.logs.clone(),
            catalogue: self.catalog.clone(),
            options: self.options(),
        };
        let Some(folder) = self.output.as_deref().filter(|_| !self.check) else {
            let report = prepare.check()?;
            self.print(&report)?;
            let is_bad = !report.problems.is_empty()
                || report.findings.iter().any(|finding| finding.level == Level::Blocker);
            return Ok(if is_bad { Answer::No } else { Answer::Yes });
        };
        if !self.describe {
            let report = prepare.run(folder)?;
            self.print(&report)?;
            talk.note(format_args!("written to {}", folder.display()));
            return Ok(Answer::Yes);
        }
        let mut prepared = prepare.prepare()?;
        if !self.describe_pictures(&mut prepared, talk)? {
            return Ok(Answer::Interrupted);
        }
        prepared.save(folder)?;
        self.print(&prepared.report)?;
        talk.note(format_args!("written to {}", folder.display()));
        Ok(Answer::Yes)
    }

    fn options(&self) -> PrepareOptions {
        let given = !self.min_weights.is_empty();
        PrepareOptions {
            format: self.format,
            split: self.split,
            negatives: self.negatives,
            seed: self.seed,
            kinds: self.kinds.clone(),
            min_weights: given.then(|| self.min_weights.clone()),
            core: self.core,
            queries: if self.join { Queries::Joined } else { Queries::Separate },
            mask_queries: self.mask_queries,
            unseen: match self.unseen {
                UnseenArg::Drop => Unseen::Drop,
                UnseenArg::Keep => Unseen::Keep,
            },
            max_words: self.max_words,
            min_word_count: self.min_word_count,
            max_bad_rows: self.max_bad_rows,
            ..PrepareOptions::default()
        }
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        if self.json {
            return output::print_json(report);
        }
        output::print_bytes(report.to_string().as_bytes())
    }

    /// Writes captions of pictures into the catalogue; false when the user interrupted.
    fn describe_pictures(&self, prepared: &mut Prepared, talk: Talk) -> anyhow::Result<bool> {
        let Some(catalog) = &self.catalog else {
            return Err(hinted("`--describe` needs pictures", "name them in `--catalog ITEMS`"));
        };
        // Pictures lie where the catalogue says, seen from the catalogue.
        let start = catalog.parent().unwrap_or(Path::new(""));
        let items = &prepared.items;
        let wanted: Vec<(usize, PathBuf)> = prepared
            .catalogue
            .iter()
            .enumerate()
            .filter(|(_, item)| item.caption.is_empty() && items.find(&item.id).is_none())
            .filter_map(|(row, item)| Some((row, start.join(item.picture.as_ref()?))))
            .filter(|(_, path)| path.is_file())
            .collect();
        let count = wanted.len().min(self.describe_at_most);
        talk.note(format_args!("describing {count} of {} pictures", wanted.len()));
        if count == 0 {
            return Ok(true);
        }
        let session = Session::open(&self.model, talk)?;
        let sampling = SamplingArgs {
            steps: None,
            guidance: None,
            sampler: Procedure::default(),
            solver: None,
            seed: Some(0),
            batch: 1,
            one_step: None,
        };
        for (part, (row, path)) in wanted.into_iter().take(count).enumerate() {
            let mut request = session.request(Mode::ImageToText, &sampling)?;
            request.image = Some(open_picture(&path)?);
            let Some(generated) = session.generate(&request, (part, count))? else {
                return Ok(false);
            };
            let caption = generated.into_iter().find_map(|generated| generated.text);
            prepared.catalogue[row].caption = caption.unwrap_or_default();
        }
        Ok(true)
    }
}
