// Exercises of steps, one sentence at a time: coming back to the senses, and one small step. Pure; steps-view.js shows them. The
// sentences are `steps_EXERCISE_1`, `_2`… of the words.

const STEPS = { grounding: 5, small_step: 3 };

/** The exercises that the page has, in the order of its menu. */
export const EXERCISES = ["breath_long", "breath_box", "grounding", "small_step"];

export function isSteps(exercise) {
  return Object.hasOwn(STEPS, exercise);
}

/** The names of an exercise's sentences. */
export function stepsOf(exercise) {
  return Array.from({ length: STEPS[exercise] }, (_, place) => `steps_${exercise}_${place + 1}`);
}
