//! Trace export to an OpenTelemetry collector.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use protocol::trace::Traceparent;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

/// A collector is configured. Without one nothing is spent on the contexts of spans.
static IS_EXPORTING: AtomicBool = AtomicBool::new(false);

/// Names of spans that live for one log line, to give it its ids. They measure nothing.
const LOG_SPANS: [&str; 2] = ["admission", "connection"];

/// Exports finished spans in batches from its own thread; spans that the collector does not accept in time are dropped,
/// so that it cannot slow a conversation.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    service: &'static str,
}

impl Traces {
    pub(super) fn start(service: &'static str, endpoint: &str) -> Result<Self, ExporterBuildError> {
        // `with_endpoint` expects the URL of the signal; the variable names the collector.
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        IS_EXPORTING.store(true, Ordering::Relaxed);
        Ok(Self { provider, service })
    }

    pub(super) fn layer<S>(&self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let spans = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(self.service));
        spans.with_filter(FilterFn::new(|metadata| !LOG_SPANS.contains(&metadata.name())))
    }

    pub(super) fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "trace export did not flush on shutdown");
        }
    }
}

/// Makes `span` a child of the remote span `parent`.
pub fn set_parent(span: &Span, parent: Traceparent) {
    if !IS_EXPORTING.load(Ordering::Relaxed) {
        return;
    }
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let caller = SpanContext::new(
        TraceId::from_bytes(parent.trace_id.bits().to_be_bytes()),
        SpanId::from_bytes(parent.span_id.to_be_bytes()),
        flags,
        true,
        TraceState::default(),
    );
    // Fails only for a span that is not exported: there is nothing to link.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(caller));
}

/// Returns the trace context to propagate from `span`: the span itself if it is recorded, else a new child of `parent`.
pub fn current_traceparent(span: &Span, parent: Traceparent) -> Traceparent {
    if !IS_EXPORTING.load(Ordering::Relaxed) {
        return parent.child();
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        Traceparent { span_id: u64::from_be_bytes(own.span_id().to_bytes()), ..parent }
    } else {
        parent.child()
    }
}
