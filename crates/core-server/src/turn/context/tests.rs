use proptest::prelude::*;
use protocol::Timestamp;
use protocol::server_frame::{Entry, Role};

use super::*;
use crate::turn::tests::sample_turn;

fn entry(seq: u64, id: &str, role: Role, text: &str) -> Entry {
    Entry {
        seq,
        id: id.parse().unwrap(),
        role,
        text: UserText::new(text),
        at: Timestamp::from_unix_ms(0),
        finish: None,
        source: None,
        help: None,
    }
}

fn context(system: &str, token_budget: f64, every_messages: Option<u64>) -> Context {
    Context::new(ContextSettings {
        max_entries: 20,
        token_budget,
        chars_per_token: 1.0,
        system_prompt: Some(system.into()),
        summary: every_messages.map(|every_messages| SummarySettings { max_tokens: 100, every_messages }),
    })
}

fn earlier(entries: Vec<Entry>, seq: u64) -> Earlier {
    Earlier { summary: None, exchanges: exchanges(entries, seq), more: false }
}

/// Returns the prompt's texts without the instructions. Asserts that roles alternate.
fn texts(prompt: &Prompt) -> Vec<&str> {
    assert_eq!(prompt.messages[0].role, ChatRole::System);
    for (at, message) in prompt.messages[1..].iter().enumerate() {
        assert_eq!(message.role, if at % 2 == 0 { ChatRole::User } else { ChatRole::Assistant }, "{at}");
    }
    prompt.messages[1..].iter().map(|message| message.content.expose()).collect()
}

/// Counts the person's messages in a prompt, joined ones separately.
fn question_count(prompt: &Prompt) -> usize {
    texts(prompt).iter().step_by(2).map(|text| text.split("\n\n").count()).sum()
}

#[test]
fn joins_unanswered_messages_with_the_next() {
    let question = |seq, id: &str| entry(seq, id, Role::User, id);
    let answer = |seq, id: &str| entry(seq, id, Role::Assistant, &format!("to {id}"));
    for (entries, want) in [
        (vec![question(1, "a")], &["a\n\nnow"][..]),
        (vec![question(1, "a"), question(2, "b")], &["a\n\nb\n\nnow"]),
        (vec![question(1, "a"), answer(2, "a"), question(3, "b")], &["a", "to a", "b\n\nnow"]),
        (vec![question(1, "a"), question(2, "b"), answer(3, "b")], &["a\n\nb", "to b", "now"]),
        (vec![answer(1, "gone"), question(2, "b"), answer(3, "b")], &["b", "to b", "now"]),
        (vec![question(1, "a"), question(2, "b"), answer(3, "a")], &["a", "to a", "b\n\nnow"]),
    ] {
        let prompt = context("s", 1_000.0, None).select(earlier(entries, 9), &sample_turn(9, 1));
        assert_eq!(texts(&prompt), want);
    }
}

#[test]
fn pairs_answers_and_omits_later_messages() {
    let entries = || {
        vec![
            entry(1, "a", Role::User, "q1"),
            entry(2, "b", Role::User, "q2"),
            entry(3, "a", Role::Assistant, "a1"),
            entry(4, "now", Role::User, "now"),
            entry(5, "c", Role::User, "later"),
            entry(6, "b", Role::Assistant, "a2"),
        ]
    };
    // 10 + 4 for the instructions, 3 + 4 for the message, 2 × (2 + 4) for an exchange.
    let cases: [(f64, &[&str]); 4] =
        [(1_000.0, &["q1", "a1", "q2", "a2", "now"]), (33.0, &["q2", "a2", "now"]), (32.9, &["now"]), (0.0, &["now"])];
    for (budget, want) in cases {
        let prompt = context("0123456789", budget, None).select(earlier(entries(), 4), &sample_turn(4, 1));
        assert_eq!(texts(&prompt), want, "{budget}");
    }
}

#[test]
fn provider_counts_adjust_the_budget() {
    let context = context("s", 40.0, None);
    let prompt = || context.select(earlier(vec![entry(1, "a", Role::User, "0123456789")], 3), &sample_turn(3, 1));
    let first = prompt();
    assert_eq!((question_count(&first), first.estimated), (2, 26.0));
    context.learn("m", &first, 52);
    assert_eq!(question_count(&prompt()), 1, "26 estimated tokens are 52");
}

#[test]
fn summary_replaces_omitted_exchanges_and_counts() {
    let summary = || Some(Summary { first: 1, last: 3, text: UserText::new("gist") });
    let entries = || vec![entry(5, "a", Role::User, "q1"), entry(6, "b", Role::User, "q2")];
    let select = |budget, more, summary: Option<Summary>| {
        let prompt = context("0123456789", budget, Some(1))
            .select(Earlier { summary, more, ..earlier(entries(), 9) }, &sample_turn(9, 1));
        let has = prompt.messages[0].content.expose().ends_with("instruction:\ngist");
        (has, question_count(&prompt) - 1, prompt.estimated, prompt.summary_job.is_some())
    };
    let extra = 2.0 + heading(Language::English).len() as f64 + 5.0;
    // 21 for the instructions and the message, 6 for each of two earlier ones.
    assert_eq!(select(33.0, false, summary()), (false, 2, 33.0, false), "everything is there");
    assert_eq!(select(33.0 + extra, true, summary()), (true, 2, 33.0 + extra, true));
    assert_eq!(select(32.0 + extra, true, summary()), (true, 1, 27.0 + extra, true), "it takes room");
    assert_eq!(select(20.0 + extra, true, summary()), (false, 2, 33.0, true), "there is no room for it");
    assert_eq!(select(27.0, false, None), (false, 1, 27.0, true));
    let off = context("s", 9_999.0, None)
        .select(Earlier { summary: None, more: true, ..earlier(entries(), 9) }, &sample_turn(9, 1));
    assert_eq!(off.summary_job, None);
}

/// Runs a conversation of exchanges of these lengths, summarized when the context plans it. Returns, for each
/// message, the number of exchanges that were neither summarized nor shown.
fn gaps(context: &Context, lengths: &[usize]) -> Vec<u64> {
    let every = context.settings.summary.unwrap().every_messages;
    // `uncovered`: the first message that no summary draws on.
    let (mut gaps, mut uncovered, mut summaries) = (Vec::new(), 1_u64, 0);
    for (number, seq) in (1..=lengths.len() as u64).zip((1_u64..).step_by(2)) {
        let from = seq.saturating_sub(20).max(1);
        let talk = (from..seq).map(|at| {
            let (role, id) = if at % 2 == 1 { (Role::User, at) } else { (Role::Assistant, at - 1) };
            let text = "x".repeat(lengths[usize::try_from((at - 1) / 2).unwrap()] / 2);
            entry(at, &format!("m{id}"), role, &text)
        });
        let exchanges = exchanges(talk.collect(), seq);
        let summary = (1 < uncovered).then(|| Summary { first: 1, last: uncovered - 2, text: UserText::new("gist") });
        let prompt = context.select(Earlier { summary, exchanges, more: 1 < from }, &sample_turn(seq, number));
        let shown = (prompt.messages.iter().filter(|message| message.role == ChatRole::User).count() - 1) as u64;
        let first_shown = seq - 2 * shown;
        gaps.push(first_shown.saturating_sub(uncovered) / 2);
        if let Some(planned) = prompt.summary_job {
            assert!(number.is_multiple_of(every), "message {number}");
            assert!(planned.before <= seq + 1 && uncovered <= planned.before, "message {number}: {planned:?}");
            assert!(first_shown <= planned.before, "message {number}: something is left out for good");
            // Messages have odd numbers here.
            (uncovered, summaries) = (planned.before | 1, summaries + 1);
        }
    }
    assert!(summaries <= lengths.len() as u64 / every, "{summaries} summaries");
    gaps
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_gaps_for_messages_of_equal_length(length in 2..60_usize, every in 1..12_u64) {
        let context = context("s", 600.0, Some(every));
        let gaps = gaps(&context, &vec![length; 80]);
        // The first summary may be late by the interval between two.
        let late = gaps.iter().position(|gap| 0 < *gap).map_or(0, |first| first + usize::try_from(every).unwrap());
        // If fewer are shown than there are messages until the next summary, the rest has to wait.
        let shown = ((600 - 100 - 120) / (length as u64 + 8)).min(10);
        prop_assert!(gaps.iter().skip(late).all(|gap| *gap <= every.saturating_sub(shown + 1)), "{:?}", gaps);
    }

    #[test]
    fn late_exchanges_are_summarized_later(lengths in prop::collection::vec(2..500_usize, 1..60), every in 1..12_u64) {
        gaps(&context("s", 600.0, Some(every)), &lengths);
    }
}
