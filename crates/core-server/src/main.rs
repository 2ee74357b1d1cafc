//! The `core-server` program: settings, port, signals, exit code.

use std::process::ExitCode;
use std::sync::Arc;

use boot::{ConfigError, EX_CONFIG, signals, telemetry};
use core_server::store::MemoryStore;
use core_server::{Args, Config, Server, server};
use tokio_util::sync::CancellationToken;

#[expect(clippy::print_stderr, reason = "there may be no log yet, and people start it by hand")]
fn main() -> ExitCode {
    let args = match boot::load_dotenv().map(|()| boot::parse_args::<Args>()) {
        Ok(Ok(args)) => args,
        Ok(Err(error)) => {
            let _broken_pipe = error.print();
            return if error.use_stderr() { EX_CONFIG.into() } else { ExitCode::SUCCESS };
        }
        Err(error) => {
            eprintln!("core-server: {error}");
            return EX_CONFIG.into();
        }
    };
    run(&args).unwrap_or_else(|error| {
        eprintln!("core-server: {error}");
        if error.is::<ConfigError>() { EX_CONFIG.into() } else { ExitCode::FAILURE }
    })
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut config = Config::new(args)?;
    if args.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    if args.check_health {
        core_server::check_health(&config)?;
        return Ok(ExitCode::SUCCESS);
    }
    let _telemetry = telemetry::init("core-server", &args.telemetry)?;
    if config.fit_to_file_limit(boot::raise_fd_limit()) {
        tracing::warn!(max_connections = config.max_connections, "MAX_CONNECTIONS lowered: too few open files allowed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = server::bind(&config).await?;
        let model = config.llm.as_ref().map_or("none: the built-in companion answers", |llm| &llm.model).to_owned();
        let server = Arc::new(Server::new(config, Arc::new(MemoryStore::default()))?);
        tracing::info!(listen = %listener.local_addr()?, model, "ready");
        let shutdown = CancellationToken::new();
        let stop = async { signals::terminated().await.inspect(|()| shutdown.cancel()) };
        let (left, stopped) = tokio::join!(server.serve(listener, shutdown.clone()), stop);
        stopped?;
        tracing::info!(tasks.left = left, "stopped");
        Ok(ExitCode::SUCCESS)
    })
}
