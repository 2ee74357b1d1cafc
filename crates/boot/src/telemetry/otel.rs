//! Traces for an OpenTelemetry collector.

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use protocol::trace::Traceparent;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Sends finished spans to a collector from a thread of its own, in batches; what the
/// collector does not take in time is dropped, so that it never slows a conversation.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    service: &'static str,
}

impl Traces {
    pub(super) fn start(service: &'static str, endpoint: &str) -> Result<Self, ExporterBuildError> {
        // `with_endpoint` takes the address of the signal; the variable names the collector.
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        Ok(Self { provider, service })
    }

    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(self.service))
    }

    pub(super) fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "trace export did not flush on shutdown");
        }
    }
}

/// Makes `span` a child of the caller at `parent`.
pub fn set_parent(span: &Span, parent: Traceparent) {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let caller = SpanContext::new(
        TraceId::from_bytes(parent.trace_id.bits().to_be_bytes()),
        SpanId::from_bytes(parent.span_id.to_be_bytes()),
        flags,
        true,
        TraceState::default(),
    );
    // The only error is that no collector is configured, and then there is nothing to link.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(caller));
}

/// The position to hand to whom `span` calls: the span itself when it is recorded, else a
/// fresh child of `parent`.
pub fn current_traceparent(span: &Span, parent: Traceparent) -> Traceparent {
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        Traceparent { span_id: u64::from_be_bytes(own.span_id().to_bytes()), ..parent }
    } else {
        parent.child()
    }
}
