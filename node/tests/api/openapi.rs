//! `/openapi.json` says what is served, all of it and nothing else. That answers fit their schemas
//! is checked wherever these tests look at an answer.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_node::config::LimitsTable;
use warifu_node::secrets::Scope;

use super::callers::endpoints;
use super::{Site, answer, begin_body, kind};
use crate::contract::{self, operations};

async fn document(site: &Site) -> Value {
    let (status, document) = answer(site.client.get(format!("{}/openapi.json", site.url()))).await;
    assert_eq!(status, 200);
    document
}

#[tokio::test]
async fn every_endpoint_is_told_with_its_scope_and_no_other_is() {
    let site = Site::open().await;
    let document = document(&site).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let contract = contract::at(&site.client, &site.url().parse().unwrap()).await;
    let mut served: BTreeSet<String> = ["/healthz", "/readyz", "/openapi.json"]
        .map(|path| format!("GET {path}"))
        .into();
    for (method, path, _, scope) in endpoints() {
        let name = contract.operation(method.as_str(), &path);
        let name = name.unwrap_or_else(|| panic!("{method} {path} is not told"));
        let (_, told) = operations(&document).find(|(n, _)| *n == name).unwrap();
        assert_eq!(
            told["security"],
            json!([{ "token": [scope.name()] }]),
            "{name}"
        );
        served.insert(name);
    }
    assert_eq!(contract.names(), served);
    let ids: BTreeSet<&str> = operations(&document)
        .map(|(_, told)| told["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), served.len(), "{ids:?}");
    assert!(ids.contains("get_logins_id"), "{ids:?}");
    let scopes: BTreeSet<Scope> = endpoints().into_iter().map(|(.., scope)| scope).collect();
    assert_eq!(scopes, Scope::ALL.into(), "no scope is for nothing");
}

/// The other way round: what is not told is not served.
#[tokio::test]
async fn a_method_that_is_not_told_is_not_served() {
    let site = Site::open().await;
    let contract = contract::at(&site.client, &site.url().parse().unwrap()).await;
    let fill = |pattern: &str| {
        let segments = pattern.split('/').map(|segment| match segment {
            "{id}" | "{account}" => "AAAAAAAAAAAAAAAAAAAAAA",
            "{session}" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            segment => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    };
    let paths: BTreeSet<String> = operations(&contract.document)
        .map(|(name, _)| name.split_once(' ').unwrap().1.to_owned())
        .collect();
    for pattern in paths {
        let path = fill(&pattern);
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ] {
            let name = format!("{method} {pattern}");
            let request = site.get(&path).build().unwrap();
            let request = site.request(method, request.url().path(), super::BANK_TOKEN);
            let answer = contract::send(request.json(&json!({}))).await;
            let is_served = answer.status != 405;
            assert_eq!(is_served, contract.names().contains(&name), "{name}");
        }
    }
    assert_eq!(kind(site.get("/v1/accounts")).await, ProblemKind::NotFound);
}

#[tokio::test]
async fn every_problem_type_is_told_where_it_may_occur() {
    let site = Site::open().await;
    let document = document(&site).await;
    let all: BTreeSet<&str> = ProblemKind::ALL.iter().map(|kind| kind.urn()).collect();
    let kinds = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
    let told: BTreeSet<&str> = kinds
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(told, all);
    let mut occurring = BTreeSet::from(["not-found", "method-not-allowed"].map(contract::urn));
    for (_, operation) in operations(&document) {
        for answer in operation["responses"].as_object().unwrap().values() {
            let content = &answer["content"]["application/problem+json"];
            let examples = content["examples"].as_object();
            for example in examples.into_iter().flat_map(|examples| examples.values()) {
                occurring.insert(example["value"]["type"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(
        occurring
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        all
    );
}

#[tokio::test]
async fn requests_are_told_as_strictly_as_they_are_read() {
    let site = Site::open().await;
    let document = document(&site).await;
    let schema = |name: &str| {
        let mut schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        schema["components"] = document["components"].clone();
        jsonschema::draft202012::new(&schema).unwrap()
    };
    let account = site.desk.found();
    let good = begin_body(account);
    let begin = schema("BeginLogin");
    assert!(begin.is_valid(&good), "{:?}", begin.validate(&good));
    for (name, value) in [
        ("aud", json!("https://shop.example")),
        ("account", json!("short")),
        ("nonce", json!("short")),
        ("kind", json!("genesis")),
        ("client_ip", json!(7)),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(!begin.is_valid(&bad), "{name}");
        assert_eq!(
            kind(site.post("/v1/logins", &bad)).await,
            ProblemKind::Malformed
        );
    }
    for (method, path, body, _) in endpoints() {
        if body.is_null() {
            continue;
        }
        let contract = contract::at(&site.client, &site.url().parse().unwrap()).await;
        let name = contract.operation(method.as_str(), &path).unwrap();
        let (_, told) = operations(&document).find(|(n, _)| *n == name).unwrap();
        let wanted = &told["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let wanted = wanted.as_str().unwrap().rsplit('/').next().unwrap();
        assert!(schema(wanted).is_valid(&body), "{name}: {body}");
    }
}

/// docs/http.md has a section for each problem, a row for each endpoint, scope and limit.
#[tokio::test]
async fn the_guide_lacks_nothing() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    for problem in ProblemKind::ALL {
        let name = problem.urn().trim_start_matches("urn:warifu:problem:");
        let section = format!("\n### {name}\n\n{}. ", problem.status());
        assert!(guide.contains(&section), "no section {section:?}");
    }
    let site = Site::open().await;
    let contract = contract::at(&site.client, &site.url().parse().unwrap()).await;
    for name in contract.names() {
        assert!(guide.contains(&format!("`{name}")), "no row for {name}");
    }
    for scope in Scope::ALL {
        assert!(
            guide.contains(&format!("\n| `{}` |", scope.name())),
            "{scope:?}"
        );
    }
    let limits = format!("{:?}", LimitsTable::default());
    let fields = limits
        .trim_start_matches("LimitsTable { ")
        .trim_end_matches(" }")
        .split(", ");
    for field in fields {
        let row = field.replacen(": ", "` | ", 1);
        assert!(
            guide.contains(&format!("\n| `{row} |")),
            "no row for {field}"
        );
    }
}
