//! Spans for a collector, by OTLP over HTTP: in builds with the feature `otel`, where the environment names one.
//!
//! What OpenTelemetry's specification calls `OTEL_…` counts as it says there; `AQUATINT_TRACES` chooses
//! spans as `AQUATINT_LOG` chooses lines.

use std::collections::HashMap;
use std::sync::OnceLock;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::exit::{Exit, Result};

/// Requests and attempts; commits are `debug`.
const USUAL: &str = "aquatint_api=info,aquatint_engine=info";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

fn says(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where spans go; `None` where nobody asked for them.
pub(crate) fn layer<S>() -> Result<Option<impl Layer<S>>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_named = says("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some()
        || says("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    let is_off = says("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
        || says("OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none");
    if !is_named || is_off {
        return Ok(None);
    }
    let wanted = says("AQUATINT_TRACES").unwrap_or_else(|| USUAL.to_owned());
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Exit::Usage(format!(
            "AQUATINT_TRACES: {error}; example: aquatint_engine=debug"
        ))
    })?;
    // Another part of this program may have chosen already: the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .map_err(|error| {
            Exit::Usage(format!(
                "OTEL_EXPORTER_OTLP_ENDPOINT: {error}; example: http://localhost:4318"
            ))
        })?;
    let mut resource = Resource::builder();
    let is_called = says("OTEL_SERVICE_NAME").is_some()
        || says("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|v| v.contains("service.name="));
    if !is_called {
        resource = resource.with_service_name("aquatint");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("aquatint");
    let _ = PROVIDER.set(provider);
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    Ok(Some(layer.with_filter(filter)))
}

/// Makes a request's span part of the trace that its client has begun (W3C Trace Context).
pub(crate) fn go_on(span: &Span, traceparent: &str, tracestate: Option<&str>) {
    let mut carried = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    carried.extend(tracestate.map(|state| ("tracestate".to_owned(), state.to_owned())));
    let parent = TraceContextPropagator::new().extract(&carried);
    // Where spans go nowhere there is nothing to go on with.
    let _ = span.set_parent(parent);
}

/// Sends what has gathered; for five seconds at most.
pub(crate) fn finish() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "some spans did not reach their collector");
    }
}
