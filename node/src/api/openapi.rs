//! `/openapi.json`: the HTTP side described by the code that serves it.
//!
//! An endpoint is entered once, with its handler, the scope that it needs and the problems that it
//! may answer: the router and the document are made from the same entry, so neither has a path
//! that the other lacks. Schemas are derived from the types that are read and written.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Object, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema,
};
use utoipa::{Modify, OpenApi as _};
use warifu_client_sdk::login_service::api;
use warifu_client_sdk::login_service::problem::{PROBLEM_JSON, Problem, ProblemKind};

use super::Api;
use super::desk::Desk;
use crate::secrets::Scope;

/// The name of the one security scheme.
const TOKEN: &str = "token";

/// Problems of every endpoint behind a token.
const AUTHENTICATED: [ProblemKind; 4] = [
    ProblemKind::NotAuthenticated,
    ProblemKind::Scope,
    ProblemKind::Internal,
    ProblemKind::Stopping,
];

/// What an endpoint needs and refuses, beside [`AUTHENTICATED`].
#[derive(Clone, Copy)]
pub(super) struct Needs {
    pub(super) scope: Scope,
    pub(super) problems: &'static [ProblemKind],
}

/// The document's own parts. Paths are added with their handlers.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Warifu broker",
        description = "For login services. An `admitted` login is believed only after the login \
            service verified its block by itself. Errors are problem documents (RFC 9457); programs \
            branch on `type`. A path that is not listed answers 404 `not-found`, a method that is \
            not listed 405 `method-not-allowed`. Every answer has an `x-request-id`, the request's \
            own if it is up to 64 letters, digits, `-`, `_` or `.`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(
        api::BeginLogin, api::LoginBegun, api::LoginAnswer, api::EnrolmentOpened,
        api::OpenEnrolment, api::EnrolmentAnswer, api::Confirm, api::AccountAnswer,
        api::HistoryAnswer, api::LastLoginAnswer, api::FreezeAnswer, api::EraseAnswer, api::BeginUnfreeze,
        api::HealthAnswer, Problem,
    )),
    modifiers(&Known)
)]
struct Document;

/// What is known in lists elsewhere: problem types, and how callers authenticate.
struct Known;

impl Modify for Known {
    fn modify(&self, document: &mut OpenApi) {
        let Some(components) = document.components.as_mut() else {
            return;
        };
        if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem")
            && let Some(RefOr::T(Schema::Object(kind))) = problem.properties.get_mut("type")
        {
            let kinds = ProblemKind::ALL.iter().map(|kind| json!(kind.urn()));
            kind.enum_values = Some(kinds.collect());
        }
        let about = "A caller's token, kept hashed in tokens.toml, with scopes: a scope that an \
            operation needs stands in its `security`.";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = SecurityScheme::Http(bearer.description(Some(about)).build());
        components.add_security_scheme(TOKEN, scheme);
    }
}

/// Router and document, growing together.
pub(super) struct Endpoints<D> {
    router: Router<Api<D>>,
    document: OpenApi,
}

impl<D: Desk> Endpoints<D> {
    pub(super) fn new() -> Endpoints<D> {
        Endpoints {
            router: Router::new(),
            document: Document::openapi(),
        }
    }

    /// Enters an endpoint behind a token: `P` is what `utoipa::path` made of the handler.
    pub(super) fn with<P, H, T>(self, path: P, handler: H, needs: Needs) -> Endpoints<D>
    where
        P: utoipa::Path,
        H: Handler<T, Api<D>>,
        T: 'static,
    {
        let mut operation = P::operation();
        let scopes = [needs.scope.name()];
        operation.security = Some(vec![SecurityRequirement::new(TOKEN, scopes)]);
        add_problems(&mut operation, AUTHENTICATED.iter().chain(needs.problems));
        self.enter(path, handler, operation)
    }

    /// Enters an endpoint that asks nobody who calls.
    pub(super) fn open<P, H, T>(self, path: P, handler: H) -> Endpoints<D>
    where
        P: utoipa::Path,
        H: Handler<T, Api<D>>,
        T: 'static,
    {
        let mut operation = P::operation();
        operation.security = Some(Vec::new());
        self.enter(path, handler, operation)
    }

    fn enter<P, H, T>(mut self, _: P, handler: H, mut operation: Operation) -> Endpoints<D>
    where
        P: utoipa::Path,
        H: Handler<T, Api<D>>,
        T: 'static,
    {
        let (path, methods) = (P::path(), P::methods());
        // Handlers of different modules have the same name; programs are generated from this one.
        operation.operation_id = Some(operation_name(&path, &methods));
        let filter = methods.iter().map(filter).reduce(MethodFilter::or);
        if let Some(filter) = filter {
            self.router = self.router.route(&path, on(filter, handler));
        }
        self.document
            .paths
            .add_path_operation(path, methods, operation);
        self
    }

    /// The router, and the document as JSON.
    pub(super) fn finish(self) -> (Router<Api<D>>, String) {
        let json = serde_json::to_string(&self.document).unwrap_or_else(|error| {
            tracing::error!(%error, "no openapi document");
            "{}".to_owned()
        });
        (self.router, json)
    }
}

/// `post_logins`, `get_logins_id`: unique, since path and method are.
fn operation_name(path: &str, methods: &[HttpMethod]) -> String {
    let mut name = match methods.first() {
        Some(HttpMethod::Post) => "post".to_owned(),
        Some(HttpMethod::Delete) => "delete".to_owned(),
        _ => "get".to_owned(),
    };
    for segment in path.split('/').filter(|s| !s.is_empty() && *s != "v1") {
        name.push('_');
        name.extend(segment.chars().filter(char::is_ascii_alphanumeric));
    }
    name
}

const fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}

/// One answer for each status, with an example for each type.
fn add_problems<'a>(operation: &mut Operation, problems: impl Iterator<Item = &'a ProblemKind>) {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in problems {
        by_status.entry(kind.status()).or_default().push(*kind);
    }
    for (status, kinds) in by_status {
        let answer = RefOr::T(problem_answer(&kinds));
        let answers = &mut operation.responses.responses;
        answers.insert(status.to_string(), answer);
    }
}

fn problem_answer(kinds: &[ProblemKind]) -> Response {
    let names: Vec<String> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.urn(), kind.title()))
        .collect();
    let examples = kinds.iter().map(|kind| {
        let value = serde_json::to_value(example(*kind)).ok();
        let name = kind.urn().trim_start_matches("urn:warifu:problem:");
        let example = utoipa::openapi::example::ExampleBuilder::new().value(value);
        (name.to_owned(), RefOr::T(example.build()))
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let answer = ResponseBuilder::new()
        .description(names.join("; "))
        .content(PROBLEM_JSON, content);
    let retried = |kind: &ProblemKind| matches!(kind, ProblemKind::TooMany | ProblemKind::Busy);
    if !kinds.iter().any(retried) {
        return answer.build();
    }
    let seconds = HeaderBuilder::new()
        .schema(Object::with_type(SchemaType::Type(Type::Integer)))
        .description(Some("Seconds until it may be tried again."));
    answer.header("Retry-After", seconds.build()).build()
}

fn example(kind: ProblemKind) -> Problem {
    let mut problem = Problem::new(
        kind,
        format!("{}: what was found and expected", kind.title()),
    );
    match kind {
        ProblemKind::TooMany | ProblemKind::Busy => problem.retry_after = Some(30),
        ProblemKind::WrongDigits => problem.tries_left = Some(2),
        _ => {}
    }
    problem
}

/// This document: OpenAPI 3.1, with every endpoint, scope and problem type.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object)))]
pub(super) async fn show<D: Desk>(State(api): State<Api<D>>) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, api.document().to_owned())
}
