//! Answers of a served HTTP side, each checked against the `/openapi.json` that the same side
//! serves: the operation, its status, its media type and schema, and the problem's type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::header::{self, HeaderMap};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// An answer that the document allows.
pub(crate) struct Answer {
    /// `GET /v1/logins/{id}`; none for a path or method that is not served.
    pub(crate) operation: Option<String>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = &self.text;
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// The document, with a validator for each answer.
pub(crate) struct Contract {
    pub(crate) document: Value,
    /// By operation, status and media type.
    validators: BTreeMap<(String, String, String), jsonschema::Validator>,
}

/// A client without TLS.
pub(crate) fn client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    client_with(tls)
}

pub(crate) fn client_with(tls: rustls::ClientConfig) -> reqwest::Client {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
    client.build().unwrap()
}

/// Sends a request; fails unless the answer is one that the document allows.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let contract = at(&client, request.url()).await;
    let what = format!("{} {}", request.method(), request.url().path());
    let answer = look(contract, &client, request).await;
    contract.check(&what, &answer);
    answer
}

/// Sends a request to a desk that answers what no desk would.
pub(crate) async fn send_to_liar(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let contract = at(&client, request.url()).await;
    look(contract, &client, request).await
}

async fn look(contract: &Contract, client: &reqwest::Client, request: reqwest::Request) -> Answer {
    let method = request.method().to_string();
    let path = request.url().path().to_owned();
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let operation = contract.operation(&method, &path);
    Answer {
        operation,
        status,
        headers,
        text,
    }
}

/// The document of the site at `base`. All sites of a test program serve the same.
pub(crate) async fn at(client: &reqwest::Client, base: &reqwest::Url) -> &'static Contract {
    static CONTRACT: OnceCell<Contract> = OnceCell::const_new();
    let fetch = || async {
        let url = base.join("/openapi.json").unwrap();
        let document = client.get(url).send().await.unwrap();
        Contract::new(document.json().await.unwrap())
    };
    CONTRACT.get_or_init(fetch).await
}

impl Contract {
    fn new(document: Value) -> Contract {
        let mut validators = BTreeMap::new();
        for (name, operation) in operations(&document) {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let Some(content) = answer["content"].as_object() else {
                    continue;
                };
                for (media, content) in content {
                    let mut schema = content["schema"].clone();
                    assert!(schema.is_object(), "{name} {status}: {content}");
                    schema["components"] = document["components"].clone();
                    let validator = jsonschema::draft202012::new(&schema).unwrap();
                    validators.insert((name.clone(), status.clone(), media.clone()), validator);
                }
            }
        }
        Contract {
            document,
            validators,
        }
    }

    /// Every operation's name.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        operations(&self.document).map(|(name, _)| name).collect()
    }

    /// The operation of a request, if its path and method are served.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Option<String> {
        let found = operations(&self.document).map(|(name, _)| name);
        let mut fitting = found.filter(|name| {
            let (served, pattern) = name.split_once(' ').unwrap();
            served == method && fits(pattern, path)
        });
        fitting.next()
    }

    fn check(&self, request: &str, answer: &Answer) {
        let Answer { status, text, .. } = answer;
        let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let Some(name) = &answer.operation else {
            let expected = ["not-found", "method-not-allowed"].map(urn);
            let found = body["type"].as_str().unwrap_or_default();
            assert!(expected.iter().any(|urn| urn == found), "{request}: {text}");
            return;
        };
        let told = &self.document["paths"];
        let (method, pattern) = name.split_once(' ').unwrap();
        let answers = &told[pattern][method.to_lowercase()]["responses"];
        let said = &answers[status.as_str()];
        assert!(
            said.is_object(),
            "{request}: {status} is not in the document: {text}"
        );
        if text.is_empty() {
            assert!(said["content"].is_null(), "{request}: no body");
            return;
        }
        let media = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
        let key = (name.clone(), status.as_str().to_owned(), media.to_owned());
        let body = match media.starts_with("text/") {
            true => Value::String(text.clone()),
            false => body,
        };
        let validator = self.validators.get(&key);
        let validator = validator.unwrap_or_else(|| panic!("{request}: {key:?} is not told"));
        let errors: Vec<String> = validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{request}: {errors:?} in {text}");
        if let Some(examples) = said["content"][media]["examples"].as_object() {
            let mut types = examples.values().map(|example| &example["value"]["type"]);
            assert!(
                types.any(|told| *told == body["type"]),
                "{request}: {} is not told",
                body["type"]
            );
        }
    }
}

pub(crate) fn urn(name: &str) -> String {
    format!("urn:warifu:problem:{name}")
}

/// `GET /path` and what is told of it.
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, told)| (format!("{} {path}", method.to_uppercase()), told))
    })
}

fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern
            .zip(path)
            .all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
}

#[test]
fn a_contract_notices_what_it_should() {
    let contract = Contract::new(json!({
        "components": { "schemas": { "Two": { "type": "string", "pattern": "^[0-9]{2}$" } } },
        "paths": { "/a/{b}": { "get": { "responses": { "200": {
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Two" } } }
        } } } } }
    }));
    let check = |status: u16, text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        let answer = Answer {
            operation: contract.operation("GET", "/a/c"),
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            text: text.to_owned(),
        };
        let checked = std::panic::AssertUnwindSafe(|| contract.check("GET /a/c", &answer));
        std::panic::catch_unwind(checked).is_ok()
    };
    assert!(check(200, "\"07\""));
    assert!(!check(200, "\"7\""), "another schema");
    assert!(!check(201, "\"07\""), "another status");
    assert_eq!(contract.operation("POST", "/a/c"), None);
    assert_eq!(contract.operation("GET", "/a/c/d"), None);
}
