//! A broker's clock, as its HTTP side tells it. Needs no token, and decides nothing.

use reqwest::{Method, header::DATE};

use super::error::LoginServiceError;
use super::http;
use super::tls::BrokerAddress;

/// The `Date` of a broker's answer to `GET /healthz` (RFC 9110 §5.6.7, whole seconds, UTC).
///
/// # Errors
/// [`LoginServiceError`] when nothing came back, or an answer without `Date`.
pub async fn broker_date(broker: &BrokerAddress) -> Result<String, LoginServiceError> {
    let (client, mut url) = http::client(broker)?;
    url.set_path("/healthz");
    let request = client
        .request(Method::GET, url)
        .timeout(http::CONNECT_LIMIT);
    let answer = request.send().await.map_err(http::unreachable)?;
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|value| value.to_str().ok());
    date.map(ToOwned::to_owned)
        .ok_or_else(|| LoginServiceError::Answer {
            what: "answer has no Date".to_owned(),
        })
}
