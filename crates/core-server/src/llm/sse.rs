//! The model's stream: server-sent events with a JSON chunk each.

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use protocol::server_frame::Usage;
use serde::Deserialize;
use sse_stream::{Error as SseError, SseByteStream};

use super::error::LlmError;

/// Most bytes one answer's stream may have: far more than `MAX_ANSWER_CHARS` takes with one
/// character per event, and a bound on what an endless line can make us hold.
const MAX_STREAM_BYTES: usize = 16 * 1024 * 1024;

/// What one event means.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// The next piece of the answer.
    Text(String),
    /// Why the answer ended, in the API's words.
    Finish(String),
    /// Tokens counted.
    Usage(Usage),
    /// Nothing we need: a role, a comment, an empty piece.
    Nothing,
    /// `[DONE]`: no event follows.
    Done,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
}

/// Events of a response body.
pub(super) struct Events {
    stream: SseByteStream<BoxStream<'static, io::Result<Bytes>>>,
    /// A chunk may carry a last piece and its end: the end waits here.
    ahead: Option<Event>,
}

impl Events {
    pub(super) fn new<E>(body: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut total = 0;
        let capped = body.map(move |bytes| {
            let bytes = bytes.map_err(io::Error::other)?;
            total += bytes.len();
            if total <= MAX_STREAM_BYTES { Ok(bytes) } else { Err(io::ErrorKind::FileTooLarge.into()) }
        });
        Self { stream: SseByteStream::new(capped.boxed()), ahead: None }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has been read stays in the decoder.
    pub(super) async fn next(&mut self) -> Option<Result<Event, LlmError>> {
        if let Some(event) = self.ahead.take() {
            return Some(Ok(event));
        }
        let data = match self.stream.next().await? {
            Ok(sse) => sse.data,
            Err(SseError::Body(_)) => return Some(Err(LlmError::Cut)),
            Err(_) => return Some(Err(LlmError::Malformed { reason: "not UTF-8" })),
        };
        Some(match data {
            None => Ok(Event::Nothing),
            Some(data) => self.read(&data),
        })
    }

    /// Reads on after [`Event::Done`], until the stream ends or turns out not to.
    pub(super) async fn rest(mut self) {
        // The end, or what nobody asked for: that closes the connection.
        let _ = self.stream.next().await;
    }

    fn read(&mut self, data: &str) -> Result<Event, LlmError> {
        if data.trim() == "[DONE]" {
            return Ok(Event::Done);
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|_| LlmError::Malformed { reason: "an event is not a chunk" })?;
        if chunk.error.is_some() {
            return Err(LlmError::Malformed { reason: "an event reports an error" });
        }
        let (mut text, mut rest) = (None, chunk.usage.map(Event::Usage));
        if let Some(choice) = chunk.choices.into_iter().next() {
            text = choice.delta.content.filter(|content| !content.is_empty()).map(Event::Text);
            rest = choice.finish_reason.map(Event::Finish).or(rest);
        }
        Ok(match (text, rest) {
            (Some(text), rest) => {
                self.ahead = rest;
                text
            }
            (None, Some(rest)) => rest,
            (None, None) => Event::Nothing,
        })
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn events(body: &'static [u8], chunk: usize) -> Vec<Result<Event, String>> {
        let chunks = futures_util::stream::iter(body.chunks(chunk).map(|part| Ok::<_, io::Error>(Bytes::from(part))));
        let mut events = Events::new(chunks);
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            if event.as_ref().is_ok_and(|event| *event == Event::Nothing) {
                continue;
            }
            seen.push(event.map_err(|error| error.to_string()));
        }
        seen
    }

    #[tokio::test]
    async fn chunks_of_the_real_wire_format_split_anywhere() {
        let body = concat!(
            ": comment\n\n",
            "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"año\"},\"finish_reason\":null}]}\r\n\r\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n",
            "data: [DONE]\n\n",
        )
        .as_bytes();
        let want = [
            Event::Text("año".into()),
            Event::Text("!".into()),
            Event::Finish("stop".into()),
            Event::Usage(Usage { prompt_tokens: 3, completion_tokens: 2 }),
            Event::Done,
        ];
        for chunk in [1, 2, 3, 7, 64, 10_000] {
            let got: Vec<Event> = events(body, chunk).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(got, want, "in chunks of {chunk}");
        }
    }

    #[tokio::test]
    async fn what_is_no_chunk_is_an_error() {
        for body in [b"data: nonsense\n\n".as_slice(), b"data: {\"error\":{\"message\":\"no\"}}\n\n", b"data: \xff\n\n"]
        {
            let got = events(body, 1_000).await;
            assert!(matches!(&got[..], [Err(why)] if why.starts_with("the model's stream cannot be read")), "{got:?}");
        }
    }
}
