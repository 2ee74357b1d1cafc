//! Configuration, from outside.

use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use service_runtime::ConfigError;
use ws_gateway::{Args, Config};

fn problems(args: &[&str]) -> Vec<String> {
    let args = Args::parse_from(["ws-gateway"].iter().chain(args));
    match Config::new(&args) {
        Ok(_) => Vec::new(),
        Err(ConfigError { problems }) => problems,
    }
}

#[test]
fn defaults() {
    let config = Config::new(&Args::parse_from(["ws-gateway"])).unwrap();
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8765));
    assert_eq!(config.cores.to_string(), "127.0.0.1:5001");
    assert_eq!((config.max_connections, config.max_connections_per_address), (10_000, 256));
    assert_eq!((config.drain_limit.as_secs(), config.keepalive.ping_interval.as_secs()), (20, 25));
    assert!(0 < config.workers);
}

#[test]
fn reports_every_problem() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["--ws-host", "::1", "--tcp-host", "core-server.internal"], &[]),
        (&["--ws-port", "70000"], &["WS_PORT: \"70000\" is not a number from 0 to 65535"]),
        (&["--tcp-port", "0"], &["TCP_PORT: "]),
        (&["--tcp-host", "core-1,core-2:5002,[::1]:5003"], &[]),
        (&["--tcp-host", "core-1,"], &["TCP_HOST: \"\" is neither"]),
        (&["--tcp-host", "core:0"], &["TCP_HOST: the port of \"core:0\" is not"]),
        (&["--connects-per-minute-per-address", "0"], &["CONNECTS_PER_MINUTE_PER_ADDRESS: "]),
        (&["--tcp-host", "http://core"], &["TCP_HOST: \"http://core\" is neither"]),
        (&["--trusted-proxies", "10.0.0.0/99"], &["TRUSTED_PROXIES: \"10.0.0.0/99\" is neither"]),
        (&["--allowed-origins", "example.org"], &["ALLOWED_ORIGINS: \"example.org\" is not an origin"]),
        (
            &["--ws-host", "", "--max-connections", "0", "--max-connections-per-address", "-", "--drain-seconds=-1"],
            &["WS_HOST: ", "MAX_CONNECTIONS: ", "MAX_CONNECTIONS_PER_ADDRESS: ", "DRAIN_SECONDS: "],
        ),
        (
            &["--ping-seconds", "0", "--pong-seconds", "x", "--handshake-seconds", "NaN", "--workers", "0"],
            &["HANDSHAKE_SECONDS: ", "PING_SECONDS: ", "PONG_SECONDS: ", "WORKERS: "],
        ),
        (&["--exit-url", "https://example.org:8443/a?b=1#c"], &[]),
        (&["--exit-url", "http://example.org"], &["EXIT_URL: \"http://example.org\" is not"]),
        (&["--exit-url", "https://"], &["EXIT_URL: "]),
        (&["--exit-url", "https://a@b.example/"], &["EXIT_URL: "]),
        (&["--exit-url", "javascript:alert(1)"], &["EXIT_URL: "]),
        (&["--connect-timeout-seconds", "1e9"], &["CONNECT_TIMEOUT_SECONDS: "]),
    ];
    for (args, want) in cases {
        let got = problems(args);
        let fits = got.len() == want.len() && got.iter().zip(*want).all(|(got, want)| got.starts_with(want));
        assert!(fits, "{args:?}\nwant {want:?}\n got {got:?}");
    }
}

#[test]
fn every_setting_has_a_variable() {
    let command = Args::command();
    for arg in command.get_arguments() {
        let (id, env) = (arg.get_id().as_str(), arg.get_env().map(|env| env.to_string_lossy().into_owned()));
        match id {
            "check_config" | "check_health" | "help" | "version" => assert_eq!(env, None),
            "otlp_endpoint" => assert_eq!(env.unwrap(), "OTEL_EXPORTER_OTLP_ENDPOINT"),
            _ => assert_eq!(env.unwrap(), id.to_uppercase()),
        }
    }
}

#[test]
fn max_connections_fits_the_file_limit() {
    for (files, want) in [(1_000_000, 10_000), (20_192, 10_000), (1_024, 416), (10, 1)] {
        let mut config = Config::new(&Args::parse_from(["ws-gateway"])).unwrap();
        assert_eq!(config.fit_to_file_limit(files), want < 10_000, "{files}");
        assert_eq!(config.max_connections, want, "{files}");
    }
    let mut config = Config::new(&Args::parse_from(["ws-gateway", "--workers", "100"])).unwrap();
    config.fit_to_file_limit(1_024);
    assert_eq!(config.max_connections, (1_024 - 128 - 40 - 300) / 2, "each worker has files of its own");
}

#[test]
fn check_config() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-config");
    std::fs::create_dir_all(&folder).unwrap();
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], i32, &'a str);
    let cases: &[Case<'_>] = &[
        ("", &[], 0, ""),
        ("WS_PORT=\nALLOWED_ORIGINS=\n", &[], 0, ""), // Nothing is the default.
        ("WS_PORT=x\nTCP_PORT=y\n", &[], 78, "2 problems:\n  WS_PORT: \"x\" is not a number"),
        ("WS_PORT=x\n", &[("WS_PORT", "8765")], 0, ""), // The environment wins.
        ("", &[("TCP_HOST", "a b")], 78, "TCP_HOST: \"a b\""),
        ("", &[("LOG_FORMAT", "xml")], 78, "LOG_FORMAT"),
    ];
    for (dotenv, variables, code, message) in cases {
        std::fs::write(folder.join(".env"), dotenv).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_ws-gateway"));
        let program = program.arg("--check-config").env_clear().envs(variables.iter().copied());
        let output = program.current_dir(&folder).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{dotenv:?} {variables:?}: {stderr}");
        assert!(stderr.contains(message), "{dotenv:?} {variables:?}: {stderr}");
    }
}
