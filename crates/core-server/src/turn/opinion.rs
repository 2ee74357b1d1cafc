//! A second opinion on what the person wrote. It only raises, and up to `high`: what is found without it stands, and
//! help for that is on the screen already.

use safety::{Kind, Level};

use super::{AnswerSink, PendingTurn, Risk, TurnService};

/// Levels beyond this one are not for a model to find.
const HIGHEST: Level = Level::High;

impl TurnService {
    /// Tells whether a second opinion on `turn` may change anything.
    pub(super) fn is_opinion_wanted(&self, turn: &PendingTurn) -> bool {
        self.guard.is_some() && turn.risk.level < HIGHEST
    }

    /// Asks for a second opinion, within its time limit. Returns the job as it is to be answered if that raises the
    /// level, which `sink` has been told then.
    pub(super) async fn second_opinion(&self, turn: &PendingTurn, sink: &dyn AnswerSink) -> Option<PendingTurn> {
        let guard = self.guard.as_ref().filter(|_| self.is_opinion_wanted(turn))?;
        let level = guard.opinion(&turn.text).await?;
        let risk = raised(turn.risk, level)?;
        sink.risk_raised(risk);
        Some(PendingTurn { risk, ..turn.clone() })
    }
}

/// `risk` at `level`, as far as that is higher.
fn raised(risk: Risk, level: Level) -> Option<Risk> {
    let level = level.min(HIGHEST);
    if level <= risk.level {
        return None;
    }
    let mut kinds = risk.kinds;
    if kinds.is_empty() {
        // Of all that a guard is asked about, the one that leads to the lines for everybody.
        kinds.insert(Kind::Suicide);
    }
    Some(Risk { level, kinds, ..risk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_up_to_high_only() {
        use Level::{Concern, High, Imminent, None};
        for (now, opinion, want) in [
            (None, None, Option::None),
            (None, Concern, Some(Concern)),
            (None, High, Some(High)),
            (None, Imminent, Some(High)),
            (Concern, None, Option::None),
            (Concern, Concern, Option::None),
            (Concern, Imminent, Some(High)),
            (High, Imminent, Option::None),
            (Imminent, High, Option::None),
        ] {
            let risk = raised(Risk { level: now, ..Risk::default() }, opinion);
            assert_eq!(risk.map(|risk| risk.level), want, "{now} and {opinion}");
        }
    }

    #[test]
    fn raise_keeps_known_kinds() {
        let known = Risk { kinds: [Kind::Eating].into_iter().collect(), ..Risk::default() };
        let kinds = |risk| raised(risk, Level::Concern).map(|risk| risk.kinds.iter().collect::<Vec<_>>());
        assert_eq!(kinds(known), Some(vec![Kind::Eating]));
        assert_eq!(kinds(Risk::default()), Some(vec![Kind::Suicide]));
    }
}
