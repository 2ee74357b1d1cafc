//! JSON log lines.

use std::fmt;
use std::io::Write as _;

use protocol::Timestamp;
use protocol::trace::TraceId;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as one JSON object: `timestamp service level trace_id message`, then the fields of the spans around
/// it, the outermost first, and the event's own. A layer of its own: the formatting layer of the library would keep the
/// fields of every span a second time.
#[derive(Debug)]
pub struct JsonLines<W> {
    service: &'static str,
    /// Trace id of lines without a trace: start, stop, configuration.
    process_trace: TraceId,
    writer: W,
}

impl<W> JsonLines<W> {
    /// Creates the layer for `service`. Each line is one write to a writer of `writer`.
    pub fn new(service: &'static str, writer: W) -> Self {
        Self { service, process_trace: TraceId::random(), writer }
    }

    fn line(&self, level: Level, fields: Fields) -> String {
        #[expect(clippy::disallowed_methods, reason = "the edge: a log line says when it was written")]
        let now = Timestamp::from(std::time::SystemTime::now());
        let Fields { trace_id, message, rest } = fields;
        let mut line = format!(
            r#"{{"timestamp":"{now}","service":"{}","level":"{}","trace_id":"{}","message":{}"#,
            self.service,
            level.as_str().to_ascii_lowercase(),
            trace_id.unwrap_or_else(|| self.process_trace.to_string()),
            Value::from(message),
        );
        for (name, value) in rest {
            line.extend([",", &Value::from(name).to_string(), ":", &value.to_string()]);
        }
        line.push_str("}\n");
        line
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.add(of_span);
            }
        }
        event.record(&mut fields);
        let line = self.line(*event.metadata().level(), fields);
        // The writer counts the lines that it drops.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

#[derive(Debug, Default)]
struct Fields {
    trace_id: Option<String>,
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds the fields of a span; those of an inner one win.
    fn add(&mut self, of_span: &Self) {
        self.trace_id = of_span.trace_id.clone().or_else(|| self.trace_id.take());
        for (name, value) in &of_span.rest {
            self.rest.retain(|(known, _)| known != name);
            self.rest.push((name, value.clone()));
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field.name() {
            "message" => self.message = text(value),
            "trace_id" => self.trace_id = Some(text(value)),
            name => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    /// JSON numbers are limited to 64 bits; milliseconds of a `Duration` have 128.
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, u64::try_from(value).unwrap_or(u64::MAX).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn formats_one_json_object_in_field_order() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = JsonLines::new("core-server", move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(trace_id = %"abc", user = "Usuario-1", size_bytes = 7, took_ms = 3_u128, "said \"hi\"\n");
            tracing::warn!("no trace");
            let turn = tracing::error_span!("turn", trace_id = %"def", message.label = %"Usuario-1:m1");
            turn.in_scope(|| tracing::info!(size_bytes = 1, "ended"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 3);
        let tail = r#""service":"core-server","level":"info","trace_id":"abc","message":"said \"hi\"\n","user":"Usuario-1","size_bytes":7,"took_ms":3}"#;
        assert!(rows[0].starts_with(r#"{"timestamp":"20"#) && rows[0].ends_with(tail), "{}", rows[0]);
        let second: Value = serde_json::from_str(rows[1]).unwrap();
        assert_eq!(second["trace_id"].as_str().map(str::len), Some(32));
        let tail = r#""trace_id":"def","message":"ended","message.label":"Usuario-1:m1","size_bytes":1}"#;
        assert!(rows[2].ends_with(tail), "{}", rows[2]);
    }
}
