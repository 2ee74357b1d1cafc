//! The `core-server` program: configuration, listeners, signals, exit code.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use core_server::{Args, Command, Config, Server, server};
use service_runtime::{TemporaryFailure, signals, telemetry};
use store::{OpenError, RunLock};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    service_runtime::run_program("core-server", run)
}

fn run(args: &Args, mut config: Config) -> Result<(), Box<dyn Error>> {
    if args.check_health {
        return Ok(core_server::check_health(&config)?);
    }
    if let Some(Command::Report { year, json }) = args.command {
        // Telemetry stays off: log lines would mix with the report on standard output.
        return tokio::runtime::Runtime::new()?.block_on(report(config, year, json));
    }
    let _telemetry = telemetry::init("core-server", &args.telemetry)?;
    if config.fit_to_file_limit(service_runtime::raise_fd_limit()) {
        tracing::warn!(max_connections = config.max_connections, "MAX_CONNECTIONS lowered: too few open files allowed");
    }
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = config.workers {
        threads.worker_threads(workers);
    }
    threads.enable_all().build()?.block_on(async {
        match args.command {
            None => serve(config).await,
            Some(Command::Rekey) => rekey(config).await,
            Some(Command::Explain { .. } | Command::Report { .. }) => Ok(()),
        }
    })
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let listener = server::bind(&config).await?;
    let admin_listener = config.admin.bind().await?;
    let database = config.database.url.to_string();
    let lock = RunLock::take(&config.database.url);
    // Held until exit: two cores on one SQLite file would miss each other's writes.
    let _run_lock = lock.map_err(|error| -> Box<dyn Error> {
        match error {
            in_use @ OpenError::InUse { .. } => TemporaryFailure::new(in_use).into(),
            error => error.into(),
        }
    })?;
    let store = store::open(config.database.clone()).await?;
    let model = config.models();
    let server = Arc::new(Server::new(config, store)?);
    tracing::info!(
        listen = %listener.local_addr()?, admin = %admin_listener.local_addr()?, model, database, "ready"
    );
    let admin = Arc::new(server.admin()).serve(admin_listener);
    let shutdown = CancellationToken::new();
    let stop = async { signals::terminated().await.inspect(|()| shutdown.cancel()) };
    // Concurrent with the service: a provider that hangs must not delay its start.
    let prepared = Arc::clone(&server);
    let preparation = async { tokio::join!(prepared.check_model(), prepared.prepare_guard()) };
    let preparation = shutdown.run_until_cancelled(preparation);
    let served = async { tokio::join!(server.serve(listener, shutdown.clone()), stop, preparation) };
    // The admin port serves until the end: `/readyz` must say `unavailable` while the core drains.
    let (left, stopped, _) = tokio::select! {
        never = admin => match never {},
        served = served => served,
    };
    stopped?;
    tracing::info!(tasks.left = left, "stopped");
    Ok(())
}

async fn report(config: Config, year: u16, json: bool) -> Result<(), Box<dyn Error>> {
    let store = store::open(config.database).await?;
    let counts = store.referrals(year).await?;
    Ok(core_server::report(std::io::stdout().lock(), year, &counts, json)?)
}

async fn rekey(config: Config) -> Result<(), Box<dyn Error>> {
    let store = store::open(config.database).await?;
    store::rekey(&*store).await?;
    tracing::info!("re-encryption under the current key finished");
    Ok(())
}
