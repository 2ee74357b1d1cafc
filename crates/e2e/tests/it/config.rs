//! Configuration: errors, `.env` files and the documented list of variables.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use clap::CommandFactory as _;
use testkit::line_peer::LinePeer;
use testkit::llm::{LlmStandin, Options};
use tokio::net::TcpListener;

use crate::program::{Kind, Program, Setting, run};
use crate::single_node::Plan;
use crate::test_client::TestClient;

const USAGE: Option<i32> = Some(2);
const BAD_CONFIG: Option<i32> = Some(78);

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Invalid settings with their error texts. The port is valid, but in use.
fn mistakes(kind: Kind, port: u16) -> (Vec<Setting>, Vec<&'static str>) {
    let (own, names): (&[(&'static str, &str)], _) = match kind {
        Kind::Core => (
            &[
                ("RATE_MAX_MESSAGES", "many"),
                ("LLM_URL", "http://127.0.0.1:11434"),
                ("LLM_TEMPERATURE", "3"),
                ("LLM_SUMMARY", "maybe"),
                ("GROQ_API_KEY_FILE", "no-such-file"),
                ("DATABASE_URL", "mysql://somebody:secret@host/db"),
                ("DATA_KEY", "short"),
                ("RETENTION_DAYS", "-1"),
            ],
            vec![
                "RATE_MAX_MESSAGES: ",
                "LLM_URL: ",
                "LLM_TEMPERATURE: ",
                "LLM_SUMMARY: ",
                "GROQ_API_KEY_FILE: ",
                "DATABASE_URL: ",
                "DATA_KEY: ",
                "RETENTION_DAYS: ",
            ],
        ),
        Kind::Gateway => (
            &[("TCP_PORT", "0"), ("ALLOWED_ORIGINS", "example.org"), ("PING_SECONDS", "-1")],
            vec!["TCP_PORT: ", "ALLOWED_ORIGINS: ", "PING_SECONDS: "],
        ),
    };
    let both =
        [("DRAIN_SECONDS", "soon"), ("TRUSTED_PROXIES", "localhost"), ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "fancy")];
    let settings = own.iter().copied().chain(both).map(|(name, value)| (name, value.to_owned()));
    let names = names.into_iter().chain(["DRAIN_SECONDS: ", "TRUSTED_PROXIES: ", "LOG_LEVEL: ", "LOG_FORMAT: "]);
    (settings.chain([(kind.port(), port.to_string())]).collect(), names.collect())
}

#[tokio::test]
async fn reports_all_mistakes_before_binding() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for kind in Kind::BOTH {
        let (settings, names) = mistakes(kind, taken.local_addr().unwrap().port());
        for argument in [None, Some("--check-config")] {
            let output = run(kind, folder.path(), &settings, argument).await;
            let reported = stderr(&output);
            assert_eq!(output.status.code(), BAD_CONFIG, "{reported}");
            let head = format!("{}: bad configuration, {} problems:", kind.name(), names.len());
            assert_eq!(reported.lines().next(), Some(head.as_str()), "{reported}");
            for name in &names {
                let lines = reported.lines().filter(|line| line.trim_start().starts_with(name)).count();
                assert_eq!(lines, 1, "{name}in\n{reported}");
            }
            assert_eq!(reported.lines().count(), names.len() + 1, "{reported}");
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
}

#[tokio::test]
async fn check_config_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for kind in Kind::BOTH {
        let settings = [(kind.port(), taken.local_addr().unwrap().port().to_string())];
        let output = run(kind, folder.path(), &settings, Some("--check-config")).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{}", kind.name());
        let said = String::from_utf8(output.stdout).unwrap();
        let listens = format!("listens on 127.0.0.1:{}", settings[0].1);
        assert!(said.contains("the configuration is good") && said.contains(&listens), "{said}");
    }
}

#[tokio::test]
async fn reports_a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for (kind, host) in [(Kind::Core, "APP_HOST"), (Kind::Gateway, "WS_HOST")] {
        let output = run(kind, folder.path(), &[(kind.port(), address.port().to_string())], None).await;
        let (name, port) = (kind.name(), kind.port());
        let want = format!("{name}: cannot listen on {address} ({host}, {port}): Address already in use");
        assert!(stderr(&output).starts_with(&want), "{}", stderr(&output));
        assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(1), 1), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn rejects_unknown_flags() {
    let folder = tempfile::tempdir().unwrap();
    for kind in Kind::BOTH {
        let output = run(kind, folder.path(), &[], Some("--no-such-flag")).await;
        assert_eq!(output.status.code(), USAGE);
        assert!(stderr(&output).contains("--no-such-flag"), "{}", stderr(&output));
        // Other errors are reported too.
        let output = run(kind, folder.path(), &[("LOG_LEVEL", "loud".to_owned())], Some("--no-such-flag")).await;
        assert!(["--no-such-flag", "LOG_LEVEL: "].iter().all(|it| stderr(&output).contains(it)), "{}", stderr(&output));
        let output = run(kind, folder.path(), &[], Some("--help")).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
        assert!(String::from_utf8_lossy(&output.stdout).contains(kind.port()));
    }
}

#[tokio::test]
async fn health_check_reports_the_state() {
    let mut node = Plan::with_gateway().start().await;
    let ports = [(Kind::Core, node.core.address().port()), (Kind::Gateway, node.gateways[0].address().port())];
    let folder = node.subfolder("elsewhere");
    for want in [0, 1] {
        for (kind, port) in ports {
            let output = run(kind, &folder, &[(kind.port(), port.to_string())], Some("--check-health")).await;
            assert_eq!(output.status.code(), Some(want), "{}: {}", kind.name(), stderr(&output));
        }
        node.gateway().terminate().await;
        node.core.terminate().await;
    }
}

/// `.env.example` documents: "the programs read `.env` in the folder where they are started".
#[tokio::test]
async fn ignores_dotenv_of_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "APP_PORT=x\nWS_PORT=x\n").unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    for kind in Kind::BOTH {
        let output = run(kind, folder.path(), &[], Some("--check-config")).await;
        assert_eq!(output.status.code(), BAD_CONFIG, "{}", stderr(&output));
        let output = run(kind, &inner, &[], Some("--check-config")).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{}", kind.name());
    }
}

/// One start reports all errors: malformed lines, unknown names and invalid values.
#[tokio::test]
async fn reports_line_numbers_of_dotenv_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let dotenv = b"\xef\xbb\xbf# contrase\xf1a\r\nHTTP_PORT=80\r\nADMIN_HOST=localhost\r\nhttps_proxy=http://x\r\nAPP_PROT=5002\r\n\
        LOG_LEVEL=loud\r\nnonsense\r\nDRAIN_SECONDS='soon'\r\nTRUSTED_PROXIES=${NETWORK}\r\nLOG_FORMAT=fancy\r\nLOG_FORMAT=odd";
    std::fs::write(folder.path().join(".env"), dotenv).unwrap();
    for kind in Kind::BOTH {
        let settings = [("WORKERS", "none".to_owned()), ("DRAIN_SECONDS", "later".to_owned())];
        let output = run(kind, folder.path(), &settings, Some("--check-config")).await;
        let reported = stderr(&output);
        assert_eq!(output.status.code(), BAD_CONFIG, "{reported}");
        let mut reported: Vec<_> = reported.lines().map(str::trim).collect();
        assert!(reported[0].ends_with("7 problems:"), "{reported:?}");
        reported.sort();
        for want in [
            ".env, line 5: APP_PROT is no setting; did you mean APP_PORT?",
            ".env, line 7: not NAME=value",
            ".env, line 9: ${…} is not replaced here",
            "DRAIN_SECONDS: \"later\" is not a number",
            "WORKERS: \"none\" is not a number",
            "LOG_LEVEL: \"loud\" is neither",
            "LOG_FORMAT: \"odd\" is neither json nor pretty (.env, line 11)",
        ] {
            assert_eq!(reported.iter().filter(|line| line.starts_with(want)).count(), 1, "{want} in {reported:#?}");
        }
        let located =
            reported.iter().filter(|line| line.ends_with(" (.env, line 6)") || line.ends_with(" (.env, line 11)"));
        assert_eq!(located.count(), 2, "the environment wins, and has no lines: {reported:#?}");
    }
}

/// A key is sent verbatim as in `.env`.
#[tokio::test]
async fn dotenv_does_not_expand_dollars() {
    let standin = LlmStandin::start(Options::default()).await.unwrap();
    for (line, want) in [("gsk$a1", "gsk$a1"), ("\"gsk$a1\"", "gsk$a1"), ("'gsk${a1}' # mine", "gsk${a1}")] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("GROQ_API_KEY=x\nLLM_URL={}\nAPP_PORT=0\nGROQ_API_KEY={line}\n", standin.url());
        std::fs::write(folder.path().join(".env"), text).unwrap();
        let core = Program::start(Kind::Core, folder.path(), &[]).await;
        let mut person = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
        person.hello().await;
        person.ask("a", "hola").await;
        let authorization = standin.requests().last().unwrap().authorization().map(str::to_owned);
        assert_eq!(authorization, Some(format!("Bearer {want}")), "{line}");
    }
}

/// Variables with their defaults; no default is empty.
type Defaults = BTreeMap<String, String>;

fn defaults(command: &clap::Command) -> Defaults {
    let with_variable = command.get_arguments().filter_map(|arg| Some((arg.get_env()?, arg.get_default_values())));
    let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
    with_variable
        .map(|(name, values)| (text(name), values.first().map(|value| text(value)).unwrap_or_default()))
        .collect()
}

/// Parses `#NAME=default` and `NAME=value`; asserts that a comment precedes each.
fn documented() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut entries = Vec::new();
    let mut explained = false;
    for line in text.lines() {
        let setting = line.strip_prefix('#').unwrap_or(line).split_once('=');
        let setting =
            setting.filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        if let Some((name, value)) = setting {
            assert!(explained, "{name} stands in .env.example without a word");
            entries.push((name.to_owned(), value.to_owned()));
        }
        // One comment may cover several consecutive variables.
        explained = line.starts_with("# ") || (explained && setting.is_some());
    }
    entries
}

#[test]
fn example_lists_every_variable_with_its_default() {
    let (core, gateway) = (defaults(&core_server::Args::command()), defaults(&ws_gateway::Args::command()));
    for (name, value) in &core {
        let other = gateway.get(name).unwrap_or(value);
        assert_eq!(value, other, "{name} has two defaults");
    }
    let wanted: Defaults = core.into_iter().chain(gateway).collect();
    let documented = documented();
    assert!(20 <= documented.len(), "found only {}", documented.len());
    let reported: Defaults = documented.iter().cloned().collect();
    assert_eq!(reported.len(), documented.len(), "something is listed twice");
    let differ = |(name, value): &(&String, &String), other: &Defaults| other.get(*name) != Some(value);
    let missing: Vec<_> = wanted.iter().filter(|pair| differ(pair, &reported)).collect();
    // Variables of docker compose only have their defaults there.
    let compose =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml")).unwrap();
    let in_compose = |(name, value): &(&String, &String)| compose.contains(&format!("${{{name}:-{value}}}"));
    let wrong: Vec<_> = reported.iter().filter(|pair| differ(pair, &wanted) && !in_compose(pair)).collect();
    let unknown: Vec<_> =
        wanted.keys().chain(reported.keys()).filter(|name| !service_runtime::is_known_variable(name)).collect();
    assert!(unknown.is_empty(), "service-runtime's list of names lacks {unknown:?}");
    assert!(missing.is_empty() && wrong.is_empty(), "the services have {missing:?},\n.env.example has {wrong:?}");
}

/// Both services accept the example unchanged.
#[tokio::test]
async fn example_is_a_valid_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = documented().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(folder.path().join(".env"), lines).unwrap();
    for kind in Kind::BOTH {
        let output = run(kind, folder.path(), &[], Some("--check-config")).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{}", kind.name());
    }
}

/// Malformed keys are rejected before any provider is called.
#[tokio::test]
async fn rejects_malformed_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    for (value, in_file) in [
        (Some("'gsk_4f'"), None),
        (Some("\"gsk_4f\""), None),
        (Some("gsk_4f gsk_5a"), None),
        (Some("paste your key"), None),
        (None, Some("\u{feff}gsk_4f")),
        (None, Some("gsk_4f\ngsk_5a\n")),
    ] {
        let key = match (value, in_file) {
            (Some(value), _) => ("GROQ_API_KEY", value.to_owned()),
            (None, text) => {
                std::fs::write(&file, text.unwrap()).unwrap();
                ("GROQ_API_KEY_FILE", file.display().to_string())
            }
        };
        for argument in [None, Some("--check-config")] {
            let settings = [("APP_PORT", "0".to_owned()), key.clone()];
            let output = run(Kind::Core, folder.path(), &settings, argument).await;
            let reported = stderr(&output);
            assert_eq!(output.status.code(), BAD_CONFIG, "{key:?}: {reported}");
            assert!(reported.contains(&format!("{}: ", key.0)) && !reported.contains("gsk_4f"), "{key:?}: {reported}");
        }
    }
}
