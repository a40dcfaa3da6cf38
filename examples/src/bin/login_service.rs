//! `login_service BROKER_URL TOKEN_FILE LEDGER_FILE PINS_DB AUD enrol|login CUSTOMER`: enrols, or
//! exits with 0 only if the customer may come in by this service's own look (protocol rule 6).

use std::{env, error::Error, fs, io, path::Path, process::ExitCode, time::Duration};

use warifu_client_sdk::login_service::api::{Asked, Jwk, Shown};
use warifu_client_sdk::login_service::{
    Advice, EnrolmentEnd, LoginEnd, LoginService, SqlitePins, Token,
};

const LONGEST: Duration = Duration::from_secs(15 * 60); // an enrolment: a ticket's life, and more
type Service = LoginService<SqlitePins>; // one for the whole program, shared in an `Arc`

#[tokio::main]
async fn main() -> ExitCode {
    let done = run().await; // `LoginServiceError::advice`: retry, tell the customer, fix, page
    let done = done.inspect_err(|error| eprintln!("login_service: {error}"));
    ExitCode::from(done.map_or(2, |is_in| u8::from(!is_in)))
}

async fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [broker, token, ledger, pins, aud, act, customer] = arguments.as_slice() else {
        return Err("expected BROKER_URL TOKEN_FILE LEDGER_FILE PINS_DB AUD enrol|login CUSTOMER")?;
    };
    // What this service knows by itself. Nothing that the broker answers replaces any of it.
    let token = Token::from_file(Path::new(token))?;
    let ledger = toml::from_str(&fs::read_to_string(ledger)?)?;
    let pins = SqlitePins::open(pins).await?;
    let service = Service::new(broker.as_str(), token, ledger, aud, pins)?;
    match act.as_str() {
        "enrol" => tokio::time::timeout(LONGEST, enrol(&service, customer)).await?,
        "login" => log_in(&service, customer).await,
        other => Err(format!("found {other}, expected enrol or login"))?,
    }
}

/// Identify the customer before: from here on the device is the customer.
async fn enrol(service: &Service, customer: &str) -> Result<bool, Box<dyn Error>> {
    let opened = service.enrol(Some(customer)).await?;
    println!("ticket  {}", *opened.ticket_uri); // as a QR code, to this customer only
    let (session, wait) = (opened.session.as_str(), Duration::from_secs(30));
    let mut state = EnrolmentEnd::Waiting;
    loop {
        state = match state {
            EnrolmentEnd::Waiting => service.enrolment(customer, session, wait).await?,
            EnrolmentEnd::Digits => {
                let mut digits = String::new(); // which the customer reads off the device
                io::stdin().read_line(&mut digits)?;
                match service.confirm(customer, session, digits.trim()).await {
                    Err(error) if error.advice() == Advice::TellCustomer => {
                        println!("again   {error}"); // the digits were wrong: what is left to do?
                        EnrolmentEnd::Waiting
                    }
                    confirmed => confirmed?,
                }
            }
            EnrolmentEnd::Pinned { pin, .. } => {
                println!("account {}", pin.account); // both to verify with, for ever
                println!("jwk     {}", Jwk::of(&pin.account_key));
                println!("next    the same command with `login` for `enrol` asks the device");
                return Ok(true);
            }
            EnrolmentEnd::Failed { reason } => return Err(reason.into()),
        };
    }
}

/// Check a first factor before: who can begin logins can ring a customer's device.
async fn log_in(service: &Service, customer: &str) -> Result<bool, Box<dyn Error>> {
    let pin = service.pin_of(customer).await?;
    let shown = Shown::through("web", "203.0.113.7"); // the browser's, as your front end saw it
    let login = service.begin(pin, Asked::Login, shown).await?;
    println!("number  {}", login.number()); // onto the page; never to the device
    let end = service.wait(login).await?; // `Admitted` only for a block that verified
    match &end {
        LoginEnd::Admitted(admission) => {
            println!("nonce   {}", admission.login.block.claims().nonce); // keep both: evidence,
            println!("receipt {}", admission.receipt.to_json()); // which `verify` reads alone
        }
        LoginEnd::Refused { by, reason } => println!("refused by the {by}: {reason}"),
        LoginEnd::Expired => println!("expired: nobody approved in time"),
    }
    Ok(matches!(end, LoginEnd::Admitted(_)))
}
