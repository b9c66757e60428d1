//! Where queries run, and the tables that they read and write.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, collect};
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionConfig, SessionContext};
use tempfile::TempDir;

use crate::functions;
use crate::memory::SharedMemory;
use crate::{Error, Result};

/// How an engine in this process works.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Bytes that queries may hold. Reading files, the catalogue and the vocabulary come on top.
    pub memory: usize,
    /// Bytes that intermediate results of one query may take on disk.
    pub disk: u64,
    /// Partitions of a query that are worked on at the same time, at least two.
    pub threads: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self { memory: 2 << 30, disk: 1 << 40, threads: threads.max(2) }
    }
}

/// Runs queries over the tables of one preparation. The tables are Parquet files in a folder that
/// goes when the engine does.
pub struct Engine {
    context: SessionContext,
    folder: TempDir,
    spilled: AtomicUsize,
}

impl Engine {
    /// An engine in this process, with its intermediate files below `folder`.
    ///
    /// # Errors
    /// [`Error::Work`] if there can be no files, [`Error::Query`] if the options make no sense.
    pub fn local(folder: &Path, options: &LocalOptions) -> Result<Self> {
        let folder = work_folder(folder)?;
        let spill = folder.path().join("spill");
        std::fs::create_dir(&spill)
            .map_err(|source| Error::Work { path: spill.clone(), source })?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill]))
            .with_max_temp_directory_size(options.disk);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(
                SharedMemory::new(options.memory),
                LARGEST,
            )))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(Error::query("start of the engine"))?;
        let threads = options.threads.max(2);
        // What each thread may hold is cut into pieces of which many fit: the batches of the runs
        // that it merges, a reserve to begin a merge with, and the rows that a file is written in.
        let share = options.memory / threads;
        let config = configure(SessionConfig::new())
            .with_target_partitions(threads)
            .with_batch_size((share / 8192).clamp(512, 8192))
            .with_sort_spill_reservation_bytes((share / 64).clamp(64 << 10, 10 << 20))
            // Rows in memory are sorted at once: to merge sorted batches takes all of their keys
            // once more, of memory that cannot spill.
            .with_sort_in_place_threshold_bytes(options.memory)
            // As many files as threads write at the same time, each of which takes memory.
            .set_str("datafusion.execution.minimum_parallel_output_files", "1")
            .set_usize(ROW_GROUP, (share / 2048).clamp(4096, 262_144));
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .build();
        Ok(Self::new(SessionContext::new_with_state(state), folder))
    }

    /// An engine over a context that knows where to run.
    pub(crate) fn new(context: SessionContext, folder: TempDir) -> Self {
        for function in functions::all() {
            context.register_udf(function);
        }
        Self { context, folder, spilled: AtomicUsize::new(0) }
    }

    /// Bytes that queries in this process have written to disk because their memory was used up.
    pub fn spilled(&self) -> usize {
        self.spilled.load(Ordering::Relaxed)
    }

    /// The folder of a table's files.
    pub(crate) fn path(&self, table: &str) -> PathBuf {
        self.folder.path().join(table)
    }

    /// Keeps the result of a query as a table.
    pub(crate) async fn table(&self, name: &str, query: &str) -> Result<()> {
        let fail = Error::query(name);
        let frame = self.context.sql(query).await.map_err(&fail)?;
        let schema = frame.schema().as_arrow().clone();
        let path = self.path(name);
        std::fs::create_dir_all(&path)
            .map_err(|source| Error::Work { path: path.clone(), source })?;
        let place = path.display().to_string().replace('\'', "''");
        let copy = format!("COPY ({query}) TO '{place}/' STORED AS PARQUET");
        let frame = self.context.sql(&copy).await.map_err(&fail)?;
        let begin = Instant::now();
        self.collect(frame).await.map_err(&fail)?;
        tracing::info!(table = name, seconds = begin.elapsed().as_secs_f64(), "made");
        // A table without rows may have no file, so the files are not asked for the columns.
        self.register(name, &schema).await
    }

    /// Says that there is a table in the files of its folder.
    pub(crate) async fn register(
        &self,
        name: &str,
        schema: &datafusion::arrow::datatypes::Schema,
    ) -> Result<()> {
        let options = ParquetReadOptions::default().schema(schema);
        let path = format!("{}/", self.path(name).display());
        self.context.register_parquet(name, path, options).await.map_err(Error::query(name))
    }

    /// Gives a query a name. It runs whenever the name is used.
    pub(crate) async fn view(&self, name: &str, query: &str) -> Result<()> {
        let frame = self.context.sql(query).await.map_err(Error::query(name))?;
        self.context.register_table(name, frame.into_view()).map_err(Error::query(name))?;
        Ok(())
    }

    /// Forgets a table and deletes its files.
    pub(crate) fn drop_table(&self, name: &str) -> Result<()> {
        self.context.deregister_table(name).map_err(Error::query(name))?;
        let path = self.path(name);
        std::fs::remove_dir_all(&path).map_err(|source| Error::Work { path, source })
    }

    /// The rows of a query, in its order.
    pub(crate) async fn stream(&self, step: &str, query: &str) -> Result<Rows<'_>> {
        let fail = Error::query(step);
        let frame = self.context.sql(query).await.map_err(&fail)?;
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(&fail)?;
        check(plan.as_ref()).map_err(&fail)?;
        let stream = datafusion::physical_plan::execute_stream(Arc::clone(&plan), task);
        let stream = stream.map_err(&fail)?;
        Ok(Rows { stream, plan, engine: self, step: step.into(), begin: Instant::now() })
    }

    /// The only row of a query: integers, zero where there is none.
    pub(crate) async fn one<const N: usize>(&self, step: &str, query: &str) -> Result<[i64; N]> {
        let fail = Error::query(step);
        let frame = self.context.sql(query).await.map_err(&fail)?;
        let begin = Instant::now();
        let batches = self.collect(frame).await.map_err(&fail)?;
        tracing::info!(step, seconds = begin.elapsed().as_secs_f64(), "counted");
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() == 1 && rows == 1) else {
            let (expected, found) = ("one row".into(), format!("{rows} rows"));
            return Err(Error::Result { step: step.into(), expected, found });
        };
        let mut row = [0; N];
        for (value, column) in row.iter_mut().zip(batch.columns()) {
            let column = cast(column, &DataType::Int64).map_err(|error| fail(error.into()))?;
            if column.is_valid(0) {
                *value = column.as_primitive::<Int64Type>().value(0);
            }
        }
        Ok(row)
    }

    /// The number of rows of a table or view.
    pub(crate) async fn count(&self, table: &str) -> Result<usize> {
        let [rows] = self.one(table, &format!("SELECT count(*) FROM {table}")).await?;
        Ok(rows as usize)
    }

    async fn collect(&self, frame: DataFrame) -> datafusion::error::Result<Vec<RecordBatch>> {
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        check(plan.as_ref())?;
        let batches = collect(Arc::clone(&plan), task).await?;
        self.spilled.fetch_add(spilled(plan.as_ref()), Ordering::Relaxed);
        Ok(batches)
    }
}

/// The rows of a running query.
pub(crate) struct Rows<'a> {
    stream: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
    engine: &'a Engine,
    step: String,
    begin: Instant,
}

impl Rows<'_> {
    /// The next rows, none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        use futures::StreamExt as _;
        if let Some(batch) = self.stream.next().await {
            return batch.map(Some).map_err(Error::query(&self.step));
        }
        let seconds = self.begin.elapsed().as_secs_f64();
        tracing::info!(step = self.step, seconds, "read");
        let spilled = spilled(self.plan.as_ref());
        self.engine.spilled.fetch_add(spilled, Ordering::Relaxed);
        Ok(None)
    }
}

/// How many holders of memory the error names when there is none left.
const LARGEST: NonZero<usize> = NonZero::new(5).expect("not zero");

/// Rows of a group of a Parquet file, which are in memory until it is full.
const ROW_GROUP: &str = "datafusion.execution.parquet.max_row_group_size";

/// What all engines have in common: joins that can spill, and strings whose size is known.
pub(crate) fn configure(config: SessionConfig) -> SessionConfig {
    config
        .set_bool("datafusion.optimizer.prefer_hash_join", false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .set_str("datafusion.execution.parquet.compression", "snappy")
}

/// A folder for intermediate files below another one.
pub(crate) fn work_folder(folder: &Path) -> Result<TempDir> {
    let fail = |source| Error::Work { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(fail)?;
    let folder = std::path::absolute(folder).map_err(fail)?;
    tempfile::Builder::new()
        .prefix(".trefoil-")
        .suffix(".work")
        .tempdir_in(&folder)
        .map_err(|source| Error::Work { path: folder, source })
}

/// Operators that hold all that they get, whatever the limit.
const GREEDY: [&str; 4] = ["HashJoinExec", "NestedLoopJoinExec", "CrossJoinExec", "WindowAggExec"];

/// Refuses a plan that cannot spill, rather than have it killed in the middle of a large log.
fn check(plan: &dyn ExecutionPlan) -> datafusion::error::Result<()> {
    if GREEDY.contains(&plan.name()) {
        let reason = format!("the plan has a {}, which cannot spill", plan.name());
        return Err(DataFusionError::Plan(reason));
    }
    plan.children().into_iter().try_for_each(|child| check(child.as_ref()))
}

/// Bytes that a plan has spilled.
fn spilled(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0);
    own + plan.children().into_iter().map(|child| spilled(child.as_ref())).sum::<usize>()
}
