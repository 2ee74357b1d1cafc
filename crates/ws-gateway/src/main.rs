//! The `ws-gateway` program: configuration, port, signals, exit code.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use service_runtime::{signals, telemetry};
use tokio_util::sync::CancellationToken;
use ws_gateway::{Args, Config, Gateway, Workers};

fn main() -> ExitCode {
    service_runtime::run_program("ws-gateway", run)
}

fn run(args: &Args, mut config: Config) -> Result<(), Box<dyn Error>> {
    if args.check_health {
        return Ok(ws_gateway::check_health(&config)?);
    }
    let _telemetry = telemetry::init("ws-gateway", &args.telemetry)?;
    if config.fit_to_file_limit(service_runtime::raise_fd_limit()) {
        tracing::warn!(max_connections = config.max_connections, "MAX_CONNECTIONS lowered: too few open files allowed");
    }
    let workers = Workers::start(config.workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config, &workers));
    // In the background: a blocking DNS look-up must not delay the exit.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config, workers: &Workers) -> Result<(), Box<dyn Error>> {
    let listener = ws_gateway::bind(&config).await?;
    let admin_listener = config.admin.bind().await?;
    let (listen, admin) = (listener.local_addr()?, admin_listener.local_addr()?);
    tracing::info!(%listen, %admin, cores = %config.cores, workers = config.workers, "ready");
    let shutdown = CancellationToken::new();
    let gateway = Gateway::new(config, shutdown.clone());
    let admin = Arc::new(gateway.admin()).serve(admin_listener);
    let stop = async { signals::terminated().await.inspect(|()| shutdown.cancel()) };
    let served = async { tokio::join!(gateway.serve(listener, workers), stop) };
    // The admin port serves until the end, so that `/readyz` reports the drain.
    let (drained, stopped) = tokio::select! {
        never = admin => match never {},
        served = served => served,
    };
    stopped?;
    tracing::info!(connections.left = drained.remaining, "stopped");
    Ok(())
}
