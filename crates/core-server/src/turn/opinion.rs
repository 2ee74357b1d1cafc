//! Second opinion on a message. It only raises the level, and up to `high`: the assessment without it stands, and its
//! help is shown already.

use safety::{Kind, Level};
use session::{Message, Progress, Risk, Turn, TurnEvent};

use super::generate::Generation;

/// Highest level by a second opinion: `imminent` silences the model, so no model decides on it.
const HIGHEST: Level = Level::High;

impl Generation<'_> {
    /// Returns true if a second opinion may change the risk.
    pub(super) fn is_opinion_wanted(self) -> bool {
        self.service.guard.is_some() && self.turn.message.risk.level < HIGHEST
    }

    /// Requests a second opinion, within its timeout. If it raises the level, reports that and returns the turn with the
    /// new risk.
    pub(super) async fn second_opinion(self) -> Option<Turn> {
        let guard = self.service.guard.as_ref().filter(|_| self.is_opinion_wanted())?;
        let message = &self.turn.message;
        let level = guard.opinion(&message.text).await?;
        let risk = raised(message.risk, level)?;
        self.sink.on(TurnEvent::Progress(Progress::RiskRaised(risk)));
        Some(Turn { message: Message { risk, ..message.clone() }, ..self.turn.clone() })
    }
}

/// Returns `risk` at `level`; `None` if that is not higher.
fn raised(risk: Risk, level: Level) -> Option<Risk> {
    let level = level.min(HIGHEST);
    if level <= risk.level {
        return None;
    }
    let mut kinds = risk.kinds;
    if kinds.is_empty() {
        // A guard returns no kind; this one selects the general help lines.
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
