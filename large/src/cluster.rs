//! The same queries on a cluster of Apache DataFusion Ballista.
//!
//! A [`scheduler`] cuts each query into stages, [`executor`]s run them, and [`Engine::cluster`]
//! sends the queries. All of them are this program, since scheduler and executors must know the
//! functions of the steps, and all see the intermediate files under the same path.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ballista::prelude::SessionContextExt as _;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::{default_config_producer, default_session_builder};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::SessionState;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::engine::{configure, work_folder};
use crate::functions;
use crate::{Engine, Error, Result};

/// How an executor works.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Host and port of the scheduler.
    pub scheduler: (String, u16),
    /// Address to listen at.
    pub bind: String,
    /// Name under which others reach this machine.
    pub host: String,
    /// Port from which others fetch results.
    pub port: u16,
    /// Port at which the scheduler gives orders.
    pub control_port: u16,
    /// Folder for results of stages and for what does not fit into memory.
    pub work: std::path::PathBuf,
    /// Tasks at a time.
    pub tasks: usize,
    /// Bytes that all tasks together may hold.
    pub memory: u64,
}

impl Engine {
    /// An engine on the cluster of this scheduler (`http://HOST:PORT`), with queries in so many
    /// parts. Its intermediate files are below `folder`, which all machines have.
    ///
    /// # Errors
    /// [`Error::Work`] if there can be no files, [`Error::Query`] if the address makes no sense.
    pub async fn cluster(folder: &Path, scheduler: &str, partitions: usize) -> Result<Self> {
        let folder = work_folder(folder)?;
        let config =
            configure(SessionConfig::new_with_ballista()).with_target_partitions(partitions.max(2));
        let state = SessionStateBuilder::new().with_default_features().with_config(config).build();
        let context = SessionContext::remote_with_state(scheduler, state).await;
        Ok(Self::new(context.map_err(Error::query("connection to the scheduler"))?, folder))
    }
}

/// Runs a scheduler until it fails.
///
/// # Errors
/// [`Error::Cluster`].
pub async fn scheduler(address: SocketAddr, host: &str) -> Result<()> {
    let fail = |error: &dyn std::fmt::Display| Error::Cluster {
        who: format!("scheduler at {address}"),
        reason: error.to_string(),
    };
    let config = SchedulerConfig {
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        external_host: host.into(),
        override_session_builder: Some(Arc::new(session)),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await.map_err(|e| fail(&e))?;
    start_server(cluster, address, Arc::new(config)).await.map_err(|e| fail(&e))
}

/// Runs an executor until it is told to stop.
///
/// # Errors
/// [`Error::Cluster`].
pub async fn executor(options: &ExecutorOptions) -> Result<()> {
    let fail = |error: &dyn std::fmt::Display| Error::Cluster {
        who: format!("executor at {}:{}", options.host, options.port),
        reason: error.to_string(),
    };
    let state = session(default_config_producer()).map_err(|e| fail(&e))?;
    let config = ExecutorProcessConfig {
        bind_host: options.bind.clone(),
        external_host: Some(options.host.clone()),
        port: options.port,
        grpc_port: options.control_port,
        scheduler_host: options.scheduler.0.clone(),
        scheduler_port: options.scheduler.1,
        scheduler_connect_timeout_seconds: 30,
        vcores: options.tasks,
        work_dir: Some(options.work.display().to_string()),
        memory_pool_size: Some(options.memory),
        override_function_registry: Some(Arc::new(BallistaFunctionRegistry::from(&state))),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config)).await.map_err(|e| fail(&e))
}

/// A session that knows our functions.
fn session(config: SessionConfig) -> datafusion::error::Result<SessionState> {
    let state = default_session_builder(config)?;
    let context = SessionContext::new_with_state(state);
    for function in functions::all() {
        context.register_udf(function);
    }
    Ok(context.state())
}
