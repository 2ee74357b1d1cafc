//! Startup and shutdown.

use std::process::Command;
use std::time::Duration;

use testkit::process::Launch;
use ws_gateway::DrainReport;

use crate::rig::{Rig, config, within};

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ws-gateway"));
    program.env_clear().env("ADMIN_PORT", "0").current_dir(env!("CARGO_TARGET_TMPDIR"));
    program
}

#[tokio::test]
async fn drain_closes_connections() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    core.say("a line before\n").await;
    assert_eq!(client.text().await, "a line before");
    rig.shutdown.cancel();
    assert_eq!(client.closed().await, (1001, "draining".to_owned()));
    core.ended().await;
    drop((client, core));
    assert_eq!(within(rig.served).await.unwrap(), DrainReport { remaining: 0 });
}

/// A balancer must notice the drain before clients reconnect, or it routes them back here.
#[tokio::test]
async fn drain_rejects_new_connections_before_closing_open_ones() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    rig.shutdown.cancel();
    assert_eq!(rig.status("/readyz").await, 503);
    assert!(rig.request("/ws", &[]).await.is_err(), "no newcomer");
    core.say("still here\n").await;
    assert_eq!(client.text().await, "still here");
    assert_eq!(client.closed().await, (1001, "draining".to_owned()));
}

#[tokio::test]
async fn drain_times_out() {
    let rig = Rig::start_with(|config| config.drain_limit = Duration::from_millis(50)).await;
    let (_client, _core) = rig.pair(None).await;
    rig.shutdown.cancel();
    assert_eq!(within(rig.served).await.unwrap(), DrainReport { remaining: 1 });
}

#[tokio::test]
async fn idle_gateway_stops_at_once() {
    let rig = Rig::start().await;
    rig.shutdown.cancel();
    assert_eq!(within(rig.served).await.unwrap(), DrainReport { remaining: 0 });
}

#[tokio::test]
async fn reports_port_in_use() {
    let taken = ws_gateway::bind(&config()).await.unwrap();
    let mut config = config();
    config.port = taken.local_addr().unwrap().port();
    let error = ws_gateway::bind(&config).await.unwrap_err().to_string();
    let want = format!("cannot listen on 127.0.0.1:{} (WS_HOST, WS_PORT): Address already in use", config.port);
    assert!(error.starts_with(&want), "{error}");
    let output = program().env("WS_PORT", config.port.to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&want));
}

#[tokio::test]
async fn health_check_passes_at_capacity() {
    let launch = Launch::new(env!("CARGO_BIN_EXE_ws-gateway")).env("WS_PORT", "0").env("MAX_CONNECTIONS", "1");
    let mut gateway = launch.start().await.unwrap();
    let address = gateway.listen().unwrap();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let output = program().args(["--check-health", "--ws-port", &address.port().to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    gateway.kill().await.unwrap();
}

#[tokio::test]
async fn sigterm_stops_the_program_and_fails_health_check() {
    let launch = Launch::new(env!("CARGO_BIN_EXE_ws-gateway")).env("WS_PORT", "0").env("WORKERS", "2");
    let mut gateway = launch.start().await.unwrap();
    let port = gateway.listen().unwrap().port().to_string();
    let health = || program().args(["--check-health", "--ws-port", &port]).output().unwrap().status.code();
    assert_eq!(health(), Some(0));
    assert_eq!(gateway.terminate().await.unwrap().code(), Some(0));
    let log = gateway.logs().concat();
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    assert_eq!(health(), Some(1));
}
