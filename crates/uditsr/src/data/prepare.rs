//! The preparation as a whole.

use std::path::{Path, PathBuf};

use super::doctor::{self, Evidence};
use super::folder::{Hidden, Ids, Prepared};
use super::formats::{self, Format};
use super::options::{PrepareOptions, Queries, Resolved, WordIds};
use super::raw::{RawLog, Sink};
use super::report::{Input, Report, RowCounts};
use super::source::{self, LogFile};
use super::steps::negatives::Sampler;
use super::steps::tables::{self, Table};
use super::steps::{clean, core, join, split, words};
use super::vocabulary::Vocabulary;
use super::{SplitRule, survey};
use crate::{Csr, Dataset, Error, Ranking, Result, Split};

/// Words of a query that the published model looks at.
pub(super) const QUERY_WORDS: usize = 3;

/// A preparation: which files, and how.
///
/// ```no_run
/// use uditsr::data::{Prepare, SplitRule};
///
/// let mut prepare = Prepare::new(["events.csv"]);
/// prepare.catalogue = Some("items.csv".into());
/// prepare.options.split = Some(SplitRule::Days { valid: 1, test: 1 });
/// println!("{}", prepare.check()?);
/// prepare.run("prepared".as_ref())?;
/// # Ok::<(), uditsr::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prepare {
    /// Files of the log, and folders with files of its format.
    pub logs: Vec<PathBuf>,
    /// Items with titles, tags and pictures.
    pub catalogue: Option<PathBuf>,
    /// How.
    pub options: PrepareOptions,
}

/// All decisions, before negatives are drawn and anything is written.
struct Plan {
    options: Resolved,
    log: RawLog,
    touched: Csr,
    users: Table,
    items: Table,
    hidden: Vec<bool>,
    vocabulary: Vocabulary,
    queries: Csr,
    report: Report,
}

impl Prepare {
    /// A preparation of these files with the default options.
    pub fn new<P: Into<PathBuf>>(logs: impl IntoIterator<Item = P>) -> Self {
        Self { logs: logs.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Reads and checks everything, and writes nothing.
    ///
    /// # Errors
    /// [`Error::BadRows`] over the limit, and everything else that keeps files from being read.
    pub fn check(&self) -> Result<Report> {
        Ok(self.plan()?.report)
    }

    /// Prepares the log in memory.
    ///
    /// # Errors
    /// As [`Prepare::check`], and if nothing is left for training.
    pub fn prepare(&self) -> Result<Prepared> {
        self.plan()?.finish()
    }

    /// Prepares the log and writes it as a folder, which is there in full or not at all. An earlier
    /// prepared folder of this name is replaced, any other folder is not.
    ///
    /// # Errors
    /// As [`Prepare::prepare`], and if the folder cannot be written.
    pub fn run(&self, folder: &Path) -> Result<Report> {
        super::staging::check_target(folder)?;
        let prepared = self.prepare()?;
        prepared.save(folder)?;
        Ok(prepared.report)
    }

    /// Reads all files into a sink.
    pub(super) fn read<'s>(&self, mut sink: Sink<'s>) -> Result<(Sink<'s>, Vec<Input>)> {
        let format: Format = self.options.format;
        let importer = format.row().importer;
        if self.logs.is_empty() {
            return Err(Error::config("logs", "no file was given"));
        }
        let files = source::expand(&self.logs, |file| importer.wants(file))?;
        let catalogue = self.catalogue.as_deref().map(LogFile::new);
        let all: Vec<&LogFile> = files.iter().chain(&catalogue).collect();
        let read = || -> Result<Sink<'s>> {
            importer.read(&files, &mut sink)?;
            if let Some(file) = &catalogue {
                formats::catalogue(file, &mut sink)?;
            }
            Ok::<_, Error>(sink)
        };
        let fingerprints = || -> Result<Vec<Input>> {
            all.iter()
                .map(|file| {
                    let (bytes, sha256) = file.fingerprint()?;
                    Ok(Input { name: file.base_name(), bytes, sha256 })
                })
                .collect()
        };
        let (sink, inputs) = rayon::join(read, fingerprints);
        let mut inputs = inputs?;
        inputs.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
        Ok((sink?, inputs))
    }

    fn plan(&self) -> Result<Plan> {
        let options = self.options.resolve()?;
        let (sink, inputs) = self.read(Sink::new(self.options.max_bad_rows))?;
        let read = sink.rows() as usize;
        let mut log = sink.log;
        let mut rows = RowCounts { read, bad: read - log.events.len(), ..RowCounts::default() };
        let is_given = options.split == SplitRule::Given;
        clean::number(&mut log);
        clean::catalogue(&mut log);
        if !is_given {
            rows.duplicates = clean::deduplicate(&mut log.events);
        }
        let touched = clean::touched(&log.events, log.users.len());
        let kinds = &self.options.kinds;
        rows.not_positive = clean::positives(&mut log, kinds, &options.min_weights);
        if self.options.queries == Queries::Joined && !is_given {
            rows.joined = join::searches(&mut log, options.utc_offset);
        }
        let [users, items] = [log.users.len(), log.items.len()];
        rows.below_core = core::keep(&mut log.events, options.core, users, items);
        rows.kept = log.events.len();
        let counts = survey::log(&log);

        let seed = self.options.seed;
        let splitter =
            split::Splitter { rule: options.split, seed, utc_offset: options.utc_offset };
        if !log.events.is_empty() {
            splitter.assign(&mut log)?;
        }
        let unseen = split::unseen(&mut log, self.unseen());
        let sizes = self.options.sizes;
        let [users, items] = if is_given {
            tables::natural(&log, [sizes.users, sizes.items])?
        } else {
            tables::compact(&log)
        };
        let count = self.options.negatives;
        let sampler = Sampler { log: &log, touched: &touched, items: &items, seed, count };
        let too_few = if is_given { Vec::new() } else { sampler.too_few() };
        for &row in &too_few {
            log.events[row].part = None;
        }
        let hidden = words::hidden(&log, self.options.mask_queries, seed);
        let vocabulary = match self.options.word_ids {
            WordIds::Given => words::given(&log, sizes.words)?,
            WordIds::Learned => {
                let options = &self.options;
                words::learn(&log, &hidden, options.max_words, options.min_word_count)
            }
        };
        let queries = words::encode_queries(&log.queries, &vocabulary);
        let mut parts = survey::split(&log, &hidden, &queries);
        parts.users = users.ids.len();
        parts.items = items.ids.len();
        parts.words = vocabulary.len();
        parts.unseen_users = unseen.users;
        parts.unseen_items = unseen.items;
        parts.too_few_negatives = too_few.len();
        let mut problems = std::mem::take(&mut log.problems);
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let findings = doctor::findings(&Evidence {
            rows: &rows,
            oddities: &log.oddities,
            log: &counts,
            split: &parts,
            negatives: count,
            query_words: QUERY_WORDS,
        });
        let oddities = log.oddities.clone();
        let report =
            Report { inputs, rows, oddities, log: counts, split: parts, findings, problems };
        Ok(Plan { options, log, touched, users, items, hidden, vocabulary, queries, report })
    }

    /// The authors' rows are all kept.
    pub(super) fn unseen(&self) -> super::Unseen {
        match self.options.format.row().split {
            SplitRule::Given if self.options.split.is_none_or(|s| s == SplitRule::Given) => {
                super::Unseen::Keep
            }
            _ => self.options.unseen,
        }
    }
}

/// Refuses a log of which nothing is left.
pub(super) fn require_training(report: &Report) -> Result<()> {
    if report.split.train.total() > 0 {
        return Ok(());
    }
    let reason = format!("nothing is left for training of {} rows", report.rows.read);
    Err(Error::config("split", reason))
}

impl Plan {
    fn finish(self) -> Result<Prepared> {
        require_training(&self.report)?;
        let Self { options, log, users, items, vocabulary, queries, report, .. } = &self;
        let rows = [users.rows.as_slice(), items.rows.as_slice()];
        let part = |part| words::interactions(log, part, rows, queries, &self.hidden);
        let (train, train_hidden) = part(Split::Train);
        let (valid, valid_hidden) = part(Split::Valid);
        let (test, test_hidden) = part(Split::Test);
        let dataset = Dataset {
            users: users.ids.len(),
            items: items.ids.len(),
            words: vocabulary.len(),
            train,
            valid: Ranking { positives: valid, negatives: self.negatives(Split::Valid)? },
            test: Ranking { positives: test, negatives: self.negatives(Split::Test)? },
            item_words: words::encode_items(&items.ids, &log.catalogue, vocabulary),
        };
        let hidden = (report.split.hidden_queries > 0).then_some(Hidden {
            train: train_hidden,
            valid: valid_hidden,
            test: test_hidden,
        });
        let options = options.options.clone();
        Ok(Prepared {
            dataset,
            hidden,
            options,
            users: Ids::new(self.users.ids),
            items: Ids::new(self.items.ids),
            words: self.vocabulary,
            catalogue: self.log.catalogue,
            report: self.report,
        })
    }

    /// Negatives of a part: drawn, or those of the files.
    fn negatives(&self, part: Split) -> Result<Csr> {
        let Self { log, touched, items, .. } = self;
        let options = &self.options.options;
        if self.options.split != SplitRule::Given {
            let (seed, count) = (options.seed, options.negatives);
            return Ok(Sampler { log, touched, items, seed, count }.draw(part));
        }
        let (rows, lists) = &log.given;
        let mut negatives = Csr::default();
        let mut count = None;
        for event in log.events.iter().filter(|event| event.part == Some(part)) {
            let list = rows.binary_search(&event.row).map_or(&[][..], |at| lists.row(at));
            let list: Vec<u32> =
                list.iter().filter_map(|&item| items.rows[item as usize]).collect();
            let count = *count.get_or_insert(list.len());
            if list.len() != count {
                let reason =
                    format!("{} negatives of one event and {count} of another", list.len());
                return Err(Error::config("negatives", reason));
            }
            negatives.push(&list);
        }
        Ok(negatives)
    }
}
