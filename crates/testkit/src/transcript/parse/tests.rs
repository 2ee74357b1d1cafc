use super::*;

const WHOLE: &str = "\
# 020: the third message is refused: the session goes on.
@set RATE_MAX_MESSAGES=2
@set SYSTEM_PROMPT_FILE=/tmp/a=b
@face frames
@transports process tcp
# A comment.
@model [\"hola\"]
> {\"type\":\"hello\",\"v\":1}
< {\"type\":\"welcome\",\"resume\":\"$token\"}

~ 10000
@connect b
b>  two spaces
b<
b! eof
! cut
@model {\"status\":500}
~ 5
b! closed client_gone
";

#[test]
fn whole_file() {
    let transcript = Transcript::parse("020-rate.txt", WHOLE).unwrap();
    assert_eq!((transcript.number, transcript.file.as_str()), (20, "020-rate.txt"));
    assert_eq!(transcript.title, "the third message is refused: the session goes on.");
    assert_eq!(transcript.settings[1], ("SYSTEM_PROMPT_FILE".to_owned(), "/tmp/a=b".to_owned()));
    assert_eq!(transcript.face, Face::Frames);
    assert_eq!(transcript.transports, [Transport::Process, Transport::Tcp]);
    assert!(transcript.has_model() && !transcript.runs_over(Transport::Gateway));
    let steps: Vec<_> = transcript.steps.iter().map(|step| (step.line, step.connection.as_str())).collect();
    let lines = [7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19];
    let connections = ["a", "a", "a", "a", "b", "b", "b", "b", "a", "a", "a", "b"];
    assert_eq!(steps, lines.into_iter().zip(connections).collect::<Vec<_>>());
    assert!(matches!(&transcript.steps[5].action, Action::Send(line) if line == " two spaces"));
    assert!(matches!(&transcript.steps[6].action, Action::Expect(Pattern::Plain(parts)) if parts.is_empty()));
    assert!(matches!(transcript.steps[11].action, Action::Closed(CloseReason::ClientGone)));
}

#[test]
fn defaults() {
    let transcript = Transcript::parse("001-x.txt", "# 001: x.\n@face plain\n< hola\n").unwrap();
    assert_eq!(transcript.transports, Transport::ALL);
    assert!(!transcript.has_model());
}

/// Checks problem and line number of a file with `body` after its title.
fn check(body: &str, line: usize, problem: &str) {
    let error = Transcript::parse("001-x.txt", &format!("# 001: x.\n{body}")).unwrap_err();
    assert_eq!(error.line, line, "{body}: {error}");
    assert!(error.to_string().contains(problem), "{body}: {error}");
}

#[test]
fn refused() {
    check("@fase plain\n", 2, "unknown directive @fase");
    check("< hola\n", 2, "@face is missing");
    check("@face both\n", 2, "frames or plain");
    check("@face plain\n@face plain\n", 3, "once");
    check("@face plain\n@set A=1\n", 3, "before anything else");
    check("@set lower=1\n", 2, "no environment name");
    check("@set A\n", 2, "NAME=value");
    check("@transports process udp\n", 2, "unknown transport \"udp\"");
    check("@face plain\n> x\n", 3, "nothing is expected");
    check("@face plain\n@model {\"peices\":[]}\n", 3, "@model");
    check("@face plain\nhola\n", 3, "not a step");
    check("@face plain\nHola\n", 3, "");
    check("@face plain\n>x\n", 3, "no space");
    check("@face plain\nb< x\n", 3, "no connection b");
    check("@face plain\n@connect a\n", 3, "already");
    check("@face plain\n@connect B\n", 3, "lower-case");
    check("@face plain\n! closed bye\n< x\n", 4, "connection a is over");
    check("@face plain\n! cut\n> x\n", 4, "connection a is over");
    check("@face plain\n! closed badly\n", 3, "unknown reason");
    check("@face plain\n! close\n", 3, "cut, eof or closed");
    check("@face plain\n~ soon\n", 3, "milliseconds");
    check("@face plain\n~ 0\n", 3, "has to move");
    check("@face plain\nb~ 5\n", 3, "not a step");
    check("@face frames\n< {\"type\":\"delta\",\"text\":\"$x\"}\n", 3, "a text or $_");
}

#[test]
fn title_matches_file_name() {
    for text in ["", "@face plain\n", "# 002: x\n", "# 1: x\n", "# 001 x\n"] {
        assert!(Transcript::parse("001-x.txt", text).is_err(), "{text}");
    }
}
