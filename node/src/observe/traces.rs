//! Traces: one for each login, the same at all three parties, exported over OTLP/HTTP if the configuration
//! names a collector.
//!
//! No identifier travels between parties: each derives trace and root span from the block's hash, which all
//! of them know (docs/protocol.md, context `warifu/1 trace`), and its own steps become children of that
//! root, which the broker exports when the login ended. Spans are made from the SDK's events of finished steps
//! (`runtime::STEPS_TARGET`), so that a node without a collector makes none. A span names account, height and
//! step, never what was asked or answered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{
        Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState,
    },
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
    },
};
use tokio::runtime::Handle;
use tracing::{
    Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};
use warifu_consensus::{
    agree::LoginId,
    encoding::{Hash, TraceName, text_b64},
    party::Role,
};

use super::otlp::Poster;
use crate::{clock, output::role_name};

/// Spans that may wait for the collector; further ones are dropped, logins never wait for it.
const QUEUE: usize = 16_384;
/// Spans of one request, at most.
const BATCH: usize = 2_048;
/// How often spans leave.
const EVERY: Duration = Duration::from_secs(1);
/// How long the last spans may take at the end of the node.
const END: Duration = Duration::from_secs(2);
/// Logins whose asker's trace is remembered until they end; the oldest is forgotten first.
const LINKS: usize = 4_096;

static SPANS: OnceLock<Arc<Spans>> = OnceLock::new();

/// Why nothing is traced.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The exporter can't be built.
    #[error("spans can't be exported: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client can't be built.
    #[error("spans can't be sent: {0}")]
    Client(#[from] crate::outgoing::OutgoingError),
}

/// What makes and exports this process's spans.
pub struct Spans {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    links: Mutex<VecDeque<(String, SpanContext)>>,
}

impl Spans {
    /// Exports to the collector at `otlp` (`http://host:port`, without a path) from now on. Call it within
    /// a tokio runtime, which sends; once a process.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn start(otlp: &str, role: Role, iss: &str) -> Result<Arc<Self>, TracesError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Poster::new(Handle::current())?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", otlp.trim_end_matches('/')))
            .build()?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(config)
            .build();
        let version = env!("CARGO_PKG_VERSION");
        processor.set_resource(
            &Resource::builder()
                .with_service_name(format!("warifu-{}", role_name(role)))
                .with_attributes([
                    KeyValue::new("service.namespace", iss.to_owned()),
                    KeyValue::new("service.version", version),
                ])
                .build(),
        );
        let spans = Arc::new(Self {
            processor,
            scope: InstrumentationScope::builder("warifu")
                .with_version(version)
                .build(),
            links: Mutex::default(),
        });
        Ok(Arc::clone(SPANS.get_or_init(|| spans)))
    }

    /// Sends what waits, 2 s at most. Blocks.
    pub fn end(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(END) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }

    fn finished(&self, step: &FinishedStep) {
        let Ok(block) = step.block.parse::<Hash>() else {
            return;
        };
        let name = TraceName::of(&block);
        let root = SpanId::from_bytes(name.root);
        let is_root = step.name == "whole";
        let (span, parent) = if is_root {
            (root, SpanId::INVALID)
        } else {
            let mut id = [0u8; 8];
            // Without randomness nothing is signed either: a lost span is the least of it.
            if getrandom::fill(&mut id).is_err() {
                return;
            }
            (SpanId::from_bytes(id), root)
        };
        let end_time = clock::precise();
        let elapsed = Duration::from_micros(step.elapsed_us);
        let mut links = SpanLinks::default();
        if is_root && let Some(parent) = self.take_link(&step.login) {
            links.links.push(Link::new(parent, Vec::new(), 0));
        }
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(name.trace),
                span,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent,
            parent_span_is_remote: !is_root,
            span_kind: SpanKind::Internal,
            name: if is_root { "login" } else { step.name }.into(),
            start_time: end_time.checked_sub(elapsed).unwrap_or(end_time),
            end_time,
            attributes: step.attributes(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        });
    }

    fn take_link(&self, login: &str) -> Option<SpanContext> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let at = links.iter().position(|(l, _)| l == login)?;
        links.remove(at).map(|(_, parent)| parent)
    }
}

/// The trace that a request names in its one `traceparent` header (W3C Trace Context, level 1), if spans are
/// exported and it is well formed.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    struct Parent<'a>(&'a HeaderMap);
    impl Extractor for Parent<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            let mut found = self.0.get_all("traceparent").iter();
            match (key, found.next(), found.next()) {
                // Version 00 has 55 characters; nothing longer is kept for anybody.
                ("traceparent", Some(value), None) if value.len() == 55 => value.to_str().ok(),
                _ => None,
            }
        }

        fn keys(&self) -> Vec<&str> {
            vec!["traceparent"]
        }
    }
    SPANS.get()?;
    let context = TraceContextPropagator::new().extract(&Parent(headers));
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
}

/// Remembers in which trace a login was asked for.
pub(super) fn link(login: LoginId, parent: SpanContext) {
    if let Some(spans) = SPANS.get() {
        let mut links = spans.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= LINKS {
            links.pop_front();
        }
        links.push_back((text_b64(&login.0), parent));
    }
}

/// Turns the SDK's events of finished steps into spans; filter it to their target.
pub struct StepsLayer(pub Arc<Spans>);

impl<S: Subscriber> Layer<S> for StepsLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut step = FinishedStep::default();
        event.record(&mut step);
        self.0.finished(&step);
    }
}

#[derive(Default)]
struct FinishedStep {
    name: &'static str,
    block: String,
    account: String,
    kind: String,
    outcome: String,
    by: String,
    login: String,
    height: u64,
    elapsed_us: u64,
}

/// The steps' names, so that a span's name is never allocated.
const NAMES: [&str; 12] = [
    "prepare", "number", "assent", "lock", "endorse", "durable", "whole", "commit", "seal", "ask",
    "sign", "settle",
];

impl FinishedStep {
    fn set(&mut self, field: &Field, value: String) {
        match field.name() {
            "block" => self.block = value,
            "account" => self.account = value,
            "kind" => self.kind = value,
            "outcome" => self.outcome = value,
            "by" => self.by = value,
            "login" => self.login = value,
            _ => {}
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let height = i64::try_from(self.height).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("warifu.account", self.account.clone()),
            KeyValue::new("warifu.height", height),
            KeyValue::new("warifu.kind", self.kind.clone()),
            KeyValue::new("warifu.block", self.block.clone()),
        ];
        let told = [
            ("warifu.outcome", &self.outcome),
            ("warifu.refused_by", &self.by),
            ("warifu.login", &self.login),
        ];
        let told = told.into_iter().filter(|(_, value)| !value.is_empty());
        attributes.extend(told.map(|(name, value)| KeyValue::new(name, value.clone())));
        attributes
    }
}

impl Visit for FinishedStep {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            let known = NAMES.into_iter().find(|name| *name == value);
            self.name = known.unwrap_or("step");
        } else {
            self.set(field, value.to_owned());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "height" => self.height = value,
            "elapsed_us" => self.elapsed_us = value,
            _ => {}
        }
    }
}
