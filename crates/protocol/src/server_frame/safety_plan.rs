//! The result of `safety_plan` (`proto-line/SPEC.md` §5).

use serde::{Deserialize, Serialize};

use crate::text::UserText;

/// Safety plan that a person has made in the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyPlan {
    /// Title in the person's language.
    pub title: String,
    /// The steps that were answered, in their order.
    pub steps: Vec<PlanStep>,
    /// Closing line: the way to help when the danger grows.
    pub footer: String,
}

/// Step of a [`SafetyPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Heading in the person's language.
    pub heading: String,
    /// The person's words.
    pub text: UserText,
}

impl SafetyPlan {
    /// Returns the plan as lines of text: the title, the steps, the way to help.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let step = |(number, PlanStep { heading, text }): (usize, &PlanStep)| {
            format!("{number}. {heading}: {}", text.expose())
        };
        let steps = (1..).zip(&self.steps).map(step);
        [self.title.clone()].into_iter().chain(steps).chain([self.footer.clone()])
    }
}
