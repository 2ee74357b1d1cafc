//! The `ws-gateway` program: settings, port, signals, exit code.

use std::error::Error;
use std::process::ExitCode;

use boot::{signals, telemetry};
use tokio_util::sync::CancellationToken;
use ws_gateway::{Args, Config, Workers};

fn main() -> ExitCode {
    boot::run_program("ws-gateway", run)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut config = Config::new(args)?;
    if args.check_config {
        return Ok(());
    }
    if args.check_health {
        return Ok(ws_gateway::check_health(&config)?);
    }
    let _telemetry = telemetry::init("ws-gateway", &args.telemetry)?;
    if config.fit_to_file_limit(boot::raise_fd_limit()) {
        tracing::warn!(max_connections = config.max_connections, "MAX_CONNECTIONS lowered: too few open files allowed");
    }
    let workers = Workers::start(config.workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config, &workers));
    // Not held up by a name that is being looked up.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config, workers: &Workers) -> Result<(), Box<dyn Error>> {
    let listener = ws_gateway::bind(&config).await?;
    tracing::info!(listen = %listener.local_addr()?, cores = %config.cores, workers = config.workers, "ready");
    let shutdown = CancellationToken::new();
    let serving = ws_gateway::serve(listener, config, workers, shutdown.clone());
    let stop = async { signals::terminated().await.inspect(|()| shutdown.cancel()) };
    let (drained, stopped) = tokio::join!(serving, stop);
    stopped?;
    tracing::info!(connections.left = drained.left, "stopped");
    Ok(())
}
