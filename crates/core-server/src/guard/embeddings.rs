//! Opinion by embeddings: cosine similarity to the nearest reference sentence of risk, less that to the nearest
//! harmless one.
//!
//! Scales differ between models, so the threshold is calibrated: the margin that few harmless references exceed when
//! compared with the others.

use std::sync::OnceLock;

use protocol::UserText;
use safety::Level;
use serde::{Deserialize, Serialize};

use super::client::{Client, GuardError};

/// Reference sentences, one a line: level, then text.
const SENTENCES: &str = include_str!("sentences.txt");
/// Sentences per request.
const BATCH: usize = 32;
/// Quantile of the harmless margins that becomes the threshold. The rest are denials and the like, so close to the
/// sentences of risk that they would raise the threshold for all.
const BELOW: f32 = 0.95;
/// Multiple of the threshold from which on the nearest sentence decides the level; below it is [`Level::Concern`].
const CLEARLY: f32 = 2.0;

/// Embedded reference sentences, once fetched.
#[derive(Debug, Default)]
pub(super) struct References(OnceLock<Known>);

#[derive(Debug)]
struct Known {
    sentences: Vec<(Level, Vector)>,
    /// Mean of all embeddings, which is subtracted: the common component carries no information.
    mean: Vec<f32>,
    threshold: f32,
}

/// Unit vector, or zero.
#[derive(Debug)]
struct Vector(Vec<f32>);

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    input: &'a [&'a str],
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

impl References {
    /// Embeds every reference sentence and calibrates the threshold.
    pub(super) async fn learn(&self, client: &Client, model: Option<&str>) -> Result<(), GuardError> {
        let sentences: Vec<_> = sentences().collect();
        let mut embeddings = Vec::with_capacity(sentences.len());
        for batch in sentences.chunks(BATCH) {
            let texts: Vec<_> = batch.iter().map(|(_, text)| *text).collect();
            embeddings.extend(embed(client, model, &texts).await?);
        }
        let levels = sentences.iter().map(|(level, _)| *level);
        let known = Known::new(levels.zip(embeddings).collect()).ok_or(GuardError::Malformed)?;
        // A second preparation yields the same.
        let _ = self.0.set(known);
        Ok(())
    }

    /// Embeds and classifies `text`; `None` until prepared.
    pub(super) async fn ask(
        &self,
        client: &Client,
        model: Option<&str>,
        text: &UserText,
    ) -> Result<Option<Level>, GuardError> {
        let Some(known) = self.0.get() else { return Ok(None) };
        let embedding = embed(client, model, &[text.expose()]).await?.into_iter().next();
        let level = embedding.and_then(|embedding| known.level(&embedding));
        level.ok_or(GuardError::Malformed).map(Some)
    }
}

/// Embeds `texts`, in order.
async fn embed(client: &Client, model: Option<&str>, texts: &[&str]) -> Result<Vec<Vec<f32>>, GuardError> {
    let Response { mut data } = client.call(&Request { model, input: texts }).await?;
    data.sort_by_key(|embedding| embedding.index);
    let is_of_each = data.len() == texts.len() && data.iter().enumerate().all(|(at, embedding)| at == embedding.index);
    if !is_of_each {
        return Err(GuardError::Malformed);
    }
    Ok(data.into_iter().map(|embedding| embedding.embedding).collect())
}

fn sentences() -> impl Iterator<Item = (Level, &'static str)> {
    let lines = SENTENCES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let (level, text) = line.split_once(' ')?;
        let levels = [Level::None, Level::Concern, Level::High];
        Some((levels.into_iter().find(|known| known.name() == level)?, text))
    })
}

impl Known {
    /// `None` if the vectors differ in length, or there are none.
    fn new(embeddings: Vec<(Level, Vec<f32>)>) -> Option<Self> {
        let mean = mean(&embeddings)?;
        let sentences = embeddings.into_iter().map(|(level, embedding)| (level, Vector::new(embedding, &mean)));
        let mut known = Self { sentences: sentences.collect(), mean, threshold: 0.0 };
        let harmless = known.sentences.iter().enumerate().filter(|(_, (level, _))| *level == Level::None);
        let margins = harmless.map(|(at, (_, vector))| known.margin(vector, Some(at)).0);
        known.threshold = quantile(margins.collect(), BELOW).max(0.0);
        Some(known)
    }

    /// Classifies an embedding; `None` if its length differs.
    fn level(&self, embedding: &[f32]) -> Option<Level> {
        if embedding.len() != self.mean.len() {
            return None;
        }
        let (margin, nearest) = self.margin(&Vector::new(embedding.to_vec(), &self.mean), None);
        Some(match margin {
            margin if margin <= self.threshold => Level::None,
            margin if margin <= CLEARLY * self.threshold => Level::Concern,
            _ => nearest,
        })
    }

    /// Similarity to the nearest sentence of risk less that to the nearest harmless one, and the former's level;
    /// ignores the sentence `left_out`.
    fn margin(&self, vector: &Vector, left_out: Option<usize>) -> (f32, Level) {
        let (mut harmless, mut risk, mut nearest) = (-1.0_f32, -1.0, Level::Concern);
        for (at, (level, sentence)) in self.sentences.iter().enumerate() {
            let likeness = vector.cosine(sentence);
            if *level == Level::None {
                if left_out != Some(at) {
                    harmless = harmless.max(likeness);
                }
            } else if risk < likeness {
                (risk, nearest) = (likeness, *level);
            }
        }
        (risk - harmless, nearest)
    }
}

/// Quantile `share` of `values`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "there are a few hundred values, and the share lies between 0 and 1"
)]
fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    values.sort_by(f32::total_cmp);
    let at = (values.len() as f32 * share) as usize;
    values.get(at).or(values.last()).copied().unwrap_or_default()
}

fn mean(embeddings: &[(Level, Vec<f32>)]) -> Option<Vec<f32>> {
    let (_, first) = embeddings.first().filter(|(_, first)| !first.is_empty())?;
    let mut sum = vec![0.0; first.len()];
    #[expect(clippy::cast_precision_loss, reason = "there are a few hundred sentences")]
    let count = embeddings.len() as f32;
    for (_, embedding) in embeddings {
        if embedding.len() != sum.len() {
            return None;
        }
        sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += value / count);
    }
    Some(sum)
}

impl Vector {
    fn new(mut embedding: Vec<f32>, mean: &[f32]) -> Self {
        embedding.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
        let length = embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
        if 0.0 < length {
            embedding.iter_mut().for_each(|value| *value /= length);
        }
        Self(embedding)
    }

    fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(one, other)| one * other).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let sentences = [
            (Level::None, [1.0, 0.0, 0.1]),
            (Level::None, [0.9, 0.2, 0.0]),
            (Level::Concern, [0.0, 1.0, 0.0]),
            (Level::High, [0.0, 0.0, 1.0]),
        ];
        Known::new(sentences.map(|(level, vector)| (level, vector.to_vec())).into()).unwrap()
    }

    #[test]
    fn nearest_sentences_decide() {
        let known = known();
        for (embedding, want) in [
            ([1.0, 0.1, 0.0], Some(Level::None)),
            ([0.0, 1.0, 0.1], Some(Level::Concern)),
            ([0.0, 0.1, 1.0], Some(Level::High)),
        ] {
            assert_eq!(known.level(&embedding), want, "{embedding:?}");
        }
        assert_eq!(known.level(&[1.0, 0.0]), None, "of another length");
    }

    #[test]
    fn rejects_inconsistent_vectors() {
        for vectors in [vec![], vec![vec![]], vec![vec![1.0], vec![1.0, 2.0]]] {
            let embeddings = vectors.into_iter().map(|vector| (Level::None, vector)).collect();
            assert!(Known::new(embeddings).is_none());
        }
        let nothing = Known::new(vec![(Level::None, vec![0.0]), (Level::High, vec![0.0])]).unwrap();
        assert_eq!(nothing.level(&[0.0]), Some(Level::None), "no direction says nothing");
    }

    #[test]
    fn parses_every_reference_sentence() {
        let lines = SENTENCES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(sentences().count(), lines);
        for level in [Level::None, Level::Concern, Level::High] {
            assert!(20 <= sentences().filter(|(known, _)| *known == level).count(), "{level}");
        }
    }
}
